"""One check, one line: `ok - text`, `not ok - text`, `skip - text`. tests/run counts the lines.

A suite is a program that prints such lines; a failed check does not end it, so one run shows everything that is
wrong. Whatever else a suite prints is kept in its log and shown when it fails.
"""
import contextlib
import sys
import time
import traceback

passed = failed = skipped = 0


def ok(text):
    global passed
    passed += 1
    print(f"ok - {text}", flush=True)


def not_ok(text, detail=""):
    global failed
    failed += 1
    print(f"not ok - {text}", flush=True)
    for line in str(detail).splitlines()[:40]:
        print(f"    {line}", flush=True)


def skip(text, why):
    global skipped
    skipped += 1
    print(f"skip - {text}: {why}", flush=True)


def check(condition, text, detail=""):
    """Counts one check; `detail` is shown only when it failed."""
    if condition:
        ok(text)
    else:
        not_ok(text, detail() if callable(detail) else detail)
    return bool(condition)


def equal(got, want, text):
    return check(got == want, text, lambda: f"expected {short(want)}\ngot      {short(got)}")


def short(value, limit=400):
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text)} characters)"


@contextlib.contextmanager
def guarded(text):
    """A block whose unexpected exception is one failed check and not the end of the suite."""
    try:
        yield
    except Exception:  # pylint: disable=broad-except
        not_ok(text + " (unexpected exception)", traceback.format_exc(limit=-4))


def note(text):
    print(f"# {text}", flush=True)


def wait_until(condition, timeout_s, step_s=0.05):
    """True as soon as condition() is, False when the time is over."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(step_s)
    return bool(condition())


def finish():
    """The last call of a suite."""
    note(f"{passed} passed, {failed} failed, {skipped} skipped")
    sys.exit(1 if failed else 0)
