#!/usr/bin/env python3
"""curl --aws-sigv4 against a real node, and HTTP as curl speaks it: 100-continue, ranges, conditions, HEAD, presigned."""
import os

from clients import MIB, Tool, same_file, write_file
from checks import check, equal, finish, guarded
from node import Node
import sigv4


def main():
    with Node("curl", config="[s3]\ndomains = s3.test\n") as node:
        here = f"{node.base}/client"
        tool = Tool(node, f"{here}/home")
        base = ["curl", "-sS", "--max-time", "60", "--aws-sigv4", "aws:amz:us-east-1:s3", "--user",
                f"{node.access_key}:{node.secret_key}"]

        def curl(*words):
            """The status, and the body; curl of Debian 12 signs the body only of -d, so uploads say UNSIGNED-PAYLOAD."""
            code, out, err = tool.run(*base, "-w", "\n%{http_code}", *words)
            return out.rpartition("\n")[2] if code == 0 else f"curl {code}: {err}", out.rpartition("\n")[0]
        unsigned = ["-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD"]
        path = write_file(f"{here}/body.bin", 3 * MIB + 11)
        with guarded("curl"):
            equal(curl("-X", "PUT", *unsigned, f"{node.url}/curl-bucket")[0], "200", "CreateBucket")
            equal(curl("-T", path, *unsigned, f"{node.url}/curl-bucket/body.bin")[0], "200", "PUT (Expect: 100-continue)")
            equal(curl("-o", f"{here}/back.bin", f"{node.url}/curl-bucket/body.bin")[0], "200", "GET")
            same_file(path, f"{here}/back.bin", "PUT and GET: the same bytes")
            status, head = curl("-I", f"{node.url}/curl-bucket/body.bin")
            check(status == "200" and f"content-length: {os.path.getsize(path)}" in head.lower(), "HEAD", head)
            status, _ = curl("-r", "100-199", "-o", f"{here}/range", f"{node.url}/curl-bucket/body.bin")
            equal(status, "206", "a range answers 206")
            with open(path, "rb") as one, open(f"{here}/range", "rb") as two:
                equal(two.read(), one.read()[100:200], "a range: the right bytes")
            equal(curl("-r", "99999999-", f"{node.url}/curl-bucket/body.bin")[0], "416", "a range past the end")
            etag = [line.split(": ")[1].strip() for line in head.splitlines() if line.lower().startswith("etag")][0]
            equal(curl("-H", f"If-None-Match: {etag}", f"{node.url}/curl-bucket/body.bin")[0], "304", "If-None-Match")
            equal(curl("-H", "If-Match: \"no\"", f"{node.url}/curl-bucket/body.bin")[0], "412", "If-Match")
            status, body = curl(f"{node.url}/curl-bucket?list-type=2")
            check(status == "200" and "<Key>body.bin</Key>" in body, "ListObjectsV2", body)
            target = sigv4.presign(node.creds, "PUT", node.s3, "/curl-bucket/presigned.bin")
            code, out, err = tool.run("curl", "-sS", "-T", path, "-w", "%{http_code}", node.url + target)
            equal((code, out), (0, "200"), "a presigned PUT")
            equal(curl("-o", f"{here}/back.bin", f"{node.url}/curl-bucket/presigned.bin")[0], "200", "GET of the presigned")
            same_file(path, f"{here}/back.bin", "the presigned PUT: the same bytes")
            code, out, err = tool.run("curl", "-sS", "-w", "%{http_code}", f"{node.url}/curl-bucket/body.bin")
            check("AccessDenied" in out and out.endswith("403"), "no signature: AccessDenied", out)
            for key in ("body.bin", "presigned.bin"):
                equal(curl("-X", "DELETE", f"{node.url}/curl-bucket/{key}")[0], "204", f"DELETE {key}")
            equal(curl("-X", "DELETE", f"{node.url}/curl-bucket")[0], "204", "DeleteBucket")
            port = node.s3.rpartition(":")[2]
            virtual = ["--resolve", f"curl-virtual.s3.test:{port}:127.0.0.1"]
            site = f"{node.url.split(':')[0]}://curl-virtual.s3.test:{port}"
            equal(curl("-X", "PUT", *unsigned, *virtual, site)[0], "200", "virtual-host style: CreateBucket")
            equal(curl("-T", path, *unsigned, *virtual, f"{site}/a/b.bin")[0], "200", "virtual-host style: PUT")
            status, body = curl(*virtual, f"{site}/?list-type=2")
            check(status == "200" and "<Key>a/b.bin</Key>" in body, "virtual-host style: ListObjectsV2", body)
            equal(curl("-o", f"{here}/back.bin", f"{node.url}/curl-virtual/a/b.bin")[0], "200", "and the same object by path")
            same_file(path, f"{here}/back.bin", "virtual-host style: the same bytes")
            equal(curl("-X", "PATCH", f"{node.url}/curl-bucket")[0], "405", "an unknown method")
    finish()


main()
