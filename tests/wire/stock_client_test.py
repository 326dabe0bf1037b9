"""A stock Thrift client (generated code and Debian's python3-thrift) against the frame server.

Usage: stock_client_test.py TEST_SERVER GENERATED_PACKAGE_DIR
"""

import socket
import subprocess
import sys
import threading
import unittest

SERVER, PACKAGE = sys.argv[1:3]
sys.path.insert(0, PACKAGE)
sys.dont_write_bytecode = True

from conclave_idl.v1.client import Coord  # noqa: E402
from conclave_idl.v1.client.ttypes import (  # noqa: E402
    GetRequest, PollRequest, SetDataRequest)
from conclave_idl.v1.types.ttypes import CoordError, Ctx, ErrorCode  # noqa: E402
from thrift.protocol.TBinaryProtocol import TBinaryProtocol  # noqa: E402
from thrift.protocol.TCompactProtocol import TCompactProtocol  # noqa: E402
from thrift.Thrift import TApplicationException  # noqa: E402
from thrift.transport.TSocket import TSocket  # noqa: E402
from thrift.transport.TTransport import TFramedTransport, TTransportException  # noqa: E402

PROTOCOLS = (TBinaryProtocol, TCompactProtocol)


class StockClientTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = subprocess.Popen([SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      stderr=subprocess.DEVNULL, text=True)
        cls.port = int(cls.server.stdout.readline())

    @classmethod
    def tearDownClass(cls):
        cls.server.stdin.close()
        assert cls.server.wait(timeout=20) == 0
        cls.server.stdout.close()

    def connect(self, protocol):
        transport = TSocket("127.0.0.1", self.port)
        transport.setTimeout(20_000)
        framed = TFramedTransport(transport)
        framed.open()
        self.addCleanup(framed.close)
        return Coord.Client(protocol(framed))

    def test_calls_in_both_protocols(self):
        for protocol in PROTOCOLS:
            client = self.connect(protocol)
            for path in ("/a", "/b", "/ümlaut/日本"):
                result = client.getData(Ctx(minZxid=2**53 - 1), GetRequest(path=path))
                self.assertEqual(result.data, path.encode())
                self.assertEqual(result.head.zxid, 2**53 - 1)

    def test_large_reply(self):
        client = self.connect(TBinaryProtocol)
        result = client.getData(Ctx(), GetRequest(path="/size/3000000"))
        self.assertEqual(len(result.data), 3_000_000)

    def test_declared_error(self):
        for protocol in PROTOCOLS:
            with self.assertRaises(CoordError) as caught:
                self.connect(protocol).getData(Ctx(), GetRequest(path="/missing"))
            self.assertEqual(caught.exception.code, ErrorCode.NO_NODE)
            self.assertEqual(caught.exception.path, "/missing")

    def test_defect_of_the_server_is_an_application_exception(self):
        client = self.connect(TBinaryProtocol)
        with self.assertRaises(TApplicationException):
            client.getData(Ctx(), GetRequest(path="/throw"))
        self.assertEqual(client.getData(Ctx(), GetRequest(path="/a")).data, b"/a")

    def test_request_over_the_limit_is_an_error_and_the_connection_goes_on(self):
        client = self.connect(TBinaryProtocol)
        with self.assertRaises(TApplicationException) as caught:
            client.getData(Ctx(), GetRequest(path="/" + "a" * (5 << 20)))
        self.assertIn("over the limit", caught.exception.message)
        self.assertEqual(client.getData(Ctx(), GetRequest(path="/a")).data, b"/a")

    def test_parked_poll_is_woken_from_another_connection(self):
        answers = []

        def wait():
            answers.append(self.connect(TCompactProtocol).poll(Ctx(), PollRequest(waitMs=20_000)))

        waiting = threading.Thread(target=wait)
        waiting.start()
        waker = self.connect(TBinaryProtocol)
        while waiting.is_alive():
            waker.setData(Ctx(), SetDataRequest(path="/wake"))
            waiting.join(0.01)
        self.assertEqual(answers[0].head.zxid, 77)

    def test_unframed_client_is_refused(self):
        transport = TSocket("127.0.0.1", self.port)
        transport.setTimeout(20_000)
        transport.open()
        self.addCleanup(transport.close)
        with self.assertRaises((TTransportException, ConnectionError, EOFError)):
            Coord.Client(TBinaryProtocol(transport)).getData(Ctx(), GetRequest(path="/a"))

    def test_http_gets_a_readable_answer(self):
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = b"".join(iter(lambda: connection.recv(4096), b""))
        self.assertTrue(answer.startswith(b"HTTP/1.1 400 "), answer)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
