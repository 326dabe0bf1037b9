// A state machine as small as can be, whose rows are a function of the log, and the comparison of
// snapshots with it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <tl/expected.hpp>

#include "consensus/types.h"
#include "persist/error.h"
#include "persist/snapshot_codec.h"
#include "persist/snapshot_store.h"
#include "tests/persist/fault_env.h"
#include "tests/persist/log_workload.h"

namespace conclave::persist::testing {

using Rows = std::map<std::string, std::string>;
using Changes = std::map<std::string, std::optional<std::string>>;

RowSource SourceOf(Rows rows);
RowSource SourceOf(Changes changes);

/// The state after all entries up to `index`: some rows set or gone by each entry, and one row that
/// is different at every index.
struct ModelState {
  raft::Index index = 0;
  Rows rows;
  Changes changed;  ///< since somebody cleared it
  /// Values are that many times as long as the usual ones (at most 190 bytes).
  std::size_t value_scale = 1;

  void Apply(const raft::Entry& entry);
  /// What a snapshot of it says. The digest is the decimal index.
  SnapshotInfo Info(const raft::SnapshotMeta& meta) const;
};

/// The meta of the state of `log` at `index`, without a configuration.
raft::SnapshotMeta MetaAt(const ModelLog& log, raft::Index index);

/// Every row, verified; the error otherwise.
tl::expected<Rows, Error> LoadRows(const SnapshotStore& store);

/// All chunks of a snapshot that has these rows, as SnapshotCursor would give them.
std::vector<SnapshotChunk> ChunksOf(const Rows& rows, std::size_t rows_per_chunk);

/// For /data on `env`: one thread, small buffers and bounds, for states of that scale.
SnapshotOptions SmallSnapshotOptions(FaultEnv* env, std::size_t value_scale = 1);

}  // namespace conclave::persist::testing
