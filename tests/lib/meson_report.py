#!/usr/bin/env python3
"""meson_report.py BUILD: the single cmocka tests of the last `meson test` run, as `ok`/`not ok` lines.

meson counts programs; a program here holds dozens of tests. They speak TAP (CMOCKA_MESSAGE_OUTPUT=TAP), which meson keeps in
its JSON log. A program that crashed, hung or was stopped by a sanitizer is one more failure, with what it said.
"""
import itertools
import json
import os
import re
import sys


def reasons(program):
    """What cmocka says of failed assertions, wherever in a long output it stands."""
    said = "\n".join(program.get(stream, "") for stream in ("stdout", "stderr"))
    return [line for line in said.splitlines() if re.match(r"#\s*\S", line) and not re.match(r"# (ok|not ok) - ", line)]


def sanitizer_reports(program):
    """What TSan, ASan and UBSan say, from their first line to their summary: it may stand far before the end of what a program says."""
    for stream in ("stdout", "stderr"):
        is_within = False
        for line in program.get(stream, "").splitlines():
            is_within |= bool(re.search(r"WARNING: ThreadSanitizer|ERROR: (Address|Leak)Sanitizer|runtime error:", line))
            if is_within:
                yield line
            is_within &= not line.startswith("SUMMARY:")


def report(program):
    name, text = program["name"].split(" / ")[-1], program.get("stdout", "")
    failed = 0
    for line in text.splitlines():
        match = re.match(r"(not )?ok \d+ - (.*)", line.strip())
        if match:
            failed += bool(match[1])
            print(f"{match[1] or ''}ok - {name}: {match[2]}")
            if match[1]:
                for reason in reasons(program)[:12]:
                    print(f"    {reason}")
    if program["result"] in ("SKIP",):
        print(f"skip - {name}")
    elif program["result"] not in ("OK", "EXPECTEDFAIL"):
        if failed == 0:
            print(f"not ok - {name}: {program['result']} (exit code {program.get('returncode')})")
        for line in itertools.islice(sanitizer_reports(program), 60):
            print(f"    {line}")
        for stream in ("stdout", "stderr"):
            for line in program.get(stream, "").splitlines()[-60:]:
                print(f"    {line}")
    elif not re.search(r"^ok \d+", text, re.M):
        print(f"ok - {name}")


def main():
    path = f"{sys.argv[1]}/meson-logs/testlog.json"
    if not os.path.exists(path):
        print(f"not ok - no test of {sys.argv[1]} could be run: it is not built")
        return
    with open(path, encoding="utf-8") as log:
        for line in log:
            report(json.loads(line))


main()
