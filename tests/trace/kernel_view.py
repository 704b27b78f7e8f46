#!/usr/bin/env python3
"""What the kernel saw of a PUT and of a GET: zero copy and durability as facts, not as claims.

strace sees system calls: how segment files were opened, fdatasync, sendfile, splice, and that no read or write carried the body. What io_uring
does it cannot see; for that the kernel's own tracepoint io_uring_submit_req tells the opcode of each request, where tracefs can be
mounted. strace needs ptrace and the tracepoint needs root: what cannot be had here is skipped and says so.
"""
import collections
import os
import random
import re
import shutil
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from checks import check, equal, finish, guarded, note, skip  # noqa: E402
from node import Node, NotReady, OUT  # noqa: E402
from pages import resident  # noqa: E402
import sigv4  # noqa: E402

MIB = 1 << 20
BUCKET = "seen"
BODY = 24 * MIB
CALLS = ("openat,open,read,readv,pread64,preadv,preadv2,write,writev,pwrite64,pwritev,pwritev2,fdatasync,fsync,sync_file_range,sendfile,"
         "splice,vmsplice,tee,sendto,sendmsg,recvfrom,recvmsg,mmap,io_uring_register,io_uring_setup,fallocate,copy_file_range")
LINE = re.compile(r"^(\d+) +(\d+\.\d+) (\w+)\((.*)\) += +(-?\d+|0x[0-9a-f]+|\?)(.*)$")
SEGMENT = re.compile(r"/seg/[0-9a-f]{8}")

Call = collections.namedtuple("Call", "tid start name args result took")


def parse(path):
    """The calls of a strace log, in order of their start; calls cut by another thread are put together again."""
    calls, open_calls = [], {}
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            line = line.rstrip("\n")
            tid = line.split(" ", 1)[0]
            if line.endswith("<unfinished ...>"):
                open_calls[tid] = line[:-len("<unfinished ...>")].rstrip()
                continue
            resumed = re.match(r"^\d+ +\d+\.\d+ <\.\.\. \w+ resumed>(.*)$", line)
            if resumed and tid in open_calls:
                line = open_calls.pop(tid) + resumed[1]
            found = LINE.match(line)
            if not found:
                continue
            took = re.search(r"<(\d+\.\d+)>$", found[6])
            result = int(found[5], 0) if found[5] != "?" else -1
            calls.append(Call(int(found[1]), float(found[2]), found[3], found[4], result, float(took[1]) if took else 0.0))
    return calls


def between(calls, first, last):
    return [call for call in calls if first <= call.start <= last]


def on_segment(call):
    return SEGMENT.search(call.args) is not None


class Tracepoint:
    """An own instance of the kernel's trace buffer with io_uring_submit_req switched on."""

    def __init__(self, pid):
        self.pid, self.mounted = pid, False
        self.base = "/sys/kernel/tracing"
        if not os.path.isdir(f"{self.base}/events"):
            subprocess.run(["mount", "-t", "tracefs", "tracefs", self.base], check=True, capture_output=True)
            self.mounted = True
        self.instance = f"{self.base}/instances/sluice-{os.getpid()}"
        os.mkdir(self.instance)
        self.write("events/io_uring/io_uring_submit_req/enable", "1")

    def write(self, name, text):
        with open(f"{self.instance}/{name}", "w", encoding="ascii") as file:
            file.write(text)

    def clear(self):
        self.write("trace", "")

    def opcodes(self):
        """{opcode: how often} of the node's threads since clear()."""
        threads = set(os.listdir(f"/proc/{self.pid}/task"))
        with open(f"{self.instance}/trace", encoding="utf-8", errors="replace") as file:
            found = re.findall(r"-(\d+) +\[\d+\].*opcode (\w+)", file.read())
        return collections.Counter(opcode for tid, opcode in found if tid in threads)

    def close(self):
        self.write("events/io_uring/io_uring_submit_req/enable", "0")
        os.rmdir(self.instance)
        if self.mounted:
            subprocess.run(["umount", self.base], check=False)


def timed(call):
    began = time.time()
    answer = call()
    return answer, began, time.time()


def cached_bytes(node):
    """How much of the segment files is in the page cache."""
    files = [os.path.join(node.dir, "seg", name) for name in os.listdir(f"{node.dir}/seg")]
    done = subprocess.run(["fincore", "--bytes", "--noheadings", "--output", "RES", *files], capture_output=True, text=True, check=True)
    return sum(map(int, done.stdout.split()))


def without_strace(tracepoint_of):
    """The tracepoint's part, on a node that runs at full speed."""
    with Node("trace-ring") as node:
        client = node.client()
        client.make_bucket(BUCKET)
        body = random.Random(9).randbytes(BODY)
        try:
            tracepoint = tracepoint_of(node.pid)
        except (OSError, subprocess.CalledProcessError) as error:
            skip("io_uring opcodes", f"the kernel's tracepoints cannot be had here: {error}")
            return
        try:
            tracepoint.clear()
            before = cached_bytes(node)
            equal(client.put(BUCKET, "body", body, payload=sigv4.UNSIGNED).status, 200, "PUT of 24 MiB")
            seen = tracepoint.opcodes()
            note(f"PUT: {dict(seen)}")
            check(seen["WRITE_FIXED"] > 0, "PUT: the data goes by WRITE_FIXED, out of registered buffers", dict(seen))
            check(seen["WRITE"] == 0 and seen["WRITEV"] == 0, "PUT: no write out of other memory", dict(seen))
            grown = cached_bytes(node) - before
            check(grown < BODY // 10, "PUT: the page cache does not see the data", f"{grown} bytes of it are cached")
            tracepoint.clear()
            answer = client.get(BUCKET, "body")
            check(answer.body == body, "GET: the same bytes")
            note(f"first GET: path {answer.headers.get('x-sluice-path')}, {dict(tracepoint.opcodes())}")
        finally:
            tracepoint.close()


def opened_rightly(calls):
    opens = [call for call in calls if call.name in ("open", "openat") and on_segment(call) and call.result >= 0]
    writable = [call for call in opens if "O_RDWR" in call.args or "O_WRONLY" in call.args]
    check(writable and all("O_DIRECT" in call.args for call in writable), "each segment file open for writing is O_DIRECT",
          "\n".join(call.args for call in writable) or "no segment was opened")
    registered = [call for call in calls if call.name == "io_uring_register" and "REGISTER_BUFFERS" in call.args and call.result >= 0]
    check(registered, "the arena is registered with the rings (IORING_REGISTER_BUFFERS)")


def is_segment_header(call):
    """The two copies of a new segment's header: segments are made ahead, perhaps just now."""
    return call.name == "pwrite64" and call.result == 4096 and re.search(r", 4096, (0|4096)$", call.args) is not None


def put_as_seen(calls, began, ended):
    seen = between(calls, began, ended)
    carried = [call for call in seen if call.name.startswith(("write", "pwrite")) and (on_segment(call) or call.result >= 65536)
               and not is_segment_header(call)]
    equal([call[:4] for call in carried], [], "PUT: no write() carried data")
    synced = [call for call in seen if call.name in ("fdatasync", "fsync") and on_segment(call) and call.result == 0]
    check(synced, "PUT: fdatasync of the segment")
    check(synced and max(call.start + call.took for call in synced) < ended, "PUT: and it ended before the response came",
          lambda: f"synced until {max((c.start + c.took for c in synced), default=0)}, response at {ended}")
    index = [call for call in seen if call.name in ("fdatasync", "fsync", "sync_file_range") and not on_segment(call) and call.result == 0]
    check(index and synced and index[-1].start >= min(call.start for call in synced), "PUT: the index is synced after the data",
          [(call.name, call.args[:120]) for call in seen if "sync" in call.name])


def get_as_seen(calls, began, ended, size):
    seen = between(calls, began, ended)
    moved = [call for call in seen if call.name in ("sendfile", "splice") and on_segment(call) and call.result > 0]
    equal(sum(call.result for call in moved), size, "warm GET: the whole body went from the segment into a pipe, page by page")
    equal({call.name for call in moved}, {"splice"}, "warm GET: by splice, as its receipt says")
    onward = [call for call in seen if call.name == "splice" and not on_segment(call) and call.result > 0]
    equal(sum(call.result for call in onward), size, "warm GET: and on from the pipe into the socket")
    copied = [call for call in seen if call.name.startswith(("read", "pread")) and on_segment(call)]
    equal([call[:4] for call in copied], [], "warm GET: no read() of the segment")
    pushed = [call for call in seen if call.name in ("write", "writev", "sendto", "sendmsg") and call.result >= 65536]
    equal([call[:4] for call in pushed], [], "warm GET: no send of bytes from user space but the head")
    mapped = [call for call in seen if call.name == "mmap" and on_segment(call)]
    equal([call[:4] for call in mapped], [], "warm GET: the segment is not mapped")


def under_strace():
    log = os.path.join(OUT, "strace.log")
    node = Node("trace", wrapper=["strace", "-f", "-ttt", "-T", "-yy", "-s", "0", "-e", f"trace={CALLS}", "-e", "signal=none", "-o", log])
    try:
        node.start()
    except NotReady as error:
        check(False, "a node starts under strace", str(error))
        return
    marks = {}
    with guarded("requests under strace"):
        client = node.client(timeout_s=120)
        client.make_bucket(BUCKET)
        body = random.Random(9).randbytes(BODY)
        answer, *marks["put"] = timed(lambda: client.put(BUCKET, "body", body, payload=sigv4.UNSIGNED))
        equal(answer.status, 200, "PUT of 24 MiB under strace")
        equal(answer.headers.get("x-sluice-durable", "").split()[:1], ["local:fdatasync"], "its receipt says local:fdatasync")
        with resident(node, BUCKET, "body"):
            for _ in range(6):                          # the first reads check the sums; what is read again is warm
                answer, *marks["get"] = timed(lambda: client.get(BUCKET, "body"))
        equal(answer.headers.get("x-sluice-path"), "splice", "a warm GET of that size says it was sent by splice")
        check(answer.body == body, "and its bytes are the same")
    equal(node.terminate(), 0, "SIGTERM drains and exits 0 under strace")
    calls = parse(log)
    note(f"{len(calls)} system calls in {os.path.relpath(log)}")
    opened_rightly(calls)
    if "put" in marks:
        put_as_seen(calls, *marks["put"])
    if "get" in marks:
        get_as_seen(calls, *marks["get"], BODY)


def main():
    with guarded("tracepoints"):
        without_strace(Tracepoint)
    works = shutil.which("strace") and subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, check=False)
    if not works or works.returncode != 0:
        skip("system calls", "strace cannot trace here (ptrace is forbidden, or strace is missing): try as root outside the container")
    else:
        with guarded("strace"):
            under_strace()
    finish()


main()
