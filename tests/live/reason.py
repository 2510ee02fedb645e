#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A real daemon: how long an answer thinks and takes, and several answers of one prompt.

usage: reason.py MOECTL MOED MODEL [unittest arguments]
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "fixture")]
import parrot  # noqa: E402
from daemon import Daemon  # noqa: E402
from ttrpc import Failure, blob, float32, num  # noqa: E402

MOECTL, MOED, MODEL = sys.argv[1:4]
del sys.argv[1:4]
STOP, LENGTH = 1, 2
UNCUT, SOFT, HARD, BY_TIME = 0, 1, 2, 3
TIME = 8
SLACK = 1.0  # seconds: machines do other things too


def configured(room, **keys):
    """What a daemon is started with so that these keys of its section Engine hold."""
    path = os.path.join(room, "moed.conf")
    with open(path, "w") as file:
        file.write("[Engine]\n" + "".join("%s=%s\n" % pair for pair in keys.items()))
    return ("--config", path)


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


class InTime(unittest.TestCase):
    """The embedded model, kept from ending by itself."""

    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon(MOED, MODEL).start()
        cls.conn = cls.daemon.ready()
        cls.close, = cls.conn.tokenize("</think>")
        never = blob(6, blob(9, num(1, cls.close) + float32(2, -100)))
        cls.ask = dict(messages=[("user", "What is memory bandwidth?")], thinking=True,
                       ignore_end=True, temperature=1.0, seed=11, extra=never)

    @classmethod
    def tearDownClass(cls):
        cls.conn.close()
        status = cls.daemon.stop()
        cls.daemon.__exit__()
        assert status == 0, "the daemon ended with %d" % status

    def within(self, ms, **more):
        """An answer, the estimate that came first, and how many seconds it took."""
        ask = dict(self.ask, **more)
        start = time.monotonic()
        answer = self.conn.generate(**dict(ask, extra=ask["extra"] + num(24, ms)))
        while answer.step():
            pass
        self.assertIsNone(answer.failure)
        return answer, answer.estimate, time.monotonic() - start

    def test_thinking_leaves_the_answer_its_share(self):
        self.conn.ask(**dict(self.ask, max_tokens=50))  # so that something was measured
        answer, estimate, seconds = self.within(900)
        usage = answer.usage
        self.assertEqual((answer.finish, answer.last["thinking_cut"]), (TIME, BY_TIME))
        self.assertEqual(answer.ids.index(self.close) + 1, usage["thinking_tokens"])
        self.assertTrue(answer.thinking and answer.text)
        self.assertTrue(0.2 < usage["thinking_tokens"] / len(answer.tokens) < 0.9)
        self.assertLess(seconds, 0.9 + SLACK)
        self.assertGreater(seconds, 0.5)
        rate = estimate["tokens_per_second"]
        self.assertGreater(estimate["prefill_seconds"], 0)
        self.assertTrue(0 < estimate["thinking_tokens"] + estimate["answer_tokens"] <= 0.9 * rate)
        again = self.conn.ask(**dict(self.ask, max_tokens=len(answer.tokens), extra=self.ask["extra"] +
                                     limits(usage["thinking_tokens"], usage["thinking_tokens"])))
        self.assertEqual((again.ids, again.text), (answer.ids, answer.text))

    def test_raw_text(self):
        answer, estimate, seconds = self.within(400, messages=None, thinking=False, text="Once")
        self.assertEqual((answer.finish, answer.last["thinking_cut"] or 0), (TIME, UNCUT))
        self.assertTrue(answer.text)
        self.assertEqual(estimate["thinking_tokens"] or 0, 0)
        self.assertLess(seconds, 0.4 + SLACK)
        short, _, _ = self.within(60000, messages=None, thinking=False, text="Once", max_tokens=3)
        self.assertEqual((short.finish, len(short.tokens)), (LENGTH, 3))

    def test_no_time_to_begin(self):
        text = "The heron read the newspaper to the frogs of the pond. " * 120
        answer, _, seconds = self.within(1, messages=None, thinking=False, text=text)
        self.assertEqual((answer.finish, answer.text), (TIME, ""))
        self.assertLess(seconds, SLACK)

    def test_while_nobody_reads(self):
        """What is paused ends in time too."""
        with self.daemon.connect() as slow:
            answer = slow.generate(**dict(self.ask, top_logprobs=20, extra=self.ask["extra"] + num(24, 500)))
            time.sleep(0.5)
            while answer.step():
                pass
            self.assertEqual(answer.finish, TIME)

    def test_several(self):
        start = time.monotonic()
        answers = self.conn.several(3, **dict(self.ask, extra=self.ask["extra"] + num(24, 600) + num(25, 3)))
        self.assertLess(time.monotonic() - start, 0.6 + SLACK)
        for part in answers.parts:
            self.assertEqual((part.finish, part.last["thinking_cut"]), (TIME, BY_TIME))
            self.assertTrue(part.text)
        self.assertEqual([bool(part.estimate) for part in answers.parts], [True, False, False])


def moectl(*args):
    """(exit code, standard output, standard error)"""
    done = subprocess.run([MOECTL, *args], stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


class Shell(unittest.TestCase):
    """The same asked by moectl."""

    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon(MOED, MODEL).start()
        cls.daemon.ready().close()

    @classmethod
    def tearDownClass(cls):
        status = cls.daemon.stop()
        cls.daemon.__exit__()
        assert status == 0, "the daemon ended with %d" % status

    def run_json(self, *args):
        code, out, err = moectl("-S", self.daemon.path, "--json", *args)
        self.assertEqual((code, err), (0, b""))
        return json.loads(out)

    def test_ask_within_a_time(self):
        args = ("generate", "--raw", "Once upon a time", "--ignore-end", "--finish-within", "0.3")
        self.run_json(*args)
        one = self.run_json(*args)
        self.assertEqual(one["finish_reason"], "time")
        self.assertEqual(set(one["estimate"]), {"prefill_seconds", "tokens_per_second",
                                                "thinking_tokens", "answer_tokens"})
        rc, out, err = moectl("-S", self.daemon.path, *args)
        self.assertEqual(rc, 0)
        self.assertRegex(err.decode(), r"\Afirst token in about \d+\.\d s, then \d+ tokens\n.*ended by time\n\Z")
        self.assertEqual(moectl("ask", "Hi", "--finish-within", "0")[0], 2)

    def test_ask_several(self):
        args = ("What is memory bandwidth?", "-n", "12", "--temperature", "1", "--seed", "40")
        alone = [self.run_json("ask", *args[:-1], str(40 + i)) for i in range(3)]
        several = self.run_json("ask", *args, "--n", "3")
        self.assertEqual(set(several), {"model", "answers", "usage"})
        self.assertEqual([{**a, "receipt": 0} for a in several["answers"]],
                         [{k: v for k, v in {**a, "receipt": 0}.items()
                           if k not in ("model", "usage")} for a in alone])
        self.assertEqual([a["receipt"]["seed"] for a in several["answers"]], ["40", "41", "42"])
        rc, out, err = moectl("-S", self.daemon.path, "ask", *args, "--n", "3")
        self.assertEqual(out.decode(), "".join("--- answer %d\n%s\n" % (i + 1, a["text"].rstrip("\n"))
                                               for i, a in enumerate(alone)))
        self.assertRegex(err.decode(), r"\A\d+ prompt tokens.*\n\Z")
        best = self.run_json("ask", *args, "--best-of", "3")
        self.assertIn(best["text"], [a["text"] for a in alone])
        self.assertLess(best["mean_logprob"], 0)
        self.assertEqual(best["usage"]["completion_tokens"],
                         sum(a["usage"]["completion_tokens"] for a in alone))
        raw = self.run_json("generate", "--raw", "Once", "-n", "3", "--n", "2", "--best-of", "4",
                            "--top-logprobs", "2", "--temperature", "1")
        self.assertEqual(set(raw), {"prompt_tokens", "answers", "usage"})
        for answer in raw["answers"]:
            self.assertEqual(set(answer), {"tokens", "finish_reason", "mean_logprob", "receipt"})
            mean = sum(t["logprob"] for t in answer["tokens"]) / len(answer["tokens"])
            self.assertAlmostEqual(answer["mean_logprob"], mean, places=4)
        rc, out, err = moectl("-S", self.daemon.path, "ask", "Hi", "--n", "17")
        self.assertEqual((rc, out), (1, b""))
        self.assertIn(b"generate.n is 17", err)
        self.assertEqual(moectl("chat", "--n", "2")[0], 2)

    def test_ask_limits_thinking(self):
        free = self.run_json("ask", "--think", "What is memory bandwidth?", "--temperature", "0")
        for args in (("--think-tokens", "4", "--think-soft", "4"), ("--think-tokens=4",)):
            cut = self.run_json("ask", "--think", "What is memory bandwidth?", *args,
                                "--temperature", "0")
            self.assertEqual((cut["usage"]["thinking_tokens"], cut["thinking_cut"]), (4, "hard"))
            self.assertTrue(free["thinking"].startswith(cut["thinking"]) and cut["text"])
        self.assertEqual(free["thinking_cut"], "none")
        rc, out, err = moectl("-S", self.daemon.path, "ask", "--think", "Hi", "--think-tokens", "3")
        self.assertIn(b"(3 of thinking, cut)", err)
        for args in (("--effort", "low"), ("--effort=high",)):
            self.assertEqual(moectl("-S", self.daemon.path, "ask", "Hi", "-n2", *args)[0], 0)
        for args, words in ((("--effort", "max"), b"effort 'max'"),
                            (("--think-tokens", "3", "--think-soft", "4"), b"expected at most")):
            rc, out, err = moectl("-S", self.daemon.path, "ask", "Hi", *args)
            self.assertEqual(rc, 1)
            self.assertIn(words, err)
        self.assertEqual(moectl("ask", "Hi", "--effort", "huge")[0], 2)
        self.assertEqual(moectl("generate", "--raw", "Hi", "--think-tokens", "3")[0], 2)


class Several(unittest.TestCase):
    """Several answers of one prompt."""
    PROMPT = "The tailor of the harbour town had three daughters and a clock that sang at noon. " * 6

    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon(MOED, MODEL).start()
        cls.conn = cls.daemon.ready()
        cls.n_prompts = 0
        cls.room = tempfile.mkdtemp(prefix="moed-reason.")

    @classmethod
    def tearDownClass(cls):
        cls.conn.close()
        shutil.rmtree(cls.room)
        status = cls.daemon.stop()
        cls.daemon.__exit__()
        assert status == 0, "the daemon ended with %d" % status

    def prompt(self):
        """One that nobody has said before."""
        type(self).n_prompts += 1
        return "Tale %d. " % self.n_prompts + self.PROMPT

    def alone(self, ask, seed):
        """By a daemon that knows nothing."""
        args = configured(self.room, KeepPercent=0)
        with Daemon(MOED, MODEL, args=args) as daemon, daemon.ready() as conn:
            return [conn.ask(**dict(ask, seed=seed + i)) for i in range(4)]

    def test_as_alone_with_each_seed(self):
        chat = dict(messages=[("user", self.prompt())], thinking=True)
        for ask in (dict(text=self.prompt(), ignore_end=True), dict(chat, extra=limits(20, 20))):
            ask.update(max_tokens=50, temperature=1.0)
            alone = self.alone(ask, 70)
            self.assertEqual(len({a.text for a in alone}), 4)
            extra = ask.get("extra", b"")
            answers = self.conn.several(4, **dict(ask, seed=70, extra=extra + num(25, 4)))
            self.assertEqual(len(answers.parts), 4)
            for i, (part, one) in enumerate(zip(answers.parts, alone)):
                self.assertEqual((part.ids, part.text, part.thinking), (one.ids, one.text, one.thinking))
                for name in ("finish", "text_hash", "thinking_cut"):
                    self.assertEqual(part.last[name], one.last[name])
                self.assertEqual(part.last["receipt"]["seed"], 70 + i)
            usage = answers.usage
            self.assertEqual(usage["prompt_tokens"], alone[0].usage["prompt_tokens"])
            for name in ("completion_tokens", "thinking_tokens"):
                self.assertEqual(usage[name] or 0, sum(a.usage[name] or 0 for a in alone))
            self.assertGreater(answers.n_turns, 4, "they come one in between the other")

    def test_the_prompt_is_read_once(self):
        prompt = self.conn.tokenize(self.prompt())
        self.nothing_runs()
        before = self.conn.stats()["models"][0]
        answers = self.conn.several(8, tokens=prompt, max_tokens=80, temperature=1.0, seed=1,
                                    ignore_end=True, extra=num(25, 8))  # the first still writes
        self.nothing_runs()
        after = self.conn.stats()["models"][0]
        known = (after["cached_tokens"] or 0) - (before["cached_tokens"] or 0)
        self.assertEqual(known, 7 * (len(prompt) - 1))  # what follows the last is theirs to draw
        for part in answers.parts[1:]:
            self.assertEqual(part.last["receipt"]["cached_rows"], [len(prompt) - 1])
        self.assertEqual(answers.parts[0].last["receipt"]["cached_rows"], [])

    def nothing_runs(self):
        for _ in range(500):
            stats = self.conn.stats()
            if not stats["models"][0]["sequences"] and not stats["counter"]["generations_running"]:
                return
            time.sleep(0.02)
        self.fail("something runs for ever")

    def test_the_best_are_told(self):
        ask = dict(text=self.prompt(), max_tokens=20, temperature=1.5, seed=5, logprobs=True)
        everyone = self.conn.several(6, **dict(ask, extra=num(25, 6)))

        def mean(part):
            return sum(t["logprob"] for t in part.tokens) / len(part.tokens)

        ranked = sorted(everyone.parts, key=mean, reverse=True)
        for n in (1, 3):
            best = self.conn.several(n, **dict(ask, extra=num(25, n) + num(26, 6)))
            self.assertEqual([(p.ids, p.text, p.last["receipt"]["seed"]) for p in best.parts],
                             [(p.ids, p.text, p.last["receipt"]["seed"]) for p in ranked[:n]])
            for part, other in zip(best.parts, ranked):
                self.assertAlmostEqual(part.last["mean_logprob"], mean(other), places=4)
                self.assertEqual(part.tokens, other.tokens)
            self.assertEqual(best.usage["completion_tokens"], everyone.usage["completion_tokens"])
        plain = self.conn.several(2, **dict(ask, logprobs=False, extra=num(25, 2) + num(26, 6)))
        self.assertEqual([p.ids for p in plain.parts], [p.ids for p in ranked[:2]])
        self.assertIsNone(plain.parts[0].tokens[0]["logprob"])

    def test_what_is_too_large_for_an_event(self):
        """Many tokens with many others beside each: kept, and told in pieces."""
        ask = dict(text=self.prompt(), max_tokens=120, ignore_end=True, temperature=1.0, seed=9,
                   logprobs=True, top_logprobs=20)
        best = self.conn.several(2, **dict(ask, extra=num(25, 2) + num(26, 3)))
        for part in best.parts:
            alone = self.conn.ask(**dict(ask, seed=part.last["receipt"]["seed"]))
            self.assertEqual((part.tokens, part.text), (alone.tokens, alone.text))
        self.assertGreater(best.n_events, 5)

    def test_more_than_there_is_room_for(self):
        """Answers wait for others of their own where the engine takes no more."""
        args = configured(self.room, MaxSequences=2, MaxQueue=3)
        with Daemon(MOED, MODEL, args=args) as daemon:
            with daemon.ready() as conn:
                ask = dict(text=self.prompt(), max_tokens=20, temperature=1.0, seed=3)
                few = conn.several(16, **dict(ask, extra=num(25, 16)))
                self.assertEqual(len(few.parts), 16)
                for i in (0, 7, 15):
                    self.assertEqual(conn.ask(**dict(ask, seed=3 + i)).ids[:3], few.parts[i].ids[:3])

    def test_cancel_and_leave(self):
        self.nothing_runs()
        for extra in (num(25, 6), num(26, 6)):
            ask = dict(text=self.prompt(), ignore_end=True, temperature=1.0, extra=extra)
            answers = self.conn.generate(**ask)
            event = next(answers.source)
            self.assertTrue(self.conn.call("Cancel", blob(1, event["generation_id"]), "Cancel")["found"])
            with self.assertRaises(Failure) as caught:
                while next(answers.source):
                    pass
            self.assertEqual(caught.exception.code, 1)
            self.nothing_runs()
            with self.daemon.connect() as other:
                next(other.generate(**ask).source)
            self.nothing_runs()

    def test_refused(self):
        for extra, words in ((num(25, 17), "generate.n is 17"), (num(26, 17), "generate.best_of is 17"),
                             (num(25, 3) + num(26, 2), "expected at least generate.n, which is 3"),
                             (num(25, 2) + blob(29, blob(1, "cpu")), "one answer"),
                             (num(25, 2) + blob(19, blob(1, "one") + num(3, 1)), "one answer")):
            with self.assertRaises(Failure) as caught:
                self.conn.ask(text="x", extra=extra)
            self.assertEqual(caught.exception.code, 3)
            self.assertIn(words, caught.exception.words)
        limit = self.conn.hello()["limit"]["generate.n"]
        self.assertEqual((limit["least"], limit["most"]), (1, 16))


if __name__ == "__main__":
    unittest.main(verbosity=1)
