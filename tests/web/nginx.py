"""nginx as the web's yardstick: serving files, and as a caching proxy in front of a node. A process of the test's own."""
import os
import re
import socket
import subprocess
import time

from checks import wait_until

CONF = """{user}
worker_processes 1;
pid {base}/nginx.pid;
error_log {base}/error.log warn;
events {{ worker_connections 256; }}
http {{
    types {{ text/plain txt; video/mp4 mp4; application/octet-stream bin; }}
    default_type application/octet-stream;
    log_format lines '$request_method $status $body_bytes_sent $upstream_cache_status $upstream_status $upstream_bytes_received $http_range';
    access_log {base}/access.log lines;
    client_body_temp_path {base}/temp;
    proxy_temp_path {base}/temp;
    fastcgi_temp_path {base}/temp;
    uwsgi_temp_path {base}/temp;
    scgi_temp_path {base}/temp;
    sendfile on;
    tcp_nopush on;
    keepalive_timeout 20;
    {http}
    server {{
        listen 127.0.0.1:{port};
        root {base}/root;
        {server}
    }}
}}
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Request:
    """A line of the access log."""

    def __init__(self, line):
        self.method, status, body, self.cache, self.upstream_status, upstream_bytes, self.range = line.split(" ", 6)
        self.status, self.body_bytes = int(status), int(body)
        self.upstream_bytes = int(upstream_bytes) if upstream_bytes.isdigit() else 0


class Nginx:
    def __init__(self, base, http="", server=""):
        self.base, self.http, self.server, self.process, self.seen = base, http, server, None, 0
        for folder in ("root", "temp", "cache"):
            os.makedirs(f"{base}/{folder}", exist_ok=True)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self):
        for _ in range(5):  # a port that was free may be taken the next moment
            self.port = free_port()
            with open(f"{self.base}/nginx.conf", "w", encoding="ascii") as file:
                file.write(CONF.format(user="user root;" if os.getuid() == 0 else "", base=self.base, port=self.port,
                                       http=self.http.format(base=self.base), server=self.server))
            with open(f"{self.base}/stderr", "wb") as errors:
                self.process = subprocess.Popen(["nginx", "-c", f"{self.base}/nginx.conf", "-e", f"{self.base}/error.log", "-g", "daemon off;"],
                                                stdin=subprocess.DEVNULL, stdout=errors, stderr=errors)
            wait_until(lambda: self.process.poll() is not None or self._answers(), 20, 0.02)
            if self.process.poll() is None:
                return self
        with open(f"{self.base}/stderr", encoding="utf-8") as errors:
            raise RuntimeError(f"nginx does not start: {errors.read()[-800:]}")

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _answers(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        except OSError:
            return False

    def errors(self):
        with open(f"{self.base}/error.log", encoding="utf-8", errors="replace") as file:
            return re.sub(r"^.*\[notice\].*$\n?", "", file.read(), flags=re.M)

    def requests(self, count=None, timeout_s=10):
        """What has been logged since the last call; waits for `count` lines, since nginx writes one when its response is over."""
        lines, deadline = [], time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            with open(f"{self.base}/access.log", encoding="utf-8", errors="replace") as file:
                lines = file.read().splitlines()[self.seen:]
            if count is None or len(lines) >= count:
                break
            time.sleep(0.02)
        self.seen += len(lines)
        return [Request(line) for line in lines]
