"""Zero copy down to the disk: the page frames that the NVMe read for a PUT, and wrote for a cold GET, are those of the node's arena.

The disk is QEMU's, so each address it was given for a transfer is in QEMU's trace (pci_nvme_map_addr), and without an IOMMU that is the
guest's physical address. Which frames the arena has, /proc/PID/pagemap tells. A bounce buffer, a page cache, a copy in user space would all
show other frames. Every unit of the body must have come from the arena, exactly once.
"""
import os
import random
import re
import struct

from checks import check, equal, finish, guarded, note
from node import Node
import lab
import sigv4

PAGE = 4096
SIZES = [64 << 10, (8 << 20) + 4097]
# What else goes to the disk meanwhile: RocksDB's log, the file system's journal and metadata.
BESIDE = 1 << 20
TRACE = os.path.join(os.environ["SLUICE_TEST_OUT"], "nvme.trace")
TRANSFER = re.compile(r"pci_nvme_map_addr addr 0x([0-9a-f]+) len (\d+)")


class Transfers:
    """What QEMU's trace says from now on."""

    def __init__(self):
        self.start = os.stat(TRACE).st_size

    def pages(self):
        """The page frame of each page transferred, in order."""
        with open(TRACE, encoding="ascii", errors="replace") as file:
            file.seek(self.start)
            found = [(int(address, 16), int(size)) for address, size in TRANSFER.findall(file.read())]
        return [page for address, size in found for page in range(address // PAGE, (address + size + PAGE - 1) // PAGE)]


def arena_of(pid):
    """(address, size) of the arena: the one anonymous mapping that is left out of core dumps and wants huge pages (base/arena.c)."""
    found, mapping = [], None
    with open(f"/proc/{pid}/smaps", encoding="utf-8") as file:
        for line in file:
            fields = line.split()
            if re.match(r"[0-9a-f]+-[0-9a-f]+$", fields[0]):
                mapping = fields
            elif fields[0] == "VmFlags:" and {"dd", "hg"} <= set(fields) and len(mapping) == 5:
                start, end = (int(part, 16) for part in mapping[0].split("-"))
                found.append((start, end - start))
    if len(found) != 1:
        raise RuntimeError(f"{len(found)} mappings look like the arena: {found}")
    return found[0]


def frames_of(pid, address, size):
    """The page frames of a range, those that are in memory."""
    with open(f"/proc/{pid}/pagemap", "rb") as file:
        file.seek(address // PAGE * 8)
        entries = struct.unpack(f"={size // PAGE}Q", file.read(size // PAGE * 8))
    present, number = 1 << 63, (1 << 55) - 1
    return [entry & number for entry in entries if entry & present]


def held(text, pages, frames, size):
    inside = sum(page in frames for page in pages)
    outside = len(pages) - inside
    units = (size + PAGE - 1) // PAGE
    check(inside == units, f"{text}: the disk's transfers name {inside} page frames of the arena, the body has {units} units")
    check(outside * PAGE <= BESIDE, f"{text}: {outside} pages of other memory, for the index and the file system's own",
          f"at most {BESIDE // PAGE} are explained")


def main():
    lab.modprobe("nvme")
    directory = lab.format_and_mount("/dev/nvme0n1", "ext4", "/mnt/ext4")
    with Node("lab-dma", directory=f"{directory}/data") as node, guarded("transfers"):
        client = node.client()
        equal(client.make_bucket("seen").status, 200, "CreateBucket")
        arena = arena_of(node.pid)
        frames = frames_of(node.pid, *arena)
        equal(len(frames) * PAGE, arena[1], "the arena is in memory as a whole: registered, so pinned")
        note(f"{arena[1] >> 20} MiB at {arena[0]:#x}")
        for size in SIZES:
            body = random.Random(size).randbytes(size)
            seen = Transfers()
            answer = client.put("seen", f"size/{size}", body, payload=sigv4.UNSIGNED)
            held(f"PUT of {size} bytes", seen.pages(), set(frames), size)
            equal(answer.status, 200, f"PUT of {size} bytes: the answer")
            seen = Transfers()
            answer = client.get("seen", f"size/{size}")
            held(f"cold GET of {size} bytes", seen.pages(), set(frames), size)
            equal(answer.headers.get("x-sluice-path"), "direct", f"cold GET of {size} bytes: its receipt")
            check(answer.body == body, f"cold GET of {size} bytes: the bytes")
        equal(frames_of(node.pid, *arena), frames, "the arena's frames have not moved")
    finish()


main()
