// What single parts cost: the codec, the Raft core's step, the apply of each command, the matching
// of watches, the append to the log.
//
//   micro_bench [--benchmark_filter=REGEX] [--benchmark_min_time=SECONDS] ...
//
// Items are calls, entries or changes; the time of one is the inverse of items_per_second.
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <benchmark/benchmark.h>
#include <conclave_idl/Coord.h>
#include <stdlib.h>

#include "consensus/raft.h"
#include "coord/tree/command.h"
#include "coord/tree/state_machine.h"
#include "coord/tree/watch_hub.h"
#include "persist/log_store.h"
#include "thrift/wire/protocol.h"

namespace conclave {
namespace {

namespace idl = conclave::idl::v1;

constexpr std::size_t kValueBytes = 100;
constexpr int kZnodes = 10'000;

std::string PathOf(int znode) {
  return "/b" + std::to_string(znode % 100) + "/k" + std::to_string(znode);
}

[[noreturn]] void Die(const std::string& why) {
  std::fprintf(stderr, "micro_bench: %s\n", why.c_str());
  std::exit(1);
}

// --- The codec
// ------------------------------------------------------------------------------------

wire::Protocol ProtocolOf(const benchmark::State& state) {
  return state.range(0) == 0 ? wire::Protocol::kBinary : wire::Protocol::kCompact;
}

idl::Coord_setData_args SetCall() {
  idl::Coord_setData_args call;
  call.__isset.ctx = call.__isset.request = true;
  call.ctx.__set_session(123'456);
  call.ctx.__set_secret(std::string(16, 's'));
  call.ctx.__set_seq(1'000);
  call.ctx.__set_ackedThrough(990);
  call.request.__set_path(PathOf(1));
  call.request.__set_data(std::string(kValueBytes, 'v'));
  return call;
}

void DecodeSetCall(benchmark::State& state) {
  wire::MessageWriter writer;
  auto& protocol = writer.Begin(ProtocolOf(state));
  protocol.writeMessageBegin("setData", apache::thrift::protocol::T_CALL, 1);
  SetCall().write(&protocol);
  const std::string frame(writer.bytes());
  wire::MessageReader reader(10'000);
  for (auto _ : state) {
    auto& from = reader.Begin(frame, ProtocolOf(state));
    std::string name;
    apache::thrift::protocol::TMessageType type{};
    std::int32_t seqid = 0;
    from.readMessageBegin(name, type, seqid);
    idl::Coord_setData_args call;
    call.read(&from);
    benchmark::DoNotOptimize(call);
  }
  state.SetItemsProcessed(state.iterations());
}

BENCHMARK(DecodeSetCall)->ArgName("compact")->Arg(0)->Arg(1);

void EncodeSetReply(benchmark::State& state) {
  idl::Coord_setData_result result;
  result.__isset.success = true;
  result.success.head.zxid = 1'000'000;
  result.success.head.clusterId = std::string(16, 'c');
  result.success.head.memberId = 1;
  result.success.stat.czxid = result.success.stat.mzxid = 1'000'000;
  wire::MessageWriter writer;
  for (auto _ : state) {
    auto& to = writer.Begin(ProtocolOf(state));
    to.writeMessageBegin("setData", apache::thrift::protocol::T_REPLY, 1);
    result.write(&to);
    benchmark::DoNotOptimize(writer.bytes());
  }
  state.SetItemsProcessed(state.iterations());
}

BENCHMARK(EncodeSetReply)->ArgName("compact")->Arg(0)->Arg(1);

tree::EntryHeader HeaderOf(std::int64_t session, std::int64_t seq) {
  tree::EntryHeader header;
  header.wall_ms = 1'700'000'000'000;
  header.elapsed_ns = seq;
  header.session = session;
  header.seq = seq;
  header.acked_through = seq - 1;
  header.origin_member = 1;
  header.identity = "127.0.0.1:40000";
  return header;
}

void EncodeEntry(benchmark::State& state) {
  const tree::EntryHeader header = HeaderOf(5, 1'000);
  const tree::Command set = tree::SetData{.path = PathOf(1), .data = std::string(kValueBytes, 'v')};
  for (auto _ : state) {
    benchmark::DoNotOptimize(tree::EncodeEntry(header, set));
  }
  state.SetItemsProcessed(state.iterations());
}

BENCHMARK(EncodeEntry);

void DecodeEntry(benchmark::State& state) {
  const std::string entry = tree::EncodeEntry(
      HeaderOf(5, 1'000), tree::SetData{.path = PathOf(1), .data = std::string(kValueBytes, 'v')});
  for (auto _ : state) {
    benchmark::DoNotOptimize(tree::DecodeEntry(entry));
  }
  state.SetItemsProcessed(state.iterations());
}

BENCHMARK(DecodeEntry);

// --- The Raft core
// --------------------------------------------------------------------------------

class Chance final : public raft::RandomSource {
 public:
  std::uint64_t Next() override { return engine_(); }

 private:
  std::mt19937_64 engine_{42};
};

// Entries are never asked of the disk: all members keep up.
class NoReader final : public raft::LogReader {
 public:
  tl::expected<std::vector<raft::Entry>, std::string> Read(raft::Index first, raft::Index last,
                                                           std::size_t bytes_max) const override {
    (void)first, (void)last, (void)bytes_max;
    return tl::unexpected<std::string>("nothing is kept");
  }

  tl::expected<raft::Term, std::string> TermAt(raft::Index index) const override {
    (void)index;
    return raft::Term{1};
  }
};

// Members in one thread, whose disks and links are immediate. Member 1 leads.
class Cores {
 public:
  explicit Cores(raft::MemberId count) {
    raft::Options options;
    for (raft::MemberId id = 1; id <= count; ++id) {
      options.initial_members.push_back({.id = id, .peer_address = "x:1"});
    }
    for (raft::MemberId id = 1; id <= count; ++id) {
      options.id = id;
      options.incarnation = id;
      members_.emplace(id,
                       std::make_unique<raft::Raft>(options, raft::Restored{}, reader_, chance_));
    }
    for (auto& [id, member] : members_) {
      for (const auto& [peer, other] : members_) {
        if (peer != id) {
          member->PeerUp(peer, peer, false);
        }
      }
    }
    for (int i = 0; i < 10'000 && !leader().is_leader(); ++i) {
      leader().Tick();
      Settle();
    }
    if (!leader().is_leader()) {
      Die("nobody was elected");
    }
    Settle();
  }

  raft::Raft& leader() { return *members_.at(1); }

  // Until no member has anything to do; how many entries the leader has handed out.
  std::size_t Settle() {
    std::size_t committed = 0;
    for (bool busy = true; busy;) {
      busy = false;
      for (auto& [id, member] : members_) {
        while (member->HasReady()) {
          busy = true;
          const std::size_t count = Fulfil(id, *member);
          committed += id == 1 ? count : 0;
        }
      }
    }
    return committed;
  }

  // What a checkpoint does to the log, so that memory does not grow.
  void Compact() {
    for (auto& [id, member] : members_) {
      member->Compact(member->commitIndex());
    }
  }

 private:
  std::size_t Fulfil(raft::MemberId id, raft::Raft& member) {
    raft::Ready ready = member.TakeReady();
    Deliver(id, std::move(ready.sendNow));
    member.Persisted(ready.id);
    Deliver(id, std::move(ready.sendAfterPersist));
    if (!ready.committed.empty()) {
      member.Applied(ready.committed.back().index);
    }
    return ready.committed.size();
  }

  void Deliver(raft::MemberId from, std::vector<raft::Envelope> envelopes) {
    for (raft::Envelope& envelope : envelopes) {
      members_.at(envelope.to)->Step(from, std::move(envelope.message));
    }
  }

  Chance chance_;
  NoReader reader_;
  std::map<raft::MemberId, std::unique_ptr<raft::Raft>> members_;
};

// range(0) members, range(1) commands proposed at once: to the last of them committed everywhere.
void RaftCommit(benchmark::State& state) {
  Cores cores(static_cast<raft::MemberId>(state.range(0)));
  const auto batch = static_cast<std::size_t>(state.range(1));
  const std::vector<std::shared_ptr<const std::string>> commands(
      batch, std::make_shared<const std::string>(160, 'x'));
  std::size_t since_compaction = 0;
  for (auto _ : state) {
    if (!cores.leader().Propose(commands)) {
      Die("a proposal was refused");
    }
    if (const std::size_t committed = cores.Settle(); committed != batch) {
      Die(std::to_string(committed) + " of " + std::to_string(batch) + " were committed");
    }
    since_compaction += batch;
    if (since_compaction > 100'000) {
      state.PauseTiming();
      cores.Compact();
      since_compaction = 0;
      state.ResumeTiming();
    }
  }
  state.SetItemsProcessed(state.iterations() * state.range(1));
}

BENCHMARK(RaftCommit)->ArgNames({"members", "batch"})->ArgsProduct({{1, 3, 5}, {1, 16, 256}});

// Reads that share a round.
void RaftReadIndex(benchmark::State& state) {
  Cores cores(static_cast<raft::MemberId>(state.range(0)));
  for (auto _ : state) {
    for (std::int64_t i = 0; i < state.range(1); ++i) {
      benchmark::DoNotOptimize(cores.leader().ReadIndex());
    }
    cores.Settle();
  }
  state.SetItemsProcessed(state.iterations() * state.range(1));
}

BENCHMARK(RaftReadIndex)->ArgNames({"members", "reads"})->ArgsProduct({{1, 3}, {1, 64}});

// --- Apply
// ----------------------------------------------------------------------------------------

// A state machine with some znodes and a session that makes requests.
class Machine {
 public:
  Machine() {
    session_ = Open();
    for (int i = 0; i < 100; ++i) {
      Do(tree::Create{.path = "/b" + std::to_string(i)});
    }
    for (int i = 0; i < kZnodes; ++i) {
      Do(tree::Create{.path = PathOf(i), .data = std::string(kValueBytes, 'v')});
    }
  }

  std::int64_t Open() {
    const auto result = Apply(Header(0, 0), OpenCommand());
    return result.reply.session;
  }

  void Do(const tree::Command& command) { Apply(Header(session_, ++seq_), command); }

  // Of the session's next request, for an entry that is to be applied after those made before it.
  std::string Next(const tree::Command& command) {
    return tree::EncodeEntry(Header(session_, ++seq_), command);
  }

  // Of nobody's.
  std::string NextFree(const tree::Command& command) {
    return tree::EncodeEntry(Header(0, 0), command);
  }

  tree::OpenSession OpenCommand() {
    tree::OpenSession open;
    open.timeout_ms = 10'000;
    ++opened_;
    for (std::size_t i = 0; i < sizeof opened_; ++i) {
      open.nonce[i] = open.secret[i] = static_cast<std::uint8_t>(opened_ >> (8 * i));
    }
    return open;
  }

  tree::ApplyResult Apply(const std::string& entry) {
    tree::ApplyResult result = state_.Apply(++zxid_, entry);
    if (result.fatal) {
      Die(result.fatal->message);
    }
    return result;
  }

  // The keys of what has changed are forgotten, as a checkpoint does.
  void Checkpoint() {
    state_.BeginFreeze();
    while (!state_.FreezeSlice(1'000'000)) {
    }
    state_.TakeFrozen();
  }

 private:
  tree::EntryHeader Header(std::int64_t session, std::int64_t seq) {
    tree::EntryHeader header = HeaderOf(session, seq);
    header.elapsed_ns = ++elapsed_ns_;
    return header;
  }

  tree::ApplyResult Apply(const tree::EntryHeader& header, const tree::Command& command) {
    tree::ApplyResult result = Apply(tree::EncodeEntry(header, command));
    if (result.reply.code != tree::Code::kOk) {
      Die("an entry that prepares was answered with an error");
    }
    return result;
  }

  tree::StateMachine state_;
  std::int64_t zxid_ = 0;
  std::int64_t session_ = 0;
  std::int64_t seq_ = 0;
  std::int64_t elapsed_ns_ = 0;
  std::uint64_t opened_ = 0;
};

// Applies entries that `make` encodes a thousand at a time while the clock stands.
void ApplyAll(benchmark::State& state, const std::function<std::string(Machine&, int)>& make) {
  constexpr int kBatch = 1'000;
  Machine machine;
  int made = 0;
  std::vector<std::string> entries;
  while (state.KeepRunningBatch(kBatch)) {
    state.PauseTiming();
    machine.Checkpoint();
    entries.clear();
    for (int i = 0; i < kBatch; ++i) {
      entries.push_back(make(machine, made++));
    }
    state.ResumeTiming();
    for (const std::string& entry : entries) {
      const tree::ApplyResult result = machine.Apply(entry);
      if (result.reply.code != tree::Code::kOk) {
        state.SkipWithError("an entry was answered with an error");
        return;
      }
    }
  }
  state.SetItemsProcessed(state.iterations());
}

tree::SetData Set(int znode) {
  return {.path = PathOf(znode % kZnodes), .data = std::string(kValueBytes, 'w')};
}

void ApplySetData(benchmark::State& state) {
  ApplyAll(state, [](Machine& machine, int i) { return machine.Next(Set(i * 7'919)); });
}

BENCHMARK(ApplySetData);

// A create, and the delete of the same znode.
void ApplyCreateAndDelete(benchmark::State& state) {
  ApplyAll(state, [](Machine& machine, int i) {
    const std::string path = "/b" + std::to_string(i / 2 % 100) + "/new";
    return i % 2 == 0
               ? machine.Next(tree::Create{.path = path, .data = std::string(kValueBytes, 'v')})
               : machine.Next(tree::Delete{.path = path});
  });
}

BENCHMARK(ApplyCreateAndDelete);

void ApplyCreateSequential(benchmark::State& state) {
  ApplyAll(state, [](Machine& machine, int i) {
    return machine.Next(tree::Create{.path = "/b" + std::to_string(i % 100) + "/s-",
                                     .data = std::string(kValueBytes, 'v'),
                                     .mode = tree::CreateMode::kPersistentSequential});
  });
}

BENCHMARK(ApplyCreateSequential);

// Of range(0) operations: a check and sets.
void ApplyMulti(benchmark::State& state) {
  const auto count = static_cast<int>(state.range(0));
  ApplyAll(state, [count](Machine& machine, int i) {
    tree::Multi multi;
    multi.ops.push_back(tree::Check{.path = PathOf(i % kZnodes)});
    for (int op = 1; op < count; ++op) {
      multi.ops.push_back(Set(i * 7'919 + op));
    }
    return machine.Next(multi);
  });
}

BENCHMARK(ApplyMulti)->ArgName("ops")->Arg(2)->Arg(10)->Arg(100);

void ApplyOpenSession(benchmark::State& state) {
  ApplyAll(state, [](Machine& machine, int) { return machine.NextFree(machine.OpenCommand()); });
}

BENCHMARK(ApplyOpenSession);

// Sessions with one ephemeral znode each, ended by the leader.
void ApplyCloseSession(benchmark::State& state) {
  ApplyAll(state, [](Machine& machine, int) {
    tree::CloseSession close;
    close.session = machine.Open();
    close.reason = tree::CloseReason::kExpired;
    return machine.NextFree(close);
  });
}

BENCHMARK(ApplyCloseSession);

void ApplyPublishMember(benchmark::State& state) {
  ApplyAll(state, [](Machine& machine, int i) {
    return machine.NextFree(tree::PublishMember{.id = static_cast<std::uint64_t>(i % 5 + 1),
                                                .incarnation = 7,
                                                .client_address = "127.0.0.1:9001",
                                                .admin_address = "127.0.0.1:9201"});
  });
}

BENCHMARK(ApplyPublishMember);

// --- Watches
// --------------------------------------------------------------------------------------

// One change that concerns range(0) sessions, beside range(1) watches that it does not concern.
void WatchMatching(benchmark::State& state) {
  tree::WatchHub hub({}, 0);
  for (std::int64_t i = 0; i < state.range(0); ++i) {
    hub.Register(i + 1, {.id = 1, .path = "/b1/k1"});
  }
  for (std::int64_t i = 0; i < state.range(1); ++i) {
    const std::int64_t session = 1'000'000 + i / 1'000;
    hub.Register(session, {.id = i % 1'000 + 1, .path = "/other" + std::to_string(i)});
  }
  tree::Change change;
  change.type = tree::ChangeType::kDataChanged;
  change.path = "/b1/k1";
  change.value = tree::Value::Make({}, "k1", std::string(kValueBytes, 'v'));
  std::int64_t zxid = 0;
  for (auto _ : state) {
    change.zxid = ++zxid;
    const std::vector<std::int64_t> woken = hub.Apply(zxid, {change});
    if (woken.size() != static_cast<std::size_t>(state.range(0))) {
      Die("not every watcher was told");
    }
    for (const std::int64_t session : woken) {
      hub.Acknowledge(session, tree::Cursor::EndOf(zxid));
    }
  }
  state.SetItemsProcessed(state.iterations());
}

BENCHMARK(WatchMatching)
    ->ArgNames({"watchers", "others"})
    ->ArgsProduct({{0, 1, 100, 5'000}, {0, 100'000}});

// --- The log
// --------------------------------------------------------------------------------------

// A directory that is gone at the end.
class TemporaryDirectory {
 public:
  TemporaryDirectory()
      : path_((std::filesystem::temp_directory_path() / "micro-bench-XXXXXX").string()) {
    if (mkdtemp(path_.data()) == nullptr) {
      Die("cannot make " + path_);
    }
  }

  ~TemporaryDirectory() { std::filesystem::remove_all(path_); }

  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  [[nodiscard]] std::string at(const char* name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

// One synced batch of range(0) entries on the disk of the temporary directory. The CPU time is the
// log's; the rest is the disk's.
void LogAppend(benchmark::State& state) {
  const TemporaryDirectory directory;
  Chance chance;
  persist::LogStore::Options options;
  options.env = leveldb::Env::Default();
  options.disk = persist::PosixDisk();
  options.data_dir = directory.at("data");
  options.member = 1;
  options.cluster_name = "bench";
  options.random = &chance;
  auto store = persist::LogStore::Open(options);
  if (!store) {
    Die(store.error().message);
  }
  persist::LogBatch batch;
  batch.hardState = raft::HardState{};
  batch.hardState->currentTerm = 1;
  raft::Index next = 1;
  std::uint64_t chain = 0;
  const auto data = std::make_shared<const std::string>(160, 'x');
  for (auto _ : state) {
    batch.append.clear();
    for (std::int64_t i = 0; i < state.range(0); ++i) {
      raft::Entry entry;
      entry.term = 1;
      entry.index = next++;
      entry.kind = raft::EntryKind::kCommand;
      entry.data = data;
      entry.chain = chain = raft::ChainHash(chain, entry);
      batch.append.push_back(std::move(entry));
    }
    if (!(*store)->Write(batch)) {
      Die("a write of the log failed");
    }
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

BENCHMARK(LogAppend)->ArgName("entries")->Arg(1)->Arg(16)->Arg(256)->UseRealTime();

}  // namespace
}  // namespace conclave

BENCHMARK_MAIN();
