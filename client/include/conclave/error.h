// What can go wrong, and what to do about it. A code is what happened; its action is how a caller
// reacts, and is the only thing that most callers need to look at.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace conclave {

// How to react to a code. The library itself retries what is kRetryElsewhere and kRetryLater until
// the deadline of the call; it reports such a code only when the deadline has passed.
enum class Action {
  kNone,            // Success.
  kAnswer,          // The service has answered: the request was understood and cannot be done.
  kRetryElsewhere,  // Not executed. Another member may do it.
  kRetryLater,      // Not executed. The same request may be done later.
  kOutcomeUnknown,  // May have been executed, may still be executed. Read before deciding.
  kSessionOver,     // The session is gone, with its ephemeral znodes, watches and locks.
  kBroken,          // A defect or damaged data: tell an operator.
};

// name, number on the wire, action, text for people. The numbers are those of the Thrift
// enumeration ErrorCode. A number is never given a second meaning.
#define CONCLAVE_CLIENT_CODES(X)                                                              \
  X(kOk, 0, kNone, "ok")                                                                      \
  X(kNoNode, 1, kAnswer, "no such znode")                                                     \
  X(kNodeExists, 2, kAnswer, "znode exists already")                                          \
  X(kBadVersion, 3, kAnswer, "version does not match")                                        \
  X(kNotEmpty, 4, kAnswer, "znode has children")                                              \
  X(kNoChildrenForEphemerals, 5, kAnswer, "an ephemeral znode cannot have children")          \
  X(kInvalidArgument, 6, kAnswer, "invalid argument")                                         \
  X(kNoAuth, 7, kAnswer, "not permitted")                                                     \
  X(kTooLarge, 8, kAnswer, "too large")                                                       \
  X(kRuntimeInconsistency, 9, kAnswer, "not tried: an earlier operation of the multi failed") \
  X(kSequenceGap, 10, kRetryLater, "an earlier write of the session has not arrived")         \
  X(kNotSupported, 11, kAnswer, "not supported")                                              \
  X(kReplyDropped, 12, kAnswer, "applied, but the reply is no longer kept")                   \
  X(kRefused, 13, kAnswer, "refused: it would endanger the cluster")                          \
  X(kNotLeader, 20, kRetryElsewhere, "this member is not the leader")                         \
  X(kUnavailable, 21, kRetryElsewhere, "no member could take the request")                    \
  X(kOverloaded, 30, kRetryLater, "overloaded, not executed")                                 \
  X(kNoSpace, 31, kRetryLater, "out of space, not executed")                                  \
  X(kUnknownOutcome, 40, kOutcomeUnknown, "outcome unknown: it may have been executed")       \
  X(kDeadlineExceeded, 41, kRetryLater, "deadline exceeded, nothing was changed")             \
  X(kSessionExpired, 50, kSessionOver, "session expired")                                     \
  X(kCorruption, 60, kBroken, "corruption")                                                   \
  X(kInternal, 61, kBroken, "internal error")

enum class Code : std::int32_t {
#define CONCLAVE_CODE_ENUM(name, number, action, text) name = number,
  CONCLAVE_CLIENT_CODES(CONCLAVE_CODE_ENUM)
#undef CONCLAVE_CODE_ENUM
};

// The name without the leading k ("NoNode"), for logs and JSON: stable.
std::string_view CodeName(Code code);
// A short sentence for people.
std::string_view CodeText(Code code);
Action ActionOf(Code code);

struct Error {
  Code code = Code::kInternal;
  std::string message;  // For people; says what was asked of whom. Not for comparing.
  std::string path;     // The znode concerned, empty if none.
  std::int64_t zxid =
      0;  // The index at which it was decided, 0 if it was not decided by the state.
  std::int32_t op_index = -1;  // In a failed multi: which operation failed.

  Action action() const { return ActionOf(code); }

  // "NoNode: no such znode: /a/b", in one line.
  std::string ToString() const;
};

namespace internal {
[[noreturn]] inline void DieOfError(const Error& error) {
  std::fprintf(stderr, "conclave: value of a failed result was used: %s\n",
               error.ToString().c_str());
  std::abort();
}
}  // namespace internal

// A value or an Error. Nothing in the library throws. Using the value of a failed result ends the
// process with the error's text: check first.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::move(value)) {}  // NOLINT(google-explicit-constructor)

  Result(Error error) : state_(std::move(error)) {}  // NOLINT(google-explicit-constructor)

  bool ok() const { return std::holds_alternative<T>(state_); }

  explicit operator bool() const { return ok(); }

  T& value() & { return Checked(); }

  const T& value() const& { return const_cast<Result*>(this)->Checked(); }

  T&& value() && { return std::move(Checked()); }

  T& operator*() & { return Checked(); }

  const T& operator*() const& { return value(); }

  T* operator->() { return &Checked(); }

  const T* operator->() const { return &value(); }

  // REQUIRES: !ok().
  const Error& error() const { return std::get<Error>(state_); }

  // Works on both: kOk for a value.
  Code code() const { return ok() ? Code::kOk : error().code; }

 private:
  T& Checked() {
    if (!ok()) {
      internal::DieOfError(error());
    }
    return *std::get_if<T>(&state_);
  }

  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;

  Result(Error error) : error_(std::move(error)) {}  // NOLINT(google-explicit-constructor)

  bool ok() const { return !error_.has_value(); }

  explicit operator bool() const { return ok(); }

  // REQUIRES: !ok().
  const Error& error() const { return *error_; }

  Code code() const { return ok() ? Code::kOk : error_->code; }

 private:
  std::optional<Error> error_;
};

using Status = Result<void>;

}  // namespace conclave
