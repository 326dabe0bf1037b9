// Looks at LevelDB's write-ahead files before LevelDB does (rule 14).
//
// LevelDB alone gets two cases wrong. A record torn by a power cut inside a pre-allocated file
// makes a paranoid open refuse, although nothing acknowledged is lost; and a record whose damaged
// length points past the end of the file is taken for "the writer died" and dropped in silence,
// although it was acknowledged. Here the one batch that may be torn, the last one written, is told
// from damage:
//
//  - A torn record has a sector (512 bytes) of which nothing arrived: it reads as the zeros of the
//    pre-allocation, or the file ends before it. It has no later record behind it, for a batch is
//    written only after the one before it was synced. It is cut off, and what was cut is kept.
//  - Anything else is damage: a later record behind it, all of its sectors filled, a whole record
//    behind a damaged length, or a torn record in a file that is not the newest.
//
// What cannot be told: a torn record from a damaged one whose own data has a sector of zeros. It
// counts as torn.
//
// The formats are LevelDB's: a file is a sequence of 32 KiB blocks, a block a sequence of fragments
// {masked CRC32C of type and data: 4 bytes, length: 2, type: 1, data}, a record one FULL fragment
// or FIRST, MIDDLE..., LAST. Fewer than seven bytes at the end of a block are zeros and hold
// nothing.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace conclave::persist {

/// What is behind the last whole record of a write-ahead file.
enum class TailKind {
  kClean,    ///< Nothing, or the zeros of the pre-allocation.
  kTorn,     ///< The one batch that was being written when the machine or the process stopped.
  kDamaged,  ///< Records that were whole once.
};

struct WriteAheadTail {
  TailKind kind = TailKind::kClean;
  /// Where the whole records end. With kTorn the file is to be cut here.
  std::uint64_t valid_bytes = 0;
  /// Whole records before it.
  std::uint64_t records = 0;
  /// Where the first bad fragment begins, for messages; equal to valid_bytes if it opens a record.
  std::uint64_t bad_offset = 0;
  /// Why, for messages ("checksum mismatch", ...). Empty if clean.
  std::string reason;
};

/// Judges the content of one write-ahead file. Pure.
WriteAheadTail ScanWriteAhead(std::string_view content);

/// The same for a MANIFEST, which has the same framing and is not pre-allocated; every whole record
/// is handed to `record`. A length that runs past the end is told from a torn end here too.
WriteAheadTail ScanManifest(std::string_view content,
                            const std::function<void(std::string_view)>& record);

/// CRC-32C (Castagnoli) of `data`, continuing from `crc` of what came before it.
std::uint32_t Crc32c(std::uint32_t crc, std::string_view data);

/// LevelDB's masking of a stored checksum.
std::uint32_t MaskCrc(std::uint32_t crc);

}  // namespace conclave::persist
