#include "persist/snapshot_generations.h"

#include <algorithm>
#include <string>
#include <utility>

#include <fmt/format.h>
#include <glog/logging.h>

#include "persist/data_directory.h"

namespace conclave::persist {

SnapshotGenerations::SnapshotGenerations(SnapshotOptions options,
                                         std::shared_ptr<SnapshotStore> current)
    : options_(std::move(options)), current_(std::move(current)) {}

SnapshotGenerations::~SnapshotGenerations() = default;

tl::expected<std::unique_ptr<SnapshotGenerations>, Error> SnapshotGenerations::Open(
    SnapshotOptions options, std::uint64_t generation) {
  CHECK(options.env != nullptr);
  std::shared_ptr<SnapshotStore> current;
  if (generation != 0) {
    auto opened = SnapshotStore::Open(options, generation);
    if (!opened) {
      return tl::unexpected(opened.error());
    }
    current = std::move(*opened);
  }
  std::unique_ptr<SnapshotGenerations> generations(
      new SnapshotGenerations(std::move(options), std::move(current)));
  return generations->CleanUp(generation).map([&] { return std::move(generations); });
}

std::shared_ptr<SnapshotStore> SnapshotGenerations::current() const {
  const std::lock_guard lock(mutex_);
  return current_;
}

// Ascending.
tl::expected<std::vector<std::uint64_t>, Error> SnapshotGenerations::List() const {
  std::vector<std::string> names;
  if (const leveldb::Status status = options_.env->GetChildren(options_.data_dir, &names);
      !status.ok()) {
    return tl::unexpected(IoError("cannot list " + options_.data_dir, status));
  }
  std::vector<std::uint64_t> generations;
  for (const std::string& name : names) {
    if (const std::uint64_t generation = ParseGenerationName(name); generation != 0) {
      generations.push_back(generation);
    }
  }
  std::sort(generations.begin(), generations.end());
  return generations;
}

tl::expected<void, Error> SnapshotGenerations::CleanUp(std::uint64_t current) {
  const auto generations = List();
  if (!generations) {
    return tl::unexpected(generations.error());
  }
  // The newest transfer may be gone on with; all else is of no use any more, or never was.
  for (auto it = generations->rbegin(); it != generations->rend(); ++it) {
    if (*it == current) {
      continue;
    }
    if (*it > current && unfinished_ == 0 && SnapshotReceiver::Resume(options_, *it)) {
      unfinished_ = *it;
      continue;
    }
    RemoveGeneration(options_.env, options_.disk, GenerationPath(options_.data_dir, *it));
  }
  return {};
}

tl::expected<std::unique_ptr<SnapshotBuilder>, Error> SnapshotGenerations::NewBuilder() const {
  // A number is not used twice while anything of its former directory is left.
  const auto generations = List();
  if (!generations) {
    return tl::unexpected(generations.error());
  }
  const auto store = current();
  const std::uint64_t newest = generations->empty() ? 0 : generations->back();
  return SnapshotBuilder::Create(options_,
                                 std::max(newest, store == nullptr ? 0 : store->generation()) + 1);
}

tl::expected<std::shared_ptr<SnapshotStore>, Error> SnapshotGenerations::Checkpoint(
    const raft::SnapshotMeta& meta, std::string_view digest, const RowSource& changes) {
  const auto store = current();
  if (store != nullptr) {
    const auto written = store->Write(meta, digest, changes);
    if (!written) {
      return tl::unexpected(written.error());
    }
    if (*written) {
      return nullptr;
    }
  }
  auto built = Build(store.get(), meta, digest, changes);
  if (CONCLAVE_MUTANT(27) && built && store != nullptr) {
    RemoveGeneration(options_.env, options_.disk, store->database().path());
  }
  return built;
}

tl::expected<std::shared_ptr<SnapshotStore>, Error> SnapshotGenerations::Build(
    const raft::SnapshotMeta& meta, std::string_view digest, const RowSource& rows) const {
  return Build(nullptr, meta, digest, rows);
}

tl::expected<std::shared_ptr<SnapshotStore>, Error> SnapshotGenerations::Build(
    const SnapshotStore* old, const raft::SnapshotMeta& meta, std::string_view digest,
    const RowSource& changes) const {
  auto builder = NewBuilder();
  if (!builder) {
    return tl::unexpected(builder.error());
  }
  return (*builder)->Merge(old, changes).and_then([&] { return (*builder)->Finish(meta, digest); });
}

tl::expected<std::unique_ptr<SnapshotReceiver>, Error> SnapshotGenerations::Receive(
    const SnapshotInfo& source) {
  if (const std::uint64_t before = std::exchange(unfinished_, 0); before != 0) {
    auto resumed = SnapshotReceiver::Resume(options_, before);
    if (resumed && (*resumed)->source() == source) {
      unfinished_ = before;
      return resumed;
    }
    resumed = tl::unexpected(Error{});  // Closes it.
    RemoveGeneration(options_.env, options_.disk, GenerationPath(options_.data_dir, before));
  }
  auto builder = NewBuilder();
  if (!builder) {
    return tl::unexpected(builder.error());
  }
  unfinished_ = (*builder)->generation();
  std::unique_ptr<SnapshotReceiver> receiver(
      new SnapshotReceiver(std::move(*builder), TransferProgress{source, {}, {}}));
  return receiver;
}

void SnapshotGenerations::Switch(std::shared_ptr<SnapshotStore> store) {
  CHECK(store != nullptr);
  if (unfinished_ == store->generation()) {
    unfinished_ = 0;
  }
  std::shared_ptr<SnapshotStore> old;
  {
    const std::lock_guard lock(mutex_);
    old = std::exchange(current_, std::move(store));
  }
  if (old != nullptr) {
    old->Retire();
  }
}

void SnapshotGenerations::Discard(const std::shared_ptr<SnapshotStore>& store) { store->Retire(); }

}  // namespace conclave::persist
