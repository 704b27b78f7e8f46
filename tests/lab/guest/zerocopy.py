"""Zero-copy sends where there is something to gain: from a node's network card to a client's.

Two e1000e on one hub, the second in a network namespace of its own. The card fetches a packet's bytes from where they lie, so a GET that
reads by Direct I/O into the arena and sends from there is not copied by any CPU of the server's kernel on its way, and the kernel says so.
On loopback it is (skb_copy_ubufs), and it says that, too: both are held against what the kernel did.
"""
import random

from checks import check, equal, finish, guarded, note, wait_until
from node import Node
from probes import Copies, Ubufs, zero_copy_over_loopback
import lab
import netns
import sigv4

MIB = 1 << 20
BUCKET = "cards"
BODY = random.Random(11).randbytes(8 * MIB + 4097)
BESIDE = 16 << 10                                       # heads and the index record, as in copies.py
DIRECT = {"x-sluice-path": "direct"}


class Here:
    def __init__(self, node, clients, copies, ubufs):
        self.node, self.clients, self.copies, self.ubufs = node, clients, copies, ubufs
        self.port = node.s3.rpartition(":")[2]

    def near(self):
        return sigv4.Client(f"127.0.0.1:{self.port}", self.node.creds, timeout_s=120)

    def far(self):
        """A client behind the cards; its connection is there."""
        client = sigv4.Client(f"{netns.HERE}:{self.port}", self.node.creds, timeout_s=120)
        with self.clients.inside():
            client.get(BUCKET, "nothing")
        return client

    def given(self):
        metrics = self.node.metrics()
        return {word: metrics[f'sluice_http_zero_copy_bytes_total{{kernel="{word}"}}'] for word in ("sent", "copied", "silent")}

    def get(self, client, headers, text):
        """A GET of the whole; what the kernel copied for the node, and what of zero-copy sends."""
        before = sum(self.given().values())
        self.copies.clear()
        self.ubufs.clear()
        answer = client.get(BUCKET, "body", headers=headers)
        equal((answer.status, answer.headers.get("x-sluice-path")), (200, "direct"), f"{text}: by the direct path")
        copied = self.copies.of(self.node.pid)          # before metrics are asked for, which are copied, too
        check(answer.body == BODY, f"{text}: the bytes")
        wait_until(lambda: sum(self.given().values()) - before in (0, len(BODY)), 10)
        return answer.headers.get("x-sluice-copies"), sum(copied.values()), self.ubufs.bytes()


def calibrate(ubufs):
    ubufs.clear()
    sent = zero_copy_over_loopback(50000)
    equal(ubufs.bytes(), sent, f"the counter: a zero-copy send of {sent} bytes over loopback, by this very process")


def by_cards(here):
    client = here.far()
    told, copied, ubufs = here.get(client, DIRECT, "the first GET over the cards")
    equal(told, "1", "it promises nothing: nothing is known of this peer")
    check(copied <= BESIDE and ubufs == 0, "but no CPU copied it", f"copied {copied}, of zero-copy sends {ubufs}")
    given = here.given()
    # A send of up to 64 KiB that was appended to the one before it is not told apart before the peer is known.
    check(given["copied"] == 0 and given["sent"] > 0.9 * len(BODY), "and the kernel says so", given)
    first = given["sent"]
    for text, other in (("another GET", client), ("one of another connection", here.far())):
        told, copied, ubufs = here.get(other, DIRECT, text)
        equal(told, "0", f"{text}: the receipt says that nothing is copied")
        check(copied <= BESIDE and ubufs == 0, f"{text}: and no CPU copied its {len(BODY)} bytes", f"copied {copied}, of zero-copy sends {ubufs}")
    answer = client.get(BUCKET, "body", headers=dict(DIRECT, **{"x-sluice-require-path": "zerocopy"}))
    equal((answer.status, answer.headers.get("x-sluice-path"), answer.body == BODY), (200, "direct", True), "direct is a path that copies nothing here")
    given = here.given()
    equal((given["sent"] - first, given["copied"]), (3 * len(BODY), 0), "all of it was sent so")


def on_loopback(here, always):
    told, copied, ubufs = here.get(here.near(), DIRECT, "a GET on loopback")
    equal(told, "1", "loopback: the receipt says one copy")
    total = copied + ubufs
    again = len(BODY) // 4 if always else 0             # a packet that TCP sends again is copied for the receiver again
    check(len(BODY) <= total <= len(BODY) + BESIDE + again, "and the kernel made one", f"{copied} by sends, {ubufs} for the receiver, {len(BODY)} bytes")
    if always:
        check(copied <= BESIDE, "zero-copy = on: not in the send, but for the receiver", f"{copied} and {ubufs}")
        equal(here.given()["copied"], len(BODY), "as the kernel says")
    else:
        equal(ubufs, 0, "zero-copy = auto: it is not even tried there")


def main():
    lab.modprobe("e1000e")
    directory = lab.format_and_mount("/dev/vda", "ext4", "/mnt/ext4")
    with netns.Clients(near="eth0", far="eth1") as clients, Copies() as copies, Ubufs() as ubufs:
        with guarded("calibration"):
            calibrate(ubufs)
        for mode in ("auto", "on"):
            args = ["--s3", "0.0.0.0:0", "--set", "s3.workers=1", "--set", f"get.zero-copy={mode}"]
            with Node(f"lab-zerocopy-{mode}", directory=f"{directory}/{mode}", args=args) as node, guarded(mode):
                here = Here(node, clients, copies, ubufs)
                lab.warm(node.pid)
                equal(here.near().make_bucket(BUCKET).status, 200, f"zero-copy = {mode}: CreateBucket")
                equal(here.near().put(BUCKET, "body", BODY).status, 200, "PUT")
                on_loopback(here, mode == "on")
                if mode == "auto":
                    by_cards(here)
                note(f"zero-copy = {mode}: {here.given()}")
    finish()


main()
