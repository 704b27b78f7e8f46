"""What the benchmarks share: rounds and medians, CPU of a process, servers on a chosen core, and the tables."""
import copy
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests/lib"))
os.environ.setdefault("SLUICE_TEST_OUT", os.path.join(ROOT, "tests/out"))
import node as nodes  # noqa: E402
import sigv4  # noqa: E402

WORK = os.path.join(nodes.WORK, "bench")
LOAD = os.path.join(nodes.BUILD, "tools/bench/sluice-load")
BARE = os.path.join(nodes.BUILD, "tools/bench/sluice-bare")
BARE_GET = os.path.join(nodes.BUILD, "tools/bench/sluice-bare-get")
RATE = os.path.join(nodes.BUILD, "tools/bench/sluice-rate")
MIB = 1 << 20
TICK = os.sysconf("SC_CLK_TCK")


class Settings:
    """How long and how often; --quick is for trying, the default is for figures."""

    def __init__(self, quick):
        self.quick = quick
        self.rounds = 1 if quick else 5
        self.seconds = 2 if quick else 4
        self.get_seconds = 1 if quick else 2            # of the many rounds of GETs
        self.list_keys = 50_000 if quick else 1_000_000
        cores = self.all_cores = sorted(os.sched_getaffinity(0))
        # one core for the server and one for the clients: else they would take each other's time, and differently for each server
        self.server_cores = cores[:1] if len(cores) <= 2 else cores[:len(cores) // 2]
        self.client_cores = cores[len(self.server_cores):] or cores


    def shared(self):
        """The same, but server and client may use all cores, and take each other's time, as they do on a machine with both."""
        other = copy.copy(self)
        other.server_cores = other.client_cores = self.all_cores
        return other


def pinned(cores, command):
    return ["taskset", "-c", ",".join(map(str, cores)), *command]


def run(command, timeout_s=600, **options):
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, stdin=subprocess.DEVNULL, check=False, **options)
    if done.returncode not in options.get("good", (0,)):
        raise RuntimeError(f"{' '.join(map(str, command))[:300]}\nexit code {done.returncode}\n{done.stdout[-1500:]}{done.stderr[-1500:]}")
    return done.stdout


def cpu_s(pids):
    """Time that processes were on a core, user and system, in seconds: the scheduler's own count, in ns. Threads that ended are left out,
    and where the kernel does not count so (CONFIG_SCHED_INFO) it is the ticks' sum."""
    total = 0
    for pid in pids:
        try:
            for thread in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{thread}/schedstat", encoding="ascii") as file:
                    total += int(file.read().split()[0]) / 1e9
        except FileNotFoundError:
            with open(f"/proc/{pid}/stat", encoding="ascii") as file:
                fields = file.read().rpartition(")")[2].split()
            total += (int(fields[11]) + int(fields[12])) / TICK
    return total


def median(values):
    return statistics.median(values)


class Table:
    """Rows as they come; printed for people, or tab-separated for programs."""

    def __init__(self, name, title, columns):
        self.name, self.title, self.columns, self.rows, self.notes = name, title, columns, [], []

    def add(self, *cells):
        self.rows.append([cell if isinstance(cell, str) else f"{cell:.3g}" if isinstance(cell, float) and abs(cell) < 100
                          else f"{cell:.0f}" for cell in cells])

    def note(self, text):
        self.notes.append(text)

    def print(self, tsv):
        if tsv:
            print("\t".join(["table", *self.columns]))
            for row in self.rows:
                print("\t".join([self.name, *row]))
            return
        widths = [max(len(row[i]) for row in [self.columns, *self.rows]) for i in range(len(self.columns))]
        print(f"\n{self.title}")
        for row in [self.columns, ["-" * width for width in widths], *self.rows]:
            print("  " + "  ".join(cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in enumerate(zip(row, widths))))
        for text in self.notes:
            print(f"  {text}")
        sys.stdout.flush()


class Loaded:
    """A server that sluice-load can be sent against: it has an endpoint, keys, cpu_s() and the cores for its client."""

    def load(self, **options):
        """sluice-load's figures, and the server's CPU seconds meanwhile as `server_cpu_s`."""
        command = [LOAD, "--endpoint", self.endpoint(), "--access-key", self.keys()[0], "--secret", self.keys()[1], "--bucket", "bench"]
        for name, value in options.items():
            command += [f"--{name.replace('_', '-')}", str(value)]
        before = self.cpu_s()
        figures = json.loads(run(pinned(self.client_cores, command), timeout_s=3600))
        figures["server_cpu_s"] = self.cpu_s() - before
        return figures


class Sluice(Loaded):
    """A node of its own for one benchmark, pinned to the server's cores."""

    def __init__(self, settings, name, config="", cores=None):
        cores = settings.server_cores if cores is None else cores
        workers = f"[s3]\nworkers = {len(cores)}\n"
        self.node = nodes.Node(f"bench-{name}", config=workers + config, wrapper=["taskset", "-c", ",".join(map(str, cores))])
        self.client_cores = settings.client_cores

    def __enter__(self):
        self.node.start(120)
        self.client = self.node.client(timeout_s=300)
        self.client.make_bucket("bench")
        return self

    def __exit__(self, *_):
        code = self.node.terminate()
        shutil.rmtree(self.node.base, ignore_errors=True)
        if code != 0:
            print(f"  the node ended with exit code {code}: see {self.node.log_path}", file=sys.stderr)

    def cpu_s(self):
        return cpu_s([self.node.pid])

    def presigned(self, key, expires_s=86400):
        return self.node.url + sigv4.presign(self.node.creds, "GET", self.node.s3, sigv4.key_path("bench", key), expires_s=expires_s)

    def endpoint(self):
        return self.node.s3

    def keys(self):
        return self.node.access_key, self.node.secret_key


class Bare(Loaded):
    """sluice-bare: a thread a connection that receives, hashes, writes by O_DIRECT and syncs, and does nothing else."""

    def __init__(self, cores, size_max, *flags):
        self.cores, self.words, self.client_cores = cores, ["--size-max", str(size_max), *flags], cores
        self.base = os.path.join(WORK, "bare" + "".join(flags))

    def __enter__(self):
        os.makedirs(self.base, exist_ok=True)
        self.process = subprocess.Popen(pinned(self.cores, [BARE, "--dir", self.base, *self.words]), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = self.process.stdout.readline().strip()
        if not self.port:
            raise RuntimeError(f"sluice-bare did not start: exit code {self.process.wait(10)}")
        return self

    def __exit__(self, *_):
        self.process.stdin.close()                      # that is its signal to end
        self.process.wait(30)
        shutil.rmtree(self.base, ignore_errors=True)

    def cpu_s(self):
        return cpu_s([self.process.pid])

    def endpoint(self):
        return f"127.0.0.1:{self.port}"

    def keys(self):
        return "nobody", "checks"


NGINX_CONFIG = """
daemon off;
worker_processes {workers};
error_log {base}/error.log;
pid {base}/nginx.pid;
worker_rlimit_nofile 20000;
events {{ worker_connections 10000; use epoll; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    tcp_nodelay on;
    sendfile_max_chunk 2m;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
    open_file_cache max=1000 inactive=600s;
    open_file_cache_valid 600s;
    default_type application/octet-stream;
    client_body_temp_path {base}/t1; proxy_temp_path {base}/t2; fastcgi_temp_path {base}/t3; uwsgi_temp_path {base}/t4; scgi_temp_path {base}/t5;
    server {{
        listen 127.0.0.1:{port} reuseport backlog=1024;
        root {base}/files;
    }}
}}
"""


class Nginx:
    """nginx as one would set it up to serve files fast."""

    def __init__(self, settings, port=18080):
        self.settings, self.port, self.base = settings, port, os.path.join(WORK, "nginx")

    def __enter__(self):
        shutil.rmtree(self.base, ignore_errors=True)
        os.makedirs(f"{self.base}/files")
        for folder in (os.path.dirname(nodes.OUT), nodes.OUT, nodes.WORK, WORK, self.base):
            if os.stat(folder).st_uid == os.getuid():
                os.chmod(folder, 0o755)                 # its workers are another user
        with open(f"{self.base}/nginx.conf", "w", encoding="ascii") as file:
            text = NGINX_CONFIG.format(workers=len(self.settings.server_cores), base=self.base, port=self.port)
            file.write(("user root;\n" if os.getuid() == 0 else "") + text)
        with open(f"{self.base}/out.log", "w", encoding="ascii") as log:
            self.process = subprocess.Popen(pinned(self.settings.server_cores, ["nginx", "-c", f"{self.base}/nginx.conf", "-e", f"{self.base}/error.log"]),
                                            stdout=log, stderr=log, env=dict(os.environ, PATH="/usr/sbin:" + os.environ["PATH"]))
        deadline = time.monotonic() + 10
        while not os.path.exists(f"{self.base}/nginx.pid"):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"nginx did not start: {open(f'{self.base}/error.log', encoding='utf-8').read()[-500:]}")
            time.sleep(0.05)
        time.sleep(0.3)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(30)
        shutil.rmtree(self.base, ignore_errors=True)

    def pids(self):
        children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True, text=True, check=False)
        return [self.process.pid, *map(int, children.stdout.split())]

    def cpu_s(self):
        return cpu_s(self.pids())

    def url(self, name):
        return f"http://127.0.0.1:{self.port}/{name}"


class BareGet:
    """sluice-bare-get with one file: the least that sends it."""

    def __init__(self, settings, path, way):
        self.settings, self.path, self.way = settings, path, way

    def __enter__(self):
        self.process = subprocess.Popen(pinned(self.settings.server_cores, [BARE_GET, "--file", self.path, "--by", self.way]),
                                        stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(30)

    def cpu_s(self):
        return cpu_s([self.process.pid])

    def url(self, name):
        return f"http://127.0.0.1:{self.port}/{name}"


def wrk(settings, server, url, connections=64, seconds=None):
    """Requests a second, the server's CPU microseconds a request, and how much of its cores it used."""
    before = server.cpu_s()
    out = run(pinned(settings.client_cores, ["wrk", "-t", str(min(len(settings.client_cores), connections)), "-c", str(connections),
                                             "-d", str(seconds or settings.seconds), "--timeout", "30s", url]))
    used = server.cpu_s() - before
    requests, seconds = re.search(r"(\d+) requests in ([0-9.]+)(m?s)", out).group(1, 2)
    if "Non-2xx" in out or "Socket errors" in out:
        raise RuntimeError(f"wrk saw errors:\n{out}")
    return int(requests) / float(seconds), used / int(requests) * 1e6, used / float(seconds)


def asked(settings, server, urls, connections=64, seconds=None):
    """Requests a second and the server's CPU microseconds a request, asked by the client that costs less than any server, one on each of its
    cores; and how much of those it used. Several URLs are asked for in turn."""
    targets = [f"/{url.removeprefix('http://').partition('/')[2]}" for url in urls]
    address = urls[0].removeprefix("http://").partition("/")[0]
    command = [RATE, "--address", address.rpartition(":")[0], "--port", address.rpartition(":")[2], "--target", "-", "--rate", "0",
               "--seconds", str(seconds or settings.seconds)]
    count = min(len(settings.client_cores), connections)
    before = server.cpu_s()
    clients = [subprocess.Popen([*command, "--connections", str(connections // count + (i < connections % count))], stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=lambda: os.sched_setaffinity(0, settings.client_cores))
               for i in range(count)]
    for client in clients:
        client.stdin.write("\n".join(targets) + "\n")
        client.stdin.close()
        client.stdin = None
    outs = [client.communicate(timeout=600) for client in clients]
    used = server.cpu_s() - before
    if any(client.returncode != 0 for client in clients):
        raise RuntimeError(f"sluice-rate: {' '.join(error for _, error in outs)}")
    figures = [json.loads(out) for out, _ in outs]
    if any(one["errors"] > 0 for one in figures):
        raise RuntimeError(f"answers that are not 2xx: {figures}")
    requests, took = sum(one["requests"] for one in figures), max(one["seconds"] for one in figures)
    return requests / took, used / requests * 1e6, sum(one["cpu_s"] for one in figures) / (took * count)


def at_rate(settings, url, rate, connections=64):
    """GETs at a fixed rate, whatever the server does: the latencies, in us, counted from when each request was due."""
    host, _, target = url.removeprefix("http://").partition("/")
    address, _, port = host.rpartition(":")
    out = run(pinned(settings.client_cores, [RATE, "--address", address, "--port", port, "--target", f"/{target}", "--rate", str(int(rate)),
                                             "--connections", str(connections), "--seconds", str(settings.seconds)]))
    figures = json.loads(out)
    if figures["errors"] > 0:
        raise RuntimeError(f"{figures['errors']} answers that are not 2xx")
    return figures


def cores_away(settings, seconds=4, piece_us=50):
    """Of a thread that has the server's first core to itself and only looks at the clock: the percentage of the time it was away from it
    (host, kernel, other programs) in pieces longer than `piece_us`, and the longest piece in us."""
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, settings.server_cores[:1])
    away = longest = 0
    last = start = time.monotonic_ns()
    while last - start < seconds * 10**9:
        now = time.monotonic_ns()
        piece, last = now - last, now
        if piece > piece_us * 1000:
            away, longest = away + piece, max(longest, piece)
    os.sched_setaffinity(0, mine)
    return 100 * away / (last - start), longest / 1000


def fio(settings, cores, **options):
    """One fio job with the given options; its write side."""
    os.makedirs(f"{WORK}/fio", exist_ok=True)
    fixed = dict(name="sluice", directory=f"{WORK}/fio", rw="write", ioengine="io_uring", direct=1, fixedbufs=1, registerfiles=1,
                 group_reporting=1, output_format="json", thread=1)
    words = [f"--{name.replace('_', '-') if name == 'output_format' else name}={value}" for name, value in {**fixed, **options}.items()]
    out = run(pinned(cores, ["fio", *words]), timeout_s=600)
    return json.loads(out[out.index("{"):])["jobs"][0]


def fio_clean():
    shutil.rmtree(f"{WORK}/fio", ignore_errors=True)
