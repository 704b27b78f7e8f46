#!/usr/bin/env python3
"""kill -9 at a random moment, under parallel load, many times over; then everything that was acknowledged is looked for.

    tests/crash/kill.py [--kills 50] [--seed N] [--cycle SECONDS] [--workers 8] [--build DIR] [--data-every 10]

Each worker owns its keys, so the state of a key is known exactly but for the one operation that was under way when the node died: such a
key may hold what it held before or what was being written, whole. After each restart every key touched since the last check is read and
compared, every tenth time all of them; after each kill `sluice fsck` must be clean, every tenth time with --data.
The seed is printed and kept in tests/out/crash-seed.
"""
import argparse
import hashlib
import http.client
import os
import random
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    parser.add_argument("--cycle", type=float, default=1.2, help="longest time under load between two kills")
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--keys", type=int, default=40, help="keys of each worker")
    parser.add_argument("--build")
    parser.add_argument("--data-every", type=int, default=10)
    options = parser.parse_args()
    if options.build:
        os.environ["SLUICE_BUILD"] = options.build
    return options


OPTIONS = arguments()
from checks import check, finish, note  # noqa: E402
from node import Node, NotReady, OUT  # noqa: E402
import sigv4  # noqa: E402

BUCKET = "crash"
ABSENT = None
PART = 5 << 20
SIZES = (0, 1, 700, 4096, 8192, 8193, 20_000, 65_536, 262_145, 1_500_000)


def body_of(seed, size):
    """Bytes that are told by a seed alone, so that a worker keeps a number and not the bytes."""
    return random.Random(seed).randbytes(size)


class Value:
    """What a key may hold: the description of a body; its digest is made when somebody asks."""

    def __init__(self, seed, sizes):
        self.seed, self.sizes = seed, sizes

    def pieces(self):
        return [body_of(f"{self.seed}/{n}", size) for n, size in enumerate(self.sizes)]

    def digest(self):
        return hashlib.sha256(b"".join(self.pieces())).hexdigest()

    def __repr__(self):
        return f"Value({self.seed}, {self.sizes})"


class Worker(threading.Thread):
    """Writes its own keys, remembers what was acknowledged, stops at the first broken connection."""

    def __init__(self, number, seed, state, endpoint, creds):
        super().__init__(daemon=True)
        self.number, self.random, self.state = number, random.Random(seed), state
        self.client = sigv4.Client(endpoint, creds, timeout_s=20)
        self.acknowledged, self.surprise, self.stopping = 0, "", False

    def run(self):
        try:
            while not self.stopping:
                self.step()
        except (OSError, http.client.HTTPException):
            pass                                        # the node died: that is the point
        finally:
            self.client.close()

    def step(self):
        key = f"w{self.number}/k{self.random.randrange(OPTIONS.keys):03}"
        draw = self.random.random()
        if draw < 0.15:
            self.attempt(key, ABSENT, lambda: self.client.delete(BUCKET, key), (204,))
        elif draw < 0.20:
            value = Value(self.random.getrandbits(48), (PART, self.random.randrange(1, 100_000)))
            self.attempt(key, value, lambda: self.multipart(key, value), (200,))
        else:
            size = self.random.choice(SIZES) if draw < 0.6 else self.random.randrange(0, 30_000)
            value = Value(self.random.getrandbits(48), (size,))
            body = value.pieces()[0]
            self.attempt(key, value, lambda: self.client.put(BUCKET, key, body, payload=sigv4.UNSIGNED), (200,))

    def attempt(self, key, value, call, good):
        """Until the answer is there the key may hold either value; then exactly the new one."""
        before = self.state.get(key, (ABSENT,))
        self.state[key] = before + (value,)
        answer = call()
        if answer.status in good:
            self.state[key] = (value,)
            self.acknowledged += 1
        elif answer.status == 503:
            time.sleep(0.05)                            # not taken: still either of them, which is also true
        else:
            self.surprise = f"{key}: {answer}"
            self.stopping = True

    def multipart(self, key, value):
        path = sigv4.key_path(BUCKET, key)
        answer = self.client.request("POST", path, [("uploads", "")])
        if answer.status != 200:
            return answer
        upload = answer.body.split(b"<UploadId>")[1].split(b"</UploadId>")[0].decode()
        listed = ""
        for number, piece in enumerate(value.pieces(), 1):
            answer = self.client.request("PUT", path, [("partNumber", str(number)), ("uploadId", upload)], body=piece, payload=sigv4.UNSIGNED)
            if answer.status != 200:
                return answer
            listed += f"<Part><PartNumber>{number}</PartNumber><ETag>{answer.headers['etag']}</ETag></Part>"
        return self.client.request("POST", path, [("uploadId", upload)],
                                   body=f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode())


def verify(node, state, keys):
    """Reads the keys and compares; what is found becomes what is known. Returns what is wrong."""
    client, wrong = node.client(timeout_s=60), []
    for key in sorted(keys):
        answer = client.get(BUCKET, key)
        allowed = state[key]
        if answer.status == 404:
            found = [value for value in allowed if value is ABSENT]
        elif answer.status == 200:
            digest = hashlib.sha256(answer.body).hexdigest()
            found = [value for value in allowed if value is not ABSENT and value.digest() == digest]
        else:
            found = []
        if not found:
            wrong.append(f"{key}: got {answer.status}, {len(answer.body)} bytes; may be {list(allowed)}")
        else:
            state[key] = (found[-1],)
    client.close()
    return wrong


def listed_rightly(node, state):
    """The listing has exactly the keys that are there; call it when each key's state is known."""
    want = sorted(key for key, allowed in state.items() if allowed != (ABSENT,))
    got = node.client(timeout_s=60).list_keys(BUCKET)
    return check(got == want, "the listing has exactly the acknowledged keys", f"too many: {sorted(set(got) - set(want))[:5]}\n"
                 f"missing: {sorted(set(want) - set(got))[:5]}")


def cycle(node, number, seed, state):
    """One life of the node: load, kill, fsck, start again, verify. False when going on makes no sense."""
    source = random.Random(f"{seed}/{number}")
    before = {key: value for key, value in state.items()}
    workers = [Worker(n, f"{seed}/{number}/{n}", state, node.s3, node.creds) for n in range(OPTIONS.workers)]
    for worker in workers:
        worker.start()
    time.sleep(source.uniform(0.05, OPTIONS.cycle))
    node.kill()
    for worker in workers:
        worker.stopping = True
        worker.join(30)
    surprises = [worker.surprise for worker in workers if worker.surprise]
    full = number % OPTIONS.data_every == 0 or number == OPTIONS.kills
    code, text = node.fsck(*(["--data"] if full else []))
    clean = check(code == 0, f"kill {number}: fsck{' --data' if full else ''} is clean", text[-2000:])
    began = time.monotonic()
    try:
        node.start()
    except NotReady as error:
        check(False, f"kill {number}: the node starts again", str(error))
        return False
    ready_s = time.monotonic() - began
    touched = [key for key in state if full or before.get(key) != state[key]]
    wrong = verify(node, state, touched) + surprises
    acknowledged = sum(worker.acknowledged for worker in workers)
    check(not wrong, f"kill {number}: {acknowledged} acknowledged, {len(touched)} keys read, nothing lost or wrong", "\n".join(wrong[:10]))
    if full:
        listed_rightly(node, state)
    note(f"kill {number}: ready again after {ready_s:.2f} s")
    return clean and not wrong


def main():
    note(f"seed {OPTIONS.seed}")
    with open(os.path.join(OUT, "crash-seed"), "w", encoding="ascii") as file:
        file.write(f"{OPTIONS.seed}\n")
    state = {}
    build = os.path.basename(os.environ.get("SLUICE_BUILD", "build"))
    with Node(f"crash-{build}") as node:
        node.client().make_bucket(BUCKET)
        for number in range(1, OPTIONS.kills + 1):
            if not cycle(node, number, OPTIONS.seed, state):
                note(f"stopped; again with: tests/crash/kill.py --seed {OPTIONS.seed}")
                node.keep = True
                break
        if "tsan" in build or "asan" in build:
            check("Sanitizer" not in node.log(), "the sanitizer saw nothing", lambda: node.log()[node.log().index("Sanitizer") - 200:][:4000])
    finish()


main()
