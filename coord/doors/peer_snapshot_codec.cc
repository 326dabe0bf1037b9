#include "coord/doors/peer_snapshot_codec.h"

#include <utility>

namespace conclave::doors {
namespace {

namespace idl = conclave::idl::v1;

// Unsigned numbers travel bit for bit in an i64.
std::int64_t Bits(std::uint64_t value) { return static_cast<std::int64_t>(value); }

std::uint64_t Bits(std::int64_t value) { return static_cast<std::uint64_t>(value); }

idl::SnapshotMeta ToWireMeta(const raft::SnapshotMeta& meta) {
  idl::SnapshotMeta wire;
  wire.last.term = Bits(meta.last.term);
  wire.last.index = Bits(meta.last.index);
  wire.chain = Bits(meta.chain);
  wire.configurationIndex = Bits(meta.configuration.index);
  wire.configuration = meta.configuration.configuration.Encode();
  return wire;
}

std::optional<raft::SnapshotMeta> FromWireMeta(const idl::SnapshotMeta& wire) {
  auto configuration = raft::Configuration::Decode(wire.configuration);
  if (!configuration) {
    return std::nullopt;
  }
  raft::SnapshotMeta meta;
  meta.last = {Bits(wire.last.term), Bits(wire.last.index)};
  meta.chain = Bits(wire.chain);
  meta.configuration.index = Bits(wire.configurationIndex);
  meta.configuration.configuration = std::move(*configuration);
  return meta;
}

}  // namespace

void Fill(idl::PeerMessage& wire, const server::SnapshotOffer& m) {
  idl::SnapshotOffer w;
  w.term = Bits(m.term);
  w.transfer = Bits(m.transfer);
  w.meta = ToWireMeta(m.info.meta);
  w.digest = m.info.digest;
  w.rows = Bits(m.info.totals.rows);
  w.bytes = Bits(m.info.totals.bytes);
  w.sum = Bits(m.info.totals.sum);
  wire.__set_snapshotOffer(std::move(w));
}

std::optional<server::PeerMessage> Take(idl::SnapshotOffer&& w) {
  auto meta = FromWireMeta(w.meta);
  if (!meta || w.digest.size() > persist::kDigestBytesMax) {
    return std::nullopt;
  }
  server::SnapshotOffer m;
  m.term = Bits(w.term);
  m.transfer = Bits(w.transfer);
  m.info.meta = std::move(*meta);
  m.info.digest = std::move(w.digest);
  m.info.totals = {Bits(w.rows), Bits(w.bytes), Bits(w.sum)};
  return server::PeerMessage(std::move(m));
}

void Fill(idl::PeerMessage& wire, const server::SnapshotChunk& m) {
  idl::SnapshotChunk w;
  w.term = Bits(m.term);
  w.transfer = Bits(m.transfer);
  w.afterKey = m.after_key;
  w.rows = m.rows;
  w.last = m.last;
  w.checksum = Bits(m.checksum);
  wire.__set_snapshotChunk(std::move(w));
}

std::optional<server::PeerMessage> Take(idl::SnapshotChunk&& w) {
  server::SnapshotChunk m;
  m.term = Bits(w.term);
  m.transfer = Bits(w.transfer);
  m.after_key = std::move(w.afterKey);
  m.rows = std::move(w.rows);
  m.last = w.last;
  m.checksum = Bits(w.checksum);
  return server::PeerMessage(std::move(m));
}

void Fill(idl::PeerMessage& wire, const server::SnapshotAck& m) {
  idl::SnapshotAck w;
  w.transfer = Bits(m.transfer);
  w.state = static_cast<idl::SnapshotState::type>(m.state);
  w.position = m.position;
  w.message = m.message;
  wire.__set_snapshotAck(std::move(w));
}

std::optional<server::PeerMessage> Take(idl::SnapshotAck&& w) {
  server::SnapshotAck m;
  m.transfer = Bits(w.transfer);
  m.position = std::move(w.position);
  m.message = std::move(w.message);
  switch (w.state) {
    case idl::SnapshotState::STORED:
      m.state = server::SnapshotState::kStored;
      break;
    case idl::SnapshotState::VERIFYING:
      m.state = server::SnapshotState::kVerifying;
      break;
    case idl::SnapshotState::INSTALLED:
      m.state = server::SnapshotState::kInstalled;
      break;
    case idl::SnapshotState::REFUSED:
      m.state = server::SnapshotState::kRefused;
      break;
    default:
      return std::nullopt;
  }
  return server::PeerMessage(std::move(m));
}

}  // namespace conclave::doors
