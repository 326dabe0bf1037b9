// Between the standard's views and LevelDB's, and a step back.
#pragma once

#include <string_view>

#include <leveldb/iterator.h>
#include <leveldb/slice.h>

namespace conclave::persist {

inline leveldb::Slice AsSlice(std::string_view text) { return {text.data(), text.size()}; }

inline std::string_view AsView(const leveldb::Slice& slice) { return {slice.data(), slice.size()}; }

/// The last key before `key`. Never from the other end: what compaction removed there is passed
/// over one by one.
inline void SeekBefore(std::string_view key, leveldb::Iterator* it) {
  it->Seek(AsSlice(key));
  if (it->Valid()) {
    it->Prev();
  } else if (it->status().ok()) {
    it->SeekToLast();
  }
}

}  // namespace conclave::persist
