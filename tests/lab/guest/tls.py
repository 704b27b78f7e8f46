"""TLS on the S3 port with the kernel making the records: objects go out by sendfile as on plain HTTP, and arrive as they were.

What proves that the kernel did it: /proc/net/tls_stat counts the sessions it took over, the node's metrics say the same, the receipt
of each response says which path it took, and the client decrypts what came.
"""
import random
import re
import socket
import ssl
import subprocess
import time

from checks import check, equal, finish, guarded, wait_until
from node import Node
from probes import Copies
import lab
import sigv4

BUCKET = "tls"
SIZES = [1, 20_000, 65536, 300_000, (4 << 20) + 1]        # inline, and every other kind
# Each path forced: how often the kernel copies each byte of a warm body. It encrypts from where they lie what is spliced, and memory, too:
# in any case with TLS 1.3, with 1.2 unless its cipher works asynchronously, so that receipts of 1.2 still count the send.
FORCED = {"sendfile": 0, "splice": 0, "ring-splice": 0, "mmap": 0, "direct": 0, "copy": 1}
SENDS_MEMORY = ("mmap", "direct", "copy")
FORCED_BYTES = (1 << 20) + 12345
BESIDE = 16 << 10                                       # heads and the index record, as in copies.py
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def client_of(node, version):
    client = node.client()
    client.tls.minimum_version = client.tls.maximum_version = VERSIONS[version]
    return client


def body_of(size):
    return random.Random(size).randbytes(size)


def kernel_connections(node, direction):
    return node.metrics()[f'sluice_tls_kernel_connections_total{{direction="{direction}"}}']


def path_of(answer):
    return answer.headers.get("x-sluice-path")


def store_and_fetch(node, version, done):
    before, sessions = kernel_connections(node, "send"), done().get("TlsTxSw", 0)
    client = client_of(node, version)
    for size in SIZES:
        key, body = f"{version}/{size}", body_of(size)
        equal(client.put(BUCKET, key, body).status, 200, f"TLS {version}: PUT of {size} bytes")
        answers = [client.get(BUCKET, key) for _ in range(4)]
        check(all(answer.status == 200 and answer.body == body for answer in answers),
              f"TLS {version}: GET of {size} bytes, four times: the same bytes", repr(answers))
        paths = [path_of(answer) for answer in answers]
        if size > 16384:
            check(paths[-1] in ("sendfile", "splice"), f"TLS {version}: {size} bytes read again go out by {paths[-1]}", repr(paths))
            equal(answers[-1].headers.get("x-sluice-copies"), "0", f"TLS {version}: {size} bytes: without a copy")
    answer = client.request("GET", sigv4.key_path(BUCKET, f"{version}/{SIZES[-1]}"), headers={"range": "bytes=65000-1200000"})
    check(answer.status == 206 and answer.body == body_of(SIZES[-1])[65000:1200001], f"TLS {version}: a range across chunks", repr(answer))
    client.close()
    equal(kernel_connections(node, "send") - before, 1, f"TLS {version}: the node says that the kernel sends")
    equal(done().get("TlsTxSw", 0) - sessions, 1, f"TLS {version}: the kernel says so")


def by_each_path(node, version, copies):
    """The bytes of every path through the kernel's encryption, whole and in part, and what it copied of them."""
    body, client = body_of(FORCED_BYTES), client_of(node, version)
    for path, theory in FORCED.items():
        key, text = f"{version}/by/{path}", f"TLS {version}, {path}"
        equal(client.put(BUCKET, key, body).status, 200, f"{text}: PUT")
        for when in ("first", "again"):
            copies.clear()
            answer = client.get(BUCKET, key, headers={"x-sluice-path": path})
            counted = copies.of(node.pid)
            equal((answer.status, path_of(answer)), (200, path), f"{text}, {when}: by that path")
            check(answer.body == body, f"{text}, {when}: the bytes", f"{len(answer.body)} of {len(body)}")
        check(0 <= sum(counted.values()) - theory * len(body) <= BESIDE, f"{text}: the kernel copied the body {theory} times", str(counted))
        told = theory + (version == "1.2" and path in SENDS_MEMORY)
        equal(answer.headers.get("x-sluice-copies"), str(told), f"{text}: the receipt")
        for first, last in ((16383, 16384), (65535, FORCED_BYTES - 1)):
            answer = client.get(BUCKET, key, headers={"x-sluice-path": path, "range": f"bytes={first}-{last}"})
            check(answer.status == 206 and answer.body == body[first:last + 1], f"{text}: bytes {first} to {last}", repr(answer))
    client.close()


def incoming(node, done):
    """TLS 1.2 is decrypted by the kernel, too; OpenSSL 3.0 does not hand over 1.3's receiving side."""
    equal(kernel_connections(node, "receive"), done().get("TlsRxSw", 0), "the node and the kernel agree on who receives")
    check(kernel_connections(node, "receive") >= 1, "uploads by TLS 1.2 were decrypted by the kernel")


def new_keys(node):
    """A client that asks for new keys: the kernel cannot change its own, so the connection ends instead of sending garbage."""
    host, _, port = node.s3.rpartition(":")
    command = ["openssl", "s_client", "-connect", f"{host}:{port}", "-tls1_3", "-CAfile", node.ca]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as client:
        time.sleep(3)
        client.stdin.write(b"K\n")
        client.stdin.flush()
        ended = wait_until(lambda: client.poll() is not None, 30)
        client.stdin.close()
        said = client.stdout.read().decode(errors="replace")
        client.kill()
    check(ended and "KEYUPDATE" in said, "a client that asks for new keys sees the connection end", said[-1500:])
    equal(client_of(node, "1.3").get(BUCKET, f"1.3/{SIZES[1]}").status, 200, "and others are served")


def farewell(node):
    """Connection: close ends with TLS's own farewell, made by the kernel: what came is known to be whole."""
    host, _, port = node.s3.rpartition(":")
    context = ssl.create_default_context(cafile=node.ca)
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF if hasattr(ssl, "OP_IGNORE_UNEXPECTED_EOF") else ~0
    with context.wrap_socket(socket.create_connection((host, int(port)), 60), server_hostname=host, suppress_ragged_eofs=False) as wire:
        wire.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        said, ended = b"", "by nothing"
        try:
            while piece := wire.recv(65536):
                said += piece
            ended = "by close_notify"
        except ssl.SSLEOFError:
            ended = "cut off"
    check(ended == "by close_notify" and said.startswith(b"HTTP/1.1 403"), "the farewell arrives", f"{ended}: {said[:200]!r}")


def main():
    done = lab.ktls()
    directory = lab.format_and_mount("/dev/vda", "ext4", "/mnt/ext4")
    with Node("lab-tls", directory=f"{directory}/data", tls=True, args=["--set", "log.access=yes"]) as node:
        check("encrypted by the kernel" in node.log(), "the banner says that the kernel encrypts", node.log())
        equal(node.client().make_bucket(BUCKET).status, 200, "CreateBucket")
        for version in VERSIONS:
            with guarded(version):
                store_and_fetch(node, version, done)
        with Copies() as copies:
            lab.warm(node.pid)
            for version in VERSIONS:
                with guarded(f"each path by {version}"):
                    by_each_path(node, version, copies)
        for section in (lambda: incoming(node, done), lambda: new_keys(node), lambda: farewell(node)):
            with guarded("section"):
                section()
        check(re.search("via=sendfile .*tls=1.3,kernel", node.log()), "the access log says so", node.log()[-2000:])
    equal(done().get("TlsDecryptError", 0), 0, "the kernel met no record it could not open")
    lab.unmount(directory)
    finish()


main()
