#include "client/src/endpoints.h"

#include <algorithm>
#include <charconv>
#include <utility>

namespace conclave {

std::string Endpoint::ToString() const {
  const bool brackets = host.find(':') != std::string::npos;
  return (brackets ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

}  // namespace conclave

namespace conclave::internal {

std::optional<Endpoint> ParseEndpoint(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos || colon == 0) {
    return std::nullopt;
  }
  std::string_view host = text.substr(0, colon);
  const std::string_view port_text = text.substr(colon + 1);
  const bool brackets = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (brackets) {
    host = host.substr(1, host.size() - 2);
  } else if (host.find_first_of("[]:") != std::string_view::npos) {
    return std::nullopt;  // An IPv6 address without brackets: its port cannot be told from it.
  }
  std::uint16_t port = 0;
  const auto [end, error] =
      std::from_chars(port_text.data(), port_text.data() + port_text.size(), port);
  if (error != std::errc() || end != port_text.data() + port_text.size() || port == 0 ||
      host.find_first_of(" \t/@") != std::string_view::npos) {
    return std::nullopt;
  }
  return Endpoint{.host = std::string(host), .port = port};
}

Result<std::vector<Endpoint>> ParseEndpoints(std::string_view text) {
  std::vector<Endpoint> endpoints;
  while (true) {
    const std::size_t comma = text.find(',');
    std::string_view part = text.substr(0, comma);
    while (!part.empty() && part.front() == ' ') {
      part.remove_prefix(1);
    }
    while (!part.empty() && part.back() == ' ') {
      part.remove_suffix(1);
    }
    const auto endpoint = ParseEndpoint(part);
    if (!endpoint) {
      return Error{.code = Code::kInvalidArgument,
                   .message = "endpoints: expected HOST:PORT, got '" + std::string(part) + "'",
                   .path = {},
                   .zxid = 0,
                   .op_index = -1};
    }
    if (std::find(endpoints.begin(), endpoints.end(), *endpoint) == endpoints.end()) {
      endpoints.push_back(*endpoint);
    }
    if (comma == std::string_view::npos) {
      return endpoints;
    }
    text.remove_prefix(comma + 1);
  }
}

Backoff::Backoff(std::chrono::nanoseconds min, std::chrono::nanoseconds max,
                 std::function<std::uint64_t()> random)
    : min_(min), max_(max), bound_(min), random_(std::move(random)) {}

std::chrono::nanoseconds Backoff::Next() {
  const auto range = static_cast<std::uint64_t>(bound_.count()) + 1;
  bound_ = std::min(max_, bound_ * 2);
  return std::chrono::nanoseconds(static_cast<std::int64_t>(random_() % range));
}

EndpointRounds::EndpointRounds(std::vector<Endpoint> endpoints,
                               std::function<std::uint64_t()> random)
    : all_(std::move(endpoints)), random_(std::move(random)) {
  Shuffle();
}

void EndpointRounds::Shuffle() {
  round_ = all_;
  for (std::size_t i = round_.size(); i > 1; --i) {
    std::swap(round_[i - 1], round_[random_() % i]);
  }
}

std::optional<Endpoint> EndpointRounds::Next() {
  if (!preferred_.empty()) {
    Endpoint next = std::move(preferred_.back());
    preferred_.pop_back();
    std::erase(round_, next);
    return next;
  }
  if (round_.empty()) {
    Shuffle();
    return std::nullopt;
  }
  Endpoint next = std::move(round_.back());
  round_.pop_back();
  return next;
}

void EndpointRounds::Prefer(const std::vector<Endpoint>& preferred) {
  preferred_.assign(preferred.rbegin(), preferred.rend());
}

void EndpointRounds::StartRound(const std::optional<Endpoint>& last) {
  Shuffle();
  if (last && std::erase(round_, *last) > 0) {
    round_.insert(round_.begin(), *last);  // Just lost: the last to be tried.
  }
}

}  // namespace conclave::internal
