#include "coord/doors/metrics.h"

#include <array>
#include <fstream>
#include <utility>

#include <prometheus/client_metric.h>
#include <prometheus/histogram.h>
#include <prometheus/metric_family.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>
#include <unistd.h>

#include "coord/doors/version.h"

namespace conclave::doors {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

constexpr double kNsPerSecond = 1e9;

// 10 us to 10 s, three steps a decade: a sync takes 50 us on a fast disk and seconds on a sick one.
const prometheus::Histogram::BucketBoundaries kSeconds = {1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3,
                                                          2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1,  0.2,
                                                          0.5,  1,    2,    5,    10};

void Add(std::vector<MetricFamily>& page, MetricType type, const char* name, const char* help,
         double value) {
  MetricFamily family{name, help, type, {}};
  ClientMetric metric;
  if (type == MetricType::Counter) {
    metric.counter.value = value;
  } else {
    metric.gauge.value = value;
  }
  family.metric.push_back(std::move(metric));
  page.push_back(std::move(family));
}

template <typename T>
void Gauge(std::vector<MetricFamily>& page, const char* name, const char* help, T value) {
  Add(page, MetricType::Gauge, name, help, static_cast<double>(value));
}

template <typename T>
void Count(std::vector<MetricFamily>& page, const char* name, const char* help, T value) {
  Add(page, MetricType::Counter, name, help, static_cast<double>(value));
}

void AddConsensus(std::vector<MetricFamily>& page, const server::Status& s) {
  Gauge(page, "conclave_has_leader", "1 if this member knows a leader.", s.leader != 0 ? 1 : 0);
  Gauge(page, "conclave_is_leader", "1 if this member leads.",
        s.role == server::MemberRole::kLeader ? 1 : 0);
  std::uint64_t voters = 0;
  std::uint64_t learners = 0;
  std::uint64_t troubled = 0;
  for (const server::MemberStatus& member : s.members) {
    voters += member.kind == raft::MemberKind::kVoter ? 1U : 0U;
    learners += member.kind == raft::MemberKind::kLearner ? 1U : 0U;
    troubled += member.problem.empty() ? 0U : 1U;
  }
  Gauge(page, "conclave_voters", "Members with a vote, as far as this member knows.", voters);
  Gauge(page, "conclave_learners", "Members that are catching up before they get a vote.",
        learners);
  Gauge(page, "conclave_members_with_problem",
        "Members that something is wrong with; /status says what.", troubled);
  Gauge(page, "conclave_disk_free_bytes", "Room left for the data directory.", s.free_bytes);
  Gauge(page, "conclave_ready", "1 if this member serves linearizable requests.", s.ready ? 1 : 0);
  Gauge(page, "conclave_alarm", "1 while an alarm is raised; /status says which.",
        s.alarm.empty() ? 0 : 1);
  Gauge(page, "conclave_raft_term", "currentTerm.", s.term);
  Gauge(page, "conclave_raft_commit_index", "commitIndex.", s.commit_index);
  Gauge(page, "conclave_raft_applied_index", "lastApplied.", s.applied_index);
  Gauge(page, "conclave_raft_last_index", "Last index of the log.", s.last_index);
  const server::Counters& c = s.counters;
  Count(page, "conclave_leader_changes_total", "Another leader than before became known.",
        c.leader_changes);
  Count(page, "conclave_elections_won_total", "Elections that this member won.", c.elections_won);
  Count(page, "conclave_peer_messages_sent_total", "Messages to peers.", c.messages_sent);
  Count(page, "conclave_peer_messages_received_total", "Messages from peers.", c.messages_received);
  Count(page, "conclave_peer_refusals_total", "Links to peers that were refused.", c.peers_refused);
  Count(page, "conclave_digest_mismatches_total",
        "Comparisons in which this member's state differed from the majority's.",
        c.digest_mismatches);
}

void AddLog(std::vector<MetricFamily>& page, const server::Status& s) {
  const server::Counters& c = s.counters;
  Gauge(page, "conclave_log_bytes", "Size of the log.", s.log_bytes);
  Gauge(page, "conclave_log_bytes_max", "Size of the log at which writes are refused.",
        s.log_bytes_max);
  Gauge(page, "conclave_log_first_index", "First index of the log; what lies before is compacted.",
        s.log_first_index);
  Count(page, "conclave_log_syncs_total", "Synced writes of the log.", c.log_syncs);
  Count(page, "conclave_log_entries_total", "Entries written to the log.", c.log_entries);
  Count(page, "conclave_log_written_bytes_total", "Bytes of entries written to the log.",
        c.log_bytes);
  Count(page, "conclave_proposals_total", "Batches proposed by this member as leader.",
        c.proposals);
  Count(page, "conclave_proposed_entries_total", "Entries in these batches.", c.proposed_entries);
  Count(page, "conclave_entries_applied_total", "Entries applied by the state machine.",
        c.entries_applied);
}

void AddCheckpoints(std::vector<MetricFamily>& page, const server::Status& s) {
  const server::Counters& c = s.counters;
  Gauge(page, "conclave_checkpoint_index", "Index of the newest checkpoint.", s.checkpoint.index);
  Gauge(page, "conclave_checkpoint_age_seconds",
        "Since the newest checkpoint was taken, or since the start.",
        static_cast<double>(s.checkpoint.age_ms) / 1e3);
  Gauge(page, "conclave_checkpoint_generation", "Database that holds the newest checkpoint.",
        s.checkpoint.generation);
  Gauge(page, "conclave_checkpoint_dirty_bytes", "Bytes of the state that changed since.",
        s.checkpoint.dirty_bytes);
  Gauge(page, "conclave_snapshots_sending", "Members that are being sent a snapshot.",
        s.snapshots_sending);
  Count(page, "conclave_checkpoints_total", "Checkpoints taken.", c.checkpoints);
  Count(page, "conclave_checkpoint_rows_total", "Rows written in them.", c.checkpoint_rows);
  Count(page, "conclave_checkpoint_written_bytes_total", "Bytes of these.", c.checkpoint_bytes);
  Count(page, "conclave_snapshots_sent_total", "Snapshots that a peer has installed.",
        c.snapshots_sent);
  Count(page, "conclave_snapshots_failed_total", "Transfers to peers that ended otherwise.",
        c.snapshots_failed);
  Count(page, "conclave_snapshot_sent_bytes_total", "Bytes of rows sent to peers.",
        c.snapshot_bytes_sent);
  Count(page, "conclave_snapshots_installed_total", "Snapshots installed here.",
        c.snapshots_installed);
  Count(page, "conclave_snapshots_refused_total",
        "Snapshots that were complete and not what was offered.", c.snapshots_refused);
  Count(page, "conclave_snapshot_chunks_refused_total",
        "Chunks that were damaged, out of order or of another time.", c.snapshot_chunks_refused);
  Count(page, "conclave_scrubs_total", "Passes of the scrub over the whole state.", c.scrubs);
}

void AddRequests(std::vector<MetricFamily>& page, const server::Status& s) {
  const server::Counters& c = s.counters;
  Gauge(page, "conclave_writes_pending", "Writes accepted here and not yet answered.",
        s.writes_pending);
  Gauge(page, "conclave_write_pending_bytes", "Bytes of these.", s.write_bytes_pending);
  Gauge(page, "conclave_reads_pending", "Reads that wait for an index.", s.reads_pending);
  Count(page, "conclave_writes_accepted_total", "Writes taken from clients.", c.writes_accepted);
  Count(page, "conclave_writes_answered_total", "Writes answered by their entry.",
        c.writes_answered);
  Count(page, "conclave_writes_duplicate_total", "Repeated writes answered with the stored reply.",
        c.writes_duplicate);
  Count(page, "conclave_writes_forwarded_total", "Writes passed on to the leader.",
        c.writes_forwarded);
  Count(page, "conclave_writes_refused_total", "Writes refused before they were executed.",
        c.writes_refused);
  Count(page, "conclave_writes_unknown_total", "Writes whose outcome the client was not told.",
        c.writes_unknown);
  MetricFamily reads{"conclave_reads_total", "Reads answered, by mode.", MetricType::Counter, {}};
  const std::array<std::pair<const char*, std::uint64_t>, 3> modes = {
      {{"linearizable", c.reads_linearizable},
       {"session", c.reads_session},
       {"stale", c.reads_stale}}};
  for (const auto& [mode, count] : modes) {
    ClientMetric metric;
    metric.label = {{"mode", mode}};
    metric.counter.value = static_cast<double>(count);
    reads.metric.push_back(std::move(metric));
  }
  page.push_back(std::move(reads));
  Count(page, "conclave_read_rounds_total", "ReadIndex rounds; each serves many reads.",
        c.read_rounds);
}

void AddSessions(std::vector<MetricFamily>& page, const server::Status& s) {
  const server::Counters& c = s.counters;
  Gauge(page, "conclave_sessions", "Open sessions of the cluster.", s.sessions);
  Gauge(page, "conclave_znodes", "Znodes of the tree.", s.znodes);
  Gauge(page, "conclave_watches", "Watches registered at this member.", s.watches);
  Gauge(page, "conclave_polls_parked", "Calls that wait here for events.", s.polls_parked);
  Count(page, "conclave_sessions_opened_total", "Sessions opened.", c.sessions_opened);
  Count(page, "conclave_sessions_closed_total", "Sessions closed by their clients.",
        c.sessions_closed);
  Count(page, "conclave_session_expirations_total", "Sessions that expired.", c.sessions_expired);
  Count(page, "conclave_session_touches_total", "Signs of life of sessions at this member.",
        c.touches);
  Count(page, "conclave_watch_events_total", "Events handed to sessions at this member.",
        c.events_delivered);
  Count(page, "conclave_polls_answered_total", "Polls answered.", c.polls_answered);
  Count(page, "conclave_polls_dropped_total", "Polls dropped for want of a leader.",
        c.polls_dropped);
}

void AddWire(std::vector<MetricFamily>& page, const WireCounts& w) {
  Gauge(page, "conclave_connections", "Open client connections.", w.connections);
  Count(page, "conclave_connections_accepted_total", "Client connections accepted.",
        w.connections_accepted);
  Count(page, "conclave_connections_refused_total", "Client connections over a limit.",
        w.connections_refused);
  Count(page, "conclave_connections_dropped_total",
        "Client connections dropped for what they sent or for not reading.", w.connections_dropped);
  Count(page, "conclave_frames_received_total", "Frames from clients.", w.frames_received);
  Count(page, "conclave_frames_sent_total", "Frames to clients.", w.frames_sent);
  Count(page, "conclave_send_calls_total", "System calls that sent them.", w.send_calls);
  Count(page, "conclave_received_bytes_total", "Bytes from clients.", w.bytes_received);
  Count(page, "conclave_sent_bytes_total", "Bytes to clients.", w.bytes_sent);
}

// The standard process_* figures that dashboards expect.
void AddProcess(std::vector<MetricFamily>& page) {
  std::ifstream statm("/proc/self/statm");
  std::uint64_t pages_virtual = 0;
  std::uint64_t pages_resident = 0;
  if (statm >> pages_virtual >> pages_resident) {
    const auto page_bytes = static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
    Gauge(page, "process_resident_memory_bytes", "Resident memory.", pages_resident * page_bytes);
    Gauge(page, "process_virtual_memory_bytes", "Virtual memory.", pages_virtual * page_bytes);
  }
  const clock_t ticks = clock();
  if (ticks != static_cast<clock_t>(-1)) {
    Count(page, "process_cpu_seconds_total", "Processor time used.",
          static_cast<double>(ticks) / static_cast<double>(CLOCKS_PER_SEC));
  }
}

}  // namespace

struct Metrics::Impl {
  prometheus::Registry registry;
  std::array<prometheus::Histogram*, 6> timings{};

  prometheus::Histogram* Make(const char* name, const char* help) {
    return &prometheus::BuildHistogram().Name(name).Help(help).Register(registry).Add({}, kSeconds);
  }
};

Metrics::Metrics() : impl_(std::make_unique<Impl>()) {
  auto& t = impl_->timings;
  t[static_cast<std::size_t>(server::Timing::kLogSync)] =
      impl_->Make("conclave_log_fsync_duration_seconds", "One synced write of the log.");
  t[static_cast<std::size_t>(server::Timing::kWrite)] =
      impl_->Make("conclave_write_duration_seconds", "A write, from its arrival to its answer.");
  t[static_cast<std::size_t>(server::Timing::kLinearizableRead)] = impl_->Make(
      "conclave_read_duration_seconds", "A linearizable read, from its arrival to its answer.");
  t[static_cast<std::size_t>(server::Timing::kApplySlice)] =
      impl_->Make("conclave_apply_duration_seconds", "One slice of applied entries.");
  t[static_cast<std::size_t>(server::Timing::kFreezeSlice)] =
      impl_->Make("conclave_freeze_duration_seconds", "One slice of freezing the state.");
  t[static_cast<std::size_t>(server::Timing::kCheckpoint)] = impl_->Make(
      "conclave_checkpoint_duration_seconds", "A checkpoint, from its begin until it is durable.");
}

Metrics::~Metrics() = default;

void Metrics::Observe(server::Timing what, std::int64_t duration_ns) {
  impl_->timings.at(static_cast<std::size_t>(what))
      ->Observe(static_cast<double>(duration_ns) / kNsPerSecond);
}

std::string Metrics::Render(const server::Status& status, const WireCounts& wire) const {
  std::vector<MetricFamily> page = impl_->registry.Collect();
  MetricFamily build{"conclave_build_info", "Version of the software.", MetricType::Gauge, {}};
  ClientMetric info;
  info.label = {{"version", kVersion}};
  info.gauge.value = 1;
  build.metric.push_back(std::move(info));
  page.push_back(std::move(build));
  AddConsensus(page, status);
  AddLog(page, status);
  AddCheckpoints(page, status);
  AddRequests(page, status);
  AddSessions(page, status);
  AddWire(page, wire);
  AddProcess(page);
  return prometheus::TextSerializer().Serialize(page);
}

}  // namespace conclave::doors
