#!/usr/bin/env python3
"""Each rule of lint finds what is planted for it, and nothing in what stands beside it."""

import contextlib
import io
import pathlib
import sys
import tempfile
import unittest
from unittest import mock

import lint
import rule_banned
import rule_includes
import rule_registered
import rule_size
import rule_text
import rule_tools
from source_tree import Tree, strip_cpp

LEFT_OVER = "TO" + "DO"


def findings(check, files):
    """The findings of a check on a tree of these files ({path: text})."""
    with tempfile.TemporaryDirectory() as root:
        for name, text in files.items():
            path = pathlib.Path(root, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return check(Tree(root))


class RuleTest(unittest.TestCase):
    def assert_found(self, check, files, path, line, text=""):
        found = findings(check, files)
        self.assertTrue(
            any(f.path == path and f.line == line and text in f.text for f in found),
            f"nothing found at {path}:{line}, only {[str(f) for f in found]}")

    def assert_clean(self, check, files):
        self.assertEqual([], [str(f) for f in findings(check, files)])


class StripTest(unittest.TestCase):
    def test_comments_and_literals_are_blanked_in_place(self):
        text = 'a; // rand()\nb("rand()\\"", \'{\'); /* {\n { */ c(1\'000, R"x(rand())x");'
        stripped = strip_cpp(text)
        self.assertEqual(len(text), len(stripped))
        self.assertEqual(text.count("\n"), stripped.count("\n"))
        self.assertNotIn("rand", stripped)
        self.assertNotIn("{", stripped)
        self.assertIn("c(1'000,", stripped)


class IncludesTest(RuleTest):
    FORBIDDEN = (
        ("consensus/raft.h", '#include "persist/log_store.h"'),
        ("consensus/raft.h", '#include "coord/tree/tree.h"'),
        ("coord/tree/tree.cc", '#include "consensus/types.h"'),
        ("persist/log_store.h", '#include "consensus/raft.h"'),
        ("persist/log_store.h", '#include "coord/tree/tree.h"'),
        ("coord/server/server.cc", '#include "thrift/wire/frame_server.h"'),
        ("coord/server/server.cc", '#  include "coord/doors/client_door.h"'),
        ("thrift/wire/channel.cc", '#include "coord/tree/code.h"'),
        ("coord/doors/client_door.cc", '#include "consensus/raft.h"'),
        ("client/session.cc", '#include "coord/tree/code.h"'),
        ("coord/main.cc", '#include "client/include/conclave/client.h"'),
        ("consensus/raft.cc", "#include <thread>"),
        ("consensus/raft.cc", "#include <chrono>"),
        ("coord/tree/tree.cc", "#include <leveldb/db.h>"),
        ("coord/server/server.h", "#include <thrift/Thrift.h>"),
        ("client/include/conclave/client.h", "#include <thrift/TProcessor.h>"),
        ("consensus/raft.h", '#include "raft_log.h"'),
    )

    def test_what_the_table_forbids_is_found(self):
        for path, include in self.FORBIDDEN:
            with self.subTest(path=path, include=include):
                self.assert_found(rule_includes.check, {path: f"// first\n{include}\n"}, path, 2)

    def test_what_the_table_allows_is_not(self):
        self.assert_clean(rule_includes.check, {
            "consensus/raft.cc": '#include "consensus/raft.h"\n#include <vector>\n',
            "persist/log_store.h": '#include "consensus/types.h"\n#include <leveldb/db.h>\n',
            "coord/server/server.cc": '#include "persist/log_store.h"\n#include <thread>\n',
            "coord/doors/door.cc": '#include "coord/server/api.h"\n#include "thrift/wire/x.h"\n',
            "coord/main.cc": '#include "coord/doors/door.h"\n#include <gflags/gflags.h>\n',
            "client/session.cc": '#include "conclave/client.h"\n// #include "coord/tree/code.h"\n',
            "tests/client/a_test.cc": '#include "coord/tree/code.h"\n#include <thread>\n',
        })


class BannedTest(RuleTest):
    BANNED = (
        ("consensus/raft.cc", "std::random_device seed;"),
        ("consensus/raft.cc", "int x = rand();"),
        ("coord/tree/tree.cc", "auto now = std::chrono::system_clock::now();"),
        ("coord/server/server.cc", "auto now = std::chrono::steady_clock::now();"),
        ("coord/server/server.cc", "std::this_thread::sleep_for(1ms);"),
        ("coord/tree/tree.cc", "time(nullptr);"),
        ("consensus/raft.cc", "std::thread worker;"),
        ("persist/env.cc", "usleep(5);"),
        ("persist/env.cc", 'std::cout << "x";'),
        ("coord/doors/door.cc", 'printf("x");'),
        ("client/session.cc", 'throw std::runtime_error("x");'),
    )

    def test_banned_calls_are_found(self):
        for path, line in self.BANNED:
            with self.subTest(path=path, line=line):
                text = f"void F() {{\n  {line}\n}}\n"
                self.assert_found(rule_banned.check, {path: text}, path, 2)

    def test_the_same_words_elsewhere_are_not(self):
        self.assert_clean(rule_banned.check, {
            "consensus/raft.cc": '// rand() and sleep_for() are banned\nLog("throw");\n',
            "coord/tree/stat.cc": "stat.time(5); entry.wall_time(0); operand(); Strand();\n",
            "coord/main.cc": 'std::cout << "usage";\n',
            "client/command/ls.cc": 'std::cout << "usage";\n',
            "persist/env.cc": "auto now = std::chrono::steady_clock::now(); snprintf(b, 1, f);\n",
        })

    def test_sleeps_in_tests_are_found(self):
        for path, line in (("tests/server/a_test.cc", "std::this_thread::sleep_for(1ms);"),
                           ("tests/e2e/tour_test.py", "time.sleep(1)"),
                           ("tests/e2e/tour.sh", "while ! up; do sleep 1; done"),
                           ("tests/e2e/tour", "sleep 0.1"),
                           ("tests/e2e/tour", "time.sleep(wait)")):
            with self.subTest(path=path, line=line):
                self.assert_found(rule_banned.check, {path: f"\n{line}\n"}, path, 2)

    def test_waiting_for_a_condition_is_not_a_sleep(self):
        self.assert_clean(rule_banned.check, {
            "tests/server/a_test.cc": "// no sleep_for here\nWaitFor(condition);\n",
            "tests/e2e/waiting.py": "import time\ntime.sleep(0.05)\n",
            "tests/e2e/tour_test.py": "# time.sleep(1) would be wrong\nwait_for(up)\n",
            "tests/data/watch/sleep.txt": "sleep 5\n",
        })

    HEADER = "absl::flat_hash_map<std::string, std::vector<int>, Hash> nodes_;\n"

    def test_iterating_over_a_hash_container_is_found(self):
        for loop in ("for (const auto& [path, node] : nodes_) {}",
                     "for (auto& n : tree.nodes_) {}", "auto it = nodes_.begin();"):
            with self.subTest(loop=loop):
                self.assert_found(rule_banned.check, {
                    "coord/tree/tree.h": self.HEADER, "coord/tree/tree.cc": f"\n{loop}\n"},
                    "coord/tree/tree.cc", 2, "hash container")

    def test_lookups_ordered_maps_and_justified_loops_are_not(self):
        self.assert_clean(rule_banned.check, {
            "coord/tree/tree.h": self.HEADER + "std::map<int, int> order_;\n",
            "coord/tree/tree.cc": "auto it = nodes_.find(x);\nfor (auto& o : order_) {}\n"
                                  "// order-free: a sum of integers\nfor (auto& n : nodes_) {}\n"})

    def test_a_justification_needs_a_reason(self):
        self.assert_found(rule_banned.check, {
            "coord/tree/tree.h": self.HEADER,
            "coord/tree/tree.cc": "// order-free:\nfor (auto& n : nodes_) {}\n"},
            "coord/tree/tree.cc", 2)


class SizeTest(RuleTest):
    @staticmethod
    def function(head, lines):
        return f"{head} {{\n" + "  Call();\n" * (lines - 2) + "}\n"

    def test_long_functions_are_found(self):
        for head in ("void Tree::Apply(int64_t zxid)", "TEST(Tree, Applies)",
                     "template <class T>\nauto F(T x) -> std::vector<T>",
                     "Raft::Raft(Options options) : options_{std::move(options)}, term_(0)",
                     "Raft::Raft(int x, int y) : x_{x}, y_{y}"):
            with self.subTest(head=head):
                first = 2 + head.count("\n") + 1
                path = "consensus/a.cc"
                text = "namespace a {\nclass B {\n" + self.function(head, 71) + "};\n}\n"
                self.assert_found(rule_size.check, {path: text}, path, first)
                text = "namespace a {\nclass B {\n" + self.function(head, 70) + "};\n}\n"
                self.assert_clean(rule_size.check, {path: text})

    def test_types_namespaces_and_tables_are_not_functions(self):
        lines = "  int x;\n" * 80
        self.assert_clean(rule_size.check, {
            "consensus/a.h": f"namespace a {{\nstruct alignas(64) B : C<int(int)> {{\n{lines}}};\n"
                             f"enum class E {{\n{lines}}};\n"
                             f"const int kTable[] = {{\n{lines}}};\n}}  // namespace a\n"})

    def test_long_files_and_wide_scripts_are_found(self):
        self.assert_found(rule_size.check, {"persist/a.h": "\n" * 601}, "persist/a.h", 601)
        self.assert_found(rule_size.check, {"tests/a.py": "x = 1\n# " + "x" * 100}, "tests/a.py", 2)

    def test_an_exception_raises_the_limit_and_must_be_needed(self):
        reason = "one table of cases, which are read side by side"
        files = {"persist/a.h": "\n" * 650, rule_size.EXCEPTIONS: f"persist/a.h 660 {reason}\n"}
        self.assert_clean(rule_size.check, files)
        self.assert_found(rule_size.check, {**files, "persist/a.h": "\n" * 661}, "persist/a.h", 661)
        self.assert_found(rule_size.check, {**files, "persist/a.h": "\n"}, rule_size.EXCEPTIONS, 1)
        self.assert_found(rule_size.check, {rule_size.EXCEPTIONS: "persist/a.h 660 long\n"},
                          rule_size.EXCEPTIONS, 1)


class RegisteredTest(RuleTest):
    def test_what_no_list_names_is_found(self):
        for path in ("consensus/raft.cc", "persist/env.h", "tests/tree/tree_test.cc",
                     "tests/e2e/tour_test.py"):
            with self.subTest(path=path):
                folder, name = path.rsplit("/", 1)
                for text in ("", f"# {name}\n", f"other_{name}\n", f"{name}.in\n"):
                    self.assert_found(rule_registered.check,
                                      {path: "", f"{folder}/CMakeLists.txt": text}, path, 1)
                self.assert_clean(rule_registered.check,
                                  {path: "", f"{folder}/CMakeLists.txt": f"f(SRCS {name})\n"})

    def test_a_list_may_name_the_path_below_it_or_from_its_own_folder(self):
        for name in ("doors/door.cc", "${CMAKE_CURRENT_SOURCE_DIR}/doors/door.cc"):
            with self.subTest(name=name):
                self.assert_clean(rule_registered.check, {
                    "coord/doors/door.cc": "", "coord/CMakeLists.txt": f"f(SRCS {name})\n"})

    def test_scenarios_that_no_test_names_are_found(self):
        scenario = {"tests/data/watch/one_shot.txt": ""}
        self.assert_found(rule_registered.check, scenario, "tests/data/watch/one_shot.txt", 1)
        for text in ('Run("one_shot.txt");', 'Run("one_shot");', 'RunAll("data/watch");'):
            with self.subTest(text=text):
                self.assert_clean(rule_registered.check, {
                    **scenario, "tests/tree/CMakeLists.txt": "a_test.cc",
                    "tests/tree/a_test.cc": text})


class TextTest(RuleTest):
    def test_left_overs_are_found(self):
        for line in (f"// {LEFT_OVER}: later", "cd /wo" + "rk/main", "open('/ho" + "me/me/x')",
                     "<" * 7 + " HEAD"):
            with self.subTest(line=line):
                path = "persist/a.cc"
                self.assert_found(rule_text.check, {path: f"\n{line}\n"}, path, 2)

    def test_tests_that_do_not_run_are_found(self):
        for line in ("GTEST_SKIP();", "TEST(Tree, DISABLED_Applies) {}"):
            with self.subTest(line=line):
                self.assert_found(rule_text.check, {"tests/a_test.cc": f"\n{line}\n"},
                                  "tests/a_test.cc", 2)

    def test_links_and_paths_must_lead_somewhere(self):
        there = {"deploy/quickstart": "", "deploy/docs/operations.md": ""}
        self.assert_clean(rule_text.check, {
            **there, "README.md": "[x](deploy/docs/operations.md#a) `deploy/quickstart --help` "
                                  "[y](https://example.org) `deploy/` \n```\n[z](none)\n```\n"})
        for text in ("[x](deploy/docs/none.md)", "`deploy/none`"):
            with self.subTest(text=text):
                self.assert_found(rule_text.check, {**there, "README.md": f"\n{text}\n"},
                                  "README.md", 2)

    def test_every_dependency_has_a_line_in_the_readme(self):
        script = {"deploy/install-deps": "run   cmake   the build\ntest  libgtest-dev  tests\n"}
        self.assert_found(rule_text.check, {**script, "README.md": "cmake, libgtest-dev-x\n"},
                          "deploy/install-deps", 2)
        self.assert_clean(rule_text.check, {**script, "README.md": "cmake, libgtest-dev\n"})


class ToolsTest(RuleTest):
    def test_unformatted_code_is_found(self):
        style = {".clang-format": "BasedOnStyle: Google\n"}
        self.assert_found(rule_tools.check_format, {**style, "persist/a.cc": "int  x ;\n"},
                          "persist/a.cc", 1)
        self.assert_clean(rule_tools.check_format, {**style, "persist/a.cc": "int x;\n"})

    def test_scripts_are_checked(self):
        self.assert_found(rule_tools.check_shell, {"deploy/a.sh": "#!/bin/bash\nrm $x/*\n"},
                          "deploy/a.sh", 2)
        self.assert_found(rule_tools.check_python, {"tests/a.py": "\nif\n"}, "tests/a.py", 2)
        self.assert_found(rule_tools.check_executable, {"deploy/a": "#!/bin/bash\n"}, "deploy/a", 1)


class CommandTest(unittest.TestCase):
    """The exit status is what ctest goes by."""

    @staticmethod
    def run_lint(root, *rules):
        with mock.patch.object(sys, "argv", ["lint.py", "--root", str(root), *rules]), \
                contextlib.redirect_stdout(io.StringIO()) as output:
            return lint.main(), output.getvalue()

    def test_findings_are_failures(self):
        with tempfile.TemporaryDirectory() as root:
            path = pathlib.Path(root, "consensus", "raft.h")
            path.parent.mkdir()
            path.write_text("#include <vector>\n", encoding="utf-8")
            self.assertEqual((0, "0 findings in 1 files\n"), self.run_lint(root, "includes"))
            path.write_text('#include "client/client.h"\n', encoding="utf-8")
            status, output = self.run_lint(root, "includes")
            self.assertEqual(1, status)
            self.assertIn('raft.h:1: consensus/ may not include "client/client.h"', output)


if __name__ == "__main__":
    unittest.main()
