"""Clients that work on a few keys through several nodes, and write down what they asked and what they were told.

An operation is one JSON line of the history: {"client", "op", "key", "value", "start", "end", "result"}
    op      "write" (a PUT or a completed multipart upload), "read", "delete"
    value   what was written or read: a word that no other write has; null: nothing there
    start, end   monotonic nanoseconds around the request
    result  "ok", or "unknown": it may have happened, or may yet. Reads that were not answered are left out
tests/cluster/linear.py judges it.
"""
import hashlib
import http.client
import json
import os
import random
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import sigv4  # noqa: E402

BUCKET = "load"
SIZES = (60, 60, 900, 5000, 8193, 40_000, 300_000)
REFUSED = (500, 503, 507)          # not acknowledged; whether it happened is not said


def body_of(value, size):
    head = (value + "\n").encode()
    return head + hashlib.shake_128(head).digest(max(0, size - len(head)))


def value_in(body):
    """The word, if every byte is as its writer made it; else None."""
    head, newline, _ = body.partition(b"\n")
    value = head.decode(errors="replace")
    return value if newline and body_of(value, len(body)) == body else None


class History:
    def __init__(self):
        self.lock, self.operations, self.surprises = threading.Lock(), [], []

    def add(self, **operation):
        with self.lock:
            self.operations.append(operation)

    def surprise(self, text):
        with self.lock:
            self.surprises.append(text)

    def save(self, path):
        with open(path, "w", encoding="ascii") as file:
            for operation in sorted(self.operations, key=lambda one: one["start"]):
                file.write(json.dumps(operation) + "\n")
        return path

    def count(self, result="ok", op=None):
        with self.lock:
            return sum(1 for one in self.operations if one["result"] == result and op in (None, one["op"]))


class LoadClient(threading.Thread):
    """One client of one node; keeps on trying whatever happens to the node."""

    def __init__(self, number, node, history, seed, keys, sizes=SIZES):
        super().__init__(daemon=True)
        self.number, self.node, self.history, self.keys, self.sizes = number, node, history, keys, sizes
        self.random, self.sequence = random.Random(f"{seed}/{number}"), 0
        self.stopping, self.last_ok, self.longest_gap = False, time.monotonic(), 0.0
        self.http = None

    def run(self):
        while not self.stopping:
            try:
                if self.http is None or self.http.host != self.node.s3:
                    self.reconnect()
                self.step()
            except (OSError, http.client.HTTPException):
                self.reconnect()
                time.sleep(0.05)
        if self.http is not None:
            self.http.close()

    def reconnect(self):
        if self.http is not None:
            self.http.close()
        self.node.look()
        self.http = self.node.client(timeout_s=15)

    def step(self):
        key, draw = self.random.choice(self.keys), self.random.random()
        if draw < 0.45:
            self.read(key)
        elif draw < 0.55:
            self.change("delete", key, None, lambda: self.http.delete(BUCKET, key), (204,))
        else:
            self.sequence += 1
            value = f"{self.number}.{self.sequence}"
            body = body_of(value, self.random.choice(self.sizes))
            store = self.multipart if draw > 0.97 else self.put
            self.change("write", key, value, lambda: store(key, body), (200,))

    def put(self, key, body):
        answer = self.http.put(BUCKET, key, body, payload=sigv4.UNSIGNED)
        if answer.status == 200 and answer.headers.get("etag") != f'"{hashlib.md5(body).hexdigest()}"':
            self.history.surprise(f"PUT {key}: ETag {answer.headers.get('etag')} is not the MD5")
        return answer

    def multipart(self, key, body):
        path = sigv4.key_path(BUCKET, key)
        answer = self.http.request("POST", path, [("uploads", "")])
        if answer.status != 200:
            return answer
        upload = answer.body.split(b"<UploadId>")[1].split(b"</UploadId>")[0].decode()
        answer = self.http.request("PUT", path, [("partNumber", "1"), ("uploadId", upload)], body=body, payload=sigv4.UNSIGNED)
        if answer.status != 200:
            return answer
        part = f"<Part><PartNumber>1</PartNumber><ETag>{answer.headers['etag']}</ETag></Part>"
        return self.http.request("POST", path, [("uploadId", upload)], body=f"<CompleteMultipartUpload>{part}</CompleteMultipartUpload>".encode())

    def change(self, op, key, value, call, good):
        start = time.monotonic_ns()
        result = "unknown"
        try:
            answer = call()
            if answer.status in good:
                result = "ok"
            elif answer.status not in REFUSED:
                self.history.surprise(f"{op} {key}: {answer}")
        finally:
            self.history.add(client=self.number, op=op, key=key, value=value, start=start, end=time.monotonic_ns(), result=result)
        self.tell(result == "ok")

    def read(self, key):
        start = time.monotonic_ns()
        answer = self.http.get(BUCKET, key)
        end = time.monotonic_ns()
        value = value_in(answer.body) if answer.status == 200 else None
        if answer.status == 200 and value is None:
            self.history.surprise(f"GET {key}: {len(answer.body)} bytes that nobody wrote: {answer.body[:60]!r}")
        elif answer.status in (200, 404):
            self.history.add(client=self.number, op="read", key=key, value=value, start=start, end=end, result="ok")
        elif answer.status not in REFUSED:
            self.history.surprise(f"GET {key}: {answer}")
        self.tell(answer.status in (200, 404))

    def tell(self, is_good):
        now = time.monotonic()
        if is_good:
            self.longest_gap = max(self.longest_gap, now - self.last_ok)
            self.last_ok = now
        else:
            time.sleep(0.02)


class Load:
    """`with Load(cluster, seed) as load:` clients work meanwhile, a few on each node."""

    def __init__(self, cluster, seed, per_node=2, keys=8, sizes=SIZES, history=None):
        self.history = history or History()
        names = [f"k{n}" for n in range(keys)]
        first = max([one["client"] for one in self.history.operations], default=0) + 1
        self.clients = [LoadClient(first + n, node, self.history, seed, names, sizes)
                        for n, node in enumerate(node for node in cluster for _ in range(per_node))]
        self.keys = names

    def __enter__(self):
        for client in self.clients:
            client.start()
        return self

    def __exit__(self, kind, error, trace):
        for client in self.clients:
            client.stopping = True
        for client in self.clients:
            client.join(60)
        return False

    def progress(self):
        return self.history.count()

    def read_all(self, cluster):
        """One read of each key through each node, as part of the history: what was acknowledged is not lost."""
        for number, node in enumerate(cluster):
            reader = LoadClient(9000 + number, node, self.history, 0, self.keys)
            reader.reconnect()
            for key in self.keys:
                reader.read(key)
            reader.http.close()
