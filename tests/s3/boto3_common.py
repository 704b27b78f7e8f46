"""What the boto3 suites share: a client of the node, errors as (status, code), headers boto3 has no word for, CRCs.

The same sections run under Debian's boto3 and under the newest of PyPI; where the old one lacks a parameter, `knows()` says so.
"""
import base64
import contextlib
import hashlib
import os
import sys
import zlib

import boto3
import botocore
from botocore.config import Config
from botocore.exceptions import ClientError

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from checks import check, short  # noqa: E402

MIB = 1 << 20


def make_client(node, key=None, secret=None, **config):
    return boto3.client("s3", endpoint_url=node.url, region_name="us-east-1", aws_access_key_id=key or node.access_key,
                        aws_secret_access_key=secret or node.secret_key, verify=node.ca,
                        config=Config(retries={"total_max_attempts": 1}, connect_timeout=10, read_timeout=120,
                                      s3={"addressing_style": "path"}, signature_version="s3v4", **config))


def versions():
    return f"boto3 {boto3.__version__}, botocore {botocore.__version__}"


def knows(client, operation, parameter):
    return parameter in client.meta.service_model.operation_model(operation).input_shape.members


def outcome(call, *args, **kwargs):
    """(status, code) of a call that may fail; the code is '' when it did not."""
    try:
        return call(*args, **kwargs)["ResponseMetadata"]["HTTPStatusCode"], ""
    except ClientError as error:
        return error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"]["Code"]


def fails(text, want, call, *args, **kwargs):
    """One check: the call's (status, code) is `want`, or one of a list of such pairs."""
    got = outcome(call, *args, **kwargs)
    allowed = want if isinstance(want, list) else [want]
    return check(got in allowed, text, f"expected {' or '.join(map(str, allowed))}\ngot      {got}")


@contextlib.contextmanager
def extra_headers(client, operation, headers):
    """Adds headers to each request of an operation, before it is signed."""
    event = f"before-sign.s3.{operation}"

    def add(request, **_):
        for name, value in headers.items():
            del request.headers[name]  # setting alone would add a second one
            request.headers[name] = value
    client.meta.events.register(event, add, unique_id="extra")
    try:
        yield
    finally:
        client.meta.events.unregister(event, unique_id="extra")


def body_of(answer):
    return answer["Body"].read()


def same(got, want, text):
    return check(got == want, text, lambda: f"{len(got)} bytes {short(got, 80)}\nexpected {len(want)} bytes {short(want, 80)}")


def crc_table(polynomial, bits):
    table = []
    for n in range(256):
        for _ in range(8):
            n = (n >> 1) ^ (polynomial if n & 1 else 0)
        table.append(n)
    return table, (1 << bits) - 1


CRC32C = crc_table(0x82F63B78, 32)
CRC64NVME = crc_table(0x9A6C9329AC4BC9B5, 64)


def crc(model, data):
    table, mask = model
    value = mask
    for byte in data:
        value = table[(value ^ byte) & 0xFF] ^ (value >> 8)
    return value ^ mask


def checksum(algorithm, data):
    """S3's text of a checksum: base64 of the big-endian value."""
    raw = {"CRC32": lambda: zlib.crc32(data).to_bytes(4, "big"),
           "CRC32C": lambda: crc(CRC32C, data).to_bytes(4, "big"),
           "CRC64NVME": lambda: crc(CRC64NVME, data).to_bytes(8, "big"),
           "SHA1": lambda: hashlib.sha1(data).digest(),
           "SHA256": lambda: hashlib.sha256(data).digest()}[algorithm]()
    return base64.b64encode(raw).decode()


assert crc(CRC32C, b"123456789") == 0xE3069283 and crc(CRC64NVME, b"123456789") == 0xAE8B14860A799888
