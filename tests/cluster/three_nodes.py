#!/usr/bin/env python3
"""deploy/three-nodes as somebody who tries it types it: what it prints is run as it stands, a node that was killed a moment ago is started again,
and an `up` that was interrupted leaves nothing that `up`, `status` and `down` do not find.

A node that is killed here stays a zombie until this program ends, as in a container whose first process waits for nobody."""
import contextlib
import ctypes
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from checks import check, equal, finish, guarded, wait_until  # noqa: E402
from node import ROOT, binary, scratch  # noqa: E402

PR_SET_CHILD_SUBREAPER = 36
HERE = scratch("three-nodes")
BASE = os.path.join(HERE, "nodes")
# a home of its own: the daemon notes there which node was started last, and that is the user's, not ours
TYPED = {"cwd": ROOT, "env": dict(os.environ, SLUICE_NO_INSTALL="1", XDG_CONFIG_HOME=os.path.join(HERE, "config")),
         "stdin": subprocess.DEVNULL}


def typed(*words):
    """(exit code, everything it said)"""
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300, check=False, **TYPED)
    return done.returncode, done.stdout


def three_nodes(action, *more):
    return typed("deploy/three-nodes", action, BASE, *more)


def commands():
    """The command line of each process that names BASE, whoever started it."""
    for process in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{process}/cmdline", encoding="utf-8", errors="replace") as file:    # it may have ended
            words = file.read().split("\0")
            if any(word.startswith(BASE) for word in words):
                yield words


def running():
    """The directories that are served."""
    return sorted(words[1] for words in commands() if words[0].endswith("/sluiced"))


def on_their_way():
    """What the script has begun that is no node yet."""
    return [words for words in commands() if not words[0].endswith("/sluiced")]


def typed_as_printed():
    code, said = three_nodes("up")
    check(code == 0, "up", said)
    check("replicas:3/3 path:tcp" in said and "carried by    tcp on lo" in said, "it says that TCP carried the object, to all three", said)
    words = re.sub(r"(?m)^ *aws .*\n", "", said.split("What to try next:\n", 1)[1])
    code, said = typed("bash", "-e", "-o", "pipefail", "-c", words)
    check(code == 0, "what it prints, typed as fast as a shell can, `up` at once after kill -9: each line does what it says", said[-3000:])
    equal(re.findall(r"replicas:\d/\d path:\w+", said)[:2], ["replicas:3/3 path:tcp", "replicas:2/3 path:tcp"],
          "the PUT before the kill is on three of three, the one after it on two")
    equal(running(), [], "its last line has stopped all three")


def interrupted():
    with subprocess.Popen(["deploy/three-nodes", "up", BASE], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **TYPED) as process:
        check(wait_until(running, 60, 0.01), "up has begun to start nodes, and is killed")
        process.kill()
    check(wait_until(lambda: not on_their_way(), 30, 0.01), "what it had begun becomes nodes all the same", on_their_way)


def killed_halfway():
    interrupted()
    code, said = three_nodes("down")
    check(code == 0, "down", said)
    equal(running(), [], "it stops what was starting")
    interrupted()
    code, said = three_nodes("up")
    check(code == 0, "up: it waits for what is starting", said)
    code, said = three_nodes("status")
    check(code == 0 and "3 of 3 nodes in sync" in said, "status: three of three", said)


def bad_ports():
    for port in ("0", "9x", "65511", "70000"):
        code, said = typed("deploy/three-nodes", "up", os.path.join(HERE, "none"), "--port", port)
        check(code == 1 and "--port wants a number" in said, f"up --port {port} is refused, and nothing made", said)
    check(not os.path.exists(os.path.join(HERE, "none")), "no directory is left behind")


def main():
    binary("server/sluiced")
    if ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError("prctl")
    try:
        for text, section in (("typed as printed", typed_as_printed), ("killed halfway", killed_halfway), ("bad ports", bad_ports)):
            with guarded(text):
                section()
    finally:
        code, said = three_nodes("down")
        check(code == 0 and not running(), "down, at the end", said)
    finish()


main()
