// Rows of a checkpoint, whatever their bytes: the loader answers, and what it lets in is a state
// that can go on.
//
// The input is a row of pairs, key and value each behind its length in two bytes.
#include <optional>
#include <string>
#include <string_view>

#include "coord/tree/command.h"
#include "coord/tree/rows.h"
#include "coord/tree/state_loader.h"
#include "coord/tree/state_machine.h"
#include "tests/fuzz/fuzz.h"

namespace conclave::fuzz {
namespace {

void Put(std::string& input, std::string_view bytes) {
  input.push_back(static_cast<char>(bytes.size() / 256));
  input.push_back(static_cast<char>(bytes.size() % 256));
  input += bytes;
}

std::string_view Cut(std::string_view& input) {
  constexpr std::size_t kLengthBytes = 2;
  if (input.size() < kLengthBytes) {
    input = {};
    return {};
  }
  const std::size_t length = static_cast<unsigned char>(input[0]) * std::size_t{256} +
                             static_cast<unsigned char>(input[1]);
  input.remove_prefix(kLengthBytes);
  const std::string_view piece = input.substr(0, length);
  input.remove_prefix(piece.size());
  return piece;
}

std::string RowsOf(tree::StateMachine& machine) {
  std::string input;
  machine.BeginFreeze();
  while (!machine.FreezeSlice(100)) {
  }
  tree::FrozenRows frozen = machine.TakeFrozen();
  frozen.ForEach([&input](std::string_view key, std::optional<std::string_view> value) {
    if (value.has_value()) {
      Put(input, key);
      Put(input, *value);
    }
  });
  return input;
}

// Opens a session, and lets it do a few things.
void Live(tree::StateMachine& machine, int requests) {
  std::int64_t zxid = machine.last_zxid();
  tree::OpenSession open;
  open.timeout_ms = 10'000;
  open.secret.fill(1);
  open.nonce.fill(2);
  tree::EntryHeader header;
  header.session = machine.Apply(++zxid, tree::EncodeEntry({}, open)).reply.session;
  const tree::Session* session = machine.sessions().Find(header.session);
  header.seq = session == nullptr ? 0 : session->last_seq;
  const tree::Command commands[] = {
      tree::Create{"/a", "value"},
      tree::Create{"/a/e-", std::nullopt, tree::CreateMode::kEphemeralSequential},
      tree::Multi{{tree::Create{"/m", "1"}, tree::SetData{"/m", "2", 0}, tree::Delete{"/m"}}},
      tree::PublishMember{1, 2, "127.0.0.1:9001", "127.0.0.1:9201"}, tree::Delete{"/missing"}};
  for (int i = 0; i < requests; ++i) {
    ++header.seq;
    machine.Apply(++zxid, tree::EncodeEntry(header, commands[i]));
  }
}

}  // namespace

std::vector<std::string> Seeds() {
  std::vector<std::string> seeds;
  for (int requests = 0; requests <= 5; ++requests) {
    tree::StateMachine machine;
    Live(machine, requests);
    seeds.push_back(RowsOf(machine));
  }
  return seeds;
}

}  // namespace conclave::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace conclave;
  std::string_view input(reinterpret_cast<const char*>(data), size);
  tree::StateLoader loader;
  tree::StateRow state;
  while (!input.empty()) {
    const std::string_view key = fuzz::Cut(input);
    const std::string_view value = fuzz::Cut(input);
    if (key == tree::StateKey()) {
      state = tree::DecodeStateRow(key, value).value_or(tree::StateRow());
    }
    if (!loader.Add(key, value)) {
      if (loader.error()->message.empty()) {
        __builtin_trap();  // refused, and nobody knows why
      }
      break;
    }
  }
  auto loaded = loader.Finish(state.last_zxid, state.digest);
  if (!loaded.has_value()) {
    return 0;
  }
  tree::StateMachine& machine = **loaded;
  if (machine.digest() != machine.RecomputeDigest() || !machine.Audit().empty()) {
    __builtin_trap();
  }
  fuzz::Live(machine, 5);
  if (machine.digest() != machine.RecomputeDigest() || !machine.Audit().empty()) {
    __builtin_trap();
  }
  return 0;
}
