"""Three nodes that replicate by RDMA writes over soft-RoCE: real files through each of them, a node killed and back, the primary killed."""
import hashlib
import json
import os
import random
import time

from checks import check, equal, finish, guarded, note, wait_until
from cluster import Cluster
import lab
import rdma

SIZES = [1, 4096, 16_384, 20_000, 262_145, (1 << 20) + 4096, (3 << 20) + 17]
PATIENCE_S = 120                                        # everything takes its time here


def bodies(prefix):
    return {f"{prefix}/{size}": random.Random(f"{prefix}{size}").randbytes(size) for size in SIZES}


def put(client, key, body):
    """As every S3 client does, with patience for 503: an emulated machine stands still for longer than its nodes may be silent."""
    for _ in range(30):
        answer = client.put("lab", key, body)
        if answer.status != 503:
            break
        time.sleep(1)
    return answer


def stored(node, wanted, replicas):
    client, receipts = node.client(timeout_s=60), set()
    for key, body in wanted.items():
        answer = put(client, key, body)
        equal((answer.status, answer.headers.get("etag")), (200, f'"{hashlib.md5(body).hexdigest()}"'), f"node {node.number}: PUT {key}")
        receipts.add(answer.headers.get("x-sluice-durable", ""))
    client.close()
    # One that was silent for too long is out of the set for a moment, and the receipt says so.
    good = {f"local:fdatasync replicas:{count}/3 path:rdma" for count in range(2, replicas + 1)}
    check(receipts <= good and f"local:fdatasync replicas:{replicas}/3 path:rdma" in receipts,
          f"node {node.number}: acknowledged on {replicas} nodes, by RDMA", receipts)


def fetched(node, wanted, when):
    client = node.client(timeout_s=60)
    wrong = []
    for key, body in wanted.items():
        for _ in range(30):
            answer = client.get("lab", key)
            if answer.status != 503:
                break
            time.sleep(1)
        if answer.status != 200 or answer.body != body:
            wrong.append(key)
    client.close()
    equal(wrong, [], f"node {node.number} gives every byte, {when}")


def together(cluster, count, what):
    took = cluster.wait_in_sync(count, PATIENCE_S)
    told = "" if took is not None else "\n".join(f"node {member.number}: {member.readyz()} {json.dumps(member.replication())[:600]}" for member in cluster)
    check(took is not None, what, told)


def packets(node):
    """What its RDMA device has sent: the device's own counter."""
    with open(f"/sys/class/infiniband/{node.device}/ports/1/hw_counters/sent_pkts", encoding="ascii") as file:
        return int(file.read())


def bulk_bytes(member):
    """Of bodies, sent to and received from all others, as the node counts them."""
    lanes = [peer["lanes"]["bulk"] for peer in json.loads(member.admin_get("/v1/peers"))["peers"]]
    return sum(lane["sent_bytes"] for lane in lanes), sum(lane["received_bytes"] for lane in lanes)


def by_rdma(cluster, nodes):
    for member in cluster:
        told = json.loads(member.admin_get("/v1/peers"))
        backends = {(peer["state"], peer["backend"]) for peer in told["peers"]}
        equal((told["transport"]["rdma"], backends), (True, {("up", "verbs")}), f"node {member.number}: all peers by verbs")
        check(told["transport"]["device"].startswith(nodes[member.number - 1].device), "and by which device", told["transport"]["device"])
        code, text = member.cli("peers")
        check(code == 0 and "verbs" in text, "sluice peers says so", text)


def carried(cluster, nodes):
    before, sent = [packets(node) for node in nodes], [rdma.sent_bytes(node) for node in nodes]
    bulk = {member.number: bulk_bytes(member) for member in cluster}
    body = random.Random(99).randbytes(4 << 20)
    gateway = cluster.replicas()[0]
    equal(put(gateway.client(timeout_s=60), "counted", body).status, 200, "PUT of 4 MiB")
    out = bulk_bytes(gateway)[0] - bulk[gateway.number][0]
    equal(out, 2 * len(body), "the gateway sent the body once to each of the two others")
    for member in cluster:
        if member is not gateway:
            equal(bulk_bytes(member)[1] - bulk[member.number][1], len(body), f"node {member.number} received it once, into its landing slots")
    index = gateway.number - 1
    check(packets(nodes[index]) - before[index] >= 2 * len(body) // 4096, "its RDMA device sent the packets",
          f"{packets(nodes[index]) - before[index]} packets for {2 * len(body)} bytes")
    check(rdma.sent_bytes(nodes[index]) - sent[index] >= 2 * len(body), "and the wire had the bytes")


def main():
    nodes = rdma.make_nodes(3)
    directories = {number: lab.format_and_mount(f"/dev/vd{'abc'[number - 1]}", "ext4", f"/mnt/{number}") + "/data" for number in (1, 2, 3)}
    cluster = Cluster("lab", proxied=False, directories=directories, hosts={node.number: node.address for node in nodes}, backend="verbs")
    with cluster:
        together(cluster, 3, "three nodes found a group over soft-RoCE")
        first = cluster.primary()
        equal(first.client().make_bucket("lab").status, 200, "CreateBucket")
        everything = {}
        with guarded("through each"):
            by_rdma(cluster, nodes)
            for member in cluster:
                mine = bodies(f"through-{member.number}")
                stored(member, mine, 3)
                everything.update(mine)
            for member in cluster:
                fetched(member, everything, "whoever took it")
            carried(cluster, nodes)
        with guarded("kill -9 of a replica"):
            away = cluster.replicas()[0]
            away.kill()
            began = time.monotonic()
            together(cluster, 2, "two go on without the third")
            note(f"after {time.monotonic() - began:.1f} s of this machine's emulated time")
            mine = bodies("meanwhile")
            stored(cluster.primary(), mine, 2)
            everything.update(mine)
            away.launch()
            away.wait_ready(PATIENCE_S)
            together(cluster, 3, "it comes back and is in sync")
            fetched(away, everything, "what it missed, too")
        with guarded("kill -9 of the primary"):
            first = cluster.primary()
            first.kill()
            check(wait_until(lambda: cluster.primary() not in (None, first), PATIENCE_S, 0.2), "another takes over")
            together(cluster, 2, "and the two are in sync")
            for member in cluster:
                if member is not first:
                    fetched(member, everything, "after the take-over")
            first.launch()
            first.wait_ready(PATIENCE_S)
            together(cluster, 3, "the old primary follows")
            fetched(first, everything, "as a replica")
            by_rdma(cluster, nodes)
    finish()


main()
