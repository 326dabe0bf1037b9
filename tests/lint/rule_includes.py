"""Includes against the table of folders in coord/ARCHITECTURE.md."""

import re

from source_tree import Finding, strip_cpp

# folder -> prefixes that an #include "..." in it may name. The longest folder that matches counts.
ALLOWED = {
    "consensus/": ("consensus/",),
    "coord/tree/": ("coord/tree/",),
    # Types of consensus only: what is logged and what is read back, never the algorithm.
    "persist/": ("persist/", "consensus/types.h", "consensus/configuration.h",
                 "consensus/storage.h", "consensus/entry_codec.h", "consensus/little_endian.h"),
    "coord/server/": ("coord/server/", "coord/tree/", "consensus/", "persist/"),
    "thrift/wire/": ("thrift/",),
    "thrift/idl/": ("thrift/idl/",),
    # How entries look as bytes, which the wire and the disk share.
    "coord/doors/": ("coord/doors/", "coord/server/", "thrift/", "consensus/entry_codec.h",
                     "consensus/little_endian.h"),
    "client/": ("client/", "conclave/", "thrift/"),
    # main.cc and what stands beside it build the parts and hand them over.
    "coord/": ("coord/", "consensus/", "persist/", "thrift/"),
}

# folder -> headers from outside that it does not know, by regular expression on <...>.
_PURE = (r"thrift/", r"conclave_idl/", r"leveldb/", r"event2/", r"openssl/", r"prometheus/",
         r"gflags/", r"thread$", r"mutex$", r"shared_mutex$", r"condition_variable$", r"future$",
         r"stop_token$", r"fstream$", r"iostream$", r"filesystem$", r"ctime$",
         r"time\.h$", r"chrono$",
         r"random$", r"sys/", r"unistd\.h$", r"netinet/", r"arpa/", r"fcntl\.h$")
FORBIDDEN_OUTSIDE = {
    "consensus/": _PURE,
    "coord/tree/": _PURE,
    "persist/": (r"thrift/", r"conclave_idl/", r"event2/", r"prometheus/", r"gflags/"),
    "coord/server/": (r"thrift/", r"conclave_idl/", r"event2/", r"gflags/", r"sys/socket\.h$",
                      r"netinet/"),
    "coord/doors/": (r"leveldb/", r"gflags/"),
    "thrift/": (r"leveldb/", r"gflags/", r"prometheus/"),
    "client/": (r"leveldb/", r"gflags/", r"prometheus/"),
    # What applications include must not drag Thrift, Boost or libevent into them.
    "client/include/": (r"thrift/", r"conclave_idl/", r"boost/", r"event2/", r"fmt/", r"absl/",
                        r"glog/", r"leveldb/"),
}

_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(?:"([^"\n]+)"|<([^>\n]+)>)', re.MULTILINE)


def _longest(table, path):
    folders = [folder for folder in table if path.startswith(folder)]
    return max(folders, key=len) if folders else None


def check(tree):
    findings = []
    for path in tree.cpp():
        folder = _longest(ALLOWED, path)
        if folder is None:
            continue
        forbidden = [pattern for prefix, patterns in FORBIDDEN_OUTSIDE.items()
                     if path.startswith(prefix) for pattern in patterns]
        text = strip_cpp(tree.text(path), keep_strings=True)
        for match in _INCLUDE.finditer(text):
            ours, outside = match.groups()
            line = text.count("\n", 0, match.start(0)) + 1
            if ours is not None and not ours.startswith(ALLOWED[folder]):
                findings.append(Finding(path, line, f'{folder} may not include "{ours}"'))
            if outside is not None and any(re.match(pattern, outside) for pattern in forbidden):
                findings.append(Finding(path, line, f"{folder} may not include <{outside}>"))
    return findings
