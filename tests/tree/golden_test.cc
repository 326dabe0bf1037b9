// Golden scenarios: text files of commands, each followed by what the state machine answered.
//
//   open NAME [timeout_ms]                     close NAME | expire NAME
//   NAME create PATH [data=D] [mode=M]         M: persistent ephemeral sequential
//   ephemeral-sequential NAME set PATH [data=D] [version=V]         without data: null NAME delete
//   PATH [version=V] NAME multi OP ; OP ; ...                   also: check PATH [version=V] NAME
//   retry SEQ ...                         the request again, under that number NAME ack SEQ rides
//   on the session's next request get PATH | ls PATH | time WALL_MS ELAPSED_NS | tree
//
// Lines that begin with '#' and empty lines are kept. After every command the digest is recomputed
// and the parts are audited. `--rewrite` writes what was answered into the files.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <sstream>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/tree/machine.h"

namespace conclave::tree {
namespace {

bool rewrite = false;

std::string Show(const Stat& s) {
  return fmt::format(
      "czxid={} mzxid={} pzxid={} ctime={} mtime={} version={} cversion={} aversion={} owner={} "
      "length={} children={}",
      s.czxid, s.mzxid, s.pzxid, s.ctime_ms, s.mtime_ms, s.version, s.cversion, s.aversion,
      s.ephemeral_owner, s.data_length, s.num_children);
}

class Scenario {
 public:
  Scenario() {
    machine_.zxid = 0;
    machine_.wall_ms = 1000;
  }

  std::string Run(const std::string& text) {
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
      if (line.rfind("  ", 0) == 0) {
        continue;  // What was answered last time.
      }
      out_ += line + "\n";
      if (line.empty() || line[0] == '#') {
        continue;
      }
      words_.clear();
      std::istringstream in(line);
      for (std::string word; in >> word;) {
        words_.push_back(word);
      }
      Execute();
      EXPECT_EQ(machine_.state.digest(), machine_.state.RecomputeDigest()) << line;
      EXPECT_EQ(machine_.state.Audit(), "") << line;
    }
    return out_;
  }

 private:
  void Say(const std::string& what) { out_ += "  " + what + "\n"; }

  void Execute() {
    const std::string& verb = words_[0];
    if (verb == "open") {
      ids_[words_[1]] = machine_.Open(words_.size() > 2 ? std::stoi(words_[2]) : 10'000);
      Say(fmt::format("session {}", ids_[words_[1]]));
    } else if (verb == "close" || verb == "expire") {
      Report(machine_.Close(ids_.at(words_[1]),
                            verb == "close" ? CloseReason::kClosed : CloseReason::kExpired));
    } else if (verb == "get") {
      Get();
    } else if (verb == "ls") {
      List();
    } else if (verb == "time") {
      machine_.wall_ms = std::stoll(words_[1]);
      machine_.elapsed_ns = std::stoll(words_[2]);
    } else if (verb == "tree") {
      machine_.state.tree().ForEach([this](std::string_view path, const Znode& znode) {
        Say(fmt::format("{} version={} cversion={}", path, znode.value().version(),
                        znode.stat().cversion));
      });
    } else {
      Request();
    }
  }

  void Get() {
    const auto result = machine_.state.tree().Get(words_[1]);
    if (!result.has_value()) {
      Say(fmt::format("{}: {}", NameOf(result.error().code), result.error().message));
      return;
    }
    Say(result->value->has_data() ? fmt::format("data '{}'", result->value->data()) : "data null");
    Say(Show(result->stat));
  }

  void List() {
    const auto page = machine_.state.tree().Children(words_[1], "", 1000, 1'000'000);
    if (!page.has_value()) {
      Say(fmt::format("{}: {}", NameOf(page.error().code), page.error().message));
      return;
    }
    for (const std::string& name : page->names) {
      Say(name);
    }
  }

  void Request() {
    const std::int64_t session = ids_.at(words_[0]);
    std::size_t at = 1;
    std::int64_t seq = 0;
    if (words_[at] == "ack") {
      machine_.acked[session] = std::stoll(words_[at + 1]);
      return;
    }
    if (words_[at] == "retry") {
      seq = std::stoll(words_[at + 1]);
      at += 2;
    }
    Command command;
    if (words_[at] == "multi") {
      Multi multi;
      while (++at < words_.size()) {
        const auto end = std::find(words_.begin() + static_cast<long>(at), words_.end(), ";");
        multi.ops.push_back(ParseOp(at, static_cast<std::size_t>(end - words_.begin())));
        at = static_cast<std::size_t>(end - words_.begin());
      }
      command = std::move(multi);
    } else {
      const Op op = ParseOp(at, words_.size());
      if (const auto* create = std::get_if<Create>(&op)) {
        command = *create;
      } else if (const auto* remove = std::get_if<Delete>(&op)) {
        command = *remove;
      } else {
        command = std::get<SetData>(op);
      }
    }
    Report(seq == 0 ? machine_.Do(session, command)
                    : machine_.Apply(machine_.Header(session, seq), command));
  }

  Op ParseOp(std::size_t begin, std::size_t end) {
    const std::string& verb = words_[begin];
    const std::string& path = words_[begin + 1];
    std::optional<std::string> data;
    std::int32_t version = kAnyVersion;
    CreateMode mode = CreateMode::kPersistent;
    for (std::size_t i = begin + 2; i < end; ++i) {
      const std::string key = words_[i].substr(0, words_[i].find('='));
      const std::string value = words_[i].substr(words_[i].find('=') + 1);
      if (key == "data") {
        data = value;
      } else if (key == "version") {
        version = std::stoi(value);
      } else if (key == "mode") {
        mode = value == "ephemeral"              ? CreateMode::kEphemeral
               : value == "sequential"           ? CreateMode::kPersistentSequential
               : value == "ephemeral-sequential" ? CreateMode::kEphemeralSequential
                                                 : CreateMode::kPersistent;
      } else {
        ADD_FAILURE() << "unknown word " << words_[i];
      }
    }
    if (verb == "create") {
      return Create{path, data, mode};
    }
    if (verb == "set") {
      return SetData{path, data, version};
    }
    EXPECT_TRUE(verb == "delete" || verb == "check") << verb;
    return verb == "delete" ? Op(Delete{path, version}) : Op(Check{path, version});
  }

  void Report(const ApplyResult& result) {
    const Reply& reply = result.reply;
    Say(fmt::format(
        "{}{}{}{}", NameOf(reply.code), reply.zxid != 0 ? fmt::format(" zxid={}", reply.zxid) : "",
        result.duplicate ? " (duplicate)" : "", reply.path.empty() ? "" : " " + reply.path));
    if (!reply.message.empty()) {
      Say("  " + reply.message);
    }
    for (const OpResult& one : reply.multi) {
      Say(fmt::format("  [{}{}{}]", NameOf(one.code), one.path.empty() ? "" : " " + one.path,
                      one.stat.czxid != 0 ? fmt::format(" version={}", one.stat.version) : ""));
    }
    static const char* const kTypes[] = {"", "created", "deleted", "data changed"};
    for (const Change& change : result.changes) {
      Say(fmt::format("  {}.{} {} {}", change.zxid, change.ordinal,
                      kTypes[static_cast<int>(change.type)], change.path));
    }
    static const char* const kEvents[] = {"", "opened", "closed", "expired"};
    for (const SessionEvent& event : result.session_events) {
      Say(fmt::format("  session {} {}", event.session, kEvents[static_cast<int>(event.type)]));
    }
  }

  Machine machine_;
  std::map<std::string, std::int64_t> ids_;
  std::vector<std::string> words_;
  std::string out_;
};

std::vector<std::string> ScenarioFiles() {
  std::vector<std::string> names;
  for (const auto& file : std::filesystem::directory_iterator(CONCLAVE_TREE_SCENARIOS)) {
    if (file.path().extension() == ".txt") {
      names.push_back(file.path().stem().string());
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

class TreeGoldenTest : public ::testing::TestWithParam<std::string> {};

TEST_P(TreeGoldenTest, Scenario) {
  const std::string file = std::string(CONCLAVE_TREE_SCENARIOS) + "/" + GetParam() + ".txt";
  std::stringstream text;
  text << std::ifstream(file).rdbuf();
  const std::string actual = Scenario().Run(text.str());
  if (rewrite) {
    std::ofstream(file) << actual;
    return;
  }
  EXPECT_EQ(actual, text.str()) << "intended? then run with --rewrite and read the difference";
}

INSTANTIATE_TEST_SUITE_P(Files, TreeGoldenTest, ::testing::ValuesIn(ScenarioFiles()),
                         [](const auto& file) { return file.param; });

}  // namespace
}  // namespace conclave::tree

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  conclave::tree::rewrite = argc > 1 && std::string(argv[1]) == "--rewrite";
  return RUN_ALL_TESTS();
}
