#include "coord/tree/state_machine.h"

#include <algorithm>
#include <utility>
#include <variant>

#include <fmt/format.h>
#include <glog/logging.h>

#include "coord/tree/path.h"
#include "coord/tree/transaction.h"

namespace conclave::tree {
namespace {

Reply Refusal(Code code, std::string message) {
  Reply reply;
  reply.code = code;
  reply.message = std::move(message);
  return reply;
}

Fatal FatalFrom(const DecodeError& error, std::int64_t zxid) {
  Fatal fatal;
  switch (error.kind) {
    case DecodeError::Kind::kMalformed:
      fatal.kind = Fatal::Kind::kMalformedEntry;
      fatal.message =
          fmt::format("the committed entry at zxid {} cannot be read: {}", zxid, error.message);
      return fatal;
    case DecodeError::Kind::kUnknownFormat:
      fatal.kind = Fatal::Kind::kUnknownFormat;
      break;
    case DecodeError::Kind::kUnknownCommand:
      fatal.kind = Fatal::Kind::kUnknownCommand;
      break;
  }
  fatal.message =
      fmt::format("the committed entry at zxid {} is of a newer version: {}; upgrade this member",
                  zxid, error.message);
  return fatal;
}

bool IsZero(const Bytes16& bytes) { return bytes == Bytes16(); }

// An operation of a failed multi that was not reached.
OpResult NotReached() {
  OpResult result;
  result.code = Code::kRuntimeInconsistency;
  result.message = std::string(TextOf(result.code));
  return result;
}

}  // namespace

StateMachine::StateMachine(const Limits& limits) : limits_(limits), sessions_(limits_) {
  CHECK_LE(limits_.component_bytes_max, 255U) << "a znode keeps the length of its name in a byte";
  CHECK_LE(limits_.multi_ops_max, 65536U) << "a znode keeps its place in the entry in two bytes";
}

ApplyResult StateMachine::Apply(std::int64_t zxid, std::string_view bytes) {
  CHECK_GT(zxid, last_zxid_) << "entries are applied once and in order";
  ApplyResult result;
  if (zxid >= kZxidEnd) {
    result.fatal = Fatal{Fatal::Kind::kZxidExhausted,
                         fmt::format("the entry at zxid {} is beyond 2^53, where numbers are no "
                                     "longer exact for every client; import the data into a new "
                                     "cluster",
                                     zxid)};
    return result;
  }
  tl::expected<Entry, DecodeError> entry = DecodeEntry(bytes);
  if (!entry.has_value()) {
    result.fatal = FatalFrom(entry.error(), zxid);
    return result;
  }
  if (const auto* raise = std::get_if<SetFeatureLevel>(&entry->command);
      raise != nullptr && raise->level > kFeatureLevelMax) {
    result.fatal =
        Fatal{Fatal::Kind::kUnknownFeatureLevel,
              fmt::format(
                  "the entry at zxid {} raises the feature level to {}, and this build knows {} at "
                  "most; upgrade this member",
                  zxid, raise->level, kFeatureLevelMax)};
    return result;
  }
  const EntryHeader& header = entry->header;
  result.session = header.session;
  result.seq = header.seq;
  result.origin_member = header.origin_member;
  result.origin_request = header.origin_request;
  last_zxid_ = zxid;
  elapsed_ns_ = std::max(elapsed_ns_, header.elapsed_ns);
  Execute(*entry, result);
  return result;
}

void StateMachine::Execute(Entry& entry, ApplyResult& result) {
  if (const auto* open = std::get_if<OpenSession>(&entry.command)) {
    Open(*open, result);
  } else if (const auto* close = std::get_if<CloseSession>(&entry.command)) {
    Close(entry, *close, result);
  } else if (const auto* raise = std::get_if<SetFeatureLevel>(&entry.command)) {
    Raise(*raise, result);
  } else if (const auto* publish = std::get_if<PublishMember>(&entry.command)) {
    Publish(*publish, result);
  } else {
    ExecuteForSession(entry, result);
  }
}

void StateMachine::ExecuteForSession(Entry& entry, ApplyResult& result) {
  const EntryHeader& header = entry.header;
  const Session* session = sessions_.Find(header.session);
  if (session == nullptr) {
    const auto* create = std::get_if<Create>(&entry.command);
    if (create != nullptr && !IsKnown(create->mode)) {
      result.reply =
          Refusal(Code::kInvalidArgument,
                  fmt::format("mode {} is unknown", static_cast<unsigned>(create->mode)));
      return;
    }
    if (CONCLAVE_MUTANT(36) && std::holds_alternative<SetData>(entry.command)) {
      ExecuteOps(entry, result);
    }
    result.reply = Refusal(
        Code::kSessionExpired,
        fmt::format("session {} is over or was never opened; open a new one", header.session));
    return;
  }
  SequenceVerdict verdict = sessions_.Judge(*session, header.seq);
  const bool taking_over = std::holds_alternative<TakeOver>(entry.command);
  if (taking_over && verdict == SequenceVerdict::kDuplicate) {
    verdict = SequenceVerdict::kGap;  // The number may have been another process's.
  }
  switch (verdict) {
    case SequenceVerdict::kInvalid:
      result.reply =
          Refusal(Code::kInvalidArgument,
                  fmt::format("seq {}: the requests of a session are numbered from 1", header.seq));
      return;
    case SequenceVerdict::kGap:
      result.reply = Refusal(
          Code::kSequenceGap,
          fmt::format("not executed: seq {} of session {}, expected {}; send what is missing first",
                      header.seq, header.session, session->last_seq + 1));
      result.reply.expected_seq = session->last_seq + 1;
      return;
    case SequenceVerdict::kDuplicate:
      if (CONCLAVE_MUTANT(39)) {
        ExecuteOps(entry, result);
        result.reply.zxid = last_zxid_;
        return;
      }
      result.reply = sessions_.StoredAnswer(*session, header.seq);
      result.duplicate = true;
      return;
    case SequenceVerdict::kNext:
      break;
  }
  if (const auto* close = std::get_if<CloseSession>(&entry.command)) {
    EndSession(*close, result);  // Takes the stored replies with it.
    return;
  }
  if (taking_over) {
    TakeSessionOver(header, result);
    return;
  }
  ExecuteOps(entry, result);
  result.reply.zxid = last_zxid_;
  sessions_.Record(header.session, header.seq, header.acked_through, result.reply);
}

void StateMachine::ExecuteOps(Entry& entry, ApplyResult& result) {
  const EntryHeader& header = entry.header;
  Transaction transaction(tree_, sessions_, limits_,
                          {last_zxid_, header.wall_ms, header.session, header.identity,
                           header.tenant, std::holds_alternative<Multi>(entry.command)});
  Reply& reply = result.reply;
  const auto take = [&reply](OpResult one) {
    reply.code = one.code;
    reply.message = std::move(one.message);
    reply.path = std::move(one.path);
    reply.stat = one.stat;
  };
  if (auto* create = std::get_if<Create>(&entry.command)) {
    take(transaction.Execute(*create));
  } else if (auto* remove = std::get_if<Delete>(&entry.command)) {
    take(transaction.Execute(*remove));
  } else if (auto* set = std::get_if<SetData>(&entry.command)) {
    take(transaction.Execute(*set));
  } else {
    ExecuteMulti(std::get<Multi>(entry.command), transaction, reply);
  }
  result.changes = transaction.TakeChanges();
}

void StateMachine::ExecuteMulti(Multi& multi, Transaction& transaction, Reply& reply) {
  if (multi.ops.size() > limits_.multi_ops_max) {
    reply = Refusal(Code::kTooLarge,
                    fmt::format("a multi of {} operations, and the limit is {}; split it",
                                multi.ops.size(), limits_.multi_ops_max));
    return;
  }
  reply.multi.reserve(multi.ops.size());
  for (Op& op : multi.ops) {
    reply.multi.push_back(transaction.Execute(op));
    if (reply.multi.back().code != Code::kOk) {
      break;
    }
  }
  if (reply.multi.empty() || reply.multi.back().code == Code::kOk) {
    return;
  }
  transaction.Rollback();
  const std::size_t failed = reply.multi.size() - 1;
  const OpResult& why = reply.multi.back();
  reply.code = why.code;
  reply.path = why.path;
  reply.message =
      fmt::format("operation {} of {} (from 0): {}", failed, multi.ops.size(), why.message);
  for (std::size_t i = 0; i < failed; ++i) {
    reply.multi[i] = OpResult();  // Taken back: nothing to tell of it.
  }
  reply.multi.resize(multi.ops.size(), NotReached());
}

void StateMachine::Open(const OpenSession& command, ApplyResult& result) {
  Reply& reply = result.reply;
  const Session* session = sessions_.FindByNonce(command.nonce);
  if (session != nullptr) {
    result.duplicate = true;
  } else if (command.timeout_ms <= 0) {
    reply = Refusal(Code::kInvalidArgument,
                    fmt::format("timeout_ms {}: it must be positive", command.timeout_ms));
    return;
  } else if (IsZero(command.nonce) || IsZero(command.secret)) {
    reply = Refusal(Code::kInvalidArgument, "nonce and secret must be drawn at random, not zero");
    return;
  } else {
    session = &sessions_.Open(last_zxid_, command);
    result.session_events.push_back({SessionEventType::kOpened, last_zxid_, command.timeout_ms});
  }
  reply.session = session->id;
  reply.secret = session->secret;
  reply.timeout_ms = session->timeout_ms;
  reply.zxid = session->id;
}

void StateMachine::Close(Entry& entry, const CloseSession& command, ApplyResult& result) {
  const std::int64_t caller = entry.header.session;
  if (caller == 0) {
    EndSession(command, result);
  } else if (caller == command.session) {
    ExecuteForSession(entry, result);
  } else {
    result.reply = Refusal(
        Code::kInvalidArgument,
        fmt::format("session {} cannot close session {}, only itself", caller, command.session));
  }
}

void StateMachine::EndSession(const CloseSession& command, ApplyResult& result) {
  const Session* session = sessions_.Find(command.session);
  if (session == nullptr) {
    result.reply =
        Refusal(Code::kSessionExpired,
                fmt::format("session {} is over already or was never opened", command.session));
    return;
  }
  const SessionEvent event{command.reason == CloseReason::kExpired ? SessionEventType::kExpired
                                                                   : SessionEventType::kClosed,
                           session->id, session->timeout_ms};
  Transaction transaction(tree_, sessions_, limits_, {last_zxid_, 0, session->id, {}, {}, false});
  transaction.DeleteEphemerals(session->id);
  sessions_.Close(session->id);
  result.changes = transaction.TakeChanges();
  result.session_events.push_back(event);
  result.reply.zxid = last_zxid_;
}

void StateMachine::TakeSessionOver(const EntryHeader& header, ApplyResult& result) {
  if (header.seq >= kZxidEnd - 2 * kTakeOverJump) {
    result.reply = Refusal(Code::kSessionExpired,
                           fmt::format("session {} has used up its numbers", header.session));
    return;
  }
  result.reply.expected_seq = sessions_.TakeOver(header.session, header.seq);
  result.reply.zxid = last_zxid_;
}

void StateMachine::Raise(const SetFeatureLevel& command, ApplyResult& result) {
  if (command.level < feature_level_) {
    result.reply = Refusal(Code::kInvalidArgument,
                           fmt::format("feature level {}: it is {} and never goes back",
                                       command.level, feature_level_));
    return;
  }
  feature_level_ = command.level;
  result.reply.zxid = last_zxid_;
}

void StateMachine::Publish(const PublishMember& command, ApplyResult& result) {
  const std::size_t longest = std::max(command.client_address.size(), command.admin_address.size());
  if (longest > limits_.address_bytes_max) {
    result.reply =
        Refusal(Code::kTooLarge, fmt::format("address of member {}: {} bytes, and the limit is {}",
                                             command.id, longest, limits_.address_bytes_max));
    return;
  }
  dirty_members_.insert(command.id);
  MemberInfo& member = members_[command.id];
  if (member.zxid != 0) {
    members_digest_ -= MemberItem(command.id, member);
  }
  member = {command.incarnation, command.client_address, command.admin_address, last_zxid_};
  members_digest_ += MemberItem(command.id, member);
  result.reply.zxid = last_zxid_;
}

// --- Digest ---

Digest StateMachine::MemberItem(std::uint64_t id, const MemberInfo& member) {
  DigestItem item(DigestItem::Kind::kMember);
  item.Add(id).Add(member.incarnation).Add(member.zxid);
  item.Add(std::string_view(member.client_address)).Add(std::string_view(member.admin_address));
  return item.Finish();
}

Digest StateMachine::ClusterItem() const {
  DigestItem item(DigestItem::Kind::kCluster);
  item.Add(kDigestVersion).Add(feature_level_).Add(elapsed_ns_).Add(last_zxid_);
  for (const std::uint64_t limit : NumbersOf(limits_)) {
    item.Add(limit);
  }
  return item.Finish();
}

Digest StateMachine::digest() const {
  Digest digest = ClusterItem();
  digest += tree_.digest();
  digest += sessions_.digest();
  digest += members_digest_;
  return digest;
}

Digest StateMachine::RecomputeDigest() const {
  Digest digest = ClusterItem();
  digest += tree_.RecomputeDigest();
  digest += sessions_.RecomputeDigest();
  for (const auto& [id, member] : members_) {
    digest += MemberItem(id, member);
  }
  return digest;
}

std::string StateMachine::Audit() const {
  std::string found;
  const auto complain = [&found](std::string what) {
    if (found.empty()) {
      found = std::move(what);
    }
  };
  std::size_t count = 0;
  std::uint64_t bytes = 0;
  std::size_t ephemerals = 0;
  tree_.ForEach([&](std::string_view path, const Znode& znode) {
    ++count;
    const Value& value = znode.value();
    bytes += static_cast<std::uint64_t>(value.data_length());
    if (!ValidatePath(path, limits_).has_value()) {
      complain(fmt::format("{} is not a valid path", PrintablePath(path)));
    }
    if (!znode.is_ephemeral()) {
      return;
    }
    ++ephemerals;
    const Session* owner = sessions_.Find(value.ephemeral_owner());
    if (owner == nullptr) {
      complain(
          fmt::format("{} belongs to session {}, which is over", path, value.ephemeral_owner()));
    } else {
      const auto at = owner->ephemerals.find({value.czxid(), value.create_ordinal()});
      if (at == owner->ephemerals.end() || at->second != path) {
        complain(fmt::format("{} is not among the ephemerals of session {}", path, owner->id));
      }
    }
    if (znode.num_children() != 0) {
      complain(fmt::format("{} is ephemeral and has children", path));
    }
  });
  if (count != tree_.znode_count() || bytes != tree_.data_bytes()) {
    complain(fmt::format("{} znodes with {} bytes of data, counted as {} with {}", count, bytes,
                         tree_.znode_count(), tree_.data_bytes()));
  }
  for (const auto& [id, session] : sessions_.all()) {
    ephemerals -= session.ephemerals.size();
    std::size_t reply_bytes = 0;
    std::int64_t seq = session.last_seq - static_cast<std::int64_t>(session.replies.size());
    for (const StoredReply& stored : session.replies) {
      reply_bytes += stored.body().size();
      if (stored.seq != ++seq || stored.seq <= session.acked_through) {
        complain(fmt::format("session {} keeps reply {} out of place", id, stored.seq));
      }
    }
    if (reply_bytes != session.reply_bytes || reply_bytes > limits_.reply_bytes_per_session_max ||
        session.replies.size() > limits_.replies_per_session_max ||
        session.acked_through > session.last_seq) {
      complain(fmt::format("session {} keeps {} replies of {} bytes, counted as {}", id,
                           session.replies.size(), reply_bytes, session.reply_bytes));
    }
  }
  if (ephemerals != 0) {
    complain("a session lists an ephemeral that does not exist");
  }
  return found;
}

}  // namespace conclave::tree
