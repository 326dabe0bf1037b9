#include "client/command/output.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <clocale>
#include <cstdio>
#include <cstdlib>

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <langinfo.h>
#include <libsmartcols/libsmartcols.h>
#include <unistd.h>

namespace conclave::command {
namespace {

constexpr std::size_t kValueTextMax = 60;

bool IsUtf8(std::string_view text) {
  while (!text.empty()) {
    const std::size_t length = Utf8Length(text);
    if (length == 0) {
      return false;
    }
    text.remove_prefix(length);
  }
  return true;
}

std::string Base64(std::string_view bytes) {
  static constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t group = 0;
    for (std::size_t j = 0; j < 3; ++j) {
      const unsigned char byte =
          i + j < bytes.size() ? static_cast<unsigned char>(bytes[i + j]) : 0;
      group = group << 8U | byte;
    }
    for (std::size_t j = 0; j < 4; ++j) {
      text.push_back(i + j <= bytes.size() ? kDigits[group >> (18U - 6U * j) & 63U] : '=');
    }
  }
  return text;
}

}  // namespace

std::size_t Utf8Length(std::string_view text) {
  const auto byte = [&text](std::size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U;
  };
  const auto tail = [&](std::size_t count) {
    for (std::size_t i = 1; i <= count; ++i) {
      if ((byte(i) & 0xC0U) != 0x80U) {
        return false;
      }
    }
    return true;
  };
  const unsigned first = byte(0);
  if (first < 0x80U) {
    return 1;
  }
  if (first >= 0xC2U && first <= 0xDFU) {
    return tail(1) ? 2 : 0;
  }
  if (first >= 0xE0U && first <= 0xEFU) {
    const bool overlong = first == 0xE0U && byte(1) < 0xA0U;
    const bool surrogate = first == 0xEDU && byte(1) > 0x9FU;
    return tail(2) && !overlong && !surrogate ? 3 : 0;
  }
  if (first >= 0xF0U && first <= 0xF4U) {
    const bool overlong = first == 0xF0U && byte(1) < 0x90U;
    const bool beyond = first == 0xF4U && byte(1) > 0x8FU;
    return tail(3) && !overlong && !beyond ? 4 : 0;
  }
  return 0;
}

Json ValueJson(const Data& data) {
  if (!data) {
    return nullptr;
  }
  if (IsUtf8(*data)) {
    return *data;
  }
  return Json{{"base64", Base64(*data)}};
}

Json StatJson(const Stat& stat) {
  return {{"czxid", stat.czxid},
          {"mzxid", stat.mzxid},
          {"pzxid", stat.pzxid},
          {"ctime_ms", stat.ctime_ms},
          {"mtime_ms", stat.mtime_ms},
          {"version", stat.version},
          {"cversion", stat.cversion},
          {"aversion", stat.aversion},
          {"ephemeral_owner", stat.ephemeral_owner},
          {"data_length", stat.data_length},
          {"num_children", stat.num_children}};
}

Json EventJson(const Event& event) {
  Json json = {{"type", EventTypeName(event.type)},
               {"path", event.path},
               {"zxid", event.cursor.zxid},
               {"ordinal", event.cursor.ordinal}};
  if (event.has_value) {
    json["value"] = ValueJson(event.data);
    json["version"] = event.stat.version;
  }
  return json;
}

void PrintJson(const Context& context, const Json& json) {
  const int indent = context.output == OutputFormat::kJsonLines ? -1 : 2;
  // Paths and messages may come from anywhere: replace what is not UTF-8 rather than fail.
  const std::string text = json.dump(indent, ' ', false, Json::error_handler_t::replace);
  fmt::print("{}\n", text);
  std::fflush(stdout);
}

std::string ValueText(const Data& data) {
  if (!data) {
    return "(null)";
  }
  std::string text;
  for (std::string_view rest = *data; !rest.empty();) {
    if (text.size() >= kValueTextMax) {
      return text + fmt::format("... ({} bytes)", data->size());
    }
    // As less shows them. Without backslashes: libsmartcols would escape those once more.
    const std::size_t length = Utf8Length(rest);
    const auto first = static_cast<unsigned char>(rest.front());
    const bool c1_control =
        first == 0xC2 && length == 2 && static_cast<unsigned char>(rest[1]) < 0xA0;
    if (length == 0 || c1_control) {
      text += fmt::format("<{:02X}>", first);
      rest.remove_prefix(1);
    } else if (first < 0x20 || first == 0x7F) {
      text += {'^', static_cast<char>(first ^ 0x40)};
      rest.remove_prefix(1);
    } else {
      text += rest.substr(0, length);
      rest.remove_prefix(length);
    }
  }
  return text;
}

std::string TimeText(std::int64_t ms) {
  const std::time_t seconds = ms / 1000;
  return fmt::format("{:%Y-%m-%d %H:%M:%S}.{:03} UTC", fmt::gmtime(seconds), ms % 1000);
}

void UseUtf8() {
  const char* locale = setlocale(LC_CTYPE, "");
  if (locale == nullptr || std::string_view(nl_langinfo(CODESET)) != "UTF-8") {
    setlocale(LC_CTYPE, "C.UTF-8");
  }
}

void PrintTable(const std::vector<Column>& columns,
                const std::vector<std::vector<std::string>>& rows) {
  UseUtf8();
  libscols_table* table = scols_new_table();
  for (const Column& column : columns) {
    scols_table_new_column(table, column.name.c_str(), 0, column.right ? SCOLS_FL_RIGHT : 0);
  }
  scols_table_enable_noheadings(table, 0);
  if (isatty(STDOUT_FILENO) == 0) {
    scols_table_enable_maxout(table, 0);
    scols_table_set_termforce(table, SCOLS_TERMFORCE_NEVER);
  }
  for (const std::vector<std::string>& row : rows) {
    libscols_line* line = scols_table_new_line(table, nullptr);
    for (std::size_t i = 0; i < row.size(); ++i) {
      scols_line_set_data(line, i, row[i].c_str());
    }
  }
  std::fflush(stdout);
  if (rows.empty()) {
    // libsmartcols prints nothing at all for a table without lines.
    std::string heading;
    for (const Column& column : columns) {
      heading += (heading.empty() ? "" : "  ") + column.name;
    }
    fmt::print("{}\n", heading);
  } else {
    scols_print_table(table);
  }
  scols_unref_table(table);
}

}  // namespace conclave::command
