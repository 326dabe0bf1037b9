// Rows back into a state machine: at start, and after a snapshot was received.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <tl/expected.hpp>

#include "coord/tree/digest.h"
#include "coord/tree/limits.h"

namespace conclave::tree {

class StateMachine;

// Why rows do not make a state. To the member it means: this copy is damaged (or of a newer
// version), take another one; nothing of it may be used.
struct LoadError {
  enum class Kind : std::uint8_t {
    kMalformed,      // A row that cannot be read, or makes no sense by itself.
    kUnknownFormat,  // A kind of row, a format or a feature level of a newer version: upgrade.
    kOrder,          // Not ascending, or twice the same key.
    kMissing,        // Something that a row refers to, or that every state has, is not there.
    kCount,          // Not as many rows as the state row says.
    kDigest,         // All rows are readable, and are not what was written.
  };
  Kind kind = Kind::kMalformed;
  std::string message;  // For the operator: which row, what is wrong.
};

// Role: builds a state machine from all rows of a checkpoint. What it gives back is
// indistinguishable from the one that was frozen: same digest, same answers to old retries, same
// behaviour for every later entry; and clean, so that the next freeze has only what changes from
// now on.
//
// No bytes make it throw, abort or allocate more than they warrant. Every row is checked by itself
// and against the others, and at the end the digest is recomputed in full from what now lies in
// memory (rule 15).
//
// Thread: any, one at a time; the result may be handed to another. Cost: about a microsecond for
// each row; README.md has the measurement.
class StateLoader {
 public:
  // REQUIRES: the limits of this feature level; rows written under other ones are refused.
  explicit StateLoader(const Limits& limits = Limits());
  StateLoader(const StateLoader&) = delete;
  StateLoader& operator=(const StateLoader&) = delete;
  ~StateLoader();

  // The next row; keys ascend strictly. False at the first bad row and at every later call: stop
  // and ask error(), or go on to Finish, which says the same.
  bool Add(std::string_view key, std::string_view value);

  // What was wrong, if Add returned false.
  const std::optional<LoadError>& error() const;

  // The state. `index` is the Raft index that the checkpoint claims to be at, and `digest` what it
  // claims (FrozenRows::digest); the rows must agree with both. Call once, last.
  tl::expected<std::unique_ptr<StateMachine>, LoadError> Finish(std::int64_t index,
                                                                const Digest& digest);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace conclave::tree
