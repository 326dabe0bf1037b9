#include "coord/doors/admin_http.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <thread>
#include <utility>

#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/thread.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "coord/doors/status_json.h"
#include "thrift/wire/address.h"

namespace conclave::doors {
namespace {

// The core loop turns at every tick; a second of silence is a slow disk or a busy machine, ten are
// a defect that a restart cures.
constexpr std::int64_t kStuckMs = 10'000;
constexpr int kSnapshotTimeoutMs = 2'000;
constexpr int kHttpTimeoutSeconds = 10;
constexpr int kHeadersBytesMax = 8 * 1024;

constexpr char kText[] = "text/plain; charset=utf-8";
constexpr char kJson[] = "application/json";
constexpr char kMetrics[] = "text/plain; version=0.0.4; charset=utf-8";

void Reply(evhttp_request* request, int code, const char* type, std::string_view body) {
  evkeyvalq* headers = evhttp_request_get_output_headers(request);
  evhttp_add_header(headers, "Content-Type", type);
  evhttp_add_header(headers, "Cache-Control", "no-store");
  evbuffer* buffer = evbuffer_new();
  evbuffer_add(buffer, body.data(), body.size());
  evhttp_send_reply(request, code, code == HTTP_OK ? "OK" : "Service Unavailable", buffer);
  evbuffer_free(buffer);
}

// Whether the query has this key, with or without a value (libevent's own parser demands one).
bool HasQuery(evhttp_request* request, std::string_view key) {
  const char* query = evhttp_uri_get_query(evhttp_request_get_evhttp_uri(request));
  std::string_view rest = query == nullptr ? "" : query;
  while (!rest.empty()) {
    const std::string_view item = rest.substr(0, rest.find('&'));
    rest.remove_prefix(std::min(rest.size(), item.size() + 1));
    if (item.substr(0, item.find('=')) == key) {
      return true;
    }
  }
  return false;
}

std::string VerboseReadiness(const server::Status& s) {
  const auto line = [](bool good, std::string_view what) {
    return fmt::format("[{}] {}\n", good ? "+" : "-", what);
  };
  std::string text = line(s.leader != 0, s.leader != 0 ? fmt::format("leader: member {}", s.leader)
                                                       : std::string("leader: none known"));
  text += line(s.alarm.empty(), "alarm: " + (s.alarm.empty() ? "none" : s.alarm));
  text += line(s.ready, "serving: " + (s.ready ? "yes" : s.unready_reason));
  return text;
}

}  // namespace

struct AdminHttp::Loop {
  // A page that waits for its snapshot. Lives on the port's thread.
  struct Waiting {
    Loop* loop;
    evhttp_request* request;
    void (*page)(Loop*, evhttp_request*, const AdminSnapshot&);
  };

  // A snapshot on its way back to the port's thread.
  struct Delivery {
    std::shared_ptr<Waiting*> waiting;
    AdminSnapshot snapshot;
  };

  event_base* base = nullptr;
  evhttp* http = nullptr;
  event* stop = nullptr;
  const Metrics* metrics = nullptr;
  AdminSources sources;
  std::thread thread;

  ~Loop() {
    if (http != nullptr) {
      evhttp_free(http);
    }
    if (stop != nullptr) {
      event_free(stop);
    }
    if (base != nullptr) {
      event_base_free(base);
    }
  }

  static void OnLivez(evhttp_request* request, void* arg) {
    auto* self = static_cast<Loop*>(arg);
    const std::int64_t core_ms = self->sources.core_age_ms();
    const std::int64_t log_ms = self->sources.log_age_ms();
    if (core_ms > kStuckMs) {
      Reply(request, HTTP_SERVUNAVAIL, kText,
            fmt::format("the core loop has not turned for {} ms: restart this member\n", core_ms));
    } else if (log_ms > kStuckMs) {
      Reply(request, HTTP_SERVUNAVAIL, kText,
            fmt::format("a write of the log has taken {} ms: look at the disk, then restart this "
                        "member\n",
                        log_ms));
    } else {
      Reply(request, HTTP_OK, kText, "ok\n");
    }
  }

  static void ReadyPage(Loop* /*loop*/, evhttp_request* request, const AdminSnapshot& snapshot) {
    const server::Status& s = snapshot.status;
    std::string body = s.ready ? "ok\n" : s.unready_reason + "\n";
    if (HasQuery(request, "verbose")) {
      body = VerboseReadiness(s);
    }
    Reply(request, s.ready ? HTTP_OK : HTTP_SERVUNAVAIL, kText, body);
  }

  static void StatusPage(Loop* /*loop*/, evhttp_request* request, const AdminSnapshot& snapshot) {
    Reply(request, HTTP_OK, kJson, StatusJson(snapshot.status));
  }

  static void MetricsPage(Loop* loop, evhttp_request* request, const AdminSnapshot& snapshot) {
    Reply(request, HTTP_OK, kMetrics, loop->metrics->Render(snapshot.status, snapshot.wire));
  }

  static void OnUnknown(evhttp_request* request, void* /*arg*/) {
    evhttp_send_error(request, HTTP_NOTFOUND, "try /livez, /readyz, /status or /metrics");
  }

  static void OnReadyz(evhttp_request* request, void* arg) { Ask(request, arg, ReadyPage); }

  static void OnStatus(evhttp_request* request, void* arg) { Ask(request, arg, StatusPage); }

  static void OnMetrics(evhttp_request* request, void* arg) { Ask(request, arg, MetricsPage); }

  // Asks the server for a snapshot and answers when it comes, or says that it does not. The request
  // is answered exactly once: by whichever of OnSnapshot and OnTimeout finds it still waiting.
  static void Ask(evhttp_request* request, void* arg,
                  void (*page)(Loop*, evhttp_request*, const AdminSnapshot&)) {
    auto* self = static_cast<Loop*>(arg);
    auto* waiting = new Waiting{self, request, page};
    auto handle = std::make_shared<Waiting*>(waiting);
    auto* timeout_arg = new std::shared_ptr<Waiting*>(handle);
    const timeval timeout{kSnapshotTimeoutMs / 1000, (kSnapshotTimeoutMs % 1000) * 1000};
    event_base_once(self->base, -1, EV_TIMEOUT, OnTimeout, timeout_arg, &timeout);
    self->sources.snapshot([self, handle](AdminSnapshot snapshot) {
      auto* delivery = new Delivery{handle, std::move(snapshot)};
      event_base_once(self->base, -1, EV_TIMEOUT, OnSnapshot, delivery, nullptr);
    });
  }

  static void OnSnapshot(evutil_socket_t /*fd*/, short /*what*/, void* arg) {
    const std::unique_ptr<Delivery> delivery(static_cast<Delivery*>(arg));
    const std::unique_ptr<Waiting> waiting(std::exchange(*delivery->waiting, nullptr));
    if (waiting != nullptr) {
      waiting->page(waiting->loop, waiting->request, delivery->snapshot);
    }
  }

  static void OnTimeout(evutil_socket_t /*fd*/, short /*what*/, void* arg) {
    const std::unique_ptr<std::shared_ptr<Waiting*>> handle(
        static_cast<std::shared_ptr<Waiting*>*>(arg));
    const std::unique_ptr<Waiting> waiting(std::exchange(**handle, nullptr));
    if (waiting != nullptr) {
      Reply(waiting->request, HTTP_SERVUNAVAIL, kText,
            fmt::format("the core loop has not answered within {} ms\n", kSnapshotTimeoutMs));
    }
  }
};

tl::expected<std::unique_ptr<AdminHttp>, std::string> AdminHttp::Listen(const std::string& address,
                                                                        const Metrics* metrics,
                                                                        AdminSources sources) {
  const auto parsed = wire::ParseHostPort(address);
  if (!parsed) {
    return tl::unexpected(parsed.error());
  }
  evthread_use_pthreads();  // other threads hand their snapshots to this loop
  auto loop = std::make_unique<Loop>();
  loop->metrics = metrics;
  loop->sources = std::move(sources);
  loop->base = event_base_new();
  loop->http = evhttp_new(loop->base);
  evhttp_set_allowed_methods(loop->http, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD);
  evhttp_set_timeout(loop->http, kHttpTimeoutSeconds);
  evhttp_set_max_body_size(loop->http, 0);
  evhttp_set_max_headers_size(loop->http, kHeadersBytesMax);
  evhttp_set_cb(loop->http, "/livez", Loop::OnLivez, loop.get());
  evhttp_set_cb(loop->http, "/readyz", Loop::OnReadyz, loop.get());
  evhttp_set_cb(loop->http, "/status", Loop::OnStatus, loop.get());
  evhttp_set_cb(loop->http, "/metrics", Loop::OnMetrics, loop.get());
  evhttp_set_gencb(loop->http, Loop::OnUnknown, nullptr);
  errno = 0;
  evhttp_bound_socket* bound =
      evhttp_bind_socket_with_handle(loop->http, parsed->host.c_str(), parsed->port);
  if (bound == nullptr) {
    return tl::unexpected(fmt::format("cannot listen on {}: {}", address,
                                      errno != 0 ? std::strerror(errno) : "address not usable"));
  }
  wire::SocketAddress local;
  local.size = sizeof(local.storage);
  getsockname(evhttp_bound_socket_get_fd(bound), reinterpret_cast<sockaddr*>(&local.storage),
              &local.size);
  const std::string in_force = wire::HostPort{parsed->host, local.port()}.ToString();
  loop->stop = event_new(
      loop->base, -1, 0,
      [](evutil_socket_t, short, void* base) {
        event_base_loopbreak(static_cast<event_base*>(base));
      },
      loop->base);
  return std::unique_ptr<AdminHttp>(new AdminHttp(std::move(loop), in_force));
}

AdminHttp::AdminHttp(std::unique_ptr<Loop> loop, std::string address)
    : loop_(std::move(loop)), address_(std::move(address)) {
  loop_->thread =
      std::thread([base = loop_->base] { event_base_loop(base, EVLOOP_NO_EXIT_ON_EMPTY); });
}

AdminHttp::~AdminHttp() {
  event_active(loop_->stop, 0, 0);
  loop_->thread.join();
}

}  // namespace conclave::doors
