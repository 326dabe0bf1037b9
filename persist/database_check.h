// What is looked at in the log's LevelDB before LevelDB opens it: rule 14, and the losses that
// LevelDB does not notice.
#pragma once

#include <cstdint>
#include <string>

#include <leveldb/env.h>
#include <tl/expected.hpp>

#include "persist/disk.h"
#include "persist/error.h"

namespace conclave::persist {

/// What CheckDatabaseFiles cut off, for the log of the server. An empty `file`: nothing.
struct WriteAheadRepair {
  std::string file;          ///< path of the file that was cut
  std::string copy;          ///< path of the copy of what was cut off
  std::uint64_t offset = 0;  ///< where it was cut
  std::uint64_t bytes = 0;   ///< bytes cut off, trailing zeros not counted
  std::string reason;        ///< what was wrong there
};

/// Checks CURRENT, the MANIFEST and every live write-ahead file in `database`:
///
///  - The write-ahead file that the MANIFEST names is there (LevelDB would go on without it).
///  - All write-ahead files but the newest are whole: they were synced before the next was begun.
///  - The newest is whole, or torn; a torn tail is copied to "NNNNNN.log.torn-<offset>" and cut
///  off.
///    LevelDB leaves files of such names alone; the 8 newest copies are kept.
///  - The MANIFEST likewise: its torn tail is an edit that never came into force.
///
/// Damage is an error (kDamaged) that names file, offset and remedy, and changes nothing.
///
/// REQUIRES: the caller holds a lock that keeps others from the directory; the database is complete
/// (has a CURRENT) and not open.
tl::expected<WriteAheadRepair, Error> CheckDatabaseFiles(leveldb::Env* env, Disk* disk,
                                                         const std::string& database);

/// What to do about damage, for the end of a message.
std::string DamageRemedy(const std::string& data_dir);

}  // namespace conclave::persist
