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
DURABLE_ON_ALL = "local:fdatasync replicas:3/3 path:rdma"


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


def peers_now(member):
    """What a node says of its peers, gathered after this call. It answers from a copy that its loop makes anew ten times a second, and seldomer
    on a busy machine: the next copy may have been begun before this call, the one after it was not."""
    copies = []

    def third():
        told = json.loads(member.admin_get("/v1/peers"))["peers"]
        if not copies or [peer["since_seconds"] for peer in told] != [peer["since_seconds"] for peer in copies[-1]]:
            copies.append(told)
        return len(copies) == 3
    if not wait_until(third, PATIENCE_S):
        raise RuntimeError(f"node {member.number} tells the same of its peers for {PATIENCE_S} s")
    return copies[-1]


def bulk_bytes(peers):
    """Of bodies, sent to and received from all others, as the node counts them."""
    lanes = [peer["lanes"]["bulk"] for peer in peers]
    return sum(lane["sent_bytes"] for lane in lanes), sum(lane["received_bytes"] for lane in lanes)


def connects(peers):
    return [peer["connects"] for peer in peers]


def by_rdma(cluster, nodes):
    for member in cluster:
        told = json.loads(member.admin_get("/v1/peers"))
        backends = {(peer["state"], peer["backend"]) for peer in told["peers"]}
        equal((told["transport"]["rdma"], backends), (True, {("up", "verbs")}), f"node {member.number}: all peers by verbs")
        check(told["transport"]["device"].startswith(nodes[member.number - 1].device), "and by which device", told["transport"]["device"])
        code, text = member.cli("peers")
        check(code == 0 and "verbs" in text, "sluice peers says so", text)


def put_undisturbed(cluster, nodes, body):
    """PUT through a replica while all three are in sync, and stay so: whoever is lost meanwhile gets the body later, in another way. Returns the
    gateway, the receipt, and of before and after what is counted: by the nodes, and by the gateway's device and wire."""
    def counted(gateway):
        node = nodes[gateway.number - 1]
        return {member.number: peers_now(member) for member in cluster}, packets(node), rdma.sent_bytes(node)

    for _ in range(10):
        together(cluster, 3, "all are in sync before the PUT that is counted")
        gateway = cluster.replicas()[0]
        before = counted(gateway)
        answer = gateway.client(timeout_s=60).put("lab", "counted", body)
        after = counted(gateway)
        receipt = answer.headers.get("x-sluice-durable")
        stayed = all(connects(before[0][number]) == connects(after[0][number]) for number in before[0])
        if answer.status == 200 and receipt == DURABLE_ON_ALL and stayed:
            break
        note(f"disturbed: {answer.status}, {receipt}, connections {'kept' if stayed else 'lost'}")
    return gateway, receipt, before, after


def carried(cluster, nodes):
    body = random.Random(99).randbytes(4 << 20)
    gateway, receipt, before, after = put_undisturbed(cluster, nodes, body)
    equal(receipt, DURABLE_ON_ALL, "PUT of 4 MiB")
    for member in cluster:
        (sent, received), (sent_before, received_before) = bulk_bytes(after[0][member.number]), bulk_bytes(before[0][member.number])
        if member is gateway:
            equal(sent - sent_before, 2 * len(body), "the gateway sent the body once to each of the two others")
        else:
            equal(received - received_before, len(body), f"node {member.number} received it once, into its landing slots")
    check(after[1] - before[1] >= 2 * len(body) // 4096, "its RDMA device sent the packets", f"{after[1] - before[1]} packets for {2 * len(body)} bytes")
    check(after[2] - before[2] >= 2 * len(body), "and the wire had the bytes")


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
