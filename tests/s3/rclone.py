#!/usr/bin/env python3
"""rclone against a real node: copy, check, sync, move, cat with an offset, purge; with and without multipart."""
import os

from clients import MIB, Tool, files_of, make_tree, same_tree, write_file
from checks import check, equal, finish, guarded
from node import Node


def main():
    with Node("rclone") as node:
        here = f"{node.base}/client"
        tool = Tool(node, f"{here}/home", {
            "RCLONE_CONFIG_NODE_TYPE": "s3", "RCLONE_CONFIG_NODE_PROVIDER": "Other", "RCLONE_CONFIG_NODE_ENDPOINT": node.url,
            "RCLONE_CONFIG_NODE_ACCESS_KEY_ID": node.access_key, "RCLONE_CONFIG_NODE_SECRET_ACCESS_KEY": node.secret_key,
            "RCLONE_CONFIG_NODE_REGION": "us-east-1", "RCLONE_RETRIES": "1", "RCLONE_LOW_LEVEL_RETRIES": "2",
            "AWS_CA_BUNDLE": ""})  # Amazon's library in it would read this, and cannot

        def rclone(text, *words):
            return tool.good(text, "rclone", *words)
        tree = make_tree(f"{here}/tree", files=500)
        write_file(f"{tree}/large/thirty.bin", 30 * MIB + 5)
        with guarded("copy"):
            rclone("mkdir", "mkdir", "node:rc-bucket")
            rclone("copy", "copy", "--transfers", "8", tree, "node:rc-bucket/tree")
            rclone("check (checksums)", "check", tree, "node:rc-bucket/tree")
            rclone("check --download", "check", "--download", tree, "node:rc-bucket/tree")
            rclone("copy back", "copy", "node:rc-bucket/tree", f"{here}/back")
            same_tree(tree, f"{here}/back", "copy there and back: the same bytes")
            listed = rclone("lsf -R", "lsf", "-R", "--files-only", "node:rc-bucket/tree")
            equal(sorted(listed.splitlines()), files_of(tree), "lsf shows every name as it is")
        with guarded("multipart"):
            rclone("copy in parts of 5 MiB", "copy", "--s3-upload-cutoff", "5M", "--s3-chunk-size", "5M",
                   "--s3-upload-concurrency", "4", f"{tree}/large", "node:rc-bucket/parts")
            rclone("check of the parts", "check", "--download", f"{tree}/large", "node:rc-bucket/parts")
            rclone("server-side copy", "copy", "node:rc-bucket/parts", "node:rc-bucket/copied")
            rclone("check of the copy", "check", "--download", f"{tree}/large", "node:rc-bucket/copied")
            equal(rclone("cat --offset --count", "cat", "--offset", "70000", "--count", "11",
                         "node:rc-bucket/tree/large/thirty.bin").encode(errors="replace") != b"", True, "a range of a file")
        with guarded("sync"):
            os.unlink(f"{tree}/large/thirty.bin")
            write_file(f"{tree}/file-0000.bin", 777, "changed")
            rclone("sync", "sync", tree, "node:rc-bucket/tree")
            rclone("check after sync", "check", "--download", tree, "node:rc-bucket/tree")
            again = tool.run("rclone", "sync", "-v", tree, "node:rc-bucket/tree")[2]
            check("Copied" not in again and "Deleted" not in again, "a second sync has nothing to do", again)
            rclone("move", "move", "node:rc-bucket/parts", "node:rc-bucket/moved")
            rclone("check after move", "check", "--one-way", "node:rc-bucket/moved", "node:rc-bucket/copied")
        with guarded("streams"):
            tool.good("rcat of unknown length", "rclone", "rcat", "node:rc-bucket/stream", stdin=b"x" * 300000)
            equal(rclone("cat", "cat", "node:rc-bucket/stream"), "x" * 300000, "rcat and cat: the same bytes")
        with guarded("purge"):
            rclone("purge", "purge", "node:rc-bucket")
            equal(rclone("lsd", "lsd", "node:"), "", "no bucket is left")
    finish()


main()
