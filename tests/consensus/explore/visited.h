#pragma once

// The set of states that have been seen, by fingerprint, in a fixed amount of memory.

#include <cstddef>
#include <cstdint>

#include "tests/consensus/explore/inspector.h"

namespace conclave::raft::explore {

/// Buckets of a cache line each. The bucket is given by the upper half of a fingerprint and the
/// lower half is kept, so that two states are taken for one only if 64 bits and the bits of the
/// bucket's number are equal: about 90 bits for a set of some gigabytes.
class Visited {
 public:
  /// Takes about `bytes` of address space; memory only as states come.
  explicit Visited(std::size_t bytes);
  ~Visited();
  Visited(const Visited&) = delete;
  Visited& operator=(const Visited&) = delete;
  Visited(Visited&&) = delete;
  Visited& operator=(Visited&&) = delete;

  /// False if it was there. REQUIRES: not full.
  bool Insert(Fingerprint state);

  /// Brings the bucket of a state that will be inserted soon into the cache.
  void Prefetch(Fingerprint state) const { __builtin_prefetch(&slots_[Bucket(state) * kSlots], 1); }

  /// Forgets all.
  void Clear();

  std::uint64_t size() const { return size_; }

  std::uint64_t capacity() const { return buckets_ * kSlots; }

  bool full() const { return size_ >= capacity() - capacity() / 16; }

 private:
  static constexpr std::size_t kSlots = 8;

  std::uint64_t Bucket(Fingerprint state) const {
    return static_cast<std::uint64_t>(
        (Fingerprint{static_cast<std::uint64_t>(state >> 64)} * buckets_) >> 64);
  }

  std::uint64_t* slots_ = nullptr;
  std::uint64_t buckets_ = 0;
  std::uint64_t size_ = 0;
};

}  // namespace conclave::raft::explore
