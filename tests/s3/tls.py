#!/usr/bin/env python3
"""TLS on the S3 port of a real node: curl by each version, names, reload by SIGHUP, two ports, mistakes at the start, clients that hang.

That the clients people use work over TLS is tested by their own suites with SLUICE_TLS=1 (tests/s3/tls_clients); with kTLS in tests/lab.
"""
import os
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time

from clients import MIB, Tool, same_file, write_file
from checks import check, equal, finish, guarded, note, wait_until
from node import BUILD, Node, binary, make_certificate, scratch

HANGING, IDLE = 300, 400
PATIENCE_S = 20                                         # for what takes milliseconds on a machine that is not busy


def split(endpoint):
    host, _, port = endpoint.rpartition(":")
    return host, int(port)


def served(endpoint, name=None):
    """The certificate (DER) that a client gets who asks for that host."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(split(endpoint), PATIENCE_S) as plain, context.wrap_socket(plain, server_hostname=name) as wire:
        return wire.getpeercert(binary_form=True)


def der(path):
    with open(path, encoding="ascii") as file:
        return ssl.PEM_cert_to_DER_cert(file.read())


def tls_port(node):
    """Of a node with a port of its own for TLS."""
    with open(os.path.join(node.dir, "endpoint.json"), encoding="utf-8") as file:
        return file.read().split('"tls": "')[1].split('"')[0]


def curl_by_version(node):
    here = f"{node.base}/client"
    tool = Tool(node, f"{here}/home")
    path = write_file(f"{here}/body", 5 * MIB + 3)
    sign = ["-sS", "--max-time", "60", "--aws-sigv4", "aws:amz:us-east-1:s3", "--user", f"{node.access_key}:{node.secret_key}"]
    url = f"{node.url}/versions/body"
    node.client().make_bucket("versions")
    for version in ("1.2", "1.3"):
        words = ["curl", *sign, f"--tlsv{version}", "--tls-max", version, "--cacert", node.ca]
        tool.good(f"curl by TLS {version}: PUT", *words, "-f", "-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD", "-T", path, url)
        for times in range(3):
            tool.good(f"curl by TLS {version}: GET {times}", *words, "-f", "-D", f"{here}/head", "-o", f"{here}/back", url)
            same_file(path, f"{here}/back", f"curl by TLS {version}: GET {times}: the same bytes")
    with open(f"{here}/head", encoding="latin-1") as file:
        head = file.read().lower()
    check("x-sluice-path: copy" in head and "x-sluice-copies: 2" in head, "the receipt tells that the bytes were copied", head)
    tool.env.pop("CURL_CA_BUNDLE")
    tool.env.pop("SSL_CERT_FILE")
    tool.bad("curl that was not told whom to trust refuses", "curl", "-sS", node.url, says="certificate")
    tool.bad("TLS 1.1 is refused", "curl", "-sSk", "--tls-max", "1.1", "--ciphers", "DEFAULT:@SECLEVEL=0", node.url, says="curl: (35)")
    metrics = node.metrics()
    check(all(metrics[f'sluice_tls_handshakes_total{{version="{version}"}}'] >= 4 for version in ("1.2", "1.3")),
          "handshakes are counted by version")
    check(metrics['sluice_tls_handshake_failures_total{reason="version"}'] >= 1, "and failures by reason")
    check("tls=1.2 " in node.log() and "tls=1.3 " in node.log(), "the access log says the version")


def one_command_each(node):
    """What a README would say: one command of awscli."""
    here = f"{node.base}/awscli"
    tool = Tool(node, f"{here}/home")
    tool.env.pop("AWS_CA_BUNDLE")
    path = write_file(f"{here}/file", 9 * MIB)
    aws = ["aws", "--endpoint-url", f"https://localhost:{split(node.s3)[1]}", "--ca-bundle", node.ca, "s3"]
    tool.good("aws s3 mb", *aws, "mb", "s3://photos")
    tool.good("aws s3 cp, in parts", *aws, "cp", "--only-show-errors", path, "s3://photos/file")
    tool.good("aws s3 cp back", *aws, "cp", "--only-show-errors", "s3://photos/file", f"{here}/back")
    same_file(path, f"{here}/back", "aws s3 by https://localhost: the same bytes")


def wrong_protocol(node):
    done = subprocess.run(["curl", "-s", "-i", "--max-time", "20", f"http://{node.s3}/"], capture_output=True, text=True, check=False)
    check(done.returncode == 0 and done.stdout.startswith("HTTP/1.1 400") and "use https://" in done.stdout,
          "plain HTTP on the TLS port: a 400 that says so", done.stdout + done.stderr)


def hanging(node):
    """Clients that begin a handshake and stop, in every way; others are served meanwhile."""
    wires = []
    for n in range(HANGING):
        wire = socket.create_connection(split(node.s3), PATIENCE_S)
        wire.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[:n % 12])
        wires.append(wire)
    silent = [subprocess.Popen(["openssl", "s_client", "-quiet", "-connect", node.s3], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL) for _ in range(3)]
    client = node.client(timeout_s=PATIENCE_S)
    slowest = 0.0
    for _ in range(30):
        client.close()                                  # so that each has a handshake of its own
        began = time.monotonic()
        client.request("GET", "/versions")
        slowest = max(slowest, time.monotonic() - began)
    check(slowest < 5, f"the slowest of 30 handshakes and requests between {HANGING} hanging ones took {slowest * 1000:.0f} ms")
    for process in silent:
        process.kill()
        process.wait()
    ended = 0
    for wire in wires:
        wire.settimeout(PATIENCE_S)
        try:
            while wire.recv(100):
                pass
            ended += 1
        except ConnectionResetError:
            ended += 1
        except OSError:
            pass
        wire.close()
    equal(ended, HANGING, "every hanging handshake is ended")
    check(node.metrics()['sluice_tls_handshake_failures_total{reason="timeout"}'] >= HANGING / 2, "and counted as timed out")


def storm(node):
    """Handshakes by the dozen do not keep a connection that is through from being served."""
    stop = threading.Event()

    def shake():
        while not stop.is_set():
            try:
                served(node.s3)
            except OSError:
                pass
    threads = [threading.Thread(target=shake) for _ in range(8)]
    client = node.client(timeout_s=PATIENCE_S)
    client.request("GET", "/versions")
    for thread in threads:
        thread.start()
    times = []
    for _ in range(50):
        began = time.monotonic()
        good = client.request("GET", "/versions").status == 200
        times.append(time.monotonic() - began)
    stop.set()
    for thread in threads:
        thread.join()
    check(good and max(times) < 5, f"50 requests in a storm of handshakes: median {sorted(times)[25] * 1000:.1f} ms, worst {max(times) * 1000:.0f} ms")


def idle(node):
    before = node.status_kib("VmRSS")
    context = ssl.create_default_context(cafile=node.ca)
    wires = []
    for _ in range(IDLE):
        wire = context.wrap_socket(socket.create_connection(split(node.s3), PATIENCE_S), server_hostname="localhost")
        wire.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        wires.append(wire)
    for wire in wires:
        wire.recv(4096)
    each = (node.status_kib("VmRSS") - before) / IDLE
    if "san" in os.path.basename(BUILD):            # a sanitizer keeps what is freed, and its own books
        note(f"an idle connection by TLS holds {each:.1f} KiB under a sanitizer")
    else:
        check(each < 32, f"an idle connection by TLS holds {each:.1f} KiB of the node's memory")
    check(node.status_kib("VmRSS") < node.memory_budget_kib(), "and the node stays within what its banner promised")
    for wire in wires:
        wire.close()


def reload(node):
    """New certificates for new connections; a broken one changes nothing but the log."""
    folder = os.path.dirname(node.ca)
    old, key = der(node.ca), os.path.join(folder, "tls.key")
    context = ssl.create_default_context(cafile=node.ca)
    long_lived = context.wrap_socket(socket.create_connection(split(node.s3), PATIENCE_S), server_hostname="localhost")
    fresh = make_certificate(f"{node.base}/fresh", "localhost", "127.0.0.1")
    shutil.copy(fresh, node.ca)                         # and not the key: a deployment half done
    os.kill(node.pid, signal.SIGHUP)
    check(wait_until(lambda: "does not belong to the certificate" in node.log(), PATIENCE_S), "a reload that fails says why", node.log)
    equal(served(node.s3), old, "and the old certificate stays in use")
    shutil.copy(f"{node.base}/fresh/tls.key", key)
    os.kill(node.pid, signal.SIGHUP)
    check(wait_until(lambda: served(node.s3) == der(fresh), PATIENCE_S), "the new certificate is shown to new connections")
    long_lived.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    check(long_lived.recv(100).startswith(b"HTTP/1.1 403"), "a connection that was there goes on")
    long_lived.close()


def two_ports():
    base = scratch("tls-two-ports")
    os.mkdir(f"{base}/more")
    first, second = make_certificate(f"{base}/one", "localhost"), make_certificate(f"{base}/more/wild", "*.s3.test")
    config = (f"[tls]\ncertificate = {first}\nkey = {base}/one/tls.key\ndirectory = {base}/more\nlisten = 127.0.0.1:0\n")
    with Node("tls-two-ports-node", config=config, tls=False) as node:
        secure = tls_port(node)
        equal(node.client().request("GET", "/").status, 200, "the S3 port stays plain")
        equal(served(secure, "localhost"), der(first), "the TLS port beside it: one certificate")
        equal(served(secure, "photos.s3.test"), der(second), "and another for another name")
        began = time.monotonic()
        done = subprocess.run(["curl", "-sSk", "--max-time", "30", f"https://{node.s3}/"], capture_output=True, text=True, check=False)
        check(done.returncode == 35 and time.monotonic() - began < 15, "TLS on the plain port fails at once", done.stderr)
        code, text = node.cli("status")
        check(f"https://{secure}" in text and f"http://{node.s3}" in text, "sluice status names both", text)


def mistakes():
    """What is wrong with a certificate is said at the start, before anything else is touched."""
    base = scratch("tls-mistakes")
    one, other = make_certificate(f"{base}/one", "localhost"), make_certificate(f"{base}/other", "localhost")
    for text, says, words in (
            ("a key of another certificate", "does not belong to the certificate", ["--tls-cert", one, "--tls-key", f"{base}/other/tls.key"]),
            ("a missing file", "cannot be read", ["--tls-cert", f"{base}/absent.crt", "--tls-key", f"{base}/one/tls.key"]),
            ("a certificate without key", "set [tls] key", ["--tls-cert", other]),
            ("a key without certificate", "[tls] certificate is not", ["--tls-key", f"{base}/one/tls.key"])):
        done = subprocess.run([binary("server/sluiced"), f"{base}/data", "--s3", "127.0.0.1:0", "--admin", "127.0.0.1:0", *words],
                              capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL)
        check(done.returncode in (1, 2) and says in done.stderr, f"{text}: refused with a sentence", done.stderr)
    check(not os.path.exists(f"{base}/data"), "and no volume was made")
    try:
        shutil.rmtree(base)
    except OSError:
        pass


def main():
    with guarded("mistakes"):
        mistakes()
    with guarded("two ports"):
        two_ports()
    with Node("tls", tls=True, args=["--set", "log.access=yes", "--set", "tls.handshake-timeout=3s"]) as node:
        for section in (curl_by_version, one_command_each, wrong_protocol, hanging, storm, idle, reload):
            with guarded(section.__name__):
                section(node)
    finish()


main()
