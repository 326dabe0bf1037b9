#!/usr/bin/env python3
"""import and export: what comes back is what was there, and nothing is written elsewhere."""

import os
import socket
import unittest

from command import CommandTest

LIMIT = 1 << 20


def contents(root):
    """{relative path: bytes, or None for a directory}."""
    return {str(path.relative_to(root)): None if path.is_dir() else path.read_bytes()
            for path in root.rglob("*")}


class TransferTest(CommandTest):
    def setUp(self):
        super().setUp()
        self.files, self.copy = self.dir / "files", self.dir / "copy"
        self.files.mkdir()

    def write(self, name, data=b"data"):
        path = self.files / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def test_round_trip(self):
        for name in ("plain", "with space", "grün/日本", "-dash", "a.b.c", "~", "$(true)", "%s",
                     "deep/" * 20 + "file", "x" * 255, "...", ".hidden"):
            self.write(name, name.encode())
        self.write("bytes", bytes(range(256)) * 100)
        self.write("limit", os.urandom(LIMIT))
        self.write("empty file", b"")
        (self.files / "empty directory").mkdir()
        for i in range(1500):
            self.write(f"many/{i}", str(i).encode())
        self.ok("import", self.files, self.path)
        self.assertIsNone(self.json("get", f"{self.path}/empty directory")["value"])
        self.assertEqual(self.json("get", f"{self.path}/empty file")["value"], "")
        for mode in ("linearizable", "session", "stale"):
            copy = self.dir / mode
            self.ok("export", self.path, copy, "--read", mode)
            self.assertEqual(contents(copy), contents(self.files))

    def test_summary(self):
        self.write("a/file", b"12345")
        os.symlink("a", self.files / "link")
        summary = self.json("import", self.files, self.path)
        self.assertEqual((summary["znodes"], summary["bytes"], summary["links"]), (3, 5, 1))
        exported = self.json("export", self.path, self.copy)
        self.assertEqual((exported["znodes"], exported["bytes"]), (3, 5))

    def test_a_znode_with_data_and_children(self):
        self.ok("create", "-p", f"{self.path}/both/child", "c")
        self.ok("set", f"{self.path}/both", "data")
        self.ok("set", self.path, "")
        self.ok("export", self.path, self.copy)
        self.assertEqual(contents(self.copy),
                         {".conclave-data": b"", "both": None, "both/.conclave-data": b"data",
                          "both/child": b"c"})
        self.ok("import", self.copy, f"{self.path}-again")
        for name, value in (("", ""), ("/both", "data"), ("/both/child", "c")):
            self.assertEqual(self.json("get", f"{self.path}-again{name}")["value"], value)
        self.assertEqual(self.ok("ls", f"{self.path}-again/both"), "child\n")

    def test_a_name_taken_for_data_is_refused(self):
        self.ok("create", "-p", f"{self.path}/.conclave-data", "x")
        self.assertIn(".conclave-data", self.fails(3, "export", self.path, self.copy))

    def test_links_and_other_kinds_are_left_out(self):
        self.write("file")
        os.symlink("/etc", self.files / "link to a directory")
        os.symlink("file", self.files / "link to a file")
        os.symlink("/nonexistent", self.files / "dangling")
        os.mkfifo(self.files / "fifo")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self.files / "socket"))
            summary = self.json("import", self.files, self.path)
        self.assertEqual((summary["links"], summary["other_kinds"]), (3, 2))
        self.assertEqual(self.ok("ls", "-R", self.path), "file\n")

    def test_too_large(self):
        self.write("large one", b"x" * (LIMIT + 1))
        self.write("small")
        said = self.fails(1, "import", self.files, self.path)
        self.assertIn("large one", said)
        self.assertIn("--skip-too-large", said)
        self.assertFalse(self.exists(self.path), "something was imported all the same")
        done = self.conclave("import", self.files, self.path, "--skip-too-large")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("large one", done.stderr)
        self.assertEqual(self.ok("ls", self.path), "small\n")

    def test_names_that_no_znode_can_have(self):
        self.write("line\nbreak")
        self.write("good")
        with open(os.fsencode(self.files) + b"/\xff", "wb"):
            pass
        (self.files / "bell\a").mkdir()
        self.write("bell\a/inside")
        said = self.fails(1, "import", self.files, self.path)
        for text in ("line\\x0abreak", "\\xff", "bell\\x07", "--skip-bad-names"):
            self.assertIn(text, said)
        self.assertNotIn("inside", said)
        self.assertFalse(self.exists(self.path))
        self.ok("import", self.files, self.path, "--skip-bad-names")
        self.assertEqual(self.ok("ls", "-R", self.path), "good\n")

    def test_too_deep(self):
        self.write("d/" * 70 + "file")
        self.assertIn("components", self.fails(1, "import", self.files, self.path))

    def test_existing_znodes(self):
        self.write("a/one", b"new")
        self.write("two", b"new")
        self.ok("create", "-p", f"{self.path}/a/one", "old")
        self.ok("create", f"{self.path}/a/other", "stays")
        said = self.fails(1, "import", self.files, self.path)
        self.assertIn("NodeExists", said)
        self.assertIn("--update", said)
        self.ok("import", self.files, self.path, "--update")
        self.assertEqual([self.ok("get", f"{self.path}/{name}") for name in
                          ("a/one", "a/other", "two")], ["new\n", "stays\n", "new\n"])

    def test_an_existing_top_is_imported_into(self):
        self.ok("create", self.path, "its data")
        self.write("file")
        self.ok("import", self.files, self.path)
        self.assertEqual(self.ok("get", self.path), "its data\n")

    def test_export_refuses_what_is_there(self):
        self.ok("create", "-p", f"{self.path}/name", "new")
        self.copy.mkdir()
        (self.copy / "name").write_text("old", encoding="ascii")
        (self.copy / "other").write_text("mine", encoding="ascii")
        self.assertIn("--force", self.fails(3, "export", self.path, self.copy))
        self.assertEqual((self.copy / "name").read_text(encoding="ascii"), "old")
        self.ok("export", self.path, self.copy, "--force")
        self.assertEqual(contents(self.copy), {"name": b"new", "other": b"mine"})

    def test_export_never_leaves_its_directory(self):
        outside = self.dir / "outside"
        outside.mkdir()
        (outside / "victim").write_text("old", encoding="ascii")
        self.ok("create", "-p", f"{self.path}/folder/victim", "new")
        self.ok("create", f"{self.path}/link", "new")
        self.copy.mkdir()
        os.symlink(outside, self.copy / "folder")
        os.symlink(outside / "victim", self.copy / "link")
        self.fails(3, "export", self.path, self.copy, "--force")
        (self.copy / "folder").unlink()
        self.ok("export", self.path, self.copy, "--force")
        self.assertEqual((outside / "victim").read_text(encoding="ascii"), "old")
        self.assertEqual(contents(self.copy),
                         {"folder": None, "folder/victim": b"new", "link": b"new"})

    def test_export_of_nothing(self):
        self.fails(4, "export", "/missing", self.copy)
        self.assertFalse(self.copy.exists())

    def test_import_without_a_cluster_changes_nothing(self):
        self.write("file")
        self.fails(2, "import", self.files, self.path, "--endpoints", "127.0.0.1:1", "--timeout",
                   "200ms")


if __name__ == "__main__":
    unittest.main()
