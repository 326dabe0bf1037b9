// The outcomes that Conclave knows, in one table.
//
// Every answer of the service, from the state machine to the command line, carries one of these
// codes. A caller's retry loop switches on the *action* of a code, never on single codes, so that a
// new code cannot fall through a switch that nobody remembered.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace conclave::tree {

// What a caller does about a code.
enum class Action : std::uint8_t {
  kNone,            // Success: nothing to do.
  kAnswer,          // The definite answer to this request; hand it to the caller.
  kRetryElsewhere,  // This attempt was not executed; try another member at once.
  kRetryLater,      // This attempt was not executed; try again after a pause.
  kOutcomeUnknown,  // It may or may not be executed: repeat only with the same session and seq.
  kSessionOver,     // The session has ended, and with it its ephemerals. Never replaced silently.
  kBroken,          // A member is broken; a person has to look.
};

// X(name, value on the wire, action, text). The values are the contract with clients (the same
// numbers stand in the Thrift enumeration): never changed, never reused.
#define CONCLAVE_CODES(X)                                                                        \
  X(kOk, 0, kNone, "ok")                                                                         \
  X(kNoNode, 1, kAnswer, "no such znode")                                                        \
  X(kNodeExists, 2, kAnswer, "the znode exists")                                                 \
  X(kBadVersion, 3, kAnswer, "the version does not match")                                       \
  X(kNotEmpty, 4, kAnswer, "the znode has children")                                             \
  X(kNoChildrenForEphemerals, 5, kAnswer, "an ephemeral znode cannot have children")             \
  X(kInvalidArgument, 6, kAnswer, "invalid argument")                                            \
  X(kNoAuth, 7, kAnswer, "not permitted")                                                        \
  X(kTooLarge, 8, kAnswer, "over a limit")                                                       \
  X(kRuntimeInconsistency, 9, kAnswer, "not executed: an earlier operation of the multi failed") \
  X(kSequenceGap, 10, kAnswer, "not executed: an earlier request of the session is missing")     \
  X(kNotSupported, 11, kAnswer, "not supported")                                                 \
  X(kReplyDropped, 12, kAnswer, "executed before; the stored reply is no longer kept")           \
  X(kRefused, 13, kAnswer, "refused: it would endanger the cluster")                             \
  X(kNotLeader, 20, kRetryElsewhere, "not the leader")                                           \
  X(kUnavailable, 21, kRetryElsewhere, "unavailable")                                            \
  X(kOverloaded, 30, kRetryLater, "overloaded")                                                  \
  X(kNoSpace, 31, kRetryLater, "no space")                                                       \
  X(kUnknownOutcome, 40, kOutcomeUnknown, "the outcome is unknown")                              \
  X(kDeadlineExceeded, 41, kAnswer, "the deadline of a read or a wait has passed")               \
  X(kSessionExpired, 50, kSessionOver, "the session is over")                                    \
  X(kCorruption, 60, kBroken, "corruption")                                                      \
  X(kInternal, 61, kBroken, "internal error")

enum class Code : std::uint8_t {
#define CONCLAVE_CODE_ENUMERATOR(name, value, action, text) name = (value),
  CONCLAVE_CODES(CONCLAVE_CODE_ENUMERATOR)
#undef CONCLAVE_CODE_ENUMERATOR
};

// The action of `code`. A value outside the table (from a newer member) counts as kBroken.
Action ActionOf(Code code);

// The name without its `k` ("NoNode"), and a short text for people. Both point to static storage.
std::string_view NameOf(Code code);
std::string_view TextOf(Code code);

// The code with this value on the wire, or none.
std::optional<Code> CodeFromWire(std::int64_t value);

// A failure as a value: what a read of the tree, a check or a decoder returns instead of throwing.
struct Error {
  Code code = Code::kInternal;
  std::string message;    // For a person: names the field, the limit, and what to do.
  std::string path;       // The path it is about, or empty.
  std::int64_t zxid = 0;  // The zxid it is as of; 0 if that has no meaning.
};

}  // namespace conclave::tree
