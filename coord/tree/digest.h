// The digest of the replicated state: equal at equal zxid, or a member is wrong.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <glog/logging.h>

#include "coord/tree/bytes.h"

namespace conclave::tree {

// The sum, in each half by itself and modulo 2^64, of a 128-bit hash (XXH3) of every item of the
// state. A sum does not depend on order, and an item comes and goes by one addition or subtraction,
// so that the digest costs an entry what the entry changed. It detects faults and divergence; it is
// no defence against someone who constructs collisions.
struct Digest {
  std::uint64_t low = 0;
  std::uint64_t high = 0;

  Digest& operator+=(const Digest& other) {
    low += other.low;
    high += other.high;
    return *this;
  }

  Digest& operator-=(const Digest& other) {
    low -= other.low;
    high -= other.high;
    return *this;
  }

  friend bool operator==(const Digest&, const Digest&) = default;

  // 32 hexadecimal digits, for logs and status.
  std::string ToString() const;
};

// Builds the hash of one item: a kind, then its fields. Fields have fixed width or carry their
// length, so that two different items never feed the same bytes.
class DigestItem {
 public:
  // The kinds of items. Part of the digest's definition: never changed within a feature level.
  enum class Kind : std::uint8_t {
    kValue = 1,     // Path and Value of a znode.
    kChildren = 2,  // Path, ccount, pzxid and number of children of a znode that ever had any.
    kSession = 3,   // A session without its replies.
    kReply = 4,     // One stored reply.
    kMember = 5,    // What a member has published.
    kCluster = 6,   // Scalars: feature level, elapsed time, last zxid, limits.
  };

  explicit DigestItem(Kind kind) { buffer_[size_++] = static_cast<char>(kind); }

  // A number, as eight bytes.
  DigestItem& Add(std::uint64_t number) {
    CHECK_LE(size_ + sizeof(number), buffer_.size());
    StoreLittleEndian(buffer_.data() + size_, number);
    size_ += sizeof(number);
    return *this;
  }

  DigestItem& Add(std::int64_t number) { return Add(static_cast<std::uint64_t>(number)); }

  DigestItem& Add(std::int32_t number) { return Add(static_cast<std::int64_t>(number)); }

  // A string, by its length and its own hash: a value of a megabyte is not copied.
  DigestItem& Add(std::string_view bytes);

  Digest Finish() const;

 private:
  // The largest item is a value: 121 bytes.
  std::array<char, 160> buffer_;
  std::size_t size_ = 0;
};

}  // namespace conclave::tree
