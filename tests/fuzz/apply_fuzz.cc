// Committed entries, whatever their bytes: decoding and applying them answers, and never aborts.
//
// The input is a row of entries, each behind its length in two bytes.
#include <string>
#include <string_view>
#include <vector>

#include "coord/tree/command.h"
#include "coord/tree/state_machine.h"
#include "tests/fuzz/fuzz.h"

namespace conclave::fuzz {
namespace {

using tree::Command;
using tree::EntryHeader;

std::vector<std::string_view> Cut(std::string_view input) {
  std::vector<std::string_view> pieces;
  constexpr std::size_t kLengthBytes = 2;
  while (input.size() >= kLengthBytes) {
    const std::size_t length = static_cast<unsigned char>(input[0]) * std::size_t{256} +
                               static_cast<unsigned char>(input[1]);
    input.remove_prefix(kLengthBytes);
    pieces.push_back(input.substr(0, length));
    input.remove_prefix(pieces.back().size());
  }
  return pieces;
}

void Put(std::string& input, const EntryHeader& header, const Command& command) {
  const std::string entry = tree::EncodeEntry(header, command);
  input.push_back(static_cast<char>(entry.size() / 256));
  input.push_back(static_cast<char>(entry.size() % 256));
  input += entry;
}

}  // namespace

std::vector<std::string> Seeds() {
  EntryHeader own;
  own.wall_ms = 1'700'000'000'000;
  own.elapsed_ns = 5'000'000;
  tree::OpenSession open;
  open.timeout_ms = 10'000;
  open.secret.fill(1);
  open.nonce.fill(2);
  std::string input;
  Put(input, own, open);  // at zxid 1, so this is session 1
  std::vector<std::string> seeds = {input};
  const std::vector<Command> commands = {
      tree::Create{"/a", "value"},
      tree::Create{"/a/e-", std::nullopt, tree::CreateMode::kEphemeralSequential},
      tree::Create{"/a/b", "", tree::CreateMode::kPersistentSequential},
      tree::SetData{"/a", "other", 0},
      tree::Multi{{tree::Create{"/m", "1"}, tree::Check{"/m", 0}, tree::SetData{"/m", "2", 0},
                   tree::Delete{"/m", -1}}},
      tree::Multi{{tree::Delete{"/a", -1}, tree::Create{"/x"}}},
      tree::Delete{"/a", 7},
      tree::PublishMember{1, 2, "127.0.0.1:9001", "127.0.0.1:9201"},
      tree::TakeOver{},
      tree::SetFeatureLevel{1},
      tree::CloseSession{1, tree::CloseReason::kClosed}};
  EntryHeader header = own;
  header.session = 1;
  for (const Command& command : commands) {
    ++header.seq;
    header.acked_through = header.seq / 2;
    header.origin_member = 1;
    header.origin_request = 77;
    Put(input, header, command);
    seeds.push_back(input);
  }
  return seeds;
}

}  // namespace conclave::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using conclave::tree::DecodeEntry;
  using conclave::tree::EncodeEntry;
  conclave::tree::Limits limits;  // small, so that they are met
  limits.path_bytes_max = 64;
  limits.component_bytes_max = 16;
  limits.depth_max = 4;
  limits.value_bytes_max = 64;
  limits.multi_ops_max = 8;
  limits.ephemerals_per_session_max = 2;
  limits.replies_per_session_max = 2;
  limits.reply_bytes_per_session_max = 64;
  conclave::tree::StateMachine machine(limits);
  std::int64_t zxid = 0;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  for (const std::string_view bytes : conclave::fuzz::Cut(input)) {
    const auto entry = DecodeEntry(bytes);
    if (entry && DecodeEntry(EncodeEntry(entry->header, entry->command)) != *entry) {
      __builtin_trap();  // what was read is not what is written
    }
    if (machine.Apply(++zxid, bytes).fatal) {
      break;  // the member would stop here
    }
  }
  if (machine.digest() != machine.RecomputeDigest() || !machine.Audit().empty()) {
    __builtin_trap();
  }
  return 0;
}
