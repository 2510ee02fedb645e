#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What is cancelled costs nothing more, and nobody else notices.

usage: cancel.py MOED MODEL [--times N] [--idle N]     as root, which asks as other users

N moments by chance in each phase of a request (waiting, reading, writing), ended by Cancel from
another connection, by a disconnect and by a deadline in turns: 99 of 100 times nothing of it is left
within 100 ms, and answers beside it keep their bytes. Connections that are idle cost at most 8 KiB
each; a client that never reads at most 4 MiB, and delays nobody.
"""
import argparse
import os
import random
import re
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "live")]
from crowd import USERS, Crowd, Score, connect_as, open_room, percentile  # noqa: E402
from daemon import Daemon  # noqa: E402
from ttrpc import RC, REQUEST, Failure, blob, envelope, frame, generate  # noqa: E402

RNG = random.Random(11)
SLOTS = 64
KIB = 1024


def prompt(n):
    return [RNG.randrange(300, 1000) for _ in range(n)]


def is_there(generation):
    return any(g["generation_id"] == generation for g in conn.stats()["generations"])


def until(holds, what, seconds=60):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.005)


def n_begun():
    return conn.stats()["models"][0]["sequences"] or 0


def private_bytes():
    """Anonymous memory and what of it is swapped out."""
    with open("/proc/%d/smaps_rollup" % daemon.process.pid) as f:
        found = dict(re.findall(r"(\w+):\s+(\d+) kB", f.read()))
    return (int(found["Anonymous"]) + int(found["Swap"])) * KIB


def long_answer():
    return dict(tokens=prompt(20), max_tokens=context - 20, ignore_end=True)


# ---- ends
def gone(generation, begin):
    """Seconds until nothing of it is left."""
    while is_there(generation):
        assert time.monotonic() - begin < 10, "it is still there after 10 s"
    return max(time.monotonic() - begin, 0)


def end_by_chance(way, connect, request, is_in_phase):
    """Starts one on a connection of its own and ends it; seconds until it is gone, None: too late."""
    own = connect()
    ms = RNG.randrange(1, 60) if way == "deadline" else 0
    begin = time.monotonic() + ms / 1000
    answer = own.generate(timeout_ms=ms, **request)
    while not answer.id or not is_in_phase(answer):
        if not answer.step():
            return None
    if way == "deadline":
        time.sleep(max(0, begin - time.monotonic()))
    else:
        time.sleep(RNG.uniform(0, 0.03))
        begin = time.monotonic()
    if way == "cancel":
        conn.call("Cancel", blob(1, answer.id), "Cancel")
    elif way == "disconnect":
        own.close()
    took = gone(answer.id, begin)
    own.close()
    return took


def check_phase(name, connect, request, is_in_phase, beside):
    took, ways, other = [], ["cancel", "disconnect", "deadline"], daemon.connect()
    answers = 0
    while len(took) < args.times:
        neighbour = other.generate(**beside)
        neighbour.step()
        for i in range(min(12, args.times - len(took))):
            one = end_by_chance(ways[i % 3], connect, request(), is_in_phase)
            took += [one] if one is not None else []
        neighbour.run()
        answers += 1
        if neighbour.ids != golden:
            score.check(False, "%s: an answer beside became another" % name)
            return
    other.close()
    late, usual = percentile(took, 99), percentile(took, 50)
    score.check(late <= args.late, "%s: ended %d times, 99 of 100 gone within %.1f ms, half within "
                "%.1f ms; %d answers beside kept their bytes"
                % (name, len(took), late * 1e3, usual * 1e3, answers))


def check_phases():
    beside = dict(tokens=golden_prompt, max_tokens=len(golden), ignore_end=True)
    check_phase("reading", daemon.connect, lambda: dict(tokens=prompt(context - 8), max_tokens=1),
                lambda a: True, beside)
    check_phase("writing", daemon.connect, long_answer, lambda a: a.tokens, beside)
    until(lambda: n_begun() == 0, "something is left")
    # Those who wait are of the same user as a crowd that has all places; who is beside is another's.
    crowd = Crowd(daemon.path, CROWD, [long_answer() for _ in range(4 * SLOTS)], connections=8)
    until(lambda: n_begun() >= SLOTS, "the crowd does not come in")
    waiting = dict(tokens=prompt(100), max_tokens=20)
    check_phase("waiting", lambda: connect_as(daemon.path, CROWD), lambda: waiting, lambda a: True,
                beside)
    crowd.end()
    until(lambda: n_begun() == 0, "something is left")


# ---- connections
def check_idle():
    conns, before = [], private_bytes()
    for i in range(args.idle):
        conns.append(connect_as(daemon.path, USERS[i // 60]))
        conns[-1].call("Ping")
    each = (private_bytes() - before) / args.idle
    score.check(each <= 8 * KIB, "%d idle connections cost %.1f KiB each" % (args.idle, each / KIB))
    for one in conns:
        one.close()


def check_deaf():
    """A client that asks for as much as it may and never reads, beside one that does."""
    ask = dict(tokens=golden_prompt, max_tokens=len(golden), ignore_end=True)
    many = [dict(tokens=prompt(20), max_tokens=400, ignore_end=True, top_logprobs=20)
            for _ in range(30)]
    crowd = Crowd(daemon.path, USERS[1], many)  # which takes memory that a cache is for
    until(lambda: n_begun() == len(many), "the crowd does not come in")
    until(lambda: n_begun() == 0, "the crowd does not end", seconds=300)
    crowd.end()
    alone = [seconds_of(ask) for _ in range(5)]
    before = private_bytes()
    deaf = connect_as(daemon.path, USERS[1])
    for request in many:
        deaf.send(frame(deaf.next_stream(), REQUEST, RC, envelope("Generate", generate(**request))))
    until(lambda: conn.stats()["counter"]["generations_paused"] >= len(many), "it is not parked")
    beside = [seconds_of(ask) for _ in range(5)]
    cost = (private_bytes() - before) / KIB / KIB
    score.check(cost <= 4, "who never reads has %d generations parked, which cost %.1f MiB"
                % (len(many), cost))
    usual, after = percentile(alone, 50), percentile(beside, 50)
    score.check(after <= 1.5 * usual, "an answer beside them takes %.0f ms, %.0f ms alone"
                % (after * 1e3, usual * 1e3))
    deaf.close()


def seconds_of(ask):
    begin = time.monotonic()
    same = conn.ask(**ask).ids == golden
    if not same:
        score.check(False, "an answer beside became another")
    return time.monotonic() - begin


parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("moed")
parser.add_argument("model")
parser.add_argument("--times", type=int, default=200)
parser.add_argument("--idle", type=int, default=1000)
parser.add_argument("--late", type=float, default=0.1, help="seconds: more where others compute too")
parser.add_argument("--threads", type=int, default=1, help="one leaves a core to who asks")
args = parser.parse_args()
if os.getuid() != 0:
    print("only root can ask as several users")
    sys.exit(77)

CROWD = USERS[2]
score = Score()
with Daemon(args.moed, args.model, args=["--threads", str(args.threads)]) as daemon:
    conn = daemon.ready()
    open_room(daemon)
    context = min(2048, conn.call("List", kind="Models")["models"][0]["context"])
    golden_prompt = prompt(30)
    golden = conn.ask(tokens=golden_prompt, max_tokens=context // 4, ignore_end=True).ids
    check_idle()
    check_deaf()
    check_phases()
    conn.close()
    score.check(daemon.stop() == 0, "the daemon ended well")
score.end()
