#!/usr/bin/env python3
"""Data paths on a real node: every path the same bytes, what is forced, required and refused, a bucket's settings, sluice explain, and
whole versions for readers whose object is rewritten below them."""
import json
import os
import random
import re
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from checks import check, equal, finish, guarded, wait_until  # noqa: E402
from node import Node  # noqa: E402
import no_pipe  # noqa: E402

BUCKET = "paths"
PATHS = ("sendfile", "splice", "ring-splice", "direct", "mmap", "copy")
COPIES = {"inline": 1, "sendfile": 0, "splice": 0, "ring-splice": 0, "direct": 1, "mmap": 1, "copy": 2}
MIB = 1 << 20
SIZES = (1, 4096, 8192, 16384, 16385, 65535, 65536, 65537, MIB, MIB + 1, 20 * MIB + 12345)     # inline, units, sum chunks, windows, extents
INLINE_MAX = 16384
TAIL = 500


def get(client, key, path=None, require=None, byte_range=None, ranges=None):
    headers = {"Range": f"bytes={ranges}"} if ranges else {}
    if path:
        headers["x-sluice-path"] = path
    if require:
        headers["x-sluice-require-path"] = require
    if byte_range:
        headers["Range"] = f"bytes={byte_range[0]}-{byte_range[1]}"
    return client.request("GET", f"/{BUCKET}/{key}", headers=headers)


def same_bytes(node, client):
    bodies = {size: random.Random(size).randbytes(size) for size in SIZES}
    wrong, odd = [], []
    for size, body in bodies.items():
        equal(client.put(BUCKET, f"o{size}", body).status, 200, f"PUT of {size} bytes")
    for path in PATHS:
        for size, body in bodies.items():
            ranges = [None, (0, 0), (size // 2, size - 1), (max(0, size - 65537), size - 1), (size // 3, size // 3 + 70000)]
            for wanted in ranges:
                answer = get(client, f"o{size}", path=path, byte_range=wanted)
                first, last = wanted or (0, size - 1)
                if answer.status != (206 if wanted else 200) or answer.body != body[first:last + 1]:
                    wrong.append((path, size, wanted, answer.status))
                taken = answer.headers.get("x-sluice-path")
                expected = "inline" if size <= INLINE_MAX else path
                if taken != expected and not (path == "ring-splice" and taken == "direct"):
                    odd.append((path, size, taken))
                elif int(answer.headers.get("x-sluice-copies", -1)) != COPIES[taken] and not (taken == "direct"):
                    odd.append((path, size, taken, answer.headers.get("x-sluice-copies")))
    equal(wrong, [], "every path sends every size and range as it was stored")
    equal(odd, [], "and the receipt tells the path that was forced")
    metrics = node.metrics()
    check('sluice_http_path_fallbacks_total{reason="inline"}' in metrics and metrics['sluice_http_path_fallbacks_total{reason="inline"}'] > 0,
          "small objects that were to take another path are counted as fallbacks")
    big = max(SIZES)
    extents = json.loads(node.cli("--json", "extents", "show", f"{BUCKET}/o{big}")[1])["extents"]
    equal(get(client, f"o{big}").headers.get("x-sluice-extents"), str(len(extents)), "x-sluice-extents is what the extent map says")


def wishes(client):
    answer = get(client, "o65536", path="carrier-pigeon")
    equal((answer.status, answer.code), (400, "InvalidArgument"), "an unknown x-sluice-path is InvalidArgument")
    answer = get(client, "o65536", require="teleport")
    equal((answer.status, answer.code), (400, "InvalidArgument"), "an unknown x-sluice-require-path, too")
    answer = get(client, "o8192", require="zerocopy")
    equal((answer.status, answer.code), (412, "PreconditionFailed"), "an inline object cannot be had without a copy: 412")
    check("held in the index" in answer.body.decode(), "and the error says why", answer.body)
    answer = get(client, f"o{MIB}", require="zerocopy")
    equal((answer.status, answer.headers.get("x-sluice-copies")), (200, "0"), "a larger one can")
    answer = client.request("PUT", f"/{BUCKET}/x", headers={"x-sluice-require-path": "zerocopy"}, body=b"x")
    equal((answer.status, answer.code), (501, "NotImplemented"), "a PUT cannot require a path and is not told that it could")


def joined(client):
    """An object of two parts, the last one held in the index."""
    answer = client.request("POST", f"/{BUCKET}/joined", [("uploads", "")])
    upload = ("uploadId", re.search(rb"<UploadId>(.*?)<", answer.body)[1].decode())
    parts = [random.Random(n).randbytes(size) for n, size in enumerate((5 * MIB, TAIL))]
    listed = ""
    for n, body in enumerate(parts, 1):
        answer = client.request("PUT", f"/{BUCKET}/joined", [("partNumber", str(n)), upload], body=body)
        listed += f"<Part><PartNumber>{n}</PartNumber><ETag>{answer.headers['etag']}</ETag></Part>"
    answer = client.request("POST", f"/{BUCKET}/joined", [upload], body=f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode())
    equal(answer.status, 200, "an object whose end is held in the index")
    return b"".join(parts)


def several_ranges(node, client):
    """That a path is had can be told before the first range only, so where one is required there are no several."""
    whole = joined(client)
    equal(get(client, "joined", ranges=f"0-9,-{TAIL}").status, 206, "several ranges, nothing required")
    node.cli("bucket", "set", BUCKET, "require-path=zerocopy")
    answer = get(client, f"o{MIB}", ranges="0-9,-9")
    equal((answer.status, len(answer.body)), (200, MIB), "several ranges where the bucket requires a path: the whole object by it")
    answer = get(client, "joined", ranges=f"0-9,-{TAIL}")
    equal((answer.status, answer.code), (412, "PreconditionFailed"), "or refused before the first byte, not cut off behind the first range")
    check("the end of the object is held in the index" in answer.body.decode(), "with the reason", answer.body)
    answer = get(client, "joined", require="none", ranges=f"0-9,-{TAIL}")
    equal((answer.status, whole[-TAIL:] in answer.body), (206, True), "who takes the requirement back has the ranges")
    node.cli("bucket", "set", BUCKET, "require-path=default")


def access_line(node, answer):
    """What the access log says of a response: {name: value}."""
    told = []

    def said():
        told[:] = re.findall(rf"request id={answer.headers['x-amz-request-id']} (.*)", node.log())
        return told
    check(wait_until(said, 10), "the response stands in the access log")
    return dict(word.split("=", 1) for word in told[0].split())


def receipts(node, client):
    """Header and access log say the same, and what is so."""
    rows = ((f"o{20 * MIB + 12345}", None, "splice", "0"), ("joined", None, "splice", "1"), ("joined", f"-{TAIL}", "inline", "1"),
            (f"o{MIB}", "0-9,-9", "sendfile", "0"), (f"o{MIB}", "0-9,20-29,-9", "direct", "1"), ("o4096", "0-9,-9", "inline", "1"))
    for key, ranges, path, copies in rows:
        answer = get(client, key, path=None if path == "inline" else path, ranges=ranges)
        line, text = access_line(node, answer), f"{key}, {ranges or 'whole'}, by {path}"
        via = path + (">inline" if key == "joined" and path != "inline" else "")
        equal((answer.headers.get("x-sluice-path"), line["via"]), (path, via), f"{text}: header and log name the ways of its bytes")
        equal((answer.headers.get("x-sluice-copies"), line["copies"]), (copies, copies), f"{text}: and how often they were copied")
        if "," not in (ranges or ""):
            equal(answer.headers.get("x-sluice-extents"), line["extents"], f"{text}: and their extents")
        else:
            check("x-sluice-extents" not in answer.headers, f"{text}: of several ranges the extents are told by the log alone")
    told = json.loads(node.cli("--json", "explain", f"{BUCKET}/joined")[1])["get"]
    check(told["copies"] == 1 and "its end, held in the index, once" in told["why"], "explain: the end of an object of parts is copied", told["why"])


def bucket_settings(node, client):
    equal(node.cli("bucket", "set", BUCKET, "get-path=mmap", "verify=sample:10")[0], 0, "sluice bucket set")
    equal(get(client, f"o{MIB}").headers.get("x-sluice-path"), "mmap", "holds from the next GET on")
    equal(get(client, f"o{MIB}", path="copy").headers.get("x-sluice-path"), "copy", "a request's header comes first")
    equal(node.cli("bucket", "set", BUCKET, "require-path=zerocopy", "get-path=sendfile")[0], 0, "require-path is set")
    equal(get(client, "o4096").status, 412, "and holds for requests that say nothing")
    shown = json.loads(node.cli("--json", "bucket", "show", BUCKET)[1])["settings"]
    equal(shown, {"get-path": "sendfile", "require-path": "zerocopy", "verify": "sample:10"}, "sluice bucket show tells all of it")
    for words in (["get-path=fast"], ["speed=high"], ["verify=sample:0"], ["get-path=inline"]):
        code, text = node.cli("bucket", "set", BUCKET, *words)
        check(code == 1 and ("|default" in text or "there are get-path" in text), f"{words[0]} is refused with what there is", text)
    check(node.cli("bucket", "set", "nobody", "get-path=copy")[0] != 0, "a bucket that is not there has no settings")
    node.terminate()
    node.start()
    client = node.client()
    equal(get(client, f"o{MIB}").headers.get("x-sluice-path"), "sendfile", "settings outlive a restart")
    equal(node.cli("bucket", "set", BUCKET, "get-path=default", "require-path=default", "verify=default")[0], 0, "default takes them back")
    equal(get(client, "o4096").status, 200, "and they hold no more")
    wishes_of = {"get-path": "copy", "require-path": "none", "verify": "always"}
    setters = [threading.Thread(target=lambda name=name, value=value: [node.cli("bucket", "set", BUCKET, f"{name}={word}")
                                                                       for word in ("default", value) * 5])
               for name, value in wishes_of.items()]
    for setter in setters:
        setter.start()
    for setter in setters:
        setter.join()
    equal(json.loads(node.cli("--json", "bucket", "show", BUCKET)[1])["settings"], wishes_of, "who set different things at once both had their way")
    node.cli("bucket", "set", BUCKET, *[f"{name}=default" for name in wishes_of])
    client.make_bucket("shortlived")
    node.cli("bucket", "set", "shortlived", "get-path=copy")
    client.request("DELETE", "/shortlived")
    client.make_bucket("shortlived")
    shown = json.loads(node.cli("--json", "bucket", "show", "shortlived")[1])["settings"]
    equal(set(shown.values()), {"default"}, "a bucket made anew under the same name has none")
    return client


def explained(node, client):
    key = f"o{MIB + 1}"
    client.put(BUCKET, "cold", random.Random(3).randbytes(MIB))
    told = json.loads(node.cli("--json", "explain", f"{BUCKET}/cold")[1])["get"]
    equal((told["path"], told["auto"]), ("direct", "direct"), "explain: what nobody has read would be read directly")
    check("Direct I/O" in told["why"], "and it says why", told["why"])
    equal(get(client, "cold").headers.get("x-sluice-path"), "direct", "and so it is")
    for _ in range(3):
        get(client, key)
    told = json.loads(node.cli("--json", "explain", f"{BUCKET}/{key}")[1])["get"]
    taken = get(client, key).headers.get("x-sluice-path")
    equal((told["path"], told["copies"]), (taken, 0), "explain: what is read often is told as it then goes")
    told = json.loads(node.cli("--json", "explain", f"{BUCKET}/o4096")[1])["get"]
    equal(told["path"], "inline", "explain: a small object is inline")
    code, text = node.cli("explain", f"{BUCKET}/{key}")
    check(code == 0 and "why" in text, "explain speaks to people, too", text)
    check(node.cli("explain", f"{BUCKET}/nothing")[0] == 1, "of nothing there is nothing to explain")


def rewritten(node):
    """Versions are blocks of one byte each: a mixture would show at once."""
    stop, mixed, reads = threading.Event(), [], []

    def write():
        client, version = node.client(timeout_s=120), 0
        while not stop.is_set():
            version = version % 250 + 1
            client.put(BUCKET, "moving", bytes([version]) * (MIB + version * 997))

    def read(path):
        client = node.client(timeout_s=120)
        for _ in range(40):
            answer = get(client, "moving", path=path)
            version = answer.body[0] if answer.body else 0
            if answer.status != 200 or answer.body != bytes([version]) * (MIB + version * 997):
                mixed.append((path, answer.status, len(answer.body)))
            reads.append(path)
    node.client().put(BUCKET, "moving", bytes([1]) * (MIB + 997))
    writer = threading.Thread(target=write)
    readers = [threading.Thread(target=read, args=(path,)) for path in PATHS]
    writer.start()
    for thread in readers:
        thread.start()
    for thread in readers:
        thread.join()
    stop.set()
    writer.join()
    equal(len(reads), 40 * len(PATHS), "readers on every path got through while the object was rewritten")
    equal(mixed, [], "and each got one whole version")


def main():
    with Node("paths", config="[log]\naccess = yes\n") as node:
        client = node.client()
        client.make_bucket(BUCKET)
        with guarded("every path"):
            same_bytes(node, client)
        with guarded("wishes"):
            wishes(client)
        with guarded("several ranges"):
            several_ranges(node, client)
        with guarded("receipts"):
            receipts(node, client)
        with guarded("bucket settings"):
            client = bucket_settings(node, client)
        with guarded("explain"):
            explained(node, client)
        with guarded("rewrites"):
            rewritten(node)
    no_pipe.run()
    finish()


main()
