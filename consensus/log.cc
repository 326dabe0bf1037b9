#include "consensus/log.h"

#include <algorithm>
#include <utility>

#include <glog/logging.h>

namespace conclave::raft {

Log::Log(const Restored& restored, const LogReader& reader)
    : reader_(reader),
      start_(restored.start),
      start_chain_(restored.start_chain),
      base_(restored.start),
      base_chain_(restored.start_chain) {
  if (restored.tail.empty()) {
    CHECK(restored.last == restored.start) << "a log that is not empty comes with its tail";
    return;
  }
  const Index first = restored.tail.front().index;
  CHECK_GT(first, start_.index);
  if (first - 1 != start_.index) {
    const auto before = ReadOne(first - 1);
    base_ = before ? before->id() : EntryId{0, first - 1};
    base_chain_ = before ? before->chain : 0;
  }
  for (const Entry& entry : restored.tail) {
    CHECK_EQ(entry.index, lastIndex() + 1) << "restored tail is not dense";
    CHECK_GE(entry.term, last().term) << "terms fall at " << entry.index;
    window_.push_back(entry);
    window_bytes_ += EntryBytes(entry);
  }
  CHECK(last() == restored.last) << "restored tail does not end at the last entry";
}

std::optional<Term> Log::TermAt(Index index) const {
  if (index > lastIndex() || index < start_.index) {
    return std::nullopt;
  }
  if (index > base_.index) {
    return window_[index - base_.index - 1].term;
  }
  if (index == base_.index) {
    return base_.term;
  }
  if (index == start_.index) {
    return start_.term;
  }
  const auto term = reader_.TermAt(index);
  if (!term.has_value()) {
    if (!failure_) {
      failure_ = term.error();
    }
    return std::nullopt;
  }
  return *term;
}

std::optional<Entry> Log::ReadOne(Index index) const {
  auto read = reader_.Read(index, index, 1);
  if (read.has_value() && read->size() == 1 && read->front().index == index) {
    return std::move(read->front());
  }
  if (!failure_) {
    failure_ = read.has_value() ? "entries are missing from the log" : read.error();
  }
  return std::nullopt;
}

std::optional<std::uint64_t> Log::ChainAt(Index index) const {
  if (index > lastIndex() || index < start_.index) {
    return std::nullopt;
  }
  if (index > base_.index) {
    return window_[index - base_.index - 1].chain;
  }
  if (index == base_.index) {
    return base_chain_;
  }
  if (index == start_.index) {
    return start_chain_;
  }
  const auto entry = ReadOne(index);
  return entry ? std::optional(entry->chain) : std::nullopt;
}

const Entry& Log::At(Index index) const {
  CHECK(index > base_.index && index <= lastIndex())
      << "index " << index << " is not in the window (" << base_.index << ", " << lastIndex()
      << "]";
  return window_[index - base_.index - 1];
}

EntryId Log::LastAtOrBelow(Index index, Term term, Index floor) const {
  Index low = floor;  // Holds by definition of floor; everything above high does not.
  Index high = std::max(floor, std::min(index, lastIndex()));
  while (low < high) {
    const Index middle = low + (high - low + 1) / 2;
    if (TermAt(middle).value_or(0) <= term) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return {TermAt(low).value_or(0), low};
}

const Entry& Log::Append(Term term, EntryKind kind, SharedBytes data) {
  Entry entry{term, lastIndex() + 1, kind, 0, std::move(data)};
  CHECK_GE(term, last().term);
  entry.chain = ChainHash(last_chain(), entry);
  window_bytes_ += EntryBytes(entry);
  return window_.emplace_back(std::move(entry));
}

const Entry& Log::Append(Entry entry) {
  CHECK_EQ(entry.index, lastIndex() + 1);
  CHECK_GE(entry.term, last().term);
  window_bytes_ += EntryBytes(entry);
  return window_.emplace_back(std::move(entry));
}

bool Log::TruncateFrom(Index first) {
  CHECK(first > start_.index && first <= lastIndex());
  if (first <= base_.index) {
    const auto term = TermAt(first - 1);
    const auto chain = ChainAt(first - 1);
    if (!term || !chain) {
      return false;
    }
    base_ = {*term, first - 1};
    base_chain_ = *chain;
    window_.clear();
    window_bytes_ = 0;
    return true;
  }
  while (lastIndex() >= first) {
    window_bytes_ -= EntryBytes(window_.back());
    window_.pop_back();
  }
  return true;
}

void Log::Compact(EntryId start, std::uint64_t chain) {
  CHECK(start_.index <= start.index && start.index <= lastIndex());
  start_ = start;
  start_chain_ = chain;
  while (!window_.empty() && window_.front().index <= start.index) {
    window_bytes_ -= EntryBytes(window_.front());
    window_.pop_front();
    ++base_.index;
  }
  if (base_.index <= start.index) {
    base_ = start;
    base_chain_ = chain;
  }
}

void Log::Reset(EntryId start, std::uint64_t chain) {
  start_ = base_ = start;
  start_chain_ = base_chain_ = chain;
  window_.clear();
  window_bytes_ = 0;
}

void Log::Copy(Index first, Index last, std::size_t bytes_max, std::size_t count_max,
               std::vector<Entry>& out) const {
  CHECK(start_.index < first && first <= last && last <= lastIndex());
  std::size_t bytes = 0;
  std::size_t count = 0;
  if (first <= base_.index) {
    auto read = reader_.Read(first, std::min(last, base_.index), bytes_max);
    if (!read.has_value() || read->empty() || read->front().index != first) {
      if (!failure_) {
        failure_ = read.has_value() ? "entries are missing from the log" : read.error();
      }
      return;
    }
    for (Entry& entry : *read) {
      if (count == count_max) {
        return;
      }
      bytes += EntryBytes(entry);
      ++count;
      first = entry.index + 1;
      out.push_back(std::move(entry));
    }
    if (first <= base_.index) {
      return;
    }
  }
  // An entry counts for at least what an empty one does.
  out.reserve(out.size() + std::min({static_cast<std::size_t>(last - first + 1), count_max,
                                     bytes_max / EntryBytes(Entry()) + 1}));
  auto at = window_.begin() + static_cast<std::ptrdiff_t>(first - base_.index - 1);
  for (Index index = first; index <= last; ++index, ++at) {
    const Entry& entry = *at;
    if (count > 0 && (count >= count_max || bytes + EntryBytes(entry) > bytes_max)) {
      return;
    }
    bytes += EntryBytes(entry);
    ++count;
    out.push_back(entry);
  }
}

void Log::Evict(Index index, std::size_t bytes_max) {
  while (!window_.empty() && window_bytes_ > bytes_max && window_.front().index <= index) {
    base_ = window_.front().id();
    base_chain_ = window_.front().chain;
    window_bytes_ -= EntryBytes(window_.front());
    window_.pop_front();
  }
}

}  // namespace conclave::raft
