#include "tests/sim/run.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/sim/actor.h"
#include "tests/sim/history.h"
#include "tests/sim/journal.h"
#include "tests/sim/knobs.h"
#include "tests/sim/library_actor.h"
#include "tests/sim/nemesis.h"
#include "tests/sim/oracle.h"
#include "tests/sim/world.h"

namespace conclave::sim {
namespace {

const Journal* g_journal = nullptr;
std::string g_knobs;

// The phases of one run.
class Run {
 public:
  Run(const Knobs& knobs, bool print)
      : journal_(print), world_(std::make_unique<World>(knobs, &journal_)), nemesis_(world_.get()) {
    g_journal = &journal_;
    g_knobs = fmt::format("seed={} {}", knobs.seed, knobs.Describe());
    for (std::size_t i = 0; i < knobs.clients; ++i) {
      AddClient(i < knobs.library_clients);
    }
    world_->on_gone = [this](raft::MemberId id) {
      for (const auto& actor : actors_) {
        actor->MemberGone(id);
      }
    };
  }

  ~Run() {
    for (const auto& actor : actors_) {
      actor->Quit();
    }
    world_->loop().RunFor(2 * kMs);
    g_journal = nullptr;
  }

  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;

  Journal& journal() { return journal_; }

  World& world() { return *world_; }

  void Faults(std::int64_t seconds) {
    for (raft::MemberId id = 1; id <= world_->knobs().members; ++id) {
      world_->Start(id);
    }
    for (const auto& actor : actors_) {
      actor->Start();
    }
    nemesis_.Start();
    world_->RunFor(seconds * 1'000 * kMs);
  }

  void Healed() {
    nemesis_.Heal();
    if (world_->knobs().faults.membership) {
      SettleMembers();
    }
    core_ = nemesis_.LeaveMajority();
    for (const auto& actor : actors_) {
      actor->UseOnly(core_);
    }
    // Somebody new, so that progress is seen from its beginning.
    const Knobs& knobs = world_->knobs();
    std::vector<Workload*> fresh{AddClient(false)};
    if (knobs.library_clients > 0) {
      fresh.push_back(AddClient(true));
    }
    for (Workload* client : fresh) {
      client->UseOnly(core_);
      client->Start();
    }
    const std::int64_t elections_ms =
        10 * std::int64_t{knobs.server.election_ticks_max} * knobs.server.tick_ms;
    const std::int64_t bound_ms =
        elections_ms + knobs.restart_max_ms + 12'000 + CatchUpMs() +
        static_cast<std::int64_t>(knobs.library_clients) * 3'000;  // each in turn with a lock
    Await("a new client gets no answers", bound_ms, [&fresh] {
      return std::ranges::all_of(fresh,
                                 [](const Workload* client) { return client->progressed(); });
    });
    for (const auto& actor : actors_) {
      actor->Stop();
    }
    Await("a write never ends", bound_ms, [this] {
      return std::all_of(actors_.begin(), actors_.end(),
                         [](const auto& actor) { return actor->idle(); });
    });
    // Those who were left alone expire, those who still poll do not.
    world_->RunFor((knobs.session_timeout_ms * 11 / 10 + elections_ms / 5 + 3'000) * kMs);
    Await("the members do not converge", bound_ms, [this] { return Converged(); });
    // An entry may be applied before the member's own disk has it: syncs under way may end.
    world_->RunFor(2'000 * kMs);
    Await("the members do not stay converged", bound_ms, [this] { return Converged(); });
  }

  void Judge() {
    if (journal_.failed()) {
      return;
    }
    const std::vector<raft::Entry>& log = CommittedLog();
    if (journal_.failed()) {
      return;
    }
    Oracle& oracle = oracle_.emplace(&history_, &journal_);
    oracle.Judge(log, [this](std::uint64_t index) { return world_->applied_at_ns(index); });
    for (const auto& [id, session] : history_.sessions) {
      if (session.abandoned_ns != 0 && oracle.SessionLives(id)) {
        journal_.Fail("L5: session {} was left alone and lives", id);
      }
    }
    for (const auto& actor : actors_) {
      if (actor->session() != 0 && !oracle.SessionLives(actor->session())) {
        journal_.Fail("L5: session {} is used and has ended", actor->session());
      }
    }
    for (const raft::MemberId id : core_) {
      CheckTree(id, oracle);
    }
    const server::Counters counters = world_->TotalCounters();
    journal_.Count("retried writes answered from the store", counters.writes_duplicate);
    journal_.Count("forwarded writes", counters.writes_forwarded);
    journal_.Count("messages of Raft repeated", world_->network().repeated());
    if (counters.digest_mismatches > 0) {
      journal_.Fail("R12: members found their digests to differ");
    }
  }

 private:
  Workload* AddClient(bool library) {
    const std::uint64_t number = actors_.size();
    if (library) {
      actors_.push_back(std::make_unique<LibraryActor>(world_.get(), &history_, number));
    } else {
      actors_.push_back(std::make_unique<Actor>(world_.get(), &history_, number));
    }
    return actors_.back().get();
  }

  void Await(const char* otherwise, std::int64_t limit_ms, const std::function<bool()>& done) {
    if (!journal_.failed() && !world_->RunUntil(done, limit_ms * kMs) && !journal_.failed()) {
      for (const raft::MemberId id : core_) {
        if (world_->running(id)) {
          const server::Status at = world_->server(id).status();
          journal_.Note("member {}: {} term {} leader {} commit {} applied {} of {}; {}", id,
                        server::RoleName(at.role), at.term, at.leader, at.commit_index,
                        at.applied_index, at.last_index, at.unready_reason);
        } else {
          journal_.Note("member {} is down", id);
        }
      }
      for (std::size_t i = 0; i < actors_.size(); ++i) {
        journal_.Note("client {}: session {}, {}{}", i, actors_[i]->session(),
                      actors_[i]->idle() ? "done" : "not done: ",
                      actors_[i]->idle() ? "" : actors_[i]->UnderWay());
      }
      journal_.Fail("liveness: {} within {} ms", otherwise, limit_ms);
    }
  }

  // How long a member that has nothing takes for the whole log: with one entry a message and one
  // message on its way that is a round trip for each.
  std::int64_t CatchUpMs() const {
    const Knobs& knobs = world_->knobs();
    const auto at_once =
        static_cast<std::int64_t>(std::min<std::size_t>(knobs.server.append_entries_max, 64) *
                                  knobs.server.inflight_messages_max);
    const auto entries = static_cast<std::int64_t>(world_->checker().committed()) + 1'000;
    return entries / at_once * (2 * knobs.network.delay_max_ns + knobs.sync_max_ns) / kMs;
  }

  bool Converged() const {
    std::optional<server::Status> first;
    for (const raft::MemberId id : core_) {
      if (!world_->running(id)) {
        return false;
      }
      const server::Status status = world_->server(id).status();
      if (!first) {
        first = status;
      }
      if (!status.ready || status.applied_index != first->applied_index ||
          status.applied_index != status.commit_index || status.digest != first->digest) {
        return false;
      }
    }
    return true;
  }

  // Changes of the membership come to their end while everybody is there: half of one would leave
  // it open who is a majority.
  void SettleMembers() {
    const std::int64_t limit_ms = 60'000 + world_->knobs().restart_max_ms + CatchUpMs();
    Await("the operator's last change does not end", limit_ms,
          [this] { return !nemesis_.oper().busy(); });
    world_->RunFor(1'000 * kMs);
    Await("the voters do not agree on the configuration", limit_ms, [this] {
      world_->NoteReadmitted();
      core_ = world_->voters();
      std::erase_if(core_, [this](raft::MemberId id) { return world_->lost(id); });
      const raft::Index index = world_->committed().configuration_index();
      return std::ranges::all_of(core_, [this, index](raft::MemberId id) {
        return world_->running(id) && world_->server(id).ready() &&
               world_->server(id).status().configuration_index == index &&
               world_->server(id).status().applied_index >= index;
      });
    });
  }

  // What is committed; every member of the core must hold it, in its log or in its snapshot.
  const std::vector<raft::Entry>& CommittedLog() {
    const raft::Index committed = world_->checker().committed();
    const std::vector<raft::Entry>& log = world_->committed().entries();
    if (log.size() != committed) {
      journal_.Fail("R5: {} entries were applied, of {}", log.size(), committed);
    }
    for (const raft::MemberId id : core_) {
      const DiskView disk = world_->Look(id);
      if (!disk.error.empty() || disk.last() < committed) {
        journal_.Fail("D1: member {} has {} entries on its disk, {} are committed; {}", id,
                      disk.last(), committed, disk.error);
        break;
      }
      for (raft::Index index = disk.start.index; index <= committed; ++index) {
        if (index > 0 && !disk.Holds(index, world_->checker().ChainAt(index))) {
          journal_.Fail("D1: member {} holds another entry {} than was applied", id, index);
          break;
        }
      }
    }
    return log;
  }

  void CheckTree(raft::MemberId id, const Oracle& oracle) {
    const auto waiting = std::make_shared<std::size_t>(0);
    for (const auto& [path, node] : oracle.model().nodes) {
      server::ReadRequest get{
          .op = server::GetRequest{path}, .mode = server::ReadMode::kStale, .watch = std::nullopt};
      server::ReadRequest children = get;
      children.op = server::ChildrenRequest{.path = path, .after = {}};
      *waiting += 2;
      world_->OnCore(
          id, [this, &oracle, waiting, id, get, children, path = path](server::Server& at) {
            at.Read({}, get,
                    [this, &oracle, waiting, id, path](const server::ReplyHead&,
                                                       server::Answer<server::ReadReply> got) {
                      --*waiting;
                      const std::string wrong = got ? oracle.Differs(path, got->value->has_data(),
                                                                     got->value->data(), got->stat)
                                                    : path + ": " + got.error().error.message;
                      if (!wrong.empty()) {
                        journal_.Fail("final tree of member {}: {}", id, wrong);
                      }
                    });
            at.Read({}, children,
                    [this, &oracle, waiting, id, path](const server::ReplyHead&,
                                                       server::Answer<server::ReadReply> got) {
                      --*waiting;
                      if (!got || got->names != oracle.model().ChildNames(path)) {
                        journal_.Fail("final tree of member {}: children of {} differ", id, path);
                      }
                    });
          });
    }
    Await("reads of the final tree do not end", 5'000, [&waiting] { return *waiting == 0; });
  }

  Journal journal_;
  History history_;
  std::vector<std::unique_ptr<Workload>> actors_;
  std::unique_ptr<World> world_;
  Nemesis nemesis_;
  std::optional<Oracle> oracle_;
  std::vector<raft::MemberId> core_;
};

}  // namespace

std::string DescribeRunUnderWay() {
  return g_journal == nullptr ? "" : g_journal->Tail() + g_knobs + "\n";
}

RunResult RunSeed(const RunOptions& options) {
  const Knobs knobs = DrawKnobs(options.seed);
  Run run(knobs, options.print);
  Journal& journal = run.journal();
  journal.Note("{}", knobs.Describe());
  run.Faults(options.seconds);
  if (!journal.failed()) {
    run.Healed();
  }
  run.Judge();
  RunResult result;
  result.violation = journal.violation();
  result.knobs = knobs.Describe();
  result.tail = journal.Tail();
  journal.hash().Add(run.world().network().trace().value());
  result.hash = journal.hash().value();
  result.simulated_seconds = static_cast<double>(run.world().loop().now_ns()) / 1e9 - 1;
  journal.Count("steps", run.world().loop().events_run());
  result.counts = journal.counts();
  return result;
}

}  // namespace conclave::sim
