"""Three nodes with soft-RoCE in one guest.

    nodes = rdma.make_nodes(3)      # [Node(number=1, address="10.0.0.1", interface="n1", device="rxe1"), ...]

Debian's rxe knows the first network namespace only, so all nodes live there, each with a veth of its own whose other end hangs on a bridge in
the namespace `sw`. Policy routing sends what one node says to another over the veths and the bridge instead of through loopback:

    n1 (10.0.0.1, rxe1) --- p1 |          |
    n2 (10.0.0.2, rxe2) --- p2 | br0 (sw) |         so every process binds its node's source address, for TCP and for RDMA
    n3 (10.0.0.3, rxe3) --- p3 |          |

What comes in by a veth waits in the backlog of the CPU that sent it. A sender that moved to another CPU overtakes what it had sent: soft-RoCE sees
a gap, and sends a tenth of all writes again. No cable does this, so each node's packets are taken in by one CPU (RPS).

`partition(node)` takes a node's cable out, for TCP and RDMA alike; `tc qdisc add dev n1 root netem ...` delays and loses.
What rxe cannot show: no speed but ratios, no send-queue overflow, no LAST_WQE_REACHED; retry_count 7 means for ever there.
"""
import collections
import os
import subprocess
import time

import lab

# With jumbo frames the RDMA MTU is 4096: four times faster than 1024, which is what fits into 1500.
MTU = 9000
GID_INDEX = 1                                           # the IPv4 one
Node = collections.namedtuple("Node", "number address interface device")


def make_nodes(count=3):
    # crc32_generic: rxe asks for it by name, and modules.dep does not say so
    lab.modprobe("veth", "bridge", "sch_netem", "crc32_generic", "ib_uverbs", "rdma_ucm", "rdma_rxe")
    nodes = [Node(number, f"10.0.0.{number}", f"n{number}", f"rxe{number}") for number in range(1, count + 1)]
    for name, value in {"accept_local": 1, "rp_filter": 0, "arp_ignore": 1, "arp_announce": 2}.items():
        for scope in ("all", "default"):
            sysctl(f"net/ipv4/conf/{scope}/{name}", value)
    sysctl("net/ipv6/conf/all/disable_ipv6", 1)
    sysctl("net/ipv6/conf/default/disable_ipv6", 1)
    lab.run("ip", "netns", "add", "sw")
    batch(["link add br0 type bridge", f"link set br0 mtu {MTU} up"], "-n", "sw")
    batch([line for node in nodes for line in veth(node)])
    batch([f"link set p{node.number} master br0 up" for node in nodes], "-n", "sw")
    for node in nodes:
        keep_order(node)
    batch([line for node in nodes for line in routes(node)] + ["rule add pref 100 lookup local", "rule del pref 0"])
    batch(neighbours(nodes))
    for node in nodes:
        lab.run("rdma", "link", "add", node.device, "type", "rxe", "netdev", node.interface)
    for name in os.listdir("/dev/infiniband"):          # no udev: what it would have set
        os.chmod(f"/dev/infiniband/{name}", 0o666)
    return nodes


def veth(node):
    return [f"link add {node.interface} mtu {MTU} type veth peer name p{node.number} netns sw mtu {MTU}",
            f"addr add {node.address}/24 dev {node.interface}", f"link set {node.interface} up"]


def keep_order(node):
    """Both ends of its veth: what it sends, and what it is sent."""
    mask = f"{1 << (node.number - 1) % os.cpu_count():x}"
    for interface, inside in ((node.interface, ()), (f"p{node.number}", ("ip", "netns", "exec", "sw"))):
        lab.run(*inside, "sh", "-c", f"echo {mask} >/sys/class/net/{interface}/queues/rx-0/rps_cpus")


def routes(node):
    table = 100 + node.number
    return [f"rule add pref 10 iif {node.interface} lookup local",                  # what comes in stays here
            f"route add 10.0.0.0/24 dev {node.interface} src {node.address} table {table}",
            f"route add local {node.address} dev {node.interface} table {table}",
            f"rule add pref 20 from {node.address} lookup {table}"]                 # what this node says goes out by its veth


def neighbours(nodes):
    """Known beforehand: on a cold ARP entry rdma_resolve_addr sleeps its whole timeout, some seconds."""
    return [f"neigh replace {other.address} lladdr {read(f'/sys/class/net/{other.interface}/address')} dev {node.interface} nud permanent"
            for node in nodes for other in nodes if node != other]


def partition(node, on=True):
    lab.run("ip", "-n", "sw", "link", "set", f"p{node.number}", "down" if on else "up")


def sent_bytes(node):
    """What left by the node's veth: that bytes went over the wire and not through loopback."""
    return int(read(f"/sys/class/net/{node.interface}/statistics/tx_bytes"))


def out_of_order(node):
    """Requests this node's device has seen that were not the next one: packets were lost or have overtaken others."""
    return int(read(f"/sys/class/infiniband/{node.device}/ports/1/hw_counters/out_of_seq_request"))


def served(server, client, timeout_s=60):
    """Runs a server and, until it listens, tries the client; returns both exit codes and what the client said."""
    with subprocess.Popen(server, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + timeout_s
            while True:
                time.sleep(0.5)
                done = subprocess.run(client, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s, check=False)
                if done.returncode == 0 or time.monotonic() > deadline or process.poll() is not None:
                    break
            return process.wait(timeout_s) if done.returncode == 0 else None, done.returncode, done.stdout + done.stderr
        finally:
            process.kill()


def batch(lines, *options):
    done = subprocess.run(["ip", *options, "-batch", "-"], input="\n".join(lines) + "\n", capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"ip -batch: {done.stderr.strip()}\n" + "\n".join(lines))


def sysctl(name, value):
    with open(f"/proc/sys/{name}", "w", encoding="ascii") as file:
        file.write(str(value))


def read(path):
    with open(path, encoding="ascii") as file:
        return file.read().strip()
