// Between the standard's views and LevelDB's.
#pragma once

#include <string_view>

#include <leveldb/slice.h>

namespace conclave::persist {

inline leveldb::Slice AsSlice(std::string_view text) { return {text.data(), text.size()}; }

inline std::string_view AsView(const leveldb::Slice& slice) { return {slice.data(), slice.size()}; }

}  // namespace conclave::persist
