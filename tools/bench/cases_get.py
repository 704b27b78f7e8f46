"""The benchmarks of reading."""
import json
import os
import random
import resource
import socket
import time

from bench import LOAD, MIB, BareGet, Nginx, Sluice, Table, asked, at_rate, cores_away, median, pinned, run, wrk

SIZES = ((1024, "1 KiB"), (16 * 1024, "16 KiB"), (256 * 1024, "256 KiB"), (MIB, "1 MiB"))


def put_warm(sluice, key, data):
    """An object, read until it is where it will be read from; the path it is sent by then."""
    sluice.client.put("bench", key, data)
    for _ in range(8):
        answer = sluice.client.get("bench", key)
        if answer.body != data:
            raise RuntimeError(f"{key}: wrong bytes")
    return answer.headers.get("x-sluice-path", "?")


def put_file(nginx, name, data):
    os.makedirs(os.path.dirname(f"{nginx.base}/files/{name}"), exist_ok=True)
    with open(f"{nginx.base}/files/{name}", "wb") as file:
        file.write(data)


def alternate(rounds, ways):
    """Each way's results of as many rounds, one after the other within a round; medians of each column."""
    results = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            results[name].append(way())
    return {name: [median(column) for column in zip(*rows)] for name, rows in results.items()}


URLS = 2000  # far more than a worker remembers (PRESIGNED_ENTRIES), so that each signature is computed


def get_on(settings, where):
    table = Table("get", f"Warm GET, 64 keep-alive connections, every request signed; {where}",
                  ["size", "nginx req/s", "sluice req/s", "ratio", "by wrk", "nginx us CPU", "sluice us CPU", "ratio ", "same URL", "client", "path"])
    with Nginx(settings) as nginx, Sluice(settings, "get", cores=settings.server_cores) as sluice:
        for size, name in SIZES:
            data = random.Random(size).randbytes(size)
            put_file(nginx, str(size), data)
            path = put_warm(sluice, f"get/{size}", data)
            plain, signed = nginx.url(str(size)), [sluice.presigned(f"get/{size}", 86400 + i) for i in range(URLS)]
            of = alternate(settings.rounds, {"nginx": lambda: asked(settings, nginx, [plain], seconds=settings.get_seconds),
                                             "sluice": lambda: asked(settings, sluice, signed, seconds=settings.get_seconds),
                                             "same URL": lambda: asked(settings, sluice, signed[:1], seconds=1),
                                             "nginx by wrk": lambda: wrk(settings, nginx, plain, seconds=1),
                                             "sluice by wrk": lambda: wrk(settings, sluice, signed[0], seconds=1)})
            table.add(name, of["nginx"][0], of["sluice"][0], of["sluice"][0] / of["nginx"][0], of["sluice by wrk"][0] / of["nginx by wrk"][0],
                      of["nginx"][1], of["sluice"][1], of["sluice"][1] / of["nginx"][1],
                      of["same URL"][1] / of["nginx"][1], of["sluice"][2], path)
    table.note("ratio: Sluice / nginx (sendfile, tcp_nopush, open_file_cache, unsigned); aims: requests 1.3, CPU 0.7, 0.7, 0.8, 0.7")
    table.note(f"{URLS:,} presigned URLs in turn, so that each signature is computed; same URL: the ratio of CPU when it is one, which is remembered")
    table.note("by wrk: the ratio of requests/s with wrk as the client, which takes longer over an answer than either server: its core is the limit")
    table.note("client: how much of its cores sluice-rate used while it asked Sluice; near 1 it would be the limit, too")
    return table


def get(settings):
    """Warm GET beside nginx, which serves plain files unsigned: with cores of its own for the client, and with all cores for both."""
    return [get_on(settings, "server on one core set, client on another"), get_on(settings.shared(), "all cores for all")]


def get_64m(settings):
    """64 MiB objects: what the way from the page cache to the socket costs a GiB, beside the least that can send a file."""
    size = 64 * MIB
    data = random.Random(64).randbytes(size)
    table = Table("get-64m", "Warm GET of 64 MiB, 4 connections, server on one core set, wrk on another", ["what", "MiB/s", "s CPU/GiB", "of the best bare"])
    with Nginx(settings) as nginx, Sluice(settings, "get-64m") as sluice:
        put_file(nginx, "64m", data)
        path = put_warm(sluice, "64m", data)
        url, name = sluice.presigned("64m"), f"{nginx.base}/files/64m"
        with BareGet(settings, name, "sendfile") as sendfile, BareGet(settings, name, "splice") as splice:
            of = alternate(settings.rounds, {"bare sendfile loop": lambda: wrk(settings, sendfile, sendfile.url("f"), connections=4),
                                             "bare splice loop": lambda: wrk(settings, splice, splice.url("f"), connections=4),
                                             "nginx": lambda: wrk(settings, nginx, nginx.url("64m"), connections=4),
                                             f"sluice ({path})": lambda: wrk(settings, sluice, url, connections=4)})
    best = min(of["bare sendfile loop"][1], of["bare splice loop"][1])
    for what, (rate, cpu_us, _) in of.items():
        table.add(what, rate * size / MIB, cpu_us * 1e-6 * (1024 * MIB / size), cpu_us / best)
    table.note("the aim is 1.05 of the best bare loop")
    return [table]


def may_open(count):
    """Whether this process may have as many descriptors; raises its limit to what it may."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard > count


def hold(address, count):
    host, _, port = address.rpartition(":")
    return [socket.create_connection((host, int(port)), timeout=30) for _ in range(count)]


def get_many(settings):
    """100 active connections among 10,000, and alone."""
    table = Table("get-many", "Warm GET, 100 active connections, alone and among 9,900 idle ones",
                  ["size", "req/s alone", "among 10,000", "ratio", "us CPU alone", "among 10,000 ", "ratio "])
    if not may_open(10_200):
        raise RuntimeError("10,200 descriptors are needed: raise the hard limit (ulimit -Hn)")
    with Sluice(settings, "get-many") as sluice:
        for size, name in SIZES[:2]:
            put_warm(sluice, f"many/{size}", random.Random(size).randbytes(size))
            url, results = sluice.presigned(f"many/{size}"), {"alone": [], "among": []}
            for _ in range(settings.rounds):
                results["alone"].append(asked(settings, sluice, [url], connections=100, seconds=settings.get_seconds))
                idle = hold(sluice.node.s3, 9_900)
                results["among"].append(asked(settings, sluice, [url], connections=100, seconds=settings.get_seconds))
                for wire in idle:
                    wire.close()
                time.sleep(0.5)                         # the server closes its ends
            of = {who: [median(column) for column in zip(*rows)] for who, rows in results.items()}
            table.add(name, of["alone"][0], of["among"][0], of["among"][0] / of["alone"][0], of["alone"][1], of["among"][1],
                      of["among"][1] / of["alone"][1])
    table.note("the aim: within 10 %")
    return [table]


def get_latency(settings):
    """Latency at half the rate that 64 connections reach, requests coming at fixed times."""
    table = Table("get-latency", "Warm GET at half load: 64 connections, a fixed rate, latency counted from when each request was due",
                  ["what", "rate", "p50 us", "p90 us", "p99 us", "max us", "p99/p50"])
    count = min(settings.rounds, 3)
    with Nginx(settings) as nginx, Sluice(settings, "get-latency") as sluice:
        for size, name in SIZES[:3]:
            data = random.Random(size).randbytes(size)
            put_file(nginx, str(size), data)
            put_warm(sluice, f"latency/{size}", data)
            with BareGet(settings, f"{nginx.base}/files/{size}", "sendfile") as bare:
                servers = {"bare loop": (bare, bare.url("f")), "nginx": (nginx, nginx.url(str(size))), "sluice": (sluice, sluice.presigned(f"latency/{size}"))}
                full = {who: median([asked(settings, server, [url], seconds=settings.get_seconds)[0] for _ in range(count)])
                        for who, (server, url) in servers.items()}
                rounds = {who: [] for who in servers}
                for _ in range(count):
                    for who, (_, url) in servers.items():
                        rounds[who].append(at_rate(settings, url, full[who] / 2))
            for who, figures in rounds.items():
                p50, p90, p99, most = (median([one[key] for one in figures]) for key in ("p50_us", "p90_us", "p99_us", "max_us"))
                table.add(f"{who}, {name}", full[who] / 2, p50, p90, p99, most, p99 / p50)
    away, longest = cores_away(settings)
    table.note("the aim: p99 within 3 x p50")
    table.note("bare loop: one thread that answers each request with one sendfile; what it misses the aim by is the machine's")
    table.note(f"the server's core alone, afterwards: away from a thread that only looks at the clock for {away:.2f} % of the time in pieces of over "
               f"50 us, {longest:.0f} us at most")
    return [table]


def get_cold(settings):
    """Objects nobody has read lately, each once: Sluice reads the disk and checks every byte, nginx sends what it reads unseen."""
    size, count, rounds = 8 * MIB, 32, 1 if settings.quick else 3
    table = Table("get-cold", f"Cold GET of {count} objects of 8 MiB, 4 at a time (all cores for all)", ["what", "MiB/s", "s CPU/GiB", "of nginx"])
    everywhere = settings.shared()

    def fetch(server, endpoint, credentials, round_number):
        before = server.cpu_s()
        command = [LOAD, "--endpoint", endpoint, "--access-key", credentials[0], "--secret", credentials[1], "--bucket", "bench", "--method", "GET",
                   "--size", str(size), "--connections", "4", "--count", str(count), "--prefix", f"cold{round_number}/"]
        figures = json.loads(run(pinned(everywhere.client_cores, command)))
        if figures["errors"] > 0 or figures["requests"] < count:
            raise RuntimeError(f"not every object came: {figures}")
        return count * size / MIB / figures["seconds"], (server.cpu_s() - before) / (count * size / (1024 * MIB))

    with Nginx(everywhere) as nginx, Sluice(everywhere, "get-cold", cores=everywhere.server_cores) as sluice:
        for name in [f"cold{round_number}/{n:09}" for round_number in range(rounds) for n in range(count)]:
            data = random.Random(name).randbytes(size)
            sluice.client.put("bench", name, data)      # past the page cache
            put_file(nginx, f"bench/{name}", data)
            with open(f"{nginx.base}/files/bench/{name}", "rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        numbers = {"nginx": iter(range(rounds)), "sluice": iter(range(rounds))}
        of = alternate(rounds, {
            "nginx, sendfile, nothing checked": lambda: fetch(nginx, f"127.0.0.1:{nginx.port}", ("nobody", "asks-for-it"), next(numbers["nginx"])),
            "sluice, every 64 KiB checked": lambda: fetch(sluice, sluice.node.s3, sluice.node.creds, next(numbers["sluice"]))})
    (_, base), *_ = of.values()
    for what, (rate, cpu) in of.items():
        table.add(what, rate, cpu, cpu / base)
    table.note("the aim is 1.1")
    return [table]


GETS = {"get": get, "get-64m": get_64m, "get-many": get_many, "get-latency": get_latency, "get-cold": get_cold}
