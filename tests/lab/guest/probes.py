"""How many bytes the kernel's CPUs copied for a process, function by function; and how many of zero-copy sends after all.

    with Copies() as copies:
        copies.clear()
        ...
        copies.of(pid)          {"_copy_to_iter": 25165824, ...}

Watched are the functions that hold the copy loop; what calls them (copy_page_to_iter, skb_copy_datagram_iter, reads and writes) would
count a byte twice. Debian's kernel refuses kprobes on them: lib/ is built without ftrace, and CONFIG_KPROBE_EVENTS_ON_NOTRACE is off. So
each gets one of the CPU's four execution breakpoints by perf_event_open(2), and every call leaves a sample: process, and the register
that holds the number of bytes.
"""
import collections
import ctypes
import mmap
import os
import socket
import struct

# function: the register of its argument `bytes`, by number in perf_regs.h (x86): the second is in SI, the third in DX
DX, SI = 3, 4
FUNCTIONS = {
    "_copy_to_iter": SI,                # to user memory: a recv, a read through the page cache
    "_copy_from_iter": SI,              # from user memory: a send
    "copy_page_from_iter_atomic": DX,   # from user memory to the page cache: a buffered write
    "_copy_from_iter_nocache": SI,      # a send to a device that wants it so
}
SYS_PERF_EVENT_OPEN = 298
PERF_TYPE_BREAKPOINT, HW_BREAKPOINT_X = 5, 4
SAMPLE_TID, SAMPLE_REGS_INTR = 1 << 1, 1 << 18
EXCLUDE_USER = 1 << 4
RECORD_LOST, RECORD_THROTTLE, RECORD_SAMPLE = 2, 5, 9
ATTR = struct.Struct("=IIQQQQQIIQQQQIiQII")             # struct perf_event_attr up to PERF_ATTR_SIZE_VER5
RING_PAGES = 512                                        # 50,000 samples of a CPU and function between two looks
HEAD, TAIL = 1024, 1032                                 # data_head, data_tail in struct perf_event_mmap_page


class Ring:
    """The samples of one function on one CPU."""

    def __init__(self, address, register, cpu):
        attr = ATTR.pack(PERF_TYPE_BREAKPOINT, ATTR.size, 0, 1, SAMPLE_TID | SAMPLE_REGS_INTR, 0, EXCLUDE_USER, 0, HW_BREAKPOINT_X, address, 8,
                         0, 0, 0, 0, 1 << register, 0, 0)
        libc = ctypes.CDLL(None, use_errno=True)
        self.fd = libc.syscall(SYS_PERF_EVENT_OPEN, attr, -1, cpu, -1, 0)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), f"perf_event_open: {os.strerror(ctypes.get_errno())}")
        self.map = mmap.mmap(self.fd, (1 + RING_PAGES) * mmap.PAGESIZE)

    def drain(self):
        """Yields (process, bytes) of each call since the last drain."""
        start, size = mmap.PAGESIZE, RING_PAGES * mmap.PAGESIZE
        head, tail = struct.unpack_from("=QQ", self.map, HEAD)
        first, length = tail % size, head - tail
        data = self.map[start + first:start + min(size, first + length)]
        data += self.map[start:start + length - len(data)]
        struct.pack_into("=Q", self.map, TAIL, head)
        at = 0
        while at < len(data):
            kind, _, record_size = struct.unpack_from("=IHH", data, at)
            if kind in (RECORD_LOST, RECORD_THROTTLE):
                raise RuntimeError("the kernel dropped samples: the sums would be too small")
            if kind == RECORD_SAMPLE:
                process, _, abi, count = struct.unpack_from("=IIQQ", data, at + 8)
                if abi:
                    yield process, count
            at += record_size

    def close(self):
        self.map.close()
        os.close(self.fd)


class Copies:
    def __init__(self):
        self.rings = {}

    def __enter__(self):
        with open("/proc/sys/kernel/perf_event_max_sample_rate", "w", encoding="ascii") as file:
            file.write("100000000")                     # else a busy breakpoint is throttled
        for name, address in addresses().items():
            self.rings[name] = [Ring(address, FUNCTIONS[name], cpu) for cpu in range(os.cpu_count())]
        return self

    def __exit__(self, *_):
        for rings in self.rings.values():
            for ring in rings:
                ring.close()

    def by_process(self):
        """{process: {function: bytes}} since the last look."""
        sums = collections.defaultdict(collections.Counter)
        for name, rings in self.rings.items():
            for ring in rings:
                for process, count in ring.drain():
                    sums[process][name] += count
        return sums

    def clear(self):
        self.by_process()

    def of(self, pid):
        """{function: bytes} of the process since the last look, the kernel's threads for its io_uring among it."""
        return dict(self.by_process()[pid])


def addresses():
    with open("/proc/kallsyms", encoding="ascii") as file:
        symbols = (line.split()[:3] for line in file)
        return {name: int(address, 16) for address, _, name in symbols if name in FUNCTIONS}


def zero_copy_over_loopback(size):
    """By this process; returns how many bytes were sent so, and received."""
    so_zerocopy, msg_zerocopy = 60, 0x4000000
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as one, server.accept()[0] as other:
        one.setsockopt(socket.SOL_SOCKET, so_zerocopy, 1)
        return len(other.recv(one.send(bytes(size), msg_zerocopy), socket.MSG_WAITALL))


class Ubufs:
    """Bytes of zero-copy sends that the kernel copied after all: skb_copy_ubufs(), which skb_orphan_frags() and its kin call when a packet is
    about to live longer than its sender can wait, as one that reaches a socket of this machine. A kprobe: this function allows it. Whose
    process it was cannot be told, since packets arrive in anybody's context."""
    TRACING = "/sys/kernel/tracing"
    DATA_LEN = 116                                      # in struct sk_buff, of 6.1 and of 6.12; whoever counts calibrates

    def __enter__(self):
        self.write("kprobe_events", f"p:labubufs skb_copy_ubufs bytes=+{self.DATA_LEN}(%di):u32")
        self.instance = os.path.join(self.TRACING, "instances/labubufs")
        os.mkdir(self.instance)
        self.write("instances/labubufs/events/kprobes/labubufs/enable", "1")
        return self

    def __exit__(self, *_):
        self.write("instances/labubufs/events/kprobes/labubufs/enable", "0")
        os.rmdir(self.instance)
        self.write("kprobe_events", "-:labubufs", os.O_APPEND)

    def write(self, name, text, how=os.O_TRUNC):
        fd = os.open(os.path.join(self.TRACING, name), os.O_WRONLY | how)
        os.write(fd, text.encode())
        os.close(fd)

    def clear(self):
        self.write("instances/labubufs/trace", "")

    def bytes(self):
        """Since clear()."""
        with open(os.path.join(self.instance, "trace"), encoding="ascii") as file:
            return sum(int(line.rpartition("bytes=")[2]) for line in file if "bytes=" in line)
