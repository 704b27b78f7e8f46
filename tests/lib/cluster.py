"""A cluster for a test: `sluiced` processes on loopback that replicate by TCP, and the connections between them in the test's hands.

    with Cluster("name") as cluster:      # founded, all of it ready
        cluster[1].client()               # nodes are called by their numbers, 1 to count
        cluster.isolate(2); cluster.heal()
    # each is stopped by SIGTERM, exits 0, and fsck --data finds nothing: checks of their own

Between two nodes the one with the lower number calls; what it calls is a proxy (lib/proxy.py) in front of the other's port.
"""
import ipaddress
import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

from checks import check, note, wait_until
from node import BUILD, Node, NotReady, scratch

HERE = os.path.dirname(os.path.abspath(__file__))
READY_S = 60


# A loopback address of this process alone (process ids have 22 bits): no other test, and no client's end of a connection, takes a port of
# it while a node that has it is down.
OWN_ADDRESS = str(ipaddress.IPv4Address(0x7F400000 + os.getpid()))


def free_ports(count):
    """Of OWN_ADDRESS; held together, so that they differ; free again when this returns."""
    sockets = [socket.create_server((OWN_ADDRESS, 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Proxies:
    """One line for each pair of nodes: {(caller, called): position}."""

    def __init__(self, targets):
        self.pairs = list(targets)
        self.process = subprocess.Popen([sys.executable, "-u", os.path.join(HERE, "proxy.py"), *targets.values()],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)
        self.ports = dict(zip(self.pairs, map(int, self.process.stdout.readline().split())))

    def set(self, mode, pairs):
        for pair in pairs:
            self.process.stdin.write(f"{mode} {self.pairs.index(pair)}\n")
            self.process.stdin.flush()
            self.process.stdout.readline()

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(10)


class Member(Node):
    """A node of a cluster: started without waiting, because it waits for the others."""

    def __init__(self, name, number, config, **options):
        super().__init__(name, config=config, tls=False, **options)
        self.number = number

    def readyz(self):
        """(status, text); (0, why) when nothing answers."""
        self.look()
        try:
            with urllib.request.urlopen(f"http://{self.admin}/readyz", timeout=5) as answer:
                return answer.status, answer.read().decode().strip()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode().strip()
        except (OSError, ValueError) as error:
            return 0, str(error)

    def replication(self):
        """What `sluice replication status --json` says, or {} when the node does not answer."""
        self.look()
        try:
            return json.loads(self.admin_get("/v1/replication"))
        except (OSError, ValueError):
            return {}

    def is_running(self):
        return self.process is not None and self.process.poll() is None


class Cluster:
    def __init__(self, name, count=3, proxied=True, config="", directories=None, env=None, hosts=None, backend="tcp"):
        """config: lines added to each node's; directories: {number: where its volume lies}; hosts: {number: its address for the others}."""
        self.name, self.numbers = name, range(1, count + 1)
        self.hosts, self.backend = hosts or {}, backend
        self.base = scratch(f"{name}-cluster")
        self.key = os.path.join(self.base, "cluster.key")
        with open(self.key, "w", encoding="ascii", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(secrets.token_hex(32) + "\n")
        ports = dict(zip(self.numbers, free_ports(count)))
        self.ports, self.proxies = ports, None
        if proxied:
            self.proxies = Proxies({(low, high): f"{OWN_ADDRESS}:{ports[high]}" for low in self.numbers for high in self.numbers if low < high})
        self.members = {}
        for number in self.numbers:
            self.members[number] = Member(f"{name}-{number}", number, self.member_config(number, config), env=env,
                                          directory=(directories or {}).get(number))

    def address(self, seen_from, number):
        if self.proxies and seen_from < number:
            return f"127.0.0.1:{self.proxies.ports[seen_from, number]}"
        return self.own_address(number)

    def own_address(self, number):
        return f"{self.hosts.get(number, OWN_ADDRESS)}:{self.ports[number]}"

    def section(self, number, **instead):
        """[cluster] of one node; `instead`: keys that say something else (a test's lie)."""
        keys = {"name": "test", "key-file": self.key, "node": number, "backend": self.backend, "listen": self.own_address(number),
                "peers": ", ".join(f"{peer}={self.address(number, peer)}" for peer in self.numbers)}
        keys.update({key.replace("_", "-"): value for key, value in instead.items()})
        lines = "\n".join(f"{key} = {value}" for key, value in keys.items())
        return f"[cluster]\n{lines}\n"

    def member_config(self, number, more="", **instead):
        return f"[memory]\narena = 64MiB\n[log]\nlevel = info\n{self.section(number, **instead)}{more}"

    def __getitem__(self, number):
        return self.members[number]

    def __iter__(self):
        return iter(self.members.values())

    # ---- starting, waiting ----

    def launch(self):
        for member in self:
            member.launch()

    def wait_ready(self, members=None, timeout_s=READY_S):
        for member in members or self:
            member.wait_ready(timeout_s)

    def primary(self):
        """The node that says that it is the primary, in the newest term; None while there is none."""
        told = [(status["term"], member) for member in self if member.is_running()
                for status in [member.replication()] if status.get("role") == "primary"]
        return max(told, key=lambda one: one[0])[1] if told else None

    def wait_primary(self, timeout_s=30, other_than=None):
        found = []

        def look():
            found[:] = [self.primary()]
            return found[0] is not None and found[0] is not other_than
        return found[0] if wait_until(look, timeout_s, 0.1) else None

    def replicas(self):
        first = self.primary()
        return [member for member in self if member is not first]

    def wait_in_sync(self, count=None, timeout_s=60):
        """Until the primary has `count` nodes in sync and all that run are ready; how long that took, or None."""
        began, count = time.monotonic(), count or len(self.members)

        def together():
            first = self.primary()
            return first is not None and first.replication().get("in_sync") == count and \
                all(member.readyz()[0] == 200 for member in self if member.is_running())
        return time.monotonic() - began if wait_until(together, timeout_s, 0.1) else None

    # ---- the network ----

    def pairs_of(self, number):
        return [pair for pair in self.proxies.pairs if number in pair]

    def isolate(self, number, mode="cut"):
        self.proxies.set(mode, self.pairs_of(number))

    def cut(self, one, other, mode="cut"):
        self.proxies.set(mode, [(min(one, other), max(one, other))])

    def heal(self):
        self.proxies.set("pass", self.proxies.pairs)

    # ---- company for a node of another suite ----

    def keep_company(self):
        """Node 2 is that suite's; the other two run as long as it is used."""
        del self.members[2]
        return self

    # ---- the end ----

    def stop(self):
        for member in self:
            member.ask_to_end()
        for member in self:
            member.stop()
            if os.path.basename(BUILD) in ("build-asan", "build-tsan"):
                log = member.log()
                check("Sanitizer" not in log, f"{member.name}: the sanitizer saw nothing", lambda log=log: log[log.index("Sanitizer") - 200:][:4000])
        if self.proxies:
            self.proxies.close()

    def kill_all(self):
        for member in self:
            if member.is_running():
                member.kill()
        if self.proxies:
            self.proxies.close()

    def __enter__(self):
        try:
            self.launch()
            self.wait_ready()
        except NotReady as error:
            check(False, f"{self.name}: the cluster is founded and ready", str(error))
            for member in self:
                note(f"node {member.number}: {member.readyz() if member.admin else 'no admin port'}")
            self.kill_all()
            note("nothing else can be tested")
            sys.exit(1)
        return self

    def __exit__(self, kind, error, trace):
        if kind is None or not issubclass(kind, KeyboardInterrupt):
            self.stop()
        else:
            self.kill_all()
        return False
