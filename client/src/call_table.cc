#include "client/src/call_table.h"

#include <algorithm>
#include <utility>

#include "client/src/codec.h"

namespace conclave::internal {
namespace {

// Ids of calls leave gaps, so that a write that fills a number can stand before later calls.
constexpr std::uint64_t kIdStep = 2;

}  // namespace

Call& CallTable::Add(Call call) {
  call.id = next_id_ * kIdStep;
  ++next_id_;
  const std::uint64_t id = call.id;
  (call.kind == CallKind::kFree ? waiting_free_ : waiting_).insert(id);
  if (call.deadline != BootTime::max()) {
    deadlines_.emplace(call.deadline, id);
  }
  return calls_.emplace(id, std::move(call)).first->second;
}

Call* CallTable::Find(std::uint64_t id) {
  const auto it = calls_.find(id);
  return it == calls_.end() ? nullptr : &it->second;
}

Call* CallTable::NextToSend(bool free_only, std::size_t writes_in_flight_max) {
  if (!waiting_free_.empty()) {
    return Find(*waiting_free_.begin());
  }
  if (free_only || waiting_.empty()) {
    return nullptr;
  }
  Call* call = Find(*waiting_.begin());
  const bool new_write = call->kind == CallKind::kWrite && call->seq == 0;
  return new_write && numbered_.size() >= writes_in_flight_max ? nullptr : call;
}

void CallTable::MarkSent(Call& call, BootTime now) {
  (call.kind == CallKind::kFree ? waiting_free_ : waiting_).erase(call.id);
  call.attempt = next_attempt_++;
  call.sent_at = now;
  if (call.kind == CallKind::kWrite) {
    if (call.seq == 0) {
      call.seq = next_seq_++;
      numbered_.emplace(call.seq, call.id);
    }
    ++call.attempts_unknown;
  }
}

void CallTable::Requeue(Call& call) {
  if (call.attempt == 0) {
    return;
  }
  call.attempt = 0;
  (call.kind == CallKind::kFree ? waiting_free_ : waiting_).insert(call.id);
}

void CallTable::RequeueAll() {
  for (auto& [id, call] : calls_) {
    Requeue(call);
  }
}

void CallTable::NotExecuted(Call& call) {
  if (call.attempts_unknown > 0) {
    --call.attempts_unknown;
  }
}

std::int64_t CallTable::AfterSeq(const Call& read) const {
  // Unanswered numbers rise with ids: the last one before the read counts, but not one without
  // effect, which a refusing cluster (out of space) may never take.
  auto it = numbered_.end();
  while (it != numbered_.begin()) {
    --it;
    if (it->second > read.id) {
      continue;
    }
    const Call& write = calls_.at(it->second);
    if (write.done != nullptr || write.attempts_unknown > 0) {
      return it->first;
    }
  }
  return AckedThrough();
}

std::int64_t CallTable::AckedThrough() const { return lowest_unanswered_seq() - 1; }

std::int64_t CallTable::lowest_unanswered_seq() const {
  return numbered_.empty() ? next_seq_ : numbered_.begin()->first;
}

Call CallTable::Take(Call& call) {
  const std::uint64_t id = call.id;
  waiting_.erase(id);
  waiting_free_.erase(id);
  deadlines_.erase({call.deadline, id});
  if (call.seq != 0) {
    numbered_.erase(call.seq);
  }
  auto node = calls_.extract(id);
  return std::move(node.mapped());
}

void CallTable::MakeNoOp(Call& call) {
  idl::MultiRequest nothing;
  nothing.ops.push_back(ToIdl(Op::Check("/")));
  nothing.__isset.ops = true;
  call.request = std::move(nothing);
  call.no_op = true;
  call.attempts_unknown = 0;
  call.last_refusal.reset();
  Requeue(call);
}

CallDone CallTable::Abandon(Call& call) {
  if (call.seq == 0) {
    return Take(call).done;
  }
  deadlines_.erase({call.deadline, call.id});
  call.deadline = BootTime::max();
  CallDone done = std::move(call.done);
  call.done = nullptr;
  if (call.attempts_unknown == 0) {
    MakeNoOp(call);
    // Reads under way may wait for the write that will not come: they are asked again.
    for (auto it = calls_.upper_bound(call.id); it != calls_.end(); ++it) {
      if (it->second.kind == CallKind::kRead) {
        Requeue(it->second);
      }
    }
    FreeTail();
  }
  return done;
}

void CallTable::FreeTail() {
  while (!numbered_.empty()) {
    const auto [seq, id] = *numbered_.rbegin();
    Call& last = calls_.at(id);
    if (!last.no_op || last.attempt != 0 || last.attempts_unknown > 0 || seq != next_seq_ - 1) {
      return;
    }
    (void)Take(last);
    next_seq_ = seq;
  }
}

bool CallTable::FillRefused(std::int64_t seq) {
  if (refused_.erase(seq) == 0) {
    return false;
  }
  // Before every call that waits for it, all of which are later.
  const std::uint64_t id = calls_.empty() ? kIdStep : calls_.begin()->first - 1;
  Call call;
  call.id = id;
  call.kind = CallKind::kWrite;
  call.seq = seq;
  MakeNoOp(call);
  waiting_.insert(id);
  numbered_.emplace(seq, id);
  calls_.emplace(id, std::move(call));
  return true;
}

BootTime CallTable::EarliestDeadline() const {
  return deadlines_.empty() ? BootTime::max() : deadlines_.begin()->first;
}

Call* CallTable::FirstPastDeadline(BootTime now) {
  if (deadlines_.empty() || deadlines_.begin()->first > now) {
    return nullptr;
  }
  return Find(deadlines_.begin()->second);
}

bool CallTable::FreeUnderWay() const {
  return std::any_of(calls_.begin(), calls_.end(), [](const auto& entry) {
    return entry.second.kind == CallKind::kFree && entry.second.attempt != 0;
  });
}

BootTime CallTable::OldestWriteSent() const {
  BootTime oldest = BootTime::max();
  for (const auto& [seq, id] : numbered_) {
    const Call& call = calls_.at(id);
    if (call.attempt != 0) {
      oldest = std::min(oldest, call.sent_at);
    }
  }
  return oldest;
}

}  // namespace conclave::internal
