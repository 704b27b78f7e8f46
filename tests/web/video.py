"""ffmpeg plays an mp4 over HTTP: it reads the index at the end, then seeks; frames as from the local file, requests as to nginx."""
import os
import re
import subprocess

from checks import check, equal
from clients import Tool
import sigv4

SECONDS = 24
SEEKS = ("0", "3.2", "11.7", "22.9")


def make_film(path):
    """Every frame differs, a key frame each second, noise against compression: some 12 MiB, its index at the end as cameras write it."""
    command = ["ffmpeg", "-nostdin", "-v", "error", "-y", "-f", "lavfi", "-i", f"testsrc2=size=320x240:rate=12:duration={SECONDS}",
               "-f", "lavfi", "-i", f"sine=frequency=440:duration={SECONDS}", "-vf", "noise=alls=40:allf=t", "-c:v", "mpeg4", "-q:v", "3", "-g", "12",
               "-c:a", "aac", "-b:a", "64k", "-bitexact", path]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, timeout=120)
    return path


def ffmpeg(tool, text, *options):
    return tool.good(text, "ffmpeg", "-nostdin", "-v", "error", *options, "-f", "framemd5", "-")


def statuses_of(node, since):
    """What the node's access log says of GETs after a byte of the log: their statuses."""
    return [int(status) for status in re.findall(r"request .*method=GET .*status=(\d+)", node.log()[since:])]


def run(nginx, node, base):
    film = make_film(f"{base}/root/film.mp4")
    size = os.path.getsize(film)
    with open(film, "rb") as file:
        equal(node.client().put("web", "film.mp4", file.read(), headers={"Content-Type": "video/mp4"}).status, 200, f"PUT film.mp4 ({size} bytes)")
    tool = Tool(node, f"{base}/home")
    url = node.url + sigv4.presign(node.creds, "GET", node.s3, "/web/film.mp4")
    told = [tool.good(f"ffprobe: {name}", "ffprobe", "-v", "error", "-show_entries", "format=duration,size:stream=codec_name,nb_frames", source)
            for name, source in (("local", film), ("served", url))]
    equal(told[1], told[0], "ffprobe tells the same of it")
    nginx.requests()
    for at in SEEKS:
        frames = ["-frames:v", "4", "-map", "0:v"]
        local = ffmpeg(tool, f"local, from {at} s", "-ss", at, "-i", film, *frames)
        check(local.count("\n0,") == 4, f"four frames from {at} s", local[-300:])
        since = len(node.log())
        served = ffmpeg(tool, f"served, from {at} s", "-ss", at, "-i", url, *frames)
        equal(served, local, f"the same frames from {at} s")
        ffmpeg(tool, f"by nginx, from {at} s", "-ss", at, "-i", f"{nginx.url}/film.mp4", *frames)
        ours = statuses_of(node, since)
        theirs = [request.status for request in nginx.requests(len(ours))]
        check(len(ours) >= 2 and set(ours) == {206}, f"from {at} s: it sought, by ranges", str(ours))
        equal(ours, theirs, f"from {at} s: as many requests as to nginx, answered alike")
    equal(ffmpeg(tool, "all of it, served", "-i", url, "-map", "0:v"), ffmpeg(tool, "all of it, local", "-i", film, "-map", "0:v"),
          "every frame of the film")
