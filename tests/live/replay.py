#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Answers of a busy daemon, computed again by others that know nothing of them.

usage: replay.py MOECTL MOED MODEL [unittest arguments]
"""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from daemon import Daemon  # noqa: E402

MOECTL, MOED, MODEL = (os.path.abspath(arg) for arg in sys.argv[1:4])
del sys.argv[1:4]
WAIT = 120  # seconds
TALK = b"""Tell me a story about a fox who counted all the bells of the town.
And what did the owl of the third tower say to that?
Then they went home, did they not?
"""


def moectl(daemon, *args, stdin=b""):
    done = subprocess.run([MOECTL, "-S", daemon.path, *args], input=stdin, capture_output=True,
                          timeout=WAIT)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


class Replay(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        """A chat, an answer, and a talk in tokens, while others load the daemon."""
        cls.room = tempfile.mkdtemp(prefix="moed-replay.")
        cls.addClassCleanup(shutil.rmtree, cls.room)
        cls.chat, cls.ask, cls.raw, cls.turns, cls.several, cls.best, cls.held, cls.spoken = (
            os.path.join(cls.room, name) for name in ("chat", "ask", "raw", "turns", "several", "best", "held",
                                                "spoken"))
        with Daemon(MOED, MODEL, args=["--threads", "2"]) as daemon:
            daemon.ready().close()
            others = subprocess.Popen(
                [MOECTL, "-S", daemon.path, "bench", "-c", "3", "--duration", "600", "--shared",
                 "0.5", "--prompt", "10-100", "--answer", "5-50"], stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
            sampled = ("--temperature", "0.9", "--tokens", "30", "--ignore-end")
            ran = [moectl(daemon, "chat", "--save", cls.chat, *sampled, stdin=TALK),
                   moectl(daemon, "ask", "--save", cls.ask, "--temperature", "0", "-n", "20", "Why?"),
                   moectl(daemon, "--json", "generate", "--save", cls.raw, "--raw", "Once upon",
                          "--logit-bias", "77:-100", "--dry", "0.8", "--ban", "fox", *sampled)]
            ran += [moectl(daemon, "ask", "--save", cls.several, "--n", "3", *sampled, "Why?"),
                    moectl(daemon, "--json", "generate", "--save", cls.best, "--raw", "Once upon",
                           "--n", "2", "--best-of", "4", "--seed", "11", *sampled)]
            ran += [moectl(daemon, "session", "create", "fox", "--temperature", "0.9", "-n", "30"),
                    moectl(daemon, "chat", "--session", "fox", "--save", cls.held, stdin=TALK),
                    moectl(daemon, "--json", "generate", "--session", "bell", "--raw", "A bell",
                           "-n", "9", "--ignore-end"),
                    moectl(daemon, "--json", "generate", "--session", "bell", "--raw", " rang", "-n",
                           "9", "--ignore-end", "--save", cls.spoken)]
            said = []
            for _ in range(3):
                ids = ["--tokens-in", ",".join(map(str, said))] if said else ["--raw", "A bell"]
                ran.append(moectl(daemon, "--json", "generate", "--save", cls.turns, *ids, *sampled))
                told = json.loads(ran[-1][1])
                said = told["prompt_tokens"] + [t["id"] for t in told["tokens"]] + [300, 301, 302]
            others.send_signal(signal.SIGINT)
            told = others.communicate(timeout=WAIT)[0].decode()
            assert others.returncode == 130 and " 0 failed" in told, told
            assert all(rc == 0 for rc, _, _ in ran), ran

    def records(self, path):
        with open(path) as file:
            return [json.loads(line) for line in file]

    def changed(self, path, change):
        """The file with something else in it."""
        records = self.records(path)
        for record in records:
            change(record)
        with open(os.path.join(self.room, "changed"), "w") as file:
            file.writelines(json.dumps(record) + "\n" for record in records)
        return file.name

    def prompt_tokens(self, daemon):
        stats = json.loads(moectl(daemon, "--json", "status")[1])
        return stats["model_stats"][0]["prompt_tokens"]

    def test_the_same_bytes(self):
        chat = self.records(self.chat)
        self.assertEqual(len(chat), 3)
        rows = self.records(self.turns)[0]["receipt"]["cached_rows"]
        self.assertEqual(rows[1:], [29, 4, 29])  # read, written, read, written
        self.assertIsNotNone(chat[0]["receipt"]["seed"])
        self.assertNotIn("seed", chat[0]["request"]["sampling"])
        copy = os.path.join(self.room, "copy.gguf")
        shutil.copy(MODEL, copy)  # the same model, whatever it is called and when it was written
        with Daemon(MOED, copy, args=["--threads", "1"]) as daemon:
            daemon.ready().close()
            for _ in range(2):  # with nothing known, and with all of it
                for path, n in ((self.chat, 3), (self.ask, 1), (self.raw, 1), (self.turns, 1),
                                (self.several, 3), (self.best, 2)):
                    rc, out, err = moectl(daemon, "replay", path)
                    self.assertEqual(rc, 0, (out, err))
                    self.assertEqual(out.count(": the same, "), n, out)
            told = [json.loads(line) for line in
                    moectl(daemon, "--json", "replay", self.chat)[1].splitlines()]
            self.assertEqual([one["same"] for one in told], [True] * 3)
            self.assertEqual(told[1]["differences"], {})
            self.assertEqual(told[1]["receipt"], {})

            def touch(record):
                record["answer"]["text"] = record["answer"]["text"][:9] + "\t"
                record["answer"]["tokens"][4] += 1
            rc, out, err = moectl(daemon, "replay", self.changed(self.ask, touch))
            self.assertEqual(rc, 1, err)
            self.assertRegex(out, "^1: another answer, 20 tokens, .*; the answer from token 4; its "
                                  "text from byte 9\n$")

    def test_what_sessions_held(self):
        """By who has no such session."""
        turns = self.records(self.held)
        self.assertEqual([len(one["request"]["chat"]["messages"]) for one in turns], [1, 3, 5])
        self.assertEqual(turns[2]["request"]["max_tokens"], 30)  # by its settings
        self.assertNotIn("in_session", turns[2]["request"])
        self.assertNotIn("text", self.records(self.spoken)[0]["request"])
        with Daemon(MOED, MODEL, args=["--threads", "1"]) as daemon:
            daemon.ready().close()
            for path, n in ((self.held, 3), (self.spoken, 1)):
                rc, out, err = moectl(daemon, "replay", path)
                self.assertEqual(rc, 0, (out, err))
                self.assertEqual(out.count(": the same, "), n, out)

    def test_what_is_another_is_named_first(self):
        with Daemon(MOED, MODEL, args=["--threads", "2"]) as daemon:
            daemon.ready().close()

            def refused(path, *words):
                rc, out, err = moectl(daemon, "replay", path)
                self.assertEqual((rc, out), (1, ""), err)
                for word in ("cannot be computed again here",) + words:
                    self.assertIn(word, err)

            def claim(**fields):
                return self.changed(self.raw, lambda record: record["receipt"].update(fields))
            isa = self.records(self.raw)[0]["receipt"]["isa"]
            refused(claim(isa="vax"), "isa was 'vax', is '%s'" % isa)
            refused(claim(model="0" * 32, cache="F64"), "model was '000", "cache was 'F64'")
            refused(claim(version="0.0.1"), "version was '0.0.1'")
            refused(claim(attention="é\x07"), "attention was '???'")
            refused(self.changed(self.raw, lambda r: r["request"]["sampling"].update(
                temperature=0.5)), "sampler was '", "temperature=0.9", "temperature=0.5")
            refused(self.changed(self.raw, lambda r: r["request"]["sampling"].update(
                seed=5)), "seed was '", "is '5'")
            self.assertEqual(self.prompt_tokens(daemon), 0)
            rc, out, err = moectl(daemon, "replay", claim(cached_rows=[3, 99999]))
            self.assertEqual(rc, 1)
            self.assertIn("add up to 100002", err)
            for broken in ("{}", '{"answer":{},"receipt":{}}', "[", '{"answer":{},"receipt":[]}',
                           '{"answer":{},"receipt":{},"request":{"nothing":1}}',
                           '{"answer":{},"receipt":{"seed":"x"},"request":{}}',
                           '{"answer":{},"receipt":{"cached_rows":[-1]},"request":{}}'):
                path = os.path.join(self.room, "broken")
                with open(path, "w") as file:
                    file.write(broken + "\n")
                rc, out, err = moectl(daemon, "replay", path)
                self.assertEqual((rc, out), (1, ""), broken)
                self.assertIn("broken:1: ", err)
            self.assertEqual(moectl(daemon, "replay", "/nowhere")[0], 1)

    def test_elsewhere(self):
        with Daemon(MOED, MODEL, args=["--cpu", "c", "--cache-format", "int8"]) as daemon:
            daemon.ready().close()
            told = self.records(self.ask)[0]["receipt"]
            rc, out, err = moectl(daemon, "replay", self.ask)
            self.assertEqual((rc, out), (1, ""))
            self.assertIn("isa was '%s', is 'c'; cache was '%s', is 'Q8_0'" % (
                told["isa"], told["cache"]), err)
            self.assertEqual(self.prompt_tokens(daemon), 0)
            rc, out, err = moectl(daemon, "replay", "--anyway", self.ask)
            self.assertRegex(out, "^1: (the same|another answer), ")
            self.assertIn("; isa was %s, is c; cache was %s, is Q8_0" % (
                told["isa"], told["cache"]), out)
            self.assertEqual(rc, 0 if "the same" in out else 1)


if __name__ == "__main__":
    unittest.main()
