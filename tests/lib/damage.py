"""Damaged bytes on the disk below a node that serves them: what a disk does that forgets."""
import json
import os

CHUNK = 64 << 10


def extents(node, bucket, key):
    """[(segment, offset in its file, bytes)] of an object, in order."""
    code, text = node.cli("--json", "extents", "show", f"{bucket}/{key}")
    assert code == 0, text
    return [(one["segment"], one["file_offset"], one["bytes"]) for one in json.loads(text)["extents"]]


def place(node, bucket, key, offset):
    """(path, file offset) of a byte of the object."""
    for segment, file_offset, size in extents(node, bucket, key):
        if offset < size:
            return os.path.join(node.dir, "seg", f"{segment:08x}"), file_offset + offset
        offset -= size
    raise ValueError("beyond the object")


def damage(node, bucket, key, *offsets):
    """Turns a bit of each of these bytes over, on the disk and out of the page cache."""
    for offset in offsets:
        path, at = place(node, bucket, key, offset)
        file = os.open(path, os.O_RDWR)
        byte = os.pread(file, 1, at)[0]
        os.pwrite(file, bytes([byte ^ 0x20]), at)
        os.fsync(file)
        os.posix_fadvise(file, at & ~4095, 4096, os.POSIX_FADV_DONTNEED)
        os.close(file)
