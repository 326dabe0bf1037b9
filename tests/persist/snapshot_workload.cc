#include "tests/persist/snapshot_workload.h"

#include <utility>

#include <fmt/format.h>

namespace conclave::persist::testing {

namespace {

constexpr std::uint64_t kKeys = 40;

// SplitMix64.
std::uint64_t Mix(std::uint64_t* state) {
  *state += 0x9e3779b97f4a7c15U;
  std::uint64_t z = *state;
  z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9U;
  z = (z ^ (z >> 27U)) * 0x94d049bb133111ebU;
  return z ^ (z >> 31U);
}

}  // namespace

RowSource SourceOf(Rows rows) {
  return [rows = std::move(rows)](const RowSink& sink) {
    for (const auto& [key, value] : rows) {
      sink(key, value);
    }
  };
}

RowSource SourceOf(Changes changes) {
  return [changes = std::move(changes)](const RowSink& sink) {
    for (const auto& [key, value] : changes) {
      sink(key, value ? std::optional<std::string_view>(*value) : std::nullopt);
    }
  };
}

void ModelState::Apply(const raft::Entry& entry) {
  index = entry.index;
  const auto set = [&](const std::string& key, std::optional<std::string> value) {
    if (value) {
      rows[key] = *value;
    } else {
      rows.erase(key);
    }
    changed[key] = std::move(value);
  };
  set("!index", std::to_string(entry.index));
  std::uint64_t random = entry.chain;
  for (std::uint64_t n = 1 + Mix(&random) % 3; n > 0; --n) {
    const std::string key = fmt::format("key/{}", Mix(&random) % kKeys);
    const std::uint64_t draw = Mix(&random);
    set(key, draw % 4 == 0 ? std::nullopt
                           : std::optional(std::string(draw % 190 * value_scale,
                                                       static_cast<char>(draw >> 8U))));
  }
}

SnapshotInfo ModelState::Info(const raft::SnapshotMeta& meta) const {
  SnapshotInfo info;
  info.meta = meta;
  info.digest = std::to_string(index);
  for (const auto& [key, value] : rows) {
    info.totals.Add(key, value, RowChecksum(key, value));
  }
  return info;
}

raft::SnapshotMeta MetaAt(const ModelLog& log, raft::Index index) {
  raft::SnapshotMeta meta;
  meta.last = log.IdAt(index);
  meta.chain = log.ChainAt(index);
  return meta;
}

tl::expected<Rows, Error> LoadRows(const SnapshotStore& store) {
  Rows rows;
  return store
      .Load([&](std::string_view key, std::string_view value) {
        rows.emplace(key, value);
        return tl::expected<void, std::string>();
      })
      .map([&] { return std::move(rows); });
}

std::vector<SnapshotChunk> ChunksOf(const Rows& rows, std::size_t rows_per_chunk) {
  std::vector<SnapshotChunk> chunks;
  for (const auto& [key, value] : rows) {
    if (chunks.empty() || chunks.back().rows == rows_per_chunk) {
      chunks.emplace_back();
    }
    SnapshotChunk& chunk = chunks.back();
    PutChunkRow(&chunk.bytes, {key, value, RowChecksum(key, value)});
    chunk.last_key = key;
    ++chunk.rows;
  }
  if (chunks.empty()) {
    chunks.emplace_back();
  }
  for (SnapshotChunk& chunk : chunks) {
    chunk.checksum = ChunkChecksum(chunk.bytes);
  }
  chunks.back().last = true;
  return chunks;
}

SnapshotOptions SmallSnapshotOptions(FaultEnv* env, std::size_t value_scale) {
  SnapshotOptions options;
  options.env = env;
  options.disk = env;
  options.storage.background = StorageEnv::Background::kQueued;
  options.storage.now_micros = [env] { return env->NowMicros(); };
  options.data_dir = "/data";
  options.write_buffer_bytes = 64 << 10;
  options.block_cache_bytes = 16 << 10;
  options.delta_bytes_max = value_scale << 11U;
  options.build_batch_bytes = value_scale << 10U;
  return options;
}

}  // namespace conclave::persist::testing
