"""A real node for a test: `sluiced` on free loopback ports, in a directory of its own.

    with Node("awscli") as node:          # started, ready
        node.s3, node.access_key, node.secret_key
    # stopped by SIGTERM, exit code 0 and `sluice fsck --data` are checks of their own

With SLUICE_CLUSTER=1 every node is a replica in a cluster of three: the other two run beside it, unseen by the suite.
With SLUICE_TLS=1 the S3 port of every node speaks TLS, by a certificate made for the purpose that the suites' clients trust
(`node.ca`); so each suite can be run either way.

Environment: SLUICE_BUILD (build directory, default build), SLUICE_TEST_DIR (where volumes go; not a tmpfs, default
tests/out/work), SLUICE_KEEP=1 keeps the directories of passed tests too.
"""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request

from checks import check, note, wait_until
import sigv4

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
OUT = os.environ.get("SLUICE_TEST_OUT", os.path.join(ROOT, "tests/out"))
WORK = os.environ.get("SLUICE_TEST_DIR", os.path.join(OUT, "work"))
BUILD = os.path.join(ROOT, os.environ.get("SLUICE_BUILD", "build"))
TLS = bool(os.environ.get("SLUICE_TLS"))
CLUSTER = bool(os.environ.get("SLUICE_CLUSTER"))
ACCESS_KEY, SECRET_KEY = "AKIDTESTROOTKEY00001", "testSecretKey/with+signs=0123456789abcdef"
READY_S, DRAIN_S = 60, 60


def binary(name):
    path = os.path.join(BUILD, name)
    if not os.access(path, os.X_OK):
        print(f"not ok - {path} is not built", flush=True)
        sys.exit(1)
    return path


def scratch(name):
    """A fresh directory of this test's own, on a real file system."""
    path = os.path.join(WORK, name)
    shutil.rmtree(path, ignore_errors=True)
    os.makedirs(path)
    return path


class NotReady(Exception):
    """The daemon ended, or was silent too long; the message holds what it said."""


def make_certificate(directory, *names):
    """tls.crt and tls.key for these names by `sluice tls self-signed`; the path of the first."""
    words = [word for name in names for word in ("--name", name)]
    subprocess.run([binary("tools/sluice"), "tls", "self-signed", directory, *words], check=True, stdout=subprocess.DEVNULL)
    return os.path.join(directory, "tls.crt")


class Node:
    def __init__(self, name, directory=None, config="", args=(), wrapper=(), env=None, keep=False, tls=TLS):
        self.name, self.args, self.wrapper, self.keep = name, list(args), list(wrapper), keep
        self.base = scratch(name) if directory is None else os.path.dirname(directory)
        self.dir = directory or os.path.join(self.base, "data")
        self.config = config
        # a home of its own: the daemon notes there which node was started last, and that is the user's, not ours
        self.env = dict(os.environ, SLUICE_ACCESS_KEY=ACCESS_KEY, SLUICE_SECRET_KEY=SECRET_KEY,
                        XDG_CONFIG_HOME=os.path.join(self.base, "config"), **(env or {}))
        self.tls, self.ca = tls, None
        if tls:
            folder = os.path.join(self.base, "tls")
            self.ca = os.path.join(folder, "tls.crt")
            if not os.path.exists(self.ca):
                make_certificate(folder, "localhost", "127.0.0.1", "s3.test", "*.s3.test")
            self.args += ["--tls-cert", self.ca, "--tls-key", os.path.join(folder, "tls.key")]
        self.access_key, self.secret_key = ACCESS_KEY, SECRET_KEY
        self.creds = (ACCESS_KEY, SECRET_KEY)
        self.process, self.pid, self.s3, self.admin, self.log_start = None, 0, "", "", 0
        self.is_asked = False           # to end; a second SIGTERM would cut what runs
        self.company = self.find_company() if CLUSTER and type(self) is Node else None
        os.makedirs(os.path.join(OUT, "nodes"), exist_ok=True)
        self.log_path = os.path.join(OUT, "nodes", f"{name}.log")
        if directory is None and os.path.exists(self.log_path):
            os.unlink(self.log_path)

    def find_company(self):
        """Two more nodes of the same configuration, so that this one is a replica of their cluster."""
        from cluster import Cluster  # pylint: disable=import-outside-toplevel, cyclic-import
        company = Cluster(self.name, proxied=False)
        self.config += "\n" + company.section(2)
        return company.keep_company()

    @property
    def url(self):
        return f"{'https' if self.tls else 'http'}://{self.s3}"

    def log(self):
        with open(self.log_path, "rb") as file:
            return file.read().decode(errors="replace")

    def command(self):
        command = self.wrapper + [binary("server/sluiced"), self.dir, "--s3", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
        if self.config:
            path = os.path.join(self.base, "sluice.conf")
            with open(path, "w", encoding="utf-8") as file:
                file.write(self.config)
            command += ["--config", path]
        return command + self.args

    def start(self, timeout_s=READY_S):
        """Returns when /readyz says 200; raises NotReady with the daemon's own words otherwise."""
        for member in self.company or ():
            if not member.is_running():
                member.launch()
        self.launch()
        self.wait_ready(timeout_s)
        for member in self.company or ():
            member.wait_ready(timeout_s)
        return self

    def launch(self):
        self.pid, self.is_asked = 0, False
        endpoint = os.path.join(self.dir, "endpoint.json")
        if os.path.exists(endpoint):
            os.unlink(endpoint)
        with open(self.log_path, "ab") as log:
            self.log_start = log.tell()
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env=self.env, start_new_session=True)

    def wait_ready(self, timeout_s=READY_S):
        def ready():
            return self.process.poll() is not None or (self.look() and self._answers())
        if not wait_until(ready, timeout_s, 0.02) or self.process.poll() is not None:
            code = self.process.poll()
            if code is None:
                self.kill()
            raise NotReady(f"exit code {code}; it said:\n{self.log()[self.log_start:][-3000:]}")
        return self

    def look(self):
        """Where it listens in this life, if it has said so."""
        try:
            with open(os.path.join(self.dir, "endpoint.json"), encoding="utf-8") as file:
                told = json.load(file)
            self.s3, self.admin, self.pid = told["s3"], told["admin"], told["pid"]
        except (OSError, ValueError, KeyError):
            return False
        return True

    def _answers(self):
        try:
            with urllib.request.urlopen(f"http://{self.admin}/readyz", timeout=5) as answer:
                return answer.status == 200
        except (OSError, ValueError, KeyError):
            return False

    def client(self, **options):
        return sigv4.Client(self.s3, self.creds, ca=self.ca, **options)

    def admin_get(self, path):
        with open(os.path.join(self.dir, "admin-token"), encoding="utf-8") as file:
            token = file.read().strip()
        request = urllib.request.Request(f"http://{self.admin}{path}", headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read().decode()

    def metrics(self):
        """{name or name{labels}: value} of the admin port."""
        values = {}
        for line in self.admin_get("/metrics").splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                values[name] = float(value)
        return values

    def cli(self, *args, timeout_s=600):
        done = subprocess.run([binary("tools/sluice"), "--dir", self.dir, *args], capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=timeout_s, env=self.env)
        return done.returncode, done.stdout + done.stderr

    def status_kib(self, field):
        with open(f"/proc/{self.pid}/status", encoding="ascii") as file:
            for line in file:
                if line.startswith(field + ":"):
                    return int(line.split()[1])
        return 0

    def memory_budget_kib(self):
        """What the banner promised: "at most 1.2 GiB"."""
        found = re.findall(r"at most ([0-9.]+) ?([KMGT])iB", self.log())
        return float(found[-1][0]) * 1024 ** "KMGT".index(found[-1][1]) if found else 0

    def cpu_s(self):
        with open(f"/proc/{self.pid}/stat", encoding="ascii") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def kill(self):
        """kill -9, as a power cut would come to the process."""
        try:
            self.signal(signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()

    def signal(self, number):
        """To the daemon itself, which a wrapper may stand before once it has said who it is."""
        os.kill(self.pid or self.process.pid, number)

    def ask_to_end(self):
        if self.process is not None and self.process.poll() is None and not self.is_asked:
            self.is_asked = True
            self.signal(signal.SIGTERM)

    def terminate(self, timeout_s=DRAIN_S):
        """SIGTERM; the exit code, or None when it did not drain in time (and was killed)."""
        if self.process is None:
            return None
        self.ask_to_end()
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            return None

    def fsck(self, *options):
        done = subprocess.run([binary("tools/sluice"), "fsck", *options, self.dir], capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=900, env=self.env)
        return done.returncode, done.stdout + done.stderr

    def stop(self):
        """The end of every test: drains, exits 0, and what is on disk holds together, every checksum read."""
        code = self.terminate()
        check(code == 0, f"{self.name}: SIGTERM drains and exits 0", lambda: f"exit code {code}\n{self.log()[-3000:]}")
        code, text = self.fsck("--data")
        good = check(code == 0, f"{self.name}: fsck --data finds nothing", lambda: text[-3000:])
        if self.company:
            self.company.stop()
        if good and not self.keep and not os.environ.get("SLUICE_KEEP"):
            shutil.rmtree(self.base, ignore_errors=True)

    def __enter__(self):
        try:
            return self.start()
        except NotReady as error:
            check(False, f"{self.name}: the node starts", str(error))
            if self.company:
                self.company.kill_all()
            note("nothing else can be tested")
            sys.exit(1)

    def __exit__(self, kind, error, trace):
        if kind is None or not issubclass(kind, KeyboardInterrupt):
            self.stop()
        else:
            self.kill()
            if self.company:
                self.company.kill_all()
        return False

