#include "coord/server/raft_driver.h"

#include <utility>

#include <glog/logging.h>

namespace conclave::server {

MemberRole RoleOf(raft::RoleName role) {
  switch (role) {
    case raft::RoleName::kLeader:
      return MemberRole::kLeader;
    case raft::RoleName::kCandidate:
    case raft::RoleName::kPreCandidate:
      return MemberRole::kCandidate;
    case raft::RoleName::kFollower:
      break;
  }
  return MemberRole::kFollower;
}

RaftDriver::RaftDriver(std::unique_ptr<raft::Raft> raft, PeerTransport* transport,
                       Counters* counters, RaftEvents events)
    : raft_(std::move(raft)),
      transport_(transport),
      counters_(counters),
      events_(std::move(events)) {}

void RaftDriver::Tick() {
  // Without ticks a follower never campaigns. A muted leader goes on ticking: check-quorum, with
  // nothing sent and so nothing acknowledged, makes it step down.
  if (!muted_ || raft_->is_leader()) {
    raft_->Tick();
  }
}

void RaftDriver::Step(raft::MemberId from, raft::Message message, std::int64_t now_ns) {
  ++counters_->messages_received;
  const auto* append = std::get_if<raft::AppendEntries>(&message);
  const raft::Term term = append == nullptr ? 0 : append->term;
  if (muted_ && std::holds_alternative<raft::TimeoutNow>(message)) {
    return;  // it must not lead
  }
  raft_->Step(from, std::move(message));
  if (term != 0 && term == raft_->currentTerm() && raft_->leader() == from) {
    leader_heard_ns_ = now_ns;
  }
}

void RaftDriver::PeerUp(const PeerHello& peer) {
  raft_->PeerUp(peer.member, peer.incarnation, peer.cluster_started);
}

void RaftDriver::PeerDown(raft::MemberId peer) {
  // The hint would let a muted member campaign at once.
  if (!muted_) {
    raft_->PeerDown(peer);
  }
}

void RaftDriver::Pump() {
  while (!failed_ && raft_->HasReady()) {
    Fulfil(raft_->TakeReady());
  }
}

void RaftDriver::Fulfil(raft::Ready ready) {
  if (ready.failure) {
    failed_ = true;
    events_.fatal(*ready.failure);
    return;
  }
  if (ready.roleChange) {
    events_.role_changed(*ready.roleChange);
  }
  if (ready.configuration) {
    events_.configuration_changed(*ready.configuration);
  }
  Send(std::move(ready.sendNow));

  const bool needs_write = ready.needs_persist();
  Persisting persisting;
  persisting.id = ready.id;
  persisting.needs_write = needs_write;
  persisting.send = std::move(ready.sendAfterPersist);
  if (ready.install) {
    persisting.install = ready.install->meta;
  }
  persisting_.push_back(std::move(persisting));
  if (needs_write) {
    log_->Submit(ready.id, BatchOf(ready));
  } else if (persisting_.size() == 1) {
    Finish(ready.id);
  }
  for (const raft::MemberId peer : ready.sendSnapshot) {
    events_.send_snapshot(peer);
  }
  if (!ready.committed.empty()) {
    events_.committed(std::move(ready.committed));
  }
  for (const raft::ReadReady& read : ready.reads) {
    events_.read_ready(read);
  }
  for (const raft::ReadId read : ready.readsFailed) {
    events_.read_failed(read);
  }
}

persist::LogBatch RaftDriver::BatchOf(raft::Ready& ready) {
  persist::LogBatch batch;
  batch.hardState = ready.hardState;
  batch.truncateFrom = ready.truncateFrom;
  batch.append = std::move(ready.append);
  if (ready.install) {
    const raft::SnapshotMeta& meta = ready.install->meta;
    batch.SetInstall(events_.installing(meta), meta, ready.install->log_kept);
    if (ready.install->log_kept) {
      batch.compactThrough = meta.last.index;
    }
  }
  return batch;
}

void RaftDriver::WriteOwn(persist::LogBatch batch, std::function<void()> durable) {
  ++own_writes_;
  log_->SubmitOwn(std::move(batch), [this, durable = std::move(durable)] {
    --own_writes_;
    if (durable) {
      durable();
    }
  });
}

void RaftDriver::OnWritten(const LogWriter::Written& written) {
  ++counters_->log_syncs;
  counters_->log_entries += written.entries;
  counters_->log_bytes += written.bytes;
  Finish(written.through);
}

void RaftDriver::Finish(raft::PersistId through) {
  raft::PersistId last = 0;
  std::vector<raft::Envelope> send;
  std::optional<raft::SnapshotMeta> installed;
  while (!persisting_.empty() &&
         (persisting_.front().id <= through || !persisting_.front().needs_write)) {
    Persisting& done = persisting_.front();
    last = done.id;
    send.insert(send.end(), std::make_move_iterator(done.send.begin()),
                std::make_move_iterator(done.send.end()));
    if (done.install) {
      installed = std::move(done.install);
    }
    persisting_.pop_front();
  }
  CHECK_NE(last, 0U) << "the log reported " << through << ", which is not on its way";
  Send(std::move(send));
  raft_->Persisted(last);
  if (installed) {
    events_.installed(*installed);
  }
}

void RaftDriver::Send(std::vector<raft::Envelope> envelopes) {
  const bool silent = muted_ && raft_->is_leader();
  for (raft::Envelope& envelope : envelopes) {
    if (silent) {
      continue;
    }
    ++counters_->messages_sent;
    transport_->Send(envelope.to, std::move(envelope.message));
  }
}

}  // namespace conclave::server
