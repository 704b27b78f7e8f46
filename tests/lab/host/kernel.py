"""The guest's kernel and its first file system.

The kernel is Debian's own package, fetched by apt-get download and unpacked into a cache; it is never installed. Only the plain `amd64`
flavour will do: `-cloud-` kernels have no soft-RoCE, no 9p and no /dev/port.

    CACHE/linux-image-6.1.0-50-amd64/vmlinux            the ELF kernel, carved out of the bzImage: QEMU starts it by PVH
    CACHE/linux-image-6.1.0-50-amd64/lib/modules/...    all modules, with their dependencies listed by depmod
"""
import fcntl
import glob
import lzma
import os
import re
import shutil
import subprocess
import tempfile

PACKAGES = {"12": r"linux-image-6\.1\.0-\d+-amd64", "13": r"linux-image-6\.12\.\d+\+deb13-amd64"}
# Debian 13's for Debian 12, from its security archive: for what came after 6.1
NEWER = {"12": r"linux-image-6\.12\.\d+\+deb12-amd64", "13": PACKAGES["13"]}
BUSYBOX = "/bin/busybox"
# What it takes to mount the host's root; everything else is loaded from there.
FIRST_MODULES = ["virtio_pci", "9pnet_virtio", "9p", "overlay"]
DOWNLOAD_S = 600


class NoKernel(Exception):
    """There is no kernel to boot; the message says why and what helps."""


class Kernel:
    def __init__(self, directory):
        self.directory = directory
        self.image = os.path.join(directory, "vmlinux")
        self.modules = glob.glob(os.path.join(directory, "lib/modules/*"))[0]
        self.version = os.path.basename(self.modules)


def cache_directory():
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.environ.get("SLUICE_LAB_CACHE") or os.path.join(base, "sluice-lab")


def get(newer=False):
    """The newest kernel apt knows of this Debian's series, or of 6.12; one from the cache when that cannot be fetched."""
    cache = cache_directory()
    os.makedirs(cache, exist_ok=True)
    pattern = (NEWER if newer else PACKAGES).get(debian_version())
    if pattern is None:
        raise NoKernel("the lab knows the kernels of Debian 12 and 13 only")
    with open(os.path.join(cache, "lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)               # two runs at once fetch it once
        known = newest_first(apt_knows(pattern))
        cached = newest_first(name for name in os.listdir(cache) if re.fullmatch(pattern, name))
        if known and known[0] not in cached:
            try:
                fetch(known[0], cache)
                cached.insert(0, known[0])
            except NoKernel:
                if not cached:
                    raise
        if not cached:
            raise NoKernel(f"apt knows no package {pattern}: run apt-get update, and look at /etc/apt/sources.list")
        return Kernel(os.path.join(cache, cached[0]))


def debian_version():
    with open("/etc/os-release", encoding="utf-8") as file:
        told = dict(line.rstrip().split("=", 1) for line in file if "=" in line)
    return told.get("VERSION_ID", "").strip('"') if told.get("ID") == "debian" else ""


def newest_first(names):
    return sorted(names, key=lambda name: [int(part) for part in re.findall(r"\d+", name)], reverse=True)


def apt_knows(pattern):
    done = subprocess.run(["apt-cache", "pkgnames", "linux-image-"], capture_output=True, text=True, check=False)
    return [name for name in done.stdout.split() if re.fullmatch(pattern, name)]


def fetch(package, cache):
    """Downloads, unpacks, carves, and only then gives the directory its name."""
    with tempfile.TemporaryDirectory(dir=cache) as work:
        run(["apt-get", "-q", "-o", "Acquire::Retries=3", "download", package], cwd=work)
        tree = os.path.join(work, "tree")
        run(["dpkg-deb", "-x", glob.glob(os.path.join(work, "*.deb"))[0], tree])
        # lib/modules in Debian 12, usr/lib/modules in 13
        usr = os.path.join(tree, "usr") if os.path.isdir(os.path.join(tree, "usr/lib/modules")) else tree
        ready = os.path.join(work, "ready")
        os.makedirs(os.path.join(ready, "lib"))
        shutil.move(os.path.join(usr, "lib/modules"), os.path.join(ready, "lib"))
        run(["/sbin/depmod", "-b", ready, os.listdir(os.path.join(ready, "lib/modules"))[0]])
        carve(glob.glob(os.path.join(tree, "boot/vmlinuz-*"))[0], os.path.join(ready, "vmlinux"))
        os.rename(ready, os.path.join(cache, package))


def run(command, **options):
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=DOWNLOAD_S, **options)
    if done.returncode != 0:
        raise NoKernel(f"{' '.join(command)}: exit code {done.returncode}\n{(done.stdout + done.stderr)[-1500:]}")


def carve(image, target):
    """The ELF kernel inside a bzImage. Emulated, its own decompressor would cost 3 to 6 CPU seconds a boot."""
    with open(image, "rb") as file:
        data = file.read()
    for magic, unpack in ((b"\xfd7zXZ\x00", unpack_xz), (b"\x28\xb5\x2f\xfd", unpack_zstd)):
        for found in re.finditer(re.escape(magic), data):
            kernel = unpack(data[found.start():])
            if kernel.startswith(b"\x7fELF"):
                with open(target, "wb") as file:
                    file.write(kernel)
                return
    raise NoKernel(f"{image} holds no ELF kernel packed by xz or zstd")


def unpack_xz(data):
    try:
        return lzma.LZMADecompressor().decompress(data)
    except lzma.LZMAError:
        return b""


def unpack_zstd(data):
    return subprocess.run(["zstd", "-dcq"], input=data, capture_output=True, check=False).stdout


def build_initrd(kernel, init, target):
    """busybox, `init` and the first modules in the order they are loaded; not compressed, since QEMU copies it and the guest would unpack."""
    with tempfile.TemporaryDirectory() as work:
        for name in ("bin", "dev", "lower", "upper", "root", "modules"):
            os.mkdir(os.path.join(work, name))
        shutil.copy(BUSYBOX, os.path.join(work, "bin"))
        shutil.copy(init, os.path.join(work, "init"))
        os.chmod(work, 0o755)
        os.chmod(os.path.join(work, "init"), 0o755)
        for number, path in enumerate(load_order(kernel)):
            unpacked = os.path.basename(path).removesuffix(".xz")
            with (lzma.open(path) if path.endswith(".xz") else open(path, "rb")) as source, \
                    open(os.path.join(work, "modules", f"{number:02}-{unpacked}"), "wb") as copy:
                shutil.copyfileobj(source, copy)
        with open(target, "wb") as out:
            names = subprocess.run(["find", ".", "-print0"], cwd=work, capture_output=True, check=True).stdout
            subprocess.run(["cpio", "--null", "-o", "-H", "newc", "--quiet", "-R", "0:0"], cwd=work, input=names, stdout=out, check=True)


def load_order(kernel):
    paths = []
    for module in FIRST_MODULES:
        done = subprocess.run(["/sbin/modprobe", "-d", kernel.directory, "-S", kernel.version, "--show-depends", module], capture_output=True,
                              text=True, check=False)
        if done.returncode != 0:
            raise NoKernel(f"{kernel.version} has no module {module}: {done.stderr.strip()}")
        for line in done.stdout.splitlines():
            kind, _, rest = line.partition(" ")         # "insmod PATH", or "builtin NAME"
            if kind == "insmod" and rest.split()[0] not in paths:
                paths.append(rest.split()[0])
    return paths
