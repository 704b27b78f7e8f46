#!/usr/bin/env python3
"""A few seconds of a real node: what must work before anything else is worth testing. No client but our own."""
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import xml.etree.ElementTree

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from checks import check, equal, finish, guarded  # noqa: E402
from node import Node, binary, scratch  # noqa: E402

# inline, around the inline limit, one unit, one sum chunk, one arena slot, several extents
SIZES = [0, 1, 100, 4095, 4096, 8191, 8192, 8193, 65536, 262144, 1048577, 5 << 20, 40 << 20]


def objects():
    random.seed(1)
    return {f"size/{size}": random.randbytes(size) for size in SIZES}


def store_and_fetch(client, bodies):
    for key, body in bodies.items():
        answer = client.put("smoke", key, body)
        equal(answer.status, 200, f"PUT {key}")
        equal(answer.headers.get("etag"), f'"{hashlib.md5(body).hexdigest()}"', f"PUT {key}: ETag is the MD5")
        check("x-sluice-durable" in answer.headers, f"PUT {key}: a durability receipt", answer.headers)
    fetch(client, bodies, "")


def fetch(client, bodies, when):
    for key, body in bodies.items():
        answer = client.get("smoke", key)
        check(answer.status == 200 and answer.body == body, f"GET {key}{when}: the same bytes",
              f"{answer.status}, {len(answer.body)} bytes, expected {len(body)}")


def basics(node, client):
    equal(client.make_bucket("smoke").status, 200, "CreateBucket")
    equal(client.request("HEAD", "/smoke").status, 200, "HeadBucket")
    answer = client.get("smoke", "missing")
    equal((answer.status, answer.code), (404, "NoSuchKey"), "GET of a missing key")
    check(answer.headers.get("x-amz-request-id"), "an error carries x-amz-request-id")
    store_and_fetch(client, objects())
    equal(client.list_keys("smoke"), sorted(objects()), "ListObjectsV2: every key in byte order")
    for key in ("size/1", "size/8193"):
        equal(client.delete("smoke", key).status, 204, f"DELETE {key}")
        equal(client.get("smoke", key).status, 404, f"GET {key} after DELETE")
        equal(client.delete("smoke", key).status, 204, f"DELETE {key} again")
    answer = client.raw("GET", "/smoke/size/4096", {"host": client.host})
    equal((answer.status, answer.code), (403, "AccessDenied"), "GET without a signature")


def command_line(node):
    code, text = node.cli("status", "--json")
    check(code == 0 and isinstance(json.loads(text), dict), "sluice status --json", text)
    code, text = node.cli("key", "create", "--name", "smoke", "--json")
    check(code == 0, "sluice key create", text)
    code, text = node.cli("extents", "show", "smoke/size/1048577", "--json")
    check(code == 0, "sluice extents show", text)
    json.loads(text)
    code, text = node.cli("object", "stat", "smoke/size/1048577", "--json")
    check(code == 0, "sluice object stat", text)
    json.loads(text)
    for words in (["--help"], ["key", "list", "--json"], ["extents", "map"], ["volume", "status"]):
        code, text = node.cli(*words)
        check(code == 0 and text, f"sluice {' '.join(words)}", text)
    code, text = node.cli("doctor", "--json")
    report = json.loads(text)
    told = {row["name"]: row for row in report["checks"]}
    check(code == (0 if report["usable"] else 1) and told["disk.direct_io"]["verdict"] == "ok", "sluice doctor: Direct I/O is real, and the exit code says what the JSON says", text)
    check(node.s3 in told["node.runs"]["value"] and "network.lo.link" in told,
          "sluice doctor looks at what the node listens on", text)
    code, _ = node.cli("no-such-command")
    check(code != 0, "sluice refuses an unknown command")
    for value, expected in (("sample:10", 0), ("sometimes", 2)):
        done = subprocess.run([binary("server/sluiced"), node.dir, "--check-config", "--set", f"get.verify={value}"], capture_output=True, text=True, check=False)
        equal(done.returncode, expected, f"sluiced --check-config judges [get] verify = {value}")


def bench():
    """A very short one: what it measures is not judged here, what it writes is."""
    base = scratch("smoke-bench")
    table, plot = os.path.join(base, "paths.json"), os.path.join(base, "paths.svg")
    done = subprocess.run([binary("tools/sluice"), "bench", "paths", "--sizes", "4KiB,1MiB", "--seconds", "0.02", "--dir",
                           base, "--json", table, "--svg", plot], capture_output=True, text=True, timeout=300)
    check(done.returncode == 0 and "sendfile" in done.stdout, "sluice bench paths", done.stdout + done.stderr)
    with open(table, encoding="utf-8") as file:
        points = json.load(file)["points"]
    check(len(points) == 16 and all(p["bytes_verified"] for p in points if p["measured"]),
          "its JSON has every point, and each was compared before it was measured", points)
    root = xml.etree.ElementTree.parse(plot).getroot()
    check(root.tag.endswith("svg") and len(root) > 50, "its plot is XML")
    done = subprocess.run([binary("tools/sluice"), "bench", "paths", "--sizes", "4KiB", "--seconds", "0.01", "--dir", base, "--json", f"{base}/none/x"],
                          capture_output=True, text=True, timeout=300, check=False)
    check(done.returncode == 1 and "cannot write" in done.stderr and '"error"' not in done.stdout,
          "a file that cannot be written is told beside the table, not in it", done.stdout + done.stderr)
    equal(sorted(os.listdir(base)), ["paths.json", "paths.svg"], "it leaves no scratch file")
    shutil.rmtree(base)


def main():
    bodies = objects()
    with Node("smoke") as node:
        client = node.client()
        with guarded("basics"):
            basics(node, client)
        with guarded("command line"):
            command_line(node)
        with guarded("bench"):
            bench()
        with guarded("metrics"):
            check(node.metrics(), "the admin port has metrics")
        client.close()
        equal(node.terminate(), 0, "SIGTERM drains and exits 0")
        node.start()
        for key in ("size/1", "size/8193"):
            bodies.pop(key)
        with guarded("after a restart"):
            fetch(node.client(), bodies, " after a restart")
    finish()


main()
