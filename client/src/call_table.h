// The calls of a client that are not answered yet: their order, their numbers, and what is known
// about whether they have been executed. Pure bookkeeping; it neither sends nor waits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>

#include <conclave/error.h>
#include <conclave/executor.h>

#include "client/src/rpc.h"

namespace conclave::internal {

enum class CallKind {
  kWrite,    // Numbered: executed exactly once, in order.
  kRead,     // Sees the writes issued before it; may be repeated.
  kSession,  // Needs the session, changes nothing that is replicated (watches); may be repeated.
  kFree,     // Needs neither session nor quorum (cluster status).
};

using CallDone = std::function<void(Result<Reply>)>;

struct Call {
  std::uint64_t id = 0;  // Rises in the order of issue.
  CallKind kind = CallKind::kRead;
  Request request;
  BootTime deadline = BootTime::max();
  CallDone done;  // Empty once called: then the call is only carried on for its number.
  std::size_t bytes = 0;
  bool stale_read = false;
  bool no_op = false;  // A write without effect, see CallTable.

  // Writes: the session's number for it, given when it is first sent; never changed. 0: none yet.
  std::int64_t seq = 0;
  // Which sending is under way: an answer to an earlier one is none. 0: waits to be sent.
  std::uint64_t attempt = 0;
  BootTime sent_at{};
  // Sendings that are neither answered nor known not to have been executed. With 0, a write has not
  // been executed and will not be.
  int attempts_unknown = 0;
  // Why the last attempt was not executed; reported if the deadline passes before another.
  std::optional<Error> last_refusal;
};

// Invariants:
//   1. Numbers are dense and rise with ids. A number given out belongs to one write until the write
//      is answered. If the write is given up while it certainly has not been executed, its number
//      is free again if it is the last one; otherwise a write without effect takes its place,
//      because the cluster executes n + 1 only after n.
//   2. A write without an answer is kept, also after its caller has been told kUnknownOutcome: it
//   is
//      repeated under its number until an answer comes, or all that follow would wait for ever.
class CallTable {
 public:
  Call& Add(Call call);
  Call* Find(std::uint64_t id);

  bool empty() const { return calls_.empty(); }

  std::size_t size() const { return calls_.size(); }

  // The next call to send: the oldest that waits, except that nothing overtakes a write that is
  // kept back by `writes_in_flight_max`. With `free_only`, only kFree calls.
  Call* NextToSend(bool free_only, std::size_t writes_in_flight_max);
  // Gives a number to a write that has none.
  void MarkSent(Call& call, BootTime now);
  // The attempt under way is over without an answer, executed or not: it is sent again.
  void Requeue(Call& call);
  // Gives back the last numbers as far as nothing but waiting writes without effect have them. Such
  // calls are gone afterwards.
  void FreeTail();
  // As Requeue, for all under way: the connection is gone.
  void RequeueAll();
  // The attempt under way was certainly not executed.
  void NotExecuted(Call& call);

  // For the read: the number of the last write issued before it that it has to see.
  std::int64_t AfterSeq(const Call& read) const;
  // All numbers up to this one are answered.
  std::int64_t AckedThrough() const;

  std::int64_t next_seq() const { return next_seq_; }

  void set_next_seq(std::int64_t next_seq) { next_seq_ = next_seq; }

  std::int64_t lowest_unanswered_seq() const;

  // Takes the call out, answered or given up.
  Call Take(Call& call);
  // The caller has given up on it. Returns the callback to tell, with what it should be told; keeps
  // what has to be carried on (invariants 1 and 2).
  CallDone Abandon(Call& call);

  // The member answered the write without counting its number (refused before agreement): a write
  // without effect takes it. False if that number has not been answered that way.
  void NoteRefused(std::int64_t seq) { refused_.insert(seq); }

  bool FillRefused(std::int64_t seq);

  // The cluster has counted this number, and so all before it.
  void NoteCounted(std::int64_t seq) {
    refused_.erase(refused_.begin(), refused_.lower_bound(seq));
  }

  // The earliest deadline of a call whose caller still waits; max if none.
  BootTime EarliestDeadline() const;
  Call* FirstPastDeadline(BootTime now);

  template <class RequestT>
  Call* FirstOf() {
    for (auto& [id, call] : calls_) {
      if (std::holds_alternative<RequestT>(call.request)) {
        return &call;
      }
    }
    return nullptr;
  }

  Call* First() { return calls_.empty() ? nullptr : &calls_.begin()->second; }

  // A call that needs no session has been sent and is not answered.
  bool FreeUnderWay() const;
  // When the oldest attempt of a write under way was sent; max if none is.
  BootTime OldestWriteSent() const;

 private:
  void MakeNoOp(Call& call);

  std::map<std::uint64_t, Call> calls_;
  std::set<std::uint64_t> waiting_;       // Ids not under way, but kFree.
  std::set<std::uint64_t> waiting_free_;  // Ids not under way of kind kFree.
  std::set<std::pair<BootTime, std::uint64_t>> deadlines_;
  std::map<std::int64_t, std::uint64_t> numbered_;  // Unanswered numbers and their calls.
  std::set<std::int64_t> refused_;                  // Answered numbers that may not have counted.
  std::uint64_t next_id_ = 1;
  std::uint64_t next_attempt_ = 1;
  std::int64_t next_seq_ = 1;
};

}  // namespace conclave::internal
