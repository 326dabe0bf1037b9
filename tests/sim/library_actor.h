// A client of a run that is a program with the client library: the production Client on virtual
// time, over frames to the production doors. It calls many things at once, watches, contends for
// locks, stands still, falls silent, and hands its session over to another process. What it is told
// goes into the history; what can be judged at once is judged here (events before replies, one
// holder at a time, every call by its deadline).
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <conclave/client.h>
#include <conclave/lock.h>

#include "tests/sim/client_links.h"
#include "tests/sim/history.h"
#include "tests/sim/workload.h"
#include "tests/sim/world.h"

namespace conclave::sim {

class LibraryActor final : public Workload {
 public:
  LibraryActor(World* world, History* history, std::uint64_t number);
  ~LibraryActor() override;

  void Start() override;
  void Stop() override;
  bool idle() const override;
  std::string UnderWay() const override;
  void UseOnly(std::vector<raft::MemberId> members) override;

  void MemberGone(raft::MemberId /*member*/) override {}

  void Quit() override;
  std::int64_t session() const override;
  bool progressed() const override;

 private:
  // A call that is under way.
  struct Issued {
    std::int64_t at_ns = 0;
    std::int64_t deadline_ns = 0;  // in true time, from the call on
    std::int64_t paused_ns = 0;    // of the executors, until then
  };

  // --- the client ---
  void Begin(std::optional<conclave::SavedSession> resume);
  void BeginLater(std::int64_t delay_ms, std::optional<conclave::SavedSession> resume = {});
  void End();
  void OnSession(std::uint64_t generation, const conclave::SessionChange& change);
  void GiveUp();
  void HandOver();
  void NoteSession();
  SessionRecord* record();

  // --- what it does ---
  void Tick();
  void TickLater();
  void Step();
  void Write();
  void Read();
  void Close();
  void ToggleWatch();
  void Contend();
  void OnGrant(conclave::Result<conclave::Grant> grant);
  void UseGrant();
  void LetGo();
  void Misbehave();
  void Settle();

  tree_model::ModelOp DrawOp();
  std::string DrawKey();
  std::int64_t DrawTimeoutMs();
  Issued Issue(std::int64_t timeout_ms);
  // The checks and notes that go with every answer. False: of an earlier client, not to be used.
  bool Answered(std::uint64_t generation, const Issued& issued, const char* what);
  void Told(std::int64_t zxid);
  void WriteEnded(std::size_t index, tree::Reply reply, std::int32_t op_index);
  template <typename T>
  void ReadEnded(ReadRecord read, const conclave::Result<T>& result);
  void OnEvent(std::uint64_t generation, std::int64_t watch, const conclave::Event& event);

  // Nothing can be begun now.
  bool stuck() const { return client_ == nullptr || over_ || closing_ || outstanding_ >= depth_; }

  bool Percent(std::uint64_t percent) { return random_.Uniform(0, 99) < percent; }

  World* const world_;
  History* const history_;
  const std::uint64_t number_;
  SimRandom random_;
  std::int64_t drift_ppm_ = 0;
  ClientExecutor executor_;
  ClientExecutor callbacks_;
  ClientTransport transport_;
  std::unique_ptr<conclave::Client> client_;
  std::unique_ptr<conclave::Lock> lock_;
  std::shared_ptr<conclave::Grant> grant_;
  std::string lock_path_;
  LibraryLife* life_ = nullptr;
  std::set<std::int64_t> watching_;  // the watches of this life that are not over
  std::uint64_t generation_ = 0;     // of the client
  std::size_t depth_ = 1;            // calls at once
  std::int64_t began_known_zxid_ = 0;
  std::int64_t call_timeout_ms_ = 1'000;
  std::size_t outstanding_ = 0;
  bool contending_ = false;
  bool closing_ = false;
  bool over_ = false;
  bool settled_ = false;  // stopped, and told of everything up to a last sync
  bool calm_ = false;     // faults have ended
  bool stopping_ = false;
  std::int64_t misbehaves_ns_ = 0;  // not before
  bool quit_ = false;
  std::uint64_t answered_ = 0;
  std::uint64_t granted_ = 0;
  std::uint64_t data_ = 0;
  std::deque<std::string> recent_;
};

}  // namespace conclave::sim
