// kept-writes: writes to a cluster without a break and knows what of it must be there. For tests
// that kill members meanwhile (kills.py).
//
//   kept-writes ENDPOINTS KEYS EVERY_MS
//
// One znode for each of KEYS, below /kept, holds the number of the last write to it. EVERY_MS 0:
// one write to each is under way all the time. Else one write is begun every so many milliseconds,
// at the next key in turn that has none under way. Three clients share the keys.
//
// Commands, one per line on standard input, each answered by one line:
//   more N   waits until N further writes have been acknowledged       "more"
//   gap      the longest time without an acknowledgement since the last such command, in
//            milliseconds; one that has not ended counts                "gap 12.3"
//   check    finishes what is under way and reads every key             "kept ACKNOWLEDGED UNKNOWN"
// A key that does not hold its last acknowledged write, or a later one that was begun, or that was
// written more often than it should ("executed once or not at all"): "lost: ..." and status 1.

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <conclave/client.h>

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kTimeout{60'000};
constexpr std::size_t kClients = 3;

class Keys {
 public:
  Keys(const std::string& endpoints, std::size_t count, milliseconds every) : every_(every) {
    keys_.resize(count);
    for (std::size_t i = 0; i < kClients; ++i) {
      conclave::Options options;
      options.endpoints = endpoints;
      options.session_timeout = kTimeout;
      options.call_timeout = kTimeout;
      options.client_name = "kept-writes";
      clients_.push_back(std::move(conclave::Client::Connect(options).value()));
    }
    if (!clients_[0]->CreatePath("/kept").ok()) {
      Die("no /kept");
    }
    for (std::size_t key = 0; key < count; ++key) {
      if (!client(key).Create(Path(key), "0").ok()) {
        Die("no " + Path(key));
      }
    }
    last_success_ = Clock::now();
    pacer_ = std::thread([this] { Pace(); });
  }

  ~Keys() {
    {
      const std::lock_guard lock(mutex_);
      ended_ = true;
    }
    changed_.notify_all();
    pacer_.join();
  }

  Keys(const Keys&) = delete;
  Keys& operator=(const Keys&) = delete;
  Keys(Keys&&) = delete;
  Keys& operator=(Keys&&) = delete;

  void More(std::uint64_t count) {
    std::unique_lock lock(mutex_);
    const std::uint64_t wanted = acknowledged_ + count;
    if (!changed_.wait_for(lock, kTimeout, [&] { return acknowledged_ >= wanted; })) {
      Die("no progress for a minute");
    }
  }

  double Gap() {
    const std::lock_guard lock(mutex_);
    NoteGap(Clock::now());
    return std::chrono::duration<double, std::milli>(std::exchange(gap_, {})).count();
  }

  void Check() {
    std::unique_lock lock(mutex_);
    paused_ = true;
    if (!changed_.wait_for(lock, 2 * kTimeout, [&] { return under_way_ == 0; })) {
      Die("writes without an end");
    }
    lock.unlock();
    for (std::size_t i = 0; i < keys_.size(); ++i) {
      CheckKey(i);
    }
    std::printf("kept %llu %llu\n", static_cast<unsigned long long>(acknowledged_),
                static_cast<unsigned long long>(unknown_));
    lock.lock();
    paused_ = false;
    last_success_ = Clock::now();
    changed_.notify_all();
  }

 private:
  struct Key {
    std::int64_t acknowledged = 0;
    std::int64_t begun = 0;    ///< The last write, whose number it wrote.
    std::int64_t unknown = 0;  ///< Writes of which nobody can say whether they took place.
    bool under_way = false;
  };

  [[noreturn]] static void Die(const std::string& what) {
    std::printf("lost: %s\n", what.c_str());
    std::fflush(stdout);
    std::_Exit(1);
  }

  static std::string Path(std::size_t key) { return "/kept/" + std::to_string(key); }

  conclave::Client& client(std::size_t key) { return *clients_[key % kClients]; }

  void NoteGap(Clock::time_point now) { gap_ = std::max(gap_, now - last_success_); }

  /// Begins a write at the next key that has none under way; false if every key has.
  bool BeginOne(std::unique_lock<std::mutex>& lock) {
    for (std::size_t tried = 0; tried < keys_.size(); ++tried) {
      const std::size_t at = next_++ % keys_.size();
      Key& key = keys_[at];
      if (key.under_way) {
        continue;
      }
      key.under_way = true;
      ++under_way_;
      const std::int64_t number = ++key.begun;
      lock.unlock();
      client(at).SetAsync(
          Path(at), std::to_string(number), conclave::kAnyVersion, {},
          [this, at](const conclave::Result<conclave::Written>& written) { Ended(at, written); });
      lock.lock();
      return true;
    }
    return false;
  }

  void Ended(std::size_t at, const conclave::Result<conclave::Written>& written) {
    const std::lock_guard lock(mutex_);
    Key& key = keys_[at];
    key.under_way = false;
    --under_way_;
    if (written.ok()) {
      key.acknowledged = key.begun;
      CheckVersion(at, written.value().stat.version, key.begun);
      ++acknowledged_;
      NoteGap(Clock::now());
      last_success_ = Clock::now();
    } else if (written.error().code == conclave::Code::kSessionExpired) {
      Die("the session: " + written.error().ToString());
    } else if (written.error().code == conclave::Code::kUnknownOutcome) {
      ++key.unknown;
      ++unknown_;
    } else {
      --key.begun;  // It has had no effect, and the next write takes its number.
    }
    changed_.notify_all();
  }

  /// After the write `number`, one of those of unknown outcome may be missing, none may be doubled.
  void CheckVersion(std::size_t at, std::int64_t version, std::int64_t number) const {
    if (version > number || version < number - keys_[at].unknown) {
      Die(Path(at) + " was changed " + std::to_string(version) + " times by " +
          std::to_string(number) + " writes");
    }
  }

  void CheckKey(std::size_t at) {
    const auto node = client(at).Get(Path(at));
    if (!node.ok()) {
      Die(node.error().ToString());
    }
    const Key& key = keys_[at];
    const std::int64_t value = std::strtoll(node.value().data.value_or("").c_str(), nullptr, 10);
    const bool kept = value >= key.acknowledged && value <= key.begun;
    if (!kept || (key.unknown == 0 && value != key.acknowledged)) {
      Die(Path(at) + " is " + std::to_string(value) + "; acknowledged " +
          std::to_string(key.acknowledged) + ", begun " + std::to_string(key.begun));
    }
    CheckVersion(at, node.value().stat.version, value);
  }

  void Pace() {
    std::unique_lock lock(mutex_);
    auto next = Clock::now();
    while (!ended_) {
      if (every_.count() == 0) {
        if (paused_ || !BeginOne(lock)) {
          changed_.wait(lock);
        }
        continue;
      }
      next = std::max(next + every_, Clock::now() - 10 * every_);
      changed_.wait_until(lock, next, [&] { return ended_; });
      if (!paused_ && !ended_) {
        BeginOne(lock);
      }
    }
  }

  const milliseconds every_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Key> keys_;
  std::size_t next_ = 0;
  std::size_t under_way_ = 0;
  std::uint64_t acknowledged_ = 0;
  std::uint64_t unknown_ = 0;
  bool paused_ = false;
  bool ended_ = false;
  Clock::time_point last_success_;
  Clock::duration gap_{};
  std::thread pacer_;
  /// Last: their end calls back what is under way.
  std::vector<std::unique_ptr<conclave::Client>> clients_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fputs("usage: kept-writes ENDPOINTS KEYS EVERY_MS\n", stderr);
    return 2;
  }
  Keys keys(argv[1], std::strtoull(argv[2], nullptr, 10),
            milliseconds(std::strtoll(argv[3], nullptr, 10)));
  std::puts("ready");
  std::fflush(stdout);
  for (std::string line; std::getline(std::cin, line); std::fflush(stdout)) {
    if (line.starts_with("more ")) {
      keys.More(std::strtoull(line.c_str() + 5, nullptr, 10));
      std::puts("more");
    } else if (line == "gap") {
      std::printf("gap %.1f\n", keys.Gap());
    } else if (line == "check") {
      keys.Check();
    } else {
      std::puts("what?");
    }
  }
  return 0;
}
