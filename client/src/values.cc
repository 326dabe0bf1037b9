// What belongs to the public value types: names, factories, text forms, validation.
#include <array>
#include <charconv>

#include <conclave/error.h>
#include <conclave/executor.h>
#include <conclave/options.h>
#include <conclave/types.h>
#include <time.h>

#include "client/src/endpoints.h"

namespace conclave {

std::string_view CodeName(Code code) {
  switch (code) {
#define CONCLAVE_CODE_NAME(name, number, action, text) \
  case Code::name:                                     \
    return std::string_view(#name).substr(1);
    CONCLAVE_CLIENT_CODES(CONCLAVE_CODE_NAME)
#undef CONCLAVE_CODE_NAME
  }
  return "Unknown";
}

std::string_view CodeText(Code code) {
  switch (code) {
#define CONCLAVE_CODE_TEXT(name, number, action, text) \
  case Code::name:                                     \
    return text;
    CONCLAVE_CLIENT_CODES(CONCLAVE_CODE_TEXT)
#undef CONCLAVE_CODE_TEXT
  }
  return "unknown error";
}

Action ActionOf(Code code) {
  switch (code) {
#define CONCLAVE_CODE_ACTION(name, number, action, text) \
  case Code::name:                                       \
    return Action::action;
    CONCLAVE_CLIENT_CODES(CONCLAVE_CODE_ACTION)
#undef CONCLAVE_CODE_ACTION
  }
  return Action::kBroken;
}

std::string Error::ToString() const {
  std::string text(CodeName(code));
  text += ": ";
  text += message.empty() ? std::string(CodeText(code)) : message;
  if (!path.empty() && message.find(path) == std::string::npos) {
    text += ": " + path;
  }
  return text;
}

std::string_view EventTypeName(EventType type) {
  switch (type) {
    case EventType::kCreated:
      return "created";
    case EventType::kDeleted:
      return "deleted";
    case EventType::kDataChanged:
      return "data_changed";
    case EventType::kChildrenChanged:
      return "children_changed";
    case EventType::kResync:
      return "resync";
  }
  return "unknown";
}

std::string_view SessionStateName(SessionState state) {
  switch (state) {
    case SessionState::kConnecting:
      return "connecting";
    case SessionState::kConnected:
      return "connected";
    case SessionState::kSuspended:
      return "suspended";
    case SessionState::kReconnected:
      return "reconnected";
    case SessionState::kLost:
      return "lost";
    case SessionState::kExpired:
      return "expired";
    case SessionState::kClosed:
      return "closed";
  }
  return "unknown";
}

Op Op::Create(std::string path, Data data, CreateMode mode) {
  return {Kind::kCreate, std::move(path), std::move(data), mode, kAnyVersion};
}

Op Op::Remove(std::string path, std::int32_t version) {
  return {Kind::kRemove, std::move(path), {}, CreateMode::kPersistent, version};
}

Op Op::Set(std::string path, Data data, std::int32_t version) {
  return {Kind::kSet, std::move(path), std::move(data), CreateMode::kPersistent, version};
}

Op Op::Check(std::string path, std::int32_t version) {
  return {Kind::kCheck, std::move(path), {}, CreateMode::kPersistent, version};
}

BootTime BootClock::now() noexcept {
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return time_point(std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec));
}

namespace {

constexpr std::size_t kSecretBytes = 16;

Error Invalid(std::string message) {
  return Error{.code = Code::kInvalidArgument,
               .message = std::move(message),
               .path = {},
               .zxid = 0,
               .op_index = -1};
}

std::string ToHex(const std::string& bytes) {
  static constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

std::optional<std::string> FromHex(std::string_view text) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2) {
    unsigned value = 0;
    const auto [end, error] = std::from_chars(text.data() + i, text.data() + i + 2, value, 16);
    if (error != std::errc() || end != text.data() + i + 2) {
      return std::nullopt;
    }
    bytes += static_cast<char>(value);
  }
  return text.size() % 2 == 0 ? std::optional(bytes) : std::nullopt;
}

}  // namespace

std::string SavedSession::Serialize() const {
  return "conclave-session-1:" + std::to_string(id) + ":" + ToHex(secret) + ":" + ToHex(cluster_id);
}

Result<SavedSession> SavedSession::Parse(const std::string& text) {
  std::array<std::string_view, 4> parts;
  std::string_view rest = text;
  while (!rest.empty() && (rest.back() == '\n' || rest.back() == ' ')) {
    rest.remove_suffix(1);
  }
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const std::size_t colon = i + 1 < parts.size() ? rest.find(':') : rest.size();
    if (colon == std::string_view::npos) {
      return Invalid("a saved session has four fields separated by colons");
    }
    parts[i] = rest.substr(0, colon);
    rest.remove_prefix(std::min(rest.size(), colon + 1));
  }
  SavedSession session;
  const auto [end, error] =
      std::from_chars(parts[1].data(), parts[1].data() + parts[1].size(), session.id);
  const auto secret = FromHex(parts[2]);
  const auto cluster_id = FromHex(parts[3]);
  if (parts[0] != "conclave-session-1" || error != std::errc() ||
      end != parts[1].data() + parts[1].size() || session.id <= 0 || !secret ||
      secret->size() != kSecretBytes || !cluster_id) {
    return Invalid("not a saved session");
  }
  session.secret = *secret;
  session.cluster_id = *cluster_id;
  return session;
}

Status Options::Validate() const {
  if (auto parsed = internal::ParseEndpoints(endpoints); !parsed.ok()) {
    return parsed.error();
  }
  using std::chrono::milliseconds;
  if (session_timeout < milliseconds(100) || session_timeout > std::chrono::hours(24)) {
    return Invalid("session_timeout must be from 100 ms to 24 h");
  }
  if (call_timeout <= milliseconds(0)) {
    return Invalid("call_timeout must be positive");
  }
  if (connect_timeout <= milliseconds(0)) {
    return Invalid("connect_timeout must be positive");
  }
  if (backoff_min <= milliseconds(0) || backoff_max < backoff_min) {
    return Invalid("backoff_min must be positive and at most backoff_max");
  }
  if (outstanding_calls_max == 0 || outstanding_bytes_max == 0) {
    return Invalid("outstanding_calls_max and outstanding_bytes_max must be positive");
  }
  if (writes_in_flight_max == 0 || writes_in_flight_max > 1'024) {
    return Invalid("writes_in_flight_max must be from 1 to 1024, what the cluster keeps");
  }
  if (events_queued_max == 0 || frame_bytes_max < 64 * 1'024) {
    return Invalid("events_queued_max must be positive, frame_bytes_max at least 64 KiB");
  }
  if (client_name.size() > 128) {
    return Invalid("client_name has more than 128 bytes");
  }
  if (resume && (!open_session || resume->id <= 0 || resume->secret.size() != kSecretBytes)) {
    return Invalid("resume needs open_session and a session as Save() returns it");
  }
  return {};
}

}  // namespace conclave
