// The judge of crash states, and their numbering.
#include <algorithm>
#include <memory>
#include <utility>

#include <fmt/format.h>
#include <glog/logging.h>

#include "tests/persist/crash_world.h"

namespace conclave::persist::testing {

namespace {

constexpr std::uint64_t kProgressEvery = 10000;

std::uint64_t Mix(std::uint64_t a, std::uint64_t b) {
  std::uint64_t z = a * 0x9e3779b97f4a7c15U + b + 0x7f4a7c159e3779b9U;
  z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9U;
  z = (z ^ (z >> 27U)) * 0x94d049bb133111ebU;
  return z ^ (z >> 31U);
}

// What was opened from one disk.
struct Opened {
  std::unique_ptr<LogStore> log;
  std::unique_ptr<SnapshotGenerations> generations;
  raft::Restored restored;
  Rows rows;
};

// Judges one disk against what it may hold.
class Judge {
 public:
  Judge(const CrashWorkload& workload, std::uint64_t seed, CrashTally* tally)
      : now_(workload.now()),
        next_(workload.next()),
        value_scale_(workload.value_scale()),
        seed_(seed),
        random_(seed),
        tally_(tally) {}

  std::string Examine(FaultEnv* disk) {
    Opened opened;
    std::string wrong = Open(disk, &opened);
    disk->OnChange(nullptr);  // A second crash hits the recovery, not what follows.
    if (!wrong.empty()) {
      return wrong;
    }
    const std::string first = Compare(opened, now_);
    const ModelDisk* found = &now_;
    if (!first.empty()) {
      found = &next_;
      ++tally_->seen["with what was on its way"];
      if (const std::string second = Compare(opened, next_); !second.empty()) {
        return fmt::format("neither what was acknowledged ({}) nor the next ({})", first, second);
      }
    }
    if (found->log.start.index < opened.log->start().index) {
      ++tally_->seen["compacted"];
    }
    if (found->log.start.index != 0) {
      ++tally_->seen["begins after an install"];
    }
    if (wrong = GoOnReceiving(*found, &opened); !wrong.empty()) {
      return wrong;
    }
    return seed_ % 2 == 0 ? GoOnWriting(*found, &opened) : std::string();
  }

 private:
  std::string Open(FaultEnv* disk, Opened* opened) {
    LogStore::Options options = SmallOptions(disk, &random_);
    options.restored_tail_bytes = std::size_t{1} << 30U;  // All of it, to be compared.
    auto log = LogStore::Open(std::move(options));
    if (!log) {
      return "the log does not open: " + log.error().message;
    }
    opened->log = std::move(*log);
    tally_->seen["torn tails"] += opened->log->repair().file.empty() ? 0 : 1;
    if (now_.identity && opened->log->identity() != *now_.identity) {
      return "another incarnation";
    }
    auto generations = SnapshotGenerations::Open(SmallSnapshotOptions(disk, value_scale_),
                                                 opened->log->generation());
    if (!generations) {
      return "the snapshot does not open: " + generations.error().message;
    }
    opened->generations = std::move(*generations);
    const auto store = opened->generations->current();
    if (store == nullptr) {
      opened->restored = opened->log->TakeRestored();
      return {};
    }
    tally_->seen["torn snapshots"] += store->database().repair().file.empty() ? 0 : 1;
    auto rows = LoadRows(*store);
    if (!rows) {
      return "the snapshot does not load: " + rows.error().message;
    }
    opened->rows = std::move(*rows);
    auto restored = opened->log->TakeRestored(store->info().meta);
    if (!restored) {
      return "log and snapshot do not belong together: " + restored.error().message;
    }
    opened->restored = std::move(*restored);
    return {};
  }

  std::string Compare(const Opened& opened, const ModelDisk& model) const {
    if (opened.restored.last.index - opened.restored.start.index != opened.restored.tail.size()) {
      return "the tail is not all of the log";
    }
    if (std::string wrong =
            Difference(*opened.log, opened.restored, model.log, /*read=*/seed_ % 8 == 0);
        !wrong.empty()) {
      return wrong;
    }
    const auto store = opened.generations->current();
    if ((store != nullptr) != model.snapshot.has_value()) {
      return "a snapshot where there is none, or the other way round";
    }
    if (store == nullptr) {
      return {};
    }
    if (store->info() != *model.snapshot) {
      return fmt::format("the snapshot is at {} instead of {}", store->info().meta.last.index,
                         model.snapshot->meta.last.index);
    }
    if (opened.restored.lastApplied != model.snapshot->meta.last.index) {
      return "goes on at another index than the snapshot's";
    }
    return opened.rows == model.rows ? std::string() : "rows of another state";
  }

  // A transfer goes on behind the last chunk that was acknowledged, or the one on its way.
  std::string GoOnReceiving(const ModelDisk& found, Opened* opened) {
    if (!found.transfer) {
      return {};
    }
    const ModelDisk::Transfer& transfer = *found.transfer;
    auto receiver = opened->generations->Receive(transfer.source);
    if (!receiver) {
      return "the transfer does not go on: " + receiver.error().message;
    }
    const std::string& at = (*receiver)->last_key();
    const bool lost = transfer.generation < opened->log->generation() && at.empty();
    const bool ahead = next_.transfer && at == next_.transfer->last_key;
    if (at != transfer.last_key && !ahead && !lost) {
      return fmt::format("the transfer goes on behind '{}' instead of '{}'", at, transfer.last_key);
    }
    tally_->seen["transfers gone on with"] += at.empty() ? 0 : 1;
    if (seed_ % 5 != 0) {
      return {};
    }
    Rows rest(transfer.rows.upper_bound(at), transfer.rows.end());
    for (const SnapshotChunk& chunk : ChunksOf(rest, 9)) {
      if (const auto appended = (*receiver)->Append(chunk.bytes, chunk.checksum); !appended) {
        return "a chunk is refused: " + appended.error().message;
      }
    }
    const auto finished = (*receiver)->Finish();
    if (!finished) {
      return "the transfer does not end: " + finished.error().message;
    }
    const auto rows = LoadRows(**finished);
    if (!rows || *rows != transfer.rows) {
      return "what was received is not what was sent";
    }
    ++tally_->seen["transfers finished"];
    return {};
  }

  // What came back also goes on: the log, and a checkpoint.
  std::string GoOnWriting(const ModelDisk& found, Opened* opened) {
    ModelLog log = found.log;
    const LogBatch batch = log.Append("after the crash");
    log.Apply(batch);
    if (const auto written = opened->log->Write(batch); !written) {
      return "the log does not go on: " + written.error().message;
    }
    if (std::string wrong = DifferenceByRead(*opened->log, log); !wrong.empty()) {
      return "after going on: " + wrong;
    }
    const auto store = opened->generations->current();
    if (store == nullptr || seed_ % 4 != 0) {
      return {};
    }
    const raft::SnapshotMeta meta = MetaAt(log, log.last_index());
    const auto written = store->Write(meta, "after", SourceOf(Changes{{"zz", "after"}}));
    Rows rows = found.rows;
    rows["zz"] = "after";
    const auto loaded = LoadRows(*store);
    return written && loaded && *loaded == rows ? std::string() : "the snapshot does not go on";
  }

  const ModelDisk& now_;
  const ModelDisk& next_;
  const std::size_t value_scale_;
  const std::uint64_t seed_;
  SeededRandom random_;
  CrashTally* const tally_;
};

// One way to crash; of the first two there is one each, the others differ by seed.
CrashPolicy PolicyOf(std::uint64_t variant) {
  switch (variant) {
    case 0:
      return CrashPolicy::kDropAll;
    case 1:
      return CrashPolicy::kKeepAll;
    default:
      return variant % 2 == 0 ? CrashPolicy::kPrefix : CrashPolicy::kSubset;
  }
}

// The state `variant` at the present moment of `env`; what is wrong with it.
std::string JudgeOne(const FaultEnv& env, const CrashWorkload& workload, std::uint64_t variant,
                     std::uint64_t seed, CrashTally* tally) {
  ++tally->states;
  ++tally->seen[workload.doing()];
  const auto disk = env.CrashImage(PolicyOf(variant), seed);
  std::unique_ptr<FaultEnv> second;
  if (variant >= 2 && seed % 8 == 1) {
    // The machine stops again during recovery.
    std::uint64_t left = 1 + seed / 8 % 40;
    disk->OnChange([&] {
      if (--left == 0) {
        second = disk->CrashImage(PolicyOf(2 + seed / 8 % 2), seed + 1);
      }
    });
  }
  std::string wrong = Judge(workload, seed, tally).Examine(disk.get());
  if (wrong.empty() && second != nullptr) {
    ++tally->seen["crashed again during recovery"];
    wrong = Judge(workload, seed, tally).Examine(second.get());
  }
  return wrong;
}

std::uint64_t CountChanges(std::uint64_t seed) {
  FaultEnv env;
  CrashWorkload(&env, seed).Run();
  return env.changes();
}

// States [first, last) of one seed.
std::string EnumerateSeed(std::uint64_t seed, std::uint64_t first, std::uint64_t last,
                          CrashTally* tally) {
  const std::uint64_t changes = CountChanges(seed);
  FaultEnv env;
  CrashWorkload workload(&env, seed);
  std::string wrong;
  std::uint64_t change = 0;
  env.OnChange([&] {
    const std::uint64_t here = change++;
    // State number `n` of the seed: change n % changes, variant n / changes.
    for (std::uint64_t n = here; n < last && wrong.empty(); n += changes) {
      if (n >= first) {
        const std::uint64_t variant = n / changes;
        wrong = JudgeOne(env, workload, variant, Mix(seed, n), tally);
        if (!wrong.empty()) {
          wrong = fmt::format("state {} (seed {}, change {} of {}, variant {}, during {}): {}",
                              seed * kStatesPerSeed + n, seed, here, changes, variant,
                              workload.doing(), wrong);
        }
      }
    }
  });
  workload.Run();
  env.OnChange(nullptr);
  return wrong;
}

}  // namespace

std::string EnumerateCrashStates(std::uint64_t first, std::uint64_t count, CrashTally* tally,
                                 const std::function<void(std::uint64_t)>& progress) {
  const std::uint64_t end = first + count;
  for (std::uint64_t at = first; at < end;) {
    const std::uint64_t seed = at / kStatesPerSeed;
    const std::uint64_t begin = seed * kStatesPerSeed;
    const std::uint64_t next = std::min(end, begin + kStatesPerSeed);
    if (std::string wrong = EnumerateSeed(seed, at - begin, next - begin, tally); !wrong.empty()) {
      return wrong;
    }
    if (at / kProgressEvery != next / kProgressEvery) {
      progress(next);
    }
    at = next;
  }
  return {};
}

}  // namespace conclave::persist::testing
