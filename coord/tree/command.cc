#include "coord/tree/command.h"

#include <type_traits>
#include <utility>

#include <fmt/format.h>

#include "coord/tree/bytes.h"

namespace conclave::tree {
namespace {

// Numbers of commands and operations in the log: never changed, never reused.
enum class CommandType : std::uint16_t {
  kOpenSession = 1,
  kCloseSession = 2,
  kCreate = 3,
  kDelete = 4,
  kSetData = 5,
  kMulti = 6,
  kSetFeatureLevel = 7,
  kPublishMember = 8,
  kTakeOver = 9,
};

enum class OpType : std::uint8_t { kCreate = 1, kDelete = 2, kSetData = 3, kCheck = 4 };

// Offsets of the fixed part. The time stands at a fixed place so that the leader stamps it into the
// bytes that the origin made, without reading the rest.
constexpr std::size_t kFormatOffset = 0;
constexpr std::size_t kWallOffset = 8;
constexpr std::size_t kElapsedOffset = 16;
constexpr std::size_t kFixedBytes = 64;

// The smallest operation, a delete or check of the empty path: type, length, version.
constexpr std::size_t kOpBytesMin = 1 + 4 + 4;

class CommandEncoder {
 public:
  explicit CommandEncoder(ByteWriter& out) : out_(out) {}

  void operator()(const OpenSession& c) {
    out_.Int(c.timeout_ms);
    out_.Array(c.secret);
    out_.Array(c.nonce);
  }

  void operator()(const CloseSession& c) {
    out_.Int(c.session);
    out_.Int(static_cast<std::uint8_t>(c.reason));
  }

  void operator()(const Create& c) {
    out_.String(c.path);
    out_.Nullable(c.data);
    out_.Int(static_cast<std::uint8_t>(c.mode));
  }

  void operator()(const Delete& c) {
    out_.String(c.path);
    out_.Int(c.version);
  }

  void operator()(const SetData& c) {
    out_.String(c.path);
    out_.Nullable(c.data);
    out_.Int(c.version);
  }

  void operator()(const Check& c) {
    out_.String(c.path);
    out_.Int(c.version);
  }

  void operator()(const Multi& c) {
    out_.Int(static_cast<std::uint32_t>(c.ops.size()));
    for (const Op& op : c.ops) {
      out_.Int(static_cast<std::uint8_t>(op.index() + 1));  // OpType follows the order of Op.
      std::visit(*this, op);
    }
  }

  void operator()(const SetFeatureLevel& c) { out_.Int(c.level); }

  void operator()(const PublishMember& c) {
    out_.Int(c.id);
    out_.Int(c.incarnation);
    out_.String(c.client_address);
    out_.String(c.admin_address);
  }

  void operator()(const TakeOver&) {}

 private:
  ByteWriter& out_;
};

static_assert(std::is_same_v<std::variant_alternative_t<0, Op>, Create> &&
              std::is_same_v<std::variant_alternative_t<1, Op>, Delete> &&
              std::is_same_v<std::variant_alternative_t<2, Op>, SetData> &&
              std::is_same_v<std::variant_alternative_t<3, Op>, Check>);
static_assert(std::is_same_v<std::variant_alternative_t<0, Command>, OpenSession> &&
              std::is_same_v<std::variant_alternative_t<1, Command>, CloseSession> &&
              std::is_same_v<std::variant_alternative_t<2, Command>, Create> &&
              std::is_same_v<std::variant_alternative_t<3, Command>, Delete> &&
              std::is_same_v<std::variant_alternative_t<4, Command>, SetData> &&
              std::is_same_v<std::variant_alternative_t<5, Command>, Multi> &&
              std::is_same_v<std::variant_alternative_t<6, Command>, SetFeatureLevel> &&
              std::is_same_v<std::variant_alternative_t<7, Command>, PublishMember> &&
              std::is_same_v<std::variant_alternative_t<8, Command>, TakeOver>);

// Braced initialisers are evaluated from left to right, which is the order of the bytes.
Create ReadCreate(ByteReader& in) {
  return Create{in.String(), in.Nullable(), static_cast<CreateMode>(in.Int<std::uint8_t>())};
}

Delete ReadDelete(ByteReader& in) { return Delete{in.String(), in.Int<std::int32_t>()}; }

SetData ReadSetData(ByteReader& in) {
  return SetData{in.String(), in.Nullable(), in.Int<std::int32_t>()};
}

tl::unexpected<DecodeError> Unreadable(DecodeError::Kind kind, std::string message) {
  return tl::unexpected<DecodeError>(DecodeError{kind, std::move(message)});
}

tl::expected<Command, DecodeError> ReadMulti(ByteReader& in) {
  const auto count = in.Int<std::uint32_t>();
  if (count > in.remaining() / kOpBytesMin) {
    // More than the bytes can hold: refuse before anything is allocated for it.
    return Unreadable(DecodeError::Kind::kMalformed, fmt::format("a multi of {} operations in {} "
                                                                 "bytes",
                                                                 count, in.remaining()));
  }
  Multi multi;
  multi.ops.reserve(count);
  for (std::uint32_t i = 0; i < count && in.ok(); ++i) {
    const auto type = in.Int<std::uint8_t>();
    if (!in.ok()) {
      break;  // The caller sees that the bytes have ended.
    }
    switch (static_cast<OpType>(type)) {
      case OpType::kCreate:
        multi.ops.emplace_back(ReadCreate(in));
        break;
      case OpType::kDelete:
        multi.ops.emplace_back(ReadDelete(in));
        break;
      case OpType::kSetData:
        multi.ops.emplace_back(ReadSetData(in));
        break;
      case OpType::kCheck:
        multi.ops.emplace_back(Check{in.String(), in.Int<std::int32_t>()});
        break;
      default:
        return Unreadable(DecodeError::Kind::kUnknownCommand,
                          fmt::format("operation {} of a multi has the unknown type {}", i, type));
    }
  }
  return multi;
}

tl::expected<Command, DecodeError> ReadCommand(std::uint16_t type, ByteReader& in) {
  switch (static_cast<CommandType>(type)) {
    case CommandType::kOpenSession:
      return OpenSession{in.Int<std::int32_t>(), in.Array<16>(), in.Array<16>()};
    case CommandType::kCloseSession: {
      const auto session = in.Int<std::int64_t>();
      const auto reason = in.Int<std::uint8_t>();
      if (reason != static_cast<std::uint8_t>(CloseReason::kClosed) &&
          reason != static_cast<std::uint8_t>(CloseReason::kExpired)) {
        return Unreadable(DecodeError::Kind::kMalformed,
                          fmt::format("a session is closed for the unknown reason {}", reason));
      }
      return CloseSession{session, static_cast<CloseReason>(reason)};
    }
    case CommandType::kCreate:
      return ReadCreate(in);
    case CommandType::kDelete:
      return ReadDelete(in);
    case CommandType::kSetData:
      return ReadSetData(in);
    case CommandType::kMulti:
      return ReadMulti(in);
    case CommandType::kSetFeatureLevel:
      return SetFeatureLevel{in.Int<std::int32_t>()};
    case CommandType::kPublishMember:
      return PublishMember{in.Int<std::uint64_t>(), in.Int<std::uint64_t>(), in.String(),
                           in.String()};
    case CommandType::kTakeOver:
      return TakeOver{};
  }
  return Unreadable(DecodeError::Kind::kUnknownCommand, fmt::format("unknown command {}", type));
}

void WriteEntry(const EntryHeader& header, const Command& command, ByteWriter& out) {
  out.Int(kEntryFormat);
  out.Int(static_cast<std::uint16_t>(command.index() + 1));  // CommandType follows its order.
  out.Int(std::uint32_t{0});                                 // Reserved.
  out.Int(header.wall_ms);
  out.Int(header.elapsed_ns);
  out.Int(header.session);
  out.Int(header.seq);
  out.Int(header.acked_through);
  out.Int(header.origin_member);
  out.Int(header.origin_request);
  out.String(header.identity);
  out.String(header.tenant);
  std::visit(CommandEncoder(out), command);
}

}  // namespace

std::string EncodeEntry(const EntryHeader& header, const Command& command) {
  ByteWriter out;
  WriteEntry(header, command, out);
  return out.Finish();
}

bool StampTime(std::string& entry, std::int64_t wall_ms, std::int64_t elapsed_ns) {
  if (entry.size() < kFixedBytes ||
      ByteReader(std::string_view(entry).substr(kFormatOffset)).Int<std::uint16_t>() !=
          kEntryFormat) {
    return false;
  }
  StoreLittleEndian(&entry[kWallOffset], wall_ms);
  StoreLittleEndian(&entry[kElapsedOffset], elapsed_ns);
  return true;
}

tl::expected<Entry, DecodeError> DecodeEntry(std::string_view bytes) {
  ByteReader in(bytes);
  const auto format = in.Int<std::uint16_t>();
  if (in.ok() && format != kEntryFormat) {
    return Unreadable(
        DecodeError::Kind::kUnknownFormat,
        fmt::format("entry format {}, and this build reads {}", format, kEntryFormat));
  }
  const auto type = in.Int<std::uint16_t>();
  if (in.Int<std::uint32_t>() != 0) {
    return Unreadable(DecodeError::Kind::kMalformed, "the reserved field is not zero");
  }
  EntryHeader header;
  header.wall_ms = in.Int<std::int64_t>();
  header.elapsed_ns = in.Int<std::int64_t>();
  header.session = in.Int<std::int64_t>();
  header.seq = in.Int<std::int64_t>();
  header.acked_through = in.Int<std::int64_t>();
  header.origin_member = in.Int<std::uint64_t>();
  header.origin_request = in.Int<std::uint64_t>();
  header.identity = in.String();
  header.tenant = in.String();
  if (!in.ok()) {
    return Unreadable(DecodeError::Kind::kMalformed,
                      fmt::format("{} bytes end inside the header", bytes.size()));
  }
  tl::expected<Command, DecodeError> command = ReadCommand(type, in);
  if (!command.has_value()) {
    return tl::unexpected<DecodeError>(std::move(command.error()));
  }
  if (!in.Finished()) {
    return Unreadable(DecodeError::Kind::kMalformed,
                      in.ok() ? fmt::format("{} bytes are left over", in.remaining())
                              : fmt::format("{} bytes end inside the command", bytes.size()));
  }
  return Entry{std::move(header), *std::move(command)};
}

}  // namespace conclave::tree
