// A state machine with the bookkeeping of a log around it: what the tests of the tree drive.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "coord/tree/command.h"
#include "coord/tree/directory.h"
#include "coord/tree/state_machine.h"

namespace conclave::tree {

// Puts counters where only 2^31 requests would bring them.
class TreeTestPeer {
 public:
  static void SetCcount(StateMachine& machine, std::string_view path, std::int32_t ccount) {
    Tree& tree = machine.tree_;
    const Znode& znode = *tree.Find(path);
    tree.digest_ -= Tree::ChildrenItem(path, znode);
    znode.Promote().ccount = ccount;
    tree.digest_ += Tree::ChildrenItem(path, znode);
  }

  static void SetVersion(StateMachine& machine, std::string_view path, std::int32_t version) {
    const Znode& znode = *machine.tree_.Find(path);
    Value::Fields fields = znode.value().fields();
    fields.version = version;
    machine.tree_.ReplaceValue(znode, path,
                               Value::Make(fields, znode.name(), znode.value().data()));
  }

  // Damages memory behind the digest's back.
  static void Rot(StateMachine& machine, std::string_view path) {
    machine.tree_.Find(path)->Promote().pzxid ^= 1;
  }

  static void RotSession(StateMachine& machine, std::int64_t id) {
    machine.sessions_.sessions_.at(id).timeout_ms ^= 1;
  }

  static void RotReply(StateMachine& machine, std::int64_t id) {
    machine.sessions_.sessions_.at(id).replies.back().zxid ^= 1;
  }

  static void RotMember(StateMachine& machine, std::uint64_t id) {
    machine.members_.at(id).client_address.back() ^= 1;
  }
};

// Numbers sessions, requests, entries and time by itself.
class Machine {
 public:
  explicit Machine(const Limits& limits = Limits()) : state(limits) {}

  // Commits and applies one entry as it stands.
  ApplyResult Apply(const EntryHeader& header, const Command& command) {
    log.emplace_back(++zxid, EncodeEntry(header, command));
    return state.Apply(zxid, log.back().second);
  }

  std::int64_t Open(std::int32_t timeout_ms = 10'000) {
    OpenSession command;
    command.timeout_ms = timeout_ms;
    command.secret.fill(static_cast<std::uint8_t>(0x40 + ++opened_));
    command.nonce.fill(static_cast<std::uint8_t>(opened_));
    return Apply(Header(0, 0), command).reply.session;
  }

  // The session's next request.
  ApplyResult Do(std::int64_t session, const Command& command) {
    const std::int64_t seq = ++seqs[session];
    ApplyResult result = Apply(Header(session, seq), command);
    return result;
  }

  Reply Call(std::int64_t session, const Command& command) { return Do(session, command).reply; }

  Reply Create(std::int64_t session, std::string path,
               std::optional<std::string> data = std::nullopt,
               CreateMode mode = CreateMode::kPersistent) {
    return Call(session, tree::Create{std::move(path), std::move(data), mode});
  }

  ApplyResult Close(std::int64_t session, CloseReason reason = CloseReason::kClosed) {
    return Apply(Header(0, 0), CloseSession{session, reason});
  }

  EntryHeader Header(std::int64_t session, std::int64_t seq) {
    EntryHeader header;
    header.wall_ms = wall_ms;
    header.elapsed_ns = elapsed_ns;
    header.session = session;
    header.seq = seq;
    header.acked_through = acked[session];
    header.origin_member = 1;
    header.origin_request = static_cast<std::uint64_t>(zxid);
    return header;
  }

  Stat StatOf(std::string_view path) const { return state.tree().Find(path)->stat(); }

  bool Exists(std::string_view path) const { return state.tree().Find(path) != nullptr; }

  StateMachine state;
  std::vector<std::pair<std::int64_t, std::string>> log;  // All entries, with their zxids.
  std::int64_t zxid = 100;
  std::int64_t wall_ms = 1'700'000'000'000;
  std::int64_t elapsed_ns = 0;
  std::map<std::int64_t, std::int64_t> seqs;
  std::map<std::int64_t, std::int64_t> acked;

 private:
  int opened_ = 0;
};

}  // namespace conclave::tree
