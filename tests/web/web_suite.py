#!/usr/bin/env python3
"""Serving over the web, judged beside nginx: ranges and conditions, downloads, a film, and a cache in front."""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "../lib"), os.path.join(HERE, "../s3")]

import against_nginx  # noqa: E402
import cache  # noqa: E402
import downloads  # noqa: E402
import variants  # noqa: E402
import video  # noqa: E402
from checks import equal, finish, guarded  # noqa: E402
from nginx import Nginx  # noqa: E402
from node import Node  # noqa: E402


def main():
    only = sys.argv[1:]
    with Node("web", config="[s3]\ngzip-variants = site\n[log]\naccess = yes\n") as node:
        base = f"{node.base}/web"
        with guarded("bucket"):
            equal(node.client().make_bucket("web").status, 200, "the bucket")
        with Nginx(f"{base}/nginx", server="location /site/ { gzip_static on; gzip_vary on; }") as nginx:
            for section in (against_nginx, downloads, variants, video):
                if not only or section.__name__ in only:
                    with guarded(section.__name__):
                        section.run(nginx, node, nginx.base)
        if not only or "cache" in only:
            with guarded("cache"):
                cache.run(node, base)
    finish()


main()
