"""nginx as a caching proxy in front of the node: what is stale is asked for again with its ETag, and answered 304 without a body."""
import http.client
import time

from checks import check, equal
from clients import MIB
from nginx import Nginx
import sigv4

HTTP = "proxy_cache_path {base}/cache keys_zone=web:1m;"
SERVER = """
        location /sliced/ {{
            slice 1m;
            proxy_pass http://{s3}/web/sliced?$args;
            proxy_set_header Range $slice_range;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_cache web;
            proxy_cache_key $uri$slice_range;
            proxy_cache_valid 200 206 1h;
            add_header X-Cache $upstream_cache_status;
        }}
        location / {{
            proxy_pass http://{s3}/web/;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_cache web;
            proxy_cache_key $uri;
            proxy_cache_revalidate on;
            add_header X-Cache $upstream_cache_status;
        }}
"""
FRESH_S = 2


def ask(proxy, target, method="GET", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=30)
    connection.request(method, target, headers={k.replace("_", "-"): v for k, v in headers.items()})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, body


def revalidates(node, proxy):
    body = b"cached" * 50_000
    client = node.client()
    stored = {"Cache-Control": f"max-age={FRESH_S}", "Content-Type": "text/plain", "x-amz-meta-a": "b"}
    client.put("web", "page", body, headers=stored)
    # the proxy's own path is not what was signed: it asks for /web/page, and the URL is signed for that
    target = sigv4.presign(node.creds, "GET", node.s3, "/web/page").replace("/web/page", "/page", 1)
    status, headers, got = ask(proxy, target)
    equal((status, headers["x-cache"], got == body), (200, "MISS", True), "the first time: MISS")
    equal(headers.get("x-amz-meta-a"), "b", "metadata passes through")
    deadline = time.monotonic() + FRESH_S
    status, headers, got = ask(proxy, target)
    if time.monotonic() < deadline - 0.5:  # a busy machine may have let it go stale
        equal((status, headers["x-cache"], got == body), (200, "HIT", True), "while it is fresh: HIT")
    proxy.requests()
    time.sleep(FRESH_S + 1.1)
    sent = node.metrics()
    status, headers, got = ask(proxy, target)
    equal((status, headers["x-cache"], got == body), (200, "REVALIDATED", True), "when it is stale: REVALIDATED")
    request = proxy.requests(1)[0]
    equal(request.upstream_status, "304", "the node said 304")
    check(0 < request.upstream_bytes < 1500, "in a head without a body", f"{request.upstream_bytes} bytes")
    after = node.metrics()
    equal(sum(after[name] - sent[name] for name in sent if name.startswith("sluice_http_path_bytes_total")), 0, "no object bytes were sent")
    status, headers, got = ask(proxy, target)
    check(headers["x-cache"] in ("HIT", "REVALIDATED"), "and from then it is fresh again: the 304 told max-age", headers["x-cache"])

    etag = headers["etag"]
    equal(ask(proxy, target, If_None_Match=etag)[0], 304, "the browser behind the proxy: 304")
    status, headers, got = ask(proxy, target, Range="bytes=10-29")
    equal((status, got), (206, body[10:30]), "and a range")
    new = b"changed" * 40_000
    client.put("web", "page", new, headers=stored)
    time.sleep(FRESH_S + 1.1)
    proxy.requests()
    status, headers, got = ask(proxy, target)
    equal((status, headers["x-cache"], got == new), (200, "EXPIRED", True), "overwritten: EXPIRED, and the new bytes")
    check(headers["etag"] != etag, "under a new ETag")
    equal(proxy.requests(1)[0].upstream_status, "200", "the node said 200")


def slices(node, proxy):
    """What CDNs do with large files: each megabyte is a cached object of its own, held together by the ETag."""
    body = bytes(range(256)) * 4096 * 3 + b"end"
    client = node.client()
    client.put("web", "sliced", body)
    args = sigv4.presign(node.creds, "GET", node.s3, "/web/sliced").partition("?")[2]
    target = "/sliced/?" + args
    status, _, got = ask(proxy, target)
    equal((status, got == body), (200, True), "slices: the whole from four of them")
    first, last = MIB - 5, 2 * MIB + 5
    status, headers, got = ask(proxy, target, Range=f"bytes={first}-{last}")
    equal((status, got == body[first:last + 1], headers["x-cache"]), (206, True, "HIT"), "slices: a range over three, from the cache")
    statuses = {request.upstream_status for request in proxy.requests() if request.upstream_status != "-"}
    check(all("206" in status for status in statuses), "slices: the node answered 206", str(statuses))


def run(node, base):
    with Nginx(f"{base}/proxy", HTTP, SERVER.format(s3=node.s3)) as proxy:
        revalidates(node, proxy)
        slices(node, proxy)
        equal(proxy.errors(), "", "nginx had nothing to complain of")
