#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A daemon that is restarted and killed while clients ask: how soon the first is answered again, and
whether every byte is right. Systemd is played by tests/live/supervisor.py.

usage: restart.py MOED [--model FILE] [--rounds N] [--loops N] [--args "MOED'S OPTIONS"]
  --model FILE   which model (the one that comes along)
  --rounds N     restarts and kills that are timed, each (5)
  --loops N      kills under load, at any moment (100)
  --tokens N     of an answer (40)
The last line counts; exit 1 if anything failed. A loop of the small model takes a third of a second,
a round of one of 10 GB a second.
"""
import argparse
import os
import random
import statistics
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "live"))
from supervisor import Supervisor  # noqa: E402
from ttrpc import Closed, Conn, Failure  # noqa: E402

TINY = os.path.join(HERE, "..", "..", "packaging", "model", "moed-tiny-Q4_K_M.gguf")
PROMPTS = ["Once upon a time", "The little fox", "In the forest there was", "One day a girl"]

passed = failed = 0
TOKENS = 40


def check(what, holds):
    global passed, failed
    if holds:
        passed += 1
    else:
        failed += 1
        print("failed: " + what)


def ask(conn, prompt, tokens=None):
    tokens = tokens or TOKENS
    return conn.ask(text=prompt, max_tokens=tokens, temperature=0, ignore_end=True).ids


def first_answer(daemon):
    """Seconds from the start of the process until somebody has a token of his answer."""
    with Conn(daemon.path) as conn:  # the supervisor's socket: it is always there
        answered = ask(conn, PROMPTS[0], 1)
    assert len(answered) == 1
    return time.monotonic()


def time_again(daemon, end):
    begin = time.monotonic()
    end()
    daemon.start()
    return first_answer(daemon) - begin


def measure(daemon, rounds, expected):
    kinds = {"restart": daemon.stop, "kill -9": daemon.kill}
    for kind, end in kinds.items():
        times = []
        for _ in range(rounds):
            times.append(time_again(daemon, end))
            with daemon.ready() as conn:
                model = conn.call("List", kind="Models")["models"][0]
                check(kind + ": the weights were taken over", model["adopted"])
                check(kind + ": the same bytes", ask(conn, PROMPTS[1]) == expected[PROMPTS[1]])
        print("%s to first answer: median %.3f s, worst %.3f s of %d" %
              (kind, statistics.median(times), max(times), rounds))


class Client(threading.Thread):
    """Asks until the connection breaks, or it is told to stop; what came is how the right answer
    begins, or it is wrong."""

    def __init__(self, path, expected, chosen):
        super().__init__()
        self.path, self.prompt = path, chosen.choice(PROMPTS)
        self.right = expected[self.prompt]
        self.whole = self.cut = self.wrong = 0
        self.stop = False
        self.start()

    def run(self):
        try:
            with Conn(self.path) as conn:
                while not self.stop:
                    self.once(conn)
        except (OSError, Closed, Failure):
            self.cut += 1

    def once(self, conn):
        answer = conn.generate(text=self.prompt, max_tokens=TOKENS, temperature=0, ignore_end=True)
        try:
            while answer.step():
                pass
        finally:
            if answer.ids != self.right[:len(answer.ids)]:
                self.wrong += 1
        if answer.failure:
            raise answer.failure
        self.whole += answer.ids == self.right


def loop(daemon, n, expected):
    chosen = random.Random(n)
    whole = cut = wrong = ready = 0
    names = daemon.names()
    for i in range(n):
        clients = [Client(daemon.path, expected, chosen) for _ in range(4)]
        first_answer(daemon)
        ready += 1
        time.sleep(chosen.uniform(0, 0.15))
        daemon.kill()
        daemon.start()
        for client in clients:
            client.stop = True  # one that nobody had accepted yet asks the next process
        for client in clients:
            client.join(60)
            check("a client ended with the daemon", not client.is_alive())
            whole, cut, wrong = whole + client.whole, cut + client.cut, wrong + client.wrong
        if daemon.names() != names:
            check("the same is kept: %s" % daemon.names(), False)
    print("%d kills, %d times answered again; %d whole answers, %d cut short, %d wrong" %
          (n, ready, whole, cut, wrong))
    check("no wrong byte", wrong == 0)
    check("some were answered whole", whole > 0)
    check("answered again each time", ready == n)


def children():
    with open("/proc/self/task/%d/children" % os.getpid()) as file:
        return file.read().split()


def main():
    global TOKENS
    parse = argparse.ArgumentParser()
    parse.add_argument("moed")
    parse.add_argument("--model", default=TINY)
    parse.add_argument("--rounds", type=int, default=5)
    parse.add_argument("--loops", type=int, default=100)
    parse.add_argument("--tokens", type=int, default=TOKENS)
    parse.add_argument("--args", default="")
    args = parse.parse_args()
    TOKENS = args.tokens
    command = [os.path.abspath(args.moed), "--model", os.path.abspath(args.model)] + args.args.split()
    with Supervisor(command) as daemon:
        daemon.start()
        begin = daemon.started
        print("loading afresh to first answer: %.3f s" % (first_answer(daemon) - begin))
        with daemon.ready(900) as conn:
            expected = {prompt: ask(conn, prompt) for prompt in PROMPTS}
            print(conn.call("Stats", kind="Stats")["models"][0]["memory"])
        measure(daemon, args.rounds, expected)
        files = sorted(os.listdir(daemon.room))
        if args.loops:
            loop(daemon, args.loops, expected)
            check("no file is left over", sorted(os.listdir(daemon.room)) == files)
            daemon.kill()
            check("no process is left over", children() == [])
    print("%d passed, %d failed" % (passed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
