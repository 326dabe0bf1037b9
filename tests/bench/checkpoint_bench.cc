// What checkpoints cost the state machine: changes while nothing freezes and while something does,
// a freeze, its longest slice, encoding, loading, recomputing and scrubbing, for a million znodes.
// Times are of CPU.
//
//   checkpoint_bench [ZNODES]      default: 1000000, in directories of 1,000, 100 bytes of data
//   each
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <malloc.h>
#include <time.h>

#include "coord/tree/command.h"
#include "coord/tree/state_loader.h"
#include "coord/tree/state_machine.h"

namespace {

using conclave::tree::Command;
using conclave::tree::Create;
using conclave::tree::EncodeEntry;
using conclave::tree::EntryHeader;
using conclave::tree::FrozenRows;
using conclave::tree::OpenSession;
using conclave::tree::ScrubResult;
using conclave::tree::SetData;
using conclave::tree::StateLoader;
using conclave::tree::StateMachine;

// Of CPU, not of the clock on the wall: all of this is one thread that waits for nothing.
double Now() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

std::size_t AllocatedBytes() {
  const struct mallinfo2 info = mallinfo2();
  return info.uordblks + info.hblkhd;
}

std::string PathOf(int znode) {
  char text[64];
  std::snprintf(text, sizeof text, "/dir-%04d/node-%04d", znode / 1000, znode % 1000);
  return text;
}

class Bench {
 public:
  explicit Bench(int znodes) : znodes_(znodes) {}

  void Run() {
    const std::size_t before = AllocatedBytes();
    OpenSession open;
    open.timeout_ms = 1000;
    open.secret.fill(1);
    open.nonce.fill(2);
    session_ = state_.Apply(++zxid_, EncodeEntry({}, open)).reply.session;
    Fill();
    const std::size_t dirty = AllocatedBytes();
    Freeze("freeze of everything");
    malloc_trim(0);
    const std::size_t clean = AllocatedBytes();
    std::printf("bytes per znode: %.1f clean, %.1f with all of them dirty\n",
                PerZnode(clean - before), PerZnode(dirty - before));
    // Twice the same znodes: the first time each becomes dirty.
    Set("set data, each a first change", 200'000);
    Set("set data, each a second change", 200'000);
    state_.BeginFreeze();
    Set("set data, each captured before", 200'000);
    while (!state_.FreezeSlice(1000)) {
    }
    state_.TakeFrozen();
    Freeze("freeze of what changed meanwhile");
    Set("1,000 changes", 1'000);
    Freeze("freeze of 1,000 changes");
    Load();
    Scrub();
  }

 private:
  double PerZnode(std::size_t bytes) const { return static_cast<double>(bytes) / znodes_; }

  void Apply(const Command& command) {
    EntryHeader header;
    header.wall_ms = 1'700'000'000'000;
    header.session = session_;
    header.seq = ++seq_;
    header.acked_through = seq_ - 1;
    entries_.emplace_back(++zxid_, EncodeEntry(header, command));
  }

  // Applies what was prepared; returns seconds.
  double ApplyAll() {
    const double begin = Now();
    for (const auto& [zxid, entry] : entries_) {
      state_.Apply(zxid, entry);
    }
    const double took = Now() - begin;
    entries_.clear();
    return took;
  }

  void Fill() {
    const std::string data(100, 'x');
    double took = 0;
    for (int i = 0; i < znodes_; ++i) {
      if (i % 1000 == 0) {
        Apply(Create{PathOf(i).substr(0, 9), ""});
      }
      Apply(Create{PathOf(i), data});
      if (i % 10'000 == 9'999) {
        took += ApplyAll();
      }
    }
    took += ApplyAll();
    entries_.shrink_to_fit();
    std::printf("%-34s %9.0f ns each\n", "create", took * 1e9 / znodes_);
  }

  void Set(const char* what, int count) {
    const std::string data(100, 'y');
    for (int i = 0; i < count; ++i) {
      Apply(SetData{PathOf(static_cast<int>(i * 7919LL % znodes_)), data});
    }
    std::printf("%-34s %9.0f ns each\n", what, ApplyAll() * 1e9 / count);
  }

  void Freeze(const char* what) {
    const double begin = Now();
    state_.BeginFreeze();
    const double begun = Now() - begin;
    double longest = 0;
    double total = 0;
    for (bool done = false; !done;) {
      const double at = Now();
      done = state_.FreezeSlice(500);
      const double took = Now() - at;
      longest = std::max(longest, took);
      total += took;
    }
    const double taking = Now();
    FrozenRows frozen = state_.TakeFrozen();
    const double taken = Now() - taking;
    const double encoding = Now();
    frozen.ForEach([this](std::string_view key, std::optional<std::string_view> value) {
      if (value.has_value() && loading_) {
        rows_.emplace_back(key, *value);
      }
    });
    const double encoded = Now() - encoding;
    std::printf(
        "%-34s %9llu rows, %.1f MB; begin %.0f us, slices of 500 rows %.0f us at most and %.0f ns "
        "a row, take %.0f us, encode %.0f ns a row\n",
        what, static_cast<unsigned long long>(frozen.rows()),
        static_cast<double>(frozen.bytes()) / 1e6, begun * 1e6, longest * 1e6,
        total * 1e9 / static_cast<double>(frozen.rows()), taken * 1e6,
        encoded * 1e9 / static_cast<double>(frozen.rows()));
  }

  void Load() {
    // All rows: a state that is dirty everywhere is what a new one is.
    Bench other(znodes_);
    OpenSession open;
    open.timeout_ms = 1000;
    open.secret.fill(1);
    open.nonce.fill(2);
    other.session_ = other.state_.Apply(++other.zxid_, EncodeEntry({}, open)).reply.session;
    other.Fill();
    other.loading_ = true;
    other.Freeze("the rows to load");
    const double begin = Now();
    StateLoader loader;
    for (const auto& [key, value] : other.rows_) {
      if (!loader.Add(key, value)) {
        break;
      }
    }
    const double added = Now();
    const auto loaded = loader.Finish(other.zxid_, other.state_.digest());
    const double finished = Now();
    if (!loaded.has_value()) {
      std::printf("%s\n", loaded.error().message.c_str());
      std::exit(EXIT_FAILURE);
    }
    std::printf("%-34s %9.3f s: rows %.3f s, digest %.3f s\n", "load", finished - begin,
                added - begin, finished - added);
  }

  void Scrub() {
    double longest = 0;
    const double begin = Now();
    for (bool running = true; running;) {
      const double at = Now();
      running = state_.ScrubSlice(500).state == ScrubResult::State::kRunning;
      longest = std::max(longest, Now() - at);
    }
    std::printf("%-34s %9.3f s: slices of 500 rows, %.0f us at most\n", "scrub", Now() - begin,
                longest * 1e6);
  }

  const int znodes_;
  StateMachine state_;
  std::int64_t session_ = 0;
  std::int64_t zxid_ = 0;
  std::int64_t seq_ = 0;
  std::vector<std::pair<std::int64_t, std::string>> entries_;
  bool loading_ = false;
  std::vector<std::pair<std::string, std::string>> rows_;
};

}  // namespace

int main(int argc, char** argv) {
  const int znodes = argc > 1 ? std::atoi(argv[1]) : 1'000'000;
  Bench(std::max(znodes, 1000)).Run();
  return EXIT_SUCCESS;
}
