"""A second network namespace for clients, on the other end of a link.

    netns.own()                               # this process and what it starts leave the machine's network
    with netns.Clients() as clients:          # a veth pair: 10.77.0.1 here, 10.77.0.2 there
        with clients.inside():                # sockets made now are theirs
            connection = socket.create_connection(...)
        clients.unplug()

Both namespaces are nameless and end with their processes. Needs root.
"""
import contextlib
import ctypes
import os
import subprocess

from checks import wait_until

HERE, THERE = "10.77.0.1", "10.77.0.2"
CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)


def why_not():
    """Why there can be no namespaces here, or None."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    done = subprocess.run(["unshare", "--net", "ip", "link", "add", "probe0", "type", "veth", "peer", "name", "probe1"], capture_output=True,
                          text=True, check=False)
    return f"no veth pair in a namespace: {done.stderr.strip()}" if done.returncode != 0 else None


def ip(*words):
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}")


def call(name, *arguments):
    if getattr(LIBC, name)(*arguments) != 0:
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")


def own():
    call("unshare", CLONE_NEWNET)
    ip("link", "set", "lo", "up")


class Clients:
    def __init__(self, near="sl0", far=None):
        """far: a network card to be the clients'; None: both ends are those of a veth pair made here."""
        self.near, self.far, self.holder = near, far, None

    def __enter__(self):
        # This one only keeps the namespace; it ends when its input does.
        self.holder = subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        pid = str(self.holder.pid)
        mine = os.readlink("/proc/self/ns/net")
        if not wait_until(lambda: os.readlink(f"/proc/{pid}/ns/net") != mine, 20):
            raise RuntimeError("unshare --net made no namespace")
        if self.far:
            ip("link", "set", self.far, "netns", pid)
        else:
            self.far = "sl1"
            ip("link", "add", self.near, "type", "veth", "peer", "name", self.far, "netns", pid)
        ip("addr", "add", f"{HERE}/24", "dev", self.near)
        ip("link", "set", self.near, "up")
        with self.inside():
            ip("link", "set", "lo", "up")
            ip("addr", "add", f"{THERE}/24", "dev", self.far)
            ip("link", "set", self.far, "up")
        return self

    def __exit__(self, *_):
        self.holder.stdin.close()
        self.holder.wait()

    @contextlib.contextmanager
    def inside(self):
        """For this thread."""
        with open("/proc/thread-self/ns/net", "rb") as back, open(f"/proc/{self.holder.pid}/ns/net", "rb") as there:
            call("setns", there.fileno(), CLONE_NEWNET)
            try:
                yield
            finally:
                call("setns", back.fileno(), CLONE_NEWNET)

    def unplug(self, on=True):
        with self.inside():
            ip("link", "set", self.far, "down" if on else "up")
