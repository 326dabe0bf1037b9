#include "client/command/load.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>
#include <random>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <sys/resource.h>

#include "client/command/main_loop.h"
#include "client/command/paths.h"
#include "client/command/progress.h"
#include "client/command/transfer.h"

namespace conclave::command {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kTick{20};
// How long the last events may take after the last set was answered.
constexpr std::chrono::seconds kEventsDrain{30};

enum class Stage { kWarmUp, kMeasure, kDrain };

double CpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// What all connections share.
struct Shared {
  LoadOptions options;
  std::string root;  // the znode of this run
  std::atomic<Stage> stage = Stage::kWarmUp;
  std::atomic<std::uint64_t> issued = 0;  // in kMeasure
  std::atomic<std::uint64_t> answered = 0;
  std::atomic<std::int64_t> under_way = 0;
  std::atomic<std::uint64_t> events_due = 0;  // one for each watcher and set that counts
  std::atomic<std::uint64_t> events_seen = 0;
  std::mutex mutex;
  std::map<std::string, std::uint64_t> errors;  // under mutex
  std::string first_error;                      // under mutex

  [[nodiscard]] std::string Key(std::size_t number) const {
    return fmt::format("{}/key-{:06}", root, number);
  }

  void Failed(const Error& error) {
    const std::lock_guard lock(mutex);
    ++errors[std::string(CodeName(error.code))];
    if (first_error.empty()) {
      first_error = error.ToString();
    }
  }
};

// The first bytes of a value of kWatch: when its set was called, and whether it counts.
struct Stamp {
  std::int64_t issued_ns;
  std::int64_t counts;
};

// One session with its share of the outstanding calls. Its calls after the first are made by the
// client's callbacks, which run one at a time: so it needs no lock.
class Connection {
 public:
  Connection(Shared& shared, std::size_t number) : shared_(shared), random_(number + 1) {
    value_.resize(shared.options.value_bytes);
    for (char& byte : value_) {
      byte = static_cast<char>(random_());  // nothing that compresses
    }
  }

  // The client's last callbacks use the rest.
  ~Connection() { client.reset(); }

  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  std::unique_ptr<Client> client;
  Histogram gets;
  Histogram sets;
  Histogram events;
  Clock::time_point last;  // when the last of what counts came

  // One more outstanding call, and those that follow it.
  void Start() {
    ReadOptions read;
    read.mode = ReadMode::kStale;
    client->ExistsAsync(shared_.root, read, [this](const Result<Existence>&) { Next(); });
  }

  // For kWatch.
  void OnEvent(const Event& event) {
    if (event.type == EventType::kResync) {
      Error error;
      error.code = Code::kReplyDropped;
      error.message = "a watch had to begin anew; events were missed";
      shared_.Failed(error);
    }
    if (event.type != EventType::kDataChanged || !event.data ||
        event.data->size() < sizeof(Stamp)) {
      return;
    }
    Stamp stamp{};
    std::memcpy(&stamp, event.data->data(), sizeof(stamp));
    if (stamp.counts != 0) {
      last = Clock::now();
      events.Record(last.time_since_epoch() - std::chrono::nanoseconds(stamp.issued_ns));
      shared_.events_seen.fetch_add(1);
    }
  }

 private:
  // The next call, or the end of one of those outstanding. Thread: that of callbacks.
  void Next() {
    const LoadOptions& options = shared_.options;
    const Stage stage = shared_.stage;
    const bool counts = stage == Stage::kMeasure;
    if (counts && options.count != 0 && shared_.issued.fetch_add(1) >= options.count) {
      shared_.under_way.fetch_sub(1);
      return;
    }
    if (stage == Stage::kDrain) {
      shared_.under_way.fetch_sub(1);
      return;
    }
    const std::string key = shared_.Key(random_() % options.keys);
    const bool read = options.op == LoadOp::kGet ||
                      (options.op == LoadOp::kMixed && random_() % 100 < options.reads_percent);
    read ? Get(key, counts) : Set(key, counts);
  }

  void Get(const std::string& key, bool counts) {
    ReadOptions read;
    read.mode = shared_.options.mode;
    client->GetAsync(key, read, [this, counts, began = Clock::now()](const Result<Node>& node) {
      Answered(node.ok(), node ? nullptr : &node.error(), counts, began, gets);
    });
  }

  void Set(const std::string& key, bool counts) {
    const Clock::time_point began = Clock::now();
    std::string value = value_;
    if (shared_.options.op == LoadOp::kWatch) {
      const Stamp stamp{std::chrono::nanoseconds(began.time_since_epoch()).count(), counts ? 1 : 0};
      std::memcpy(value.data(), &stamp, sizeof(stamp));
    }
    client->SetAsync(key, std::move(value), kAnyVersion, {},
                     [this, counts, began](const Result<Written>& written) {
                       Answered(written.ok(), written ? nullptr : &written.error(), counts, began,
                                sets);
                     });
  }

  void Answered(bool ok, const Error* error, bool counts, Clock::time_point began,
                Histogram& histogram) {
    if (counts) {
      shared_.answered.fetch_add(1);
      last = Clock::now();
      if (ok) {
        histogram.Record(last - began);
        shared_.events_due.fetch_add(
            shared_.options.op == LoadOp::kWatch ? shared_.options.connections : 0);
      } else {
        shared_.Failed(*error);
      }
    }
    Next();
  }

  Shared& shared_;
  std::minstd_rand random_;
  std::string value_;
};

class Load {
 public:
  Load(const Context& context, const LoadOptions& options, LoadResult& result)
      : context_(context), result_(result) {
    shared_.options = options;
    if (options.op == LoadOp::kWatch) {
      shared_.options.value_bytes = std::max(options.value_bytes, sizeof(Stamp));
    }
  }

  // What is called back from now on ends by itself.
  ~Load() { shared_.stage = Stage::kDrain; }

  Load(const Load&) = delete;
  Load& operator=(const Load&) = delete;

  int Run() {
    if (const int failed = Open(); failed != 0) {
      return failed;
    }
    if (const Status prepared = Prepare(); !prepared) {
      return Fail("bench", prepared.error());
    }
    if (const int failed = Measure(); failed != 0) {
      return failed;
    }
    Collect();
    if (!shared_.options.keep) {
      if (const Status cleaned = Clean(); !cleaned) {
        Fail("bench: removing " + shared_.root, cleaned.error());
      }
    }
    return kExitOk;
  }

 private:
  [[nodiscard]] bool watching() const { return shared_.options.op == LoadOp::kWatch; }

  // A session for each connection, and one more for the sets of kWatch.
  int Open() {
    const std::size_t sessions = shared_.options.connections + (watching() ? 1 : 0);
    for (std::size_t i = 0; i < sessions; ++i) {
      Options options = context_.ClientOptions();
      options.outstanding_calls_max = shared_.options.outstanding + kSpareCalls;
      auto connection = std::make_unique<Connection>(shared_, i);
      if (const int failed = loop_.Connect(std::move(options), connection->client); failed != 0) {
        return failed;
      }
      connections_.push_back(std::move(connection));
    }
    return kExitOk;
  }

  // The connections that call.
  [[nodiscard]] std::size_t first_caller() const {
    return watching() ? connections_.size() - 1 : 0;
  }

  Status Prepare() {
    Client& client = *connections_.back()->client;
    shared_.root = JoinPath(shared_.options.path, fmt::format("run-{}", client.session_id()));
    if (Status made = client.CreatePath(shared_.root); !made) {
      return made;
    }
    const std::string value(shared_.options.value_bytes, 'x');
    Status made = ForEachKey(
        [&](std::string key, auto done) {
          client.CreateAsync(std::move(key), value, CreateMode::kPersistent, {}, done);
        },
        Result<Created>(Created{}));
    for (std::size_t i = 0; made && watching() && i < first_caller(); ++i) {
      Connection& connection = *connections_[i];
      WatchOptions options;
      options.with_values = true;
      const auto watch = connection.client->Watch(
          shared_.root, WatchMode::kPersistentRecursive,
          [&connection](const Event& event) { connection.OnEvent(event); }, options);
      if (!watch) {
        return watch.error();
      }
    }
    return made;
  }

  // Many at a time; the first failure, when all are answered.
  template <class Call, class Answer>
  Status ForEachKey(const Call& call, const Answer& /*type of the answer*/) {
    Window window(kPrepareCalls, kPrepareBytes);
    std::mutex mutex;
    Status status;
    for (std::size_t i = 0; i < shared_.options.keys; ++i) {
      window.Take(shared_.options.value_bytes);
      call(shared_.Key(i), [&](const Answer& answer) {
        if (!answer) {
          const std::lock_guard lock(mutex);
          status = answer.error();
        }
        window.Give(shared_.options.value_bytes);
      });
    }
    window.Drain();
    return status;
  }

  Status Clean() {
    Client& client = *connections_.back()->client;
    if (Status removed = ForEachKey(
            [&](std::string key, auto done) {
              client.RemoveAsync(std::move(key), kAnyVersion, {}, done);
            },
            Result<Written>(Written{}));
        !removed) {
      return removed;
    }
    const auto removed = client.Remove(shared_.root);
    return removed ? Status() : Status(removed.error());
  }

  int Measure() {
    loop_.OnSignal([this](int number) {
      if (MainLoop::AsksForEnd(number)) {
        result_.interrupted = true;
        shared_.stage = Stage::kDrain;
      }
    });
    const std::size_t callers = connections_.size() - first_caller();
    shared_.under_way = static_cast<std::int64_t>(shared_.options.outstanding);
    for (std::size_t i = 0; i < shared_.options.outstanding; ++i) {
      connections_[first_caller() + i % callers]->Start();
    }
    stage_began_ = Clock::now();
    Tick();
    return loop_.Run();  // until Tick finds that all is answered, or a session is over
  }

  // Drives the stages, and shows how far it is.
  void Tick() {
    const LoadOptions& options = shared_.options;
    const Clock::time_point now = Clock::now();
    switch (shared_.stage) {
      case Stage::kWarmUp:
        if (now - stage_began_ >= options.warmup) {
          cpu_began_ = CpuSeconds();
          stage_began_ = now;
          shared_.stage = Stage::kMeasure;
        }
        break;
      case Stage::kMeasure:
        if (options.count != 0 ? shared_.issued >= options.count
                               : now - stage_began_ >= options.duration) {
          shared_.stage = Stage::kDrain;
        }
        break;
      case Stage::kDrain:
        if (Drained(now)) {
          loop_.Stop(kExitOk);
        }
        break;
    }
    if (progress_.Due()) {
      ShowProgress(now);
    }
    loop_.At(now + kTick, [this] { Tick(); });
  }

  bool Drained(Clock::time_point now) {
    if (shared_.under_way > 0) {
      answered_at_ = now;
      return false;
    }
    return shared_.events_seen >= shared_.events_due || now - answered_at_ >= kEventsDrain;
  }

  void ShowProgress(Clock::time_point now) {
    const double seconds = std::chrono::duration<double>(now - stage_began_).count();
    const std::uint64_t answered = shared_.answered;
    progress_.Show(shared_.stage == Stage::kWarmUp
                       ? fmt::format("warming up, {:.1f} s", seconds)
                       : fmt::format("{:.1f} s, {} calls, {:.0f}/s", seconds, answered,
                                     static_cast<double>(answered) / seconds));
  }

  void Collect() {
    result_.cpu_seconds = CpuSeconds() - cpu_began_;
    Clock::time_point last = stage_began_;
    for (const auto& connection : connections_) {
      result_.gets.Add(connection->gets);
      result_.sets.Add(connection->sets);
      result_.events.Add(connection->events);
      last = std::max(last, connection->last);
    }
    result_.seconds = std::chrono::duration<double>(last - stage_began_).count();
    const std::lock_guard lock(shared_.mutex);
    result_.errors = shared_.errors;
    result_.first_error = shared_.first_error;
    if (shared_.events_seen < shared_.events_due) {
      result_.errors["MissedEvent"] = shared_.events_due - shared_.events_seen;
    }
  }

  static constexpr std::size_t kSpareCalls = 64;
  static constexpr std::size_t kPrepareCalls = 32;
  static constexpr std::size_t kPrepareBytes = std::size_t{8} << 20;

  const Context& context_;
  LoadResult& result_;
  Shared shared_;
  MainLoop loop_;
  Progress progress_;
  Clock::time_point stage_began_;
  Clock::time_point answered_at_;
  double cpu_began_ = 0;
  std::vector<std::unique_ptr<Connection>> connections_;
};

}  // namespace

int RunLoad(const Context& context, const LoadOptions& options, LoadResult& result) {
  return Load(context, options, result).Run();
}

}  // namespace conclave::command
