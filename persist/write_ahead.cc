#include "persist/write_ahead.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <functional>
#include <optional>

namespace conclave::persist {

namespace {

constexpr std::size_t kBlock = 32768;
constexpr std::size_t kHeader = 7;
constexpr std::size_t kSector = 512;
// LevelDB numbers every put and delete; no batch of ours has more of them.
constexpr std::uint64_t kSequenceGap = std::uint64_t{1} << 24U;

enum FragmentType : std::uint8_t { kZero = 0, kFull = 1, kFirst = 2, kMiddle = 3, kLast = 4 };

struct Crc32cTable {
  std::array<std::array<std::uint32_t, 256>, 8> t{};

  constexpr Crc32cTable() {
    for (std::uint32_t i = 0; i < 256; ++i) {
      std::uint32_t crc = i;
      for (int bit = 0; bit < 8; ++bit) {
        crc = (crc >> 1U) ^ ((crc & 1U) != 0 ? 0x82f63b78U : 0U);
      }
      t[0][i] = crc;
    }
    for (std::uint32_t i = 0; i < 256; ++i) {
      for (std::size_t slice = 1; slice < 8; ++slice) {
        t[slice][i] = (t[slice - 1][i] >> 8U) ^ t[0][t[slice - 1][i] & 0xffU];
      }
    }
  }
};

constexpr Crc32cTable kCrc;

std::uint8_t Byte(std::string_view data, std::size_t at) {
  return static_cast<std::uint8_t>(data[at]);
}

std::uint32_t Fixed32(std::string_view data, std::size_t at) {
  return static_cast<std::uint32_t>(Byte(data, at)) |
         static_cast<std::uint32_t>(Byte(data, at + 1)) << 8U |
         static_cast<std::uint32_t>(Byte(data, at + 2)) << 16U |
         static_cast<std::uint32_t>(Byte(data, at + 3)) << 24U;
}

// A fragment as its header claims it to be.
struct Fragment {
  std::uint32_t crc = 0;
  std::size_t length = 0;
  std::uint8_t type = 0;
};

Fragment HeaderAt(std::string_view content, std::size_t at) {
  return {Fixed32(content, at),
          static_cast<std::size_t>(Byte(content, at + 4)) |
              static_cast<std::size_t>(Byte(content, at + 5)) << 8U,
          Byte(content, at + 6)};
}

std::size_t BlockEnd(std::string_view content, std::size_t at) {
  return std::min(content.size(), (at / kBlock + 1) * kBlock);
}

bool ChecksumHolds(std::string_view content, std::size_t at, const Fragment& fragment) {
  return MaskCrc(Crc32c(0, content.substr(at + 6, 1 + fragment.length))) == fragment.crc;
}

// Most often of a pre-allocated megabyte: each byte is compared with the one behind it, in words.
bool AllZero(std::string_view data) {
  return data.empty() ||
         (data.front() == '\0' && std::memcmp(data.data(), data.data() + 1, data.size() - 1) == 0);
}

std::uint64_t SequenceOf(std::string_view record) {
  return static_cast<std::uint64_t>(Fixed32(record, 0)) |
         static_cast<std::uint64_t>(Fixed32(record, 4)) << 32U;
}

// Where and why the walk over whole records stopped.
struct Stop {
  std::size_t record_start = 0;
  std::size_t at = 0;
  std::string reason;  // empty: the end of the file, or the zeros of the pre-allocation
};

using RecordSink = std::function<void(std::string_view)>;

// Why the fragment at `at` cannot be taken; empty if it can. `in_record`: FIRST was seen.
std::string Reject(std::string_view content, std::size_t at, bool in_record) {
  const Fragment fragment = HeaderAt(content, at);
  if (fragment.type == kZero && fragment.length == 0) {
    return "zeros in place of a record";
  }
  if (at + kHeader + fragment.length > BlockEnd(content, at)) {
    return "a record that is longer than its block";
  }
  if (!ChecksumHolds(content, at, fragment)) {
    return "checksum mismatch";
  }
  const bool opens = fragment.type == kFull || fragment.type == kFirst;
  if (fragment.type > kLast || fragment.type == kZero) {
    return "a record of an unknown type";
  }
  if (opens == in_record) {
    return in_record ? "a record without its end" : "a record without its beginning";
  }
  return {};
}

// Hands every whole record to `sink` and returns where that ended.
Stop Walk(std::string_view content, const RecordSink& sink) {
  Stop stop;
  std::string record;
  bool in_record = false;
  std::size_t at = 0;
  for (;;) {
    if (at % kBlock > kBlock - kHeader) {
      at = std::min(content.size(), (at / kBlock + 1) * kBlock);  // The trailer holds nothing.
    }
    if (!in_record) {
      stop.record_start = at;
    }
    stop.at = at;
    if (AllZero(content.substr(at))) {
      stop.reason = in_record ? "a record without its end" : "";
      return stop;
    }
    if (content.size() - at < kHeader) {
      stop.reason = "a record cut short";
      return stop;
    }
    stop.reason = Reject(content, at, in_record);
    if (!stop.reason.empty()) {
      return stop;
    }
    const Fragment fragment = HeaderAt(content, at);
    record.append(content.substr(at + kHeader, fragment.length));
    at += kHeader + fragment.length;
    in_record = fragment.type == kFirst || fragment.type == kMiddle;
    if (!in_record) {
      sink(record);
      record.clear();
    }
  }
}

// True if a record that was written later than the bad one begins somewhere behind `from`. Looks at
// every byte, for a damaged length says nothing about where the next record begins. User data may
// contain what looks like a record, so a batch must also carry a sequence number that fits.
bool RecordBehind(std::string_view content, std::size_t from, std::uint64_t last_sequence) {
  for (std::size_t at = from; at + kHeader <= content.size(); ++at) {
    const Fragment fragment = HeaderAt(content, at);
    if (fragment.type != kFull && fragment.type != kFirst) {
      continue;
    }
    const std::size_t end = at + kHeader + fragment.length;
    if (at % kBlock > kBlock - kHeader || end > BlockEnd(content, at)) {
      continue;
    }
    if (fragment.length < 12) {
      // LevelDB writes a FIRST this short only into the last bytes of a block.
      if (fragment.type == kFirst && end % kBlock == 0 && ChecksumHolds(content, at, fragment)) {
        return true;
      }
      continue;
    }
    const std::uint64_t sequence = SequenceOf(content.substr(at + kHeader, 8));
    const bool fits = last_sequence == 0
                          ? sequence != 0 && sequence >> 56U == 0
                          : sequence > last_sequence && sequence - last_sequence < kSequenceGap;
    if (fits && ChecksumHolds(content, at, fragment)) {
      return true;
    }
  }
  return false;
}

// True if the bytes at `at` are a whole fragment of another length than its header says.
bool WholeWithAnotherLength(std::string_view content, std::size_t at) {
  if (content.size() - at < kHeader) {
    return false;
  }
  const Fragment fragment = HeaderAt(content, at);
  std::uint32_t crc = Crc32c(0, content.substr(at + 6, 1));
  for (std::size_t next = at + kHeader; next < BlockEnd(content, at); ++next) {
    crc = Crc32c(crc, content.substr(next, 1));
    if (MaskCrc(crc) == fragment.crc) {
      return true;
    }
  }
  return false;
}

// True if of some sector of the bad record nothing is there.
bool HasMissingSector(std::string_view content, const Stop& stop) {
  const std::size_t last_written = content.find_last_not_of('\0') + 1;
  // At least the header, the rear of which may be in a sector that is missing.
  std::size_t end = std::max(last_written, stop.at + kHeader);
  if (content.size() - stop.at >= kHeader) {
    const Fragment fragment = HeaderAt(content, stop.at);
    const std::size_t claimed = stop.at + kHeader + fragment.length;
    const std::size_t block_end = (stop.at / kBlock + 1) * kBlock;
    if (claimed > content.size() && claimed <= block_end) {
      return true;  // The file ends inside the record.
    }
    if (fragment.type != kZero && claimed <= block_end) {
      end = std::max(end, claimed);
    }
  } else {
    return true;  // The file ends inside the header.
  }
  if (stop.at >= last_written) {
    return true;  // A record of several fragments of which the rest never came.
  }
  for (std::size_t at = stop.record_start; at < end;) {
    const std::size_t next = std::min(end, (at / kSector + 1) * kSector);
    if (AllZero(content.substr(at, next - at))) {
      return true;
    }
    at = next;
  }
  return false;
}

// `batches`: the records are WriteBatches (a write-ahead file), which have sequence numbers.
WriteAheadTail Scan(std::string_view content, bool batches, const RecordSink& sink) {
  WriteAheadTail tail;
  std::uint64_t last_sequence = 0;
  const Stop stop = Walk(content, [&](std::string_view record) {
    ++tail.records;
    if (batches && record.size() >= 12) {
      last_sequence = SequenceOf(record);
    }
    if (sink) {
      sink(record);
    }
  });
  tail.valid_bytes = stop.record_start;
  tail.bad_offset = stop.at;
  tail.reason = stop.reason;
  if (stop.reason.empty()) {
    return tail;
  }
  if (batches &&
      RecordBehind(content, stop.at + (stop.at == stop.record_start ? 1 : 0), last_sequence)) {
    tail.kind = TailKind::kDamaged;
    tail.reason += ", with a later record behind it";
  } else if (WholeWithAnotherLength(content, stop.at)) {
    tail.kind = TailKind::kDamaged;
    tail.reason += ", though the whole record is there: its length is damaged";
  } else if (!HasMissingSector(content, stop)) {
    tail.kind = TailKind::kDamaged;
    tail.reason += ", though every sector of the record was written";
  } else {
    tail.kind = TailKind::kTorn;
  }
  return tail;
}

}  // namespace

std::uint32_t Crc32c(std::uint32_t crc, std::string_view data) {
  crc = ~crc;
  std::size_t at = 0;
  for (; at + 8 <= data.size(); at += 8) {
    const std::uint32_t low = crc ^ Fixed32(data, at);
    const std::uint32_t high = Fixed32(data, at + 4);
    crc = kCrc.t[7][low & 0xffU] ^ kCrc.t[6][(low >> 8U) & 0xffU] ^
          kCrc.t[5][(low >> 16U) & 0xffU] ^ kCrc.t[4][low >> 24U] ^ kCrc.t[3][high & 0xffU] ^
          kCrc.t[2][(high >> 8U) & 0xffU] ^ kCrc.t[1][(high >> 16U) & 0xffU] ^
          kCrc.t[0][high >> 24U];
  }
  for (; at < data.size(); ++at) {
    crc = (crc >> 8U) ^ kCrc.t[0][(crc ^ Byte(data, at)) & 0xffU];
  }
  return ~crc;
}

std::uint32_t MaskCrc(std::uint32_t crc) { return ((crc >> 15U) | (crc << 17U)) + 0xa282ead8U; }

WriteAheadTail ScanWriteAhead(std::string_view content) { return Scan(content, true, nullptr); }

WriteAheadTail ScanManifest(std::string_view content,
                            const std::function<void(std::string_view)>& sink) {
  return Scan(content, false, sink);
}

}  // namespace conclave::persist
