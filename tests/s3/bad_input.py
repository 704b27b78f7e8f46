#!/usr/bin/env python3
"""Hostile bytes on the S3 port: a clear S3 error and no effect. Never a crash, a hang, a half object, somebody else's bytes.

Nothing but Python's own library; each section is one kind of lie. Afterwards the bucket holds what was rightly stored and nothing
else, the node still serves, drains, and passes fsck.
"""
import base64
import hashlib
import json
import os
import random
import sys
import time
import zlib

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from checks import check, equal, finish, guarded  # noqa: E402
from node import Node  # noqa: E402
import sigv4  # noqa: E402
from wire import connect, exchange, head, read_all, refused, send_all, signed_head  # noqa: E402

BUCKET = "bad"
GOOD = {"control": b"good bytes" * 100}


def heads(node):
    """Requests whose head alone is wrong. Their framing is lost: one error, then the connection ends."""
    host = f"Host: {node.s3}\r\n".encode()
    put = b"PUT /bad/smuggled HTTP/1.1\r\n" + host
    tail = b"\r\n0\r\n\r\nGET /bad/control HTTP/1.1\r\n" + host + b"\r\n"
    table = [
        ("Content-Length and Transfer-Encoding", put + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n" + tail),
        ("Transfer-Encoding and Content-Length", put + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n" + tail),
        ("two Content-Lengths that differ", put + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"),
        ("two Content-Lengths that agree", put + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"),
        ("a list of Content-Lengths", put + b"Content-Length: 5, 5\r\n\r\nhello"),
        *((f"Content-Length {value!r}", put + b"Content-Length: " + value + b"\r\n\r\nhello")
          for value in (b"+5", b"-5", b"5x", b"0x5", b"", b"5 5", b"5.0", b"99999999999999999999999", b"18446744073709551617", b"\xb2")),
        *((f"Transfer-Encoding {value!r}", put + b"Transfer-Encoding: " + value + b"\r\n" + tail)
          for value in (b"xchunked", b"chunked, identity", b"chunked, chunked", b"gzip", b"\x0bchunked", b"chunked\x00", b"identity", b"\"chunked\"")),
        ("two Transfer-Encodings", put + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n" + tail),
        ("a folded header", b"GET / HTTP/1.1\r\n" + host + b"X-A: one\r\n two\r\n\r\n"),
        ("a folded first header", b"GET / HTTP/1.1\r\n X-A: one\r\n" + host + b"\r\n"),
        ("a bare LF after a header", b"GET / HTTP/1.1\r\n" + host + b"X-A: one\nX-B: two\r\n\r\n"),
        ("bare LFs everywhere", b"GET / HTTP/1.1\nHost: x\n\n"),
        ("a bare CR in a header", b"GET / HTTP/1.1\r\n" + host + b"X-A: one\rX-B: two\r\n\r\n"),
        ("NUL in a header", b"GET / HTTP/1.1\r\n" + host + b"X-A: o\x00ne\r\n\r\n"),
        ("NUL in a header's name", b"GET / HTTP/1.1\r\n" + host + b"X\x00A: one\r\n\r\n"),
        ("NUL in the target", b"GET /bad/\x00 HTTP/1.1\r\n" + host + b"\r\n"),
        ("a space before the colon", put + b"Content-Length : 5\r\n\r\nhello"),
        ("a header without a colon", b"GET / HTTP/1.1\r\n" + host + b"nothing\r\n\r\n"),
        ("a header without a name", b"GET / HTTP/1.1\r\n" + host + b": value\r\n\r\n"),
        ("a control character in a name", b"GET / HTTP/1.1\r\n" + host + b"X\x01A: one\r\n\r\n"),
        ("no Host", b"GET / HTTP/1.1\r\n\r\n"),
        ("two Hosts", b"GET / HTTP/1.1\r\n" + host + b"Host: other\r\n\r\n"),
        ("a target without a slash", b"GET bad HTTP/1.1\r\n" + host + b"\r\n"),
        ("a request line of one word", b"GET\r\n" + host + b"\r\n"),
        ("a request line of four words", b"GET / now HTTP/1.1\r\n" + host + b"\r\n"),
        ("a raw control character in the target", b"GET /bad/a\x07b HTTP/1.1\r\n" + host + b"\r\n"),
    ]
    for text, data in table:
        refused(exchange(node.s3, data), text, (400, 501) if "Transfer-Encoding" in text else (400,), closes=True)
    for version in (b"HTTP/2.0", b"HTTP/9", b"http/1.1", b"HTTP/1.1x"):
        refused(exchange(node.s3, b"GET / " + version + b"\r\n" + host + b"\r\n"), f"the version {version!r}", (400, 505), closes=True)
    refused(exchange(node.s3, b"GET / HTTP/1.1\r\n" + host + b"".join(b"X-%d: v\r\n" % n for n in range(3000)) + b"\r\n"),
            "3,000 headers", (400, 431), closes=True)
    refused(exchange(node.s3, b"GET / HTTP/1.1\r\n" + host + b"X-A: " + b"a" * 100_000 + b"\r\n\r\n"), "a header of 100 KB", (400, 431), closes=True)
    refused(exchange(node.s3, b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n" + host + b"\r\n"), "a target of 20 KB", (400, 414, 431), closes=True)
    answer = exchange(node.s3, b"GET / HTTP/1.1\r\n" + host + b"X-A: " + b"a" * (40 << 20), timeout_s=10)
    refused(answer, "a head that never ends", (400, 431), closes=True)


def targets(node):
    """Signed requests whose head is well formed and whose meaning is not."""
    for text, path in (("NUL in a key", "/bad/a%00b"), ("invalid UTF-8 in a key", "/bad/%ff%fe"), ("an overlong slash in a key", "/bad/%c0%af"),
                       ("a surrogate in a key", "/bad/%ed%a0%80"), ("a bad % escape", "/bad/%zz"), ("half a % escape", "/bad/a%4")):
        data, _, _ = signed_head(node, "PUT", path, {"content-length": "1"})
        refused(exchange(node.s3, data + b"x"), text)
    for method in ("TRACE", "CONNECT", "PATCH", "get", "FROBNICATE"):
        data, _, _ = signed_head(node, method, "/bad/control")
        refused(exchange(node.s3, data), f"the method {method}", (400, 405, 501))
    for value in ("bytes=99999999999999999999999999-", "bytes=0-99999999999999999999999999", "bytes=-99999999999999999999999999",
                  "bytes=" + "0-0," * 500 + "1-1", "bytes=--1", "bytes=1-2-3", "bytes= 0 - 1", "bytes=0x0-0x1"):
        data, _, _ = signed_head(node, "GET", "/bad/control", {"range": value})
        answer = exchange(node.s3, data)
        whole = answer.status == 200 and answer.responses[0][2] == GOOD["control"]
        part = answer.status == 206 and answer.responses[0][2] in (GOOD["control"], GOOD["control"][:2])
        check(whole or part or answer.status in (400, 416), f"the range {value[:40]}", answer)


def signatures(node):
    def put(text, statuses, codes, change=None, creds=None, **options):
        headers, _ = sigv4.sign(creds or node.creds, "PUT", node.s3, "/bad/forged", (), {"content-length": "1", **options.pop("headers", {})},
                                **options)
        if change:
            change(headers)
        refused(exchange(node.s3, head("PUT", "/bad/forged", headers) + b"x"), text, statuses, codes)
    auth = "authorization"
    put("a wrong secret", (403,), ["SignatureDoesNotMatch"], creds=(node.creds[0], "wrong"))
    put("an unknown key", (403,), ["InvalidAccessKeyId"], creds=("AKIDNOBODY", "x"))
    put("a changed signed header", (403,), ["SignatureDoesNotMatch"], lambda h: h.update({"x-amz-meta-a": "2"}), headers={"x-amz-meta-a": "1"})
    put("an x-amz header that is not signed", (403,), ["AccessDenied"], headers={"x-amz-meta-evil": "1"}, leave_unsigned=["x-amz-meta-evil"])
    put("Host not signed", (403,), ["AccessDenied", "SignatureDoesNotMatch"], leave_unsigned=["host"])
    put("a clock an hour late", (403,), ["RequestTimeTooSkewed"], amz_date=sigv4.amz_now(-3600))
    put("a clock an hour early", (403,), ["RequestTimeTooSkewed"], amz_date=sigv4.amz_now(3600))
    put("a date that is none", (400, 403), ["AccessDenied", "AuthorizationHeaderMalformed", "SignatureDoesNotMatch", "InvalidArgument"],
        lambda h: h.update({"x-amz-date": "yesterday"}))
    put("no date", (403,), ["AccessDenied"], lambda h: h.pop("x-amz-date"))
    put("another service in the scope", (400, 403), ["AuthorizationHeaderMalformed", "SignatureDoesNotMatch"],
        lambda h: h.update({auth: h[auth].replace("/s3/", "/ec2/")}))
    for value in ("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA256 Credential=", "AWS4-HMAC-SHA256 Credential=a/b/c,SignedHeaders=host,Signature=0",
                  "Basic dXNlcjpwYXNz", "AWS AKID:c2lnbmF0dXJl", "AWS4-HMAC-SHA256 " + "a=b," * 500, "AWS4-ECDSA-P256-SHA256 Credential=x"):
        put(f"Authorization {value[:50]!r}", (400, 403), None, lambda h, v=value: h.update({auth: v}))
    put("a signature of another length", (400, 403), ["SignatureDoesNotMatch", "AuthorizationHeaderMalformed"], lambda h: h.update({auth: h[auth] + "00"}))
    put("a content hash that is none", (400,), ["InvalidArgument"], payload="nonsense")
    put("the hash of another body", (400,), ["XAmzContentSHA256Mismatch"], payload=hashlib.sha256(b"y").hexdigest())


def bodies(node):
    def put(text, headers, body, statuses, codes=None, half_close=False, closes=False, path="/bad/body"):
        data, _, _ = signed_head(node, "PUT", path, headers)
        refused(exchange(node.s3, data + body, half_close=half_close), text, statuses, codes, closes)
    put("no length at all", {}, b"", (411,), ["MissingContentLength"])
    put("more than 5 GiB", {"content-length": str((5 << 30) + 1)}, b"", (400,), ["EntityTooLarge"], closes=True)
    framed = {"transfer-encoding": "chunked", "x-amz-decoded-content-length": "5"}
    for text, body in (("a chunk size that is none", b"zz\r\nhello\r\n0\r\n\r\n"), ("a chunk size of 2^64", b"10000000000000000\r\nhello\r\n0\r\n\r\n"),
                       ("a negative chunk size", b"-5\r\nhello\r\n0\r\n\r\n"), ("a chunk longer than its size", b"5\r\nhello world\r\n0\r\n\r\n"),
                       ("bare LF after the size", b"5\nhello\r\n0\r\n\r\n"), ("NUL in an extension", b"5;a=\x00\r\nhello\r\n0\r\n\r\n"),
                       ("an extension of 100 KB", b"5;a=" + b"x" * 100_000 + b"\r\nhello\r\n0\r\n\r\n"), ("an empty size", b"\r\nhello\r\n0\r\n\r\n"),
                       ("a space in the size", b"5 5\r\nhello\r\n0\r\n\r\n"), ("a 0x size", b"0x5\r\nhello\r\n0\r\n\r\n")):
        put(f"chunked: {text}", framed, body, (400, 411, 501), closes=True)
    for size in (1, 5000, 300_000, 9 << 20):
        data, _, _ = signed_head(node, "PUT", "/bad/short", {"content-length": str(size + 1)})
        answer = exchange(node.s3, data + b"s" * size, half_close=True)
        check(answer.closed and all(status >= 400 for status in answer.statuses), f"a body one byte short of {size + 1}: closed, no success", answer)
        equal(node.client().get(BUCKET, "short").status, 404, f"a body one byte short of {size + 1}: nothing stored")
    data, _, _ = signed_head(node, "PUT", "/bad/refused", {"content-length": "1000000", "expect": "100-continue"}, amz_date=sigv4.amz_now(-3600))
    answer = exchange(node.s3, data)
    check(answer.statuses == [403], "Expect: 100-continue of a refused request: 403 at once, no 100", answer)
    data, _, _ = signed_head(node, "PUT", "/bad/refused", {"content-length": "1", "expect": "a-miracle"})
    refused(exchange(node.s3, data + b"x"), "an unknown expectation", (417, 400))
    inner = f"GET /bad/control HTTP/1.1\r\nHost: {node.s3}\r\n\r\n".encode()
    wrong, _ = sigv4.sign((node.creds[0], "wrong"), "PUT", node.s3, "/bad/refused", (), {"content-length": str(len(inner) * 50)})
    answer = exchange(node.s3, head("PUT", "/bad/refused", wrong) + inner * 50)
    equal(answer.statuses, [403], "the body of a refused request is never taken for requests")


def aws_chunked(node):
    """The framing inside the body: signed chunks, trailers, and every way to get them wrong."""
    chunks = [b"a" * 65536, b"b" * 8192 + b"c", b""]
    total = sum(map(len, chunks))

    def send(key, build, decoded=total, payload="STREAMING-AWS4-HMAC-SHA256-PAYLOAD", headers=None, half_close=False, drop=None):
        amz_date = sigv4.amz_now()
        path = f"/{BUCKET}/{key}"
        more = {"content-encoding": "aws-chunked", "x-amz-decoded-content-length": str(decoded), **(headers or {})}
        if drop:
            more.pop(drop)
        body = build(sigv4.ChunkSigner(node.creds, amz_date, "0" * 64))      # only its length counts here
        size = len(body)
        more["content-length"] = str(size)
        data, _, seed = signed_head(node, "PUT", path, more, payload, amz_date=amz_date)
        body = build(sigv4.ChunkSigner(node.creds, amz_date, seed))
        return exchange(node.s3, data + body, half_close=half_close)

    def right(signer):
        return b"".join(signer.chunk(data) for data in chunks)
    equal(send("chunked-good", right).status, 200, "signed chunks")
    GOOD["chunked-good"] = b"".join(chunks)

    def spoiled(index):
        def build(signer):
            sent = [signer.chunk(data) for data in chunks]
            place = sent[index].index(b"=") + 1
            sent[index] = sent[index][:place] + b"0" * 64 + sent[index][place + 64:]
            return b"".join(sent)
        return build
    for index, name in enumerate(("first", "second", "last")):
        refused(send("chunked-bad", spoiled(index)), f"a wrong signature of the {name} chunk", (403,), ["SignatureDoesNotMatch"])

    def changed(signer):
        return right(signer).replace(b"bbbb", b"xbbb", 1)

    def swapped(signer):
        sent = [signer.chunk(data) for data in chunks]
        return sent[1] + sent[0] + sent[2]
    refused(send("chunked-bad", changed), "a changed byte in a chunk", (403,), ["SignatureDoesNotMatch"])
    refused(send("chunked-bad", swapped), "chunks in another order", (403,), ["SignatureDoesNotMatch"])
    refused(send("chunked-bad", lambda s: s.chunk(chunks[0]) + s.chunk(b"")), "fewer bytes than the decoded length", (400,), ["IncompleteBody"])
    refused(send("chunked-bad", right, decoded=total - 1), "more bytes than the decoded length", (400,), None)
    refused(send("chunked-bad", right, decoded="x"), "a decoded length that is none", (400, 411), None)
    refused(send("chunked-bad", right, drop="x-amz-decoded-content-length"), "no decoded length", (400, 411), None)
    refused(send("chunked-bad", lambda s: s.chunk(chunks[0]) + s.chunk(chunks[1])), "no last chunk", (400,), None)
    for text, line in (("garbage", b"garbage\r\n"), ("no signature", b"5\r\nhello\r\n"), ("a huge size", b"fffffffffffffffff;chunk-signature=" + b"0" * 64 + b"\r\n"),
                       ("a negative size", b"-1;chunk-signature=" + b"0" * 64 + b"\r\n"), ("a short signature", b"5;chunk-signature=00\r\nhello\r\n"),
                       ("an endless line", b"5;" + b"x" * 60_000), ("bare LF", b"5;chunk-signature=" + b"0" * 64 + b"\nhello\r\n")):
        refused(send("chunked-bad", lambda s, line=line: line + s.chunk(b"")), f"a chunk head of {text}", (400, 403), None)
    trailers(send, chunks, total)


def trailers(send, chunks, total):
    whole = b"".join(chunks)
    crc = base64.b64encode(zlib.crc32(whole).to_bytes(4, "big")).decode()
    signed, unsigned = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
    declared = {"x-amz-trailer": "x-amz-checksum-crc32"}

    def with_signed(line, spoil=False):
        def build(signer):
            sent = b"".join(signer.chunk(data) for data in chunks[:-1])
            sent += signer.chunk(b"")[:-2] + signer.trailer([line])
            return sent.replace(b"trailer-signature:", b"trailer-signature:00", 1)[:len(sent)] if spoil else sent
        return build

    def plain(line):
        return lambda _: b"".join(b"%x\r\n%s\r\n" % (len(data), data) for data in chunks[:-1]) + b"0\r\n" + line + b"\r\n"
    good = f"x-amz-checksum-crc32:{crc}"
    equal(send("trailer-good", with_signed(good), payload=signed, headers=declared).status, 200, "a signed trailer")
    equal(send("trailer-plain", plain(good.encode() + b"\r\n"), payload=unsigned, headers=declared).status, 200, "an unsigned trailer")
    GOOD["trailer-good"] = GOOD["trailer-plain"] = whole
    refused(send("trailer-bad", with_signed(good, True), payload=signed, headers=declared), "a wrong trailer signature", (400, 403), None)
    lie = f"x-amz-checksum-crc32:{base64.b64encode(b'lies').decode()}"
    refused(send("trailer-bad", with_signed(lie), payload=signed, headers=declared), "a signed trailer with a wrong checksum", (400,), ["BadDigest", "XAmzContentChecksumMismatch"])
    table = [("a wrong checksum", lie.encode() + b"\r\n", ["BadDigest", "XAmzContentChecksumMismatch"]), ("a value that is none", b"x-amz-checksum-crc32:???\r\n", None),
             ("another trailer than declared", b"x-amz-checksum-sha1:" + base64.b64encode(hashlib.sha1(whole).digest()) + b"\r\n", None),
             ("no trailer where one was declared", b"", None), ("a line that is none", b"nothing\r\n", None), ("a flood of trailers", good.encode() + b"\r\n" + b"x-a: b\r\n" * 5000, None)]
    for text, line, codes in table:
        refused(send("trailer-bad", plain(line), payload=unsigned, headers=declared), f"unsigned trailer: {text}", (400, 431), codes)


def documents(node):
    """XML of clients: bounded in size, depth and time, no entities, no partial effect."""
    def post(text, query, body, codes, statuses=(400,), method="POST", path="/bad", timeout_s=10):
        md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
        data, _, _ = signed_head(node, method, path, {"content-length": str(len(body)), "content-md5": md5},
                                 hashlib.sha256(body).hexdigest(), query)
        began = time.monotonic()
        refused(exchange(node.s3, data + body, timeout_s), text, statuses, codes)
        check(time.monotonic() - began < 5, f"{text}: answered within seconds")
    delete = [("delete", "")]
    bomb = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a0 "lol">' + "".join(
        f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12)) + "]><Delete><Object><Key>&a11;</Key></Object></Delete>"
    outside = '<!DOCTYPE a [<!ENTITY f SYSTEM "file:///etc/passwd">]><Delete><Object><Key>&f;</Key></Object></Delete>'
    post("a billion laughs", delete, bomb.encode(), ["MalformedXML"])
    post("an external entity", delete, outside.encode(), ["MalformedXML"])
    post("100,000 open elements", delete, b"<Delete>" + b"<a>" * 100_000, ["MalformedXML"])
    post("a document that ends early", delete, b"<Delete><Object><Key>control</Key></Object>", ["MalformedXML"])
    post("invalid UTF-8", delete, b"<Delete><Object><Key>\xff\xfe</Key></Object></Delete>", ["MalformedXML"])
    post("no document", delete, b"", ["MalformedXML", "MissingRequestBodyError"])
    post("not XML", delete, b'{"Delete": []}', ["MalformedXML"])
    post("another document", delete, b"<CompleteMultipartUpload/>", ["MalformedXML"])
    post("100 KB of attribute", delete, b'<Delete a="' + b"x" * 100_000 + b'"><Object><Key>none</Key></Object></Delete', ["MalformedXML"])
    post("8 MiB of keys", delete, b"<Delete>" + b"<Object><Key>none</Key></Object>" * 270_000 + b"</Delete>",
         ["MalformedXML", "EntityTooLarge", "MaxMessageLengthExceeded"], (400, 413))
    post("a bucket of garbage", [], b"<CreateBucketConfiguration><Locat", ["MalformedXML"], method="PUT", path="/never-made")
    client = node.client()
    client.request("POST", "/bad/parts", [("uploads", "")])
    answer = client.request("POST", "/bad/parts", [("uploads", "")])
    upload = answer.body.split(b"<UploadId>")[1].split(b"</UploadId>")[0].decode()
    part = client.request("PUT", "/bad/parts", [("partNumber", "1"), ("uploadId", upload)], body=b"part")
    piece = f"<Part><PartNumber>1</PartNumber><ETag>{part.headers['etag']}</ETag></Part>"
    finish_it = [("uploadId", upload)]
    for text, inner, codes in (("a part number twice", piece * 2, ["InvalidPartOrder", "MalformedXML"]), ("part number 0", piece.replace(">1<", ">0<"), ["InvalidArgument", "InvalidPart", "MalformedXML"]),
                               ("part number -1", piece.replace(">1<", ">-1<"), ["InvalidArgument", "InvalidPart", "MalformedXML"]),
                               ("a part number of 2^64+1", piece.replace(">1<", ">18446744073709551617<"), ["InvalidArgument", "InvalidPart", "MalformedXML"]),
                               ("a part without an ETag", "<Part><PartNumber>1</PartNumber></Part>", ["MalformedXML", "InvalidPart"]),
                               ("11,000 parts", "".join(piece.replace(">1<", f">{n}<") for n in range(1, 11001)), ["MalformedXML", "InvalidPart", "InvalidArgument"])):
        post(f"complete with {text}", finish_it, f"<CompleteMultipartUpload>{inner}</CompleteMultipartUpload>".encode(), codes, path="/bad/parts")
    for text, query in (("an upload id that is none", [("uploadId", "../../etc")]), ("an upload id of 8,000 characters", [("uploadId", "u" * 4000)])):
        post(f"complete with {text}", query, f"<CompleteMultipartUpload>{piece}</CompleteMultipartUpload>".encode(), ["NoSuchUpload", "InvalidArgument"],
             (404, 400), path="/bad/parts")


def pipelines(node):
    get, _, _ = signed_head(node, "GET", "/bad/control")
    answer = exchange(node.s3, get * 20, responses=20)
    equal((answer.statuses, {body for _, _, body in answer.responses}), ([200] * 20, {GOOD["control"]}), "20 pipelined GETs: 20 answers in order")
    put, _, _ = signed_head(node, "PUT", "/bad/piped", {"content-length": "5"})
    read, _, _ = signed_head(node, "GET", "/bad/piped")
    gone, _, _ = signed_head(node, "DELETE", "/bad/piped")
    answer = exchange(node.s3, put + b"piped" + read + gone + read, responses=4)
    equal(answer.statuses, [200, 200, 204, 404], "PUT, GET, DELETE, GET pipelined: each sees the one before")
    with connect(node.s3) as wire:
        for byte in get:
            wire.send(bytes([byte]))
        equal(read_all(wire, 5, 1).statuses, [200], "a head that comes byte by byte")
    missing, _, _ = signed_head(node, "GET", "/bad/missing")
    answer = exchange(node.s3, missing + get, responses=2)
    equal(answer.statuses, [404, 200], "an error does not end a connection whose framing is whole")


def noise(node):
    source = random.Random(20)
    closed = 0
    hello = bytes.fromhex("16030100a5010000a10303") + source.randbytes(150)
    for n in range(200):
        data = hello if n == 0 else source.randbytes(source.randrange(1, 3000))
        if n % 4 == 1:
            data = b"GET /" + data
        if n % 4 == 2:
            data = b"PUT /bad/noise HTTP/1.1\r\nHost: x\r\n" + data + b"\r\n\r\n"
        answer = exchange(node.s3, data, timeout_s=2, half_close=True)
        closed += answer.closed and all(status >= 400 for status in answer.statuses)
    equal(closed, 200, "200 heaps of random bytes: each connection closed, none with a success")


def abandoned(node):
    """Clients that stop in the middle of a large body give their space back."""
    def used():
        """What the volume has given away; not what the disk has left, where others write, too, and segments are made ahead."""
        code, text = node.cli("volume", "status", "--json")
        status = json.loads(text) if code == 0 else {}
        return [status.get(name) for name in ("used_bytes", "reserved_bytes", "reclaiming_bytes")]
    before = used()
    for _ in range(40):
        data, _, _ = signed_head(node, "PUT", "/bad/abandoned", {"content-length": str(64 << 20)})
        with connect(node.s3) as wire:
            send_all(wire, data + b"z" * (3 << 20))
    deadline = time.monotonic() + 10
    while used() != before and time.monotonic() < deadline:
        time.sleep(0.2)
    check(None not in before and used() == before, "40 abandoned uploads of 64 MiB: their space is free again", f"before {before}, after {used()}")


def main():
    with Node(os.environ.get("SLUICE_SUITE", "bad-input")) as node:
        client = node.client()
        client.make_bucket(BUCKET)
        client.put(BUCKET, "control", GOOD["control"])
        for section in (heads, targets, signatures, bodies, aws_chunked, documents, pipelines, noise, abandoned):
            if sys.argv[1:] and section.__name__ not in sys.argv[1:]:
                continue
            with guarded(section.__name__):
                section(node)
            with guarded(f"{section.__name__}: afterwards"):
                client = node.client()
                check(client.get(BUCKET, "control").body == GOOD["control"], f"{section.__name__}: the node still serves")
        with guarded("what is stored"):
            equal(client.list_keys(BUCKET), sorted(GOOD), "nothing is stored but what was rightly sent")
            check(all(client.get(BUCKET, key).body == body for key, body in GOOD.items()), "and that byte for byte")
    finish()


main()
