#!/usr/bin/env python3
"""boto3 against a real node: every section of the three modules, each judged by what AWS S3 answers."""
import os
import sys

import boto3_common
import boto3_listing
import boto3_multipart
import boto3_objects
from checks import finish, guarded, note
from node import Node


def main():
    only = sys.argv[1:]
    name = os.environ.get("SLUICE_SUITE", "boto3")
    note(boto3_common.versions())
    with Node(name) as node:
        boto3_listing.trust(node)
        s3 = boto3_common.make_client(node)
        for module in (boto3_objects, boto3_multipart, boto3_listing):
            with guarded(f"bucket {module.BUCKET}"):
                s3.create_bucket(Bucket=module.BUCKET)
            for section in module.SECTIONS:
                if not only or section.__name__ in only:
                    with guarded(section.__name__):
                        section(boto3_common.make_client(node))
        for section in boto3_listing.NODE_SECTIONS:
            if not only or section.__name__ in only:
                with guarded(section.__name__):
                    section(boto3_common.make_client(node), node)
    finish()


main()
