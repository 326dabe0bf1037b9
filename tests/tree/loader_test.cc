// Rows into a state: nothing that is damaged gets in, and the sentence says what it was.
#include <fstream>
#include <functional>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "coord/tree/bytes.h"
#include "coord/tree/rows.h"
#include "coord/tree/state_loader.h"
#include "tests/tree/checkpoint.h"
#include "tests/tree/machine.h"

namespace conclave::tree {
namespace {

using ::testing::HasSubstr;
using Kind = LoadError::Kind;

class LoaderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    session = machine.Open();
    other = machine.Open();
    machine.Create(session, "/app", "data");
    machine.Create(session, "/app/e", "x", CreateMode::kEphemeral);
    machine.Create(other, "/app/f", std::nullopt, CreateMode::kEphemeral);
    machine.Create(session, "/app-b", "");
    machine.Create(session, "/app/sub");
    machine.Create(session, "/app/sub/leaf");
    machine.Call(session, SetData{"/app", "more"});
    machine.Call(other, Delete{"/missing"});
    machine.Apply(machine.Header(0, 0), PublishMember{1, 7, "host:1", ""});
    checkpoint.Take(machine.state);
  }

  // The error of loading what `change` has made of the rows.
  LoadError Changed(const std::function<void(Checkpoint&)>& change) const {
    Checkpoint changed = checkpoint;
    change(changed);
    Loaded loaded = changed.Load();
    EXPECT_FALSE(loaded.has_value());
    return loaded.has_value() ? LoadError() : loaded.error();
  }

  void Expect(Kind kind, const std::string& sentence,
              const std::function<void(Checkpoint&)>& change) const {
    const LoadError error = Changed(change);
    EXPECT_EQ(error.kind, kind) << error.message;
    EXPECT_THAT(error.message, HasSubstr(sentence));
  }

  // A number of `bytes` bytes at `at` in a row's value becomes `number`.
  static void Poke(std::string& value, std::size_t at, std::int64_t number, std::size_t bytes = 8) {
    ByteWriter wide;
    wide.Int(number);
    value.replace(at, bytes, wide.Finish().substr(0, bytes));
  }

  static std::string Renamed(Checkpoint& rows, const std::string& from, const std::string& to) {
    rows.rows[to] = rows.rows.at(from);
    rows.rows.erase(from);
    return to;
  }

  Machine machine;
  Checkpoint checkpoint;
  std::int64_t session = 0;
  std::int64_t other = 0;
};

// Where things lie in the values: FORMAT.md.
constexpr std::size_t kZxidInState = 9;
constexpr std::size_t kElapsedInState = 17;
constexpr std::size_t kLevelInState = 25;
constexpr std::size_t kLimitsInState = 29;
constexpr std::size_t kZnodesInState = kLimitsInState + 9 * 8 + 3 * 8;
constexpr std::size_t kDigestInState = kZnodesInState + 8;
constexpr std::size_t kLastSeqInSession = 37;
constexpr std::size_t kCzxidInZnode = 2;
constexpr std::size_t kMzxidInZnode = 10;
constexpr std::size_t kOwnerInZnode = 34;
constexpr std::size_t kOrdinalInZnode = 50;

TEST_F(LoaderTest, WhatIsLoadedIsTheSame) {
  Loaded loaded = checkpoint.Load();
  ASSERT_TRUE(loaded.has_value()) << loaded.error().message;
  const StateMachine& state = **loaded;
  EXPECT_EQ(state.digest(), machine.state.digest());
  EXPECT_EQ(state.RecomputeDigest(), machine.state.digest());
  EXPECT_EQ(state.Audit(), "");
  EXPECT_EQ(state.tree().znode_count(), machine.state.tree().znode_count());
  EXPECT_EQ(state.tree().data_bytes(), machine.state.tree().data_bytes());
  machine.state.tree().ForEach([&](std::string_view path, const Znode& znode) {
    const Znode* same = state.tree().Find(path);
    ASSERT_NE(same, nullptr) << path;
    EXPECT_EQ(same->stat(), znode.stat()) << path;
    EXPECT_EQ(same->value().data(), znode.value().data()) << path;
    EXPECT_EQ(same->value().has_data(), znode.value().has_data()) << path;
    EXPECT_EQ(same->ccount(), znode.ccount()) << path;
    EXPECT_EQ(same->is_directory(), znode.is_directory()) << path;
  });
  EXPECT_EQ(state.sessions().FindByNonce(machine.state.sessions().Find(other)->nonce)->id, other);
  EXPECT_EQ(state.sessions().Find(session)->ephemerals,
            machine.state.sessions().Find(session)->ephemerals);
  EXPECT_EQ(state.dirty_rows(), 0U);
}

TEST_F(LoaderTest, EveryFlippedBitIsFound) {
  std::size_t tried = 0;
  for (const auto& [key, value] : checkpoint.rows) {
    for (std::size_t at = 0; at < value.size(); ++at) {
      Checkpoint changed = checkpoint;
      changed.rows[key][at] = static_cast<char>(value[at] ^ (1 << (tried % 8)));
      EXPECT_FALSE(changed.Load().has_value()) << PrintableKey(key) << " byte " << at;
      ++tried;
    }
    for (std::size_t at = 0; at < key.size(); ++at) {
      Checkpoint changed = checkpoint;
      std::string other_key = key;
      other_key[at] = static_cast<char>(key[at] ^ (1 << (tried % 8)));
      if (checkpoint.rows.count(other_key) == 0) {
        Renamed(changed, key, other_key);
        EXPECT_FALSE(changed.Load().has_value()) << PrintableKey(key) << " key byte " << at;
      }
      ++tried;
    }
  }
  EXPECT_GT(tried, 1000U);
}

TEST_F(LoaderTest, EveryMissingAndEveryShortRowIsFound) {
  for (const auto& [key, value] : checkpoint.rows) {
    Checkpoint changed = checkpoint;
    changed.rows.erase(key);
    EXPECT_FALSE(changed.Load().has_value()) << PrintableKey(key);
    for (std::size_t size = 0; size < value.size(); ++size) {
      changed.rows[key] = value.substr(0, size);
      EXPECT_FALSE(changed.Load().has_value()) << PrintableKey(key) << " cut to " << size;
    }
    changed.rows[key] = value + "x";
    EXPECT_FALSE(changed.Load().has_value()) << PrintableKey(key) << " with a byte more";
  }
}

TEST_F(LoaderTest, NothingAndRubbish) {
  EXPECT_THAT(StateLoader().Finish(0, {}).error().message, HasSubstr("state row is missing"));
  StateLoader empty_key;
  EXPECT_FALSE(empty_key.Add("", "x"));
  EXPECT_EQ(empty_key.error()->kind, Kind::kMalformed);
  EXPECT_FALSE(empty_key.Add(StateKey(), checkpoint.rows.at(StateKey()))) << "it stays refused";
  EXPECT_THAT(empty_key.Finish(0, {}).error().message, HasSubstr("empty key"));
  StateLoader unknown;
  EXPECT_FALSE(unknown.Add("\x09xyz", "x"));
  EXPECT_EQ(unknown.error()->kind, Kind::kUnknownFormat);
  EXPECT_THAT(unknown.error()->message, HasSubstr("unknown kind 9; upgrade this member"));
}

TEST_F(LoaderTest, OrderAndDuplicates) {
  StateLoader twice;
  EXPECT_TRUE(twice.Add(StateKey(), checkpoint.rows.at(StateKey())));
  EXPECT_FALSE(twice.Add(StateKey(), checkpoint.rows.at(StateKey())));
  EXPECT_EQ(twice.error()->kind, Kind::kOrder);
  EXPECT_THAT(twice.error()->message, HasSubstr("the state row comes twice"));
  StateLoader backwards;
  EXPECT_TRUE(backwards.Add(StateKey(), checkpoint.rows.at(StateKey())));
  EXPECT_TRUE(backwards.Add(SessionKey(other), checkpoint.rows.at(SessionKey(other))));
  EXPECT_FALSE(backwards.Add(SessionKey(session), checkpoint.rows.at(SessionKey(session))));
  EXPECT_THAT(backwards.error()->message, HasSubstr("comes behind the row of session"));
  StateLoader headless;
  EXPECT_FALSE(headless.Add(SessionKey(session), checkpoint.rows.at(SessionKey(session))));
  EXPECT_THAT(headless.error()->message, HasSubstr("the state row is missing"));
}

TEST_F(LoaderTest, TheStateRow) {
  const auto poke = [](std::size_t at, std::int64_t number, std::size_t bytes = 8) {
    return [=](Checkpoint& rows) { Poke(rows.rows[StateKey()], at, number, bytes); };
  };
  Expect(Kind::kUnknownFormat, "format 2", [](Checkpoint& rows) { rows.rows[StateKey()][0] = 2; });
  Expect(Kind::kUnknownFormat, "digest version 2", poke(1, 2));
  Expect(Kind::kUnknownFormat, "feature level 9", poke(kLevelInState, 9, 4));
  Expect(Kind::kMalformed, "feature level 0", poke(kLevelInState, 0, 4));
  Expect(Kind::kMalformed, "zxid -1", poke(kZxidInState, -1));
  Expect(Kind::kMalformed, "zxid 9007199254740992", poke(kZxidInState, std::int64_t{1} << 53));
  Expect(Kind::kMalformed, "-5 ns elapsed", poke(kElapsedInState, -5));
  Expect(Kind::kUnknownFormat, "other limits", poke(kLimitsInState, 1));
  Expect(Kind::kCount, "znodes, and the state row says 77", poke(kZnodesInState, 77));
  Expect(Kind::kDigest, "the digest of the rows is", poke(kDigestInState, 77));
  Expect(Kind::kDigest, "the checkpoint 0000", [](Checkpoint& rows) { rows.digest = Digest(); });
  Expect(Kind::kMalformed, "the checkpoint at index 5", [](Checkpoint& rows) { rows.zxid = 5; });
}

TEST_F(LoaderTest, SessionsAndReplies) {
  Expect(Kind::kMalformed, "makes no sense", [this](Checkpoint& rows) {
    Poke(rows.rows[SessionKey(session)], 1, 0, 4);  // The timeout.
  });
  Expect(Kind::kMalformed, "last seq 9223372036854775807", [this](Checkpoint& rows) {
    Poke(rows.rows[SessionKey(session)], kLastSeqInSession, INT64_MAX);
  });
  Expect(Kind::kMalformed, "has the nonce of another session", [this](Checkpoint& rows) {
    rows.rows[SessionKey(other)] = rows.rows[SessionKey(session)];
  });
  Expect(Kind::kMalformed, "session 999 makes no sense",
         [this](Checkpoint& rows) { Renamed(rows, SessionKey(other), SessionKey(999)); });
  Expect(Kind::kMissing, "reply 1 is of session",
         [this](Checkpoint& rows) { rows.rows.erase(SessionKey(other)); });
  Expect(Kind::kMalformed, "out of place",
         [this](Checkpoint& rows) { rows.rows.erase(ReplyKey(session, 3)); });
  Expect(Kind::kMalformed, "out of place",
         [this](Checkpoint& rows) { Renamed(rows, ReplyKey(other, 2), ReplyKey(other, 3)); });
  Expect(Kind::kMalformed, "cannot be read",
         [this](Checkpoint& rows) { rows.rows[ReplyKey(session, 3)].resize(kReplyRowBytes + 4); });
  Expect(Kind::kMalformed, "neither kept nor dropped",
         [this](Checkpoint& rows) { rows.rows[ReplyKey(session, 3)][1] = 1; });
  Expect(Kind::kMissing, "reply 2 of session", [this](Checkpoint& rows) {
    rows.rows.erase(ReplyKey(other, 2));
    Poke(rows.rows[StateKey()], kLimitsInState + 9 * 8 + 8, 7);  // Replies, one less.
  });
  Expect(Kind::kCount, "stored replies",
         [this](Checkpoint& rows) { rows.rows.erase(ReplyKey(other, 2)); });
}

TEST_F(LoaderTest, Znodes) {
  Expect(Kind::kMissing, "the parent of /app/e is missing",
         [](Checkpoint& rows) { rows.rows.erase(ZnodeKey("/app")); });
  Expect(Kind::kMissing, "the parent of /app-b/sub/leaf is missing", [](Checkpoint& rows) {
    Renamed(rows, ZnodeKey("/app/sub/leaf"), ZnodeKey("/app-b/sub/leaf"));
  });
  Expect(Kind::kMissing, "the parent of /app-b/x never had children",
         [](Checkpoint& rows) { Renamed(rows, ZnodeKey("/app/sub/leaf"), ZnodeKey("/app-b/x")); });
  Expect(Kind::kMissing, "the parent of /app/e/x is ephemeral",
         [](Checkpoint& rows) { Renamed(rows, ZnodeKey("/app/sub/leaf"), ZnodeKey("/app/e/x")); });
  Expect(Kind::kMissing, "belongs to session 1, which is missing",
         [](Checkpoint& rows) { Poke(rows.rows[ZnodeKey("/app/e")], kOwnerInZnode, 1); });
  Expect(Kind::kMalformed, "has had children", [this](Checkpoint& rows) {
    Poke(rows.rows[ZnodeKey("/app/sub")], kOwnerInZnode, session);
  });
  Expect(Kind::kMalformed, "at the same moment", [this](Checkpoint& rows) {
    const std::string twin = rows.rows[ZnodeKey("/app/e")];
    rows.rows[ZnodeKey("/app/f")] = twin;
    Poke(rows.rows[ZnodeKey("/app/f")], kOrdinalInZnode, 0, 2);
  });
  Expect(Kind::kMalformed, "czxid -1",
         [](Checkpoint& rows) { Poke(rows.rows[ZnodeKey("/app-b")], kCzxidInZnode, -1); });
  Expect(Kind::kMalformed, "mzxid 9999",
         [](Checkpoint& rows) { Poke(rows.rows[ZnodeKey("/app-b")], kMzxidInZnode, 9999); });
  Expect(Kind::kMissing, "znode /zookeeper/quota is missing", [](Checkpoint& rows) {
    Renamed(rows, ZnodeKey("/zookeeper/quota"), ZnodeKey("/zookeeper/quotb"));
  });
  Expect(Kind::kMalformed, "no valid path",
         [](Checkpoint& rows) { Renamed(rows, ZnodeKey("/app-b"), ZnodeKey("/app-\x01")); });
  Expect(Kind::kMalformed, "no valid path", [](Checkpoint& rows) {
    Renamed(rows, ZnodeKey("/app-b"), ZnodeKey("/app-" + std::string(300, 'b')));
  });
  Expect(Kind::kMalformed, "its key holds no path",
         [](Checkpoint& rows) { Renamed(rows, ZnodeKey("/app-b"), ZnodeKey("/app-b") + "/x"); });
  Expect(Kind::kMalformed, "its flags are 9",
         [](Checkpoint& rows) { rows.rows[ZnodeKey("/app-b")][1] = 9; });
  Expect(Kind::kMalformed, "1048577 bytes", [](Checkpoint& rows) {
    rows.rows[ZnodeKey("/app-b")] += std::string((std::size_t{1} << 20) + 1, 'x');
  });
  Expect(Kind::kMalformed, "member 1 makes no sense",
         [](Checkpoint& rows) { Poke(rows.rows[MemberKey(1)], 9, 999'999); });
}

TEST_F(LoaderTest, KeysAscendAsTheTreeIsWalked) {
  const std::vector<std::string> paths = {"/",      "/a",   "/a/b", "/a/b/c", "/a/b-",
                                          "/a\x7f", "/a b", "/a-b", "/ab",    "/\xc3\xa9"};
  for (const std::string& path : paths) {
    EXPECT_EQ(PathOfZnodeKey(ZnodeKey(path)), path);
  }
  EXPECT_LT(ZnodeKey("/a/b/c"), ZnodeKey("/a/b-"));
  EXPECT_LT(ZnodeKey("/a/b"), ZnodeKey("/a b")) << "a subtree comes before the next sibling";
  EXPECT_LT(ZnodeKey("/"), ZnodeKey("/a"));
  EXPECT_LT(SessionKey(255), SessionKey(256));
  EXPECT_LT(ReplyKey(1, 300), ReplyKey(2, 1));
  EXPECT_EQ(PrintableKey(ReplyKey(5, 6)), "the row of reply 6 of session 5");
  EXPECT_EQ(PrintableKey(std::string("\x02zz")), "the row with key 027a7a");
}

// The worked example of FORMAT.md.
TEST(RowFormatTest, TheExampleIsWhatIsWritten) {
  std::ifstream file(std::string(CONCLAVE_SOURCE_DIR) + "/coord/tree/FORMAT.md");
  ASSERT_TRUE(file);
  std::string line;
  while (std::getline(file, line) && line != "```rows") {
  }
  std::vector<std::pair<std::string, std::string>> rows;
  std::string* at = nullptr;
  while (std::getline(file, line) && line != "```") {
    std::istringstream words(line.substr(0, line.find('#')));
    for (std::string word; words >> word;) {
      if (word == "key") {
        at = &rows.emplace_back().first;
      } else if (word == "value") {
        at = &rows.back().second;
      } else {
        at->push_back(static_cast<char>(std::stoi(word, nullptr, 16)));
      }
    }
  }
  ASSERT_EQ(rows.size(), 2U);

  Machine machine;
  machine.zxid = 257;
  const std::int64_t session = machine.Open();
  machine.Create(session, "/app", "hi");
  machine.zxid = 263;
  machine.Create(session, "/app/n");
  Checkpoint checkpoint;
  checkpoint.Take(machine.state);
  for (const auto& [key, value] : rows) {
    ASSERT_EQ(checkpoint.rows.count(key), 1U) << PrintableKey(key);
    EXPECT_EQ(checkpoint.rows.at(key), value) << PrintableKey(key);
  }
  EXPECT_EQ(PrintableKey(rows[0].first), "the row of session 258");
  EXPECT_EQ(PrintableKey(rows[1].first), "the row of znode /app");
}

}  // namespace
}  // namespace conclave::tree
