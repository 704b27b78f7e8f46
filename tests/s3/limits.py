#!/usr/bin/env python3
"""Slow clients, many clients, and the memory promised in the banner.

The deadlines are set to seconds so that the test does not last minutes; what is tested is that each of them cuts the client it is meant
for, and only that one.
"""
import os
import resource
import select
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from checks import check, equal, finish, guarded, note, skip  # noqa: E402
from node import Node  # noqa: E402
from wire import connect, read_all, send_all, signed_head  # noqa: E402

SHORT = "[s3]\nhead-timeout = 2s\nidle-timeout = 3s\nbody-timeout = 2s\n"
BUSY, IDLE = 500, 10_000


def until_closed(wire, limit_s):
    """Seconds until the server closed, or None."""
    began = time.monotonic()
    answer = read_all(wire, limit_s)
    return (time.monotonic() - began if answer.closed else None), answer


def cut(text, wire, least_s, most_s):
    took, answer = until_closed(wire, most_s)
    check(took is not None and took >= least_s, text, f"closed after {took} s, expected {least_s} to {most_s} s; {answer}")


def slow_clients(node):
    client = node.client()
    client.make_bucket("slow")
    client.put("slow", "large", b"l" * (64 << 20))
    with connect(node.s3) as wire:
        cut("a connection that says nothing is closed", wire, 1, 8)
    with connect(node.s3) as wire:
        send_all(wire, b"GET / HTTP/1.1\r\nHost: x\r\n")
        cut("a head that stops is cut off", wire, 1, 6)
    with connect(node.s3) as wire:
        began, alive = time.monotonic(), True
        send_all(wire, b"GET / HTTP/1.1\r\nHost: x\r\n")
        while alive and time.monotonic() - began < 8:
            time.sleep(0.2)
            try:
                wire.send(b"X-A: b\r\n")
                readable, _, _ = select.select([wire], [], [], 0)
                alive = not readable            # an answer or an end: either way it is over
            except OSError:
                alive = False
        took = time.monotonic() - began
        check(not alive and took < 6, "a slow loris that sends a header now and then is cut off", f"after {took:.1f} s")
    data, _, _ = signed_head(node, "PUT", "/slow/half", {"content-length": "1000000"})
    with connect(node.s3) as wire:
        send_all(wire, data + b"h" * 1000)
        cut("a body that stops is cut off", wire, 1, 8)
    client.close()                                      # idle for longer than this node allows
    equal(client.get("slow", "half").status, 404, "and nothing of it is stored")
    read, _, _ = signed_head(node, "GET", "/slow/large")
    with socket.socket() as wire:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        host, _, port = node.s3.rpartition(":")
        wire.connect((host, int(port)))
        send_all(wire, read)
        time.sleep(6)                                   # a reader that does not read
        got = len(read_all(wire, 3).raw)
        check(got < 64 << 20, "a reader that stops reading is cut off", f"it was still given {got} bytes")
    get, _, _ = signed_head(node, "GET", "/slow/missing")
    with connect(node.s3) as wire:
        for _ in range(4):
            time.sleep(1)
            send_all(wire, get)
            answer = read_all(wire, 2, 1)
        equal(answer.statuses, [404], "a keep-alive connection that is used in time lives on")


def busy(node):
    """500 connections, each storing and fetching 1 MiB and 4 KiB."""
    client = node.client()
    client.make_bucket("busy")
    wrong, large = [], os.urandom(1 << 20)

    def work(n):
        mine = node.client(timeout_s=120)
        try:
            for key, body in ((f"large-{n}", large), (f"small-{n}", large[:4096])):
                if mine.put("busy", key, body, payload="UNSIGNED-PAYLOAD").status != 200 or mine.get("busy", key).body != body:
                    wrong.append(key)
        except OSError as error:
            wrong.append(f"{n}: {error}")
        finally:
            mine.close()
    peak = 0
    threads = [threading.Thread(target=work, args=(n,)) for n in range(BUSY)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        peak = max(peak, node.status_kib("VmRSS"))
        time.sleep(0.1)
    equal(wrong, [], f"{BUSY} connections at once: every body stored and fetched whole")
    peak = max(peak, node.status_kib("VmHWM"))
    budget = node.memory_budget_kib()
    note(f"memory: peak {peak / 1024:.0f} MiB, promised at most {budget / 1024:.0f} MiB")
    check(0 < peak <= budget, f"memory under {BUSY} connections stays within what the banner promised", f"{peak} KiB of {budget} KiB")


def idle(node):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard < IDLE + 500:
        skip(f"{IDLE} idle connections", f"the limit of open files is {hard}; as root: ulimit -n 20000")
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    client, wires = node.client(), []
    client.make_bucket("idle")
    client.put("idle", "k", b"v")
    try:
        for _ in range(IDLE):
            wires.append(connect(node.s3))
        get, _, _ = signed_head(node, "GET", "/idle/k")
        for wire in (wires[0], wires[IDLE // 2], wires[-1]):
            send_all(wire, get)
            equal(read_all(wire, 10, 1).statuses, [200], f"with {IDLE} connections open one of them is served")
        began = time.monotonic()
        fresh = node.client()
        check(fresh.get("idle", "k").body == b"v", "and so is a new one")
        took = time.monotonic() - began
        check(took < 1, "at once", f"{took:.2f} s")
        memory, budget = node.status_kib("VmRSS"), node.memory_budget_kib()
        check(0 < memory <= budget, "within the promised memory", f"{memory} KiB of {budget} KiB")
        began, before = time.monotonic(), node.cpu_s()
        time.sleep(5)
        share = (node.cpu_s() - before) / (time.monotonic() - began) * 100
        note(f"{IDLE} idle connections: {share:.2f} % CPU, {memory // 1024} MiB")
        check(share < 1.5, "and nearly no CPU", f"{share:.2f} %")
    finally:
        for wire in wires:
            wire.close()


def quiet(node):
    time.sleep(2)
    before = node.cpu_s()
    time.sleep(6)
    share = (node.cpu_s() - before) / 6 * 100
    note(f"an idle node: {share:.2f} % CPU")
    check(share < 0.5, "an idle node takes under 0.5 % of a core", f"{share:.2f} %")


def main():
    with Node("limits-slow", config=SHORT) as node:
        with guarded("slow clients"):
            slow_clients(node)
    with Node("limits") as node:
        for section in (busy, quiet, idle):
            with guarded(section.__name__):
                section(node)
    finish()


main()
