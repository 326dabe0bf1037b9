// The operators' port: what its pages say, also when the loops that it asks are stuck.

#include "coord/doors/admin_http.h"

#include <atomic>
#include <string>

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <nlohmann/json.hpp>
#include <sys/socket.h>
#include <unistd.h>

#include "thrift/wire/address.h"

namespace conclave::doors {
namespace {

class AdminHttpTest : public ::testing::Test {
 protected:
  AdminHttpTest() {
    AdminSources sources;
    sources.snapshot = [this](std::function<void(AdminSnapshot)> done) {
      if (answers_) {
        done(snapshot_);
      }
    };
    sources.core_age_ms = [this] { return core_age_ms_.load(); };
    sources.log_age_ms = [this] { return log_age_ms_.load(); };
    auto listening = AdminHttp::Listen("127.0.0.1:0", &metrics_, std::move(sources));
    EXPECT_TRUE(listening) << listening.error();
    http_ = std::move(*listening);
  }

  // The whole answer, status line first; bounded by the server's own timeouts.
  std::string Ask(const std::string& request) const {
    const auto address = *wire::NumericAddress(*wire::ParseHostPort(http_->address()));
    const int peer = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    EXPECT_EQ(connect(peer, address.get(), address.size), 0);
    EXPECT_EQ(send(peer, request.data(), request.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(request.size()));
    std::string answer;
    char bytes[4096];
    for (ssize_t n = 0; (n = recv(peer, bytes, sizeof(bytes), 0)) > 0;) {
      answer.append(bytes, static_cast<std::size_t>(n));
    }
    close(peer);
    return answer;
  }

  std::string Get(const std::string& path) const {
    return Ask("GET " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  }

  static std::string Body(const std::string& answer) {
    return answer.substr(answer.find("\r\n\r\n") + 4);
  }

  static bool Ok(const std::string& answer) { return answer.starts_with("HTTP/1.1 200"); }

  static bool Unavailable(const std::string& answer) { return answer.starts_with("HTTP/1.1 503"); }

  Metrics metrics_;
  AdminSnapshot snapshot_;
  std::atomic<bool> answers_{true};
  std::atomic<std::int64_t> core_age_ms_{5};
  std::atomic<std::int64_t> log_age_ms_{5};
  std::unique_ptr<AdminHttp> http_;
};

TEST_F(AdminHttpTest, LivezNeedsNoQuorumButTurningLoops) {
  snapshot_.status.ready = false;
  EXPECT_TRUE(Ok(Get("/livez")));
  core_age_ms_ = 60'000;
  EXPECT_TRUE(Unavailable(Get("/livez")));
  EXPECT_NE(Get("/livez").find("core loop has not turned for 60000 ms"), std::string::npos);
  core_age_ms_ = 5;
  log_age_ms_ = 60'000;
  EXPECT_NE(Get("/livez").find("look at the disk"), std::string::npos);
}

TEST_F(AdminHttpTest, LivezAnswersWhileTheCoreDoesNot) {
  answers_ = false;
  EXPECT_TRUE(Ok(Get("/livez")));
}

TEST_F(AdminHttpTest, ReadyzSaysWhyNot) {
  snapshot_.status.ready = false;
  snapshot_.status.unready_reason = "no leader is known";
  const std::string no = Get("/readyz");
  EXPECT_TRUE(Unavailable(no));
  EXPECT_EQ(Body(no), "no leader is known\n");
  EXPECT_NE(Body(Get("/readyz?verbose")).find("[-] leader: none known"), std::string::npos);
  snapshot_.status.ready = true;
  snapshot_.status.leader = 2;
  EXPECT_TRUE(Ok(Get("/readyz")));
  EXPECT_NE(Body(Get("/readyz?verbose")).find("[+] leader: member 2"), std::string::npos);
}

TEST_F(AdminHttpTest, ACoreThatDoesNotAnswerIsAnAnswer) {
  answers_ = false;
  const std::string answer = Get("/readyz");
  EXPECT_TRUE(Unavailable(answer));
  EXPECT_NE(answer.find("core loop has not answered"), std::string::npos);
}

TEST_F(AdminHttpTest, StatusIsJson) {
  snapshot_.status.id = 2;
  snapshot_.status.role = server::MemberRole::kLeader;
  snapshot_.status.term = 7;
  snapshot_.status.digest = 0xfedcba9876543210U;
  server::MemberStatus member;
  member.id = 1;
  member.refused = "bad \xff bytes of a peer";
  snapshot_.status.members.push_back(member);
  const std::string answer = Get("/status");
  ASSERT_TRUE(Ok(answer));
  const auto json = nlohmann::json::parse(Body(answer));
  EXPECT_EQ(json["id"], 2);
  EXPECT_EQ(json["role"], "leader");
  EXPECT_EQ(json["term"], 7);
  EXPECT_EQ(json["digest"], "fedcba9876543210");
  EXPECT_EQ(json["members"][0]["id"], 1);
  EXPECT_TRUE(json["counters"].contains("log_syncs"));
}

TEST_F(AdminHttpTest, MetricsAreInPrometheusTextFormat) {
  snapshot_.status.counters.log_syncs = 42;
  snapshot_.wire.connections = 3;
  metrics_.Observe(server::Timing::kLogSync, 60'000);
  const std::string page = Body(Get("/metrics"));
  EXPECT_NE(page.find("# TYPE conclave_log_syncs_total counter\nconclave_log_syncs_total 42\n"),
            std::string::npos);
  EXPECT_NE(page.find("conclave_connections 3\n"), std::string::npos);
  EXPECT_NE(page.find("conclave_log_fsync_duration_seconds_count 1\n"), std::string::npos);
  EXPECT_NE(page.find("conclave_reads_total{mode=\"stale\"} 0\n"), std::string::npos);
  EXPECT_NE(page.find("process_resident_memory_bytes"), std::string::npos);
}

TEST_F(AdminHttpTest, OtherPathsAndMethodsAreRefused) {
  EXPECT_TRUE(Get("/").starts_with("HTTP/1.1 404"));
  EXPECT_NE(Get("/nothing").find("/readyz"), std::string::npos) << "says what there is";
  const std::string post =
      Ask("POST /status HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx");
  EXPECT_FALSE(Ok(post));
}

TEST_F(AdminHttpTest, APortInUseIsNamed) {
  const auto second = AdminHttp::Listen(http_->address(), &metrics_, {});
  ASSERT_FALSE(second);
  EXPECT_NE(second.error().find(http_->address()), std::string::npos);
}

}  // namespace
}  // namespace conclave::doors
