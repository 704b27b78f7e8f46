#!/usr/bin/env python3
"""Debian's awscli against a real node: cp, sync, ls, rm, presign, a multipart upload of 200 MiB, some of s3api."""
import json
import os
import subprocess

from clients import MIB, Tool, files_of, make_tree, multipart_etag, same_file, same_tree, write_file
from checks import check, equal, finish, guarded
from node import Node


class Aws(Tool):
    def __init__(self, node, home):
        super().__init__(node, home)
        self.base = ["aws", "--endpoint-url", node.url]

    def s3(self, text, *words, **options):
        return self.good(text, *self.base, "s3", *words, **options)

    def api(self, text, *words):
        out = self.good(text, *self.base, "s3api", *words, "--output", "json")
        return json.loads(out) if out.strip() else {}


def copy_and_sync(aws, here):
    tree = make_tree(f"{here}/tree")
    aws.s3("mb", "mb", "s3://cli-bucket")
    aws.s3("cp of one file", "cp", f"{tree}/file-0004.bin", "s3://cli-bucket/one.bin")
    aws.s3("cp back", "cp", "s3://cli-bucket/one.bin", f"{here}/one.bin")
    same_file(f"{tree}/file-0004.bin", f"{here}/one.bin", "cp there and back: the same bytes")
    aws.s3("sync of a tree", "sync", "--only-show-errors", tree, "s3://cli-bucket/tree/")
    again = aws.s3("sync again", "sync", tree, "s3://cli-bucket/tree/")
    equal(again.strip(), "", "a second sync has nothing to do")
    aws.s3("sync back", "sync", "--only-show-errors", "s3://cli-bucket/tree/", f"{here}/back")
    same_tree(tree, f"{here}/back", "sync there and back: the same bytes")
    listed = aws.s3("ls --recursive", "ls", "--recursive", "s3://cli-bucket/tree/")
    equal(len(listed.splitlines()), len(files_of(tree)), "ls shows every file")
    top = aws.s3("ls", "ls", "s3://cli-bucket/tree/")
    check("PRE odd/" in top and "PRE d0/" in top, "ls shows folders as prefixes", top)
    os.unlink(f"{tree}/large/nine-mib.bin")
    aws.s3("sync --delete", "sync", "--only-show-errors", "--delete", tree, "s3://cli-bucket/tree/")
    listed = aws.s3("ls of the deleted", "ls", "--recursive", "s3://cli-bucket/tree/")
    check("nine-mib" not in listed, "sync --delete removed the file")
    aws.s3("cp between keys", "cp", "s3://cli-bucket/one.bin", "s3://cli-bucket/copy of one.bin")
    aws.s3("mv", "mv", "s3://cli-bucket/copy of one.bin", "s3://cli-bucket/moved.bin")
    aws.s3("cp of the moved", "cp", "s3://cli-bucket/moved.bin", f"{here}/moved.bin")
    same_file(f"{tree}/file-0004.bin", f"{here}/moved.bin", "server-side copy and move kept the bytes")
    aws.s3("cp from standard input", "cp", "-", "s3://cli-bucket/piped", stdin=b"from a pipe\n")
    equal(aws.s3("cp to standard output", "cp", "s3://cli-bucket/piped", "-"), "from a pipe\n", "the piped bytes")


def large(aws, here):
    path = write_file(f"{here}/large.bin", 200 * MIB + 12345)
    aws.s3("cp of 200 MiB (multipart)", "cp", "--only-show-errors", path, "s3://cli-bucket/large.bin")
    head = aws.api("head-object", "head-object", "--bucket", "cli-bucket", "--key", "large.bin")
    equal(head.get("ContentLength"), os.path.getsize(path), "its length")
    equal(head.get("ETag", "").strip('"'), multipart_etag(path, 8 * MIB), "its ETag is the one S3 makes of 8 MiB parts")
    aws.s3("cp of 200 MiB back", "cp", "--only-show-errors", "s3://cli-bucket/large.bin", f"{here}/large.back")
    same_file(path, f"{here}/large.back", "200 MiB there and back: the same bytes")
    aws.s3("server-side copy of 200 MiB", "cp", "--only-show-errors", "s3://cli-bucket/large.bin", "s3://cli-bucket/large.copy")
    aws.s3("cp of the copy", "cp", "--only-show-errors", "s3://cli-bucket/large.copy", f"{here}/large.back")
    same_file(path, f"{here}/large.back", "the server-side copy: the same bytes")
    uploads = aws.api("list-multipart-uploads", "list-multipart-uploads", "--bucket", "cli-bucket")
    equal(uploads.get("Uploads", []), [], "no upload is left open")


def presigned(aws, here):
    url = aws.s3("presign", "presign", "s3://cli-bucket/one.bin", "--expires-in", "300").strip()
    done = subprocess.run(["curl", "-sS", "-o", f"{here}/presigned", "-w", "%{http_code}", url], env=aws.env, capture_output=True,
                          text=True, check=False, timeout=60)
    equal(done.stdout, "200", "a presigned URL answers 200")
    same_file(f"{here}/tree/file-0004.bin", f"{here}/presigned", "a presigned URL: the same bytes")
    done = subprocess.run(["curl", "-sS", url.replace("one.bin", "two.bin")], env=aws.env, capture_output=True, text=True, check=False,
                          timeout=60)
    check("SignatureDoesNotMatch" in done.stdout, "a presigned URL for another key is refused", done.stdout)


def errors_and_api(aws):
    aws.bad("a missing key", *aws.base, "s3", "cp", "s3://cli-bucket/no-such-key", "-", says="404")
    aws.bad("a missing bucket", *aws.base, "s3", "ls", "s3://no-such-bucket", says="NoSuchBucket")
    aws.bad("a bucket that is not empty", *aws.base, "s3", "rb", "s3://cli-bucket", says="BucketNotEmpty")
    aws.bad("an invalid bucket name", *aws.base, "s3api", "create-bucket", "--bucket", "No_Upper", says="InvalidBucketName")
    aws.env["AWS_SECRET_ACCESS_KEY"], secret = "wrong", aws.env["AWS_SECRET_ACCESS_KEY"]
    aws.bad("a wrong secret", *aws.base, "s3", "ls", says="SignatureDoesNotMatch")
    aws.env["AWS_SECRET_ACCESS_KEY"] = secret
    aws.env["AWS_ACCESS_KEY_ID"], key = "AKIDNOBODY", aws.env["AWS_ACCESS_KEY_ID"]
    aws.bad("an unknown access key", *aws.base, "s3", "ls", says="InvalidAccessKeyId")
    aws.env["AWS_ACCESS_KEY_ID"] = key
    aws.api("put-object with metadata", "put-object", "--bucket", "cli-bucket", "--key", "meta", "--metadata",
            "colour=blue,Size=Large", "--content-type", "text/x-test", "--cache-control", "max-age=7")
    head = aws.api("head-object", "head-object", "--bucket", "cli-bucket", "--key", "meta")
    equal((head.get("Metadata"), head.get("ContentType"), head.get("CacheControl")),
          ({"colour": "blue", "size": "Large"}, "text/x-test", "max-age=7"), "metadata comes back")
    where = aws.api("get-bucket-location", "get-bucket-location", "--bucket", "cli-bucket")
    equal(where.get("LocationConstraint"), None, "us-east-1 has no location constraint")
    names = aws.api("list-buckets", "list-buckets")
    equal([bucket["Name"] for bucket in names.get("Buckets", [])], ["cli-bucket"], "list-buckets")


def main():
    with Node("awscli") as node:
        here = f"{node.base}/client"
        aws = Aws(node, f"{here}/home")
        with guarded("copy and sync"):
            copy_and_sync(aws, here)
        with guarded("large"):
            large(aws, here)
        with guarded("presigned"):
            presigned(aws, here)
        with guarded("errors"):
            errors_and_api(aws)
        with guarded("removal"):
            aws.s3("rm --recursive", "rm", "--recursive", "--only-show-errors", "s3://cli-bucket/")
            equal(aws.s3("ls of the emptied", "ls", "--recursive", "s3://cli-bucket/"), "", "the bucket is empty")
            aws.s3("rb", "rb", "s3://cli-bucket")
            equal(aws.s3("ls of buckets", "ls"), "", "no bucket is left")
    finish()


main()
