"""A node on each file system Sluice is made for, over a real block device and the guest's kernel."""
import hashlib
import os
import random
import subprocess

from checks import check, equal, finish, guarded
from node import Node
import lab

SIZES = [1, 20_000, 65536, (4 << 20) + 1]                 # inline; one unit and a piece; one sum chunk; more than a slot


def cached_bytes(directory):
    files = [os.path.join(directory, "seg", name) for name in os.listdir(f"{directory}/seg")]
    done = subprocess.run(["fincore", "--bytes", "--noheadings", "--output", "RES", *files], capture_output=True, text=True, check=True)
    return sum(map(int, done.stdout.split()))


def store_and_fetch(kind, directory):
    node = Node(f"lab-{kind}", directory=f"{directory}/data")
    bodies = {f"size/{size}": random.Random(size).randbytes(size) for size in SIZES}
    with node:
        client = node.client()
        equal(client.make_bucket("lab").status, 200, f"{kind}: CreateBucket")
        before = cached_bytes(node.dir)
        for key, body in bodies.items():
            answer = client.put("lab", key, body)
            equal((answer.status, answer.headers.get("etag")), (200, f'"{hashlib.md5(body).hexdigest()}"'), f"{kind}: PUT {key}")
            equal(answer.headers.get("x-sluice-durable", "").split()[:1], ["local:fdatasync"], f"{kind}: PUT {key} is durable")
        grown = cached_bytes(node.dir) - before
        check(grown == 0, f"{kind}: Direct I/O, the page cache holds nothing of it", f"{grown} bytes are cached")
        client.close()
        equal(node.terminate(), 0, f"{kind}: SIGTERM drains and exits 0")
        node.start()
        client = node.client()
        for key, body in bodies.items():
            answer = client.get("lab", key)
            check(answer.status == 200 and answer.body == body, f"{kind}: GET {key} after a restart", repr(answer))


def main():
    for kind, device in (("ext4", "/dev/vda"), ("xfs", "/dev/vdb")):
        with guarded(kind):
            directory = lab.format_and_mount(device, kind, f"/mnt/{kind}")
            store_and_fetch(kind, directory)
            lab.unmount(directory)
    finish()


main()
