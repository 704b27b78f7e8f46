#!/usr/bin/env python3
"""Bytes that go bad on the disk of a node among peers: a GET that meets them has them repaired and serves them, scrub repairs what nobody asks
for, on the primary and on replicas, and what no node has whole is said."""
import base64
import hashlib
import json
import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from checks import check, equal, finish, guarded, wait_until  # noqa: E402
from cluster import Cluster  # noqa: E402
from damage import CHUNK, damage  # noqa: E402

SIZE = (9 << 20) + 12_345


def scrub(node):
    code, text = node.cli("--json", "scrub", "start", "--anew", "--rate", "1GiB", "--wait")
    try:
        return code, json.loads(text)
    except ValueError:
        return code, {"error": text}


def repaired(node):
    return node.metrics().get("sluice_repaired_chunks_total", 0)


def by_reading(cluster, body):
    """Whoever is asked: a node's own disk is damaged, and the answer is whole."""
    offsets = [0, 5 * CHUNK + 17, SIZE - 1]
    for number, node in ((member.number, member) for member in cluster):
        role = "the primary" if node is cluster.primary() else "a replica"
        before = repaired(node)
        damage(node, "disk", "read", *offsets)
        answer = node.client().get("disk", "read")
        check(answer.status == 200 and answer.body == body, f"GET from node {number}, {role}, whose disk is damaged: the right bytes",
              f"{answer.status}, {len(answer.body)} bytes\n{node.log()[-1500:]}")
        equal(repaired(node) - before, len(offsets), f"node {number}: each damaged chunk was repaired")
        check("repaired from node" in node.log(), f"node {number}: its log says from whom")
        answer = node.client().get("disk", "read", headers={"range": f"bytes=0-{CHUNK - 1}"})
        equal((answer.status, answer.body == body[:CHUNK], repaired(node) - before), (206, True, len(offsets)),
              f"node {number}: read again, nothing is left to repair")


def by_copying(cluster, body):
    """A copy with a checksum that nobody has reads the source."""
    node = cluster.replicas()[-1]
    damage(node, "disk", "read", 4 * CHUNK, 30 * CHUNK + 1)
    before = repaired(node)
    answer = node.client().request("PUT", "/disk/copy", headers={"x-amz-copy-source": "/disk/read", "x-amz-checksum-algorithm": "SHA256"})
    equal(answer.status, 200, "CopyObject with another checksum, of a source that is damaged on this node")
    equal(repaired(node) - before, 2, "repaired both chunks")
    answer = node.client().get("disk", "copy", headers={"x-amz-checksum-mode": "ENABLED"})
    equal((answer.body == body, answer.headers.get("x-amz-checksum-sha256")),
          (True, base64.b64encode(hashlib.sha256(body).digest()).decode()), "the copy has the right bytes and their SHA-256")


def by_scrubbing(cluster):
    for member in cluster:
        damage(member, "disk", "rest", *range(100, SIZE, 8 * CHUNK))
        count = len(range(100, SIZE, 8 * CHUNK))
        code, status = scrub(member)
        equal((code, status.get("damaged_chunks"), status.get("repaired_chunks")), (0, count, count),
              f"scrub on node {member.number}: finds what nobody has read, and repairs it")
        code, status = scrub(member)
        equal((code, status.get("damaged_chunks")), (0, 0), f"scrub on node {member.number} again: nothing")


def everywhere(cluster, body):
    """The same chunk on every disk: nobody can repair it. Overwritten, all is well."""
    for member in cluster:
        damage(member, "disk", "lost", 3 * CHUNK)
    node = cluster.replicas()[0]
    answer = node.client().get("disk", "lost")
    check(answer.status == 500 or (body.startswith(answer.body) and answer.body != body), "damaged on every node: no damaged byte is served", answer)
    code, status = scrub(node)
    equal((code, status.get("damaged_chunks"), status.get("repaired_chunks")), (4, 1, 0), "scrub says so: exit code 4")
    check("no other node" in status.get("sentence", "") and "damaged, too" in status.get("sentence", ""), "and what each node said", status)
    node.client().put("disk", "lost", body)
    code, status = scrub(node)
    equal((code, status.get("damaged_chunks")), (0, 0), "overwritten: nothing is damaged")


def while_one_is_away(cluster, body):
    """Of the primary's peers the one that would be asked first is cut off: the other one is asked. 503 while the lost one holds up reads."""
    victim, answers = cluster.primary(), []
    damage(victim, "disk", "read", 2 * CHUNK)
    cluster.cut(victim.number, min(member.number for member in cluster if member is not victim))

    def served():
        answers.append(victim.client().get("disk", "read", headers={"range": f"bytes={2 * CHUNK}-{3 * CHUNK - 1}"}))
        return answers[-1].status == 206
    check(wait_until(served, 60, 0.2), "the primary, one of its two peers cut off: served in the end", lambda: answers[-1])
    equal(answers[-1].body == body[2 * CHUNK:3 * CHUNK], True, "and repaired from the other")
    check(all(answer.status in (206, 503) for answer in answers), "busy until then, and never damaged bytes", answers)
    cluster.heal()
    check(cluster.wait_in_sync() is not None, "healed: all in sync again")
    code, status = scrub(victim)
    equal((code, status.get("damaged_chunks")), (0, 0), "and nothing is damaged any more")


def main():
    random.seed(11)
    body = random.randbytes(SIZE)
    with Cluster("repair") as cluster:
        client = cluster[1].client()
        client.make_bucket("disk")
        for key in ("read", "rest", "lost"):
            equal(client.put("disk", key, body).status, 200, f"PUT {key}")
        check(cluster.wait_in_sync() is not None, "all nodes are in sync")
        for text, run in (("by reading", lambda: by_reading(cluster, body)),
                          ("by copying", lambda: by_copying(cluster, body)), ("by scrubbing", lambda: by_scrubbing(cluster)),
                          ("everywhere", lambda: everywhere(cluster, body)), ("one away", lambda: while_one_is_away(cluster, body))):
            with guarded(text):
                run()
    finish()


main()
