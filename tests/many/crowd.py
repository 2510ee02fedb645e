# SPDX-License-Identifier: MIT
"""Connections of several users from one process, and crowds that nobody listens to."""
import os
import select
import signal
import sys

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "live"))
from ttrpc import RC, REQUEST, Conn, envelope, frame, generate  # noqa: E402

USERS = list(range(60001, 60065))


def open_room(daemon):
    """Lets our group in, which the users below keep."""
    os.chmod(daemon.room, 0o750)


def connect_as(path, uid, **kw):
    """As another user; the kernel tells the daemon who connected. Root alone can."""
    os.seteuid(uid)
    try:
        conn = Conn(path, **kw)
    finally:
        os.seteuid(0)
    conn.call("Ping")  # who says nothing at first is turned out
    return conn


class Crowd:
    """A process that asks for many answers as one user and throws them away, until it is ended."""

    def __init__(self, path, uid, requests, connections=4):
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self.listen([connect_as(path, uid) for _ in range(connections)], requests)
            finally:
                os._exit(1)

    def listen(self, conns, requests):
        for i, request in enumerate(requests):
            conn = conns[i % len(conns)]
            stream = conn.next_stream()
            conn.send(frame(stream, REQUEST, RC, envelope("Generate", generate(**request))))
        while True:
            for sock in select.select([c.sock for c in conns], [], [])[0]:
                if not sock.recv(1 << 20):
                    os._exit(0)

    def end(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


class Score:
    """Counts what held; the last line says it."""

    def __init__(self):
        self.passed = self.failed = 0

    def check(self, holds, words):
        self.passed += bool(holds)
        self.failed += not holds
        print("%s  %s" % ("ok  " if holds else "FAIL", words), flush=True)

    def end(self):
        print("%d passed, %d failed" % (self.passed, self.failed))
        sys.exit(1 if self.failed else 0)


def percentile(values, percent):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * percent / 100))]
