"""One run of one guest: QEMU without any acceleration of the host's, two serial lines, and an exit code.

    ttyS0   the kernel's console, into a file
    ttyS1   the test's lines, to QEMU's standard output: this program reads them
    9p      the host's root, read-only; and the test's output directory, under the same name in the guest
    vda...  raw virtio disks; nvme0n1 an emulated NVMe

The guest ends QEMU through isa-debug-exit: 33 is success, 33 + 2 n is exit code n of the test, 0 a panic or reset.
"""
import ctypes
import functools
import mmap
import os
import signal
import subprocess
import time

SUCCESS = 33
# What it saves was measured under emulation: crypto self tests 2 to 7 CPU seconds, an unstable clock source a fifth of all.
KERNEL_WORDS = ("console=ttyS0 panic=-1 oops=panic mitigations=off tsc=reliable no_timer_check cryptomgr.notests=1 nowatchdog apparmor=0 "
                "initcall_blacklist=crypto_kdf108_init,init_encrypted transparent_hugepage=madvise quiet loglevel=4")
SIZES = {"M": 1 << 20, "G": 1 << 30}


class Disk:
    """kind: virtio or nvme. Sparse, and gone after the run."""

    def __init__(self, kind="virtio", size="1G"):
        self.kind, self.bytes = kind, int(size[:-1]) * SIZES[size[-1]]


@functools.lru_cache
def tsc_khz():
    """The rate of this CPU's time stamp counter, which is the guest's too. The guest would measure it itself, and on a busy host be wrong by
    factors: its clock then runs three times too fast, and every time-out in it is three times too short."""
    code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(b"\x0f\x31\x48\xc1\xe2\x20\x48\x09\xd0\xc3")                # rdtsc; shl $32, %rdx; or %rdx, %rax; ret
    rdtsc = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(ctypes.c_char.from_buffer(code)))

    def pair():                                         # of several, the one least disturbed
        best = None
        for _ in range(20):
            before, ticks, after = time.monotonic_ns(), rdtsc(), time.monotonic_ns()
            if best is None or after - before < best[0]:
                best = after - before, ticks, (before + after) // 2
        return best[1:]
    ticks, ns = pair()
    time.sleep(0.2)
    ticks_later, ns_later = pair()
    return (ticks_later - ticks) * 1000000 // (ns_later - ns)


def die_with_parent():
    """Whatever ends this program, kill -9 too, ends its QEMU."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


class Guest:
    def __init__(self, kernel, initrd, test, out, environment):
        self.kernel, self.initrd, self.test, self.out, self.environment = kernel, initrd, test, out, environment
        self.console = os.path.join(out, "console.log")
        self.images, self.process, self.rest = [], None, b""

    def command(self, extra=()):
        words = " ".join(f"{name}={value}" for name, value in self.environment.items())
        command = ["qemu-system-x86_64", "-M", "pc", "-accel", f"tcg,thread={self.test.thread}", "-cpu", "max", "-smp", str(self.test.cpus),
                   "-m", str(self.test.memory_mib), "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
                   "-serial", f"file:{self.console}", "-chardev", "stdio,id=lines,signal=off", "-serial", "chardev:lines",
                   "-device", "isa-debug-exit,iobase=0xf4,iosize=0x04",
                   "-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap",
                   "-device", "virtio-9p-pci,fsdev=host,mount_tag=host",
                   "-fsdev", f"local,id=out,path={self.out},security_model=none", "-device", "virtio-9p-pci,fsdev=out,mount_tag=out",
                   "-kernel", self.kernel.image, "-initrd", self.initrd, "-append", f"{KERNEL_WORDS} tsc_early_khz={tsc_khz()} {words}"]
        for number, disk in enumerate(self.test.disks):
            image = os.path.join(self.out, f"disk{number}.img")
            with open(image, "wb") as file:
                file.truncate(disk.bytes)
            self.images.append(image)
            # cache=unsafe: a flush of the guest's need not wait for the host's disk, since no test cuts the host's power
            command += ["-drive", f"file={image},if=none,id=disk{number},format=raw,cache=unsafe,discard=unmap"]
            model = "virtio-blk-pci" if disk.kind == "virtio" else f"nvme,serial=lab{number}"
            command += ["-device", f"{model},drive=disk{number}"]
        return command + list(extra)

    def start(self):
        self.process = subprocess.Popen(self.command(self.test.qemu(self.out)), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, preexec_fn=die_with_parent)
        self.began = time.monotonic()

    def fileno(self):
        return self.process.stdout.fileno()

    def deadline(self):
        return self.began + self.test.timeout_s

    def read_lines(self):
        """What has come since, in whole lines; None at the end. Waits when nothing has come."""
        got = os.read(self.fileno(), 65536)
        if not got and not self.rest:
            return None
        *lines, self.rest = (self.rest + (got or b"\n")).split(b"\n")
        return [line.decode(errors="replace").rstrip("\r") for line in lines]

    def end(self):
        """QEMU's exit code, once it has closed its output; None when the time was over: it is killed. And the CPU seconds it used."""
        pid = 0
        while pid == 0 and time.monotonic() < self.deadline():
            pid, status, used = os.wait4(self.process.pid, os.WNOHANG)
            time.sleep(0 if pid else 0.05)
        if pid == 0:
            self.process.kill()
            _, status, used = os.wait4(self.process.pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        self.process.stdout.close()
        self.remove_images()
        return self.process.returncode if pid else None, used.ru_utime + used.ru_stime

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.remove_images()

    def shell(self):
        """The terminal is the guest's; Ctrl-A is no escape, `exit` ends it."""
        try:
            return subprocess.call(self.command(self.test.qemu(self.out)), preexec_fn=die_with_parent)
        finally:
            self.remove_images()

    def remove_images(self):
        for image in self.images:
            os.unlink(image)
        self.images = []

    def console_tail(self, lines):
        try:
            with open(self.console, encoding="utf-8", errors="replace") as file:
                return file.read().splitlines()[-lines:]
        except FileNotFoundError:
            return []
