#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A real daemon on the embedded model: streams, company, cancelling, leaving, dying.

usage: serve.py MOED MODEL [unittest arguments]
"""
import os
import random
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from daemon import Daemon  # noqa: E402
from ttrpc import (DATA, ND, RC, REQUEST, RO, Answer, Closed, Conn, Failure, blob,  # noqa: E402
                   envelope, float32, frame, generate, num)

MOED, MODEL = sys.argv[1:3]
del sys.argv[1:3]
STOP, LENGTH, CANCELLED, DRAINING = 1, 2, 3, 5
PROMPTS = {
    "hindi": "एक समय की बात है, एक छोटी लड़की",
    "urdu": "ایک دفعہ کا ذکر ہے کہ ایک چھوٹی لڑکی",
    "chinese": "从前有一个小女孩住在森林里",
    "emoji": "🦊🌙 the fox 👩‍👩‍👧‍👦 sang 🎶",
}

SAMPLERS = (b"", blob(6, num(2, 40)),  # top-k
            blob(6, float32(3, 0.9) + float32(4, 0.02)),  # top-p and min-p
            blob(6, float32(5, 1.2) + float32(7, 0.5)),  # penalties
            blob(6, float32(10, 1.5)),  # top-n-sigma
            blob(6, float32(11, 3.0)),  # mirostat
            blob(6, float32(13, 0.8)),  # DRY
            blob(6, blob(18, "the") + blob(18, " a")))  # banned strings


class Queued(unittest.TestCase):
    """A daemon that writes one answer at a time and lets two wait."""

    def setUp(self):
        self.daemon = Daemon(MOED, MODEL)
        config = os.path.join(self.daemon.room, "conf")
        with open(config, "w") as f:
            f.write("[Engine]\nMaxSequences=1\nMaxQueue=2\n")
        self.daemon.args = ["--config", config]
        self.daemon.start()
        self.addCleanup(self.daemon.__exit__)
        self.conn = self.daemon.ready()
        self.addCleanup(self.conn.close)

    def refused(self, **request):
        with self.assertRaises(Failure) as caught:
            self.conn.ask(text="Once", max_tokens=2, **request)
        self.assertEqual(caught.exception.code, 8, caught.exception)
        return caught.exception

    def test_queue(self):
        self.conn.ask(text="One", max_tokens=1)
        self.conn.ask(text="Two", max_tokens=1)
        first = self.conn.generate(text="Once upon a time", max_tokens=2000, ignore_end=True)
        while not first.tokens:
            first.step()
        begin = time.monotonic()
        late = self.refused(extra=num(17, 50))
        self.assertGreater(time.monotonic() - begin, 0.04)
        self.assertGreater(late.retry_after_ms, 0)
        self.assertIn("0.05 s", late.words)
        waiting = [self.conn.generate(text="Once", max_tokens=3, extra=num(16, n)) for n in (2, 1)]
        for one in waiting:
            one.step()
        time.sleep(0.3)  # positions are told now and then
        full = self.refused()
        self.assertGreater(full.retry_after_ms, 0)
        stats = self.conn.stats()
        self.assertEqual(stats["models"][0]["queued_by_class"], [0, 1, 1])
        self.assertEqual(stats["models"][0]["refused"], 1)
        listed = {g["generation_id"]: g for g in stats["generations"]}
        self.assertEqual([listed[one.id]["class"] for one in waiting], [2, 1])
        self.assertEqual([listed[one.id]["queue_position"] for one in waiting], [2, 1])
        self.assertGreater(listed[waiting[0].id]["queue_seconds"], 0.2)
        self.assertEqual(listed[first.id]["queue_position"] or 0, 0)
        self.assertGreater(listed[first.id]["decode_rate"], 0)
        first.run()
        for one in waiting:
            self.assertEqual(len(one.run().tokens), 3)
        self.assertLess(waiting[1].usage["queue_seconds"], waiting[0].usage["queue_seconds"])
        bad = self.conn.generate(text="Once", extra=num(16, 3))
        with self.assertRaises(Failure) as caught:
            bad.run()
        self.assertEqual(caught.exception.code, 3)
        self.assertIn("generate.class", caught.exception.words)


class Served(unittest.TestCase):
    """One daemon for all; each test leaves it as it was."""

    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon(MOED, MODEL).start()
        cls.conn = cls.daemon.ready()

    @classmethod
    def tearDownClass(cls):
        cls.conn.close()
        status = cls.daemon.stop()
        cls.daemon.__exit__()
        assert status == 0, "the daemon ended with %d" % status

    def connect(self):
        conn = self.daemon.connect()
        self.addCleanup(conn.close)
        return conn

    def nothing_left(self, model=0):
        """Waits until no sequence, page or call is left; the number of descriptors then."""
        for _ in range(500):
            stats = self.conn.stats()
            one = stats["models"][model]
            left = (one["sequences"] or 0, one["queued"] or 0,
                    stats["counter"]["generations_running"], stats["counter"]["connections"])
            if left == (0, 0, 0, 1):
                return one["pages_used"] or 0, self.daemon.n_fds()
            time.sleep(0.02)
        self.fail("sequences, queued, generations, connections left: %r" % (left,))

    # ---- streams
    def test_text_ids_and_prompt(self):
        text = "Once upon a time"
        whole = self.conn.ask(text=text, max_tokens=30, return_prompt=True)
        ids = self.conn.tokenize(text)
        self.assertEqual(whole.prompt[-len(ids):], ids)
        again = self.conn.ask(tokens=whole.prompt, max_tokens=30, return_prompt=True)
        self.assertEqual((again.text, again.ids, again.prompt), (whole.text, whole.ids, whole.prompt))
        self.assertEqual(whole.usage["prompt_tokens"], len(whole.prompt))
        self.assertEqual(b"".join(t["text"] for t in whole.tokens).decode(), whole.text)
        if whole.finish == LENGTH:
            self.assertEqual(len(whole.tokens), 30)

    def test_receipt(self):
        asked = dict(text="Once upon a time", max_tokens=3, temperature=0)
        told = self.conn.ask(**asked).last["receipt"]
        self.assertEqual(told["place"], "cpu")
        self.assertRegex(told["model"], "^[0-9a-f]{32}$")
        self.assertIn(told["isa"], ("c", "avx2", "avx512", "amx"))
        self.assertEqual(told["attention"] == "absorbed", told["isa"] == "c")
        for args, place, isa, cache in ((("--cpu", "c"), "cpu", "c", "F16"),
                                        (("--cpu", "c", "--cache-format", "int8"), "cpu", "c", "Q8_0"),
                                        (("--place", "ref"), "ref", "c", "F32")):
            with Daemon(MOED, MODEL, args=args) as daemon:
                with daemon.ready() as conn:
                    self.assertEqual(conn.ask(**asked).last["receipt"],
                                     dict(place=place, isa=isa, cache=cache, attention="absorbed",
                                          sampler="greedy", seed=None, cached_rows=[], made_rows=[],
                                          model=told["model"], version=told["version"]))
                    self.assertIn("latent cache of %s," % cache, daemon.words())

    def test_what_was_said_is_not_read_again(self):
        said = "A heron and a beetle talked about the weather of all the lakes they knew. " * 3
        more = self.conn.tokenize(" The beetle answered that it had never seen a lake.")

        def talk(conn):
            prompt = conn.tokenize(said)
            first = conn.ask(tokens=prompt, max_tokens=60, ignore_end=True)
            second = conn.ask(tokens=prompt + first.ids + more, max_tokens=40, ignore_end=True)
            known = len(prompt) + 59  # the last token was never computed
            self.assertFalse(first.usage["cached_tokens"])
            self.assertEqual(second.usage["cached_tokens"], known)
            self.assertEqual(second.last["receipt"]["cached_rows"], [len(prompt), 59])
            return first.ids, second.ids, known

        self.nothing_left()  # the engine counts after it has told
        before = self.conn.stats()["models"][0]
        ours = talk(self.conn)
        self.nothing_left()
        after = self.conn.stats()["models"][0]
        self.assertEqual((after["cached_tokens"] or 0) - (before["cached_tokens"] or 0), ours[2])
        self.assertGreater(after["pages_kept"], before["pages_kept"] or 0)
        self.assertEqual(after["pages_used"] or 0, 0)
        with Daemon(MOED, MODEL, args=("--threads", "1")) as daemon, daemon.ready() as conn:
            self.assertEqual(talk(conn), ours)  # the same history, the same bytes
        question = [("user", "Which of the birds that live near a lake can see at night? " * 4)]
        answer = self.conn.ask(messages=question, max_tokens=40)
        again = self.conn.ask(messages=question + [("assistant", answer.text), ("user", "And now?")],
                              max_tokens=2)
        self.assertGreaterEqual(again.usage["cached_tokens"], 32)

    def test_chat_with_and_without_thinking(self):
        question = [("user", "What is memory bandwidth?")]
        plain = self.conn.ask(messages=question, max_tokens=200)
        self.assertEqual(plain.thinking, "")
        self.assertTrue(plain.text)
        deep = self.conn.ask(messages=question, thinking=True, max_tokens=200)
        self.assertTrue(deep.thinking and deep.text)
        self.assertTrue(0 < deep.usage["thinking_tokens"] < len(deep.tokens))
        for answer in (plain, deep):
            self.assertNotIn("think>", answer.thinking + answer.text)

    def test_render_is_what_chat_uses(self):
        messages = [("system", "Be brief."), ("user", "Hello!")]
        body = generate(messages=messages)
        rendered = self.conn.call("Render", body, "Tokens")
        answer = self.conn.ask(messages=messages, max_tokens=2, return_prompt=True)
        self.assertEqual(answer.prompt, rendered["ids"])
        self.assertIn("Hello!", rendered["text"])

    def test_tools_and_families(self):
        tools = '[{"name":"f","parameters":{"x":[1,2.50]}}]'

        def render(*extra):
            body = blob(1, num(1, 1) + blob(2, "Hi")) + b"".join(extra)
            return self.conn.call("Render", blob(2, body), "Tokens")["text"]

        def words(*extra):
            with self.assertRaises(Failure) as caught:
                render(*extra)
            return str(caught.exception)

        self.assertIn('{"name": "f", "parameters": {"x": [1, 2.50]}}', render(blob(3, tools)))
        # an answer's call, and its result by id
        call = blob(1, num(1, 2) + blob(3, blob(1, "f") + blob(2, "{}") + blob(3, "c1")))
        result = blob(1, num(1, 3) + blob(2, "42") + blob(6, "c1"))
        for family, expected in (("deepseek-v31", "</think><｜tool▁calls▁begin｜>"),
                                 ("deepseek-v3", "function<｜tool▁sep｜>f\n```json"),
                                 ("deepseek-v3.2", "\n<result>42</result>")):
            self.assertIn(expected, render(call, result, blob(6, family)))
        self.assertIn("no family", words(blob(6, "nobody")))
        self.assertIn("tools: not JSON", words(blob(3, "[")))
        self.assertIn("has no tools", words(blob(3, tools), blob(6, "deepseek-v2")))

    def test_length_and_context(self):
        answer = self.conn.ask(text="The", max_tokens=7, ignore_end=True)
        self.assertEqual((answer.finish, len(answer.tokens)), (LENGTH, 7))
        context = self.conn.call("List", kind="Models")["models"][0]["context"]
        full = self.conn.ask(tokens=[100] * (context - 3), ignore_end=True)
        self.assertEqual(full.finish, LENGTH)
        self.assertLessEqual(len(full.tokens), 4)
        with self.assertRaises(Failure) as caught:
            self.conn.ask(tokens=[100] * (context + 1))
        self.assertEqual(caught.exception.code, 3)
        self.assertIn(str(context + 1), caught.exception.words)
        self.assertIn(str(context), caught.exception.words)

    def test_stop_strings(self):
        whole = self.conn.ask(text="Once upon a time", max_tokens=60)
        word = whole.text.split()[6]
        answer = self.conn.ask(text="Once upon a time", max_tokens=60, stop=["never, ever", word])
        self.assertEqual(answer.text, whole.text[:whole.text.index(word)])
        self.assertEqual((answer.finish, answer.last["stop"]), (STOP, word))

    def test_banned_strings(self):
        ask = dict(text="Once upon a time", max_tokens=60, ignore_end=True)
        whole = self.conn.ask(**ask).text
        words = whole.split()[2:12]
        banned = [words[0], words[3], words[5][1:] + " ", words[7] + " " + words[8]]
        extra = blob(6, b"".join(blob(18, one) for one in banned))
        for asked in (ask, dict(ask, temperature=1.5, seed=5),
                      dict(messages=[("user", "Tell me a story")], thinking=True, max_tokens=200)):
            answer = self.conn.ask(extra=extra, **asked)
            for one in banned:
                self.assertNotIn(one, answer.text)
                self.assertNotIn(one, answer.thinking)
            self.assertIn("banned[4] ", answer.last["receipt"]["sampler"])

    def test_logprobs(self):
        answer = self.conn.ask(text="Once upon a time", max_tokens=12, logprobs=True,
                               top_logprobs=20)
        for token in answer.tokens:
            best = token["top"][0]
            self.assertEqual(len(token["top"]), 20)
            self.assertEqual((best["id"], best["logprob"]), (token["id"], token["logprob"]))
            chances = [t["logprob"] for t in token["top"]]
            self.assertEqual(chances, sorted(chances, reverse=True))
            self.assertLessEqual(chances[0], 0.0)

    def test_prompt_logprobs(self):
        """The same numbers as asking for each of the prompt's tokens would give."""
        text = "Once upon a time there was a little fox who lived in a big forest. " * 8
        ask = dict(max_tokens=1, logprobs=True, top_logprobs=20)
        whole = self.conn.ask(text=text, return_prompt=True, extra=num(15, 1), **ask)
        self.assertEqual([t["id"] for t in whole.prompt_tokens], whole.prompt[1:])
        self.assertEqual((whole.usage["cached_tokens"] or 0, len(whole.tokens)), (0, 1))
        for n in (1, 2, 31, 32, 33, len(whole.prompt) - 1):
            here = whole.prompt_tokens[n - 1]
            one = self.conn.ask(tokens=whole.prompt[:n], **ask)
            self.assertEqual(one.tokens[0]["top"], here["top"])
            same = [t["logprob"] for t in here["top"] if t["id"] == here["id"]]
            self.assertIn(here["logprob"], same or [here["logprob"]])
            self.assertLessEqual(here["logprob"], here["top"][0]["logprob"])
        plain = self.conn.ask(text=text, **ask)  # what comes behind is the same without
        self.assertEqual((plain.tokens, plain.prompt_tokens), (whole.tokens, []))
        few = self.conn.ask(text=text, max_tokens=1, extra=num(15, 1))
        self.assertEqual([t["logprob"] for t in few.prompt_tokens],
                         [t["logprob"] for t in whole.prompt_tokens])
        self.assertFalse(few.prompt_tokens[0]["top"] or few.tokens[0]["logprob"])

    def test_seeds(self):
        ask = dict(text="Once upon a time", max_tokens=20, temperature=1.0)
        one = self.conn.ask(seed=7, **ask).ids
        self.assertEqual(one, self.conn.ask(seed=7, **ask).ids)
        others = {tuple(self.conn.ask(**ask).ids) for _ in range(4)}
        self.assertGreater(len(others), 1)
        some = self.conn.ask(**ask)  # a seed that was not given is told
        self.assertEqual(some.last["receipt"]["sampler"], "draw")
        self.assertEqual(self.conn.ask(seed=some.last["receipt"]["seed"], **ask).ids, some.ids)

    def test_every_script(self):
        for name, text in PROMPTS.items():
            with self.subTest(name):
                ids = self.conn.tokenize(text)
                self.assertEqual(self.conn.detokenize(ids)["text"], text)
                answer = self.conn.ask(text=text, max_tokens=40, temperature=1.5, seed=3)
                self.assertEqual("".join(answer.chunks), answer.text)  # each was strict UTF-8
                raw = b"".join(t["text"] for t in answer.tokens)
                if answer.finish == LENGTH or not answer.last["stop"]:
                    self.assertEqual(answer.text, raw.decode("utf-8", "replace"))
                chat = self.conn.ask(messages=[("user", text)], max_tokens=20, return_prompt=True)
                self.assertIn(text, self.conn.detokenize(chat.prompt)["text"])

    def test_parts(self):
        stream = self.conn.next_stream()
        self.conn.send(frame(stream, REQUEST, RO, envelope("Generate")))
        for piece in ("Once ", "upon", " a time"):
            self.conn.send(frame(stream, DATA, 0, generate(text=piece)))
        self.conn.send(frame(stream, DATA, 0, generate(max_tokens=20)))
        self.conn.send(frame(stream, DATA, RC | ND))
        answer = Answer(self.conn, stream).run()
        self.assertEqual(answer.text, self.conn.ask(text="Once upon a time", max_tokens=20).text)

    # ---- company
    def test_64_streams_as_alone(self):
        asks = [dict(text="Once upon a time, number %d" % i, max_tokens=24) for i in range(64)]
        alone = [self.conn.ask(**ask).text for ask in asks]
        conns = [self.connect() for _ in range(32)]
        answers = [conns[i % 32].generate(**ask) for i, ask in enumerate(asks)]
        for i, answer in enumerate(answers):
            self.assertEqual(answer.run().text, alone[i], asks[i])

    def test_a_seed_repeats_in_company(self):
        """Drawn answers have the same bytes alone, all together, and beside those that leave."""
        asks = [dict(text="Once upon a time, number %d" % (i % 5), max_tokens=40, ignore_end=True,
                     temperature=1.0, seed=100 + i, extra=SAMPLERS[i % len(SAMPLERS)])
                for i in range(16)]
        alone = [self.conn.ask(**ask) for ask in asks]
        self.assertGreater(len({answer.text for answer in alone}), 8)
        conns = [self.connect() for _ in range(16)]
        for order in (range(16), reversed(range(16))):
            answers = {i: conns[i].generate(**asks[i]) for i in order}
            noise = [self.connect().generate(text="Noise", temperature=2.0) for _ in range(4)]
            for i, other in enumerate(noise):
                for _ in range(i):
                    other.step()
                other.conn.close()
            for i, answer in answers.items():
                answer.run()
                self.assertEqual((answer.text, answer.ids, answer.last["text_hash"]),
                                 (alone[i].text, alone[i].ids, alone[i].last["text_hash"]), asks[i])

    def test_cancel_harms_nobody(self):
        golden = self.conn.ask(text="Once upon a time", max_tokens=60).text
        neighbours = [self.connect().generate(text="Once upon a time", max_tokens=60)
                      for _ in range(4)]
        other = self.connect()
        for i in range(20):
            answer = other.generate(text="A story %d" % i, ignore_end=True)
            for _ in range(1 + i % 4):
                self.assertTrue(answer.step())
            self.assertTrue(self.conn.call("Cancel", blob(1, answer.id), "Cancel")["found"])
            with self.assertRaises(Failure) as caught:
                answer.run()
            self.assertEqual((caught.exception.code, answer.finish), (1, CANCELLED))
        for answer in neighbours:
            self.assertEqual(answer.run().text, golden)

    def test_cancel_is_quick(self):
        took = []
        for _ in range(20):
            answer = self.conn.generate(text="Once upon a time", ignore_end=True)
            self.assertTrue(answer.step())
            with self.connect() as other:
                start = time.monotonic()
                other.call("Cancel", blob(1, answer.id), "Cancel")
            while answer.step():
                pass
            took.append(time.monotonic() - start)
        self.assertLess(sorted(took)[-2], 0.5)  # seconds, on a machine that does other things too

    def test_200_leave_in_the_middle(self):
        before = self.nothing_left()
        rng = random.Random(5)
        for i in range(200):
            conn = Conn(self.daemon.path)
            for _ in range(rng.randint(1, 3)):
                ask = dict(text="Once upon a time " * rng.randint(1, 40), ignore_end=True)
                answer = conn.generate(**ask)
            for _ in range(rng.randint(0, 3)):
                answer.step()
            if i % 3 == 0:
                conn.sock.shutdown(1)
            conn.close()
        self.assertEqual(self.nothing_left(), before, "pages and descriptors")

    def test_unload_and_load(self):
        answer = self.conn.generate(text="Once upon a time", ignore_end=True)
        self.assertTrue(answer.step())
        other = self.connect()
        self.assertEqual(other.call("Unload", kind="One")["model"]["state"] or 0, 0)
        with self.assertRaises(Failure) as caught:
            answer.run()
        self.assertEqual(caught.exception.code, 14)
        watch = other.events(other.open("Watch", b"", RC), "Watch")
        self.assertEqual(next(watch)["model"]["state"] or 0, 0)
        self.assertEqual(len(self.conn.tokenize("still here")) > 0, True)
        with self.assertRaises(Failure) as caught:
            self.conn.ask(text="x")
        self.assertEqual(caught.exception.code, 9)
        self.conn.call("Load", b"", "One")
        self.assertTrue(self.conn.ask(text="Once", max_tokens=3).tokens)  # waited for the load
        states = [next(watch)["model"]["state"]]
        while states[-1] != 2:
            states.append(next(watch)["model"]["state"])
        self.assertEqual(self.conn.call("Load", blob(1, "") + b"\x10\x01", "One")["model"]["state"], 2)


class Mortal(unittest.TestCase):
    """A daemon for each test."""

    def setUp(self):
        self.daemon = Daemon(MOED, MODEL)
        self.addCleanup(self.daemon.__exit__)
        self.daemon.start()
        self.conn = self.daemon.ready()
        self.addCleanup(self.conn.close)

    def test_killed_and_back(self):
        for _ in range(3):
            answer = self.conn.generate(text="Once upon a time", ignore_end=True)
            self.assertTrue(answer.step())
            self.daemon.kill()
            self.assertTrue(os.path.exists(self.daemon.path), "no stale socket to begin with")
            with self.assertRaises(Closed):
                answer.run()
            self.conn.close()
            self.daemon.start()
            self.conn = self.daemon.ready()
        self.assertTrue(self.conn.ask(text="Once", max_tokens=3).tokens)

    def test_a_second_one_is_refused(self):
        second = subprocess.run([self.daemon.moed, "--socket", self.daemon.path, "--model", MODEL],
                                stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
        self.assertNotEqual(second.returncode, 0)
        self.assertIn(self.daemon.path.encode(), second.stderr)
        self.assertTrue(self.conn.ask(text="Once", max_tokens=3).tokens)
        os.unlink(self.daemon.path + ".lock")  # even then the living socket is not replaced
        second = subprocess.run([self.daemon.moed, "--socket", self.daemon.path, "--model", MODEL],
                                stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
        self.assertNotEqual(second.returncode, 0)
        self.assertIn(b"answers", second.stderr)
        with self.daemon.connect() as other:
            other.call("Ping")

    def test_drains(self):
        watch = self.conn.events(self.conn.open("Watch", b"", RC), "Watch")
        next(watch)
        other = self.daemon.connect()
        self.addCleanup(other.close)
        answer = other.generate(text="Once upon a time", max_tokens=60, ignore_end=True)
        self.assertTrue(answer.step())
        self.daemon.signal(signal.SIGTERM)
        while not next(watch)["draining"]:
            pass
        late = self.daemon.connect()
        self.addCleanup(late.close)
        with self.assertRaises(Failure) as caught:
            late.ask(text="too late")
        self.assertEqual(caught.exception.code, 14)
        self.assertTrue(late.hello()["draining"])
        answer.run()
        self.assertEqual(len(answer.tokens), 60, "what ran was not allowed to finish")
        with self.assertRaises((Failure, Closed)):
            next(watch)
        self.assertEqual(self.daemon.wait(), 0)
        self.assertFalse(os.path.exists(self.daemon.path))

    def test_a_second_signal_ends_at_once(self):
        answer = self.conn.generate(text="Once upon a time", ignore_end=True)
        self.assertTrue(answer.step())
        self.daemon.signal(signal.SIGTERM)
        time.sleep(0.2)
        start = time.monotonic()
        self.daemon.signal(signal.SIGTERM)
        while answer.step():
            pass
        self.assertEqual((answer.failure.code, answer.finish), (14, DRAINING))
        self.assertEqual(self.daemon.wait(), 0)
        self.assertLess(time.monotonic() - start, 1.5)

    def test_idle_costs_nothing(self):
        self.conn.ask(text="Once", max_tokens=5)
        time.sleep(0.5)

        def ticks():
            with open("/proc/%d/stat" % self.daemon.process.pid) as stat:
                values = stat.read().rsplit(")", 1)[1].split()
            return int(values[11]) + int(values[12])

        before = ticks()
        time.sleep(3)
        self.assertLessEqual(ticks() - before, 1, "hundredths of a second in three idle ones")

    def test_no_prompt_in_the_log(self):
        canary = "canary-7261-word"
        self.conn.ask(text=canary, max_tokens=3)
        for bad in (dict(text=canary, max_tokens=-1), dict(text=canary, stop=[""])):
            with self.assertRaises(Failure):
                self.conn.ask(**bad)
        with Conn(self.daemon.path) as other:
            other.send(canary.encode() * 100)
        self.conn.call("Ping")
        self.assertNotIn("canary", self.daemon.words())


if __name__ == "__main__":
    unittest.main(verbosity=1)
