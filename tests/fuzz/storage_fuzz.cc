// What the log database may hold after the disk has done its worst: decoders refuse or agree with
// the encoders, and never read or allocate past what is there.
//
// The first byte chooses the decoder.
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "consensus/configuration.h"
#include "consensus/types.h"
#include "persist/codec.h"
#include "persist/identity.h"
#include "tests/fuzz/fuzz.h"

namespace conclave::fuzz {
namespace {

constexpr raft::Index kFirst = 5;

std::string SeedBatch() {
  std::vector<raft::Entry> entries;
  std::uint64_t chain = 42;
  const auto add = [&](raft::EntryKind kind, std::shared_ptr<const std::string> bytes) {
    raft::Entry entry{
        .term = 3, .index = kFirst + entries.size(), .kind = kind, .data = std::move(bytes)};
    chain = entry.chain = raft::ChainHash(chain, entry);
    entries.push_back(entry);
  };
  add(raft::EntryKind::kNoop, nullptr);
  add(raft::EntryKind::kCommand, std::make_shared<std::string>("a command"));
  add(raft::EntryKind::kCommand, std::make_shared<std::string>());
  return persist::EncodeBatch(42, entries);
}

void FuzzBatch(std::string_view bytes) {
  const auto batch = persist::DecodeBatch(kFirst, bytes);
  if (!batch) {
    return;
  }
  if (persist::EncodeBatch(batch->previous_chain, batch->entries) != bytes) {
    __builtin_trap();
  }
  for (std::size_t count = 1; count < batch->entries.size(); ++count) {
    if (!persist::DecodeBatch(kFirst, persist::CutBatch(bytes, *batch, count))) {
      __builtin_trap();
    }
  }
}

void FuzzState(std::string_view bytes) {
  if (const auto state = persist::DecodeState(bytes);
      state && persist::EncodeState(*state) != bytes) {
    __builtin_trap();
  }
}

void FuzzIdentity(std::string_view bytes) {
  if (const auto identity = persist::DecodeIdentity(bytes, "here");
      identity && persist::EncodeIdentity(*identity) != bytes) {
    __builtin_trap();
  }
}

void FuzzConfiguration(std::string_view bytes) {
  const auto configuration = raft::Configuration::Decode(bytes);
  if (!configuration) {
    return;
  }
  // Format 1 is read and no longer written.
  const std::string written = configuration->Encode();
  if ((bytes.front() == 2 && written != bytes) ||
      raft::Configuration::Decode(written) != configuration) {
    __builtin_trap();
  }
}

}  // namespace

std::vector<std::string> Seeds() {
  persist::StoredState state;
  state.hard.currentTerm = 3;
  state.hard.votedFor = 2;
  state.last = {3, 7};
  state.log_bytes = 100;
  raft::Configuration configuration;
  configuration.clusterId.fill(9);
  configuration.members = {{.id = 1, .incarnation = 11, .peer_address = "one:1"},
                           {.id = 2, .peer_address = ""},
                           {.id = 3, .incarnation = 33, .peer_address = "[::1]:3"}};
  return {std::string(1, '\0') + SeedBatch(), "\1" + persist::EncodeState(state),
          "\2" + persist::EncodeIdentity({1, "conclave", 99}), "\3" + configuration.Encode()};
}

}  // namespace conclave::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) {
    return 0;
  }
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0]) {
    case 0:
      conclave::fuzz::FuzzBatch(bytes);
      break;
    case 1:
      conclave::fuzz::FuzzState(bytes);
      break;
    case 2:
      conclave::fuzz::FuzzIdentity(bytes);
      break;
    default:
      conclave::fuzz::FuzzConfiguration(bytes);
      break;
  }
  return 0;
}
