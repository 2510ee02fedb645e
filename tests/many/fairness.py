#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Who asks alone does not wait behind somebody else's crowd.

usage: fairness.py MOED MODEL [--crowd N] [--rounds N]     as root, which asks as other users

A hundred long requests of one user beside a short one of another: its first token comes within
twice the time that it takes beside a single long one. And while somebody's long prompt is read, of
100 gaps between the tokens of an answer 95 are at most twice as long as without.
"""
import argparse
import os
import random
import statistics
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "live")]
from crowd import USERS, Crowd, Score, connect_as, open_room, percentile  # noqa: E402
from daemon import Daemon  # noqa: E402

ALICE, BOB = USERS[:2]
RNG = random.Random(7)


def prompt(n):
    """Ids that nobody has asked with before."""
    return [RNG.randrange(300, 1000) for _ in range(n)]


def wait_for(conn, sequences, quiet=False):
    """Until so many have begun; `quiet`: and nobody else is left."""
    end = time.monotonic() + 120
    while True:
        stats = conn.stats()["models"][0]
        n = stats["sequences"] or 0
        if n == sequences if quiet else n >= sequences:
            return
        if time.monotonic() > end:
            raise AssertionError("%d sequences, not %d" % (n, sequences))
        time.sleep(0.01)


def first_token(conn):
    """Seconds to the first token of a short request."""
    begin = time.monotonic()
    answer = conn.generate(tokens=prompt(40), max_tokens=4, ignore_end=True)
    while not answer.tokens:
        assert answer.step(), "it ended without a token"
    took = time.monotonic() - begin
    answer.run()
    if args.verbose:
        print("%.1f ms, of which %.1f ms waiting and %.1f ms reading" % (
            took * 1e3, answer.usage["queue_seconds"] * 1e3, answer.usage["prefill_seconds"] * 1e3))
    return took


def waits_beside(daemon, conn, n, rounds):
    """First tokens of Bob beside n long answers of Alice."""
    long = [dict(tokens=prompt(100), max_tokens=context - 100, ignore_end=True) for _ in range(n)]
    crowd = Crowd(daemon.path, ALICE, long)
    try:
        wait_for(conn, min(n, 64))
        time.sleep(0.3)
        return [first_token(conn) for _ in range(rounds)]
    finally:
        crowd.end()
        wait_for(conn, 0, quiet=True)


def gaps(conn, reader, n):
    """Seconds between an answer's events, while `reader` has long prompts read, if there is one."""
    answer = conn.generate(tokens=prompt(20), max_tokens=n, ignore_end=True)
    reading = None
    times = []
    while answer.step():
        if answer.tokens:
            times.append(time.monotonic())
        if reader and len(times) == 20:
            reading = reader.generate(tokens=prompt(context - 8), max_tokens=1, ignore_end=True)
        if len(times) == 21:
            times = times[-1:]
    if reading:
        reading.run()
    return [b - a for a, b in zip(times, times[1:])]


parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("moed")
parser.add_argument("model")
parser.add_argument("--crowd", type=int, default=100)
parser.add_argument("--rounds", type=int, default=20)
parser.add_argument("--threads", type=int, default=1, help="one leaves a core to who asks")
parser.add_argument("--verbose", action="store_true")
args = parser.parse_args()
if os.getuid() != 0:
    print("only root can ask as several users")
    sys.exit(77)

score = Score()
with Daemon(args.moed, args.model, args=["--threads", str(args.threads)]) as daemon:
    daemon.ready().close()
    open_room(daemon)
    bob, alice = connect_as(daemon.path, BOB), connect_as(daemon.path, ALICE)
    context = min(2048, bob.call("List", kind="Models")["models"][0]["context"])

    alone, crowded = [], []
    for _ in range(max(1, args.rounds // 10)):
        alone += waits_beside(daemon, bob, 1, 10)
        crowded += waits_beside(daemon, bob, args.crowd, 10)
    one, all_of_them = statistics.median(alone), statistics.median(crowded)
    score.check(all_of_them <= 2 * one, "first token after %.1f ms beside %d of another user, %.1f ms"
                " beside one" % (all_of_them * 1e3, args.crowd, one * 1e3))

    for whose, reader in (("another user's", alice), ("the same user's", connect_as(daemon.path, BOB))):
        without, beside = [], []
        for _ in range(max(1, args.rounds // 4)):
            without += gaps(bob, None, context // 2)
            beside += gaps(bob, reader, context // 2)
        usual, wide = percentile(without, 95), percentile(beside, 95)
        score.check(wide <= 2 * usual, "95 of 100 gaps at most %.2f ms while %s prompt is read, %.2f"
                    " ms without" % (wide * 1e3, whose, usual * 1e3))
    bob.close()
    alice.close()
    score.check(daemon.stop() == 0, "the daemon ended well")
score.end()
