#!/usr/bin/env python3
"""Zero-copy sends of a real node, to clients in a network namespace of their own behind a veth pair, and on loopback.

Neither has a network card: the kernel copies for the receiver (skb_orphan_frags_rx), and says so. So here is shown that this is noticed,
remembered and told, that bytes are right, and that memory comes back from clients that stall or vanish. That nothing is copied where there
is a card is the lab's to show (tests/lab/guest/zerocopy.py).
"""
import os
import random
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from checks import check, equal, finish, guarded, skip, wait_until  # noqa: E402
from node import Node  # noqa: E402
import netns  # noqa: E402
import sigv4  # noqa: E402

BUCKET = "zerocopy"
MIB = 1 << 20
BODY = random.Random(7).randbytes(8 * MIB + 12345)
STALL_S = 2


def port_of(node):
    return node.s3.rpartition(":")[2]


class Here:
    """The node from loopback and from the namespace of the clients."""

    def __init__(self, node, clients):
        self.node, self.clients = node, clients

    def near(self, address="127.0.0.1"):
        return sigv4.Client(f"{address}:{port_of(self.node)}", self.node.creds)

    def far(self):
        client = sigv4.Client(f"{netns.HERE}:{port_of(self.node)}", self.node.creds)
        with self.clients.inside():
            client.get(BUCKET, "nothing")               # its connection is made, and kept
        return client

    def given(self):
        """Bytes given to zero-copy sends, by what the kernel said."""
        metrics = self.node.metrics()
        return {word: metrics[f'sluice_http_zero_copy_bytes_total{{kernel="{word}"}}'] for word in ("sent", "copied", "silent")}


def get(client, path="direct", first=0, last=len(BODY) - 1):
    answer = client.get(BUCKET, "body", headers={"x-sluice-path": path, "range": f"bytes={first}-{last}"})
    right = answer.status == 206 and answer.body == BODY[first:last + 1] and answer.headers.get("x-sluice-path") == path
    return right, answer.headers.get("x-sluice-copies")


def since(before, after):
    return {word: after[word] - before[word] for word in after if after[word] != before[word]}


def learned(here):
    client = here.far()
    start = here.given()
    equal(get(client), (True, "1"), "auto, behind a veth pair: the first GET is right, and promises nothing")
    told = since(start, here.given())
    if "silent" in told or not told:
        skip("a peer is tried once", f"this kernel does not tell whether it copies: {told}")
        equal(told, {}, "then auto does not try")
        return
    check(set(told) == {"copied"} and MIB <= told["copied"] <= len(BODY), "it was tried without a copy, and the kernel copied after all", told)
    before = here.given()
    # by the worker: there is but one
    equal([get(client), get(here.far())], [(True, "1")] * 2, "the next GET, and one of another connection, tell one copy")
    equal(since(before, here.given()), {}, "and are not tried: the node remembers the peer")
    here.near().put(BUCKET, "unread", BODY[:MIB])
    code, text = here.node.cli("explain", f"{BUCKET}/unread")
    check(code == 0 and "each peer is tried once" in text, "sluice explain tells how it is decided", text)


def on_loopback(here):
    before = here.given()
    for address in ("127.0.0.1", netns.HERE):           # by either address it is loopback
        equal(get(here.near(address)), (True, "1"), f"auto, loopback by {address}: right, with one copy")
    equal(since(before, here.given()), {}, "and never tried without")


def always(here):
    for name, client in (("loopback", here.near()), ("veth", here.far())):
        before, size, wrong = here.given(), 0, []
        for first, last in ((0, len(BODY) - 1), (0, 0), (65535, 70000), (MIB - 1, 3 * MIB), (len(BODY) - 100, len(BODY) - 1)):
            if get(client, "direct", first, last) != (True, "1"):
                wrong.append((first, last))
            size += last - first + 1
        equal(wrong, [], f"on, {name}: each range is right, and the receipt says that the kernel copies")
        # the notice of the last byte comes behind it, with the client's acknowledgement
        wait_until(lambda before=before, size=size: sum(since(before, here.given()).values()) >= size, 20)
        told = since(before, here.given())
        check(list(told.values()) == [size] and "sent" not in told, f"on, {name}: each byte is counted by what the kernel did", f"{told}, {size} bytes")
    before = here.given()
    equal(get(client, "copy"), (True, "2"), "on: the copy path stays what it is")
    equal(since(before, here.given()), {}, "and sends nothing otherwise")


def stalled(here, clients):
    """Readers that stop, then readers whose cable is cut: each holds what it was sent and did not acknowledge."""
    def ask(count):
        sockets = []
        for _ in range(count):
            with here.clients.inside():
                wire = socket.create_connection((netns.HERE, int(port_of(here.node))), 20)
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            path = sigv4.key_path(BUCKET, "body")
            headers, _ = sigv4.sign(here.node.creds, "GET", "x", path, (), {"x-sluice-path": "direct"}, sigv4.UNSIGNED, sigv4.amz_now())
            wire.sendall(f"GET {path} HTTP/1.1\r\n".encode() + "".join(f"{k}: {v}\r\n" for k, v in headers.items()).encode() + b"\r\n")
            sockets.append(wire)
        return sockets

    def slow():
        return here.node.metrics()["sluice_http_slow_peers_total"]
    for how in ("stop reading", "are cut off"):
        before, began = slow(), time.monotonic()
        wires = ask(6)
        time.sleep(0.3)
        if how == "are cut off":
            clients.unplug()
        check(wait_until(lambda before=before: slow() >= before + 6, 12 * STALL_S), f"six clients that {how} are given up",
              f"{slow() - before} of them in {time.monotonic() - began:.0f} s")
        if how == "are cut off":
            clients.unplug(False)
        for wire in wires:
            wire.close()
        check(all(get(here.near())[0] for _ in range(8)), f"and the memory they held serves others: after clients that {how}")


def main():
    reason = netns.why_not()
    if reason:
        skip("zero-copy sends to another network namespace", reason)
        finish()
    netns.own()
    listen = ["--set", "s3.workers=1", "--set", "memory.arena=16MiB", "--s3", "0.0.0.0:0"]
    with netns.Clients() as clients:
        with Node("zero-copy", args=listen, tls=False) as node:
            here = Here(node, clients)
            equal(here.near().make_bucket(BUCKET).status, 200, "CreateBucket")
            equal(here.near().put(BUCKET, "body", BODY).status, 200, "PUT")
            for section in (on_loopback, learned):
                with guarded(section.__name__):
                    section(here)
        with Node("zero-copy-on", args=listen + ["--set", "get.zero-copy=on", "--set", f"s3.body-timeout={STALL_S}s"], tls=False) as node:
            here = Here(node, clients)
            here.near().make_bucket(BUCKET)
            here.near().put(BUCKET, "body", BODY)
            with guarded("always"):
                always(here)
            with guarded("stalled"):
                stalled(here, clients)
        with Node("zero-copy-tls", args=listen + ["--set", "get.zero-copy=on"], tls=True) as node, guarded("TLS"):
            here = Here(node, clients)
            client = node.client()
            client.host = f"127.0.0.1:{port_of(node)}"
            client.make_bucket(BUCKET)
            client.put(BUCKET, "body", BODY)
            equal(get(client), (True, "1"), "on, by TLS: right")
            equal(sum(here.given().values()), 0, "and never without a copy: what is sent is not what lies in memory")
        with Node("zero-copy-off", args=listen + ["--set", "get.zero-copy=off"], tls=False) as node, guarded("off"):
            here = Here(node, clients)
            here.near().make_bucket(BUCKET)
            here.near().put(BUCKET, "body", BODY)
            equal(get(here.far()), (True, "1"), "off, behind a veth pair: right")
            equal(sum(here.given().values()), 0, "and never without a copy")
    finish()


main()
