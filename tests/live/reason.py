#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A real daemon: how long an answer thinks.

usage: reason.py MOED MODEL [unittest arguments]
"""
import os
import shutil
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "fixture")]
import parrot  # noqa: E402
from daemon import Daemon  # noqa: E402
from ttrpc import Failure, num  # noqa: E402

MOED, MODEL = sys.argv[1:3]
del sys.argv[1:3]
STOP, LENGTH = 1, 2
UNCUT, SOFT, HARD = 0, 1, 2


def limits(tokens=0, soft=0):
    return num(22, tokens) + num(23, soft)


class Tiny(unittest.TestCase):
    """The embedded model, which does think a little."""
    ASK = dict(messages=[("user", "What is memory bandwidth?")], thinking=True, max_tokens=200)

    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon(MOED, MODEL).start()
        cls.conn = cls.daemon.ready()
        cls.close, = cls.conn.tokenize("</think>")

    @classmethod
    def tearDownClass(cls):
        cls.conn.close()
        status = cls.daemon.stop()
        cls.daemon.__exit__()
        assert status == 0, "the daemon ended with %d" % status

    def test_counted_by_the_marker(self):
        free = self.conn.ask(**self.ASK)
        self.assertEqual(free.usage["thinking_tokens"], free.ids.index(self.close) + 1)
        self.assertEqual(free.last["thinking_cut"] or 0, UNCUT)
        silent = self.conn.ask(**dict(self.ASK, thinking=False))
        self.assertEqual(silent.usage["thinking_tokens"] or 0, 0)

    def test_hard(self):
        free = self.conn.ask(logprobs=True, **self.ASK)
        whole = free.usage["thinking_tokens"]
        self.assertGreater(whole, 6)
        for n in (1, 2, 5, whole - 1, whole, whole + 1):
            for ask in (self.ASK, dict(self.ASK, temperature=1.2, seed=3)):
                answer = self.conn.ask(logprobs=True, top_logprobs=20, extra=limits(n, n), **ask)
                thought = answer.usage["thinking_tokens"]
                self.assertLessEqual(thought, n)
                self.assertEqual(answer.ids.index(self.close) + 1, thought)
                if ask is self.ASK:
                    self.assertEqual(thought, min(n, whole))
                    self.assertEqual(answer.last["thinking_cut"] or 0, HARD if n < whole else UNCUT)
                    self.assertEqual(answer.ids[:n - 1], free.ids[:n - 1])
                    self.assertTrue(answer.thinking or n == 1)
                    self.assertTrue(free.thinking.startswith(answer.thinking))
                self.assertTrue(answer.text)
                self.assertNotIn("think>", answer.thinking + answer.text)
        # its log-probability is what the model thought of it
        cut = self.conn.ask(logprobs=True, top_logprobs=20, extra=limits(3, 3), **self.ASK)
        self.assertLess(cut.tokens[2]["logprob"], cut.tokens[2]["top"][0]["logprob"])
        self.assertEqual(cut.tokens[2]["top"][0]["id"], free.ids[2])

    def test_as_alone(self):
        asks = [dict(self.ASK, temperature=1.0, seed=50 + i, extra=limits(4 + 3 * i))
                for i in range(8)]
        alone = [self.conn.ask(**ask) for ask in asks]
        conns = [self.daemon.connect() for _ in asks]
        answers = [conn.generate(**ask) for conn, ask in zip(conns, asks)]
        for answer, before in zip(answers, alone):
            answer.run()
            self.assertEqual((answer.ids, answer.thinking, answer.text,
                              answer.last["thinking_cut"]),
                             (before.ids, before.thinking, before.text,
                              before.last["thinking_cut"]))
        for conn in conns:
            conn.close()
        self.assertGreater(sum(bool(before.last["thinking_cut"]) for before in alone), 2)

    def test_nothing_to_limit(self):
        for ask in (dict(self.ASK, thinking=False), dict(self.ASK, max_tokens=3)):
            free, limited = self.conn.ask(**ask), self.conn.ask(extra=limits(100), **ask)
            self.assertEqual((limited.ids, limited.finish), (free.ids, free.finish))
            self.assertEqual(limited.last["thinking_cut"] or 0, UNCUT)
        with self.assertRaises(Failure) as caught:
            self.conn.ask(text="x", extra=limits(5))
        self.assertEqual(caught.exception.code, 3)
        self.assertIn("goes with chat", caught.exception.words)


class Parrot(unittest.TestCase):
    """A toy of V3.1 that would go on thinking for ever so long."""
    SAYS = ("I", " see", ".", " Now", " it", " sings", ",", " and", " then", "!", " So", " that",
            "</think>", "Yes", " sir", "<｜end▁of▁sentence｜>")

    @classmethod
    def setUpClass(cls):
        cls.room = tempfile.mkdtemp(prefix="moed-reason.")
        parrot.write(cls.room + "/parrot.gguf", "<think>", cls.SAYS)
        cls.daemon = Daemon(MOED, cls.room + "/parrot.gguf").start()
        cls.conn = cls.daemon.ready()

    @classmethod
    def tearDownClass(cls):
        cls.conn.close()
        assert cls.daemon.stop() == 0
        cls.daemon.__exit__()
        shutil.rmtree(cls.room)

    def test_cuts(self):
        for tokens, soft, thought, cut in (
                (0, 0, "I see. Now it sings, and then! So that", UNCUT),
                (0, 3, "I see.", SOFT),
                (0, 4, "I see. Now it sings, and then!", SOFT),
                (20, 2, "I see.", SOFT),
                (10, 4, "I see. Now it sings, and then", HARD),
                (11, 4, "I see. Now it sings, and then!", HARD),
                (12, 4, "I see. Now it sings, and then!", SOFT),
                (12, 0, "I see. Now it sings, and then!", SOFT),
                (3, 0, "I see", HARD),
                (1, 0, "", HARD),
                (14, 14, "I see. Now it sings, and then! So that", UNCUT)):
            with self.subTest(tokens=tokens, soft=soft):
                answer = self.conn.ask(messages=[("user", "Sing!")], thinking=True,
                                       extra=limits(tokens, soft))
                self.assertEqual((answer.thinking, answer.text, answer.finish),
                                 (thought, "Yes sir", STOP))
                self.assertEqual(answer.last["thinking_cut"] or 0, cut)
                self.assertEqual(answer.usage["thinking_tokens"], len(answer.tokens) - 3)


if __name__ == "__main__":
    unittest.main(verbosity=1)
