#include "persist/snapshot_codec.h"

#include <cstddef>
#include <utility>

#include <fmt/format.h>
#include <glog/logging.h>
#include <xxhash.h>

#include "persist/bytes.h"

namespace conclave::persist {

namespace {

constexpr std::uint8_t kInfoFormat = 1;
constexpr std::uint8_t kProgressFormat = 1;
constexpr std::size_t kChecksumBytes = 8;
constexpr std::size_t kChunkRowHeaderBytes = 8;

void PutChecksum(std::string* to) {
  Put(to, static_cast<std::uint64_t>(XXH3_64bits(to->data(), to->size())));
}

void PutText(std::string* to, std::string_view text) {
  Put(to, static_cast<std::uint32_t>(text.size()));
  to->append(text);
}

// Reads what follows the format byte; remembers that there was too little instead of reading on.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}

  template <typename Integer>
  Integer Number() {
    if (rest_.size() < sizeof(Integer)) {
      sound_ = false;
      rest_ = {};
      return 0;
    }
    return Take<Integer>(&rest_);
  }

  std::string_view Text() {
    const auto length = Number<std::uint32_t>();
    if (length > rest_.size()) {
      sound_ = false;
      rest_ = {};
      return {};
    }
    const std::string_view text = rest_.substr(0, length);
    rest_.remove_prefix(length);
    return text;
  }

  RowTotals Totals() {
    RowTotals totals;
    totals.rows = Number<std::uint64_t>();
    totals.bytes = Number<std::uint64_t>();
    totals.sum = Number<std::uint64_t>();
    return totals;
  }

  bool AtEnd() const { return sound_ && rest_.empty(); }

 private:
  std::string_view rest_;
  bool sound_ = true;
};

void PutTotals(std::string* to, const RowTotals& totals) {
  Put(to, totals.rows);
  Put(to, totals.bytes);
  Put(to, totals.sum);
}

// What is between the format and the checksum, both of which are right.
tl::expected<std::string_view, std::string> Unwrap(std::string_view bytes, std::uint8_t format) {
  if (bytes.empty() || Load<std::uint8_t>(bytes.data()) != format) {
    return tl::unexpected(std::string("is of an unknown format"));
  }
  if (bytes.size() < 1 + kChecksumBytes) {
    return tl::unexpected(std::string("is cut short"));
  }
  const std::size_t checked = bytes.size() - kChecksumBytes;
  if (Load<std::uint64_t>(bytes.data() + checked) != XXH3_64bits(bytes.data(), checked)) {
    return tl::unexpected(std::string("has a wrong checksum"));
  }
  return bytes.substr(1, checked - 1);
}

}  // namespace

void RowTotals::Add(std::string_view key, std::string_view value, std::uint64_t checksum) {
  ++rows;
  bytes += key.size() + value.size();
  sum += checksum;
}

void RowTotals::Remove(std::string_view key, std::string_view value, std::uint64_t checksum) {
  --rows;
  bytes -= key.size() + value.size();
  sum -= checksum;
}

std::string EncodeInfo(const SnapshotInfo& info) {
  CHECK_LE(info.digest.size(), kDigestBytesMax);
  std::string bytes;
  Put(&bytes, kInfoFormat);
  Put(&bytes, info.meta.last.index);
  Put(&bytes, info.meta.last.term);
  Put(&bytes, info.meta.chain);
  Put(&bytes, info.meta.configuration.index);
  // Without members nothing is known; a cluster always has some.
  const raft::Configuration& configuration = info.meta.configuration.configuration;
  PutText(&bytes, configuration.members.empty() ? std::string() : configuration.Encode());
  PutText(&bytes, info.digest);
  PutTotals(&bytes, info.totals);
  PutChecksum(&bytes);
  return bytes;
}

tl::expected<SnapshotInfo, std::string> DecodeInfo(std::string_view bytes) {
  const auto content = Unwrap(bytes, kInfoFormat);
  if (!content) {
    return tl::unexpected(content.error());
  }
  Reader reader(*content);
  SnapshotInfo info;
  info.meta.last.index = reader.Number<std::uint64_t>();
  info.meta.last.term = reader.Number<std::uint64_t>();
  info.meta.chain = reader.Number<std::uint64_t>();
  info.meta.configuration.index = reader.Number<std::uint64_t>();
  const std::string_view configuration = reader.Text();
  info.digest = reader.Text();
  info.totals = reader.Totals();
  if (!reader.AtEnd() || info.digest.size() > kDigestBytesMax) {
    return tl::unexpected(std::string("is cut short or too long"));
  }
  if (!configuration.empty()) {
    auto decoded = raft::Configuration::Decode(configuration);
    if (!decoded) {
      return tl::unexpected(std::string("holds a configuration that cannot be read"));
    }
    info.meta.configuration.configuration = std::move(*decoded);
  }
  return info;
}

std::string EncodeProgress(const TransferProgress& progress) {
  std::string bytes;
  Put(&bytes, kProgressFormat);
  PutText(&bytes, EncodeInfo(progress.source));
  PutText(&bytes, progress.last_key);
  PutTotals(&bytes, progress.totals);
  PutChecksum(&bytes);
  return bytes;
}

tl::expected<TransferProgress, std::string> DecodeProgress(std::string_view bytes) {
  const auto content = Unwrap(bytes, kProgressFormat);
  if (!content) {
    return tl::unexpected(content.error());
  }
  Reader reader(*content);
  auto source = DecodeInfo(reader.Text());
  TransferProgress progress;
  progress.last_key = reader.Text();
  progress.totals = reader.Totals();
  if (!source || !reader.AtEnd()) {
    return tl::unexpected(std::string("is cut short or too long"));
  }
  progress.source = std::move(*source);
  return progress;
}

std::uint64_t RowChecksum(std::string_view key, std::string_view value) {
  // The length in between, so that no byte can move from the key to the value.
  const std::uint64_t key_hash = XXH3_64bits(key.data(), key.size());
  return XXH3_64bits_withSeed(value.data(), value.size(), key_hash ^ key.size());
}

std::string StoredRowKey(std::string_view key) {
  std::string stored;
  stored.reserve(1 + key.size());
  stored.push_back(kRowPrefix);
  stored.append(key);
  return stored;
}

std::string StoredRowValue(std::string_view value, std::uint64_t checksum) {
  std::string stored;
  stored.reserve(value.size() + kChecksumBytes);
  stored.append(value);
  Put(&stored, checksum);
  return stored;
}

tl::expected<Row, std::string> DecodeRow(std::string_view key, std::string_view stored_value) {
  if (stored_value.size() < kChecksumBytes) {
    return tl::unexpected(std::string("is cut short"));
  }
  Row row;
  row.key = key;
  row.value = stored_value.substr(0, stored_value.size() - kChecksumBytes);
  row.checksum = Load<std::uint64_t>(stored_value.data() + row.value.size());
  if (row.checksum != RowChecksum(row.key, row.value)) {
    return tl::unexpected(std::string("has a wrong checksum"));
  }
  return row;
}

void PutChunkRow(std::string* chunk, const Row& row) {
  Put(chunk, static_cast<std::uint32_t>(row.key.size()));
  Put(chunk, static_cast<std::uint32_t>(row.value.size() + kChecksumBytes));
  chunk->append(row.key);
  chunk->append(row.value);
  Put(chunk, row.checksum);
}

tl::expected<Row, std::string> TakeChunkRow(std::string_view* chunk) {
  if (chunk->size() < kChunkRowHeaderBytes) {
    return tl::unexpected(std::string("is cut short"));
  }
  const std::size_t key_bytes = Take<std::uint32_t>(chunk);
  const std::size_t value_bytes = Take<std::uint32_t>(chunk);
  if (key_bytes == 0 || key_bytes > chunk->size() || value_bytes > chunk->size() - key_bytes) {
    return tl::unexpected(std::string("is cut short"));
  }
  auto row = DecodeRow(chunk->substr(0, key_bytes), chunk->substr(key_bytes, value_bytes));
  chunk->remove_prefix(key_bytes + value_bytes);
  return row;
}

std::uint64_t ChunkChecksum(std::string_view chunk) {
  return XXH3_64bits(chunk.data(), chunk.size());
}

}  // namespace conclave::persist
