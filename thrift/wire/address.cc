#include "thrift/wire/address.h"

#include <array>
#include <charconv>
#include <cstring>

#include <arpa/inet.h>
#include <netinet/in.h>

namespace conclave::wire {
namespace {

const sockaddr_in& V4(const SocketAddress& address) {
  return reinterpret_cast<const sockaddr_in&>(address.storage);  // NOLINT: how sockets are
}

const sockaddr_in6& V6(const SocketAddress& address) {
  return reinterpret_cast<const sockaddr_in6&>(address.storage);  // NOLINT: how sockets are
}

}  // namespace

std::string HostPort::ToString() const {
  const bool v6 = host.find(':') != std::string::npos;
  return (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

tl::expected<HostPort, std::string> ParseHostPort(std::string_view text) {
  const auto wrong = [text](const std::string& why) {
    return tl::make_unexpected("\"" + std::string(text) + "\" " + why +
                               "; wanted is HOST:PORT, an IPv6 address in brackets");
  };
  std::string_view host;
  std::string_view port_text;
  if (text.starts_with('[')) {
    const std::size_t end = text.find(']');
    if (end == std::string_view::npos || end + 1 >= text.size() || text[end + 1] != ':') {
      return wrong("has an opening bracket without \"]:\"");
    }
    host = text.substr(1, end - 1);
    port_text = text.substr(end + 2);
  } else {
    const std::size_t colon = text.rfind(':');
    if (colon == std::string_view::npos) {
      return wrong("has no port");
    }
    host = text.substr(0, colon);
    port_text = text.substr(colon + 1);
    if (host.find(':') != std::string_view::npos) {
      return wrong("has several colons");
    }
  }
  if (host.empty()) {
    return wrong("has no host");
  }
  std::uint16_t port = 0;
  const char* const end = port_text.data() + port_text.size();
  const auto parsed = std::from_chars(port_text.data(), end, port);
  if (port_text.empty() || parsed.ec != std::errc() || parsed.ptr != end) {
    return wrong("has a port that is not a number from 0 to 65535");
  }
  return HostPort{std::string(host), port};
}

std::uint16_t SocketAddress::port() const {
  switch (storage.ss_family) {
    case AF_INET:
      return ntohs(V4(*this).sin_port);
    case AF_INET6:
      return ntohs(V6(*this).sin6_port);
    default:
      return 0;
  }
}

std::string SocketAddress::HostText() const {
  std::array<char, INET6_ADDRSTRLEN> text{};
  const void* from = nullptr;
  if (storage.ss_family == AF_INET) {
    from = &V4(*this).sin_addr;
  } else if (storage.ss_family == AF_INET6) {
    from = &V6(*this).sin6_addr;
  }
  if (from == nullptr || inet_ntop(storage.ss_family, from, text.data(),
                                   static_cast<socklen_t>(text.size())) == nullptr) {
    return "?";
  }
  return text.data();
}

std::string SocketAddress::ToString() const { return HostPort{HostText(), port()}.ToString(); }

bool SocketAddress::IsLoopback() const {
  if (storage.ss_family == AF_INET) {
    return (ntohl(V4(*this).sin_addr.s_addr) >> 24) == 127;
  }
  if (storage.ss_family == AF_INET6) {
    const in6_addr& address = V6(*this).sin6_addr;
    return std::memcmp(&address, &in6addr_loopback, sizeof(address)) == 0 ||
           (IN6_IS_ADDR_V4MAPPED(&address) && address.s6_addr[12] == 127);
  }
  return false;
}

tl::expected<SocketAddress, std::string> NumericAddress(const HostPort& host_port) {
  SocketAddress address;
  auto& v4 = reinterpret_cast<sockaddr_in&>(address.storage);   // NOLINT: how sockets are
  auto& v6 = reinterpret_cast<sockaddr_in6&>(address.storage);  // NOLINT: how sockets are
  if (inet_pton(AF_INET, host_port.host.c_str(), &v4.sin_addr) == 1) {
    v4.sin_family = AF_INET;
    v4.sin_port = htons(host_port.port);
    address.size = sizeof(sockaddr_in);
    return address;
  }
  if (inet_pton(AF_INET6, host_port.host.c_str(), &v6.sin6_addr) == 1) {
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(host_port.port);
    address.size = sizeof(sockaddr_in6);
    return address;
  }
  return tl::make_unexpected("\"" + host_port.host + "\" is not a numeric address");
}

}  // namespace conclave::wire
