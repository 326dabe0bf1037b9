#pragma once

// Entries as bytes: the same in a message (AppendEntries) and in a stored batch.

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "consensus/types.h"

namespace conclave::raft {

/// What an entry takes besides its data: term, chain, kind, length.
inline constexpr std::size_t kEntryHeaderBytes = 21;

inline std::size_t EncodedBytes(const Entry& entry) {
  return kEntryHeaderBytes + entry.data_bytes();
}

/// Appends the entries to `*to`. Their indices are not in the bytes: whoever keeps these knows that
/// of the first entry, and the chain covers it.
void EncodeEntries(std::span<const Entry> entries, std::string* to);

/// Takes one entry off the front of `*rest`, which must lie within `*owner`; its data becomes a
/// part of that. Sets all but the index. Nothing is compared with the chain: what has been altered
/// is noticed by comparing it with ChainHash. Returns an empty string, or what is wrong with the
/// bytes.
std::string_view TakeEntry(const std::shared_ptr<const std::string>& owner, std::string_view* rest,
                           Entry* entry);

}  // namespace conclave::raft
