#!/usr/bin/env python3
"""restic against a real node: init, two backups, check --read-data, restore, forget --prune."""
import os

from clients import Tool, make_tree, same_tree, write_file
from checks import equal, finish, guarded
from node import Node


def main():
    with Node("restic") as node:
        here = f"{node.base}/client"
        tool = Tool(node, f"{here}/home", {"RESTIC_PASSWORD": "only a test", "RESTIC_REPOSITORY": f"s3:{node.url}/restic-repo",
                                           "RESTIC_CACHE_DIR": f"{here}/cache"})
        tree = make_tree(f"{here}/tree", files=400)
        with guarded("restic"):
            tool.good("init", "restic", "init")
            tool.good("backup", "restic", "backup", tree)
            tool.good("check --read-data", "restic", "check", "--read-data")
            tool.good("restore", "restic", "restore", "latest", "--target", f"{here}/back")
            same_tree(tree, f"{here}/back{tree}", "backup and restore: the same bytes")
            write_file(f"{tree}/file-0000.bin", 123456, "changed")
            os.unlink(f"{tree}/large/nine-mib.bin")
            tool.good("second backup", "restic", "backup", tree)
            out = tool.good("snapshots", "restic", "snapshots", "--json")
            equal(out.count('"short_id"'), 2, "two snapshots")
            tool.good("forget --keep-last 1 --prune", "restic", "forget", "--keep-last", "1", "--prune")
            tool.good("check after prune", "restic", "check", "--read-data")
            tool.good("second restore", "restic", "restore", "latest", "--target", f"{here}/back2")
            same_tree(tree, f"{here}/back2{tree}", "restore after prune: the same bytes")
            tool.bad("init of an initialised repository", "restic", "init", says="already")
    finish()


main()
