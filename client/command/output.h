// Tables for people, JSON for programs, raw bytes for pipes.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <conclave/client.h>
#include <nlohmann/json.hpp>

#include "client/command/context.h"

namespace conclave::command {

using Json = nlohmann::ordered_json;

// A value in JSON: null, a string if it is UTF-8, else {"base64": "..."}. Never a silent mix.
[[nodiscard]] Json ValueJson(const Data& data);
[[nodiscard]] Json StatJson(const Stat& stat);
[[nodiscard]] Json EventJson(const Event& event);

// Prints one JSON document: indented for -o json, on a line of its own for -o jsonl. Flushes.
void PrintJson(const Context& context, const Json& json);

// A value as a person can read it on one line: control characters are escaped, long ones cut.
[[nodiscard]] std::string ValueText(const Data& data);
// 2026-11-22 01:57:53.519 UTC
[[nodiscard]] std::string TimeText(std::int64_t ms);

// Before libsmartcols prints: values are UTF-8 whatever the locale says, and it would escape them.
void UseUtf8();

struct Column {
  std::string name;
  bool right = false;
};

// An aligned table with a heading; nothing but the heading if there are no rows.
void PrintTable(const std::vector<Column>& columns,
                const std::vector<std::vector<std::string>>& rows);

// The length of the UTF-8 sequence at the front, 0 if there is none (RFC 3629).
[[nodiscard]] std::size_t Utf8Length(std::string_view text);

}  // namespace conclave::command
