#!/usr/bin/env python3
"""Installs the client's package into an empty folder and builds a project that uses it.

Usage: install_test.py BUILD_DIR SOURCE_DIR WORK_DIR CXX_COMPILER
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys


def run(*command, **options):
    print("+", *command, flush=True)
    return subprocess.run([str(part) for part in command], check=True, text=True, **options)


def example_of(readme):
    """The first C++ program of the page."""
    match = re.search(r"```cpp\n(.*?)```", readme.read_text(), re.DOTALL)
    if match is None:
        sys.exit(f"{readme} has no C++ program")
    return match.group(1)


def check_exports(library):
    """Only the public interface is seen: two versions of Thrift in a process must not meet."""
    listing = run("nm", "-DC", "--defined-only", library, capture_output=True).stdout
    symbols = [line.split(maxsplit=2)[2] for line in listing.splitlines() if len(line.split()) > 2]
    if not any("conclave::Client::Connect" in symbol for symbol in symbols):
        sys.exit("conclave::Client::Connect is not exported")
    foreign = [symbol for symbol in symbols
               if re.search(r"apache::|^conclave::(internal|wire|idl)::|^event_", symbol)]
    if foreign:
        sys.exit("exported besides the public interface:\n  " + "\n  ".join(foreign[:20]))


def main():
    build, source, work, compiler = sys.argv[1:5]
    source = pathlib.Path(source)
    work = pathlib.Path(work)
    shutil.rmtree(work, ignore_errors=True)
    prefix = work / "prefix"
    run("cmake", "--install", build, "--component", "client", "--prefix", prefix)
    check_exports(next(prefix.rglob("libconclave.so")))

    example = work / "example.cc"
    example.write_text(example_of(source / "client" / "README.md"))
    consumer = work / "build"
    run("cmake", "-G", "Ninja", "-S", source / "tests" / "install" / "consumer", "-B", consumer,
        f"-DCMAKE_PREFIX_PATH={prefix}", f"-DCMAKE_CXX_COMPILER={compiler}",
        "-DCMAKE_CXX_FLAGS=-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror",
        f"-DEXAMPLE={example}")
    run("cmake", "--build", consumer)

    printed = run(consumer / "every_header", capture_output=True).stdout
    if not re.fullmatch(r"\d+\.\d+\.\d+ \[::1\]:9001 no such znode\n", printed):
        sys.exit(f"every_header printed {printed!r}")
    # Nobody listens on port 1: the program says so, and what it could not reach.
    failed = subprocess.run([consumer / "example"], text=True, capture_output=True, check=False,
                            env=os.environ | {"CONCLAVE_ENDPOINTS": "127.0.0.1:1"})
    if failed.returncode != 2 or "127.0.0.1:1" not in failed.stderr:
        sys.exit(f"the example ended with {failed.returncode}: {failed.stderr}")


if __name__ == "__main__":
    main()
