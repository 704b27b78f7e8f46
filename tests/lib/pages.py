"""Keeps an object's pages in the page cache while a test looks at how they are served.

The kernel may evict clean pages whenever it likes (some machines reclaim cold memory within seconds), and the node then rightly takes
another path. What is mapped and locked stays.
"""
import contextlib
import ctypes
import json
import mmap
import os

MAP_SHARED, PROT_READ = mmap.MAP_SHARED, mmap.PROT_READ
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.mlock.argtypes = libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


def extents(node, bucket, key):
    """[(segment file, offset, size in whole pages)] of the object."""
    code, text = node.cli("extents", "show", f"{bucket}/{key}", "--json")
    if code != 0:
        raise RuntimeError(f"extents show {bucket}/{key}: {text}")
    return [(os.path.join(node.dir, "seg", f"{extent['segment']:08x}"), extent["file_offset"], extent["units"] * 4096)
            for extent in json.loads(text)["extents"]]


@contextlib.contextmanager
def resident(node, bucket, key):
    held = []
    try:
        for path, offset, size in extents(node, bucket, key):
            fd = os.open(path, os.O_RDONLY)
            at = libc.mmap(None, size, PROT_READ, MAP_SHARED, fd, offset)
            os.close(fd)
            if at in (None, ctypes.c_void_p(-1).value):
                raise OSError(ctypes.get_errno(), f"mmap {path}")
            held.append((at, size))
            if libc.mlock(at, size) != 0:
                raise OSError(ctypes.get_errno(), f"mlock {size} bytes of {path}: see `ulimit -l`")
        yield
    finally:
        for at, size in held:
            libc.munmap(at, size)
