// Runs the Raft core: the order in which its obligations take effect stands here and nowhere else.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string_view>
#include <vector>

#include "consensus/raft.h"
#include "coord/server/log_writer.h"
#include "coord/server/peer_transport.h"
#include "coord/server/status.h"

namespace conclave::server {

// How status and reports call the role.
[[nodiscard]] MemberRole RoleOf(raft::RoleName role);

// What the driver hands on. Called from within Pump, in the order of the fields per Ready.
struct RaftEvents {
  std::function<void(const raft::RoleChange&)> role_changed;
  std::function<void(const raft::IndexedConfiguration&)> configuration_changed;
  std::function<void(std::vector<raft::Entry>)> committed;  // apply, in order
  std::function<void(const raft::ReadReady&)> read_ready;
  std::function<void(raft::ReadId)> read_failed;
  // A snapshot takes the place of the log and soon of the state: nothing is applied from here on
  // until `installed`. Returns the generation that holds it.
  std::function<std::uint64_t(const raft::SnapshotMeta&)> installing = {};
  // It is durable: now the state is to be replaced, and Raft::Applied to be told.
  std::function<void(const raft::SnapshotMeta&)> installed = {};
  // This peer needs the newest checkpoint.
  std::function<void(raft::MemberId)> send_snapshot = {};
  std::function<void(std::string_view)> fatal;
};

// Thread: core executor only.
// Owns the Raft object and the log writer; borrows store and transport.
//
// Invariants:
//   1. Per Ready: the change of role is made known, `sendNow` leaves, the durable part goes to the
//      log writer, committed entries go to apply. `sendAfterPersist` leaves once this Ready and all
//      earlier ones are durable, and not before.
//   2. A muted driver sends nothing as a leader and starts no election; it still votes and stores,
//      so that the cluster keeps its durable copies.
class RaftDriver {
 public:
  RaftDriver(std::unique_ptr<raft::Raft> raft, PeerTransport* transport, Counters* counters,
             RaftEvents events);
  RaftDriver(const RaftDriver&) = delete;
  RaftDriver& operator=(const RaftDriver&) = delete;
  ~RaftDriver() = default;

  // REQUIRES: called once, before anything else.
  void SetLog(std::unique_ptr<LogWriter> log) { log_ = std::move(log); }

  // Behind everything that has been handed to the log so far; see LogWriter::SubmitOwn.
  void WriteOwn(persist::LogBatch batch, std::function<void()> durable);

  void Tick();
  void Step(raft::MemberId from, raft::Message message, std::int64_t now_ns);
  void PeerUp(const PeerHello& peer);
  void PeerDown(raft::MemberId peer);

  // Fulfils all that the core asks for by now.
  void Pump();

  // Of LogWriter: everything through there is durable.
  void OnWritten(const LogWriter::Written& written);

  // True while something submitted is not durable yet.
  [[nodiscard]] bool writing() const { return !persisting_.empty() || own_writes_ != 0; }

  // Never leads again (rule 15).
  void Mute() { muted_ = true; }

  [[nodiscard]] bool muted() const { return muted_; }

  // When a leader was last heard here, this member's own confirmed rounds included; nullopt: never.
  [[nodiscard]] std::optional<std::int64_t> leader_heard_ns() const { return leader_heard_ns_; }

  void NoteLeaderHeard(std::int64_t now_ns) { leader_heard_ns_ = now_ns; }

  raft::Raft& raft() { return *raft_; }

  [[nodiscard]] const raft::Raft& raft() const { return *raft_; }

 private:
  struct Persisting {
    raft::PersistId id = 0;
    bool needs_write = false;
    std::vector<raft::Envelope> send;
    std::optional<raft::SnapshotMeta> install;
  };

  void Fulfil(raft::Ready ready);
  // What of it is to be made durable, as one unit.
  persist::LogBatch BatchOf(raft::Ready& ready);
  void Finish(raft::PersistId through);
  void Send(std::vector<raft::Envelope> envelopes);

  const std::unique_ptr<raft::Raft> raft_;
  PeerTransport* const transport_;
  Counters* const counters_;
  const RaftEvents events_;
  std::unique_ptr<LogWriter> log_;
  std::deque<Persisting> persisting_;  // by id
  std::size_t own_writes_ = 0;
  std::optional<std::int64_t> leader_heard_ns_;
  bool muted_ = false;
  bool failed_ = false;
};

}  // namespace conclave::server
