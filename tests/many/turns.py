#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""How long the next turn of a session waits for its first token, beside the first turn: at once, in
a fork, and after kill -9 and a restart.

usage: turns.py MOED MODEL [--tokens N] [--rounds N] [--answer N] [--raw] [--counts] [-- MOED OPTION...]

Of a first turn of N tokens (2000, or what the context takes) the second may take 5 %, and one after
a restart 15 %; none reads anything anew, a fork's neither. --counts leaves the times out, which
mean little on a small model or a busy machine; --raw talks in raw text, as with a model that does
not chat. The last line counts what held.
"""
import argparse
import glob
import os
import random
import statistics
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "live"))
from daemon import Daemon  # noqa: E402
from ttrpc import blob, float32, in_session, num  # noqa: E402

WORDS = ("river stone garden lantern winter copper meadow thunder harbour velvet orchard signal "
         "marble compass feather timber canyon ribbon saddle pepper island market candle").split()


def words(n):
    return " ".join(random.choice(WORDS) for _ in range(n)) + "."


class Talk:
    def __init__(self, daemon, options):
        self.daemon, self.options = daemon, options
        self.conn = daemon.ready(3600)
        model = self.conn.call("List", kind="Models")["models"][0]
        self.raw = options.raw or not model["chat"]
        self.context = model["context"]
        # A model's thinking is not replayed, whatever was kept of it: none is asked for or taken.
        self.extra = b""
        for marker in () if self.raw else ("<think>", "</think>"):
            ids = self.conn.tokenize(marker)
            if len(ids) == 1:
                self.extra += blob(6, blob(9, num(1, ids[0]) + float32(2, -100.0)))

    def say(self, session, text):
        """(seconds to the first token, tokens read, tokens known before, tokens in all)"""
        what = {"text": text} if self.raw else {"messages": [("user", text)]}
        begin = time.monotonic()
        answer = self.conn.generate(max_tokens=self.options.answer,
                                    extra=in_session(session, create=True) + self.extra, **what)
        while not answer.tokens:
            answer.step()
        seconds = time.monotonic() - begin
        answer.run()
        usage = answer.usage
        known = usage["cached_tokens"] or 0
        return (seconds, usage["prompt_tokens"] - known, known,
                usage["prompt_tokens"] + usage["completion_tokens"])

    def fork(self, session, name):
        self.conn.call("SessionFork", blob(1, session) + blob(4, name), "Session")

    def tokens_of(self, n):
        """Words that are about n tokens."""
        per_word = len(self.conn.tokenize(words(200))) / 200
        return words(int(n / per_word))


def wait_until_kept(folder):
    """Until what is on the disk has not grown for two seconds."""
    last, since = None, time.monotonic()
    while last is None or time.monotonic() - since < 2 or not glob.glob(folder + "/*/*.kv"):
        found = sorted((path, os.path.getsize(path)) for path in glob.glob(folder + "/[0-9]*/*")
                       if os.path.exists(path))
        if found != last:
            last, since = found, time.monotonic()
        time.sleep(0.1)


def one_round(daemon, options, number):
    """Of each kind of turn: seconds, and tokens read anew that the session had before."""
    talk = Talk(daemon, options)
    n = min(options.tokens, talk.context - 4 * (options.answer + 40))
    session, found = "talk %d" % number, {}
    seconds, _, _, held = talk.say(session, talk.tokens_of(n))
    found["first"] = (seconds, 0)

    def turn(kind, which):
        nonlocal held
        seconds, _, known, all_of_it = talk.say(which, " And then, what came next?")
        # The last token of an answer was never read before, nor the one before it if that is its end.
        found[kind] = (seconds, max(0, held - 2 - known))
        return all_of_it

    talk.fork(session, session + " fork")
    turn("fork", session + " fork")
    held = turn("second", session)
    wait_until_kept(os.path.join(daemon.room, "kept"))
    talk.conn.close()
    daemon.kill()
    daemon.start()
    talk = Talk(daemon, options)
    turn("restart", session)
    talk.conn.close()
    print("round %d: %d tokens; " % (number, n) + ", ".join(
        "%s %.4f s (%d read anew)" % (kind, *found[kind]) for kind in found), flush=True)
    return found


def main():
    mine, _, theirs = " ".join(sys.argv[1:]).partition(" -- ")
    parser = argparse.ArgumentParser(usage=__doc__.split("\n\n")[1])
    parser.add_argument("moed")
    parser.add_argument("model")
    parser.add_argument("--tokens", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--answer", type=int, default=16)
    parser.add_argument("--raw", action="store_true")
    parser.add_argument("--counts", action="store_true")
    options = parser.parse_args(mine.split())
    rounds = []
    with Daemon(options.moed, options.model) as daemon:
        daemon.args += ["--keep-folder", os.path.join(daemon.room, "kept")] + theirs.split()
        daemon.kill()  # it was born without a folder
        for number in range(options.rounds):
            daemon.start()
            rounds.append(one_round(daemon, options, number))
            daemon.kill()
    passed = failed = 0
    first = statistics.median(r["first"][0] for r in rounds)
    for kind, most in (("second", 0.05), ("fork", 1), ("restart", 0.15)):
        seconds = statistics.median(r[kind][0] for r in rounds)
        anew = max(r[kind][1] for r in rounds)
        ratio = seconds / first
        is_well = anew == 0 and (options.counts or ratio <= most)
        passed, failed = passed + is_well, failed + (not is_well)
        print("%-8s %.4f s, %5.1f %% of the first turn's %.4f s (at most %d %%), %d tokens read anew"
              % (kind, seconds, 100 * ratio, first, 100 * most, anew))
    print("%d passed, %d failed" % (passed, failed))
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
