// import, export: their command lines, and the names that files and znodes have in common.

#include <cstdint>
#include <map>
#include <memory>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "client/command/output.h"
#include "client/command/transfer.h"

namespace conclave::command {
namespace {

constexpr std::size_t kNameBytesMax = 255;

// The character at the front, which is taken off; nothing if the bytes are not UTF-8.
std::optional<std::uint32_t> TakeCharacter(std::string_view& text) {
  const std::size_t length = Utf8Length(text);
  if (length == 0) {
    return std::nullopt;
  }
  constexpr std::array<std::uint32_t, 5> kLeadMask = {0, 0x7F, 0x1F, 0x0F, 0x07};
  std::uint32_t character = static_cast<unsigned char>(text[0]) & kLeadMask[length];
  for (std::size_t i = 1; i < length; ++i) {
    character = character << 6U | (static_cast<unsigned char>(text[i]) & 0x3FU);
  }
  text.remove_prefix(length);
  return character;
}

bool IsAllowed(std::uint32_t c) {
  return c > 0x1F && (c < 0x7F || c > 0x9F) && c < 0xFFF0 && (c < 0xD800 || c > 0xF8FF);
}

}  // namespace

std::string BadName(std::string_view name) {
  if (name.empty() || name == "." || name == "..") {
    return "is relative";
  }
  if (name.size() > kNameBytesMax) {
    return fmt::format("has {} bytes, the limit is {}", name.size(), kNameBytesMax);
  }
  while (!name.empty()) {
    const auto character = TakeCharacter(name);
    if (!character) {
      return "is not UTF-8";
    }
    if (!IsAllowed(*character) || *character == '/') {
      return fmt::format("the character U+{:04X} is not allowed", *character);
    }
  }
  return {};
}

std::string Printable(std::string_view name) {
  std::string text;
  while (!name.empty()) {
    const std::string_view before = name;
    const auto character = TakeCharacter(name);
    if (character && IsAllowed(*character)) {
      text += before.substr(0, before.size() - name.size());
    } else {
      text += fmt::format("\\x{:02x}", static_cast<unsigned char>(before.front()));
      name = before.substr(1);
    }
  }
  return text;
}

void AddTransferCommands(CLI::App& app, Context& context) {
  CLI::App* import_command = app.add_subcommand("import", "make znodes of a tree of files");
  auto to = std::make_shared<ImportArguments>();
  import_command->add_option("DIR", to->directory, "where the files are")->required();
  import_command->add_option("PATH", to->path, "the znode to put them below")->required();
  import_command->add_flag("--update", to->update, "write over znodes that exist");
  import_command->add_flag("--skip-too-large", to->skip_too_large,
                           "leave out files over the limit of a value, 1 MiB");
  import_command->add_flag("--skip-bad-names", to->skip_bad_names,
                           "leave out files whose names no znode can have");
  import_command->callback(
      [&context, to] { context.run = [&context, to] { return RunImport(context, *to); }; });

  CLI::App* export_command = app.add_subcommand("export", "make files of a tree of znodes");
  auto from = std::make_shared<ExportArguments>();
  export_command->add_option("PATH", from->path, "the znode to begin at")->required();
  export_command->add_option("DIR", from->directory, "a directory, empty or to be made")
      ->required();
  AddReadMode(*export_command, from->mode);
  export_command->add_flag("--force", from->force,
                           "write into a directory that is not empty, over files that exist");
  export_command->callback(
      [&context, from] { context.run = [&context, from] { return RunExport(context, *from); }; });
}

}  // namespace conclave::command
