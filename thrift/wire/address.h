// Addresses as people write them and as the system wants them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <sys/socket.h>
#include <tl/expected.hpp>

namespace conclave::wire {

/// HOST:PORT. An IPv6 address stands in brackets: [::1]:9001.
struct HostPort {
  std::string host;  // without brackets
  std::uint16_t port = 0;

  [[nodiscard]] std::string ToString() const;
  friend bool operator==(const HostPort&, const HostPort&) = default;
};

/// The error says what is wrong with `text`.
tl::expected<HostPort, std::string> ParseHostPort(std::string_view text);

/// A numeric IPv4 or IPv6 address with a port, or nothing (size 0).
struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;

  [[nodiscard]] const sockaddr* get() const {
    return reinterpret_cast<const sockaddr*>(&storage);  // NOLINT: how sockets are
  }

  [[nodiscard]] std::uint16_t port() const;
  /// "127.0.0.1", "::1".
  [[nodiscard]] std::string HostText() const;
  /// "127.0.0.1:9001", "[::1]:9001".
  [[nodiscard]] std::string ToString() const;
  [[nodiscard]] bool IsLoopback() const;
};

/// Understands numeric hosts only; nothing is looked up. The error says so.
tl::expected<SocketAddress, std::string> NumericAddress(const HostPort& host_port);

}  // namespace conclave::wire
