#!/usr/bin/env python3
"""Three real nodes that replicate over TCP on loopback: what S3 clients see through each of them, and what happens when things break.

    tests/cluster/cluster_suite.py [--seed N] [--seconds N] [section...]

Sections: founded, basics, settings, strangers, faults, copied, full_disk, broken_disk, corrupt; and by hand soak: faults drawn by the seed, on top of each other, for --rounds.
--seconds: load under each fault. The seed is printed and
kept in tests/out/cluster-seed; the histories stand in tests/out/cluster-history-*.jsonl.
"""
import argparse
import concurrent.futures
import contextlib
import hashlib
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
sys.path.insert(0, HERE)
from checks import check, equal, finish, guarded, note, skip, wait_until  # noqa: E402
from cluster import Cluster, Member  # noqa: E402
from load import BUCKET, Load, value_in  # noqa: E402
from node import NotReady, OUT, binary, scratch  # noqa: E402
import linear  # noqa: E402
import sigv4  # noqa: E402

MIB = 1 << 20
SIZES = (0, 1, 4096, 8191, 8193, 65_537, 262_145, 3 * MIB + 1)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("sections", nargs="*")
    return parser.parse_args()


OPTIONS = arguments()


def status_of(answer):
    return answer.status, answer.code


# ---- what every node must show ----

def contents(node, bucket):
    """{key: (etag, digest)} of everything in the bucket, as this node says."""
    client, found = node.client(timeout_s=60), {}
    for key in client.list_keys(bucket):
        answer = client.get(bucket, key)
        found[key] = (answer.status, answer.headers.get("etag"), hashlib.sha256(answer.body).hexdigest())
    client.close()
    return found


def all_equal(cluster, bucket, text):
    """Listing, bytes and ETags through each node; what was not the same."""
    told = {node.number: contents(node, bucket) for node in cluster}
    first = told[1]
    bad = [f"node {number}, {key}: {told[number].get(key)} and not {first.get(key)}" for number in told
           for key in sorted(set(first) | set(told[number])) if told[number].get(key) != first.get(key)]
    bad += [f"node {number}, {key}: {value}" for number in told for key, value in told[number].items() if value[0] != 200]
    return check(not bad, f"{text}: {len(first)} keys, the same listing, bytes and ETags through every node", "\n".join(bad[:10]))


# ---- everything works through every node ----

def put_here_get_there(cluster):
    bodies = {}
    for node in cluster:
        client = node.client()
        for size in SIZES:
            key = f"from-{node.number}/{size}"
            bodies[key] = random.Random(f"{OPTIONS.seed}/{key}").randbytes(size)
            answer = client.put("basics", key, bodies[key])
            if answer.status != 200 or answer.headers.get("x-sluice-durable") != "local:fdatasync replicas:3/3 path:tcp":
                check(False, f"PUT {key}", f"{answer} {answer.headers}")
        client.close()
    check(len(bodies) == 3 * len(SIZES), "each node takes PUTs; receipts say replicas:3/3")
    for node in cluster:
        client = node.client()
        wrong = [key for key, body in bodies.items() if (got := client.get("basics", key)).body != body or
                 got.headers.get("etag") != f'"{hashlib.md5(body).hexdigest()}"']
        equal(wrong, [], f"node {node.number} gives every byte, whoever took it")
        equal(client.list_keys("basics"), sorted(bodies), f"node {node.number} lists all of them")
        client.close()


def read_your_writes(cluster):
    """What one node acknowledged is there through another at once."""
    clients = {node.number: node.client() for node in cluster}
    stale = []
    for n in range(60):
        writer, reader = n % 3 + 1, (n + 1 + n // 3 % 2) % 3 + 1
        body = f"version {n}".encode()
        answer = clients[writer].put("basics", "hot", body)
        got = clients[reader].get("basics", "hot")
        if answer.status != 200 or got.body != body:
            stale.append(f"{n}: written at {writer}: {answer.status}; read at {reader}: {got}")
    equal(stale, [], "60 overwrites, each read at once through another node")
    equal(clients[2].delete("basics", "hot").status, 204, "DELETE through node 2")
    equal([clients[n].get("basics", "hot").status for n in clients], [404] * 3, "and gone through all")
    for client in clients.values():
        client.close()


def multipart_over_nodes(cluster):
    """Begun at one node, a part at another, completed at the third."""
    one, two, three = (node.client() for node in cluster)
    path = sigv4.key_path("basics", "parts")
    pieces = [random.Random(n).randbytes(5 * MIB + n) for n in (1, 2)]
    answer = one.request("POST", path, [("uploads", "")])
    upload = answer.body.split(b"<UploadId>")[1].split(b"</UploadId>")[0].decode()
    answers = [client.request("PUT", path, [("partNumber", str(n)), ("uploadId", upload)], body=piece, payload=sigv4.UNSIGNED)
               for n, (client, piece) in enumerate(zip((two, three), pieces), 1)]
    equal([answer.status for answer in answers], [200, 200], "parts of one upload through two nodes")
    listed = "".join(f"<Part><PartNumber>{n}</PartNumber><ETag>{answer.headers.get('etag')}</ETag></Part>" for n, answer in enumerate(answers, 1))
    answer = two.request("POST", path, [("uploadId", upload)], body=f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode())
    equal(status_of(answer), (200, ""), "completed through the other one")
    equal([client.get("basics", "parts").body == b"".join(pieces) for client in (one, two, three)], [True] * 3, "its bytes through every node")
    answer = three.request("PUT", sigv4.key_path("basics", "copy"), headers={"x-amz-copy-source": "/basics/parts"})
    equal(status_of(answer), (200, ""), "CopyObject through node 3")
    equal([client.get("basics", "copy").body == b"".join(pieces) for client in (one, two, three)], [True] * 3, "the copy's bytes through every node")
    answer = one.request("POST", path, [("uploads", "")])
    aborted = answer.body.split(b"<UploadId>")[1].split(b"</UploadId>")[0].decode()
    equal(two.request("DELETE", path, [("uploadId", aborted)]).status, 204, "an upload begun at node 1 is aborted at node 2")
    answer = three.request("PUT", path, [("partNumber", "1"), ("uploadId", aborted)], body=b"x")
    equal(status_of(answer), (404, "NoSuchUpload"), "and gone at node 3")


def one_wins(cluster):
    """If-None-Match: * through all nodes at once: one creator each time."""
    def create(node, key):
        client = node.client()
        try:
            return client.request("PUT", sigv4.key_path("basics", key), headers={"if-none-match": "*"}, body=str(node.number).encode()).status
        finally:
            client.close()
    outcomes = []
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        for n in range(10):
            got = sorted(pool.map(lambda node, key=f"once/{n}": create(node, key), cluster))
            outcomes.append(got in ([200, 412, 412], [200, 409, 412], [200, 409, 409]))
    check(all(outcomes), "10 races of three nodes for a new key: one winner each", outcomes)


def carried_by_tcp(cluster):
    for node in cluster:
        code, text = node.cli("peers", "--json")
        told = json.loads(text)
        up = [peer["node"] for peer in told["peers"] if peer["state"] == "up" and peer["backend"] == "tcp"]
        check(code == 0 and sorted(up) == [n for n in cluster.numbers if n != node.number] and told["transport"]["rdma"] is False,
              f"node {node.number}: sluice peers: the others are up, by tcp", text)
        code, text = node.cli("peers")
        check(code == 0 and "tcp" in text and "rdma" not in text.lower().replace("no rdma", ""), "and nothing is called RDMA that is not", text)
    code, text = cluster.primary().cli("replication", "status", "--json")
    told = json.loads(text)
    check(code == 0 and told["in_sync"] == 3 and all(one["in_sync"] for one in told["nodes"]), "sluice replication status: three in sync", text)
    check(told["in_sync_min"] == 2 and all(one["lag_records"] is not None for one in told["nodes"]), "and the primary knows everybody's lag", text)
    moved = cluster.primary().metrics()
    sent = sum(value for name, value in moved.items() if name.startswith("sluice_peer_sent_bytes_total{") and 'backend="tcp"' in name)
    check(sent > 3 * MIB, "metrics: bytes sent to peers, by lane and backend", {k: v for k, v in moved.items() if "peer" in k})


def basics(cluster):
    client = cluster[1].client()
    equal(client.make_bucket("basics").status, 200, "CreateBucket through node 1")
    equal([node.client().request("HEAD", "/basics").status for node in cluster], [200] * 3, "HeadBucket through every node, at once")
    for section in (put_here_get_there, read_your_writes, multipart_over_nodes, one_wins, carried_by_tcp):
        with guarded(section.__name__):
            section(cluster)
    all_equal(cluster, "basics", "after the basics")
    for node in cluster:
        check("node %d of test" % node.number in node.log() and "by tcp" in node.log(), f"node {node.number}: the banner says who it is and what carries bytes",
              lambda node=node: node.log()[:2500])


# ---- what is kept among the settings ----

def settings(cluster):
    """Access keys and buckets' settings are known everywhere when they are acknowledged."""
    code, text = cluster[1].cli("key", "create", "--name", "elsewhere", "--owner", "someone", "--json")
    key = json.loads(text) if code == 0 else {}
    creds = (key.get("access_key", ""), key.get("secret_key", ""))
    answers = [sigv4.Client(node.s3, creds).request("GET", "/").status for node in (cluster[3], cluster[2], cluster[1])]
    equal(answers, [200] * 3, "a key made at node 1 signs at every node, at once")
    code, text = cluster[2].cli("key", "rm", creds[0])
    equal(code, 0, "removed at node 2")
    check(wait_until(lambda: [sigv4.Client(node.s3, creds).request("GET", "/").status for node in cluster] == [403] * 3, 5), "it signs nowhere any more")
    cluster[1].client().make_bucket("settings")
    code, text = cluster[3].cli("bucket", "set", "settings", "get-path=copy")
    equal(code, 0, "a bucket's setting, set at node 3")
    told = [json.loads(node.cli("bucket", "show", "settings", "--json")[1])["settings"]["get-path"] for node in cluster]
    equal(told, ["copy"] * 3, "is known at every node")
    cluster[1].client().put("settings", "k", b"x" * 100_000)
    paths = [node.client().get("settings", "k").headers.get("x-sluice-path") for node in cluster]
    equal(paths, ["copy"] * 3, "and counts at every node")


# ---- who does not belong ----

def impostor(cluster, text, words, number=3, name=None, config=None):
    """A node with an empty directory of its own that claims what it may not: everybody says why in a sentence, and it serves nothing."""
    member = Member(f"{cluster.name}-{name}", number, config)
    before = {node.number: len(node.log()) for node in cluster}
    member.launch()
    try:
        def said():
            logs = member.log() + "".join(node.log()[before[node.number]:] for node in cluster if node.number != number)
            return any(word in logs for word in words)
        check(wait_until(said, 15, 0.2), f"{text}: said in a sentence", lambda: member.log()[-1500:] + "\n".join(
            node.log()[before[node.number]:][-800:] for node in cluster if node.number != number))
        wait_until(member.look, 10)
        if member.is_running():
            status, why = member.readyz()
            check(status == 503 and len(why) > 20, f"{text}: /readyz is 503 and says why", (status, why))
            answer = member.client(timeout_s=20).get("basics", "anything")
            equal(answer.status, 503, f"{text}: S3 requests are 503")
        code = member.terminate(20)
        check(code in (0, 1, 2), f"{text}: SIGTERM ends it while it waits", (code, member.log()[-1500:]))
    finally:
        if member.is_running():
            member.kill()
    healthy = [node for node in cluster if node.is_running()]
    answers = [node.client(timeout_s=20).put("basics", f"still/{name}/{node.number}", b"x") for node in healthy]
    check(all(answer.status == 200 for answer in answers), f"{text}: the others go on", lambda: "\n".join(
        f"node {node.number}: {answer} {answer.body.decode()[:300]}\n{node.log()[before[node.number]:][-1500:]}" for node, answer in zip(healthy, answers)))


def strangers(cluster):
    """Node 3 is stopped, and others try to be it."""
    equal(cluster[3].terminate(), 0, "node 3 is stopped by SIGTERM")
    check(cluster.wait_in_sync(2, 30) is not None, "the two left go on", lambda: cluster[1].replication())
    other_key = os.path.join(cluster.base, "other.key")
    turned_away = cluster[1].metrics().get("sluice_group_refused_calls_total", 0)
    for first in (b"", b"GET / HTTP/1.1\r\nHost: sluice\r\n\r\n" * 40):
        host, port = cluster.own_address(1).rsplit(":", 1)
        with socket.create_connection((host, int(port)), 10) as stranger:
            stranger.sendall(first)
            heard = b""
            with contextlib.suppress(ConnectionError):
                heard = stranger.recv(1)
            equal(heard, b"", f"somebody who says {first[:5]!r} to node 1's port for peers is cut off")
    wait_until(lambda: cluster[1].metrics().get("sluice_group_refused_calls_total", 0) == turned_away + 2, 5)
    told = json.loads(cluster[1].cli("--json", "peers")[1])["transport"]
    equal((cluster[1].metrics().get("sluice_group_refused_calls_total"), told.get("refused_calls")), (turned_away + 2, turned_away + 2),
          "and counted, in the metrics and by sluice peers")
    with open(other_key, "w", encoding="ascii", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
        file.write("f" * 64)
    impostor(cluster, "another key", ["another key", "cluster's key", "does not have the"], name="wrong-key", config=cluster.member_config(3, key_file=other_key))
    impostor(cluster, "another name", ["another cluster"], name="wrong-name", config=cluster.member_config(3, name="other"))
    peers = ", ".join(f"{n}={cluster.address(4, n)}" for n in (1, 2)) + f", 4={cluster.own_address(3)}"
    impostor(cluster, "a number nobody configured", ["another list of nodes"], number=4, name="wrong-number",
             config=cluster.member_config(3, node=4, peers=peers))
    peers = f"1={cluster.address(3, 1)}, 3={cluster.own_address(3)}"
    impostor(cluster, "a list without one of the nodes", ["another list of nodes"], name="short-list", config=cluster.member_config(3, peers=peers))
    impostor(cluster, "a number that is there", ["is there already"], number=1, name="second-1",
             config=cluster.member_config(1, listen=cluster.own_address(3)))
    with open(other_key, "w", encoding="ascii") as file:
        file.write("short")
    for text, words, lie in (("a key that is too short", ["32"], {"key_file": other_key}),
                             ("a key that is not there", ["sluice cluster key"], {"key_file": cluster.base + "/none"}),
                             ("a number that is not among the peers", ["node is 9"], {"node": 9}),
                             ("a misspelt section key", ["did you mean"], {"nodes": 3})):
        config = os.path.join(cluster.base, "lie.ini")
        with open(config, "w", encoding="ascii") as file:
            file.write(cluster.member_config(3, **lie))
        done = subprocess.run([binary("server/sluiced"), cluster.base + "/lie", "--config", config, "--s3", "127.0.0.1:0", "--admin", "127.0.0.1:0"],
                              capture_output=True, text=True, timeout=30, env=cluster[1].env)
        said = done.stdout + done.stderr
        check(done.returncode != 0 and any(word in said for word in words) and len(said.splitlines()) <= 3, f"{text}: refused in a sentence", said)
    cluster[3].start()
    check(cluster.wait_in_sync() is not None, "the real node 3 comes back and is in sync", lambda: json.dumps(cluster[1].replication(), indent=1))
    first_comer(cluster)
    all_equal(cluster, "basics", "after the strangers")


def first_comer(cluster):
    """A stranger with node 1's number comes while that is away. Node 2 is away, too: without a majority the register still names node 1's disk."""
    for number in (1, 2):
        equal(cluster[number].terminate(), 0, f"node {number} is stopped by SIGTERM")
    before = len(cluster[3].log())
    stranger = Member(f"{cluster.name}-first-1", 1, cluster.member_config(1, listen=cluster.own_address(2)))
    stranger.launch()
    try:
        check(wait_until(lambda: "replication: node 1 is there" in cluster[3].log()[before:], 30), "a stranger of node 1's number is let in first",
              lambda: cluster[3].log()[before:])
        cluster[1].start()
        check(cluster.wait_in_sync(2, 30) is not None, "and does not keep out whom the register names", lambda: cluster[3].log()[before:][-3000:])
        check(wait_until(lambda: "is there already" in cluster[3].log()[before:], 30), "it is turned away itself",
              lambda: cluster[3].log()[before:][-3000:])
    finally:
        stranger.kill()
    cluster[2].start()
    check(cluster.wait_in_sync() is not None, "all three are in sync", lambda: cluster[1].replication())


# ---- faults under load, judged by the history ----

def during(cluster, load, text, break_it, mend_it):
    """Breaks something while clients work, mends it, waits until all are in sync again."""
    time.sleep(1)
    before = load.progress()
    for client in load.clients:
        client.longest_gap, client.last_ok = 0.0, time.monotonic()
    break_it()
    began = time.monotonic()
    time.sleep(OPTIONS.seconds)
    went_on = load.progress() - before
    gap = min(max(client.longest_gap, time.monotonic() - client.last_ok) for client in load.clients)
    mend_it()
    took = cluster.wait_in_sync(None, 60)
    check(took is not None, f"{text}: all in sync again", lambda: "\n".join(f"node {node.number}: {node.readyz()} {json.dumps(node.replication())[:1500]}" for node in cluster))
    check(went_on > 0, f"{text}: clients went on meanwhile", lambda: f"{went_on} acknowledged in {time.monotonic() - began:.1f} s")
    note(f"{text}: {went_on} acknowledged meanwhile, the luckiest client waited {gap:.2f} s at most; in sync again after {took if took is not None else -1:.2f} s")


def again(node):
    def start():
        node.launch()
        node.wait_ready()
    return start


def found_damaged(cluster, node):
    """A segment file has lost its bytes when the primary starts again: its volume takes no changes any more."""
    node.kill()
    segments = os.path.join(node.dir, "seg")
    os.truncate(os.path.join(segments, sorted(os.listdir(segments))[0]), 0)
    node.launch()
    check(cluster.wait_primary(other_than=node) is not None, "another node leads")
    wanted = "the disk takes no changes: empty its directory and start this node again, then the others fill it"
    says = wait_until(lambda: node.readyz()[0] == 503 and wanted in node.readyz()[1], 20, 0.05)
    check(says, "/readyz of the damaged one says what to do", lambda: (node.readyz(), node.log()[-2000:]))
    check(wanted in node.cli("replication", "status")[1] and "this node does not lead" in node.log(),
          "and so do sluice replication status and the log", lambda: node.log()[-2000:])


def start_empty(node):
    node.kill()
    shutil.rmtree(node.dir)
    again(node)()


def faults(cluster):
    cluster[1].client().make_bucket(BUCKET)
    with Load(cluster, OPTIONS.seed) as load:
        def one(text, pick, break_node, mend_node):
            with guarded(text):
                node = pick()
                during(cluster, load, text, lambda: break_node(node), lambda: mend_node(node))

        def some_replica():
            return random.Random(OPTIONS.seed).choice(cluster.replicas())

        def heal(_):
            cluster.heal()
        one("kill -9 of a replica", some_replica, lambda node: node.kill(), lambda node: again(node)())
        one("kill -9 of the primary", cluster.wait_primary, lambda node: node.kill(), lambda node: again(node)())
        one("SIGSTOP of the primary", cluster.wait_primary, lambda node: node.signal(signal.SIGSTOP), lambda node: node.signal(signal.SIGCONT))
        one("SIGSTOP of a replica", some_replica, lambda node: node.signal(signal.SIGSTOP), lambda node: node.signal(signal.SIGCONT))
        one("the primary's connections cut", cluster.wait_primary, lambda node: cluster.isolate(node.number), heal)
        one("a replica's connections silent", some_replica, lambda node: cluster.isolate(node.number, "hold"), heal)
        one("two replicas cut from each other", cluster.wait_primary, lambda node: cluster.cut(*[n for n in cluster.numbers if n != node.number]), heal)
        one("the primary's volume found damaged", cluster.wait_primary, lambda node: found_damaged(cluster, node), start_empty)
        with guarded("all at once"):
            time.sleep(1)
            for node in cluster:
                node.kill()
            cluster.launch()
            cluster.wait_ready()
            check(cluster.wait_in_sync() is not None, "kill -9 of all three at once: they come back together", lambda: [node.replication() for node in cluster])
            time.sleep(1)
    load.read_all(cluster)
    judge(load.history, "faults")
    all_equal(cluster, BUCKET, "after the faults")


class Trouble:
    """One thing that is wrong with one node, and what ends it."""

    def __init__(self, cluster, node, source):
        self.cluster, self.node = cluster, node
        self.kind = source.choice(("kill", "kill", "stop", "cut", "hold", "term"))
        self.seconds = source.choice((0.1, 0.5, 1.5, 3.0, 5.0)) * source.uniform(0.7, 1.3)

    def begin(self):
        number = self.node.number
        if not self.node.is_running():
            self.kind = "none"
        elif self.kind == "kill":
            self.node.kill()
        elif self.kind == "term":
            check(self.node.terminate() == 0, f"node {number} ends by SIGTERM, exit code 0", lambda: self.node.log()[-1500:])
        elif self.kind == "stop":
            self.node.signal(signal.SIGSTOP)
        else:
            self.cluster.isolate(number, self.kind)

    def end(self):
        if self.kind in ("kill", "term") and not self.node.is_running():
            self.node.launch()
        elif self.kind == "stop" and self.node.is_running():
            self.node.signal(signal.SIGCONT)
        elif self.kind in ("cut", "hold"):
            self.cluster.proxies.set("pass", self.cluster.pairs_of(self.node.number))


def soak(cluster):
    """One or two troubles at a time, of any nodes; between rounds not even all need be in sync again. In the end all come together."""
    cluster[1].client().make_bucket(BUCKET)
    source = random.Random(OPTIONS.seed)
    with Load(cluster, OPTIONS.seed) as load:
        for number in range(1, OPTIONS.rounds + 1):
            numbers = source.sample(list(cluster.numbers), source.choice((1, 1, 1, 2)))
            troubles = [Trouble(cluster, cluster[one], source) for one in numbers]
            for trouble in troubles:
                trouble.begin()
                time.sleep(source.uniform(0, 0.5))
            time.sleep(max(trouble.seconds for trouble in troubles))
            before = load.progress()
            for trouble in troubles:
                trouble.end()
            time.sleep(source.choice((0.2, 1.0, 4.0)))
            note(f"round {number}: {[(trouble.kind, trouble.node.number) for trouble in troubles]}; {before} acknowledged so far")
        cluster.heal()
        check(cluster.wait_in_sync(None, 90) is not None, f"after {OPTIONS.rounds} rounds all are in sync again", lambda: "\n".join(
            f"node {node.number}: {node.readyz()} {json.dumps(node.replication())[:1500]}" for node in cluster))
    load.read_all(cluster)
    judge(load.history, "soak")
    all_equal(cluster, BUCKET, "after the soak")


def judge(history, name):
    path = history.save(os.path.join(OUT, f"cluster-history-{name}.jsonl"))
    equal(history.surprises[:5], [], f"{name}: no answer that may not be")
    note(f"{name}: {history.count()} acknowledged operations, {history.count('unknown')} of unknown outcome, in {os.path.relpath(path)}")
    check(history.count() > 200, f"{name}: enough happened to judge", history.count())
    wrong = linear.check_file(path)
    check(not wrong, f"{name}: the history is linearizable, key by key: nothing acknowledged was lost or came back", "\n".join(map(str, wrong))[:3000])


# ---- a node that the log cannot fill ----

LOG_RECORDS = 1024


def outgrow_log(cluster, nodes, stem):
    """More changes than the log keeps: overwrites, deletions, a few large bodies; through several connections at once."""
    def work(n):
        client, bad = nodes[n % len(nodes)].client(timeout_s=60), []
        for i in range((LOG_RECORDS + 256) // 8):
            key = f"{stem}/{n}/{i % 40}"
            answer = client.delete("copied", key) if i % 10 == 9 else client.put("copied", key, f"{stem} {n} {i}".encode() * (1 + i % 90))
            bad += [] if answer.status in (200, 204) else [f"{key}: {answer}"]
        for i in range(10):
            body = random.Random(f"{OPTIONS.seed}/{stem}/{n}/{i}").randbytes(MIB + 4097 * i)
            answer = client.put("copied", f"{stem}/{n}/large-{i}", body)
            bad += [] if answer.status == 200 else [f"large {i}: {answer}"]
        client.close()
        return bad
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        bad = sum(pool.map(work, range(8)), [])
    equal(bad[:5], [], f"{stem}: more changes than the log keeps, all of them acknowledged")


def come_back(cluster, node, text):
    took = cluster.wait_in_sync(None, 60)
    check(took is not None, f"{text}: all in sync again", lambda: "\n".join(
        f"node {one.number}: {one.readyz()} {json.dumps(one.replication())[:1500]}\n{one.log()[-2500:]}" for one in cluster))
    check("this node is filled as of record" in node.log(), f"{text}: by a copy", lambda: node.log()[-2500:])
    all_equal(cluster, "copied", text)


def copied():
    """The log keeps 1,024 changes, and node 3 is away for more; then its disk is replaced. It is filled by a copy, whoever is killed meanwhile."""
    with Cluster("copied", config=f"log-records = {LOG_RECORDS}\n") as cluster:
        cluster[1].client().make_bucket("copied")
        code, text = cluster[1].cli("key", "create", "--name", "away", "--owner", "someone", "--json")
        key = json.loads(text) if code == 0 else {}
        creds = (key.get("access_key", ""), key.get("secret_key", ""))
        client = cluster[3].client()
        for size in SIZES:
            client.put("copied", f"before/{size}", random.Random(size).randbytes(size))
        client.request("POST", sigv4.key_path("copied", "upload"), [("uploads", "")])
        check(cluster.wait_in_sync() is not None, "all in sync")
        cluster[3].kill()
        check(cluster.wait_in_sync(2, 30) is not None, "two go on")
        two = [cluster[1], cluster[2]]
        equal(two[0].cli("key", "rm", creds[0])[0], 0, "an access key goes while node 3 is away")
        outgrow_log(cluster, two, "away")
        first = cluster.primary().replication()["log"]["first"]
        check(first > 100, "the log begins behind what node 3 has", first)
        for node in two:                # what they have in memory would do for a while yet
            node.terminate()
        for node in two:
            node.launch()
        check(cluster.wait_in_sync(2, 30) is not None, "the two are restarted")
        cluster[3].launch()
        check(wait_until(lambda: "it is filled by a copy" in cluster[3].log(), 20, 0.005), "it is filled by a copy", lambda: cluster[3].log()[-2000:])
        cluster.isolate(3)              # so that it stays in the middle of it
        check(wait_until(lambda: cluster[3].replication().get("role") == "copying", 5, 0.01), "and says so", lambda: cluster[3].readyz())
        code, text = cluster[3].cli("replication", "status")
        check(code == 0 and ("rows" in text or "data" in text), "sluice replication status tells how far", text)
        status, why = cluster[3].readyz()
        check(status == 503 and "filled by a copy" in why, "/readyz is 503 meanwhile, and says why", (status, why))
        equal(cluster[3].client(timeout_s=20).get("copied", "before/1").status, 503, "it serves nothing meanwhile")
        cluster[3].kill()
        cluster[3].launch()
        check(wait_until(lambda: cluster[3].replication().get("role") == "copying", 20, 0.01), "killed in the middle, it knows that it is half a copy",
              lambda: cluster[3].log()[-2000:])
        primary = cluster.primary()
        cluster.heal()
        wait_until(lambda: "is there" in cluster[3].log()[-300:], 5, 0.005)
        primary.kill()
        primary.launch()
        come_back(cluster, cluster[3], "kill -9 of both in the middle of a copy")
        equal(sigv4.Client(cluster[3].s3, creds).request("GET", "/").status, 403, "the access key is gone at node 3, too")
        lost = [f"lost/{n}" for n in range(12)]         # more than a copy asks for at once
        for n, key in enumerate(lost):
            two[0].client().put("copied", key, random.Random(n).randbytes(MIB))
            for node in two:
                damage(node, "copied", key)
        cluster[3].kill()
        shutil.rmtree(cluster[3].dir)
        cluster[3].launch()

        def left():
            copies = [peer["copy"] for peer in cluster[3].replication().get("nodes", []) if peer["node"] == 3 and peer["copy"]]
            return copies and copies[0]["bytes_in_all"] - copies[0]["bytes"]
        check(wait_until(lambda: left() == len(lost) * MIB, 30, 0.05), "an emptied disk: what no node has whole is waited for when all else has come",
              lambda: f"{left()} bytes\n{cluster[3].log()[-2500:]}")
        # Each node is asked for it before that is known, and what is missing may have come last.
        check(wait_until(lambda: "is given by no node" in cluster[3].log(), 10, 0.05), "and said", lambda: cluster[3].log()[-2500:])
        for key in lost:
            equal(two[0].client().delete("copied", key).status, 204, f"DELETE {key}")
        come_back(cluster, cluster[3], "deleted, nothing is missing")
        equal(cluster[3].client().put("copied", "after", b"x").status, 200, "and it takes changes")


# ---- disks ----

@contextlib.contextmanager
def small_disk(name, mib, on=None):
    """A file system of its own on a loop device; unmounted whatever happens."""
    base = scratch(name)
    image, mount = f"{on or base}/image", f"{base}/disk"
    os.makedirs(mount)
    with open(image, "wb") as file:
        file.truncate(mib * MIB)
    environment = dict(os.environ, PATH="/usr/sbin:/sbin:" + os.environ["PATH"])
    subprocess.run(["mkfs.ext4", "-q", image], check=True, capture_output=True, env=environment)
    subprocess.run(["mount", "-o", "loop", image, mount], check=True, capture_output=True)
    try:
        yield mount
    finally:
        subprocess.run(["umount", "-l", mount], check=False, capture_output=True)


def full_disk():
    """Node 3 has a small disk. It fills; the others go on; nothing wrong is ever read; emptied, it comes back."""
    with small_disk("cluster-full", 300) as mount, \
            Cluster("full", directories={3: f"{mount}/data"}) as cluster:
        cluster[3].keep = True
        client = cluster[1].client(timeout_s=60)
        client.make_bucket("full")
        body, stored, receipts, refused = random.Random(OPTIONS.seed).randbytes(4 * MIB), {}, [], None
        for n in range(90):
            answer = client.put("full", f"fill/{n:03}", body[n:], payload=sigv4.UNSIGNED)
            if answer.status == 200:
                stored[f"fill/{n:03}"] = n
                receipts.append(answer.headers.get("x-sluice-durable", "").partition(" replicas:")[2].partition(" ")[0])
            elif answer.status not in (503, 507):
                check(False, "an answer that is neither 200, 503 nor 507", answer)
            else:
                refused = answer
        note(f"{len(stored)} of 90 objects of 4 MiB; receipts {sorted(set(receipts))}; refused {refused}")
        check("3/3" in receipts and ("2/3" in receipts or refused is not None), "a disk of 300 MiB filled: from then on two copies, or refused", receipts[-5:])
        for node in cluster:
            if node.readyz()[0] == 200:
                reader = node.client(timeout_s=60)
                wrong = [key for key, n in stored.items() if reader.get("full", key).body != body[n:]]
                equal(wrong, [], f"node {node.number}: everything acknowledged is there")
        deleted = [client.delete("full", key).status for key in stored]
        equal(set(deleted), {204}, "deletes work")
        check(cluster.wait_in_sync(None, 90) is not None, "the node whose disk was full is in sync again", lambda: json.dumps(cluster[1].replication(), indent=1))
        answer = client.put("full", "after", body, payload=sigv4.UNSIGNED)
        check(answer.status == 200 and " replicas:3/3 " in answer.headers.get("x-sluice-durable", ""), "and PUTs are on three disks", (answer, answer.headers))
        all_equal(cluster, "full", "after a full disk")


def broken_disk():
    """The disk under node 3 refuses writes (its image lies on a tmpfs that is full): EIO. Then it comes back with an empty one."""
    room = os.path.join(scratch("cluster-broken-room"), "tmpfs")
    os.makedirs(room)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400m", "tmpfs", room], check=True)
    try:
        with small_disk("cluster-broken", 1000, on=room) as mount, Cluster("broken", directories={3: f"{mount}/data"}) as cluster:
            cluster[3].keep = True
            cluster[1].client().make_bucket(BUCKET)
            with Load(cluster, OPTIONS.seed, keys=6, sizes=(60, 5000, 300_000)) as load:
                time.sleep(2)
                with open(f"{room}/filler", "wb") as file:                      # nothing is left for the image to grow into
                    with contextlib.suppress(OSError):
                        while file.write(b"\0" * MIB):
                            file.flush()
                before = load.progress()
                is_out = wait_until(lambda: any(node.replication().get("in_sync") == 2 for node in (cluster[1], cluster[2])), 40, 0.2)
                check(is_out, "a node whose disk refuses writes is taken out", lambda: f"{[node.replication() for node in cluster]}\n{cluster[3].log()[-2000:]}")
                time.sleep(2)
                check(load.progress() > before, "clients went on")
                status, why = cluster[3].readyz()
                check(status != 200, "its /readyz does not say 200", (status, why))
                if cluster[3].is_running():
                    cluster[3].kill()
                subprocess.run(["umount", "-l", mount], check=False)            # an empty disk in its place
                shutil.rmtree(cluster[3].dir, ignore_errors=True)
                cluster[3].launch()
                cluster[3].wait_ready()
                check(cluster.wait_in_sync(None, 90) is not None, "with an empty disk it is filled from the others", lambda: json.dumps(cluster[1].replication(), indent=1))
            load.read_all(cluster)
            judge(load.history, "broken-disk")
            all_equal(cluster, BUCKET, "after a broken disk")
    finally:
        subprocess.run(["umount", "-l", room], check=False)


def damage(node, bucket, key):
    """Flips a bit in the middle of each extent of the object on this node's disk, under its feet."""
    _, text = node.cli("extents", "show", f"{bucket}/{key}", "--json")
    for extent in json.loads(text)["extents"]:
        path = os.path.join(node.dir, "seg", f"{extent['segment']:08x}")
        at = extent["file_offset"] + extent["bytes"] // 2
        fd = os.open(path, os.O_RDWR)
        try:
            byte = os.pread(fd, 1, at)
            os.pwrite(fd, bytes([byte[0] ^ 1]), at)
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(fd)


def corrupt(cluster):
    """A chunk that rotted on one node is brought back from a peer when it is met, and its bytes are never sent."""
    cluster[1].client().make_bucket("corrupt")
    body = random.Random(OPTIONS.seed).randbytes(2 * MIB)
    for key in ("read", "scrubbed"):
        cluster[1].client().put("corrupt", key, body)
    victim = cluster.replicas()[0]
    for key in ("read", "scrubbed"):
        check(victim.client().get("corrupt", key).body == body, "a replica has the object's bytes")
        damage(victim, "corrupt", key)
    answer = victim.client().get("corrupt", "read")
    check(answer.status == 200 and answer.body == body, "a rotten chunk is repaired from a peer while it is read", f"{answer.status} {len(answer.body)} bytes")
    code, text = victim.cli("scrub", "start", "--anew")
    equal(code, 0, "scrub is started on that node")

    def scrubbed():
        told = json.loads(victim.cli("scrub", "status", "--json")[1])
        return told.get("state") == "done" and told
    wait_until(scrubbed, 60, 0.2)
    told = scrubbed() or {}
    check(told.get("repaired_chunks", 0) >= 1 and told["repaired_chunks"] == told["damaged_chunks"], "and repairs what nobody read", told or text)
    equal([node.client().get("corrupt", "scrubbed").body == body for node in cluster], [True] * 3, "the right bytes through every node")


def founded():
    """Five nodes of which two cannot reach each other, as with a slip in one's list of peers: no group before all have heard all."""
    cluster = Cluster("founded", count=5)
    cluster.cut(4, 5)
    cluster.launch()
    try:
        check(wait_until(lambda: "not yet heard by all others: node 4, node 5" in cluster[1].readyz()[1] and
                         "not there: node 5" in cluster[4].readyz()[1], 60, 0.2),
              "while nodes 4 and 5 do not hear each other, nodes 1 and 4 say so", lambda: [node.readyz() for node in cluster])
        check(not wait_until(lambda: any(node.readyz()[0] == 200 for node in cluster), 1, 0.05), "and nobody founds a group meanwhile",
              lambda: [node.readyz() for node in cluster])
        cluster.heal()
        check(cluster.wait_in_sync() is not None, "as soon as they do, five are in sync", lambda: cluster[1].replication())
        cluster[2].kill()
        equal(cluster[1].client().make_bucket("founded").status, 200, "one is killed at once: a bucket is made")
        answer = cluster[1].client().put("founded", "k", b"x")
        equal((answer.status, "replicas:4/5" in answer.headers.get("x-sluice-durable", "")), (200, True), "and an object is stored on four")
        cluster[2].start()
    finally:
        cluster.stop()


def main():
    wanted = OPTIONS.sections or ["founded", "basics", "settings", "strangers", "faults", "corrupt", "copied", "full_disk", "broken_disk"]
    note(f"seed {OPTIONS.seed}; again with: tests/cluster/cluster_suite.py --seed {OPTIONS.seed}")
    os.makedirs(OUT, exist_ok=True)
    with open(os.path.join(OUT, "cluster-seed"), "w", encoding="ascii") as file:
        file.write(f"{OPTIONS.seed}\n")
    together = [name for name in ("basics", "settings", "strangers", "faults", "corrupt", "soak") if name in wanted]
    if together:
        with Cluster("cluster") as cluster:
            for name in together:
                began = time.monotonic()
                with guarded(name):
                    if name != "basics":
                        cluster[1].client().make_bucket("basics")               # whatever was asked for by hand
                    globals()[name](cluster)
                note(f"{name}: {time.monotonic() - began:.0f} s")
    for name in ("founded", "copied", "full_disk", "broken_disk"):
        if name in wanted and name in ("full_disk", "broken_disk") and os.getuid() != 0:
            skip(name, "mounting a small disk needs root")
        elif name in wanted:
            with guarded(name):
                globals()[name]()
    finish()


main()
