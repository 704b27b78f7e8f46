#!/usr/bin/env python3
"""What goes wrong around a node: clients that die, a disk that fills, directories it must not serve.

A full disk is a real ext4 of 300 MiB on a loop device; that needs root, and is skipped with a word where there is none.
"""
import contextlib
import ctypes
import json
import os
import random
import socket
import struct
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from checks import check, equal, finish, guarded, note, skip, wait_until  # noqa: E402
from node import ACCESS_KEY, Node, NotReady, SECRET_KEY, binary, scratch  # noqa: E402
import sigv4  # noqa: E402

MIB = 1 << 20
BUCKET = "faults"


# ---- clients that die ----

def dying_clients(node):
    """Resets in the middle of bodies, single and of parts: nothing is seen, nothing is kept."""
    client = node.client()
    client.make_bucket(BUCKET)
    client.put(BUCKET, "kept", b"k" * 100_000)
    answer = client.request("POST", f"/{BUCKET}/parts", [("uploads", "")])
    upload = answer.body.split(b"<UploadId>")[1].split(b"</UploadId>")[0].decode()
    before = used_units(node)
    source = random.Random(5)
    for n in range(60):
        key, query = ("kept", ()) if n % 3 == 0 else ("half", ()) if n % 3 == 1 else ("parts", (("partNumber", "1"), ("uploadId", upload)))
        path = f"/{BUCKET}/{key}"
        headers, _ = sigv4.sign(node.creds, "PUT", node.s3, path, query, {"content-length": str(8 * MIB)}, sigv4.UNSIGNED)
        target = path + ("?" + sigv4.canonical_query(query) if query else "")
        host, _, port = node.s3.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=10) as wire:
            if n % 2:                                   # a reset instead of an orderly end
                wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            wire.sendall(f"PUT {target} HTTP/1.1\r\n{lines}\r\n".encode() + b"h" * source.randrange(0, 5 * MIB))
    equal(client.get(BUCKET, "kept").body, b"k" * 100_000, "60 clients die mid-body: what was there is there")
    equal(client.get(BUCKET, "half").status, 404, "and nothing half")
    parts = client.request("GET", f"/{BUCKET}/parts", [("uploadId", upload)])
    check(parts.status == 200 and b"<PartNumber>" not in parts.body, "and no half part", parts.body)
    check(wait_until(lambda: used_units(node) == before, 10), "and their space is free again", lambda: f"{before} before, {used_units(node)} now")
    client.request("DELETE", f"/{BUCKET}/parts", [("uploadId", upload)])


def used_units(node):
    code, text = node.cli("volume", "status", "--json")
    return find_number(json.loads(text), "used") if code == 0 else None


def find_number(document, word):
    """The first number whose name holds the word, wherever the document keeps it."""
    values = document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    for name, value in values:
        if word in str(name) and isinstance(value, (int, float)) and not isinstance(value, bool):
            return value
    for _, value in values:
        found = find_number(value, word)
        if found is not None:
            return found
    return None


# ---- a disk that fills ----

@contextlib.contextmanager
def small_disk(name, mib, make="mkfs.ext4"):
    """A file system of its own on a loop device; unmounted whatever happens."""
    base = scratch(name)
    image, mount = f"{base}/image", f"{base}/disk"
    os.makedirs(mount)
    with open(image, "wb") as file:
        file.truncate(mib * MIB)
    subprocess.run([make, "-q", image], check=True, capture_output=True, env=dict(os.environ, PATH="/usr/sbin:/sbin:" + os.environ["PATH"]))
    subprocess.run(["mount", "-o", "loop", image, mount], check=True, capture_output=True)
    try:
        yield mount
    finally:
        subprocess.run(["umount", mount], check=False)


def full_disk(mount):
    with Node("full-disk", directory=f"{mount}/data", keep=True) as node:
        client = node.client(timeout_s=120)
        client.make_bucket(BUCKET)
        body, stored, refused = random.Random(6).randbytes(4 * MIB), {}, None
        for n in range(200):
            data = body[n:]
            answer = client.put(BUCKET, f"fill/{n:03}", data, payload=sigv4.UNSIGNED)
            if answer.status != 200:
                refused = answer
                break
            stored[f"fill/{n:03}"] = n
        note(f"{len(stored)} objects of 4 MiB fit on 300 MiB; then {refused}")
        check(len(stored) >= 30, "a disk of 300 MiB holds at least 120 MiB", len(stored))
        equal(refused and refused.status, 507, "a full disk answers 507")
        check(refused is not None and refused.code != "", "with an S3 error", refused)
        wrong = [key for key, n in stored.items() if client.get(BUCKET, key).body != body[n:]]
        equal(wrong, [], "everything acknowledged can be read from a full disk")
        small = client.put(BUCKET, "small", b"s" * 100)
        check(small.status in (200, 507), "a small object: stored or 507", small)
        gone = sorted(stored)[:10]
        equal([client.delete(BUCKET, key).status for key in gone], [204] * 10, "deletes work on a full disk")
        equal([client.get(BUCKET, key).status for key in gone], [404] * 10, "and are seen")

        def fits():
            return client.put(BUCKET, "after", body, payload=sigv4.UNSIGNED).status == 200
        check(wait_until(fits, 20, 0.5), "the space comes back: a PUT fits again")
        check(client.get(BUCKET, "after").body == body, "and reads back")
        equal(node.terminate(), 0, "a node on a full disk drains")
        node.start()
        client = node.client(timeout_s=120)
        left = {key: n for key, n in stored.items() if key not in gone}
        wrong = [key for key, n in left.items() if client.get(BUCKET, key).body != body[n:]]
        equal(wrong, [], "after a restart everything is there")
        for key in client.list_keys(BUCKET):
            client.delete(BUCKET, key)
        check(wait_until(fits, 20, 0.5), "an emptied disk takes objects again")


# ---- directories that must not be served ----

def refusal(text, directory, words, args=(), env=None):
    """The daemon must end by itself, soon, non-zero, with one clear sentence that holds one of the words."""
    command = [binary("server/sluiced"), directory, "--s3", "127.0.0.1:0", "--admin", "127.0.0.1:0", *args]
    where = dict(os.environ, SLUICE_ACCESS_KEY=ACCESS_KEY, SLUICE_SECRET_KEY=SECRET_KEY, XDG_CONFIG_HOME=scratch("refusal-home"), **(env or {}))
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, env=where, stdin=subprocess.DEVNULL)
        code, said = done.returncode, (done.stdout + done.stderr).strip()
    except subprocess.TimeoutExpired as error:
        code, said = 0, f"still running after 30 s: {error.stderr}"
    good = code > 0 and any(word.lower() in said.lower() for word in words) and len(said.splitlines()) <= 4
    check(good, text, f"exit code {code}; it should say one of {words}, in a sentence:\n{said[:1500]}")


def wrong_directories():
    base = scratch("refusals")
    os.makedirs(f"{base}/strangers")
    with open(f"{base}/strangers/letter.txt", "w", encoding="ascii") as file:
        file.write("not a volume\n")
    refusal("a directory with somebody else's files", f"{base}/strangers", ["no sluice volume", "not empty"])
    check(os.listdir(f"{base}/strangers") == ["letter.txt"], "and they are left alone", os.listdir(f"{base}/strangers"))
    refusal("a parent that is missing", f"{base}/no/such/parent/data", ["no such", "missing", "does not exist", "cannot"])
    with open(f"{base}/file", "w", encoding="ascii"):
        pass
    refusal("a file instead of a directory", f"{base}/file", ["directory"])
    refusal("a flag it does not know", f"{base}/new", ["--no-such-flag"], ["--no-such-flag"])
    refusal("an address that is none", f"{base}/new", ["nonsense"], ["--s3", "nonsense"])
    with open(f"{base}/bad.conf", "w", encoding="ascii") as file:
        file.write("[s3]\nlissten = 127.0.0.1:0\n")
    refusal("a misspelt key, with the nearest name", f"{base}/new", ["listen"], ["--config", f"{base}/bad.conf"])
    refusal("a configuration that is not there", f"{base}/new", ["none.conf"], ["--config", f"{base}/none.conf"])
    check(not os.path.exists(f"{base}/new") or not os.listdir(f"{base}/new"), "a refused start leaves nothing behind")


def used_and_newer():
    with Node("in-use", keep=True) as node:
        node.client().make_bucket(BUCKET)
        refusal("a volume that another process serves", node.dir, ["in use", "another process", "already"])
        taken = node.s3
        other = scratch("port-taken")
        refusal("a port that is taken", f"{other}/data", [taken.rpartition(":")[2]], ["--s3", taken])
        equal(node.client().request("HEAD", f"/{BUCKET}").status, 200, "and the first goes on")
    newer_superblock(f"{node.dir}/superblock")
    refusal("a volume of a newer format", node.dir, ["newer"])
    with open(f"{node.dir}/superblock", "r+b") as file:
        file.write(os.urandom(65536))
    refusal("a superblock of noise", node.dir, ["superblock", "no sluice volume"])


def newer_superblock(path):
    """Every slot names a format of the far future, under a checksum that is right (layout: storage/superblock.h)."""
    xxhash = ctypes.CDLL("libxxhash.so.0")
    xxhash.XXH3_64bits.restype, xxhash.XXH3_64bits.argtypes = ctypes.c_uint64, [ctypes.c_char_p, ctypes.c_size_t]
    with open(path, "r+b") as file:
        data = file.read()
        for start in range(0, 65536, 16384):
            slot = bytearray(data[start:start + 4096])
            slot[8:12] = struct.pack("<I", 1000)
            slot[4088:] = struct.pack("<Q", xxhash.XXH3_64bits(bytes(slot[:4088]), 4088))
            file.seek(start)
            file.write(slot)


def pretended_direct_io():
    mount = os.path.join(scratch("tmpfs"), "disk")
    os.makedirs(mount)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400m", "tmpfs", mount], check=True)
    try:
        refusal("a tmpfs, whose Direct I/O is only pretended", f"{mount}/data", ["allow-buffered"])
        with Node("tmpfs-accepted", directory=f"{mount}/data2", args=["--allow-buffered"], keep=True) as node:
            client = node.client()
            client.make_bucket(BUCKET)
            client.put(BUCKET, "k", b"x" * 100_000)
            answers = [client.get(BUCKET, "k") for _ in range(4)]
            equal([answer.body for answer in answers], [b"x" * 100_000] * 4, "a tmpfs accepted by name is served")
            # Its pages are written in place by whoever gets the space next, while they stand in sockets yet.
            equal({answer.headers.get("x-sluice-path") for answer in answers}, {"direct"}, "and nothing is sent out of pages that may change")
            check("direct i/o" in node.log().lower(), "and the banner says what that means", lambda: node.log()[-1500:])
    finally:
        subprocess.run(["umount", mount], check=False)


def main():
    with Node("dying") as node, guarded("dying clients"):
        dying_clients(node)
    for section in (wrong_directories, used_and_newer):
        with guarded(section.__name__):
            section()
    if os.getuid() != 0:
        skip("a full disk; a tmpfs", "mounting a small disk needs root")
        finish()
    with guarded("a full disk"):
        with small_disk("full", 300) as mount:
            full_disk(mount)
    with guarded("pretended Direct I/O"):
        pretended_direct_io()
    finish()


main()
