"""The contract compiles for every language that it has a namespace for, under the strict rules.

Usage: idl_languages_test.py THRIFT_COMPILER IDL_DIR
"""

import compileall
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

COMPILER, IDL = sys.argv[1], pathlib.Path(sys.argv[2])
GENERATORS = ("cpp:cob_style,no_skeleton,moveable_types", "py", "java", "go", "js:node", "netstd",
              "rb")
# Words that some target cannot have as the name of a field or method; Thrift lets them pass.
KEYWORDS = set("async await delete from in is lambda type_ range select func var let export "
               "function typeof object event params ref out checked lock fixed goto map chan "
               "interface package defer fallthrough self end begin rescue then undef".split())


class IdlTest(unittest.TestCase):
    def test_every_language(self):
        files = sorted(IDL.glob("*.thrift"))
        self.assertEqual(len(files), 4)
        for generator in GENERATORS:
            with tempfile.TemporaryDirectory() as out:
                for file in files:
                    done = subprocess.run(
                        [COMPILER, "-strict", "--gen", generator, "-out", out, str(file)],
                        capture_output=True, text=True, check=False)
                    self.assertEqual((done.returncode, done.stderr), (0, ""),
                                     f"{generator} {file.name}")
                self.assertTrue(any(pathlib.Path(out).rglob("*.*")), generator)
                if generator == "py":
                    self.assertTrue(compileall.compile_dir(out, quiet=1))

    def test_rules_of_the_contract(self):
        for file in IDL.glob("*.thrift"):
            text = re.sub(r"/\*.*?\*/", "", file.read_text(), flags=re.S)
            self.assertNotRegex(text, r"\brequired\b", file.name)
            self.assertNotRegex(text, r"\buuid\b", file.name)
            for language in ("cpp", "py", "java", "go", "js", "netstd", "rb"):
                self.assertRegex(text, rf"namespace {language} \S*[vV]1", file.name)
            for kind, name, body in re.findall(
                    r"\b(struct|union|exception|enum) (\w+) \{(.*?)\n?\}", text, flags=re.S):
                self.check_ids(f"{file.name}: {kind} {name}", kind, body)

    def check_ids(self, where, kind, body):
        if kind == "enum":
            values = [int(value) for value in re.findall(r"= (\d+)", body)]
            self.assertEqual(values[0], 0, f"{where}: 0 is the unknown value")
        else:
            values = [int(value) for value in re.findall(r"^\s*(\d+):", body, flags=re.M)]
            for name in re.findall(r"(\w+)(?: = \S+)?,$", body, flags=re.M):
                self.assertNotIn(name, KEYWORDS, where)
        self.assertEqual(len(values), len(set(values)), f"{where}: an id stands twice")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
