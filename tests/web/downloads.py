"""Downloads as people make them: resumed, slow, given up; and that those given up leave nothing behind."""
import json
import os
import socket
import threading
import time

from checks import check, equal, wait_until
from clients import MIB, Tool, same_file, write_file
import sigv4

SIZE = 24 * MIB + 4321


def url_of(node, key, method="GET"):
    return node.url + sigv4.presign(node.creds, method, node.s3, f"/web/{key}")


def resumed(nginx, node, base, path):
    """curl -C: from a part, from all of it, and from more than there is; as nginx does it."""
    tool = Tool(node, f"{base}/home")
    size = os.path.getsize(path)
    for have in (0, 1, 65536, size // 2, size - 1, size, size + 5):
        codes, kept = [], []
        for name, url in (("nginx", f"{nginx.url}/download.bin"), ("node", url_of(node, "download.bin"))):
            part = f"{base}/part-{name}"
            with open(path, "rb") as whole, open(part, "wb") as file:
                file.write(whole.read(have) + b"?" * max(0, have - size))
            code, out, _ = tool.run("curl", "-sS", "-C", "-", "--max-time", "60", "-o", part, "-w", "%{http_code}", url)
            codes.append((code, out))
            with open(part, "rb") as file:
                kept.append(file.read())
        equal(codes[1], codes[0], f"curl -C from byte {have}: exit code and status as nginx")
        with open(path, "rb") as whole:
            check(kept[1] == kept[0] and (have > size or kept[1] == whole.read()), f"curl -C from byte {have}: the whole file")


def parallel(node, base, path):
    """What download accelerators do: one file in several ranges at once."""
    size, count, pieces = os.path.getsize(path), 6, {}

    def fetch(n):
        first, last = size * n // count, size * (n + 1) // count - 1
        _, out, _ = Tool(node, f"{base}/home").run("curl", "-sS", "--max-time", "60", "-r", f"{first}-{last}", "-o", f"{base}/piece-{n}",
                                                   "-w", "%{http_code} %{size_download}", url_of(node, "download.bin"))
        pieces[n] = out == f"206 {last - first + 1}"
    threads = [threading.Thread(target=fetch, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check(all(pieces.values()), "six ranges at once", str(pieces))
    with open(f"{base}/joined", "wb") as whole:
        for n in range(count):
            with open(f"{base}/piece-{n}", "rb") as piece:
                whole.write(piece.read())
    same_file(path, f"{base}/joined", "and together they are the file")


def slow(node, base, path):
    tool = Tool(node, f"{base}/home")
    started = time.monotonic()
    _, out, _ = tool.run("curl", "-sS", "--limit-rate", "6M", "--max-time", "60", "-o", f"{base}/slow", "-w", "%{http_code}",
                         url_of(node, "download.bin"))
    took = time.monotonic() - started
    equal(out, "200", "a slow reader gets 200")
    check(took > 2, "and was slow", f"{took:.1f} s")
    same_file(path, f"{base}/slow", "and every byte")


def give_up(node, target, read_bytes, headers=""):
    """Asks, reads a little, and is gone with the rest unread: the kernel answers what still comes by a reset."""
    with socket.create_connection(tuple(node.s3.rsplit(":", 1)), 20) as wire:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        wire.sendall(f"GET {target} HTTP/1.1\r\nHost: {node.s3}\r\n{headers}\r\n".encode())
        while read_bytes > 0:
            got = wire.recv(min(read_bytes, 65536))
            if not got:
                return
            read_bytes -= len(got)


def given_up(node):
    target = sigv4.presign(node.creds, "GET", node.s3, "/web/download.bin")
    for n in range(60):
        headers = "Range: bytes=0-9999999,10000001-\r\n" if n % 3 == 0 else ""
        give_up(node, target, [0, 1, 5000, 300_000, 3 * MIB][n % 5], headers)

    def quiet():
        values = node.metrics()
        return values["sluice_http_connections"] == 0 and values["sluice_http_slots_waiting"] == 0
    check(wait_until(quiet, 20), "60 downloads given up: no connection stays", lambda: str(node.metrics()))


def run(nginx, node, base):
    path = write_file(f"{base}/root/download.bin", SIZE)
    with open(path, "rb") as file:
        equal(node.client().put("web", "download.bin", file.read()).status, 200, "PUT download.bin")
    resumed(nginx, node, base, path)
    parallel(node, base, path)
    slow(node, base, path)
    given_up(node)
    same_again(node, base, path)
    space_comes_back(node)


def same_again(node, base, path):
    Tool(node, f"{base}/home").run("curl", "-sS", "--max-time", "60", "-o", f"{base}/again", url_of(node, "download.bin"))
    same_file(path, f"{base}/again", "after all that the file is still served whole")


def space_comes_back(node):
    """A reader pins what it reads: one that was left behind would keep a deleted object's space for ever."""
    before = volume(node)
    equal(node.client().delete("web", "download.bin").status, 204, "DELETE download.bin")

    def freed():
        now = volume(node)
        return now["reclaiming_bytes"] == 0 and now["used_bytes"] + SIZE <= before["used_bytes"]
    check(wait_until(freed, 30), "its space comes back: no reader holds it", lambda: f"{before}\n{volume(node)}")


def volume(node):
    return json.loads(node.admin_get("/v1/volume"))
