"""Disks that neither fail nor answer, by device mapper, under one node of three: the primary's, a replica's, and that of a node that is to end.

A suspended device takes every request and gives none back, as a dying SSD or a stuck controller does. Its node must still say what is the
matter, the others must go on without it, and it must come back by itself when the disk does.
"""
import json
import threading
import time

from checks import check, equal, finish, guarded, note, wait_until
from cluster import Cluster
import lab
import sigv4

BUCKET = "hangs"
PATIENCE_S = 120
TIMEOUT_S = 5           # [cluster] disk-timeout
CONFIG = f"disk-timeout = {TIMEOUT_S}s\n[server]\ndrain-timeout = 3s\n"
SIZES = [900, 300_000]


class Disk:
    def __init__(self, number):
        device = f"/dev/vd{'abc'[number - 1]}"
        self.name, self.path = f"hangs{number}", f"/dev/mapper/hangs{number}"
        sectors = lab.run("blockdev", "--getsz", device).strip()
        lab.run("dmsetup", "create", self.name, "--table", f"0 {sectors} linear {device} 0")

    def hang(self):
        """Nothing is flushed or frozen beforehand: a disk does not announce it."""
        lab.run("dmsetup", "suspend", "--noflush", "--nolockfs", self.name)

    def answer(self):
        lab.run("dmsetup", "resume", self.name)


def body_of(key, size):
    return (key.encode() * (size // len(key) + 1))[:size]


class Writer(threading.Thread):
    """Stores through one node, one object after the other, and remembers what was acknowledged."""

    def __init__(self, node, size):
        super().__init__(daemon=True)
        self.node, self.size, self.stopping = node, size, False
        self.acknowledged, self.last_ok, self.longest_gap_s = [], time.monotonic(), 0.0

    def run(self):
        client, count = self.node.client(timeout_s=10), 0
        while not self.stopping:
            count += 1
            key = f"{self.node.number}/{self.size}/{self.ident}/{count}"
            try:
                status = client.put(BUCKET, key, body_of(key, self.size), payload=sigv4.UNSIGNED).status
            except Exception:  # pylint: disable=broad-except
                client, status = self.node.client(timeout_s=10), 0
            if status == 200:
                self.longest_gap_s = max(self.longest_gap_s, time.monotonic() - self.last_ok)
                self.acknowledged.append(key)
                self.last_ok = time.monotonic()
            else:
                time.sleep(0.2)


class Load:
    def __init__(self, nodes):
        self.writers = [Writer(node, size) for node in nodes for size in SIZES]

    def __enter__(self):
        for writer in self.writers:
            writer.start()
        return self

    def goes_on(self):
        """Each writer is told of something stored, from now on."""
        now = time.monotonic()
        return wait_until(lambda: all(writer.last_ok > now for writer in self.writers), PATIENCE_S, 0.1)

    def __exit__(self, kind, error, trace):
        for writer in self.writers:
            writer.stopping = True
        for writer in self.writers:
            writer.join(PATIENCE_S)
            note(f"through node {writer.node.number}, {writer.size} bytes: {len(writer.acknowledged)} acknowledged, "
                 f"longest gap {writer.longest_gap_s:.1f} s")
        return False

    def is_there(self, cluster, when):
        for member in cluster:
            client, wrong = member.client(timeout_s=60), []
            for writer in self.writers:
                for key in writer.acknowledged:
                    answer = client.get(BUCKET, key)
                    if answer.status != 200 or answer.body != body_of(key, writer.size):
                        wrong.append((key, answer.status))
            equal(wrong, [], f"node {member.number} gives all that was acknowledged, {when}")


def says_so(member, what):
    """While its disk hangs: its ports answer, and tell what is the matter."""
    def not_ready():
        status, text = member.readyz()
        return status == 503 and "has not answered for" in text
    check(wait_until(not_ready, PATIENCE_S, 0.2), f"{what}: /readyz is 503 and says why", lambda: str(member.readyz()))
    began = time.monotonic()
    code, text = member.cli("replication", "status", timeout_s=60)
    check(code == 0 and "the disk has not answered for" in text, f"{what}: sluice replication status says it", text[-1500:])
    told = json.loads(member.cli("replication", "status", "--json", timeout_s=60)[1])
    check(told["disk_waits_seconds"] >= TIMEOUT_S, f"{what}: and for how long", told.get("disk_waits_seconds"))
    check(member.metrics()["sluice_group_disk_waits_seconds"] >= TIMEOUT_S, f"{what}: the metrics, too")
    code, text = member.cli("status", timeout_s=60)
    check(code == 0, f"{what}: sluice status answers", text[-1500:])
    note(f"these answers took {time.monotonic() - began:.1f} s")


def together(cluster, what):
    check(cluster.wait_in_sync(3, PATIENCE_S) is not None, what,
          lambda: "\n".join(f"node {member.number}: {member.readyz()} {json.dumps(member.replication())[:400]}" for member in cluster))


def primary_hangs(cluster, disks):
    first = cluster.primary()
    with Load(cluster.replicas()) as load:
        check(load.goes_on(), "both replicas store objects")
        disks[first.number].hang()
        began = time.monotonic()
        check(wait_until(lambda: cluster.primary() not in (None, first), PATIENCE_S, 0.1), "another node leads, whose disk answers",
              lambda: first.log()[-2000:])
        note(f"after {time.monotonic() - began:.1f} s")
        check(load.goes_on(), "and both store objects")
        says_so(first, "the primary that was")
        answer = first.client(timeout_s=30).put(BUCKET, "big", b"b" * 300_000, payload=sigv4.UNSIGNED)
        equal(answer.status, 503, "it takes no body that it would not get rid of")
        leads = cluster.primary()
        disks[first.number].answer()
        together(cluster, "with its disk the node comes back")
        check(cluster.primary() is leads, "and follows")
    load.is_there(cluster, "after a primary's disk hung")


def replica_hangs(cluster, disks):
    first, away = cluster.primary(), cluster.replicas()[0]
    others = [member for member in cluster if member is not away]
    with Load(others) as load:
        check(load.goes_on(), "two nodes store objects")
        disks[away.number].hang()
        check(load.goes_on(), "and go on when the third one's disk hangs")
        says_so(away, "a replica")
        check(load.goes_on() and load.goes_on(), "and further on")
        check(cluster.primary() is first, "the primary is the same")
        disks[away.number].answer()
        together(cluster, "with its disk the node is in sync again")
    load.is_there(cluster, "after a replica's disk hung")


def ends(cluster, disks):
    """A process whose threads the kernel holds cannot be gone before the disk answers. But it says so, and it does not wait for ever."""
    away = cluster.replicas()[0]
    with Load([cluster.primary()]) as load:
        check(load.goes_on(), "the primary stores objects")
        disks[away.number].hang()
        says_so(away, "a node that is to end")
        away.ask_to_end()
        check(wait_until(lambda: "stopped at once" in away.log()[away.log_start:], PATIENCE_S, 0.2), "SIGTERM: it gives up waiting and says why",
              lambda: away.log()[-2000:])
        check("still stopping" in away.log()[away.log_start:] or "are cut" in away.log()[away.log_start:], "and has said what it waits for",
              lambda: away.log()[-2000:])
        disks[away.number].answer()
        check(wait_until(lambda: away.process.poll() is not None, PATIENCE_S), "it is gone when the disk answers")
        equal(away.process.poll(), 0, "with exit code 0")
        away.launch()
        away.wait_ready(PATIENCE_S)
        together(cluster, "started again it is in sync")
    load.is_there(cluster, "after all that")


def main():
    lab.modprobe("dm_mod")
    disks = {number: Disk(number) for number in (1, 2, 3)}
    directories = {number: lab.format_and_mount(disk.path, "ext4", f"/mnt/{number}") + "/data" for number, disk in disks.items()}
    with Cluster("hangs", proxied=False, config=CONFIG, directories=directories) as cluster:
        together(cluster, "three nodes found a group")
        equal(cluster.primary().client().make_bucket(BUCKET).status, 200, "CreateBucket")
        for what, under in (("the primary's disk hangs", primary_hangs), ("a replica's disk hangs", replica_hangs), ("the end", ends)):
            with guarded(what):
                under(cluster, disks)
            for disk in disks.values():
                disk.answer()                           # whatever went wrong
            together(cluster, f"all are in sync after: {what}")
    finish()


main()
