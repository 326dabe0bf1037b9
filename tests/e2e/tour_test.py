#!/usr/bin/env python3
"""The tour, the same script that deploy/quickstart runs, with fewer files and rounds."""

import argparse
import pathlib
import subprocess
import sys

from members import BIN_DIR, ROOT, cluster


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tree", type=pathlib.Path, required=True)
    options = parser.parse_args()
    with cluster() as directory:
        run = subprocess.run(
            [ROOT / "deploy" / "tour", "--dir", directory, "--bin-dir", BIN_DIR,
             "--tree", options.tree, "--rounds", "40"],
            stdin=subprocess.DEVNULL, cwd="/", check=False)
        if run.returncode != 0:
            raise AssertionError(f"the tour ended with status {run.returncode}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
