"""A cluster of real members for a test: its own directory, its own ports, gone at the end."""

import contextlib
import os
import pathlib
import shutil
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
LOCAL_CLUSTER = ROOT / "deploy" / "local-cluster"
# Set by CMakeLists.txt: where conclaved and conclave of this build are.
BIN_DIR = pathlib.Path(os.environ.get("CONCLAVE_BIN_DIR", ROOT / "build" / "release"))


def local_cluster(directory, verb, *arguments, check=True):
    run = subprocess.run([LOCAL_CLUSTER, verb, "--dir", directory, *map(str, arguments)],
                         capture_output=True, text=True, timeout=120, check=False)
    if check and run.returncode != 0:
        raise AssertionError(f"local-cluster {verb}: {run.stdout}{run.stderr}")
    return run


@contextlib.contextmanager
def cluster(nodes=3, *flags):
    """Yields the directory of a running cluster. Its logs are printed when the test fails."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="conclave-e2e-"))
    try:
        extra = ["--", *flags] if flags else []
        local_cluster(directory, "up", "--nodes", nodes, "--base-port", 0, "--bin-dir", BIN_DIR,
                      *extra)
        yield directory
    except BaseException:
        for log in sorted(directory.glob("*/log")):
            text = log.read_text(encoding="utf-8", errors="replace").splitlines()
            print(f"--- member {log.parent.name}", *text[-30:], sep="\n", flush=True)
        raise
    finally:
        if (directory / "local-cluster.json").exists():
            local_cluster(directory, "down", check=False)
        shutil.rmtree(directory)


def endpoints(directory):
    return local_cluster(directory, "endpoints").stdout.strip()
