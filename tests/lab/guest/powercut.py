"""Power cuts under load, on ext4 and on XFS: what was acknowledged is on the disk, whole, and nothing else is half.

A node works on a disk whose writes are logged in the order of their durability (logwrites.py). At some moments, in the middle of several
PUTs and DELETEs, the state of the client's knowledge is noted and then the log is marked. Afterwards each mark is played to an empty disk:
all that had been flushed before it, and by chance what lay in the disk's cache. That disk is mounted, checked by fsck and served:

    acknowledged before the mark     must be there, or a later version of the same key
    under way at the mark            may be there, but whole
    never written                    must not be there

This finds what kill -9 cannot: a fdatasync that was forgotten, or came after the answer.
"""
import os
import random
import threading
import time

from checks import check, equal, finish, guarded, note
from node import Node, NotReady
from logwrites import Log, LoggedDisk
import lab
import sigv4

BUCKET, WRITERS, KEYS = "cut", 3, 8
SIZES = (0, 700, 16384, 16385, 65536, 300_000, 1_500_000)
SEED = int(os.environ.get("LAB_SEED") or int.from_bytes(os.urandom(3), "big"))
BLOB = random.Random(1).randbytes(2 << 20)
FILE_SYSTEMS = {"ext4": ["/dev/vdc", "/dev/vdd"], "xfs": ["/dev/vde", "/dev/vdf"]}       # and a disk for each cut


class Key:
    """versions[i] is a body, None when deleted; the first is "never written". Owned by one writer."""

    def __init__(self, name):
        self.name, self.versions, self.acknowledged = name, [None], 0

    def next_body(self, chance):
        size, start = chance.choice(SIZES), chance.randrange(1 << 16)
        stamp = f"{self.name} {len(self.versions)} ".encode()
        return (stamp + BLOB[start:start + size])[:size]


class Load:
    """Writers that go on until stop(); each change is a version, and acknowledged when the answer has come."""

    def __init__(self, node, chance):
        self.node, self.is_over, self.errors = node, threading.Event(), []
        self.writers = [[Key(f"{writer}/{number}") for number in range(KEYS)] for writer in range(WRITERS)]
        self.threads = [threading.Thread(target=self.write, args=(keys, random.Random(chance.random()))) for keys in self.writers]

    def write(self, keys, chance):
        client = self.node.client()
        try:
            while not self.is_over.is_set():
                key = chance.choice(keys)
                body = None if key.versions[-1] is not None and chance.random() < 0.2 else key.next_body(chance)
                key.versions.append(body)
                answer = client.delete(BUCKET, key.name) if body is None else client.put(BUCKET, key.name, body, payload=sigv4.UNSIGNED)
                if answer.status not in (200, 204):
                    raise RuntimeError(f"{key.name}: {answer}")
                key.acknowledged = len(key.versions) - 1
        except Exception as error:  # pylint: disable=broad-except
            self.errors.append(repr(error))

    def keys(self):
        return [key for keys in self.writers for key in keys]

    def stop(self):
        self.is_over.set()
        for thread in self.threads:
            thread.join()


def work(kind, marks, chance):
    """Returns the load's keys, and for each mark the version acknowledged of each key."""
    known = {}
    with LoggedDisk("/dev/vda", "/dev/vdb") as disk:
        directory = lab.format_and_mount(disk.path, kind, "/mnt/worked")
        with Node(f"lab-cut-{kind}", directory=f"{directory}/data") as node:
            equal(node.client().make_bucket(BUCKET).status, 200, f"{kind}: CreateBucket")
            load = Load(node, chance)
            for thread in load.threads:
                thread.start()
            for mark in marks:
                time.sleep(chance.uniform(1.5, 3))
                known[mark] = {key.name: key.acknowledged for key in load.keys()}
                disk.mark(mark)                         # after the note: what it holds is older than the mark
            load.stop()
            equal(load.errors, [], f"{kind}: every change was acknowledged, {sum(len(key.versions) - 1 for key in load.keys())} of them")
        lab.unmount(directory)
    return load.keys(), known


def wrong_keys(client, keys, acknowledged):
    wrong = []
    for key in keys:
        answer = client.get(BUCKET, key.name)
        body = answer.body if answer.status == 200 else None
        if answer.status not in (200, 404) or body not in key.versions[acknowledged[key.name]:]:
            version = key.versions.index(body) if body in key.versions else "none that was ever written"
            wrong.append(f"{key.name}: {answer.status}, version {version}; acknowledged: {acknowledged[key.name]}")
    return wrong


def look(text, kind, target, keys, acknowledged):
    directory = lab.mount(target, kind, "/mnt/cut")
    node = Node(f"lab-{text.replace(' ', '-')}", directory=f"{directory}/data")
    code, said = node.fsck("--data")
    check(code == 0, f"{text}: fsck --data finds nothing", said[-2000:])
    try:
        node.start()
    except NotReady as error:
        check(False, f"{text}: the node starts", str(error))
        return
    there = sum(version > 0 for version in acknowledged.values())
    wrong = wrong_keys(node.client(), keys, acknowledged)
    check(there > 0 and not wrong, f"{text}: {there} acknowledged keys are as they were or newer, nothing is half", "\n".join(wrong) or "none")
    node.stop()
    lab.unmount(directory)


def main():
    note(f"seed {SEED}: LAB_SEED in the environment repeats the operations, though not their timing")
    for kind, targets in FILE_SYSTEMS.items():
        with guarded(kind):
            chance = random.Random(f"{SEED} {kind}")
            marks = {f"cut{number}": target for number, target in enumerate(targets, 1)}
            keys, known = work(kind, marks, chance)
            log = Log("/dev/vdb")
            for mark, target in marks.items():
                # every other cut keeps some of what the disk had in its cache
                played, unflushed = log.replay(target, mark, chance if mark[-1] in "02468" else None)
                note(f"{kind} {mark}: {played} writes, {unflushed} of them not flushed")
                look(f"{kind} {mark}", kind, target, keys, known[mark])
            log.close()
    finish()


main()
