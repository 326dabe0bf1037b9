// A client of a run: it calls the servers as a door would, over a connection that delays, breaks
// and loses answers; it retries, moves, resumes its watches, and gives up now and then. Everything
// it is told goes into the history; it judges little by itself.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "coord/server/api.h"
#include "tests/sim/history.h"
#include "tests/sim/workload.h"
#include "tests/sim/world.h"

namespace conclave::sim {

class Actor final : public Workload {
 public:
  Actor(World* world, History* history, std::uint64_t number);

  void Start() override { ReconnectLater(); }

  void Stop() override { stopping_ = true; }

  bool idle() const override { return stopping_ && !write_.has_value() && !opening_; }

  std::string UnderWay() const override {
    return opening_ ? "a session" : fmt::format("write {}", seq_);
  }

  void UseOnly(std::vector<raft::MemberId> members) override;
  void MemberGone(raft::MemberId member) override;

  void Quit() override {}

  std::int64_t session() const override { return session_; }

  bool progressed() const override { return answered_ >= 5; }

 private:
  struct PendingWrite {
    tree::Command command;
    std::int64_t seq = 0;
    bool closes = false;
    bool repeated = false;  // answered before; sent again to see the same answer
  };

  // --- the connection ---
  template <typename T>
  using Make = std::function<void(server::Server&, server::Callback<T>)>;
  template <typename T>
  using Take = std::function<void(server::ReplyHead&, server::Answer<T>&)>;
  // `seen` is told of the answer when the member gives it, `then` when it arrives; one that never
  // does ends the connection after `patience_ms`.
  template <typename T>
  void Call(Make<T> make, Take<T> seen, Take<T> then, std::int64_t patience_ms);
  void Break();
  void ReconnectLater();
  void Connect();
  std::int64_t LatencyNs();
  bool LosesReply();

  // --- sessions and watches ---
  void Open();
  void Opened(const server::ReplyHead& head, const server::OpenSessionReply& reply);
  void Over(std::int64_t zxid);
  void GiveUp();
  void Resume();
  void AddWatches();
  void AddOneShot();
  void Poll();
  void TakeHead(const server::ReplyHead& head, bool from_poll);
  void NoteAge(const server::ReplyHead& head);

  SessionRecord& record() { return history_->sessions[session_]; }

  // What to do about an answer that is no answer to the call. False: it is one.
  bool Handle(const server::ReplyHead& head, tree::Code code, const std::string& message);

  // --- operations ---
  void Work();
  void WorkLater();
  void BeginWrite();
  void SendWrite();
  void WriteArrived(const server::ReplyHead& head,
                    const server::Answer<server::WriteReply>& answer);
  void Read();
  void NoteWriteAnswer(std::int64_t session, std::int64_t seq,
                       const server::Answer<server::WriteReply>& answer);
  void NoteRead(ReadRecord read, const server::ReplyHead& head,
                const server::Answer<server::ReadReply>& answer);
  server::Caller MakeCaller();
  tree::Op DrawOp();
  std::string DrawKey();
  tree::Command DrawCommand();

  bool Percent(std::uint64_t percent) { return random_.Uniform(0, 99) < percent; }

  World* const world_;
  History* const history_;
  const std::uint64_t number_;
  SimRandom random_;
  std::vector<raft::MemberId> members_;

  raft::MemberId member_ = 0;
  std::uint64_t generation_ = 1;
  std::uint64_t cut_generation_ = 0;  // its answers are lost
  std::int64_t out_ns_ = 0;
  std::int64_t in_ns_ = 0;
  bool reconnecting_ = false;

  bool calm_ = false;  // faults have ended
  bool stopping_ = false;
  bool opening_ = false;
  tree::Bytes16 nonce_{};
  std::int64_t opened_known_zxid_ = 0;
  std::int64_t session_ = 0;
  tree::Bytes16 secret_{};
  std::int64_t seq_ = 0;
  std::int64_t last_zxid_ = 0;
  tree::Cursor cursor_;
  std::optional<PendingWrite> write_;
  std::deque<std::string> recent_;
  std::uint64_t answered_ = 0;  // operations
  tree::WatchId next_watch_ = 3;
  std::set<tree::WatchId> unanswered_;  // asked for, and not known to be there
  bool resume_again_ = false;
  std::uint64_t data_ = 0;
};

}  // namespace conclave::sim
