#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Model files that change under a daemon that answers, loads or starts.

usage: steady.py MOED [--rounds N]     N rounds of each harm; 13 make 104 answers for each container

A file is cut, overwritten, renamed or deleted. Answers must stay as they were. A load ends with a
model that answers as before, or fails in one line that names a file; so does a start.
"""
import argparse
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import unittest
from pathlib import Path

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "fixture")]
import gguf  # noqa: E402
import safetensors  # noqa: E402
import split  # noqa: E402
import toy  # noqa: E402
from daemon import Daemon  # noqa: E402

READY, FAILED = 2, 4
WIDE = dict(hidden=256, dense_width=512, expert_width=256)
PROMPTS = ["Once upon a time", "The answer is", "क", "12345"]
TOKENS = 60


def make(kind, folder):
    """A toy in this container; what the daemon is told to load."""
    if kind == "safetensors":
        safetensors.write(folder, "v3", shards=2, **WIDE)
        return folder
    folder.mkdir()
    file = toy.make("v3", type="BF16", **WIDE)
    if kind == "gguf":
        gguf.write(folder / "toy.gguf", file.keys, file.tensors)
        return folder / "toy.gguf"
    for i, part in enumerate(split.parts(file, 3, False)):
        gguf.write(split.name(str(folder / "toy"), i, 3), part.keys, part.tensors)
    return split.name(str(folder / "toy"), 0, 3)


class Files:
    """The files of a model, each with a second link so that the same inode can be mended."""

    def __init__(self, folder, kept):
        kept.mkdir()
        self.files = {}
        for path in sorted(folder.iterdir()):
            os.link(path, kept / path.name)
            self.files[path] = (kept / path.name, path.read_bytes(), path.stat().st_mtime_ns)
        self.weights = [p for p in self.files if p.suffix in (".gguf", ".safetensors")]

    def harm(self, how, path, rng, header_too):
        size = path.stat().st_size
        if how == "cut":
            os.truncate(path, rng.choice([0, rng.randrange(size), size - 1]))
        elif how == "overwrite":
            begin = 0 if header_too else rng.randrange(size)
            with open(path, "r+b") as f:
                f.seek(begin)
                f.write(rng.randbytes(size - begin))
        elif how == "rename":
            os.rename(path, str(path) + ".gone")
            if rng.random() < 0.5:
                path.write_bytes(b"something else")
        elif how == "delete":
            os.unlink(path)

    def mend(self):
        for path, (kept, content, changed) in self.files.items():
            if kept.read_bytes() != content:
                with open(kept, "r+b") as f:
                    f.write(content)
                    f.truncate()
            os.utime(kept, ns=(changed, changed))
            Path(str(path) + ".gone").unlink(missing_ok=True)
            if not (path.exists() and path.samefile(kept)):
                path.unlink(missing_ok=True)
                os.link(kept, path)


HARMS = ["cut", "overwrite", "rename", "delete"]


class Steady:
    """The tests of one container."""

    @classmethod
    def setUpClass(cls):
        cls.room = Path(tempfile.mkdtemp(prefix="moed-steady."))
        cls.addClassCleanup(shutil.rmtree, cls.room)
        cls.path = make(cls.kind, cls.room / "model")
        cls.files = Files(cls.room / "model", cls.room / "kept")

    def setUp(self):
        self.rng = random.Random(self.kind + self._testMethodName)
        self.outcomes = {}

    def serve(self):
        daemon = Daemon(MOED, self.path, args=["--threads", "2", "--log-level", "error"])
        self.addCleanup(daemon.__exit__)
        return daemon.start()

    def answer(self, conn, i):
        return conn.generate(text=PROMPTS[i % len(PROMPTS)], max_tokens=TOKENS, ignore_end=True)

    def answers(self, conn):
        out = []
        for i in range(len(PROMPTS)):
            got = self.answer(conn, i).run()
            out.append((got.ids, got.text))
        return out

    def check(self, conn, i, answer=None):
        got = (answer or self.answer(conn, i)).run()
        self.assertEqual((got.ids, got.text), self.golden[i % len(PROMPTS)])

    def rounds(self, files, play):
        """Every harm in turn, files by chance."""
        for i in range(ROUNDS * len(HARMS)):
            how, path = HARMS[i % len(HARMS)], self.rng.choice(files)
            with self.subTest(round=i, harm=how, file=path.name):
                try:
                    play(i, how, path)
                finally:
                    self.files.mend()

    def harm(self, daemon, i, how, path, header_too=False):
        """At one moment of the daemon's life, or while it runs on."""
        pid = daemon.process.pid  # ours until somebody waits for it
        frozen = i // len(HARMS) % 2 == 0
        if frozen:
            os.kill(pid, signal.SIGSTOP)
            while not re.search(rb"\) [TZ] ", Path("/proc/%d/stat" % pid).read_bytes()):
                time.sleep(0.0002)
        self.files.harm(how, path, self.rng, header_too)
        if frozen:
            os.kill(pid, signal.SIGCONT)

    def state(self, conn):
        model = conn.call("List", kind="Models")["models"][0]
        return model["state"] or 0, model["error"]

    def one_line(self, words):
        """A failure's words: one line that names a file."""
        self.assertEqual(words.count("\n"), 0, words)
        self.assertTrue(any(path.name in words for path in self.files.weights), words)

    def note(self, how, outcome):
        key = "%s: %s" % (how, outcome)
        self.outcomes[key] = self.outcomes.get(key, 0) + 1

    def report(self, what):
        print("%s, %s: %s" % (self.kind, what, ", ".join(
            "%d %s" % (n, key) for key, n in sorted(self.outcomes.items()))), file=sys.stderr)

    def end(self, daemon):
        self.assertEqual(daemon.stop(), 0, daemon.words())

    def test_answers(self):
        daemon = self.serve()
        conn = daemon.ready()
        self.golden = self.answers(conn)

        def play(i, how, path):
            answer = self.answer(conn, i)
            self.assertTrue(answer.step())
            self.harm(daemon, i, how, path)
            self.check(conn, i, answer)
            self.check(conn, i + 1)
            self.note(how, "answered as before")

        self.rounds(list(self.files.files), play)
        self.report("while it answers")
        conn.close()
        self.end(daemon)
        self.assertEqual(daemon.words(), "")

    def test_loads(self):
        daemon = self.serve()
        conn = daemon.ready()
        self.golden = self.answers(conn)
        conn.call("Unload", kind="One")
        begin = time.monotonic()
        conn.call("Load", b"\x10\x01", "One")
        takes = time.monotonic() - begin

        def play(i, how, path):
            conn.call("Unload", kind="One")
            conn.call("Load", b"", "One")
            time.sleep(takes * self.rng.random() ** 2)  # after reading comes other work
            self.harm(daemon, i, how, path)
            while (state := self.state(conn))[0] not in (READY, FAILED):
                time.sleep(0.001)
            if state[0] == FAILED:
                self.one_line(state[1])
                self.assertNotIn(how, ("rename", "delete"), state[1])
            else:
                self.check(conn, i)
            self.note(how, "failed" if state[0] == FAILED else "right")

        self.rounds(self.files.weights, play)
        self.report("while it loads")
        conn.close()
        self.end(daemon)

    def test_starts(self):
        daemon = self.serve()
        begin = time.monotonic()
        conn = daemon.ready()
        takes = time.monotonic() - begin
        self.golden = self.answers(conn)
        conn.close()
        self.end(daemon)

        def play(i, how, path):
            daemon = self.serve()
            time.sleep(self.rng.uniform(0, takes))
            # a new model under an old header would be a model like any other
            self.harm(daemon, i, how, path, header_too=True)
            while not os.path.exists(daemon.path) and daemon.process.poll() is None:
                time.sleep(0.001)
            if daemon.process.poll() is not None:
                self.assertEqual(daemon.wait(), 1, daemon.words())
                self.one_line(daemon.words().rstrip("\n"))
                self.note(how, "refused")
                return
            with daemon.connect() as conn:
                while (state := self.state(conn))[0] not in (READY, FAILED):
                    time.sleep(0.001)
                if state[0] == READY:
                    self.check(conn, i)
                else:
                    self.one_line(state[1])
                self.note(how, "failed" if state[0] == FAILED else "right")
            self.end(daemon)

        self.rounds(self.files.weights, play)
        self.report("while it starts")


class Gguf(Steady, unittest.TestCase):
    kind = "gguf"


class SplitGguf(Steady, unittest.TestCase):
    kind = "split"


class Safetensors(Steady, unittest.TestCase):
    kind = "safetensors"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("moed")
    parser.add_argument("--rounds", type=int, default=1)
    args, rest = parser.parse_known_args()
    MOED, ROUNDS = args.moed, args.rounds
    unittest.main(argv=sys.argv[:1] + rest)
