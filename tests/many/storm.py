#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Many clients in the same few sessions: they speak, hang up in the middle, fork, rewind, rename,
show, pin, park, resume, delete. Nothing hangs, nothing crashes, and after kill -9 every session is what it was.

usage: storm.py MOED MODEL [--seconds N] [--clients N] [--seed N]
"""
import argparse
import glob
import os
import random
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "live"))
from daemon import Daemon  # noqa: E402
from ttrpc import CODES, Failure, blob, in_session, num  # noqa: E402

NAMES = ("fox", "owl", "mouse", "raven", "toad", "hare")
# What a client that shares a session has to expect.
EXPECTED = {"NOT_FOUND", "ABORTED", "ALREADY_EXISTS", "INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"}


def list_of(conn):
    return {one["id"]: one for one in conn.call("SessionList", kind="Sessions")["sessions"]}


def show(conn, session):
    return conn.call("SessionShow", blob(1, session) + num(4, 1), "Shown")["messages"]


class Client:
    def __init__(self, daemon, seed):
        self.daemon, self.dice = daemon, random.Random(seed)
        self.conn = daemon.connect()
        self.count, self.faults = {}, []

    def speak(self, name):
        says = None if self.dice.random() < 0.2 else [("user", "And then, number %d?"
                                                       % self.dice.randrange(100))]
        answer = self.conn.generate(messages=says, max_tokens=self.dice.randrange(1, 40),
                                    extra=in_session(name, create=self.dice.random() < 0.7))
        if self.dice.random() < 0.3:  # hangs up, in any phase
            for _ in range(self.dice.randrange(4)):
                if not answer.step():
                    break
            self.conn.close()
            self.conn = self.daemon.connect()
            return
        answer.run()
        if answer.finish not in (1, 2):
            self.faults.append("an answer ended by %r" % answer.finish)

    def fork(self, name):
        place = num(1, self.dice.randrange(3)) + num(2, self.dice.choice((0, 0, 0, 2)))
        self.conn.call("SessionFork", blob(1, name) + blob(3, place)
                       + blob(4, self.dice.choice(NAMES)), "Session")

    def rewind(self, name):
        place = num(1, self.dice.randrange(4)) + num(2, self.dice.randrange(12))
        self.conn.call("SessionRewind", blob(1, name) + blob(3, place), "Session")

    def rename(self, name):
        self.conn.call("SessionUpdate", blob(1, name) + blob(3, self.dice.choice(NAMES)), "Session")

    def append(self, name):
        said = blob(2, blob(1, num(1, 1) + blob(2, "By the way.")))
        self.conn.call("SessionAppend", blob(1, name) + blob(3, said), "Session")

    def show(self, name):
        show(self.conn, name)
        list_of(self.conn)

    def move(self, name):
        method, more = self.dice.choice((("Park", b""), ("Park", b""), ("Resume", b""),
                                         ("Pin", b""), ("Pin", num(3, 1))))
        stream = self.conn.open("Session" + method, blob(1, name) + more)
        if self.dice.random() < 0.2:  # what was begun is done all the same
            self.conn.close()
            self.conn = self.daemon.connect()
            return
        self.conn.response(stream)

    def delete(self, name):
        self.conn.call("SessionDelete", blob(1, name))

    def run(self, end):
        deeds = ([self.speak] * 6 + [self.rewind] * 2 + [self.fork, self.rename, self.append]
                 + [self.show] * 2 + [self.move] * 5 + [self.delete])
        while time.monotonic() < end and not self.faults:
            deed = self.dice.choice(deeds)
            try:
                deed(self.dice.choice(NAMES))
                code = "OK"
            except Failure as failure:
                code = CODES[failure.code]
                if code not in EXPECTED:
                    self.faults.append("%s: %s" % (deed.__name__, failure))
            except Exception as fault:  # the daemon is gone, or speaks in tongues
                code = "gone"
                self.faults.append("%s: %r" % (deed.__name__, fault))
            key = (deed.__name__, code)
            self.count[key] = self.count.get(key, 0) + 1
        self.conn.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("moed")
    parser.add_argument("model")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    options = parser.parse_args()
    print("seed %d" % options.seed)
    daemon = Daemon(options.moed, options.model)
    daemon.args = ["--keep-folder", os.path.join(daemon.room, "kept")]
    checks = []
    with daemon:
        daemon.ready(600).close()
        clients = [Client(daemon, options.seed + i) for i in range(options.clients)]
        end = time.monotonic() + options.seconds
        threads = [threading.Thread(target=client.run, args=(end,)) for client in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        counts = {}
        for client in clients:
            for fault in client.faults:
                print(fault)
            for key, n in client.count.items():
                counts[key] = counts.get(key, 0) + n
        for key in sorted(counts):
            print("%-8s %-20s %d" % (*key, counts[key]))
        checks.append(("no client met what it should not", not any(c.faults for c in clients)))
        checks.append(("somebody spoke", counts.get(("speak", "OK"), 0) > 0))
        checks.append(("the daemon lives", daemon.process.poll() is None))
        conn = daemon.connect()
        idle = time.monotonic() + 60
        while any(one["busy"] for one in list_of(conn).values()) and time.monotonic() < idle:
            time.sleep(0.05)
        before = list_of(conn)
        checks.append(("nobody holds a session for ever", not any(
            one["busy"] for one in before.values())))
        names = [one["name"] for one in before.values() if one["name"]]
        checks.append(("names are one session's each", len(names) == len(set(names))))
        said = {session: show(conn, session) for session in before}
        held = sorted(os.path.getsize(path)
                      for path in glob.glob(os.path.join(daemon.room, "kept/*/*.held")))
        checks.append(("on the disk is held what is parked", held == sorted(
            one["disk_bytes"] for one in before.values() if one["disk_bytes"])))
        checks.append(("in memory what is pinned", (conn.stats()["models"][0]["pages_pinned"] > 0)
                       == any(one["memory_bytes"] for one in before.values())))
        for one in before.values():
            one["memory_bytes"] = None  # until it is used
        conn.close()
        daemon.kill()
        daemon.start()
        conn = daemon.ready(600)
        checks.append(("after kill -9 they are listed", list_of(conn) == before))
        checks.append(("and hold what they held", said == {s: show(conn, s) for s in before}))
        conn.close()
        checks.append(("it ends well", daemon.stop() == 0))
    for words, is_well in checks:
        print("%s: %s" % ("ok" if is_well else "FAILED", words))
    failed = sum(not is_well for _, is_well in checks)
    print("%d passed, %d failed" % (len(checks) - failed, failed))
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
