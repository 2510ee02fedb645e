#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Users who share a model learn nothing of each other: not by time, not by text.

usage: isolation.py MOED MODEL [--pairs N] [--minutes N] [--users N] [--seed N]        as root

Time: what another user has just asked takes as long as what nobody has; the same asked by himself is
there to show that the difference would be seen. Once more behind a system prompt that the administrator
lets all share. Text: users talk at the same time, each with a word
of his own; none reads another's, and every answer has the bytes that it has when he is alone on a
daemon with the same history. The last line counts what held.
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
from ttrpc import Conn  # noqa: E402

FIRST_UID = 50001
PROMPT = 400        # tokens of a timed prompt
SHARED = "You are the clerk of a small town, and answer briefly, politely and truthfully. " * 8
TALKS, TURNS = 25, 4  # of a user in an epoch: together less than the cache holds
NEAR = 0.07


class Checks:
    def __init__(self):
        self.passed = self.failed = 0

    def __call__(self, what, holds):
        self.passed, self.failed = self.passed + bool(holds), self.failed + (not holds)
        print("%s: %s" % ("holds" if holds else "FAILED", what), flush=True)


def connect(daemon, uid):
    """As that user: the kernel tells the daemon who connects."""
    os.chmod(daemon.room, 0o755)
    os.chmod(daemon.path, 0o666)
    os.seteuid(uid)
    try:
        conn = Conn(daemon.path)
    finally:
        os.seteuid(0)
    assert conn.hello()["uid"] == uid
    return conn


def above(a, b):
    """How often one of a is above one of b: 0.5 if nothing tells them apart."""
    return sum((x > y) + (x == y) / 2 for x in a for y in b) / len(a) / len(b)


def timed(conn, prompt):
    begin = time.perf_counter()
    answer = conn.ask(tokens=prompt, max_tokens=1)
    return time.perf_counter() - begin, answer.usage["cached_tokens"] or 0


def times(daemon, options, check, shared=None):
    rng = random.Random(options.seed)
    with daemon, daemon.ready():
        alice, bob = connect(daemon, FIRST_UID), connect(daemon, FIRST_UID + 1)
        front = alice.ask(text=shared, max_tokens=1, return_prompt=True).prompt if shared else []
        front = front[:len(front) // 32 * 32]  # the rest of a page each has for himself
        first = rng.sample(range(300, 300 + 2 * options.pairs + 40), 2 * options.pairs + 40)
        asked, fresh, own, known, least = [], [], [], 0, len(front)
        for i in range(options.pairs + 20):  # the first are not counted
            hers, nobodys = (front + [first.pop()] + [rng.randrange(300, 2000) for _ in range(PROMPT - 1)]
                             for _ in range(2))
            timed(alice, hers)
            both = [(asked, hers), (fresh, nobodys)]
            rng.shuffle(both)
            for times_of, prompt in both:
                took, cached = timed(bob, prompt)
                times_of.append(took)
                known += max(cached - len(front), 0)
                least = min(least, cached)
            own.append(timed(bob, hers)[0])
        asked, fresh, own = asked[20:], fresh[20:], own[20:]
        auc, control = above(asked, fresh), above(fresh, own)
        where = " behind what all share" if shared else ""
        check("of what others asked%s %d tokens are known" % (where, known), known == 0)
        if shared:
            check("of the %d tokens that all share %d are" % (len(front), least),
                  least == len(front))
        check("time tells it from what nobody asked with %.3f, 0.5 +- %.2f expected" % (auc, NEAR),
              abs(auc - 0.5) <= NEAR)
        check("and what he asked himself with %.3f, 0.9 at least" % control, control >= 0.9)
        alice.close()
        bob.close()


class User(threading.Thread):
    """Talks, a few turns each; all that was said and answered."""

    def __init__(self, conn, number, seed):
        super().__init__()
        self.conn, self.word = conn, "Kanari%dx%d" % (number, seed)
        self.rng = random.Random("%d %d" % (number, seed))
        self.said, self.texts, self.fault = [], [], None

    def talk(self):
        said = self.conn.tokenize("The secret word is %s. " % self.word * self.rng.randint(1, 3))
        for turn in range(TURNS):
            answer = self.conn.ask(tokens=said, max_tokens=self.rng.randint(4, 24), temperature=0,
                                   ignore_end=True)
            self.said.append((answer.ids, answer.last["receipt"]["cached_rows"]))
            self.texts.append(answer.text)
            said = said + answer.ids + self.conn.tokenize(" %s said: number %d!" % (
                self.word, self.rng.randrange(1000)))

    def run(self):
        try:
            for _ in range(TALKS):
                self.talk()
        except Exception as fault:  # to be told by who waits for the thread
            self.fault = fault
        self.conn.close()


def epoch(make, numbers, seed):
    """One daemon, these users together; what each heard."""
    with make() as daemon, daemon.ready():
        users = [User(connect(daemon, FIRST_UID + i), i, seed) for i in numbers]
        for user in users:
            user.start()
        for user in users:
            user.join()
            if user.fault:
                raise user.fault
        return users


def texts(make, options, check):
    answers = different = foreign = 0
    seed, end = options.seed, time.monotonic() + 60 * options.minutes
    while answers == 0 or time.monotonic() < end:
        together = epoch(make, range(options.users), seed)
        for i, user in enumerate(together):
            alone = epoch(make, [i], seed)[0]
            different += sum(a != b for a, b in zip(user.said, alone.said))
            different += len(user.said) != len(alone.said)
            answers += len(user.said)
            foreign += sum(other.word in text for other in together if other is not user
                           for text in user.texts)
        seed += 1
        print("%d answers, %d are others, %d foreign words" % (answers, different, foreign),
              flush=True)
    check("%d answers beside others, %d others than alone" % (answers, different), not different)
    check("%d of them hold somebody else's word" % foreign, not foreign)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("moed")
    parser.add_argument("model")
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--users", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("isolation.py: only root can be several users")
    check = Checks()

    def make():
        return Daemon(options.moed, options.model, args=["--log-level", "warning"])

    def make_shared():
        daemon = make()
        prompt, config = (os.path.join(daemon.room, name) for name in ("prompt", "moed.conf"))
        for path, words in ((prompt, SHARED), (config, "[Engine]\nSharedPrompt=%s\n" % prompt)):
            with open(path, "w") as file:
                file.write(words)
        daemon.args += ["--config", config]
        return daemon

    times(make(), options, check)
    times(make_shared(), options, check, SHARED)
    texts(make, options, check)
    print("%d passed, %d failed" % (check.passed, check.failed))
    return 1 if check.failed else 0


if __name__ == "__main__":
    sys.exit(main())
