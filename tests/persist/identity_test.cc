// Whose directory it is: every mix-up is refused with words that name the flag.
#include "persist/identity.h"

#include <memory>
#include <string>

#include <glog/logging.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <xxhash.h>

#include "persist/log_store.h"
#include "persist/readmission.h"
#include "tests/persist/fault_env.h"
#include "tests/persist/log_workload.h"

namespace conclave::persist::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class IdentityTest : public ::testing::Test {
 protected:
  IdentityTest() {
    FLAGS_minloglevel = google::GLOG_ERROR;
    auto store = LogStore::Open(options_);
    CHECK(store) << store.error().message;
    CHECK((*store)->is_new());
    identity_ = (*store)->identity();
    const LogBatch batch = model_.Append("one");
    CHECK((*store)->Write(batch));
    model_.Apply(batch);
  }

  Error OpenFails(const LogStore::Options& options) {
    const std::uint64_t before = env_.Hash();
    const auto store = LogStore::Open(options);
    EXPECT_FALSE(store);
    EXPECT_EQ(env_.Hash(), before) << "a refused directory was changed";
    return store ? Error{} : store.error();
  }

  FaultEnv env_;
  SeededRandom random_{3};
  LogStore::Options options_ = SmallOptions(&env_, &random_);
  Identity identity_;
  ModelLog model_;
};

TEST_F(IdentityTest, StaysTheSameOverRestarts) {
  const auto store = LogStore::Open(options_);
  ASSERT_TRUE(store);
  EXPECT_FALSE((*store)->is_new());
  EXPECT_EQ((*store)->identity(), identity_);
  EXPECT_EQ(identity_.member, 1U);
  EXPECT_EQ(identity_.cluster_name, "test");
  EXPECT_NE(identity_.incarnation, 0U);
}

TEST_F(IdentityTest, AnotherMembersDirectory) {
  options_.member = 2;
  const Error error = OpenFails(options_);
  EXPECT_EQ(error.kind, ErrorKind::kWrongIdentity);
  EXPECT_THAT(error.message, AllOf(HasSubstr("--data_dir=/data"), HasSubstr("--id"),
                                   HasSubstr("belongs to member 1"), HasSubstr("member 2")));
}

TEST_F(IdentityTest, AnotherClustersDirectory) {
  options_.cluster_name = "prod";
  const Error error = OpenFails(options_);
  EXPECT_EQ(error.kind, ErrorKind::kWrongIdentity);
  EXPECT_THAT(error.message,
              AllOf(HasSubstr("--cluster_name"), HasSubstr("\"test\""), HasSubstr("\"prod\"")));
}

TEST_F(IdentityTest, AnotherMembersDatabaseWithoutItsIdentityFile) {
  env_.Erase("/data/IDENTITY");
  options_.member = 2;
  const auto store = LogStore::Open(options_);
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().kind, ErrorKind::kWrongIdentity);
}

TEST_F(IdentityTest, ALostIdentityFileComesBackFromTheDatabase) {
  const std::string text = env_.Content("/data/IDENTITY");
  env_.Erase("/data/IDENTITY");
  auto store = LogStore::Open(options_);
  ASSERT_TRUE(store) << store.error().message;
  EXPECT_EQ((*store)->identity(), identity_);
  EXPECT_EQ(env_.Content("/data/IDENTITY"), text);
  EXPECT_EQ(Difference(store->get(), model_), "");
}

TEST_F(IdentityTest, AnEmptiedDirectoryIsANewIncarnation) {
  for (const std::string& name : env_.Files()) {
    env_.Erase(name);
  }
  env_.Erase("/data/raft");
  auto store = LogStore::Open(options_);
  ASSERT_TRUE(store) << store.error().message;
  EXPECT_TRUE((*store)->is_new());
  EXPECT_NE((*store)->identity().incarnation, identity_.incarnation);
  EXPECT_EQ((*store)->last_index(), 0U);
  EXPECT_EQ((*store)->TakeRestored().hardState, raft::HardState{});
}

TEST_F(IdentityTest, AnIdentityWithoutItsDatabaseIsRefused) {
  env_.Erase("/data/raft");
  const Error error = OpenFails(options_);
  EXPECT_EQ(error.kind, ErrorKind::kDamaged);
  EXPECT_THAT(error.message,
              AllOf(HasSubstr("lost its log"), HasSubstr(std::string(kReadmission))));
}

TEST_F(IdentityTest, ADatabaseWithoutCurrentIsNotMadeAnew) {
  env_.Erase("/data/raft/CURRENT");
  EXPECT_EQ(OpenFails(options_).kind, ErrorKind::kDamaged);
  env_.Erase("/data/IDENTITY");
  EXPECT_EQ(OpenFails(options_).kind, ErrorKind::kDamaged);
}

TEST_F(IdentityTest, ADatabaseOfAnotherIncarnationBesideTheFileIsRefused) {
  Identity other = identity_;
  ++other.incarnation;
  env_.SetContent("/data/IDENTITY", EncodeIdentity(other));
  const auto store = LogStore::Open(options_);
  ASSERT_FALSE(store);
  EXPECT_THAT(store.error().message, HasSubstr("put together from two directories"));
}

TEST_F(IdentityTest, ALaterFormatIsRefusedAndNotGuessedAt) {
  std::string text = env_.Content("/data/IDENTITY");
  text.replace(text.find("format: 1"), 9, "format: 2");
  text.resize(text.rfind("checksum: "));
  std::array<char, 40> line{};
  std::snprintf(line.data(), line.size(), "checksum: %016llx\n",
                static_cast<unsigned long long>(XXH3_64bits(text.data(), text.size())));
  env_.SetContent("/data/IDENTITY", text + line.data());
  const Error error = OpenFails(options_);
  EXPECT_EQ(error.kind, ErrorKind::kUnknownFormat);
  EXPECT_THAT(error.message, AllOf(HasSubstr("later version"), HasSubstr("format 2")));
}

TEST_F(IdentityTest, ASecondOpenerIsRefusedAndTheFirstGoesOn) {
  const auto first = LogStore::Open(options_);
  ASSERT_TRUE(first);
  const Error error = OpenFails(options_);
  EXPECT_EQ(error.kind, ErrorKind::kLocked);
  EXPECT_THAT(error.message, HasSubstr("--data_dir=/data is in use by another server"));
  const LogBatch batch = model_.Append("two");
  ASSERT_TRUE((*first)->Write(batch));
}

TEST_F(IdentityTest, AFileInPlaceOfTheDirectory) {
  env_.SetContent("/file", "x");
  options_.data_dir = "/file";
  const Error error = OpenFails(options_);
  EXPECT_EQ(error.kind, ErrorKind::kDirectory);
  EXPECT_THAT(error.message, AllOf(HasSubstr("--data_dir=/file"), HasSubstr("not a directory")));
}

TEST_F(IdentityTest, ADirectoryOfOtherPeoplesFiles) {
  ASSERT_TRUE(env_.CreateDir("/home").ok());
  env_.SetContent("/home/letter.txt", "dear");
  options_.data_dir = "/home";
  const Error error = OpenFails(options_);
  EXPECT_EQ(error.kind, ErrorKind::kDirectory);
  EXPECT_THAT(error.message, AllOf(HasSubstr("letter.txt"), HasSubstr("--data_dir=/home")));
}

TEST_F(IdentityTest, AFreshFileSystemsLostAndFoundIsNoObstacle) {
  ASSERT_TRUE(env_.CreateDir("/mnt").ok());
  ASSERT_TRUE(env_.CreateDir("/mnt/lost+found").ok());
  options_.data_dir = "/mnt";
  EXPECT_TRUE(LogStore::Open(options_));
}

TEST_F(IdentityTest, AMissingParentAndAnEmptyName) {
  options_.data_dir = "/no/such/parent";
  EXPECT_THAT(OpenFails(options_).message,
              AllOf(HasSubstr("--data_dir=/no/such/parent"), HasSubstr("parent must exist")));
  options_.data_dir = "";
  EXPECT_EQ(OpenFails(options_).kind, ErrorKind::kDirectory);
}

TEST_F(IdentityTest, AClusterNameThatWouldBreakTheFile) {
  for (const char* name : {"", "a\nincarnation: 0"}) {
    options_.cluster_name = name;
    EXPECT_THAT(OpenFails(options_).message, HasSubstr("--cluster_name"));
  }
}

TEST(Identity, EveryFlippedBitOfTheFileIsNoticed) {
  const Identity identity{3, "a cluster: with colons", 0x0123456789abcdef};
  const std::string text = EncodeIdentity(identity);
  const auto decoded = DecodeIdentity(text, "here");
  ASSERT_TRUE(decoded) << decoded.error().message;
  EXPECT_EQ(*decoded, identity);
  for (std::size_t bit = 0; bit < text.size() * 8; ++bit) {
    std::string flipped = text;
    flipped[bit / 8] =
        static_cast<char>(static_cast<std::uint8_t>(flipped[bit / 8]) ^ (1U << (bit % 8)));
    const auto wrong = DecodeIdentity(flipped, "here");
    ASSERT_FALSE(wrong) << "bit " << bit;  // nor the case of a letter of the checksum
    EXPECT_EQ(wrong.error().kind, ErrorKind::kDamaged) << "bit " << bit;
  }
}

}  // namespace
}  // namespace conclave::persist::testing
