"""The benchmarks. Each compares with what one would use instead, in the same run, alternating, and says the ratio."""
import os
import random
import re
import time

from bench import MIB, Bare, Sluice, Table, fio, fio_clean, median, run
from cases_cluster import CASES as CLUSTER
from cases_get import GETS, hold, may_open

def md5_rate(cores):
    """MiB/s that MD5 makes on these cores together."""
    out = run(["taskset", "-c", ",".join(map(str, cores)), "openssl", "speed", "-seconds", "2", "-bytes", "1048576", "-multi", str(len(cores)), "md5"],
              timeout_s=60)
    kilobytes = float(re.findall(r"([0-9.]+)k\s*$", out.strip())[-1])
    return kilobytes * 1000 / MIB


def put_shape(settings, size, name, connections, count):
    """One table of put_large: `connections` clients that put `count` objects of one size, over and over, each answered when it is durable."""
    cores = sorted(os.sched_getaffinity(0))
    table = Table("put-large", f"PUT of {name} objects, {connections} at a time, durable when answered (all cores for all)",
                  ["what", "MiB/s", "of fio", "server CPU s/GiB", "of bare", "client CPU s/GiB"])
    fios, figures = [], {}
    with Sluice(settings, f"put-{name.replace(' ', '')}", cores=cores) as sluice, Bare(cores, size) as bare, Bare(cores, size, "--no-md5") as blind:
        sluice.client_cores = cores
        servers = {"bare loop, a thread a connection, OpenSSL's MD5": bare, "bare loop without MD5": blind, "sluice, ETag MD5 and CRC64NVME": sluice}
        for round_number in range(settings.rounds + 1):     # the first, on disk blocks nobody has written yet, does not count
            job = fio(settings, cores, bs="1M", iodepth=min(4, size // MIB), numjobs=connections, size=f"{count // connections * size // MIB}M",
                      fdatasync=size // MIB, fallocate="posix", overwrite=1)
            fios.append(job["write"]["bw_bytes"] / MIB)
            for what, server in servers.items():
                figures.setdefault(what, []).append(server.load(method="PUT", size=size, connections=connections, count=count, keys=count))
        fio_clean()
    disk, gib = median(fios[1:]), count * size / (1 << 30)

    def of(what, value):
        return median([value(f) for f in figures[what][1:]])
    bare_cpu = of("bare loop, a thread a connection, OpenSSL's MD5", lambda f: f["server_cpu_s"] / gib)
    table.add("fio, O_DIRECT io_uring fixed buffers, fdatasync an object", disk, 1.0, "", "", "")
    for what in servers:
        rate, cpu = of(what, lambda f: gib * 1024 / f["seconds"]), of(what, lambda f: f["server_cpu_s"] / gib)
        table.add(what, rate, rate / disk, cpu, cpu / bare_cpu, of(what, lambda f: f["client_cpu_s"] / gib))
    return table


def put_large(settings):
    """Large objects, ETag MD5 on: fio with the same barriers is the disk's bound, the bare loop the cores'."""
    md5 = md5_rate(sorted(os.sched_getaffinity(0)))
    scale = 1 if settings.quick else 4
    tables = [put_shape(settings, MIB, "1 MiB", 16, 256 * scale), put_shape(settings, 64 * MIB, "64 MiB", 4, 8 * scale)]
    tables[-1].note(f"MD5, one stream a core, makes {md5:.0f} MiB/s on all cores together")
    tables[-1].note("the aim is 0.9 of fio; where the cores cannot, less CPU than the bare loop's")
    return tables


def put_small(settings):
    """4 KiB PUTs of 64 clients, each answered when it is durable, against fio, 64 jobs of 4 KiB with fdatasync each, and the bare loop."""
    cores = sorted(os.sched_getaffinity(0))
    table = Table("put-small", "PUT of 4 KiB, 64 clients, durable when answered (all cores for all)",
                  ["what", "durable/s", "of fio", "server us CPU/op", "p50 ms", "p99 ms", "client us CPU/op"])
    fios, figures = [], {}
    with Sluice(settings, "put-small", cores=cores) as sluice, Bare(cores, 4096) as bare:
        sluice.client_cores = cores
        servers = {"bare loop, a thread a connection, OpenSSL's MD5": bare, "sluice": sluice}
        for round_number in range(settings.rounds):
            job = fio(settings, cores, bs="4k", iodepth=1, numjobs=64, size="8M", fdatasync=1, runtime=settings.seconds, time_based=1, fallocate="posix")
            fios.append(job["write"]["iops"])
            fio_clean()
            for what, server in servers.items():
                figures.setdefault(what, []).append(
                    server.load(method="PUT", size=4096, connections=64, seconds=settings.seconds, prefix=f"small{round_number}/"))
    table.add("fio, 64 jobs of 4 KiB, O_DIRECT, fdatasync each", median(fios), 1.0, "", "", "", "")
    for what in servers:
        def of(value):
            return median([value(f) for f in figures[what]])
        rate = of(lambda f: f["requests"] / f["seconds"])
        table.add(what, rate, rate / median(fios), of(lambda f: f["server_cpu_s"] / f["requests"] * 1e6), of(lambda f: f["p50_us"] / 1e3),
                  of(lambda f: f["p99_us"] / 1e3), of(lambda f: f["client_cpu_s"] / f["requests"] * 1e6))
    table.note("the aim is 15,000 durable a second at most 60 us of server CPU each")
    return [table]


def listing(settings):
    """A page of 1,000 out of a million keys: what it costs the server, with and without a delimiter."""
    keys, per_folder = settings.list_keys, settings.list_keys // 1000
    table = Table("list", f"ListObjectsV2, pages of 1,000 out of {keys:,} keys", ["page", "ms CPU/page", "ms/page", "pages"])
    cores = sorted(os.sched_getaffinity(0))
    with Sluice(settings, "list", cores=cores) as sluice:
        sluice.client_cores = cores
        filled = sluice.load(method="PUT", size=0, connections=128, count=keys, prefix="", per_folder=per_folder)
        time.sleep(3)                                   # compaction goes on for a moment; it is not the listing's cost
        source = random.Random(1)
        starts = [f"{source.randrange(900):05}/{source.randrange(per_folder):06}" for _ in range(300)]
        kinds = [("1,000 keys", [[("start-after", start)] for start in starts]),
                 ("1,000 folders (delimiter)", [[("delimiter", "/")] for _ in range(300)]),
                 ("one folder (prefix and delimiter)", [[("delimiter", "/"), ("prefix", start[:6])] for start in starts])]
        for name, queries in kinds:
            rounds = []
            for _ in range(settings.rounds):
                before, began = sluice.cpu_s(), time.monotonic()
                for query in queries:
                    answer = sluice.client.request("GET", "/bench", [("list-type", "2"), *query])
                    if answer.status != 200 or b"<KeyCount>1000<" not in answer.body and not settings.quick:
                        raise RuntimeError(f"{name}: {answer}")
                rounds.append(((sluice.cpu_s() - before) / len(queries) * 1e3, (time.monotonic() - began) / len(queries) * 1e3))
            table.add(name, median([r[0] for r in rounds]), median([r[1] for r in rounds]), float(len(queries) * settings.rounds))
    table.note(f"filled with {filled['requests'] / filled['seconds']:.0f} PUTs a second; the aim is under 5 ms of CPU a page")
    return [table]


def rest(settings):
    """What a node costs when little happens: CPU at rest, memory under 500 connections, 10,000 connections that wait."""
    table = Table("rest", "At rest and under many connections", ["what", "value", "bound"])
    with Sluice(settings, "rest", cores=sorted(os.sched_getaffinity(0))) as sluice:
        time.sleep(2)
        seconds, before = (5 if settings.quick else 20), sluice.cpu_s()
        time.sleep(seconds)
        table.add("CPU at rest, % of a core", (sluice.cpu_s() - before) / seconds * 100, "0.5")
        at_rest = sluice.node.status_kib("VmRSS") / 1024
        sluice.load(method="PUT", size=MIB, connections=500, seconds=settings.seconds, keys=1000, prefix="rss/")
        sluice.load(method="GET", size=MIB, connections=500, seconds=settings.seconds, keys=500, prefix="rss/")
        table.add("memory at start, MiB", at_rest, "")
        table.add("memory, peak under 500 connections, MiB", sluice.node.status_kib("VmHWM") / 1024, f"{sluice.node.memory_budget_kib() / 1024:.0f} (its banner)")
        if may_open(10_200):
            wires = hold(sluice.node.s3, 10_000)
            time.sleep(1)
            before = sluice.cpu_s()
            time.sleep(5)
            table.add("CPU with 10,000 idle connections, % of a core", (sluice.cpu_s() - before) / 5 * 100, "")
            table.add("memory with 10,000 idle connections, MiB", sluice.node.status_kib("VmRSS") / 1024, "")
            began = time.monotonic()
            answer = sluice.node.client().request("HEAD", "/bench")
            table.add("a request meanwhile, ms", (time.monotonic() - began) * 1e3, "" if answer.status == 200 else f"status {answer.status}")
            for wire in wires:
                wire.close()
    return [table]


CASES = {**GETS, "put-large": put_large, "put-small": put_small, "list": listing, "rest": rest, **CLUSTER}
GROUPS = {"gets": list(GETS), "put": ["put-large", "put-small"]}
