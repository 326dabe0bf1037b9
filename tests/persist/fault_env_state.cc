// The state of the simulated disk: what a crash leaves of it, and the disk seen from outside.
#include <algorithm>
#include <string_view>
#include <utility>

#include <glog/logging.h>

#include "tests/persist/fault_env.h"

namespace conclave::persist::testing {

namespace {

constexpr std::size_t kSector = 512;

}  // namespace

// --- Crashes ---

std::uint64_t FaultEnv::Life() const {
  const std::lock_guard lock(mutex_);
  return life_;
}

// As persist::DirectoryOf, without a copy; names here have a slash.
std::string_view FaultEnv::DirectoryOf(std::string_view name) {
  return name.substr(0, std::max<std::size_t>(name.find_last_of('/'), 1));
}

void FaultEnv::Apply(const EntryChange& change, Names* names) {
  if (!change.from.empty()) {
    names->erase(change.from);
  }
  if (change.to.empty()) {
    const std::string below = change.from + "/";  // a directory takes with it what is in it
    for (auto at = names->lower_bound(below); at != names->end() && at->first.starts_with(below);) {
      at = names->erase(at);
    }
  }
  if (!change.to.empty()) {
    (*names)[change.to] = change.node;
  }
}

FaultEnv::Names FaultEnv::SurvivingNames(CrashPolicy policy, std::mt19937_64* random) const {
  Names names = durable_names_;
  std::size_t keep = policy == CrashPolicy::kDropAll ? 0 : pending_.size();
  if (policy == CrashPolicy::kPrefix && !pending_.empty()) {
    keep = (*random)() % (pending_.size() + 1);
  }
  for (std::size_t i = 0; i < keep; ++i) {
    if (policy != CrashPolicy::kSubset || (*random)() % 2 == 0) {
      Apply(pending_[i], &names);
    }
  }
  // What lies in a directory that did not survive is not to be found.
  for (auto it = names.begin(); it != names.end();) {
    it = names.contains(DirectoryOf(it->first)) ? std::next(it) : names.erase(it);
  }
  return names;
}

FileBytes FaultEnv::Survive(const Node& node, CrashPolicy policy, std::mt19937_64* random) {
  if (policy == CrashPolicy::kKeepAll) {
    return node.content;
  }
  FileBytes content = node.durable;
  if (policy == CrashPolicy::kDropAll || node.pending.empty()) {
    return content;
  }
  const std::size_t whole =
      policy == CrashPolicy::kPrefix ? (*random)() % node.pending.size() : node.pending.size();
  for (std::size_t i = 0; i < node.pending.size(); ++i) {
    const Write& write = node.pending[i];
    if (policy == CrashPolicy::kPrefix && i < whole) {
      content.Write(write.offset, write.data);
      continue;
    }
    const std::string data = write.data.str();
    // Sectors are those of the disk: the first piece ends where the file's sector does.
    for (std::size_t at = 0; at < data.size();) {
      const std::size_t position = write.offset + at;
      const std::size_t size =
          std::min(data.size() - at, (position / kSector + 1) * kSector - position);
      if ((*random)() % 2 == 0) {
        content.Write(position, std::string_view(data).substr(at, size));
      } else if (policy == CrashPolicy::kPrefix) {
        return content;
      }
      at += size;
    }
    if (policy == CrashPolicy::kPrefix) {
      return content;
    }
  }
  return content;
}

std::unique_ptr<FaultEnv> FaultEnv::CrashImage(CrashPolicy policy, std::uint64_t seed) const {
  auto image = std::make_unique<FaultEnv>();
  std::mt19937_64 random(seed);
  const std::lock_guard lock(mutex_);
  image->names_.clear();
  for (const auto& [name, node] : SurvivingNames(policy, &random)) {
    auto copy = std::make_shared<Node>();
    copy->directory = node->directory;
    copy->content = node->directory ? FileBytes() : Survive(*node, policy, &random);
    copy->durable = copy->content;
    image->names_[name] = std::move(copy);
  }
  image->durable_names_ = image->names_;
  image->now_micros_ = now_micros_;
  return image;
}

void FaultEnv::Crash(CrashPolicy policy, std::uint64_t seed) {
  const std::unique_ptr<FaultEnv> image = CrashImage(policy, seed);
  const std::lock_guard lock(mutex_);
  names_ = image->names_;
  durable_names_ = image->durable_names_;
  pending_.clear();
  locks_.clear();
  faults_.clear();
  struck_ = 0;
  ++life_;
}

// --- The disk from outside ---

FaultEnv::NodePtr FaultEnv::Find(std::string_view name) const {
  const auto found = names_.find(name);
  return found == names_.end() ? nullptr : found->second;
}

std::vector<std::string> FaultEnv::Files() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> files;
  for (const auto& [name, node] : names_) {
    if (!node->directory) {
      files.push_back(name);
    }
  }
  return files;
}

std::string FaultEnv::Content(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  const NodePtr node = Find(name);
  CHECK(node != nullptr) << name;
  return node->content.str();
}

void FaultEnv::SetContent(const std::string& name, std::string_view content) {
  const std::lock_guard lock(mutex_);
  auto node = std::make_shared<Node>();
  node->content = FileBytes(content);
  node->durable = node->content;
  names_[name] = node;
  durable_names_[name] = node;
}

void FaultEnv::FlipBit(const std::string& name, std::uint64_t bit) {
  std::string content = Content(name);
  char& byte = content.at(bit / 8);
  byte = static_cast<char>(static_cast<std::uint8_t>(byte) ^ (1U << (bit % 8)));
  SetContent(name, content);
}

void FaultEnv::CorruptOpenFile(const std::string& name, std::uint64_t bit) {
  const std::lock_guard lock(mutex_);
  const NodePtr node = Find(name);
  CHECK(node != nullptr) << name;
  if (bit / 8 < node->content.size()) {
    char byte = 0;
    node->content.Read(bit / 8, 1, &byte);
    byte = static_cast<char>(static_cast<std::uint8_t>(byte) ^ (1U << (bit % 8)));
    node->content.Write(bit / 8, std::string_view(&byte, 1));
    node->durable = node->content;
    node->pending.clear();
  }
}

void FaultEnv::Erase(const std::string& name) {
  const std::lock_guard lock(mutex_);
  const auto below = [&](const auto& entry) {
    return entry.first == name || entry.first.starts_with(name + "/");
  };
  std::erase_if(names_, below);
  std::erase_if(durable_names_, below);
}

std::uint64_t FaultEnv::bytes_used() const {
  const std::lock_guard lock(mutex_);
  return BytesUsed();
}

std::uint64_t FaultEnv::changes() const {
  const std::lock_guard lock(mutex_);
  return changes_;
}

std::uint64_t FaultEnv::syncs() const {
  const std::lock_guard lock(mutex_);
  return syncs_;
}

std::uint64_t FaultEnv::Hash() const {
  const std::lock_guard lock(mutex_);
  std::uint64_t hash = 14695981039346656037U;
  const auto mix = [&](std::string_view text) {
    for (const char byte : text) {
      hash = (hash ^ static_cast<std::uint8_t>(byte)) * 1099511628211U;
    }
  };
  for (const auto& [name, node] : names_) {
    mix(name);
    mix(node->content.str());
  }
  return hash;
}

}  // namespace conclave::persist::testing
