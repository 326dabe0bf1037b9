#include "coord/tree/state_loader.h"

#include <algorithm>
#include <array>
#include <utility>

#include <fmt/format.h>
#include <glog/logging.h>

#include "coord/tree/path.h"
#include "coord/tree/reply.h"
#include "coord/tree/rows.h"
#include "coord/tree/state_machine.h"
#include "coord/tree/tree_loader.h"

namespace conclave::tree {
namespace {

using Kind = LoadError::Kind;

// Rows of a kind, in the order of the kinds.
constexpr std::size_t kKinds = 5;

std::size_t At(RowKind kind) { return static_cast<std::size_t>(kind) - 1; }

bool IsZero(const Bytes16& bytes) { return bytes == Bytes16(); }

}  // namespace

class StateLoader::Impl {
 public:
  explicit Impl(const Limits& limits)
      : machine_(std::make_unique<StateMachine>(limits)), tree_(&machine_->tree_) {}

  bool Add(std::string_view key, std::string_view value);
  tl::expected<std::unique_ptr<StateMachine>, LoadError> Finish(std::int64_t index,
                                                                const Digest& digest);

  const std::optional<LoadError>& error() const { return error_; }

 private:
  bool Fail(Kind kind, std::string message);
  bool FailRead(std::string_view value, std::string message);

  bool Add(const StateRow& row);
  bool Add(const SessionRow& row);
  bool Add(const ReplyRow& row);
  bool Add(const MemberRow& row);
  bool Add(const ZnodeRow& row);

  template <typename Row>
  bool AddRead(std::string_view value, const RowResult<Row>& row) {
    return row.has_value() ? Add(*row) : FailRead(value, row.error());
  }

  bool JudgeCounts();
  bool JudgeReplies();
  bool JudgeReservedZnodes();

  // A zxid that an entry applied so far can have had (0: from the beginning).
  bool InHistory(std::int64_t zxid) const { return zxid >= 0 && zxid <= state_.last_zxid; }

  const Limits& limits() const { return machine_->limits_; }

  std::unique_ptr<StateMachine> machine_;
  TreeLoader tree_;
  StateRow state_;
  std::array<std::uint64_t, kKinds> counts_{};
  std::string previous_;
  std::optional<LoadError> error_;
};

bool StateLoader::Impl::Fail(Kind kind, std::string message) {
  if (!error_.has_value()) {
    error_ = LoadError{kind, std::move(message)};
  }
  return false;
}

bool StateLoader::Impl::FailRead(std::string_view value, std::string message) {
  const bool newer = !value.empty() && static_cast<std::uint8_t>(value.front()) != kRowFormat;
  return Fail(newer ? Kind::kUnknownFormat : Kind::kMalformed, std::move(message));
}

bool StateLoader::Impl::Add(std::string_view key, std::string_view value) {
  if (error_.has_value()) {
    return false;
  }
  const RowResult<RowKind> kind = KindOf(key);
  if (!kind.has_value()) {
    return Fail(key.empty() ? Kind::kMalformed : Kind::kUnknownFormat, kind.error());
  }
  if (key <= previous_) {
    return Fail(Kind::kOrder, key == previous_
                                  ? fmt::format("{} comes twice", PrintableKey(key))
                                  : fmt::format("{} comes behind {}", PrintableKey(key),
                                                PrintableKey(previous_)));
  }
  if (previous_.empty() && *kind != RowKind::kState) {
    return Fail(Kind::kMissing, "the state row is missing");
  }
  previous_ = key;
  ++counts_[At(*kind)];
  switch (*kind) {
    case RowKind::kState:
      return AddRead(value, DecodeStateRow(key, value));
    case RowKind::kSession:
      return AddRead(value, DecodeSessionRow(key, value));
    case RowKind::kReply:
      return AddRead(value, DecodeReplyRow(key, value));
    case RowKind::kMember:
      return AddRead(value, DecodeMemberRow(key, value));
    case RowKind::kZnode:
      break;
  }
  return AddRead(value, DecodeZnodeRow(key, value));
}

bool StateLoader::Impl::Add(const StateRow& row) {
  if (row.feature_level > kFeatureLevelMax || row.digest_version != kDigestVersion) {
    return Fail(
        Kind::kUnknownFormat,
        fmt::format("the state has feature level {} and digest version {}, and this build "
                    "knows {} and {}; upgrade this member",
                    row.feature_level, row.digest_version, kFeatureLevelMax, kDigestVersion));
  }
  if (row.feature_level < kFeatureLevelMin || row.elapsed_ns < 0 || row.last_zxid < 0 ||
      row.last_zxid >= kZxidEnd) {
    return Fail(
        Kind::kMalformed,
        fmt::format("the state row makes no sense: feature level {}, zxid {}, {} ns elapsed",
                    row.feature_level, row.last_zxid, row.elapsed_ns));
  }
  if (row.limits != NumbersOf(limits())) {
    return Fail(Kind::kUnknownFormat,
                "the state was made under other limits than those of this build");
  }
  state_ = row;
  machine_->last_zxid_ = row.last_zxid;
  machine_->elapsed_ns_ = row.elapsed_ns;
  machine_->feature_level_ = row.feature_level;
  return true;
}

bool StateLoader::Impl::Add(const SessionRow& row) {
  Sessions& sessions = machine_->sessions_;
  if (row.id <= 0 || !InHistory(row.id) || row.timeout_ms <= 0 || IsZero(row.secret) ||
      IsZero(row.nonce) || row.acked_through < 0 || row.last_seq < row.acked_through ||
      row.taken_over_through < 0 || row.acked_through < row.taken_over_through ||
      row.last_seq >= kZxidEnd) {
    return Fail(
        Kind::kMalformed,
        fmt::format("session {} makes no sense: timeout {} ms, last seq {}, acknowledged "
                    "through {}, in a state at zxid {}",
                    row.id, row.timeout_ms, row.last_seq, row.acked_through, state_.last_zxid));
  }
  if (sessions.FindByNonce(row.nonce) != nullptr) {
    return Fail(Kind::kMalformed,
                fmt::format("session {} has the nonce of another session", row.id));
  }
  Session session;
  session.id = row.id;
  session.timeout_ms = row.timeout_ms;
  session.secret = row.secret;
  session.nonce = row.nonce;
  session.last_seq = row.last_seq;
  session.acked_through = row.acked_through;
  session.taken_over_through = row.taken_over_through;
  sessions.by_nonce_.emplace(row.nonce, row.id);
  sessions.UpdateItem(
      sessions.sessions_.emplace_hint(sessions.sessions_.end(), row.id, std::move(session))
          ->second);
  return true;
}

bool StateLoader::Impl::Add(const ReplyRow& row) {
  Sessions& sessions = machine_->sessions_;
  const auto found = sessions.sessions_.find(row.session);
  if (found == sessions.sessions_.end()) {
    return Fail(Kind::kMissing,
                fmt::format("reply {} is of session {}, which is missing", row.seq, row.session));
  }
  Session& session = found->second;
  const bool next = session.replies.empty() || session.replies.back().seq + 1 == row.seq;
  if (!next || row.seq <= session.acked_through || row.seq > session.last_seq) {
    return Fail(Kind::kMalformed,
                fmt::format("session {} has reply {} out of place: its last seq is {}, it has "
                            "acknowledged through {}",
                            row.session, row.seq, session.last_seq, session.acked_through));
  }
  if (!InHistory(row.zxid) || (!row.dropped && !DecodeReply(row.body).has_value())) {
    return Fail(Kind::kMalformed, fmt::format("reply {} of session {}, at zxid {}, cannot be read",
                                              row.seq, row.session, row.zxid));
  }
  StoredReply stored;
  stored.seq = row.seq;
  stored.zxid = row.zxid;
  if (!row.dropped) {
    stored.encoded = SharedBytes(row.body);
  }
  sessions.UpdateItem(session, stored);
  session.reply_bytes += row.body.size();
  session.replies.push_back(std::move(stored));
  ++sessions.reply_count_;
  if (session.replies.size() > limits().replies_per_session_max ||
      session.reply_bytes > limits().reply_bytes_per_session_max) {
    return Fail(Kind::kMalformed,
                fmt::format("session {} has more replies than the limits allow", row.session));
  }
  return true;
}

bool StateLoader::Impl::Add(const MemberRow& row) {
  if (row.zxid <= 0 || !InHistory(row.zxid) ||
      std::max(row.client_address.size(), row.admin_address.size()) > limits().address_bytes_max) {
    return Fail(Kind::kMalformed,
                fmt::format("member {} makes no sense: published at zxid {}, in a state at zxid {}",
                            row.id, row.zxid, state_.last_zxid));
  }
  machine_->members_.emplace_hint(
      machine_->members_.end(), row.id,
      MemberInfo{row.incarnation, row.client_address, row.admin_address, row.zxid});
  return true;
}

bool StateLoader::Impl::Add(const ZnodeRow& row) {
  const Value::Fields& fields = row.fields;
  if (const auto valid = ValidatePath(row.path, limits()); !valid.has_value()) {
    return Fail(Kind::kMalformed,
                fmt::format("a znode has no valid path: {}", valid.error().message));
  }
  if (!InHistory(fields.czxid) || fields.mzxid < fields.czxid || !InHistory(fields.mzxid) ||
      !InHistory(row.pzxid) ||
      (row.data.has_value() && row.data->size() > limits().value_bytes_max)) {
    return Fail(Kind::kMalformed,
                fmt::format("znode {} makes no sense: czxid {}, mzxid {}, pzxid {}, {} bytes of "
                            "data, in a state at zxid {}",
                            row.path, fields.czxid, fields.mzxid, row.pzxid,
                            row.data.value_or("").size(), state_.last_zxid));
  }
  if (std::string why = tree_.Judge(row); !why.empty()) {
    return Fail(Kind::kMissing, std::move(why));
  }
  if (fields.ephemeral_owner != 0) {
    Sessions& sessions = machine_->sessions_;
    const auto owner = sessions.sessions_.find(fields.ephemeral_owner);
    if (owner == sessions.sessions_.end()) {
      return Fail(Kind::kMissing, fmt::format("znode {} belongs to session {}, which is missing",
                                              row.path, fields.ephemeral_owner));
    }
    auto& ephemerals = owner->second.ephemerals;
    if (row.is_directory ||
        !ephemerals.emplace(CreationOrder(fields.czxid, fields.create_ordinal), row.path).second ||
        ephemerals.size() > limits().ephemerals_per_session_max) {
      return Fail(Kind::kMalformed,
                  fmt::format("the ephemeral znode {} of session {} has had children, or was "
                              "created at the same moment as another one, or is one too many",
                              row.path, fields.ephemeral_owner));
    }
  }
  tree_.Add(row);
  return true;
}

bool StateLoader::Impl::JudgeCounts() {
  const std::array<std::uint64_t, kKinds> expected = {1, state_.sessions, state_.replies,
                                                      state_.members, state_.znodes};
  static constexpr std::array<std::string_view, kKinds> kNames = {
      "state row", "sessions", "stored replies", "members", "znodes"};
  if (counts_[0] == 0) {
    return Fail(Kind::kMissing, "the state row is missing");
  }
  for (std::size_t i = 0; i < kKinds; ++i) {
    if (counts_[i] != expected[i]) {
      return Fail(Kind::kCount, fmt::format("there are {} {}, and the state row says {}",
                                            counts_[i], kNames[i], expected[i]));
    }
  }
  return true;
}

bool StateLoader::Impl::JudgeReplies() {
  for (auto& [id, session] : machine_->sessions_.sessions_) {
    // The newest reply is kept until a newer one is there, or another process takes over.
    if (session.replies.empty() ? session.last_seq != session.taken_over_through
                                : session.replies.back().seq != session.last_seq) {
      return Fail(Kind::kMissing,
                  fmt::format("reply {} of session {} is missing", session.last_seq, id));
    }
    // Everything is in the checkpoint that this was loaded from.
    session.marks.in_base = true;
    session.marks.base_begin =
        session.last_seq - static_cast<std::int64_t>(session.replies.size()) + 1;
    session.marks.base_end = session.last_seq + 1;
  }
  return true;
}

bool StateLoader::Impl::JudgeReservedZnodes() {
  for (const std::string_view path : {"/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"}) {
    if (machine_->tree_.Find(path) == nullptr) {
      return Fail(Kind::kMissing, fmt::format("znode {} is missing", path));
    }
  }
  return true;
}

tl::expected<std::unique_ptr<StateMachine>, LoadError> StateLoader::Impl::Finish(
    std::int64_t index, const Digest& digest) {
  if (error_.has_value() || !JudgeCounts() || !JudgeReplies() ||
      counts_[At(RowKind::kZnode)] == 0 || !JudgeReservedZnodes()) {
    Fail(Kind::kMissing, "there are no znodes");
    return tl::unexpected<LoadError>(*error_);
  }
  if (state_.last_zxid > index || index >= kZxidEnd) {
    Fail(Kind::kMalformed, fmt::format("the state is at zxid {}, and the checkpoint at index {}",
                                       state_.last_zxid, index));
    return tl::unexpected<LoadError>(*error_);
  }
  // From what now lies in memory, not from the rows.
  tree_.Finish(state_.last_zxid);
  for (const auto& [id, member] : machine_->members_) {
    machine_->members_digest_ += StateMachine::MemberItem(id, member);
  }
  const Digest found = machine_->digest();
  if (found != state_.digest || found != digest) {
    Fail(Kind::kDigest,
         fmt::format("the digest of the rows is {}; the state row says {}, the checkpoint {}",
                     found.ToString(), state_.digest.ToString(), digest.ToString()));
    return tl::unexpected<LoadError>(*error_);
  }
  return std::move(machine_);
}

StateLoader::StateLoader(const Limits& limits) : impl_(std::make_unique<Impl>(limits)) {}

StateLoader::~StateLoader() = default;

bool StateLoader::Add(std::string_view key, std::string_view value) {
  return impl_->Add(key, value);
}

const std::optional<LoadError>& StateLoader::error() const { return impl_->error(); }

tl::expected<std::unique_ptr<StateMachine>, LoadError> StateLoader::Finish(std::int64_t index,
                                                                           const Digest& digest) {
  return impl_->Finish(index, digest);
}

}  // namespace conclave::tree
