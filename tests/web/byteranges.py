"""multipart/byteranges, taken apart as a client would: RFC 9110, 14.6."""
import re


class Malformed(Exception):
    pass


def parts(content_type, body):
    """[(first, last, size, type, bytes)] of a multipart answer; raises Malformed when a byte is out of place."""
    kind = re.fullmatch(r'multipart/byteranges; boundary="?([0-9A-Za-z\'()+_,./:=? -]{1,70})"?', content_type or "")
    if kind is None:
        raise Malformed(f"Content-Type: {content_type}")
    delimiter = b"\r\n--" + kind[1].encode()
    found, at = [], 0
    while True:
        if not body.startswith(delimiter, at):
            raise Malformed(f"no delimiter at {at}: {body[at:at + 60]!r}")
        at += len(delimiter)
        if body[at:] == b"--\r\n":
            return found
        end = body.find(b"\r\n\r\n", at)
        head = dict(line.split(": ", 1) for line in body[at:end].decode("latin-1").split("\r\n")[1:])
        head = {name.lower(): value for name, value in head.items()}
        where = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", head.get("content-range", ""))
        if end < 0 or where is None:
            raise Malformed(f"part head at {at}: {body[at:at + 200]!r}")
        first, last, size = map(int, where.groups())
        at = end + 4
        data = body[at:at + last - first + 1]
        if len(data) != last - first + 1:
            raise Malformed(f"a part of {last - first + 1} bytes has {len(data)}")
        found.append((first, last, size, head.get("content-type"), data))
        at += len(data)
