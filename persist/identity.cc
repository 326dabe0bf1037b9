#include "persist/identity.h"

#include <array>
#include <charconv>
#include <optional>

#include <fmt/format.h>
#include <xxhash.h>

#include "persist/readmission.h"

namespace conclave::persist {

namespace {

constexpr std::string_view kTitle = "conclave data directory\n";

// Takes "name: value\n" off `text`.
std::optional<std::string_view> TakeLine(std::string_view* text, std::string_view name) {
  if (!text->starts_with(name) || !text->substr(name.size()).starts_with(": ")) {
    return std::nullopt;
  }
  const std::size_t begin = name.size() + 2;
  const std::size_t end = text->find('\n', begin);
  if (end == std::string_view::npos) {
    return std::nullopt;
  }
  const std::string_view value = text->substr(begin, end - begin);
  text->remove_prefix(end + 1);
  return value;
}

std::optional<std::uint64_t> Number(std::optional<std::string_view> text, int base) {
  std::uint64_t value = 0;
  if (!text || text->empty()) {
    return std::nullopt;
  }
  const auto [end, error] = std::from_chars(text->begin(), text->end(), value, base);
  if (error != std::errc() || end != text->end()) {
    return std::nullopt;
  }
  return value;
}

// The last line, for the text above it.
std::string ChecksumLine(std::string_view above) {
  return fmt::format("checksum: {:016x}\n", XXH3_64bits(above.data(), above.size()));
}

}  // namespace

std::string EncodeIdentity(const Identity& identity) {
  std::string text =
      fmt::format("{}format: {}\nmember_id: {}\ncluster_name: {}\nincarnation: {:016x}\n", kTitle,
                  kDataFormat, identity.member, identity.cluster_name, identity.incarnation);
  return text + ChecksumLine(text);
}

tl::expected<Identity, Error> DecodeIdentity(std::string_view text, const std::string& where) {
  const tl::unexpected<Error> damaged(
      Error{ErrorKind::kDamaged,
            fmt::format("{} is damaged. If raft/ beside it is sound, remove the file and start "
                        "again: it is written anew from the database. Otherwise {}.",
                        where, kReadmission)});
  const std::string_view whole = text;
  if (!text.starts_with(kTitle)) {
    return damaged;
  }
  text.remove_prefix(kTitle.size());
  const auto format = Number(TakeLine(&text, "format"), 10);
  // The checksum stays the last line in every format, so that a flipped bit in the number is not
  // taken for a later version.
  const std::size_t last = whole.rfind("checksum: ");
  if (!format || last == std::string_view::npos) {
    return damaged;
  }
  if (whole.substr(last) != ChecksumLine(whole.substr(0, last))) {
    return damaged;
  }
  if (*format != kDataFormat) {
    return tl::unexpected(
        Error{ErrorKind::kUnknownFormat,
              fmt::format("{} was written by a later version of Conclave (format {}, this version "
                          "knows up to {}). Start that version on --data_dir, or {}.",
                          where, *format, kDataFormat, kReadmission)});
  }
  const auto member = Number(TakeLine(&text, "member_id"), 10);
  const auto cluster_name = TakeLine(&text, "cluster_name");
  const auto incarnation = Number(TakeLine(&text, "incarnation"), 16);
  if (!member || !cluster_name || !incarnation || !text.starts_with("checksum: ")) {
    return damaged;
  }
  return Identity{*member, std::string(*cluster_name), *incarnation};
}

tl::expected<void, Error> CheckIdentity(const Identity& found, raft::MemberId member,
                                        std::string_view cluster_name,
                                        const std::string& data_dir) {
  if (found.cluster_name != cluster_name) {
    return tl::unexpected(Error{
        ErrorKind::kWrongIdentity,
        fmt::format("--data_dir={} belongs to member {} of the cluster \"{}\", not to the cluster "
                    "\"{}\". Check --data_dir and --cluster_name.",
                    data_dir, found.member, found.cluster_name, cluster_name)});
  }
  if (found.member != member) {
    return tl::unexpected(
        Error{ErrorKind::kWrongIdentity,
              fmt::format("--data_dir={} belongs to member {} of the cluster \"{}\", not to member "
                          "{}. Check --data_dir and --id; a directory never changes its member.",
                          data_dir, found.member, found.cluster_name, member)});
  }
  return {};
}

}  // namespace conclave::persist
