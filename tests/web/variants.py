"""Text compressed once by who publishes it: key.gz for key, as nginx's gzip_static serves it."""
import gzip
import os

from checks import equal
from clients import Tool
import sigv4


def run(nginx, node, base):
    client, tool = node.client(), Tool(node, f"{base}/home")
    text = b"".join(b"line %d of a text that compresses well\n" % n for n in range(20_000))
    zipped = gzip.compress(text, mtime=0)
    client.make_bucket("site")
    os.makedirs(f"{base}/root/site", exist_ok=True)
    for name, body in (("page.txt", text), ("page.txt.gz", zipped), ("only.txt", text)):
        with open(f"{base}/root/site/{name}", "wb") as file:
            file.write(body)
        equal(client.put("site", name, body, headers={"Content-Type": "text/plain"}).status, 200, f"PUT {name}")
    for name in ("page.txt", "only.txt", "page.txt.gz"):
        for options in ([], ["--compressed"], ["-H", "Accept-Encoding: gzip;q=0"], ["-H", "Accept-Encoding: br, gzip"], ["-I", "--compressed"]):
            seen = []
            for url in (f"{nginx.url}/site/{name}", node.url + sigv4.presign(node.creds, "HEAD" if "-I" in options else "GET", node.s3, f"/site/{name}")):
                code, out, _ = tool.run("curl", "-sS", "--max-time", "30", *options, "-D", f"{base}/head", "-o", f"{base}/got",
                                        "-w", "%{http_code} %{size_download}", url)
                with open(f"{base}/head", encoding="latin-1") as file:
                    head = dict(line.lower().strip().split(": ", 1) for line in file if ": " in line)
                with open(f"{base}/got", "rb") as file:
                    seen.append((code, out, head.get("content-encoding"), head.get("content-length"), file.read() if "-I" not in options else b""))
            equal(seen[1] == seen[0], True, f"{name} by curl {' '.join(options)}: status, coding, bytes on the wire and bytes as nginx")
