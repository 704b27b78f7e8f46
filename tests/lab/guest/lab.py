"""What the guest's tests share: kernel modules, file systems on its disks."""
import os
import subprocess


def run(*command, check=True, timeout_s=120):
    """A command's output; its failure is an exception that holds what it said."""
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=timeout_s, check=False)
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}: {(done.stdout + done.stderr).strip()[-800:]}")
    return done.stdout


def modprobe(*names):
    run("modprobe", "-a", *names)


def ktls():
    """Makes the kernel ready for TLS; returns a function that tells what it has done since: {"TlsTxSw": sessions, ...}.

    On 6.1 the ULP alone is not enough: TLS_TX says ENOENT until AES-GCM's parts are loaded, and nothing loads them by itself."""
    modprobe("tls", "gcm", "ctr", "ghash_generic", "aes_generic")
    run("modprobe", "aesni_intel", check=False)         # faster where the CPU has it

    def counters():
        with open("/proc/net/tls_stat", encoding="ascii") as file:
            return {name: int(value) for name, value in (line.split() for line in file)}
    before = counters()
    return lambda: {name: value - before[name] for name, value in counters().items() if value != before[name]}


def format_and_mount(device, kind, where):
    """An empty file system; returns the directory."""
    modprobe(kind)
    run(f"mkfs.{kind}", *(["-q", "-F"] if kind == "ext4" else ["-q", "-f"]), device)
    return mount(device, kind, where)


def mount(device, kind, where):
    os.makedirs(where, exist_ok=True)
    run("mount", "-t", kind, device, where)
    return where


def unmount(where):
    run("umount", where)


def warm(pid):
    """Brings the files a process has mapped into the page cache: a page fault that has to ask 9p copies bytes in the process's name."""
    with open(f"/proc/{pid}/maps", encoding="utf-8") as file:
        paths = {fields[5] for fields in (line.split(maxsplit=5) for line in file.read().splitlines()) if len(fields) > 5}
    for path in paths:
        if os.path.isfile(path):
            with open(path, "rb") as file:
                while file.read(1 << 20):
                    pass
