"""A disk whose every write is remembered, and power cuts of it: dm-log-writes, and a replay of its log to another disk.

    with LoggedDisk("/dev/vda", "/dev/vdb") as disk:    # /dev/vdb takes the log
        ...                                             # mkfs, mount, work on disk.path
        disk.mark("cut1")
    Log("/dev/vdb").replay("/dev/vdc", "cut1")          # what /dev/vda held, had the power gone then

The kernel logs a write when a flush that was sent after its completion has completed (or at once when it was a FUA): a write that nobody
flushed is not on the replayed disk. What a real disk may keep of such writes is any of them, so a replay may add a random choice of those
that lie between the mark and the next flush.
"""
import os
import struct

import lab

MAGIC, VERSION = 0x6a736677736872, 1
FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8
SUPER, ENTRY = struct.Struct("<QQQI"), struct.Struct("<QQQQ")


class LoggedDisk:
    def __init__(self, device, log):
        lab.modprobe("dm_log_writes")
        self.name = "logged"
        sectors = lab.run("blockdev", "--getsz", device).strip()
        lab.run("dmsetup", "create", self.name, "--table", f"0 {sectors} log-writes {device} {log}")
        self.path = f"/dev/mapper/{self.name}"

    def mark(self, name):
        lab.run("dmsetup", "message", self.name, "0", "mark", name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        lab.run("dmsetup", "remove", self.name)


class Log:
    def __init__(self, device):
        self.fd = os.open(device, os.O_RDONLY)
        magic, version, self.count, self.sector_size = SUPER.unpack(os.pread(self.fd, SUPER.size, 0))
        if (magic, version) != (MAGIC, VERSION):
            raise RuntimeError(f"{device} holds no log of dm-log-writes")

    def close(self):
        os.close(self.fd)

    def entries(self):
        """(flags, target offset, size, offset of its data in the log, name of a mark), in order of their durability."""
        at = self.sector_size
        for _ in range(self.count):
            head = os.pread(self.fd, self.sector_size, at)
            sector, sectors, flags, data_size = ENTRY.unpack_from(head)
            at += self.sector_size
            name = head[ENTRY.size:ENTRY.size + data_size].rstrip(b"\0").decode() if flags & MARK else ""
            yield flags, sector * self.sector_size, sectors * self.sector_size, at, name
            if not flags & DISCARD:
                at += sectors * self.sector_size

    def replay(self, target, mark, chance=None):
        """Returns how many writes were played, and how many of them nobody had flushed. chance: a random.Random that chooses among these;
        without it they are all lost. `target` must be all zeros."""
        played = unflushed = 0
        is_past = False
        fd = os.open(target, os.O_WRONLY)
        try:
            for flags, offset, size, data_at, name in self.entries():
                if is_past and flags & (FLUSH | FUA | MARK):
                    break
                if flags & MARK:
                    is_past = name == mark
                    if is_past and chance is None:
                        break
                elif size and not flags & DISCARD and not (is_past and chance.random() < 0.5):
                    self.copy(fd, offset, size, data_at)
                    played += 1
                    unflushed += is_past
            os.fsync(fd)
        finally:
            os.close(fd)
        if not is_past:
            raise RuntimeError(f"no mark {mark} in the log")
        return played, unflushed

    def copy(self, fd, offset, size, data_at):
        while size > 0:
            piece = os.pread(self.fd, min(size, 1 << 20), data_at)
            os.pwrite(fd, piece, offset)
            offset, data_at, size = offset + len(piece), data_at + len(piece), size - len(piece)
