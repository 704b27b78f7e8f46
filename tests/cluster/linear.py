#!/usr/bin/env python3
"""Whether a recorded history is linearizable: whether there is one order of all operations, each somewhere between its request and its
answer, in which every read returns what was written last. Keys are independent, so each is judged by itself.

    tests/cluster/linear.py HISTORY.jsonl...       what is wrong, and exit code 1; `--self-test` judges histories whose verdict is known

A line is {"client", "op": "write" | "read" | "delete", "key", "value", "start", "end", "result": "ok" | "unknown"} (load.py writes them).
An operation of unknown outcome may have happened at any time after it began, or never.

The search is Wing and Gong's (1993) with the memory of Lowe (2017): operations that overlap are tried in every order, but no set of
operations that led to one value is tried twice.
"""
import collections
import json
import sys

FOREVER = float("inf")
STEPS_MAX = 5_000_000           # of one key; a good history of thousands of operations needs some ten thousands


class Undecided(Exception):
    pass


class Node:
    """A request or an answer in the order of time; a doubly linked list of them is what is still to be placed."""
    __slots__ = ("operation", "match", "previous", "next")

    def __init__(self, operation):
        self.operation, self.match, self.previous, self.next = operation, None, None, None


def timeline(operations):
    """The list's head; answers that never came stand at the end."""
    events = []
    for index, operation in enumerate(operations):
        call, answer = Node((index, operation)), Node(None)
        call.match = answer
        events.append((operation["start"], 0, call))
        events.append((operation["end"] if operation["result"] == "ok" else FOREVER, 1, answer))
    head = last = Node(None)
    for _, _, node in sorted(events, key=lambda event: event[:2]):
        last.next, node.previous = node, last
        last = node
    return head


def take_out(call):
    for node in (call, call.match):
        node.previous.next = node.next
        if node.next is not None:
            node.next.previous = node.previous


def put_back(call):
    for node in (call.match, call):
        node.previous.next = node
        if node.next is not None:
            node.next.previous = node


def apply(value, operation):
    """(whether the operation may come now, the value afterwards)"""
    if operation["op"] == "read":
        return operation["value"] == value, value
    return True, operation["value"] if operation["op"] == "write" else None


def relevant(operations):
    """Without writes of unknown outcome that nobody read: that they never happened explains as much as that they did."""
    seen = {operation["value"] for operation in operations if operation["op"] == "read"}
    return [operation for operation in operations if operation["result"] == "ok" or operation["op"] == "delete" or operation["value"] in seen]


def linearize(operations):
    """None if there is an order; else the longest run of operations that could be placed, and where it ended."""
    head, value, placed, placed_mask, tried, steps = timeline(operations), None, [], 0, set(), 0
    must = sum(1 << index for index, operation in enumerate(operations) if operation["result"] == "ok")
    longest, node = [], head.next
    while placed_mask & must != must:
        steps += 1
        if steps > STEPS_MAX:
            raise Undecided
        if node is not None and node.operation is not None:
            index, operation = node.operation
            fits, after = apply(value, operation)
            state = (placed_mask | 1 << index, after)
            if fits and state not in tried:
                tried.add(state)
                placed.append((node, value))
                take_out(node)
                placed_mask, value = state
                node = head.next
            else:
                node = node.next
            continue
        # An answer: whoever it belongs to had to be placed before. Take the last one back and try its successors.
        if len(placed) > len(longest):
            longest = [call.operation[1] for call, _ in placed]
        if not placed:
            return longest
        node, value = placed.pop()
        placed_mask ^= 1 << node.operation[0]
        put_back(node)
        node = node.next
    return None


def check(operations):
    """[what is wrong, a key each]"""
    keys, wrong = collections.defaultdict(list), []
    for operation in operations:
        keys[operation["key"]].append(operation)
    for key, of_key in sorted(keys.items()):
        of_key = sorted(relevant(of_key), key=lambda operation: operation["start"])
        try:
            longest = linearize(of_key)
        except Undecided:
            wrong.append(f"{key}: not decided within {STEPS_MAX} steps, {len(of_key)} operations")
            continue
        if longest is not None:
            placed = {id(operation) for operation in longest}
            left = [operation for operation in of_key if id(operation) not in placed and operation["result"] == "ok"][:6]
            wrong.append(f"{key}: no order explains what was read. After\n  " + "\n  ".join(map(json.dumps, longest[-6:])) +
                         "\nthese find no place:\n  " + "\n  ".join(map(json.dumps, left)))
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
    (False, "r1 0-1, w1 2-3"),                                            # read before it was written
    (False, "w1 0-1, r2 2-3"),                                            # written by nobody
)


def self_test():
    bad = [text for good, text in SELF_TEST if (check(history(text)) == []) != good]
    for text in bad:
        print(f"wrong verdict on: {text}")
    return not bad


def main():
    if sys.argv[1:] == ["--self-test"]:
        sys.exit(0 if self_test() else 1)
    wrong = [text for path in sys.argv[1:] for text in check_file(path)]
    print("\n".join(wrong) or "linearizable")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
