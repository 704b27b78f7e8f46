"""splice without pipes: the node has run out of descriptors, or its user of pipe pages. Another path goes on with the right bytes, counted by
its reason; who requires splice is told why not; and when there is room again, it is splice again. A part of the suite `paths`.
"""
import os
import random
import socket
import subprocess
import sys

from checks import check, equal, guarded, skip, wait_until
from node import Node

BUCKET = "pipes"
MIB = 1 << 20
BODY = random.Random(31).randbytes(3 * MIB + 777)
FILES_MAX = 256
SPLICING = ("splice", "ring-splice")
USER = 61234                                            # nobody's: its pipes are counted apart from all others'
# Takes pipe pages until there are none for this user, says so, and keeps them until its input ends.
HOG = """
import fcntl, os, sys
ends = []
while True:
    ends.append(os.pipe())
    try:
        if fcntl.fcntl(ends[-1][0], 1031, 1 << 20) < 1 << 20:
            break
    except PermissionError:
        break
print(len(ends), flush=True)
sys.stdin.read()
"""


def get(client, path, require=None):
    headers = {"x-sluice-path": path, **({"x-sluice-require-path": require} if require else {})}
    return client.get(BUCKET, "body", headers=headers)


def fallbacks(node):
    return node.metrics()['sluice_http_path_fallbacks_total{reason="no_pipe"}']


def stored(node):
    client = node.client()
    equal(client.make_bucket(BUCKET).status, 200, "CreateBucket")
    equal(client.put(BUCKET, "body", BODY).status, 200, "PUT")
    return client


def falls_back(node, client, why):
    for path in SPLICING:
        before = fallbacks(node)
        answer = get(client, path)
        check(answer.status == 200 and answer.body == BODY, f"{why}: {path} has the right bytes all the same", repr(answer))
        equal(fallbacks(node) - before, 1, f"{why}: {path} is counted as a fallback for want of a pipe")
        equal(answer.headers.get("x-sluice-path"), "sendfile", f"{why}: the receipt names the path that served")
        check(wait_until(lambda path=path: f"via={path}>sendfile" in node.log(), 10), f"{why}: {path} hands over to sendfile, the log says")
        answer = get(client, path, require=path)
        equal((answer.status, "all pipes are in use" in answer.body.decode(errors="replace")), (503, True), f"{why}: required, it is 503 with the reason")


def is_back(client, why):
    for path in SPLICING:
        answer = get(client, path, require=path)
        check(answer.status == 200 and answer.body == BODY and answer.headers.get("x-sluice-path") == path, f"{why}: {path} again", repr(answer))


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def without_descriptors():
    """Idle connections take all descriptors but one; a pipe wants two."""
    why = "no descriptors"
    with Node("no-descriptors", wrapper=["prlimit", f"--nofile={FILES_MAX}:{FILES_MAX}"], args=["--set", "log.access=yes", "--set", "s3.workers=1"],
              tls=False) as node:
        client = stored(node)
        get(client, "sendfile")                         # what it opens is open
        fallbacks(node)                                 # and of the admin port
        host, _, port = node.s3.rpartition(":")
        idle = []
        while (used := descriptors(node.pid)) < FILES_MAX - 1 and len(idle) < FILES_MAX:
            idle.append(socket.create_connection((host, int(port)), 20))
            wait_until(lambda used=used: descriptors(node.pid) > used, 5, 0.002)
        equal(descriptors(node.pid), FILES_MAX - 1, f"{why}: one is left")
        falls_back(node, client, why)
        for connection in idle:
            connection.close()
        check(wait_until(lambda: descriptors(node.pid) < FILES_MAX // 2, 20), f"{why}: there are some again")
        is_back(client, f"{why} no more")


def why_no_user(base):
    if os.geteuid() != 0:
        return "another user's pipes take root"
    done = subprocess.run(as_user([sys.executable, "-c", f"import os; os.mkdir({base!r} + '/probe')"]), capture_output=True, text=True, check=False)
    return f"another user cannot work here: {done.stderr.strip().splitlines()[-1]}" if done.returncode != 0 else None


def as_user(command):
    return ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--", *command]


def without_pages():
    """The user's pipes have as many pages as fs.pipe-user-pages-soft allows: new ones are of two pages, which is too few to splice by."""
    why = "no pipe pages"
    node = Node("no-pipe-pages", wrapper=as_user([]), args=["--set", "log.access=yes", "--set", "s3.workers=1"], tls=False)
    os.chown(node.base, USER, USER)
    reason = why_no_user(node.base)
    if reason:
        skip("pipes of two pages", reason)
        return
    with node:
        client = stored(node)
        with subprocess.Popen(as_user([sys.executable, "-c", HOG]), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as hog:
            check(int(hog.stdout.readline()) > 1, f"{why}: another process of the user has them all")
            falls_back(node, client, why)
            hog.stdin.close()
        is_back(client, f"{why} no more")


def run():
    for part in (without_descriptors, without_pages):
        with guarded(part.__name__):
            part()
