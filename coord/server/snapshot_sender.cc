#include "coord/server/snapshot_sender.h"

#include <algorithm>
#include <utility>

#include <glog/logging.h>

namespace conclave::server {
namespace {

constexpr std::int64_t kNsPerMs = 1'000'000;
constexpr double kNsPerSecond = 1e9;

// What a pause in sending may be made up for: about two ticks.
constexpr std::int64_t kBurstNs = 20 * kNsPerMs;

// A peer that is connected and says nothing for so many tries is given up.
constexpr std::int64_t kTries = 30;

using Opened = tl::expected<std::optional<persist::SnapshotInfo>, persist::Error>;
using Read = tl::expected<persist::SnapshotChunk, persist::Error>;

}  // namespace

SnapshotSender::SnapshotSender(const Options& options, Links links, std::uint64_t first_transfer)
    : options_(options), links_(std::move(links)), next_transfer_(first_transfer) {}

void SnapshotSender::Begin(raft::MemberId peer, std::int64_t now_ns) {
  if (transfers_.contains(peer)) {
    return;
  }
  if (transfers_.size() >= options_.snapshot_transfers_max) {
    links_.failed(peer);  // asked again soon
    return;
  }
  Transfer& transfer = transfers_[peer];
  transfer.id = next_transfer_++;
  transfer.reading = std::make_shared<Reading>();
  transfer.heard_ns = now_ns;
  transfer.progress_ns = now_ns;
  ++links_.counters->snapshots_begun;
  links_.background->Run<Opened>(
      [generations = links_.generations, reading = transfer.reading]() -> Opened {
        const auto store = generations->current();
        if (store == nullptr) {
          return std::nullopt;
        }
        auto cursor = store->NewCursor();
        if (!cursor) {
          return tl::unexpected(std::move(cursor.error()));
        }
        reading->cursor = std::move(*cursor);
        return reading->cursor->info();
      },
      [this, peer, id = transfer.id, now_ns](const Opened& info) {
        auto at = transfers_.find(peer);
        if (at == transfers_.end() || at->second.id != id) {
          return;
        }
        if (!info) {
          links_.fatal(info.error().message);
          return;
        }
        if (!*info) {
          Fail(at, "there is no checkpoint yet");
          return;
        }
        at->second.info = *info;
        LOG(INFO) << "snapshot.send peer=" << peer << " index=" << at->second.info->meta.last.index
                  << " rows=" << at->second.info->totals.rows
                  << " bytes=" << at->second.info->totals.bytes;
        Offer(peer, at->second, now_ns);
      });
}

void SnapshotSender::Offer(raft::MemberId peer, Transfer& transfer, std::int64_t now_ns) {
  transfer.offered = true;
  transfer.heard_ns = now_ns;
  links_.transport->Send(
      peer, SnapshotOffer{.term = links_.term(), .transfer = transfer.id, .info = *transfer.info});
}

void SnapshotSender::OnAck(raft::MemberId from, const SnapshotAck& ack, std::int64_t now_ns) {
  auto at = transfers_.find(from);
  if (at == transfers_.end() || at->second.id != ack.transfer || !at->second.info) {
    return;
  }
  Transfer& transfer = at->second;
  transfer.heard_ns = now_ns;
  transfer.progress_ns = now_ns;
  switch (ack.state) {
    case SnapshotState::kStored: {
      if (std::exchange(transfer.offered, false)) {
        ++transfer.thread;
        transfer.position = ack.position;
        transfer.in_flight.clear();
        transfer.reading_now = false;
        transfer.all_read = false;
      } else {
        auto& in_flight = transfer.in_flight;
        const auto stored = std::find(in_flight.begin(), in_flight.end(), ack.position);
        if (stored != in_flight.end()) {
          in_flight.erase(in_flight.begin(), stored + 1);
        }
      }
      ReadMore(from, transfer, now_ns);
      return;
    }
    case SnapshotState::kVerifying:
      transfer.offered = false;
      transfer.all_read = true;
      transfer.in_flight.clear();
      return;
    case SnapshotState::kInstalled: {
      ++links_.counters->snapshots_sent;
      const raft::EntryId last = transfer.info->meta.last;
      LOG(INFO) << "snapshot.sent peer=" << from << " index=" << last.index;
      Drop(at);
      links_.sent(from, last);
      return;
    }
    case SnapshotState::kRefused:
      Fail(at, ack.message);
      return;
  }
}

void SnapshotSender::ReadMore(raft::MemberId peer, Transfer& transfer, std::int64_t now_ns) {
  if (transfer.reading_now || transfer.all_read || transfer.offered || !transfer.info ||
      transfer.in_flight.size() >= options_.snapshot_chunks_inflight || next_send_ns_ > now_ns) {
    return;
  }
  next_send_ns_ =
      std::max(next_send_ns_, now_ns - kBurstNs) +
      static_cast<std::int64_t>(kNsPerSecond * static_cast<double>(options_.snapshot_chunk_bytes) /
                                static_cast<double>(options_.snapshot_bytes_per_second));
  transfer.reading_now = true;
  links_.background->Run<Read>(
      [reading = transfer.reading, after = transfer.position,
       bytes = options_.snapshot_chunk_bytes] { return reading->cursor->ReadChunk(after, bytes); },
      [this, peer, id = transfer.id, thread = transfer.thread](Read read) {
        auto at = transfers_.find(peer);
        if (at == transfers_.end() || at->second.id != id || at->second.thread != thread ||
            at->second.offered) {
          return;
        }
        at->second.reading_now = false;
        if (!read) {
          // Here it is as at a start: what is damaged must not be built upon.
          links_.fatal(read.error().message);
          return;
        }
        SendChunk(peer, at->second, std::move(*read));
      });
}

void SnapshotSender::SendChunk(raft::MemberId peer, Transfer& transfer,
                               persist::SnapshotChunk chunk) {
  ++links_.counters->snapshot_chunks_sent;
  links_.counters->snapshot_bytes_sent += chunk.bytes.size();
  SnapshotChunk message;
  message.term = links_.term();
  message.transfer = transfer.id;
  message.after_key = transfer.position;
  message.rows = std::move(chunk.bytes);
  message.last = chunk.last;
  message.checksum = chunk.checksum;
  transfer.all_read = chunk.last;
  if (!chunk.last_key.empty()) {
    transfer.position = std::move(chunk.last_key);
  }
  transfer.in_flight.push_back(transfer.position);
  links_.transport->Send(peer, std::move(message));
}

void SnapshotSender::Tick(std::int64_t now_ns) {
  const std::int64_t retry_ns = options_.snapshot_retry_ms * kNsPerMs;
  std::vector<raft::MemberId> silent;
  for (auto& [peer, transfer] : transfers_) {
    if (now_ns - transfer.progress_ns > kTries * retry_ns) {
      silent.push_back(peer);
    } else if (transfer.info && now_ns - transfer.heard_ns > retry_ns) {
      Offer(peer, transfer, now_ns);
    } else {
      ReadMore(peer, transfer, now_ns);
    }
  }
  for (const raft::MemberId peer : silent) {
    Fail(transfers_.find(peer), "the peer does not answer");
  }
}

void SnapshotSender::End(raft::MemberId peer, std::string_view why) {
  auto at = transfers_.find(peer);
  if (at != transfers_.end()) {
    Fail(at, why);
  }
}

void SnapshotSender::StopAll() {
  while (!transfers_.empty()) {
    ++links_.counters->snapshots_failed;
    Drop(transfers_.begin());
  }
}

void SnapshotSender::Fail(Transfers::iterator at, std::string_view why) {
  const raft::MemberId peer = at->first;
  LOG(WARNING) << "snapshot.send_failed peer=" << peer << " reason=" << why;
  ++links_.counters->snapshots_failed;
  Drop(at);
  links_.failed(peer);
}

// A cursor holds files of a generation, perhaps of one that has been replaced: closing it may
// remove a directory.
void SnapshotSender::Drop(Transfers::iterator at) {
  links_.background->Run<bool>(
      [reading = std::move(at->second.reading)] {
        reading->cursor.reset();
        return true;
      },
      [](bool) {});
  transfers_.erase(at);
}

std::optional<raft::Index> SnapshotSender::pinned() const {
  std::optional<raft::Index> lowest;
  for (const auto& [peer, transfer] : transfers_) {
    if (transfer.info && (!lowest || transfer.info->meta.last.index < *lowest)) {
      lowest = transfer.info->meta.last.index;
    }
  }
  return lowest;
}

}  // namespace conclave::server
