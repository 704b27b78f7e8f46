#!/usr/bin/env python3
"""Whether a recorded history is linearizable: whether there is one order of all operations, each somewhere between its request and its
answer, in which every read returns what was written last. Keys are independent, so each is judged by itself.

    tests/cluster/linear.py HISTORY.jsonl...       what is wrong, and exit code 1; `--self-test` judges histories whose verdict is known

A line is {"client", "op": "write" | "read" | "delete", "key", "value", "start", "end", "result": "ok" | "unknown"} (load.py writes them).
An operation of unknown outcome may have happened at any time after it began, or never.

The search is Wing and Gong's (1993), just in time, as Lowe (2017) has it: time is walked through once, with every state that the key may
be in, and an operation is placed no earlier than an answer asks for. A state is the value and which of the operations under way have
happened, so a history's length costs nothing and its concurrency does. Each value is written once, which settles most of what is unknown:
a write of unknown outcome that was read had happened by then, and one that nobody read explains nothing. Deletes of unknown outcome are all
alike: how many have begun, and how many were needed, is all there is to know.
"""
import collections
import itertools
import json
import random
import sys

STATES_MAX = 200_000            # of one key at one time; a history of twenty clients needs some dozens


class Undecided(Exception):
    pass


class NoOrder(Exception):
    """Where the walk ended: the operation whose answer nothing explains, and the values the key might have had."""

    def __init__(self, operation, values):
        super().__init__()
        self.operation, self.values = operation, values


def settle(operations):
    """(operations with the time by which each has happened, starts of the deletes that may never have)"""
    first_read = {}
    for one in operations:
        if one["op"] == "read":
            first_read[one["value"]] = min(one["end"], first_read.get(one["value"], one["end"]))
    spans, loose = [], []
    for one in operations:
        if one["result"] == "ok":
            spans.append((one["start"], one["end"], one))
        elif one["op"] == "delete":
            loose.append(one["start"])
        elif one["op"] == "write" and one["value"] in first_read:
            spans.append((one["start"], max(one["start"], first_read[one["value"]]), one))
    return spans, loose


def timeline(spans, loose):
    """(time, 0: begins or 1: has happened, number of the operation or None: a delete that may happen from now on)"""
    events = [(start, 0, None) for start in loose]
    for number, (start, end, _) in enumerate(spans):
        events += [(start, 0, number), (end, 1, number)]
    return sorted(events, key=lambda event: event[:2])


class Walk:
    """All states a key may be in: {(value, mask of what has happened of the operations under way): deletes of unknown outcome used}"""

    def __init__(self, spans):
        self.operations = [operation for _, _, operation in spans]
        self.states = {(None, 0): 0}
        self.open = {}                      # bit: operation
        self.bit_of = {}
        self.loose = 0

    def begin(self, number):
        if number is None:
            self.loose += 1
            return
        bit = 1
        while bit in self.open:
            bit <<= 1
        self.open[bit], self.bit_of[number] = self.operations[number], bit
        if self.operations[number]["op"] == "read":
            self.states = dict(self.best((self.with_reads(value, mask), used) for (value, mask), used in self.states.items()))

    def end(self, number):
        bit = self.bit_of.pop(number)
        after = self.best(((value, mask & ~bit), used) for (value, mask), used in self.place(bit))
        if not after:
            raise NoOrder(self.operations[number], {value for value, _ in self.states})
        self.states = after
        del self.open[bit]

    @staticmethod
    def best(states):
        found = {}
        for state, used in states:
            if used < found.get(state, used + 1):
                found[state] = used
        return found

    def with_reads(self, value, mask):
        """A read of what is there may as well happen now."""
        for bit, one in self.open.items():
            if one["op"] == "read" and one["value"] == value:
                mask |= bit
        return value, mask

    def place(self, wanted):
        """The states in which `wanted` has happened, and nothing after it that did not have to."""
        seen, waiting = dict(self.states), list(self.states.items())
        while waiting:
            (value, mask), used = waiting.pop()
            if mask & wanted:
                yield (value, mask), used
                continue
            for state, used_then in self.steps(value, mask, used):
                if used_then < seen.get(state, used_then + 1):
                    seen[state] = used_then
                    waiting.append((state, used_then))
            if len(seen) > STATES_MAX:
                raise Undecided

    def steps(self, value, mask, used):
        for bit, one in self.open.items():
            if mask & bit:
                continue
            if one["op"] == "write":
                yield self.with_reads(one["value"], mask | bit), used
            elif one["op"] == "delete":
                yield self.with_reads(None, mask | bit), used
            elif one["value"] is None and value is not None and used < self.loose:
                yield self.with_reads(None, mask), used + 1


def judge(operations):
    """Of one key: raises NoOrder if there is none."""
    spans, loose = settle(operations)
    walk = Walk(spans)
    for _, is_end, number in timeline(spans, loose):
        if is_end:
            walk.end(number)
        else:
            walk.begin(number)


def explain(operations, wrong):
    """What a person needs to see it: the answer that does not fit, and what was going on around it."""
    at = wrong.operation
    near = [one for one in operations if one["start"] <= at["end"] and one is not at and (one["end"] >= at["start"] or one["value"] == at["value"])]
    before = [one for one in operations if one["end"] < at["start"] and one["op"] != "read"][-4:]
    lines = [json.dumps(one) for one in sorted(before + [one for one in near if one not in before], key=lambda one: one["start"])[-12:]]
    return (f"no order explains\n  {json.dumps(at)}\nwhere only {sorted(map(str, wrong.values))} could be there; near it were\n  " + "\n  ".join(lines))


def check(operations):
    """[what is wrong, a key each]"""
    keys, wrong = collections.defaultdict(list), []
    for operation in operations:
        keys[operation["key"]].append(operation)
    for key, of_key in sorted(keys.items()):
        written = collections.Counter(one["value"] for one in of_key if one["op"] == "write")
        twice = [value for value, count in written.items() if count > 1]
        unwritten = sorted({one["value"] for one in of_key if one["op"] == "read" and one["value"] is not None} - set(written))
        if twice or unwritten:
            wrong.append(f"{key}: " + (f"read and never written: {unwritten[:6]}" if unwritten else f"written twice: {twice[:6]}"))
            continue
        try:
            judge(of_key)
        except Undecided:
            wrong.append(f"{key}: not decided: more than {STATES_MAX} states at one time, {len(of_key)} operations")
        except NoOrder as none:
            wrong.append(f"{key}: {explain(of_key, none)}")
    return wrong


def check_file(path):
    with open(path, encoding="utf-8") as file:
        return check([json.loads(line) for line in file if line.strip()])


# ---- histories whose verdict is known ----

def history(text):
    """"w1 0-5, r1 6-7, d 8-9?": write 1 from 0 to 5, read 1, a delete of unknown outcome; r- reads nothing."""
    operations = []
    for word in text.split(", "):
        what, _, when = word.partition(" ")
        start, _, end = when.rstrip("?").partition("-")
        operations.append({"client": 0, "op": {"w": "write", "r": "read", "d": "delete"}[what[0]], "key": "k", "value": what[1:].strip("-") or None,
                           "start": int(start), "end": int(end), "result": "unknown" if when.endswith("?") else "ok"})
    return operations


SELF_TEST = (
    (True, "w1 0-1, r1 2-3, d 4-5, r- 6-7"),
    (True, "w1 0-9, w2 0-9, r2 10-11"),                                   # concurrent: either may be the last
    (True, "w1 0-9, w2 0-9, r1 10-11"),
    (False, "w1 0-9, w2 0-9, r1 10-11, r2 12-13"),                        # but not one after the other
    (False, "w1 0-1, r- 2-3"),                                            # lost
    (False, "w1 0-1, w2 2-3, r1 4-5"),                                    # stale
    (True, "w1 0-1, w2 2-9, r1 3-4, r2 5-6"),                             # seen before it was answered
    (False, "w1 0-1, w2 2-9, r2 3-4, r1 5-6"),                            # and gone again
    (True, "w1 0-1, w2 2-3?, r1 4-5, r2 6-7"),                            # unknown: happened late
    (True, "w1 0-1, w2 2-3?, r1 4-5"),                                    # or never
    (False, "w1 0-1, w2 2-3?, r2 4-5, r1 6-7"),                           # but not back and forth
    (True, "w1 0-1, d 2-3?, r1 4-5, r- 6-7, w3 8-9, r3 10-11"),
    (False, "w1 0-1, d 2-3?, r- 4-5, r1 6-7"),
    (True, "w1 0-1, d 2-9, d 2-3?, r- 3-4, w2 10-11, r- 12-13"),          # the one that was answered, then the other
    (False, "w1 0-1, d 2-9, r- 3-4, w2 10-11, r- 12-13"),
    (True, "w1 0-1, w2 2-9, r2 3-4, d 5-6?, r- 7-8, w3 10-11, r3 12-13"),
    (False, "w1 0-1, d 2-3?, r- 4-5, w2 6-7, r- 8-9"),                    # each delete at most once
    (False, "r1 0-1, w1 2-3"),                                            # read before it was written
    (False, "w1 0-1, r2 2-3"),                                            # written by nobody
)


def any_order(operations):
    """The same verdict, by trying every order: for a few operations."""
    unknown = [one for one in operations if one["result"] == "unknown"]
    for count in range(len(unknown) + 1):
        for happened in itertools.combinations(unknown, count):
            those = [one for one in operations if one["result"] == "ok" or one in happened]
            if any(fits(order) for order in itertools.permutations(those)):
                return True
    return False


def fits(order):
    value, latest_start = None, 0
    for one in order:
        latest_start = max(latest_start, one["start"])
        if one["result"] == "ok" and one["end"] < latest_start:
            return False
        if one["op"] == "read" and one["value"] != value:
            return False
        value = {"read": value, "write": one["value"], "delete": None}[one["op"]]
    return True


def random_history(seed, length):
    """Short, crowded, and as often wrong as right."""
    draw = random.Random(seed)
    operations = []
    for number in range(length):
        op = draw.choice(("write", "read", "read", "delete"))
        start = draw.randrange(20)
        operations.append({"client": 0, "op": op, "key": "k", "value": str(number) if op == "write" else None,
                           "start": start, "end": start + draw.randrange(8), "result": "unknown" if op != "read" and draw.random() < 0.3 else "ok"})
    values = [one["value"] for one in operations if one["op"] == "write"] + [None]
    for one in operations:
        if one["op"] == "read":
            one["value"] = draw.choice(values)
    return operations


def simulated(seed, keys, clients, count, unknown):
    """What clients of a true register are told: each operation happens between its request and its answer; if that is lost, then or
    later or never."""
    draw = random.Random(seed)
    done, effects, free_at = [], [], [draw.randrange(1000) for _ in range(clients)]
    for number in range(count):
        client = min(range(clients), key=free_at.__getitem__)
        start = free_at[client]
        end = start + 1 + int(draw.expovariate(1 / 1000))
        op = draw.choices(("read", "write", "delete"), (45, 45, 10))[0]
        one = {"client": client, "op": op, "key": f"k{draw.randrange(keys)}", "value": f"{client}.{number}" if op == "write" else None,
               "start": start, "end": end, "result": "ok"}
        when = draw.randint(start, end)
        if op != "read" and draw.random() < unknown:
            one["result"] = "unknown"
            when = draw.choice((when, start + int(draw.expovariate(1 / 20000)), None))
        if when is not None:
            effects.append((when, number, one))
        done.append(one)
        free_at[client] = end + draw.randrange(1, 300)
    present = {}
    for _, _, one in sorted(effects, key=lambda effect: effect[:2]):
        if one["op"] == "read":
            one["value"] = present.get(one["key"])
        else:
            present[one["key"]] = one["value"]
    return done


def make_stale(operations, seed):
    """One read is told what was overwritten for certain before it asked."""
    draw = random.Random(seed)
    reads = [one for one in operations if one["op"] == "read" and one["value"] is not None]
    while True:
        read = draw.choice(reads)
        before = sorted((one for one in operations if one["key"] == read["key"] and one["op"] == "write" and one["result"] == "ok" and
                         one["end"] < read["start"]), key=lambda one: one["end"])[-8:]
        overwritten = [one for one in before if any(one["end"] < other["start"] for other in before)]
        if overwritten:
            read["value"] = overwritten[-1]["value"]
            return read["key"]


def self_test():
    bad = [f"wrong verdict on: {text}" for good, text in SELF_TEST if (check(history(text)) == []) != good]
    verdicts = collections.Counter()
    for seed in range(1500):
        operations = random_history(seed, 2 + seed % 4)
        expected = any_order(operations)
        verdicts[expected] += 1
        if (check(operations) == []) != expected:
            bad.append(f"not what trying every order says: {operations}")
    if min(verdicts[True], verdicts[False]) < 300:
        bad.append(f"random histories are too much alike: {verdicts}")
    for seed, (keys, clients, count, unknown) in enumerate(((100, 16, 50_000, 0.02), (8, 12, 10_000, 0.1), (1, 6, 3000, 0.3), (4, 30, 5000, 0.1))):
        operations = simulated(seed, keys, clients, count, unknown)
        bad += [f"a true register's history of {count}: {text}" for text in check(operations)]
        key = make_stale(operations, seed)
        wrong = check(operations)
        if len(wrong) != 1 or not wrong[0].startswith(f"{key}: no order"):
            bad.append(f"one stale read of {key} among {count}: {wrong}")
    for text in bad[:20]:
        print(text)
    return not bad


def main():
    if sys.argv[1:] == ["--self-test"]:
        sys.exit(0 if self_test() else 1)
    wrong = [text for path in sys.argv[1:] for text in check_file(path)]
    print("\n".join(wrong) or "linearizable")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
