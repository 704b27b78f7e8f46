"""Bytes on a socket, for tests that say what no client would: send anything, read what comes until the other side is done."""
import socket
import ssl

from checks import check
from node import TLS
import sigv4


class Answer:
    """What came back: the statuses of its responses, the raw bytes, and whether the server closed the connection."""

    def __init__(self, raw, closed):
        self.raw, self.closed = raw, closed
        self.responses = list(parse(raw))
        self.statuses = [status for status, _, _ in self.responses]

    @property
    def status(self):
        return self.statuses[0] if self.statuses else 0

    @property
    def code(self):
        for _, _, body in self.responses:
            if b"<Code>" in body:
                return body.split(b"<Code>", 1)[1].split(b"</Code>", 1)[0].decode()
        return ""

    def __repr__(self):
        return f"{self.statuses} {self.code} closed={self.closed} {self.raw[:300]!r}"


def parse(raw):
    """The responses in a byte stream; enough of HTTP for a server that sends Content-Length or chunked."""
    while raw.startswith(b"HTTP/1.") and b"\r\n\r\n" in raw:
        head, rest = raw.split(b"\r\n\r\n", 1)
        lines = head.decode("latin-1").split("\r\n")
        status = int(lines[0].split()[1])
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        if status < 200 or status in (204, 304):
            size = 0
        elif "content-length" in headers:
            size = int(headers["content-length"])
        elif headers.get("transfer-encoding") == "chunked":
            size = rest.find(b"0\r\n\r\n") + 5
        else:
            size = len(rest)
        yield status, headers, rest[:size]
        raw = rest[size:]


def connect(endpoint, timeout_s=10):
    host, _, port = endpoint.rpartition(":")
    wire = socket.create_connection((host, int(port)), timeout=timeout_s)
    wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return secured(wire) if TLS else wire


def secured(wire, **options):
    """The same by TLS, with whoever is there; options go to wrap_socket()."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(wire, **options)


def half_closed(wire):
    """Says that nothing follows; what the other side says can still be read. (SSLSocket's own shutdown() forgets the session.)"""
    try:
        socket.socket.shutdown(wire, socket.SHUT_WR)
    except OSError:
        pass


def send_all(wire, data):
    """A server that has heard enough may close early; that is its answer, not our error."""
    try:
        wire.sendall(data)
    except OSError:
        pass


def read_all(wire, timeout_s, responses=None):
    """Reads until the server closes, `responses` are complete, or nothing comes for the timeout."""
    raw, closed = b"", False
    wire.settimeout(timeout_s)
    try:
        while True:
            piece = wire.recv(1 << 16)
            if not piece:
                closed = True
                break
            raw += piece
            if responses is not None and len(list(parse(raw))) >= responses and parse_complete(raw):
                wire.settimeout(0.3)
    except socket.timeout:
        pass
    except OSError:
        closed = True
    return Answer(raw, closed)


def parse_complete(raw):
    used = 0
    for _, headers, body in parse(raw):
        if len(body) < int(headers.get("content-length", 0)):
            return False
        used += 1
    return used > 0


def exchange(endpoint, data, timeout_s=5, half_close=False, responses=1):
    """One connection: sends, reads, closes."""
    with connect(endpoint) as wire:
        send_all(wire, data)
        if half_close:
            half_closed(wire)
        return read_all(wire, timeout_s, responses)


def head(method, target, headers):
    """A request head; headers is a list of pairs or a dict, their text goes out as it is."""
    pairs = headers.items() if isinstance(headers, dict) else headers
    return f"{method} {target} HTTP/1.1\r\n".encode() + b"".join(f"{k}: {v}\r\n".encode("latin-1") for k, v in pairs) + b"\r\n"


def signed_head(node, method, path, headers=None, payload=sigv4.UNSIGNED, query=(), **options):
    signed, signature = sigv4.sign(node.creds, method, node.s3, path, query, headers, payload, **options)
    target = path + ("?" + sigv4.canonical_query(query) if query else "")
    return head(method, target, signed), signed, signature


def refused(answer, text, statuses=(400,), codes=None, closes=False):
    """One check: exactly one response, one of these statuses, an S3 error body, and a closed connection if asked."""
    final = [status for status in answer.statuses if status != 100]
    good = len(final) == 1 and final[0] in statuses
    good = good and (codes is None or answer.code in codes) and (answer.closed or not closes)
    want = f"{' or '.join(map(str, statuses))} {' or '.join(codes) if codes else ''} {'and a closed connection' if closes else ''}"
    return check(good, text, f"expected {want}\ngot      {answer}")
