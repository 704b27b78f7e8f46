#!/usr/bin/env python3
"""Objects rewritten while they are read: a reader gets one whole version, never a mixture, whatever it asks for and however slowly.

Writers replace a few keys by PUT, by copies and by multipart uploads of copied parts with a small end (extents shared by many objects,
inline ends), and delete them now and then. Each version's bytes are noise of its own, known by its ETag. Readers ask for the whole, for
ranges held to an ETag by If-Match or If-Range, for several ranges at once, for a file range by range, and slowly.
"""
import hashlib
import os
import random
import re
import socket
import sys
import threading
import time

sys.path[:0] = [os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"),
                os.path.join(os.path.dirname(os.path.abspath(__file__)), "../web")]
from byteranges import Malformed, parts  # noqa: E402
from checks import check, equal, finish, guarded, note  # noqa: E402
from node import Node  # noqa: E402
import sigv4  # noqa: E402

KIB, MIB = 1 << 10, 1 << 20
BUCKET, KEYS, SECONDS = "versions", ["a", "b/c", "d"], float(os.environ.get("SLUICE_VERSIONS_S", "8"))
WRITERS, READERS = 3, 6
SIZES = [0, 1, 3000, 8 * KIB, 8 * KIB + 1, 64 * KIB + 1, 300_000, MIB, 3 * MIB + 5]
PART_SIZES = [5 * MIB, 5 * MIB + 4097]
BORDERS = sorted({at + by for at in (0, 8 * KIB, 64 * KIB, 256 * KIB, MIB, 2 * MIB, 5 * MIB, 5 * MIB + 4097, 10 * MIB + 4097, 16 * MIB, 32 * MIB)
                  for by in (-1, 0, 1)})


class World:
    """Every version there can be, by ETag: registered before it is written, so that no reader sees one that is unknown."""

    def __init__(self):
        self.bodies, self.lock, self.problems, self.counts = {}, threading.Lock(), [], {}

    def register(self, etag, body):
        self.bodies[etag] = body

    def problem(self, text):
        with self.lock:
            self.problems.append(text)

    def count(self, what):
        with self.lock:
            self.counts[what] = self.counts.get(what, 0) + 1

    def expect(self, condition, what, text):
        self.count(what)
        if not condition:
            self.problem(f"{what}: {text}")


def etag_of(body):
    return f'"{hashlib.md5(body).hexdigest()}"'


def etag_of_parts(bodies):
    sums = b"".join(hashlib.md5(body).digest() for body in bodies)
    return f'"{hashlib.md5(sums).hexdigest()}-{len(bodies)}"'


# ---- writing ----

def complete(client, key, parts_of, upload):
    """Parts are ("copy", source key) or ("put", bytes)."""
    lines = []
    for number, (how, what) in enumerate(parts_of, 1):
        query = [("partNumber", str(number)), ("uploadId", upload)]
        if how == "copy":
            answer = client.request("PUT", sigv4.key_path(BUCKET, key), query, {"x-amz-copy-source": f"{BUCKET}/{what}"})
            etag = re.search(rb"<ETag>(.*?)</ETag>", answer.body)[1].decode().replace("&quot;", '"')
        else:
            etag = client.request("PUT", sigv4.key_path(BUCKET, key), query, body=what).headers["etag"]
        lines.append(f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>")
    document = f"<CompleteMultipartUpload>{''.join(lines)}</CompleteMultipartUpload>".encode()
    return client.request("POST", sigv4.key_path(BUCKET, key), [("uploadId", upload)], body=document)


def begin(client, key):
    answer = client.request("POST", sigv4.key_path(BUCKET, key), [("uploads", "")])
    return re.search(rb"<UploadId>(.*?)</UploadId>", answer.body)[1].decode()


def write_once(world, client, source, sources):
    key, kind = source.choice(KEYS), source.random()
    if kind < 0.55:
        body = source.randbytes(source.choice(SIZES))
        world.register(etag_of(body), body)
        answer = client.put(BUCKET, key, body)
    elif kind < 0.75:
        name = source.choice(list(sources))
        answer = client.request("PUT", sigv4.key_path(BUCKET, key), headers={"x-amz-copy-source": f"{BUCKET}/{name}"})
    elif kind < 0.95:
        names = [source.choice(list(sources)) for _ in range(2)]
        end = source.randbytes(source.choice([1, 100, 3000, 8 * KIB, 20_000]))
        bodies = [sources[name] for name in names] + [end]
        world.register(etag_of_parts(bodies), b"".join(bodies))
        answer = complete(client, key, [("copy", name) for name in names] + [("put", end)], begin(client, key))
    else:
        answer = client.delete(BUCKET, key)
    world.expect(answer.status in (200, 204), "writes", f"{answer}")


# ---- reading ----

def get(client, key, **headers):
    return client.get(BUCKET, key, headers={name.replace("_", "-"): value for name, value in headers.items()})


def is_version(world, answer, first=0, last=None):
    """Whether the bytes are those of the version whose ETag came with them."""
    body = world.bodies.get(answer.headers.get("etag"))
    return body is not None and answer.body == (body[first:] if last is None else body[first:last + 1])


def some_range(source, size):
    near = [at for at in BORDERS if 0 <= at < size] + [size - 1]
    first = source.choice(near) if source.random() < 0.6 else source.randrange(size)
    return first, min(size - 1, first + source.choice([0, 1, 5, 5000, 70_000, MIB + 3, 4 * MIB]))


def known(world, client, key):
    """The ETag and size of the key's present version; None when there is none, or an empty one."""
    head = client.request("HEAD", sigv4.key_path(BUCKET, key))
    if head.status != 200:
        world.expect(head.status == 404, "HEAD", f"{head.status}")
        return None, 0
    etag, size = head.headers["etag"], int(head.headers["content-length"])
    world.expect(etag in world.bodies and len(world.bodies[etag]) == size, "HEAD", f"{etag} of {size} bytes")
    return (etag, size) if size else (None, 0)


def read_whole(world, client, source, key):
    answer = get(client, key)
    world.expect(answer.status == 404 or (answer.status == 200 and is_version(world, answer)), "GET", f"{answer.status} {answer.headers}")


def read_if_match(world, client, source, key):
    etag, size = known(world, client, key)
    if etag is None:
        return
    first, last = some_range(source, size)
    answer = get(client, key, Range=f"bytes={first}-{last}", If_Match=etag)
    good = answer.status in (404, 412) or (answer.status == 206 and answer.headers["etag"] == etag and is_version(world, answer, first, last))
    world.expect(good, "range with If-Match", f"{first}-{last} of {etag}: {answer.status} {answer.headers}")


def read_if_range(world, client, source, key):
    etag, size = known(world, client, key)
    if etag is None:
        return
    first, last = some_range(source, size)
    answer = get(client, key, Range=f"bytes={first}-{last}", If_Range=etag)
    if answer.status == 206:
        good = answer.headers["etag"] == etag and is_version(world, answer, first, last)
    else:
        good = answer.status == 404 or (answer.status == 200 and answer.headers["etag"] != etag and is_version(world, answer))
    world.expect(good, "range with If-Range", f"{first}-{last} of {etag}: {answer.status} {answer.headers}")


def read_several(world, client, source, key):
    etag, size = known(world, client, key)
    if size < 100:
        return
    wanted = ",".join("{}-{}".format(*some_range(source, size)) for _ in range(source.randrange(2, 6)))
    answer = get(client, key, Range=f"bytes={wanted}", If_Match=etag)
    good = answer.status in (404, 412)
    if answer.status == 206 and not answer.headers.get("content-type", "").startswith("multipart/"):
        first, last = map(int, re.match(r"bytes (\d+)-(\d+)/", answer.headers["content-range"]).groups())
        good = is_version(world, answer, first, last)
    elif answer.status == 206:
        body = world.bodies[etag]
        try:
            good = all(size == len(body) and data == body[first:last + 1]
                       for first, last, size, _, data in parts(answer.headers["content-type"], answer.body))
        except Malformed as error:
            world.problem(f"several ranges: {wanted}: {error}")
    world.expect(good, "several ranges with If-Match", f"{wanted} of {etag}: {answer.status} {answer.headers}")


def read_by_ranges(world, client, source, key):
    """As rclone and browsers do: piece after piece, all held to the first's ETag."""
    etag, size = known(world, client, key)
    if etag is None:
        return
    step, got = max(1, size // source.randrange(2, 7)), b""
    while len(got) < size:
        answer = get(client, key, Range=f"bytes={len(got)}-{min(size, len(got) + step) - 1}", If_Match=etag)
        if answer.status != 206:
            world.expect(answer.status in (404, 412), "range by range", f"{answer.status}")
            return
        got += answer.body
    world.expect(got == world.bodies[etag], "range by range", f"{etag}: {len(got)} bytes are not its")


def read_slowly(world, client, source, key):
    """The whole object through a small window, while others replace it."""
    target = sigv4.presign(client.creds, "GET", client.host, sigv4.key_path(BUCKET, key))
    with socket.socket() as wire:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
        wire.settimeout(60)
        host, _, port = client.host.rpartition(":")
        wire.connect((host, int(port)))
        wire.sendall(f"GET {target} HTTP/1.1\r\nHost: {client.host}\r\nConnection: close\r\n\r\n".encode())
        pieces, pauses = [], 8
        while piece := wire.recv(262144):
            pieces.append(piece)
            if pauses > 0:
                pauses -= 1
                time.sleep(0.03)
    head, _, body = b"".join(pieces).partition(b"\r\n\r\n")
    fields = dict(line.lower().split(": ", 1) for line in head.decode().split("\r\n")[1:])
    status = int(head.split()[1])
    answer = sigv4.Response(status, fields, body)
    world.expect(status == 404 or (status == 200 and is_version(world, answer)), "slow GET", f"{status} {fields}, {len(body)} bytes")


READS = [read_whole, read_if_match, read_if_range, read_several, read_by_ranges, read_slowly]


def loop(world, node, seed, until, work):
    client, source = node.client(), random.Random(seed)
    try:
        while time.monotonic() < until:
            work(client, source)
    except Exception as error:  # pylint: disable=broad-except
        world.problem(f"{type(error).__name__}: {error}")
    finally:
        client.close()


# ---- the two halves ----

def together(node):
    world, client = World(), node.client()
    sources = {}
    for n, size in enumerate(PART_SIZES):
        body = random.Random(n).randbytes(size)
        sources[f"source/{n}"] = body
        world.register(etag_of(body), body)
        client.put(BUCKET, f"source/{n}", body)
    until = time.monotonic() + SECONDS
    threads = [threading.Thread(target=loop, args=(world, node, 1000 + n, until, lambda c, s: write_once(world, c, s, sources)))
               for n in range(WRITERS)]
    threads += [threading.Thread(target=loop, args=(world, node, n, until, lambda c, s: s.choice(READS)(world, c, s, s.choice(KEYS))))
                for n in range(READERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    note(", ".join(f"{what}: {count}" for what, count in sorted(world.counts.items())))
    check(not world.problems, "no reader saw a mixture, or bytes of another version", "\n".join(world.problems[:8]))
    for what in ("writes", "GET", "HEAD", "range with If-Match", "range with If-Range", "several ranges with If-Match", "range by range", "slow GET"):
        check(world.counts.get(what, 0) > 0, f"{what}: there were some")
    for name, body in sources.items():
        check(client.get(BUCKET, name).body == body, f"{name}, whose bytes others share, is as it was")


def borders(node):
    """Ranges that begin and end beside every border that a layout has: sum chunks, windows, extents, parts, an inline end."""
    client, source = node.client(), random.Random(5)
    first, second, end = source.randbytes(5 * MIB + 4097), source.randbytes(6 * MIB), source.randbytes(3000)
    complete(client, "parts", [("put", first), ("put", second), ("put", end)], begin(client, "parts"))
    objects = {"parts": first + second + end, "one": source.randbytes(40 * MIB + 77), "small": source.randbytes(8000)}
    for key in ("one", "small"):
        client.put(BUCKET, key, objects[key])
    extra = {"parts": [len(first), len(first) + len(second), len(first) + 64 * KIB], "one": [48 * MIB], "small": []}
    for key, body in objects.items():
        size, wrong = len(body), []
        marks = sorted({at for at in BORDERS + [mark + by for mark in extra[key] for by in (-1, 0, 1)] + [size - 1, size - 2] if 0 <= at < size})
        pairs = [(at, to) for at in marks for to in (at, min(size - 1, at + 1), min(size - 1, at + 70_000))]
        pairs += [(at, to) for at, to in zip(marks, marks[1:])]
        for at, to in pairs:
            answer = get(client, key, Range=f"bytes={at}-{to}")
            if (answer.status, answer.body) != (206, body[at:to + 1]):
                wrong.append((at, to, answer.status, len(answer.body)))
        check(not wrong, f"{key}: {len(pairs)} ranges beside its borders", str(wrong[:10]))
        answer = get(client, key, Range="bytes=" + ",".join(f"{at}-{at}" for at in marks[::3]))
        found = parts(answer.headers["content-type"], answer.body)
        check(all(data == body[at:to + 1] for at, to, _, _, data in found) and len(found) > 1, f"{key}: the same in one request, {len(found)} parts")


def main():
    with Node("versions") as node:
        equal(node.client().make_bucket(BUCKET).status, 200, "the bucket")
        with guarded("borders"):
            borders(node)
        with guarded("together"):
            together(node)
    finish()


main()
