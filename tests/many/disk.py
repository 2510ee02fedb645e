#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A daemon is killed again and again while it writes what it keeps, and its files are spoilt between.

usage: disk.py MOED MODEL [--lives N] [--seed N]

Clients ask from a few beginnings until the kill -9 comes; the cache is small, so that talks are written
while others are answered, and so is the folder. Between two lives bits of some files are flipped, or
they are cut. Each answer must be that of a daemon which keeps nothing. The last line counts what held.
"""
import argparse
import glob
import os
import random
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "live"))
from daemon import Daemon  # noqa: E402
from ttrpc import Closed, Failure  # noqa: E402

PROMPTS, CLIENTS, TOKENS = 40, 3, 6
CONF = "[Engine]\nCacheBytes=6M\nStepRows=64\nMaxSequences=4\n"


class Checks:
    def __init__(self):
        self.passed = self.failed = 0

    def __call__(self, what, holds):
        self.passed, self.failed = self.passed + bool(holds), self.failed + (not holds)
        print("%s: %s" % ("holds" if holds else "FAILED", what), flush=True)


def prompts(rng):
    """Of few beginnings; none begins with another's answer, so the rows of each are a prompt's."""
    begins = [[rng.randrange(300, 2000) for _ in range(160)] for _ in range(4)]
    return [rng.choice(begins)[:rng.randrange(40, 160)] + [rng.randrange(300, 2000)
                                                         for _ in range(rng.randrange(10, 120))]
            for _ in range(PROMPTS)]


def ask(conn, prompt):
    answer = conn.ask(tokens=prompt, max_tokens=TOKENS, temperature=0, ignore_end=True)
    return answer.ids, answer.usage["cached_tokens"] or 0


class Client(threading.Thread):
    def __init__(self, conn, rng, asked, truth):
        super().__init__()
        self.conn, self.rng, self.asked, self.truth = conn, rng, asked, truth
        self.n = self.known = self.wrong = 0

    def run(self):
        try:
            while True:
                i = self.rng.randrange(PROMPTS)
                ids, known = ask(self.conn, self.asked[i])
                self.n += 1
                self.known += known
                self.wrong += ids != self.truth[i]
        except (Closed, OSError):
            pass  # killed
        except Failure as failure:
            print("a failure: %s" % failure)
            self.wrong += 1
        self.conn.close()


def spoil(folder, rng):
    """Some bits, or an end; how many files."""
    files = glob.glob(folder + "/*/*.kv")
    chosen = [path for path in files if rng.random() < 0.2]
    for path in chosen:
        size = os.path.getsize(path)
        if size == 0 or rng.random() < 0.3:
            os.truncate(path, rng.randrange(size + 1))
            continue
        with open(path, "r+b") as file:
            for _ in range(rng.randrange(1, 4)):
                at = rng.randrange(size)
                file.seek(at)
                byte = file.read(1)[0]
                file.seek(at)
                file.write(bytes([byte ^ 1 << rng.randrange(8)]))
    return len(chosen)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("moed")
    parser.add_argument("model")
    parser.add_argument("--lives", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng, check = random.Random(options.seed), Checks()
    asked = prompts(rng)
    daemon = Daemon(options.moed, options.model)
    conf = os.path.join(daemon.room, "moed.conf")
    daemon.args = ["--config", conf]
    with open(conf, "w") as file:
        file.write(CONF + "KeepPercent=0\n")
    with daemon:
        with daemon.ready() as conn:
            truth = [ask(conn, prompt)[0] for prompt in asked]
        daemon.stop()
        folder = os.path.join(daemon.room, "kept")
        with open(conf, "w") as file:
            file.write(CONF + "KeepFolder=%s\nKeepBytes=8M\n" % folder)
        n = known = wrong = spoilt = ended = 0
        first_known = []
        for life in range(options.lives):
            conn = daemon.start().ready()
            first_known.append(sum(ask(conn, prompt)[1] for prompt in asked[:4]))
            conn.close()
            clients = [Client(daemon.connect(), random.Random("%d %d %d" % (options.seed, life, i)),
                              asked, truth) for i in range(CLIENTS)]
            for client in clients:
                client.start()
            time.sleep(rng.uniform(0.1, 1.5))
            ended += daemon.process.poll() is not None
            daemon.kill()
            for client in clients:
                client.join()
                n, known, wrong = n + client.n, known + client.known, wrong + client.wrong
            spoilt += spoil(folder, rng)
            if life % 20 == 19:
                print("%d lives, %d answers, %d tokens known, %d files spoilt" % (
                    life + 1, n, known, spoilt), flush=True)
        with daemon.start().ready() as conn:
            wrong += sum(ask(conn, prompt)[0] != ids for prompt, ids in zip(asked, truth))
        check("%d answers, %d wrong" % (n + PROMPTS, wrong), wrong == 0)
        check("%d lives ended before they were killed" % ended, ended == 0)
        check("%d tokens were known of the life before" % sum(first_known), sum(first_known) > 0)
        check("no file is left half written", not glob.glob(folder + "/*/*.tmp"))
        check("it ends well", daemon.stop() == 0)
    print("%d passed, %d failed" % (check.passed, check.failed))
    return 1 if check.failed else 0


if __name__ == "__main__":
    sys.exit(main())
