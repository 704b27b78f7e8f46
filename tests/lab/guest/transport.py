"""The peer transport and the links over soft-RoCE: the tests that TCP passes too, then what the transport carries against ib_write_bw in the same
guest."""
import json
import os
import re
import subprocess

from checks import check, equal, finish, guarded, not_ok, note, ok
import rdma

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
BUILD = os.path.join(ROOT, os.environ.get("SLUICE_BUILD", "build"))
OUT = os.environ["SLUICE_TEST_OUT"]
CONFORMANCE_S, BENCH_S = 400, 120
CONTRACT_TESTS, CALLS_TESTS, LINKS_TESTS, ROGUE_TESTS = 20 + 1, 2, 17, 3 # none of them skipped; the second number: those that need no device


def conformance(nodes, program, least):
    """Each cmocka test is a check of ours."""
    log = os.path.join(OUT, f"{program}.log")
    environment = dict(os.environ, SLUICE_RDMA_ADDRESSES=" ".join(node.address for node in nodes))
    with open(log, "w", encoding="utf-8") as out:
        code = subprocess.run([os.path.join(BUILD, "tests", program)], env=environment, stdin=subprocess.DEVNULL, stdout=out,
                              stderr=subprocess.STDOUT, timeout=CONFORMANCE_S, check=False).returncode
    with open(log, encoding="utf-8", errors="replace") as text:
        lines = text.read().splitlines()
    passed = [found[1] for line in lines if (found := re.match(r"\[ +OK \] (\w+)", line))]
    for name in passed:
        ok(f"verbs: {name.replace('_', ' ')}")
    for line in lines:
        if found := re.match(r"\[ +FAILED +\] (\w+)", line):
            not_ok(f"verbs: {found[1].replace('_', ' ')}", "\n".join(lines[-40:]))
    check(code == 0, f"{program} over verbs ends well", f"exit code {code}\n" + "\n".join(lines[-40:]))
    check(len(passed) >= least, "and ran whole", f"{len(passed)} tests passed\n" + "\n".join(lines[-20:]))


def bench(nodes, backend):
    done = subprocess.run([os.path.join(BUILD, "tools/sluice"), "--json", "bench", "transport", "--backend", backend, "--from", nodes[0].address,
                           "--to", nodes[1].address, "--seconds", "5"],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=BENCH_S, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stdout + done.stderr)
    return json.loads(done.stdout)


def write_bw(nodes, size, depth, seconds=5):
    """MB/s of the same kind of writes by perftest's program, over the same two devices; 0.0 when it does not say."""
    common = ["-x", str(rdma.GID_INDEX), "-s", str(size), "-t", str(depth), "-D", str(seconds), "-F", "--report_gbits"]
    with subprocess.Popen(["ib_write_bw", "-d", nodes[1].device, *common], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL) as server:
        try:
            for _ in range(20):
                done = subprocess.run(["ib_write_bw", "-d", nodes[0].device, *common, nodes[1].address], stdin=subprocess.DEVNULL,
                                      capture_output=True, text=True, timeout=60, check=False)
                if done.returncode == 0:
                    break
        finally:
            server.kill()
    found = re.search(rf"^ *{size} +\d+ +[\d.]+ +([\d.]+)", done.stdout, re.MULTILINE)
    return float(found[1]) * 1000 / 8 if found else 0.0


def main():
    nodes = rdma.make_nodes(3)
    with guarded("conformance"):
        before = rdma.sent_bytes(nodes[0])
        conformance(nodes, "test_transport_verbs", CONTRACT_TESTS)
        check(rdma.sent_bytes(nodes[0]) - before > 9 << 20, "and its bytes went over the wire")
    with guarded("calls that fail"):
        conformance(nodes, "test_transport_calls", CALLS_TESTS)
    with guarded("links"):
        before = rdma.sent_bytes(nodes[0])
        conformance(nodes, "test_links", LINKS_TESTS)
        conformance(nodes, "test_links_rogue", ROGUE_TESTS)
        check(rdma.sent_bytes(nodes[0]) - before > 40 << 20, "and their bytes went over the wire")
    with guarded("bench"):
        verbs = bench(nodes, "verbs")
        equal(verbs["backend"], "verbs", "sluice bench transport says which backend")
        check(verbs["device"].startswith("rxe1"), "and which device", verbs["device"])
        tcp = bench(nodes, "tcp")
        equal(tcp["backend"], "tcp", "TCP is called TCP")
        for figure, other in zip(verbs["figures"], tcp["figures"]):
            note(f"{figure['name']}: verbs on {verbs['device']} {figure['mb_per_second']:.1f} MB/s, p50 {figure['p50_us']:.0f} us; "
                 f"tcp on {tcp['device']} {other['mb_per_second']:.1f} MB/s, p50 {other['p50_us']:.0f} us")
        for figure in verbs["figures"][1:]:             # told, not judged: on a busy host either may come out at half the other
            peak = write_bw(nodes, figure["size"], figure["in_flight"])
            check(peak > 0, f"ib_write_bw measured {figure['name']} writes beside it")
            note(f"{figure['name']}: ib_write_bw {peak:.1f} MB/s, ratio {figure['mb_per_second'] / peak if peak else 0:.2f}")
    finish()


if __name__ == "__main__":
    main()
