#!/usr/bin/env python3
"""Stands in for conclaved where deploy/local-cluster is tested by itself.

It takes the same flags and answers on the admin port. What a test wants it to do wrong is in its
flags, too: --fake=exit (ends at once), --fake=never-ready, --fake=ignore-term.
"""

import http.server
import json
import signal
import socket
import sys
import threading


def main():
    flags = dict(argument.lstrip("-").split("=", 1) for argument in sys.argv[1:])
    print("fake conclaved", sys.argv[1:], flush=True)
    fake = flags.get("fake", "")
    if fake == "exit":
        print("E bad luck: cannot go on", flush=True)
        return 3
    listener = socket.create_server(("127.0.0.1", int(flags["client_address"].split(":")[1])))

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            code, body = 200, "ok\n"
            if self.path == "/readyz" and fake == "never-ready":
                code, body = 503, "no leader\n"
            elif self.path == "/status":
                body = json.dumps({"role": "leader" if flags["id"] == "1" else "follower",
                                   "term": 1, "commit_index": 7, "applied_index": 7})
            self.send_response(code)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_):
            pass

    host, port = flags["admin_address"].split(":")
    server = http.server.ThreadingHTTPServer((host, int(port)), Handler)

    def on_term(*_):
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, signal.SIG_IGN if fake == "ignore-term" else on_term)
    server.serve_forever(poll_interval=0.02)
    listener.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
