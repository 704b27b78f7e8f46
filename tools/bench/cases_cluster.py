"""What replication costs: three nodes on this machine over TCP, beside one alone."""
import os

from bench import MIB, Loaded, Sluice, Table, cpu_s, median
from cluster import Cluster


class Three(Loaded):
    """Three nodes on all cores, asked through the primary or a replica. Each change is on three disks when it is answered."""

    def __init__(self, cores):
        self.client_cores = cores
        self.cluster = Cluster("bench", proxied=False, config=f"[s3]\nworkers = {len(cores)}\n")

    def __enter__(self):
        self.cluster.__enter__()
        if self.cluster.wait_in_sync(3) is None:
            raise RuntimeError("the three nodes are never in sync")
        self.through = self.cluster.primary()
        client = self.through.client()
        client.make_bucket("bench")
        durable = client.put("bench", "probe", b"x").headers.get("x-sluice-durable", "?")
        if "replicas:3/3" not in durable:
            raise RuntimeError(f"not on three nodes: {durable}")
        self.carried = self.through.replication()["nodes"][-1].get("backend") or "tcp"
        return self

    def __exit__(self, *error):
        self.cluster.__exit__(*error)

    def ask(self, through):
        self.through = through
        return self

    def cpu_s(self):
        return cpu_s([member.pid for member in self.cluster])

    def endpoint(self):
        return self.through.s3

    def keys(self):
        return self.through.access_key, self.through.secret_key


SHAPES = (("PUT 4 KiB, 64 clients", 64, {"method": "PUT", "size": 4096, "connections": 64}),
          ("PUT 1 MiB, 16 clients", 16, {"method": "PUT", "size": MIB, "connections": 16, "keys": 256}),
          ("GET 4 KiB, 64 clients", 64, {"method": "GET", "size": 4096, "connections": 64, "keys": 64}))


def replication(settings):
    """The same load on one node and on three, alternating; all cores for all of them."""
    cores = sorted(os.sched_getaffinity(0))
    tables = []
    with Sluice(settings, "replication", cores=cores) as alone, Three(cores) as three:
        alone.client_cores = cores
        first = three.cluster.primary()
        ways = {"one node": lambda: alone, "three, through the primary": lambda: three.ask(first),
                "three, through a replica": lambda: three.ask(three.cluster.replicas()[0])}
        for title, keys, load in SHAPES:
            figures = {name: [] for name in ways}
            for way in ways.values():
                way().load(method="PUT", size=load["size"], connections=8, count=keys, keys=keys, prefix="r/")
            for _ in range(settings.rounds):
                for name, way in ways.items():
                    figures[name].append(way().load(**load, seconds=settings.seconds, prefix="r/"))
            table = Table("replication", f"{title}: durable on all nodes when answered ({three.carried} on loopback, all cores for all)",
                          ["what", "requests/s", "of one node", "p50 ms", "p99 ms", "CPU us/request, all nodes"])
            alone_rate = median([f["requests"] / f["seconds"] for f in figures["one node"]])
            for name, rounds in figures.items():
                rate = median([f["requests"] / f["seconds"] for f in rounds])
                table.add(name, rate, rate / alone_rate, median([f["p50_us"] / 1e3 for f in rounds]), median([f["p99_us"] / 1e3 for f in rounds]),
                          median([f["server_cpu_s"] / f["requests"] * 1e6 for f in rounds]))
            tables.append(table)
        tables[0].note("the aim is 0.3 of one node: on one machine the three share its cores and its disk")
    return tables


CASES = {"replication": replication}
