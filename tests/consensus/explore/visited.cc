#include "tests/consensus/explore/visited.h"

#include <algorithm>

#include <glog/logging.h>
#include <sys/mman.h>

namespace conclave::raft::explore {

Visited::Visited(std::size_t bytes)
    : buckets_(std::max<std::size_t>(bytes / (kSlots * sizeof(std::uint64_t)), 1024)) {
  void* const memory =
      mmap(nullptr, buckets_ * kSlots * sizeof(std::uint64_t), PROT_READ | PROT_WRITE,
           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  PCHECK(memory != MAP_FAILED) << "no address space for the set of states";
  slots_ = static_cast<std::uint64_t*>(memory);
#ifdef MADV_HUGEPAGE
  // Every look is a miss of the caches; large pages spare the one of the page table.
  madvise(memory, buckets_ * kSlots * sizeof(std::uint64_t), MADV_HUGEPAGE);
#endif
}

Visited::~Visited() { munmap(slots_, buckets_ * kSlots * sizeof(std::uint64_t)); }

void Visited::Clear() {
  // The pages come back zeroed when they are next touched.
  PCHECK(madvise(slots_, buckets_ * kSlots * sizeof(std::uint64_t), MADV_DONTNEED) == 0);
  size_ = 0;
}

bool Visited::Insert(Fingerprint state) {
  const std::uint64_t kept = std::max<std::uint64_t>(static_cast<std::uint64_t>(state), 1);
  for (std::uint64_t bucket = Bucket(state);; bucket = bucket + 1 == buckets_ ? 0 : bucket + 1) {
    std::uint64_t* const slots = &slots_[bucket * kSlots];
    for (std::size_t i = 0; i < kSlots; ++i) {
      if (slots[i] == kept) {
        return false;
      }
      if (slots[i] == 0) {
        slots[i] = kept;
        ++size_;
        return true;
      }
    }
  }
}

}  // namespace conclave::raft::explore
