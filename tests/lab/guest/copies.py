"""The theory of the data paths against what the kernel did: bytes its CPUs copied for the node, for a PUT and for a GET by each path.

The count is exact, so the tolerance covers only what belongs to a request besides its body: the head received, the head sent, the index
record written to RocksDB's log. It is a number of bytes and does not grow with the body.
"""
import os
import random
import socket

from checks import check, equal, finish, guarded, note
from node import Node
from probes import Copies, Ubufs, zero_copy_over_loopback
import lab
import sigv4

MIB = 1 << 20
BUCKET = "counted"
SIZES = [256 << 10, 8 * MIB]
BESIDE = 16 << 10
# An upload in signed chunks: of each chunk's line, and of the payload behind the longest possible line, a little is received aside and
# copied again in user space. The kernel copies all of it once, and the framing too: some 90 bytes a chunk.
CHUNK = 64 << 10

# path: how often the kernel copies each byte of the body. Loopback has no device that could fetch bytes from where they lie: what send(2)
# hands over is copied into packets. Pages handed over by reference are not.
GET_COPIES = {
    "direct": 1,        # O_DIRECT into a slot: 0; send from the slot: 1
    "sendfile": 0,      # page cache -> packet by reference
    "splice": 0,        # page cache -> pipe -> packet, by reference
    "mmap": 1,          # the mapped page cache: 0; send: 1
    "copy": 2,          # page cache -> slot: 1; send: 1
}
CACHED = ("sendfile", "splice", "mmap")     # a window of theirs is read once, to be verified, before it is sent from the page cache


def calibrate(copies):
    """The counter counts: known amounts by this very process, which prints nothing meanwhile."""
    me, data, counted = os.getpid(), random.randbytes(MIB), {}
    lab.warm(me)
    file = os.open("/mnt/ext4/calibration", os.O_RDWR | os.O_CREAT)
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as one, server.accept()[0] as other:
        for name, call in {"write() of 1 MiB": lambda: os.write(file, data), "read() of 1 MiB": lambda: os.pread(file, MIB, 0),
                           "send() of 50,000 bytes": lambda: one.sendall(data[:50000]),
                           "recv() of 50,000 bytes": lambda: other.recv(50000, socket.MSG_WAITALL)}.items():
            copies.clear()
            call()
            counted[name] = copies.of(me)
    os.close(file)
    for name, function, size in (("write() of 1 MiB", "copy_page_from_iter_atomic", MIB), ("read() of 1 MiB", "_copy_to_iter", MIB),
                                 ("send() of 50,000 bytes", "_copy_from_iter", 50000), ("recv() of 50,000 bytes", "_copy_to_iter", 50000)):
        equal(counted[name], {function: size}, f"the counter: {name}")


def held(text, counted, theory, size, beside=BESIDE):
    total = sum(counted.values())
    times = f"{theory} x {size}" if theory else "none"
    check(0 <= total - theory * size <= beside, f"{text}: the kernel copied {total} bytes, theory says {times}",
          f"{counted}\nand up to {beside} bytes for heads and the index record")


def put(copies, node, client, key, body):
    copies.clear()
    answer = client.put(BUCKET, key, body, payload=sigv4.UNSIGNED)
    held(f"PUT of {len(body)} bytes", copies.of(node.pid), 1, len(body))
    equal(answer.status, 200, f"PUT of {len(body)} bytes: the answer")


def put_in_chunks(copies, node, client, body):
    path, date = sigv4.key_path(BUCKET, "chunked"), sigv4.amz_now()
    headers = {"x-amz-decoded-content-length": str(len(body)), "content-encoding": "aws-chunked"}
    signed, seed = sigv4.sign(client.creds, "PUT", client.host, path, (), headers, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", date)
    signer = sigv4.ChunkSigner(client.creds, date, seed)
    wire = b"".join(signer.chunk(body[at:at + CHUNK]) for at in range(0, len(body), CHUNK)) + signer.chunk(b"")
    copies.clear()
    answer = client.raw("PUT", path, dict(signed, **{"content-length": str(len(wire))}), wire)
    held(f"PUT of {len(body)} bytes in signed chunks", copies.of(node.pid), 1, len(wire))
    equal(answer.status, 200, "PUT in signed chunks: the answer")


def get_by(copies, node, client, path, body, key, window=None):
    """Asks for the path twice and holds the count against the theory: what comes from the disk, then what is warm and verified."""
    headers, wanted = {"x-sluice-path": path}, body
    if window:
        headers["range"], wanted = f"bytes={window[0]}-{window[1]}", body[window[0]:window[1] + 1]
    text = f"{path}: GET of {len(wanted)} bytes" + (" in the middle" if window else "")
    for when in ("first", "again"):
        copies.clear()
        answer = client.get(BUCKET, key, headers=headers)
        counted = copies.of(node.pid)
        equal(answer.headers.get("x-sluice-path"), path, f"{text}, {when}: its receipt")
        check(answer.body == wanted, f"{text}, {when}: the bytes")
        verifies = when == "first" and path in CACHED and not window
        held(f"{text}, {when}", counted, GET_COPIES[path] + verifies, len(wanted))
    equal(answer.headers.get("x-sluice-copies"), str(GET_COPIES[path]), f"{text}: its receipt tells the copies")


def count(copies, node):
    lab.warm(node.pid)
    client = node.client()
    equal(client.make_bucket(BUCKET).status, 200, "CreateBucket")
    for size in SIZES:
        body = random.Random(size).randbytes(size)
        for path in GET_COPIES:                         # an object each: what one path has read must not warm another's
            key = f"{path}/{size}"
            put(copies, node, client, key, body)
            get_by(copies, node, client, path, body, key)
    key, body = f"sendfile/{SIZES[-1]}", random.Random(SIZES[-1]).randbytes(SIZES[-1])
    get_by(copies, node, client, "sendfile", body, key, (3 * MIB + 17, 5 * MIB + 4))
    put_in_chunks(copies, node, client, body)


def zero_copy_sends(copies, ubufs, node):
    """Sends that are not to copy: on loopback they do not, and the kernel copies for the receiver what they left alone (skb_copy_ubufs)."""
    ubufs.clear()
    sent = zero_copy_over_loopback(50000)
    equal(ubufs.bytes(), sent, f"the counter: a zero-copy send of {sent} bytes")
    lab.warm(node.pid)
    client, size = node.client(), SIZES[-1]
    body = random.Random(size).randbytes(size)
    client.make_bucket(BUCKET)
    client.put(BUCKET, "direct", body, payload=sigv4.UNSIGNED)
    for path, theory in (("direct", 1), ("sendfile", 0), ("copy", 2)):
        client.get(BUCKET, "direct", headers={"x-sluice-path": path})       # what it brings into the page cache is there
        copies.clear()
        ubufs.clear()
        answer = client.get(BUCKET, "direct", headers={"x-sluice-path": path})
        by_node, after_all = sum(copies.of(node.pid).values()), ubufs.bytes()
        text = f"zero-copy = on, {path}: GET of {size} bytes"
        check(answer.body == body and answer.headers.get("x-sluice-copies") == str(theory), f"{text}: the bytes, and {theory} copies told", repr(answer))
        if path == "direct":                            # a packet that TCP sends again is copied again
            check(by_node <= BESIDE and size <= after_all <= size + size // 4, f"{text}: no send copied, and the receiver's side did all of it",
                  f"{by_node} and {after_all}")
        else:
            check(0 <= by_node - theory * size <= BESIDE and after_all == 0, f"{text}: as without", f"{by_node} and {after_all}")


def main():
    directory = lab.format_and_mount("/dev/vda", "ext4", "/mnt/ext4")
    with Copies() as copies:
        note(f"watched: {', '.join(copies.rings)}")
        with guarded("calibration"):
            calibrate(copies)
        with Node("lab-copies", directory=f"{directory}/data") as node, guarded("counting"):
            count(copies, node)
        with Ubufs() as ubufs, Node("lab-copies-on", directory=f"{directory}/on", args=["--set", "get.zero-copy=on"]) as node, \
                guarded("zero-copy sends"):
            zero_copy_sends(copies, ubufs, node)
    finish()


main()
