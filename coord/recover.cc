#include "coord/recover.h"

#include <string>

#include <fmt/format.h>
#include <leveldb/env.h>
#include <sys/stat.h>

#include "coord/doors/system.h"
#include "coord/server/lost_majority.h"
#include "persist/disk.h"

namespace conclave {
namespace {

std::string Hexadecimal(const raft::ClusterId& id) {
  std::string text;
  for (const std::uint8_t byte : id) {
    text += fmt::format("{:02x}", byte);
  }
  return text;
}

void PrintReport(const ProcessOptions& options, const server::LostMajorityReport& report) {
  const std::uint64_t self = options.server.id;
  fmt::print("{}: member {} of cluster \"{}\", id {}\n", options.server.data_dir, self,
             options.server.cluster_name, Hexadecimal(report.old_cluster));
  fmt::print("  its log ends at index {} of term {}; {} znodes, {} sessions\n", report.last.index,
             report.last.term, report.znodes, report.sessions);
  fmt::print("What is assumed: the other members are lost for good, and none of them runs:\n");
  for (const raft::Member& member : report.members.members) {
    if (member.id != self) {
      fmt::print("  member {} at {} ({}) is dropped\n", member.id, member.peer_address,
                 raft::ToString(member.kind));
    }
  }
  fmt::print(
      "What may be lost: every write that was acknowledged and has not reached this member.\n"
      "What may appear: writes of the end of its log that were never acknowledged; known to have\n"
      "  been committed is all up to index {}.\n",
      report.known_committed);
  fmt::print(
      "What becomes of it: a new cluster of this member alone, at {}. Its log begins at index {},\n"
      "  so that no zxid comes twice. Its id is new: members of the old one are refused, clients\n"
      "  are told that it is another cluster. Sessions expire unless their clients come back.\n",
      options.server.members.empty() ? std::string() : options.peer_text, report.new_index);
}

}  // namespace

int RunRecovery(const ProcessOptions& options) {
  umask(S_IRWXG | S_IRWXO);
  doors::SystemRandom random;
  server::LostMajorityOptions recovery;
  recovery.id = options.server.id;
  recovery.cluster_name = options.server.cluster_name;
  recovery.data_dir = options.server.data_dir;
  recovery.peer_address = options.peer_text;
  recovery.env = leveldb::Env::Default();
  recovery.disk = persist::PosixDisk();
  recovery.random = &random;
  const bool confirmed = options.confirm_recovery == options.server.cluster_name;
  const auto report = server::RecoverLostMajority(recovery, confirmed);
  if (!report) {
    fmt::print(stderr, "conclaved: --recover_lost_majority: nothing was changed: {}\n",
               report.error());
    return 1;
  }
  PrintReport(options, *report);
  if (!confirmed) {
    fmt::print(
        "Nothing was changed. Make a copy of the directory; then, to do this, add\n"
        "  --confirm_recovery={}\n",
        options.server.cluster_name);
    return 1;
  }
  fmt::print(
      "Done: the id of the new cluster is {}. Start this member without --recover_lost_majority,\n"
      "  empty the directories of the others, start them with --join and add them:\n"
      "  conclave member add ID=HOST:PEERPORT --wait\n",
      Hexadecimal(report->new_cluster));
  return 0;
}

}  // namespace conclave
