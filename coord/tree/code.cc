#include "coord/tree/code.h"

namespace conclave::tree {

Action ActionOf(Code code) {
  switch (code) {
#define CONCLAVE_CODE_CASE(name, value, action, text) \
  case Code::name:                                    \
    return Action::action;
    CONCLAVE_CODES(CONCLAVE_CODE_CASE)
#undef CONCLAVE_CODE_CASE
  }
  return Action::kBroken;
}

std::string_view NameOf(Code code) {
  switch (code) {
#define CONCLAVE_CODE_CASE(name, value, action, text) \
  case Code::name:                                    \
    return std::string_view(#name).substr(1);
    CONCLAVE_CODES(CONCLAVE_CODE_CASE)
#undef CONCLAVE_CODE_CASE
  }
  return "Unknown";
}

std::string_view TextOf(Code code) {
  switch (code) {
#define CONCLAVE_CODE_CASE(name, value, action, text) \
  case Code::name:                                    \
    return text;
    CONCLAVE_CODES(CONCLAVE_CODE_CASE)
#undef CONCLAVE_CODE_CASE
  }
  return "unknown code";
}

std::optional<Code> CodeFromWire(std::int64_t value) {
  switch (value) {
#define CONCLAVE_CODE_CASE(name, wire, action, text) \
  case wire:                                         \
    return Code::name;
    CONCLAVE_CODES(CONCLAVE_CODE_CASE)
#undef CONCLAVE_CODE_CASE
    default:
      return std::nullopt;
  }
}

}  // namespace conclave::tree
