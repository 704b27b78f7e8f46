"""Soft-RoCE between three nodes of one guest: connections, one-sided writes, a partition. The ground for replication's tests."""
import subprocess

from checks import check, equal, finish, guarded, wait_until
import rdma

WRITES, WRITE_BYTES = 16, 1 << 20
CUT_OFF_S = 5                                           # a connection takes a fraction of a second


def rping(one, other, count=5):
    return rdma.served(["rping", "-s", "-a", other.address, "-C", str(count)],
                       ["rping", "-c", "-a", other.address, "-I", one.address, "-C", str(count), "-v"])


def write_bw(one, other):
    common = ["-x", str(rdma.GID_INDEX), "-s", str(WRITE_BYTES), "-n", str(WRITES), "-F"]
    return rdma.served(["ib_write_bw", "-d", other.device, *common], ["ib_write_bw", "-d", one.device, *common, other.address])


def reaches(one, other):
    client = ["rping", "-c", "-a", other.address, "-I", one.address, "-C", "1"]
    try:
        return subprocess.run(client, stdin=subprocess.DEVNULL, capture_output=True, timeout=CUT_OFF_S, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def main():
    nodes = rdma.make_nodes(3)
    one, two, three = nodes
    equal(len(nodes), 3, "three soft-RoCE devices")
    with guarded("rping"):
        _, code, text = rping(one, two)
        check(code == 0, "rping from 1 to 2: RDMA reads and writes, checked", text)
    with guarded("ib_write_bw"):
        before = rdma.sent_bytes(one)
        _, code, text = write_bw(one, three)
        check(code == 0, "ib_write_bw from 1 to 3: one-sided writes", text)
        sent = rdma.sent_bytes(one) - before
        check(sent >= WRITES * WRITE_BYTES, "and they went over the wire", f"{sent} bytes left node 1")
        print("\n".join(f"# {line}" for line in text.splitlines() if line.strip()[:1].isdigit() or "BW" in line))
    with guarded("partition"):
        with subprocess.Popen(["rping", "-s", "-P", "-a", two.address], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL) as server:
            check(wait_until(lambda: reaches(one, two), 30, 0.5), "a server at node 2 is reached")
            rdma.partition(two)
            check(not reaches(one, two), "without its cable it is not")
            rdma.partition(two, on=False)
            check(wait_until(lambda: reaches(one, two), 30, 0.5), "and with it again it is")
            server.kill()
    finish()


main()
