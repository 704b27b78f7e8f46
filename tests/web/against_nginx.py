"""The same file from nginx and from the node: the same statuses, ranges and bytes wherever RFC 9110 leaves no choice."""
import http.client
import os

from byteranges import Malformed, parts
from checks import check, equal, guarded
from clients import MIB, write_file
import sigv4

TYPE = "text/plain"
SIZES = {"small.txt": 5000, "large.txt": 3 * MIB + 17}

# (Range, whether several parts must come back); sizes are put in by name
RANGES = [
    ("bytes=0-0", False), ("bytes=0-99", False), ("bytes=100-", False), ("bytes=-1", False), ("bytes=-{size}", False),
    ("bytes=-{more}", False), ("bytes=0-{more}", False), ("bytes={last}-{last}", False), ("bytes={last}-", False), ("BYTES=0-9", False),
    ("bytes=0-0,-1", True), ("bytes=0-9,20-29,40-49", True), ("bytes=40-49,0-9", True), ("bytes=1000-1999,  -500", True),
    ("bytes=0-9,20-29,{more}-", True), ("bytes=0-9,{more}-", False), ("bytes={half}-{half},0-9", True),
    ("bytes=" + ",".join(f"{i * 100}-{i * 100 + 9}" for i in range(40)), True),
]
NOT_THERE = ["bytes={size}-", "bytes={more}-", "bytes={size}-{more},{more}-"]
IGNORED = ["lines=0-1", "0-1"]


class Server:
    """One of the two. The node is asked over one keep-alive connection: that framing is right shows in the request after."""

    def __init__(self, host, target_of, keeps):
        self.connection, self.target_of, self.keeps = http.client.HTTPConnection(host, timeout=30), target_of, keeps

    def ask(self, name, method="GET", **headers):
        self.connection.request(method, self.target_of(method, name), headers={k.replace("_", "-"): v for k, v in headers.items()})
        answer = self.connection.getresponse()
        seen = answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        if not self.keeps:
            self.connection.close()
        return seen


def same_answer(name, want, got, several, text):
    """One check: status, the range that was sent and its bytes. The boundaries of two multiparts differ, and nothing else does."""
    def seen(answer):
        status, headers, body = answer
        if not several or status != 206:
            return status, headers.get("content-range"), headers.get("content-type"), headers.get("content-length"), body
        return status, headers.get("content-range"), parts(headers.get("content-type"), body)
    try:
        equal(seen(got) == seen(want), True, f"{name}: {text}: as nginx")
    except Malformed as error:
        check(False, f"{name}: {text}: well-formed parts", str(error))


def ranges(nginx, node, name, size):
    values = {"size": size, "more": size + 10, "last": size - 1, "half": size // 2}
    for pattern, several in RANGES:
        text = pattern.format(**values)
        want, got = nginx.ask(name, Range=text), node.ask(name, Range=text)
        same_answer(name, want, got, several, f"Range: {text[:40]}")
        head = node.ask(name, "HEAD", Range=text)
        equal((head[0], head[1].get("content-length"), head[2]), (got[0], str(len(got[2])), b""), f"{name}: HEAD, Range: {text[:40]}: GET's")
    for pattern in NOT_THERE:
        text = pattern.format(**values)
        want, got = nginx.ask(name, Range=text), node.ask(name, Range=text)
        equal((got[0], got[1].get("content-range")), (want[0], want[1].get("content-range")), f"{name}: Range: {text}: 416 as nginx")
    for text in IGNORED:
        got = node.ask(name, Range=text)
        equal((got[0], len(got[2])), (200, size), f"{name}: Range: {text} is none")


def conditions(nginx, node, name):
    """Each server is asked about its own validators."""
    table = [{"If_None_Match": "{etag}"}, {"If_None_Match": "W/{etag}"}, {"If_None_Match": '"x", {etag}'}, {"If_None_Match": "*"},
             {"If_None_Match": '"x"'}, {"If_Match": "{etag}"}, {"If_Match": '"x"'}, {"If_Match": "*"}, {"If_Match": "W/{etag}"},
             {"If_Modified_Since": "{modified}"}, {"If_Modified_Since": "Mon, 01 Jan 2001 00:00:00 GMT"},
             {"If_Unmodified_Since": "{modified}"}, {"If_Unmodified_Since": "Mon, 01 Jan 2001 00:00:00 GMT"},
             {"If_None_Match": '"x"', "If_Modified_Since": "{modified}"},
             {"Range": "bytes=0-9", "If_Range": "{etag}"}, {"Range": "bytes=0-9", "If_Range": '"x"'},
             {"Range": "bytes=0-9", "If_Range": "{modified}"}, {"Range": "bytes=0-9", "If_Range": "Mon, 01 Jan 2001 00:00:00 GMT"},
             {"Range": "bytes=0-9,20-29", "If_Range": "{etag}"}, {"Range": "bytes=0-9,20-29", "If_Range": '"x"'},
             {"Range": "bytes=0-9", "If_None_Match": "{etag}"}, {"Range": "bytes=99999999-", "If_None_Match": "{etag}"}]
    for row in table:
        statuses = []
        for server in (nginx, node):
            _, head, _ = server.ask(name, "HEAD")
            filled = {k: v.format(etag=head["etag"], modified=head["last-modified"]) for k, v in row.items()}
            statuses.append(server.ask(name, **filled)[0])
        equal(statuses[1], statuses[0], f"{name}: {row}: as nginx")


def run(nginx, node, base):
    client = node.client()
    for name, size in SIZES.items():
        path = write_file(f"{base}/root/{name}", size)
        with open(path, "rb") as file:
            equal(client.put("web", name, file.read(), headers={"Content-Type": TYPE}).status, 200, f"PUT {name}")
    servers = (Server(f"127.0.0.1:{nginx.port}", lambda method, name: f"/{name}", keeps=False),
               Server(node.s3, lambda method, name: sigv4.presign(node.creds, method, node.s3, f"/web/{name}"), keeps=True))
    for name, size in SIZES.items():
        with guarded(f"ranges of {name}"):
            ranges(*servers, name, size)
        with guarded(f"conditions on {name}"):
            conditions(*servers, name)
        os.unlink(f"{base}/root/{name}")
