#include "coord/tree/rows.h"

#include <algorithm>

#include <fmt/format.h>

#include "coord/tree/bytes.h"
#include "coord/tree/path.h"

namespace conclave::tree {
namespace {

constexpr std::uint8_t kHasData = 1;
constexpr std::uint8_t kIsDirectory = 2;
constexpr std::size_t kZnodeFixedBytes = 1 + 1 + 5 * 8 + 2 * 4 + 2;
constexpr std::size_t kDirectoryBytes = 4 + 8;

// Big-endian, so that keys ascend with the numbers.
void AppendBigEndian(std::uint64_t number, std::string& key) {
  for (int shift = 56; shift >= 0; shift -= 8) {
    key.push_back(static_cast<char>(number >> shift));
  }
}

std::string Key(RowKind kind) { return std::string(1, static_cast<char>(kind)); }

std::uint64_t BigEndian(std::string_view key, std::size_t at) {
  std::uint64_t number = 0;
  for (const char c : key.substr(std::min(at, key.size()), 8)) {
    number = (number << 8) | static_cast<unsigned char>(c);
  }
  return number;
}

// A value that begins with the format; what is behind it.
RowResult<ByteReader> Open(std::string_view key, std::string_view value) {
  if (value.empty()) {
    return tl::unexpected<std::string>(fmt::format("{} is empty", PrintableKey(key)));
  }
  if (static_cast<std::uint8_t>(value.front()) != kRowFormat) {
    return tl::unexpected<std::string>(
        fmt::format("{} has format {}, and this build reads {}; upgrade this member",
                    PrintableKey(key), static_cast<unsigned char>(value.front()), kRowFormat));
  }
  return ByteReader(value.substr(1));
}

tl::unexpected<std::string> Malformed(std::string_view key, std::string_view what) {
  return tl::unexpected<std::string>(fmt::format("{} cannot be read: {}", PrintableKey(key), what));
}

std::size_t KeyBytesOf(RowKind kind) {
  switch (kind) {
    case RowKind::kState:
      return 1;
    case RowKind::kSession:
    case RowKind::kMember:
      return 9;
    case RowKind::kReply:
      return 17;
    case RowKind::kZnode:
      break;
  }
  return 0;
}

}  // namespace

// --- Keys ---

void AppendZnodeKey(std::string_view path, std::string& key) {
  key.push_back(static_cast<char>(RowKind::kZnode));
  if (path.size() <= 1) {
    return;
  }
  const std::size_t begin = key.size();
  key += path;
  std::replace(key.begin() + static_cast<std::ptrdiff_t>(begin), key.end(), '/', '\0');
}

std::string StateKey() { return Key(RowKind::kState); }

std::string SessionKey(std::int64_t id) {
  std::string key = Key(RowKind::kSession);
  AppendBigEndian(static_cast<std::uint64_t>(id), key);
  return key;
}

std::string ReplyKey(std::int64_t session, std::int64_t seq) {
  std::string key = Key(RowKind::kReply);
  AppendBigEndian(static_cast<std::uint64_t>(session), key);
  AppendBigEndian(static_cast<std::uint64_t>(seq), key);
  return key;
}

std::string MemberKey(std::uint64_t id) {
  std::string key = Key(RowKind::kMember);
  AppendBigEndian(id, key);
  return key;
}

std::string ZnodeKey(std::string_view path) {
  std::string key;
  AppendZnodeKey(path, key);
  return key;
}

std::string PathOfZnodeKey(std::string_view key) {
  if (key.size() <= 1) {
    return "/";
  }
  std::string path(key.substr(1));
  std::replace(path.begin(), path.end(), '\0', '/');
  return path;
}

std::string PrintableKey(std::string_view key) {
  if (key.empty()) {
    return "the row with an empty key";
  }
  const auto kind = static_cast<RowKind>(key.front());
  if (kind == RowKind::kZnode) {
    return fmt::format("the row of znode {}", PrintablePath(PathOfZnodeKey(key)));
  }
  if (key.size() == KeyBytesOf(kind)) {
    if (kind == RowKind::kState) {
      return "the state row";
    }
    if (kind == RowKind::kSession) {
      return fmt::format("the row of session {}", BigEndian(key, 1));
    }
    if (kind == RowKind::kReply) {
      return fmt::format("the row of reply {} of session {}", BigEndian(key, 9), BigEndian(key, 1));
    }
    return fmt::format("the row of member {}", BigEndian(key, 1));
  }
  std::string text = "the row with key ";
  for (const char c : key.substr(0, 40)) {
    text += fmt::format("{:02x}", static_cast<unsigned char>(c));
  }
  return text + (key.size() > 40 ? "..." : "");
}

// --- Values ---

std::string EncodeRow(const StateRow& row) {
  ByteWriter out;
  out.Int(kRowFormat);
  out.Int(row.digest_version);
  out.Int(row.last_zxid);
  out.Int(row.elapsed_ns);
  out.Int(row.feature_level);
  for (const std::uint64_t limit : row.limits) {
    out.Int(limit);
  }
  out.Int(row.sessions);
  out.Int(row.replies);
  out.Int(row.members);
  out.Int(row.znodes);
  out.Int(row.digest.low);
  out.Int(row.digest.high);
  return out.Finish();
}

std::string EncodeRow(const SessionRow& row) {
  ByteWriter out;
  out.Int(kRowFormat);
  out.Int(row.timeout_ms);
  out.Array(row.secret);
  out.Array(row.nonce);
  out.Int(row.last_seq);
  out.Int(row.acked_through);
  out.Int(row.taken_over_through);
  return out.Finish();
}

std::string EncodeRow(const ReplyRow& row) {
  ByteWriter out;
  out.Int(kRowFormat);
  out.Int(static_cast<std::uint8_t>(row.dropped ? 1 : 0));
  out.Int(row.zxid);
  out.Raw(row.body);
  return out.Finish();
}

std::string EncodeRow(const MemberRow& row) {
  ByteWriter out;
  out.Int(kRowFormat);
  out.Int(row.incarnation);
  out.Int(row.zxid);
  out.String(row.client_address);
  out.String(row.admin_address);
  return out.Finish();
}

std::size_t ZnodeRowBytes(const Value& value, bool is_directory) {
  return kZnodeFixedBytes + (is_directory ? kDirectoryBytes : 0) +
         static_cast<std::size_t>(value.data_length());
}

void EncodeZnodeRow(const Value& value, bool is_directory, std::int32_t ccount, std::int64_t pzxid,
                    std::string& out) {
  out.clear();
  out.reserve(ZnodeRowBytes(value, is_directory));
  ByteWriter to(std::move(out));
  to.Int(kRowFormat);
  to.Int(static_cast<std::uint8_t>((value.has_data() ? kHasData : 0) |
                                   (is_directory ? kIsDirectory : 0)));
  to.Int(value.czxid());
  to.Int(value.mzxid());
  to.Int(value.ctime_ms());
  to.Int(value.mtime_ms());
  to.Int(value.ephemeral_owner());
  to.Int(value.version());
  to.Int(value.aversion());
  to.Int(value.create_ordinal());
  if (is_directory) {
    to.Int(ccount);
    to.Int(pzxid);
  }
  to.Raw(value.data());
  out = to.Finish();
}

// --- Reading back ---

RowResult<RowKind> KindOf(std::string_view key) {
  if (key.empty()) {
    return tl::unexpected<std::string>("a row has an empty key");
  }
  const auto kind = static_cast<RowKind>(key.front());
  if (kind < RowKind::kState || kind > RowKind::kZnode) {
    return tl::unexpected<std::string>(
        fmt::format("{} is of the unknown kind {}; upgrade this member", PrintableKey(key),
                    static_cast<unsigned char>(key.front())));
  }
  return kind;
}

RowResult<StateRow> DecodeStateRow(std::string_view key, std::string_view value) {
  RowResult<ByteReader> in = Open(key, value);
  if (!in.has_value()) {
    return tl::unexpected<std::string>(in.error());
  }
  StateRow row;
  row.digest_version = in->Int<std::int64_t>();
  row.last_zxid = in->Int<std::int64_t>();
  row.elapsed_ns = in->Int<std::int64_t>();
  row.feature_level = in->Int<std::int32_t>();
  for (std::uint64_t& limit : row.limits) {
    limit = in->Int<std::uint64_t>();
  }
  row.sessions = in->Int<std::uint64_t>();
  row.replies = in->Int<std::uint64_t>();
  row.members = in->Int<std::uint64_t>();
  row.znodes = in->Int<std::uint64_t>();
  row.digest.low = in->Int<std::uint64_t>();
  row.digest.high = in->Int<std::uint64_t>();
  if (key.size() != 1 || !in->Finished()) {
    return Malformed(key, "it has not the length of one");
  }
  return row;
}

RowResult<SessionRow> DecodeSessionRow(std::string_view key, std::string_view value) {
  RowResult<ByteReader> in = Open(key, value);
  if (!in.has_value()) {
    return tl::unexpected<std::string>(in.error());
  }
  SessionRow row;
  row.id = static_cast<std::int64_t>(BigEndian(key, 1));
  row.timeout_ms = in->Int<std::int32_t>();
  row.secret = in->Array<16>();
  row.nonce = in->Array<16>();
  row.last_seq = in->Int<std::int64_t>();
  row.acked_through = in->Int<std::int64_t>();
  row.taken_over_through = in->Int<std::int64_t>();
  if (key.size() != kSessionKeyBytes || !in->Finished()) {
    return Malformed(key, "it has not the length of one");
  }
  return row;
}

RowResult<ReplyRow> DecodeReplyRow(std::string_view key, std::string_view value) {
  RowResult<ByteReader> in = Open(key, value);
  if (!in.has_value()) {
    return tl::unexpected<std::string>(in.error());
  }
  ReplyRow row;
  const auto dropped = in->Int<std::uint8_t>();
  row.zxid = in->Int<std::int64_t>();
  if (key.size() != kReplyKeyBytes || !in->ok()) {
    return Malformed(key, "it has not the length of one");
  }
  row.session = static_cast<std::int64_t>(BigEndian(key, 1));
  row.seq = static_cast<std::int64_t>(BigEndian(key, 9));
  row.body = value.substr(kReplyRowBytes);
  row.dropped = dropped != 0;
  if (dropped > 1 || (row.dropped && !row.body.empty())) {
    return Malformed(key, "it is neither kept nor dropped");
  }
  return row;
}

RowResult<MemberRow> DecodeMemberRow(std::string_view key, std::string_view value) {
  RowResult<ByteReader> in = Open(key, value);
  if (!in.has_value()) {
    return tl::unexpected<std::string>(in.error());
  }
  MemberRow row;
  row.incarnation = in->Int<std::uint64_t>();
  row.zxid = in->Int<std::int64_t>();
  row.client_address = in->String();
  row.admin_address = in->String();
  if (key.size() != KeyBytesOf(RowKind::kMember) || !in->Finished()) {
    return Malformed(key, "it has not the length of one");
  }
  row.id = BigEndian(key, 1);
  return row;
}

RowResult<ZnodeRow> DecodeZnodeRow(std::string_view key, std::string_view value) {
  RowResult<ByteReader> in = Open(key, value);
  if (!in.has_value()) {
    return tl::unexpected<std::string>(in.error());
  }
  if (key.find('/') != std::string_view::npos || (key.size() > 1 && key[1] != '\0')) {
    return Malformed(key, "its key holds no path");
  }
  ZnodeRow row;
  row.path = PathOfZnodeKey(key);
  const auto flags = in->Int<std::uint8_t>();
  row.fields.czxid = in->Int<std::int64_t>();
  row.fields.mzxid = in->Int<std::int64_t>();
  row.fields.ctime_ms = in->Int<std::int64_t>();
  row.fields.mtime_ms = in->Int<std::int64_t>();
  row.fields.ephemeral_owner = in->Int<std::int64_t>();
  row.fields.version = in->Int<std::int32_t>();
  row.fields.aversion = in->Int<std::int32_t>();
  row.fields.create_ordinal = in->Int<std::uint16_t>();
  row.is_directory = (flags & kIsDirectory) != 0;
  if (row.is_directory) {
    row.ccount = in->Int<std::int32_t>();
    row.pzxid = in->Int<std::int64_t>();
  }
  if (!in->ok()) {
    return Malformed(key, "it is too short");
  }
  const std::string_view data = value.substr(value.size() - in->remaining());
  if ((flags & ~(kHasData | kIsDirectory)) != 0 || ((flags & kHasData) == 0 && !data.empty())) {
    return Malformed(key, fmt::format("its flags are {}", flags));
  }
  if ((flags & kHasData) != 0) {
    row.data = data;
  }
  return row;
}

}  // namespace conclave::tree
