#!/usr/bin/env python3
"""What the README and the quickstart tell people to type works as it stands there."""

import re
import subprocess
import unittest

from members import BIN_DIR, LOCAL_CLUSTER, ROOT, cluster


def block_after(text, sentence):
    """The indented block of commands that follows a sentence."""
    match = re.search(re.escape(sentence) + r".*?\n\n((?:    [^\n]*\n)+)", text, re.DOTALL)
    if match is None:
        raise AssertionError(f"README.md has no commands after '{sentence}'")
    return [line.strip() for line in match.group(1).splitlines()]


class ReadmeTest(unittest.TestCase):
    def test_the_commands_by_hand_work_in_one_shell(self):
        commands = block_after((ROOT / "README.md").read_text(encoding="utf-8"), "By hand, after")
        self.assertGreater(len(commands), 8)
        with cluster() as directory:
            script, watching = ["set -eu"], None
            for command in commands:
                command = command.split("  #")[0].strip()
                # The reader's cluster is in the default place, this one is not.
                command = re.sub(r"deploy/local-cluster (\w+)", rf"{LOCAL_CLUSTER} \1 --dir "
                                 f"{directory}", command)
                command = command.replace("$PWD/build/release", str(BIN_DIR))
                if command.startswith("conclave watch"):
                    # "In another terminal": beside the others, until it has shown the change.
                    watching = directory / "watch.out"
                    script.append(f"{command} > {watching} & watcher=$!")
                elif command.startswith("conclave set"):
                    # The reader is slower than a shell: the watch is on when it shows a change.
                    script.append(f"until grep -q . {watching}; do {command}; done")
                    script.append("kill $watcher")
                else:
                    script.append(command)
            self.assertIsNotNone(watching)
            run = subprocess.run(["bash", "-c", "\n".join(script)], cwd=ROOT, text=True,
                                 capture_output=True, stdin=subprocess.DEVNULL, timeout=100,
                                 check=False)
            self.assertEqual(0, run.returncode, run.stdout + run.stderr)
            self.assertIn("first value", run.stdout)
            self.assertIn("second value", watching.read_text(encoding="utf-8"))
            self.assertRegex(run.stdout, r"token \d+")
            self.assertIn("is down", run.stdout)


if __name__ == "__main__":
    unittest.main()
