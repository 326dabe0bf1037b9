// operator new of conclave-sim. A run is one thread that makes and drops millions of small objects:
// free lists by size, from memory that is never given back, cost a fraction of what a general
// allocator does. Linked into that one program, and not where a sanitizer brings its own.
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

#include <sys/mman.h>

namespace {

constexpr std::size_t kStep = 16;  // sizes are rounded up to it; the alignment
constexpr std::size_t kSmallMax = 1024;
constexpr std::size_t kPage = std::size_t{64} << 10U;  // holds objects of one size
constexpr std::size_t kPages = std::size_t{1} << 20U;  // of address space; memory where used
constexpr std::size_t kClasses = kSmallMax / kStep + 1;

struct Free {
  Free* next;
};

// Where small objects are; those elsewhere are malloc's.
constinit std::atomic<std::uintptr_t> g_begin = 0;
constinit std::atomic<std::size_t> g_pages = 0;
constinit std::array<std::uint8_t, kPages> g_class{};  // of a page's objects
// An object goes to the list of the thread that drops it.
constinit thread_local std::array<Free*, kClasses> t_free{};

std::uintptr_t Reserve() {
  void* const space = mmap(nullptr, kPages * kPage, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (space == MAP_FAILED) {
    std::abort();
  }
  std::uintptr_t begin = 0;
  const auto mine = reinterpret_cast<std::uintptr_t>(space);
  if (!g_begin.compare_exchange_strong(begin, mine)) {
    munmap(space, kPages * kPage);  // another thread was first
    return begin;
  }
  madvise(space, kPages * kPage, MADV_HUGEPAGE);
  return mine;
}

// Cuts a page into objects; returns one and lists the others.
[[gnu::noinline]] void* Refill(std::size_t cls) {
  std::uintptr_t begin = g_begin.load();
  if (begin == 0) {
    begin = Reserve();
  }
  const std::size_t page = g_pages.fetch_add(1);
  if (page >= kPages) {
    throw std::bad_alloc();
  }
  g_class[page] = static_cast<std::uint8_t>(cls);
  auto* const bytes = reinterpret_cast<std::byte*>(begin + page * kPage);
  const std::size_t size = cls * kStep;
  Free* list = nullptr;
  for (std::size_t at = kPage / size * size; at > size;) {
    at -= size;
    list = new (bytes + at) Free{list};
  }
  t_free[cls] = list;
  return bytes;
}

void* Allocate(std::size_t size) {
  if (size > kSmallMax) [[unlikely]] {
    if (void* const large = std::malloc(size); large != nullptr) {
      return large;
    }
    throw std::bad_alloc();
  }
  const std::size_t cls = size == 0 ? 1 : (size + kStep - 1) / kStep;
  Free* const first = t_free[cls];
  if (first == nullptr) [[unlikely]] {
    return Refill(cls);
  }
  t_free[cls] = first->next;
  return first;
}

void Release(void* object) {
  // Below the space the difference wraps around and is as large as above it.
  const std::size_t page =
      (reinterpret_cast<std::uintptr_t>(object) - g_begin.load(std::memory_order_relaxed)) / kPage;
  if (page >= kPages) [[unlikely]] {
    std::free(object);
    return;
  }
  Free*& first = t_free[g_class[page]];
  first = new (object) Free{first};
}

}  // namespace

void* operator new(std::size_t size) { return Allocate(size); }

void operator delete(void* object) noexcept { Release(object); }

void operator delete(void* object, std::size_t /*size*/) noexcept { Release(object); }
