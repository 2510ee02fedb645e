#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Many requests of every kind, and what they leave behind: memory, descriptors, pages.

usage: soak.py MOED MODEL [--requests N] [--clients N] [--seed N] [--folder]

Clients ask, cancel, leave and err in rounds; after each the daemon is left alone for a moment and
measured. Two rounds of ten warm up; fewer than some thousand requests say little. With --folder what
is kept is written to a disk as well. The last line counts what held.
"""
import argparse
import os
import random
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "live"))
from daemon import Daemon  # noqa: E402
from ttrpc import (RC, Answer, Closed, Failure, blob, float32, generate, in_session,  # noqa: E402
                   num)

ROUNDS, WARM = 10, 2
MOST_BYTES, MOST_A_REQUEST = 16 << 20, 1 << 10
CACHE_BYTES = 16 << 20
INVALID, DEADLINE, NOT_FOUND, EXHAUSTED = 3, 4, 5, 8
WORDS = ("fox owl river lantern bell tower snow garden moon bridge kettle thread harbour clock "
         "whistle ladder candle orchard feather mirror").split()


class Client(threading.Thread):
    """One of many; raises nothing, but notes what should not have been."""

    def __init__(self, daemon, seed, share):
        super().__init__()
        self.daemon, self.rng, self.share = daemon, random.Random(seed), share
        self.conn = daemon.connect()
        self.done, self.faults = {}, []

    def story(self, least=3, most=60):
        """Of few beginnings, so that some are known."""
        words = self.rng.choice(["Once upon a time ", "There was a ", "The old "])
        return words + " ".join(self.rng.choice(WORDS) for _ in range(self.rng.randint(least, most)))

    def tokens(self):
        return self.rng.randint(1, 24)

    def fails(self, code, **kw):
        try:
            self.conn.ask(**kw)
        except Failure as failure:
            if failure.code != code:
                raise
            return
        raise AssertionError("no failure, %d expected" % code)

    # ---- kinds of requests
    def raw(self):
        self.conn.ask(text=self.story(), max_tokens=self.tokens(), temperature=0.8)

    def chat(self):
        said = [("system", "You tell tales."), ("user", self.story())]
        answer = self.conn.ask(messages=said, max_tokens=self.tokens(),
                               thinking=self.rng.random() < 0.3)
        if self.rng.random() < 0.5:
            said += [("assistant", answer.text), ("user", "And then?")]
            self.conn.ask(messages=said, max_tokens=self.tokens())

    def logprobs(self):
        both = self.rng.random() < 0.5
        answer = self.conn.ask(text=self.story(), max_tokens=self.tokens(), logprobs=True,
                               top_logprobs=5, extra=num(15, 1) if both else b"")
        assert all(len(t["top"]) == 5 for t in answer.tokens)

    def stops(self):
        stop = [self.rng.choice(["e", ".", " the", "\n", "zzz"]) for _ in range(3)]
        answer = self.conn.ask(text=self.story(), max_tokens=40, stop=stop)
        assert not any(s in answer.text for s in stop)

    def samplers(self):
        extra = self.rng.choice([blob(6, float32(11, 3.0)), blob(6, float32(13, 0.8)),
                                 blob(6, float32(10, 1.5)), blob(6, blob(18, "the"))])
        self.conn.ask(text=self.story(), max_tokens=self.tokens(), temperature=0.8, extra=extra)

    def sessions(self):
        """A conversation and its fork, of which one goes on; both are deleted."""
        name = "s%d" % self.rng.getrandbits(60)
        plain = b"".join(blob(6, blob(9, num(1, token) + float32(2, -100.0)))
                         for token in (4606, 4607))  # no thinking is replayed
        for create in (True, False):
            self.conn.ask(messages=[("user", self.story())], max_tokens=self.tokens(),
                          extra=in_session(name, 0, create) + plain)
        self.conn.call("SessionFork", blob(1, name) + blob(4, name + "f"))
        self.conn.call("SessionRewind", blob(1, name) + blob(3, num(1, 2)))
        self.conn.ask(messages=[("user", self.story())], max_tokens=self.tokens(),
                      extra=in_session(name + "f", 0, False) + plain)
        for one in (name, name + "f"):
            self.conn.call("SessionDelete", blob(1, one))

    def cancel(self):
        answer = self.conn.generate(text=self.story(), max_tokens=500, ignore_end=True)
        for _ in range(self.rng.randint(1, 3)):
            if not answer.step():
                break
        self.conn.call("Cancel", blob(1, answer.id), "Cancel")
        while answer.step():
            pass

    def leave(self):
        """In the middle of an answer, or before it begins."""
        answer = self.conn.generate(text=self.story(), max_tokens=500, ignore_end=True)
        for _ in range(self.rng.randint(0, 2)):
            answer.step()
        self.conn.close()
        self.conn = self.daemon.connect()

    def late(self):
        answer = self.conn.generate(text=self.story(), max_tokens=800, ignore_end=True,
                                    timeout_ms=self.rng.randint(1, 30))
        while answer.step():
            pass
        assert not answer.failure or answer.failure.code == DEADLINE, answer.failure

    def several(self):
        """At once on one connection, one of them given up."""
        answers = [Answer(self.conn, self.conn.open(
            "Generate", generate(text=self.story(), max_tokens=self.tokens()), RC))
            for _ in range(3)]
        for answer in self.rng.sample(answers, len(answers)):
            answer.run()

    def errors(self):
        wrong = self.rng.randrange(5)
        if wrong == 0:
            self.fails(NOT_FOUND, text="x", model="nobody")
        elif wrong == 1:
            self.fails(INVALID, tokens=[1 << 30], max_tokens=1)
        elif wrong == 2:
            self.fails(INVALID, text="word " * 20000, max_tokens=1)
        elif wrong == 3:
            self.fails(INVALID, text="x", max_tokens=1, extra=blob(6, float32(3, 7.0)))
        else:
            self.fails(INVALID, max_tokens=1)

    def text(self):
        ids = self.conn.tokenize(self.story(5, 200))
        assert self.conn.detokenize(ids)["text"]

    def look(self):
        self.conn.stats()
        self.conn.call("List", kind="Models")

    KINDS = {raw: 30, chat: 20, logprobs: 8, stops: 8, samplers: 6, cancel: 7, leave: 3, late: 3,
             several: 3, errors: 6, text: 4, look: 2, sessions: 4}

    def run(self):
        kinds, weights = list(self.KINDS), list(self.KINDS.values())
        for _ in range(self.share):
            kind = self.rng.choices(kinds, weights)[0]
            try:
                kind(self)
                self.done[kind.__name__] = self.done.get(kind.__name__, 0) + 1
            except (Failure, AssertionError, Closed, OSError) as fault:
                self.faults.append("%s: %r" % (kind.__name__, fault))
                self.conn.close()
                self.conn = self.daemon.connect()
        self.conn.close()


def memory(pid):
    """Bytes that are the process's own, in memory or swapped out."""
    total = 0
    with open("/proc/%d/smaps_rollup" % pid) as file:
        for line in file:
            if line.startswith(("Anonymous:", "Swap:")):
                total += int(line.split()[1]) * 1024
    return total


def quiet(daemon, conn):
    """Waits until nothing runs, nor is written; what is left then."""
    end = time.monotonic() + 60
    while True:
        stats = conn.stats()
        model = stats["models"][0]
        pages = model["pages_used"] or 0  # with those that are being written
        busy = (model["sequences"] or 0, model["queued"] or 0,
                stats["counter"]["generations_running"], stats["counter"]["connections"] - 1)
        late = time.monotonic() > end
        if busy == (0, 0, 0, 0) and (late or pages == 0):
            return dict(memory=memory(daemon.process.pid), fds=daemon.n_fds(), pages=pages)
        if late:
            raise AssertionError("sequences, queued, generations, connections left: %r" % (busy,))
        time.sleep(0.05)


class Checks:
    def __init__(self):
        self.passed = self.failed = 0

    def __call__(self, what, holds):
        self.passed, self.failed = self.passed + bool(holds), self.failed + (not holds)
        print("%s: %s" % ("holds" if holds else "FAILED", what), flush=True)


def soak(daemon, options):
    with daemon, daemon.ready() as conn:
        quiet(daemon, conn)
        figures, faults, done = [], [], {}
        for number in range(ROUNDS):
            begin = time.monotonic()
            clients = [Client(daemon, (options.seed, number, i).__repr__(),
                              options.requests // ROUNDS // options.clients + 1)
                       for i in range(options.clients)]
            for client in clients:
                client.start()
            for client in clients:
                client.join()
                faults += client.faults
                for kind, n in client.done.items():
                    done[kind] = done.get(kind, 0) + n
            figures.append(quiet(daemon, conn))
            print("round %d: %.0f s, %.2f MiB, %d descriptors, %d pages in use" % (
                number, time.monotonic() - begin, figures[-1]["memory"] / 2**20,
                figures[-1]["fds"], figures[-1]["pages"]), flush=True)
        for fault in faults[:10]:
            print(fault)
        print(", ".join("%d %s" % (n, kind) for kind, n in sorted(done.items())))
        check = Checks()
        first, last = figures[WARM - 1], figures[-1]
        n = sum(done.values()) * (ROUNDS - WARM) // ROUNDS
        grown = last["memory"] - first["memory"]
        check("%d requests, every one as it should be" % sum(done.values()), not faults)
        check("memory grew by %.1f KiB in %d requests: at most %d KiB a request" % (
            grown / 1024, n, MOST_A_REQUEST >> 10), grown <= n * MOST_A_REQUEST)
        check("and at most %d MiB in all" % (MOST_BYTES >> 20), grown <= MOST_BYTES)
        check("%d descriptors more" % (last["fds"] - first["fds"]), last["fds"] == first["fds"])
        check("%d pages in use" % last["pages"], not any(f["pages"] for f in figures))
        conn.close()
        check("it ends well", daemon.stop() == 0)
    return check


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("moed")
    parser.add_argument("model")
    parser.add_argument("--requests", type=int, default=20000)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", action="store_true")
    options = parser.parse_args()
    daemon = Daemon(options.moed, options.model)
    path = os.path.join(daemon.room, "moed.conf")
    with open(path, "w") as file:
        file.write("[Engine]\nCacheBytes=%d\n" % CACHE_BYTES)
        if options.folder:
            file.write("KeepFolder=%s\nKeepBytes=64M\n" % os.path.join(daemon.room, "kept"))
    daemon.args = ["--config", path, "--log-level", "warning"]
    check = soak(daemon, options)
    print("%d passed, %d failed" % (check.passed, check.failed))
    return 1 if check.failed else 0


if __name__ == "__main__":
    sys.exit(main())
