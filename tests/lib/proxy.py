#!/usr/bin/env python3
"""TCP connections between nodes that a test can cut, hold and let pass again: a program of its own, so that the bytes it moves do not wait
for the test's own threads.

    proxy.py TARGET...            prints the port of each line; then reads commands from standard input, one a line:
        cut N     breaks its connections, refuses new ones         hold N    keeps them and moves nothing: a network that went silent
        pass N    as at first                                      quit
"""
import socket
import sys
import threading

CHUNK = 256 << 10


class Line:
    def __init__(self, target):
        host, _, port = target.rpartition(":")
        self.target, self.lock, self.mode = (host, int(port)), threading.Condition(), "pass"
        self.sockets = set()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            near, _ = self.listener.accept()
            with self.lock:
                refused = self.mode == "cut"
            try:
                far = None if refused else socket.create_connection(self.target, timeout=5)
            except OSError:
                far = None
            if far is None:
                near.close()
                continue
            far.settimeout(None)
            for end in (near, far):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.lock:
                self.sockets |= {near, far}
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self.move, args=(source, sink), daemon=True).start()

    def move(self, source, sink):
        buffer = bytearray(CHUNK)
        view = memoryview(buffer)
        try:
            while True:
                count = source.recv_into(buffer)
                with self.lock:
                    while self.mode == "hold":
                        self.lock.wait()
                if count == 0:
                    break
                sink.sendall(view[:count])
        except OSError:
            pass
        self.end(source, sink)

    def end(self, *ends):
        for one in ends:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            with self.lock:
                self.sockets.discard(one)
            one.close()

    def set(self, mode):
        with self.lock:
            self.mode = mode
            broken = list(self.sockets) if mode == "cut" else []
            self.lock.notify_all()
        for one in broken:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def main():
    lines = [Line(target) for target in sys.argv[1:]]
    print(*[line.port for line in lines], flush=True)
    for command in sys.stdin:
        words = command.split()
        if words[0] == "quit":
            break
        lines[int(words[1])].set(words[0])
        print("done", flush=True)


main()
