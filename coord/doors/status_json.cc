#include "coord/doors/status_json.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "coord/doors/version.h"

namespace conclave::doors {
namespace {

std::string Hex(std::uint64_t value) { return fmt::format("{:016x}", value); }

nlohmann::ordered_json MembersJson(const server::Status& s) {
  nlohmann::ordered_json members = nlohmann::ordered_json::array();
  for (const server::MemberStatus& m : s.members) {
    nlohmann::ordered_json member = {{"id", m.id},
                                     {"self", m.self},
                                     {"connected", m.connected},
                                     {"peer_address", m.peer_address},
                                     {"client_address", m.client_address},
                                     {"admin_address", m.admin_address}};
    member["kind"] = m.kind ? nlohmann::ordered_json(raft::ToString(*m.kind)) : nullptr;
    if (m.configured_incarnation != 0) {
      member["configured_incarnation"] = Hex(m.configured_incarnation);
    }
    if (!m.problem.empty()) {
      member["problem"] = m.problem;
    }
    if (m.self || m.reported) {
      member["role"] = server::RoleName(m.role);
      member["term"] = m.term;
      member["commit_index"] = m.commit_index;
      member["applied_index"] = m.applied_index;
    }
    if (m.incarnation != 0) {
      member["incarnation"] = Hex(m.incarnation);
    }
    if (!m.refused.empty()) {
      member["refused"] = m.refused;
    }
    members.push_back(std::move(member));
  }
  return members;
}

nlohmann::ordered_json CountersJson(const server::Counters& c) {
  return {{"log_syncs", c.log_syncs},
          {"log_entries", c.log_entries},
          {"log_bytes", c.log_bytes},
          {"entries_applied", c.entries_applied},
          {"elections_won", c.elections_won},
          {"leader_changes", c.leader_changes},
          {"messages_sent", c.messages_sent},
          {"messages_received", c.messages_received},
          {"peers_refused", c.peers_refused},
          {"writes_accepted", c.writes_accepted},
          {"writes_answered", c.writes_answered},
          {"writes_duplicate", c.writes_duplicate},
          {"writes_forwarded", c.writes_forwarded},
          {"writes_refused", c.writes_refused},
          {"writes_unknown", c.writes_unknown},
          {"proposals", c.proposals},
          {"proposed_entries", c.proposed_entries},
          {"reads_linearizable", c.reads_linearizable},
          {"reads_session", c.reads_session},
          {"reads_stale", c.reads_stale},
          {"read_rounds", c.read_rounds},
          {"sessions_opened", c.sessions_opened},
          {"sessions_closed", c.sessions_closed},
          {"sessions_expired", c.sessions_expired},
          {"touches", c.touches},
          {"touch_batches", c.touch_batches},
          {"events_delivered", c.events_delivered},
          {"polls_answered", c.polls_answered},
          {"polls_dropped", c.polls_dropped},
          {"digests_compared", c.digests_compared},
          {"digest_mismatches", c.digest_mismatches},
          {"scrubs", c.scrubs},
          {"checkpoints", c.checkpoints},
          {"freeze_slices", c.freeze_slices},
          {"checkpoint_rows", c.checkpoint_rows},
          {"checkpoint_bytes", c.checkpoint_bytes},
          {"snapshots_begun", c.snapshots_begun},
          {"snapshots_sent", c.snapshots_sent},
          {"snapshots_failed", c.snapshots_failed},
          {"snapshot_chunks_sent", c.snapshot_chunks_sent},
          {"snapshot_bytes_sent", c.snapshot_bytes_sent},
          {"snapshots_installed", c.snapshots_installed},
          {"snapshots_resumed", c.snapshots_resumed},
          {"snapshots_refused", c.snapshots_refused},
          {"snapshot_chunks_stored", c.snapshot_chunks_stored},
          {"snapshot_chunks_refused", c.snapshot_chunks_refused}};
}

nlohmann::ordered_json CheckpointJson(const server::CheckpointStatus& c) {
  return {{"index", c.index},     {"generation", c.generation}, {"age_ms", c.age_ms},
          {"rows", c.rows},       {"bytes", c.bytes},           {"duration_ms", c.duration_ms},
          {"running", c.running}, {"dirty_rows", c.dirty_rows}, {"dirty_bytes", c.dirty_bytes}};
}

}  // namespace

std::string StatusJson(const server::Status& s) {
  nlohmann::ordered_json root = {{"version", kVersion},
                                 {"id", s.id},
                                 {"incarnation", Hex(s.incarnation)},
                                 {"cluster_name", s.cluster_name},
                                 {"cluster_id", s.cluster_id},
                                 {"role", server::RoleName(s.role)},
                                 {"term", s.term},
                                 {"leader", s.leader},
                                 {"commit_index", s.commit_index},
                                 {"applied_index", s.applied_index},
                                 {"last_index", s.last_index},
                                 {"digest", Hex(s.digest)},
                                 {"feature_level", s.feature_level},
                                 {"ready", s.ready},
                                 {"unready_reason", s.unready_reason},
                                 {"alarm", s.alarm},
                                 {"sessions", s.sessions},
                                 {"znodes", s.znodes},
                                 {"watches", s.watches},
                                 {"polls_parked", s.polls_parked},
                                 {"writes_pending", s.writes_pending},
                                 {"write_bytes_pending", s.write_bytes_pending},
                                 {"reads_pending", s.reads_pending},
                                 {"log_bytes", s.log_bytes},
                                 {"log_bytes_max", s.log_bytes_max},
                                 {"log_first_index", s.log_first_index},
                                 {"checkpoint", CheckpointJson(s.checkpoint)},
                                 {"snapshots_sending", s.snapshots_sending},
                                 {"snapshot_receiving", s.snapshot_receiving},
                                 {"free_bytes", s.free_bytes},
                                 {"leader_heard_ms", s.leader_heard_ms},
                                 {"configuration_index", s.configuration_index}};
  root["members"] = MembersJson(s);
  root["counters"] = CountersJson(s.counters);
  // Addresses and reasons may come from a peer: replace what is not UTF-8 rather than fail.
  return root.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace conclave::doors
