#include "coord/doors/admin_http.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <map>
#include <mutex>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

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
constexpr std::chrono::milliseconds kSnapshotTimeout{2'000};
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
  using Page = void (*)(const Loop&, evhttp_request*, const AdminSnapshot&);

  // Where snapshots arrive from other threads. It outlives the loop if a snapshot is late.
  struct Mailbox {
    std::mutex mu;
    event* wake = nullptr;  // guarded by mu; null once the loop is gone
    std::vector<std::pair<std::uint64_t, AdminSnapshot>> arrived;  // guarded by mu
  };

  // A request that waits for its snapshot. The port's thread only.
  struct Waiting {
    evhttp_request* request;
    Page page;
    std::chrono::steady_clock::time_point deadline;
  };

  event_base* base = nullptr;
  evhttp* http = nullptr;
  event* stop = nullptr;
  event* wake = nullptr;   // the mailbox has something
  event* clock = nullptr;  // looks for requests that have waited too long
  const Metrics* metrics = nullptr;
  AdminSources sources;
  std::shared_ptr<Mailbox> mailbox = std::make_shared<Mailbox>();
  std::map<std::uint64_t, Waiting> waiting;
  std::uint64_t next_id = 1;
  std::thread thread;

  ~Loop() {
    {
      const std::lock_guard lock(mailbox->mu);
      mailbox->wake = nullptr;
    }
    if (http != nullptr) {
      evhttp_free(http);
    }
    for (event* one : {stop, wake, clock}) {
      if (one != nullptr) {
        event_free(one);
      }
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

  static void ReadyPage(const Loop& /*loop*/, evhttp_request* request,
                        const AdminSnapshot& snapshot) {
    const server::Status& s = snapshot.status;
    std::string body = s.ready ? "ok\n" : s.unready_reason + "\n";
    if (HasQuery(request, "verbose")) {
      body = VerboseReadiness(s);
    }
    Reply(request, s.ready ? HTTP_OK : HTTP_SERVUNAVAIL, kText, body);
  }

  static void StatusPage(const Loop& /*loop*/, evhttp_request* request,
                         const AdminSnapshot& snapshot) {
    Reply(request, HTTP_OK, kJson, StatusJson(snapshot.status));
  }

  static void MetricsPage(const Loop& loop, evhttp_request* request,
                          const AdminSnapshot& snapshot) {
    Reply(request, HTTP_OK, kMetrics, loop.metrics->Render(snapshot.status, snapshot.wire));
  }

  static void OnUnknown(evhttp_request* request, void* /*arg*/) {
    evhttp_send_error(request, HTTP_NOTFOUND, "try /livez, /readyz, /status or /metrics");
  }

  static void OnReadyz(evhttp_request* request, void* arg) { Ask(request, arg, ReadyPage); }

  static void OnStatus(evhttp_request* request, void* arg) { Ask(request, arg, StatusPage); }

  static void OnMetrics(evhttp_request* request, void* arg) { Ask(request, arg, MetricsPage); }

  // Asks the server for a snapshot; OnArrival answers with it, or OnClock says that none came.
  static void Ask(evhttp_request* request, void* arg, Page page) {
    auto* self = static_cast<Loop*>(arg);
    const std::uint64_t id = self->next_id++;
    self->waiting[id] = {request, page, std::chrono::steady_clock::now() + kSnapshotTimeout};
    self->sources.snapshot([mailbox = self->mailbox, id](AdminSnapshot snapshot) {
      const std::lock_guard lock(mailbox->mu);
      if (mailbox->wake != nullptr) {
        mailbox->arrived.emplace_back(id, std::move(snapshot));
        event_active(mailbox->wake, 0, 0);
      }
    });
  }

  static void OnArrival(evutil_socket_t /*fd*/, short /*what*/, void* arg) {
    auto* self = static_cast<Loop*>(arg);
    std::vector<std::pair<std::uint64_t, AdminSnapshot>> arrived;
    {
      const std::lock_guard lock(self->mailbox->mu);
      arrived.swap(self->mailbox->arrived);
    }
    for (const auto& [id, snapshot] : arrived) {
      if (const auto node = self->waiting.extract(id); !node.empty()) {
        node.mapped().page(*self, node.mapped().request, snapshot);
      }
    }
  }

  static void OnClock(evutil_socket_t /*fd*/, short /*what*/, void* arg) {
    auto* self = static_cast<Loop*>(arg);
    const auto now = std::chrono::steady_clock::now();
    // Ids rise with deadlines.
    while (!self->waiting.empty() && self->waiting.begin()->second.deadline <= now) {
      evhttp_request* request = self->waiting.begin()->second.request;
      self->waiting.erase(self->waiting.begin());
      Reply(request, HTTP_SERVUNAVAIL, kText,
            fmt::format("the core loop has not answered within {} ms\n", kSnapshotTimeout.count()));
    }
  }

  // The events besides HTTP; once, before the thread starts.
  void AddEvents() {
    stop = event_new(
        base, -1, 0,
        [](evutil_socket_t, short, void* arg) {
          event_base_loopbreak(static_cast<event_base*>(arg));
        },
        base);
    wake = event_new(base, -1, EV_PERSIST, OnArrival, this);
    mailbox->wake = wake;
    clock = event_new(base, -1, EV_PERSIST, OnClock, this);
    constexpr timeval kClock{0, 100'000};
    event_add(clock, &kClock);
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
  loop->AddEvents();
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
