#!/usr/bin/env python3
"""Checks the sources against the rules of the house.

Usage: lint.py [--root DIR] [RULE]...       (no rule: all of them)

Exit status: 0 nothing found, 1 findings (one a line: path:line: what), 2 usage.
"""

import argparse
import pathlib
import sys

import rule_banned
import rule_includes
import rule_registered
import rule_size
import rule_text
import rule_tools
from source_tree import Tree

RULES = {
    "includes": rule_includes.check,
    "banned": rule_banned.check,
    "size": rule_size.check,
    "registered": rule_registered.check,
    "text": rule_text.check,
    "format": rule_tools.check_format,
    "scripts": rule_tools.check,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default=pathlib.Path(__file__).resolve().parents[2])
    parser.add_argument("rules", nargs="*", metavar="RULE", help=", ".join(RULES))
    arguments = parser.parse_args()
    for rule in arguments.rules:
        if rule not in RULES:
            parser.error(f"no rule '{rule}'; there are: {', '.join(RULES)}")
    tree = Tree(arguments.root)
    if not tree.files:
        parser.error(f"no files below {tree.root}")
    findings = [(rule, finding) for rule in (arguments.rules or RULES)
                for finding in RULES[rule](tree)]
    for rule, finding in findings:
        print(f"{finding} [{rule}]")
    print(f"{len(findings)} findings in {len(tree.files)} files")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
