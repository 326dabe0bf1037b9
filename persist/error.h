// How persist/ tells its caller that something on disk is not as it should be. The kinds are what a
// caller can react to; the message is for the operator and names the path and the remedy.
#pragma once

#include <string>

namespace conclave::persist {

enum class ErrorKind {
  /// The directory given cannot be used at all: a file, not writable, holds something else.
  kDirectory,
  /// Another process (or another LogStore of this one) has the directory open.
  kLocked,
  /// The directory belongs to another member or another cluster.
  kWrongIdentity,
  /// Written by a version that this one does not know.
  kUnknownFormat,
  /// Bytes on disk are not what was written. The member must be re-admitted (rule 11); nothing is
  /// ever repaired by guessing.
  kDamaged,
  /// A call into the file system failed; on the write path this is fatal to the process.
  kIo,
  /// What another member sent cannot be used. Nothing was changed; it is asked for again.
  kTransfer,
  /// As kIo, and the cause is a full disk.
  kNoSpace,
};

struct Error {
  ErrorKind kind = ErrorKind::kIo;
  /// One or a few sentences: what, where (path and offset), what to do. Never empty.
  std::string message;
};

}  // namespace conclave::persist
