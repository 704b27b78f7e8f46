"""What the suites of command-line clients share: running one, and trees of files to store and compare."""
import filecmp
import hashlib
import os
import random
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from checks import check  # noqa: E402
from node import OUT  # noqa: E402,F401

MIB = 1 << 20
ODD_NAMES = ["plain.txt", "with space.txt", "plus+sign", "per%20cent%", "ünï-cødé-文字", "semi;colon", "a&b=c", "quote'd\"",
             "tilde~", "star*", "(round)[square]", "comma,colon:at@", "dots...", "#hash?question", "-leading-dash"]


class Tool:
    """A client with its own home directory and environment, so that nobody's ~/.aws is read or written."""

    def __init__(self, node, home, env=None):
        os.makedirs(home, exist_ok=True)
        self.home = home
        self.env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": home, "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8",
                    "AWS_ACCESS_KEY_ID": node.access_key, "AWS_SECRET_ACCESS_KEY": node.secret_key,
                    "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true", "AWS_PAGER": "",
                    **(self.trust(node.ca) if node.ca else {}), **(env or {})}

    @staticmethod
    def trust(certificate):
        """How each client is told whom to trust."""
        return {"AWS_CA_BUNDLE": certificate, "CURL_CA_BUNDLE": certificate, "RCLONE_CA_CERT": certificate,
                "RESTIC_CACERT": certificate, "SSL_CERT_FILE": certificate}

    def run(self, *command, timeout_s=300, stdin=None):
        """Exit code, standard output, standard error."""
        done = subprocess.run(command, env=self.env, cwd=self.home, capture_output=True, timeout=timeout_s,
                              input=stdin, stdin=subprocess.DEVNULL if stdin is None else None)
        return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")

    def good(self, text, *command, **options):
        """Runs it as one check: exit code 0. Returns what it printed."""
        code, out, err = self.run(*command, **options)
        check(code == 0, text, f"$ {' '.join(command)}\nexit code {code}\n{out[-1500:]}\n{err[-1500:]}")
        return out

    def bad(self, text, *command, says="", **options):
        """The command must fail, and its words must hold `says`."""
        code, out, err = self.run(*command, **options)
        check(code != 0 and says in out + err, text, f"$ {' '.join(command)}\nexit code {code}\n{out[-1500:]}\n{err[-1500:]}")
        return out + err


def write_file(path, size, seed=0):
    """Deterministic noise of any size, a MiB at a time."""
    source = random.Random(f"{seed}/{size}")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        while size > 0:
            piece = min(size, MIB)
            file.write(source.randbytes(piece))
            size -= piece
    return path


def make_tree(base, files=300, odd_names=True, seed=7):
    """Small files around every boundary of the store, some folders deep, a few of several MiB, and odd names."""
    source = random.Random(seed)
    sizes = [0, 1, 2, 1023, 4095, 4096, 4097, 8191, 8192, 8193, 65535, 65536, 65537, 262144, MIB, MIB + 1]
    for n in range(files):
        size = sizes[n % len(sizes)] if n % 3 == 0 else source.randrange(0, 30000)
        folder = "/".join(f"d{source.randrange(6)}" for _ in range(n % 4))
        write_file(os.path.join(base, folder, f"file-{n:04}.bin"), size, n)
    write_file(os.path.join(base, "large/nine-mib.bin"), 9 * MIB + 77, 1)
    for n, name in enumerate(ODD_NAMES if odd_names else []):
        write_file(os.path.join(base, "odd", name), 100 + n, n)
    return base


def files_of(base):
    return sorted(os.path.relpath(os.path.join(folder, name), base) for folder, _, names in os.walk(base) for name in names)


def same_tree(one, two, text):
    """One check: the same names, every file byte for byte."""
    names, others = files_of(one), files_of(two)
    _, differing, unreadable = filecmp.cmpfiles(one, two, names, shallow=False)
    return check(names == others and not differing and not unreadable, f"{text} ({len(names)} files)",
                 lambda: f"only in one: {sorted(set(names) ^ set(others))[:10]}\ndiffering: {differing[:10]}\n"
                         f"unreadable: {unreadable[:10]}")


def same_file(one, two, text):
    return check(os.path.exists(two) and filecmp.cmp(one, two, shallow=False), text,
                 lambda: f"{os.path.getsize(one)} bytes against "
                         f"{os.path.getsize(two) if os.path.exists(two) else 'no file'}")


def multipart_etag(path, part_bytes):
    """S3's ETag of a multipart upload: the MD5 of the parts' MD5s, and their number."""
    sums = []
    with open(path, "rb") as file:
        while piece := file.read(part_bytes):
            sums.append(hashlib.md5(piece).digest())
    return f"{hashlib.md5(b''.join(sums)).hexdigest()}-{len(sums)}"
