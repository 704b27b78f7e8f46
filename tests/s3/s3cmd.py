#!/usr/bin/env python3
"""s3cmd against a real node: put, get, sync, ls, info, copy, multipart, del."""
import os

from clients import MIB, Tool, files_of, make_tree, same_file, same_tree, write_file
from checks import check, equal, finish, guarded
from node import Node

CONFIG = """[default]
access_key = {key}
secret_key = {secret}
host_base = {host}
host_bucket = {host}
use_https = {https}
ca_certs_file = {ca}
signature_v2 = False
bucket_location = us-east-1
multipart_chunk_size_mb = 15
"""


def main():
    with Node("s3cmd") as node:
        here = f"{node.base}/client"
        tool = Tool(node, f"{here}/home")
        with open(f"{here}/home/.s3cfg", "w", encoding="ascii") as file:
            file.write(CONFIG.format(key=node.access_key, secret=node.secret_key, host=node.s3, https=node.tls, ca=node.ca or ""))

        def s3cmd(text, *words):
            return tool.good(text, "s3cmd", "--no-progress", *words)
        tree = make_tree(f"{here}/tree")
        with guarded("put and get"):
            s3cmd("mb", "mb", "s3://cmd-bucket")
            s3cmd("put", "put", f"{tree}/file-0004.bin", "s3://cmd-bucket/one")
            s3cmd("get", "get", "s3://cmd-bucket/one", f"{here}/one")
            same_file(f"{tree}/file-0004.bin", f"{here}/one", "put and get: the same bytes")
            check("MD5 sum" in s3cmd("info", "info", "s3://cmd-bucket/one"), "info shows the MD5")
            s3cmd("cp", "cp", "s3://cmd-bucket/one", "s3://cmd-bucket/two words")
            s3cmd("mv", "mv", "s3://cmd-bucket/two words", "s3://cmd-bucket/three")
            s3cmd("get of the copied", "get", "s3://cmd-bucket/three", f"{here}/three")
            same_file(f"{tree}/file-0004.bin", f"{here}/three", "cp and mv kept the bytes")
        with guarded("sync"):
            s3cmd("sync", "sync", f"{tree}/", "s3://cmd-bucket/tree/")
            again = s3cmd("sync again", "sync", f"{tree}/", "s3://cmd-bucket/tree/")
            check("upload:" not in again, "a second sync has nothing to do", again)
            os.makedirs(f"{here}/back")
            s3cmd("sync back", "sync", "s3://cmd-bucket/tree/", f"{here}/back/")
            same_tree(tree, f"{here}/back", "sync there and back: the same bytes")
            listed = s3cmd("ls --recursive", "ls", "--recursive", "s3://cmd-bucket/tree/")
            equal(len(listed.splitlines()), len(files_of(tree)), "ls shows every file")
            check("DIR" in s3cmd("ls", "ls", "s3://cmd-bucket/tree/"), "ls shows folders")
        with guarded("multipart"):
            path = write_file(f"{here}/large.bin", 50 * MIB + 3)
            s3cmd("put of 50 MiB (multipart)", "put", path, "s3://cmd-bucket/large")
            s3cmd("get of 50 MiB", "get", "s3://cmd-bucket/large", f"{here}/large.back")
            same_file(path, f"{here}/large.back", "multipart there and back: the same bytes")
            equal(s3cmd("multipart", "multipart", "s3://cmd-bucket").count("s3://cmd-bucket/large"), 0, "no upload is left open")
        with guarded("removal"):
            s3cmd("del", "del", "s3://cmd-bucket/one")
            tool.bad("get of the deleted", "s3cmd", "get", "--force", "s3://cmd-bucket/one", f"{here}/gone")
            tool.bad("rb of a bucket that is not empty", "s3cmd", "rb", "s3://cmd-bucket", says="BucketNotEmpty")
            s3cmd("del --recursive (DeleteObjects)", "del", "--recursive", "--force", "s3://cmd-bucket/")
            equal(s3cmd("ls of the emptied", "ls", "--recursive", "s3://cmd-bucket"), "", "the bucket is empty")
            s3cmd("rb", "rb", "s3://cmd-bucket")
    finish()


main()
