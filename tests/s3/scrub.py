#!/usr/bin/env python3
"""Bytes that go bad on the disk of a node alone: found by a GET and by scrub, never served, said where they are; and a pass that is paused,
resumed and goes on after a crash."""
import json
import os
import random
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from checks import check, equal, finish, guarded, wait_until  # noqa: E402
from damage import CHUNK, damage  # noqa: E402
from node import Node  # noqa: E402

RATE_MIB, SIZE_MIB = 4, 24


def scrub(node, *args):
    """(exit code, status)"""
    code, text = node.cli("--json", "scrub", *args)
    try:
        return code, json.loads(text)
    except ValueError:
        return code, {"error": text}


def whole_pass(node):
    return scrub(node, "start", "--anew", "--rate", "1GiB", "--wait")


def damaged_and_found(node, client):
    body = random.randbytes(5 << 20)
    client.make_bucket("disk")
    client.put("disk", "large", body)
    client.put("disk", "small", b"s" * 100)
    code, status = whole_pass(node)
    equal((code, status.get("state"), status.get("damaged_chunks")), (0, "done", 0), "scrub finds nothing in what is whole")
    equal((status.get("verified_bytes"), status.get("data")), ((5 << 20) + 100, 2), "scrub has read every byte of both objects")
    damage(node, "disk", "large", 70_000, (5 << 20) - 1)
    code, status = whole_pass(node)
    equal((code, status.get("damaged_chunks"), status.get("repaired_chunks")), (4, 2, 0), "scrub finds both damaged chunks: exit code 4")
    check("other copy" in status.get("sentence", ""), "and says why they stay so", status)
    check("damaged and not repaired" in node.log(), "the log names them")
    answer = client.get("disk", "large")
    check(answer.status == 500 or answer.body != body, "GET: an error, or a body that ends short", answer)
    check(body.startswith(answer.body) or answer.status == 500, "no damaged byte leaves", f"{len(answer.body)} bytes")
    answer = client.get("disk", "large", headers={"range": f"bytes={2 * CHUNK}-{3 * CHUNK - 1}"})
    check(answer.status == 206 and answer.body == body[2 * CHUNK:3 * CHUNK], "GET of a range beside the damage: served", answer)
    client.put("disk", "large", body)
    code, status = whole_pass(node)
    equal((code, status.get("damaged_chunks")), (0, 0), "what was damaged is overwritten: scrub finds nothing")
    equal(node.metrics().get("sluice_scrub_damaged_chunks_total"), 2.0, "metrics count them")


def paused_and_resumed(node, client):
    client.put("disk", "slow", random.randbytes(SIZE_MIB << 20))
    began = time.monotonic()
    code, status = scrub(node, "start", "--anew", "--rate", f"{RATE_MIB}MiB")
    equal((code, status.get("state"), status.get("rate_bytes")), (0, "running", RATE_MIB << 20), "scrub start --rate")
    wait_until(lambda: scrub(node, "status")[1].get("verified_bytes", 0) >= 2 << 20, 60, 0.1)
    code, status = scrub(node, "pause")
    so_far = status.get("verified_bytes", 0)
    check(code == 0 and status.get("state") == "paused" and 0 < so_far < SIZE_MIB << 20, "scrub pause", status)
    most = RATE_MIB * (time.monotonic() - began) + 2
    check(so_far <= most * (1 << 20), "the rate is kept", f"{so_far} bytes, at most {most:.1f} MiB expected")
    node.terminate()
    node.start()
    status = scrub(node, "status")[1]
    equal((status.get("state"), status.get("verified_bytes")), ("paused", so_far), "paused after a restart, where it was")
    code, status = scrub(node, "start")
    equal((code, status.get("state"), status.get("rate_bytes")), (0, "running", RATE_MIB << 20), "start goes on, at the same rate")
    node.kill()
    node.start()
    status = scrub(node, "status")[1]
    equal(status.get("state"), "running", "after kill -9 a running pass goes on by itself")
    code, status = scrub(node, "start", "--rate", "1GiB", "--wait")
    total = (SIZE_MIB << 20) + (5 << 20) + 100
    check(code == 0 and status.get("state") == "done" and status.get("verified_bytes", 0) >= total, "and comes to its end", status)


def wrong_words(node):
    for args in (["start", "--rate", "fast"], ["stop"], ["start", "now"]):
        equal(scrub(node, *args)[0], 2, f"sluice scrub {' '.join(args)}: wrong usage")
    code, status = scrub(node, "start", "--rate", "1KiB")
    check(code == 1 and "1 MiB" in str(status), "a rate out of bounds is refused, and said which are", status)


def main():
    random.seed(7)
    with Node("scrub") as node:
        with guarded("damaged bytes"):
            damaged_and_found(node, node.client())
        with guarded("pausing and resuming"):
            paused_and_resumed(node, node.client())
        with guarded("wrong words"):
            wrong_words(node)
    finish()


main()
