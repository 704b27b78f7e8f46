"""A disk that fails under a running node, by device mapper: writes that fail, then everything. No wrong byte, no false answer, no loss.

A failed fdatasync fails the volume for good: what the kernel has not written it may have forgotten, and asking again would be answered by a
lie. So the node says no from then on, and a restart on a sound disk finds all that was acknowledged.
"""
import os
import random
import urllib.error
import urllib.request

from checks import check, equal, finish, guarded
from node import Node, NotReady
import lab
import sigv4

BUCKET = "faulty"
SIZES = [700, 65536, 3 << 20]
DEVICE, NAME = "/dev/vda", "faulty"


class FaultyDisk:
    """A mapping whose table is changed under a mounted file system, with I/O in flight."""

    def __init__(self):
        lab.modprobe("dm_flakey")
        self.sectors, self.path = lab.run("blockdev", "--getsz", DEVICE).strip(), f"/dev/mapper/{NAME}"
        lab.run("dmsetup", "create", NAME, "--table", self.table("sound"))

    def table(self, state):
        return {"sound": f"0 {self.sectors} linear {DEVICE} 0",
                "writes fail": f"0 {self.sectors} flakey {DEVICE} 0 0 3600 1 error_writes",       # up 0 s, down 3600 s
                "all fails": f"0 {self.sectors} error"}[state]

    def become(self, state):
        """Neither flushed nor frozen beforehand: a disk does not announce its failure."""
        lab.run("dmsetup", "suspend", "--noflush", "--nolockfs", NAME)
        lab.run("dmsetup", "load", NAME, "--table", self.table(state))
        lab.run("dmsetup", "resume", NAME)

    def close(self):
        lab.run("dmsetup", "remove", NAME)


def ready(node):
    try:
        with urllib.request.urlopen(f"http://{node.admin}/readyz", timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def get_told(node, key):
    """(status, body), or ("cut", what came) when the connection ended short."""
    client = node.client()
    try:
        answer = client.get(BUCKET, key)
        return answer.status, answer.body
    except Exception as error:  # pylint: disable=broad-except
        return "cut", repr(error).encode()
    finally:
        client.close()


def store(node, bodies):
    client = node.client()
    equal(client.make_bucket(BUCKET).status, 200, "CreateBucket")
    for key, body in bodies.items():
        equal(client.put(BUCKET, key, body, payload=sigv4.UNSIGNED).status, 200, f"PUT {key} on a sound disk")


def no_wrong_bytes(node, bodies, when):
    for key, body in bodies.items():
        status, got = get_told(node, key)
        check(got == body if status == 200 else status in (500, 503, "cut"), f"GET {key} {when}: {status}, the right bytes or none",
              f"{len(got)} bytes: {got[:200]}")


def writes_fail(node, disk, bodies):
    disk.become("writes fail")
    client = node.client()
    for size in SIZES:
        answer = client.put(BUCKET, f"late/{size}", b"l" * size, payload=sigv4.UNSIGNED)
        check(answer.status in (500, 503), f"PUT of {size} bytes on a disk that writes nothing: {answer.status}", repr(answer))
    check(node.process.poll() is None, "the node lives", lambda: node.log()[-2000:])
    equal(ready(node), 503, "and is not ready any more")
    no_wrong_bytes(node, bodies, "while writes fail")


def after(disk, bodies, text):
    """On the sound disk again: everything acknowledged, and of the rest nothing half."""
    disk.become("sound")
    directory = lab.mount(disk.path, "ext4", "/mnt/faulty")
    node = Node("lab-after", directory=f"{directory}/data", keep=True)
    code, said = node.fsck("--data")
    check(code == 0, f"{text}: fsck --data finds nothing", said[-2000:])
    try:
        node.start()
    except NotReady as error:
        check(False, f"{text}: the node starts", str(error))
        return
    for key, body in bodies.items():
        check(get_told(node, key) == (200, body), f"{text}: {key} is there")
    for size in SIZES:
        status, got = get_told(node, f"late/{size}")
        check(status == 404 or (status, got) == (200, b"l" * size), f"{text}: late/{size} is absent or whole", f"{status}, {len(got)} bytes")
    node.stop()
    lab.unmount(directory)


def failing(disk, state, under, bodies):
    """One life of a node whose disk fails."""
    directory = lab.mount(disk.path, "ext4", "/mnt/faulty")
    node = Node(f"lab-{state.replace(' ', '-')}", directory=f"{directory}/data").start()
    try:
        under(node, disk, bodies)
        check(node.terminate() is not None, f"{state}: SIGTERM ends it in time", lambda: node.log()[-2000:])
    finally:
        if node.process.poll() is None:
            node.kill()
        lab.unmount(directory)


def all_fails(node, disk, bodies):
    disk.become("all fails")
    no_wrong_bytes(node, bodies, "on a dead disk")
    answer = node.client().put(BUCKET, "late/700", b"l" * 700, payload=sigv4.UNSIGNED)
    check(answer.status in (500, 503), f"PUT on a dead disk: {answer.status}", repr(answer))
    check(node.process.poll() is None, "the node lives on a dead disk", lambda: node.log()[-2000:])


def main():
    disk = FaultyDisk()
    bodies = {f"early/{size}": random.Random(size).randbytes(size) for size in SIZES}
    lab.unmount(lab.format_and_mount(disk.path, "ext4", "/mnt/faulty"))
    with guarded("writes fail"):
        failing(disk, "writes fail", lambda node, disk, bodies: (store(node, bodies), writes_fail(node, disk, bodies)), bodies)
        after(disk, bodies, "after failed writes")
    with guarded("all fails"):
        failing(disk, "all fails", all_fails, bodies)
        after(disk, bodies, "after a dead disk")
    disk.close()
    finish()


main()
