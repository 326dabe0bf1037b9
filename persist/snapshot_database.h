// Rows in the database of one generation: what store and builder share.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include <leveldb/iterator.h>
#include <tl/expected.hpp>

#include "persist/database.h"
#include "persist/error.h"
#include "persist/snapshot_codec.h"
#include "persist/snapshot_store.h"

namespace conclave::persist {

using RowVisitor = std::function<tl::expected<void, Error>(const Row& row)>;

tl::expected<std::unique_ptr<Database>, Error> OpenSnapshotDatabase(const SnapshotOptions& options,
                                                                    std::uint64_t generation,
                                                                    bool create);

/// What a complete generation says of itself; kDamaged if it is not complete.
tl::expected<SnapshotInfo, Error> ReadSnapshotInfo(const Database& db);

/// Visits every row, verified; kDamaged in the end if they are not exactly the rows of `expected`.
tl::expected<void, Error> VisitRows(const Database& db, leveldb::Iterator* rows,
                                    const RowTotals& expected, const RowVisitor& visit);

}  // namespace conclave::persist
