#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A model that nobody has work for gives its memory back, and comes back for who asks.

usage: idle.py MOED MOECTL MODEL [unittest arguments]
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "fixture"))
import toy  # noqa: E402
from daemon import Daemon  # noqa: E402
from supervisor import Supervisor  # noqa: E402
from ttrpc import RC, Conn, Failure, blob, in_session, num, wait_for  # noqa: E402

MOED, MOECTL, MODEL = (os.path.abspath(arg) for arg in sys.argv[1:4])
del sys.argv[1:4]
TINY = os.path.basename(MODEL)[:-len(".gguf")]
UNLOADED, LOADING, READY, TEXT, FAILED, UNLOADING = range(6)
PRECONDITION = 9
IDLE = 0.15
STORY = "Once upon a time there was a little fox who lived in the forest. " * 4


class Idle(unittest.TestCase):
    def setUp(self):
        self.room = tempfile.mkdtemp(prefix="moed-idle.")
        self.addCleanup(shutil.rmtree, self.room)
        os.makedirs(self.room + "/models.d")
        self.models = self.room + "/models"
        os.mkdir(self.models)
        self.configure(IdleUnloadSec="%dms" % (1000 * IDLE))

    def configure(self, **keys):
        with open(self.room + "/moed.conf", "w") as file:
            file.write("[Engine]\n" + "".join("%s=%s\n" % pair for pair in keys.items()))

    def start(self, *args):
        self.daemon = Daemon(MOED, MODEL, args=["--config", self.room + "/moed.conf",
                                                "--folder", self.models, *args])
        self.addCleanup(self.daemon.__exit__)
        self.daemon.start()
        conn = self.conn = self.daemon.connect()  # who asks waits until it is loaded

        def stop():
            conn.close()
            if self.daemon.process.poll() is None:
                self.assertEqual(self.daemon.stop(), 0, self.daemon.words())
        self.addCleanup(stop)

    def model(self, name=TINY):
        models = self.conn.call("List", kind="Models")["models"]
        return next(m for m in models if m["name"] == name)

    def state(self, name=TINY):
        return self.model(name)["state"] or 0

    def rests(self, name=TINY):
        end = time.monotonic() + 60
        while not self.model(name)["resting"] or self.state(name) != UNLOADED:
            self.assertLess(time.monotonic(), end, self.daemon.words())
            time.sleep(0.02)

    def ask(self, conn=None, name=TINY, text=STORY, **how):
        return (conn or self.conn).ask(model=name, text=text, max_tokens=8, ignore_end=True, **how)

    def refused(self, code, words, function, *args):
        with self.assertRaises(Failure) as caught:
            function(*args)
        self.assertEqual(caught.exception.code, code, caught.exception.words)
        self.assertIn(words, caught.exception.words)

    def moectl(self, *args):
        done = subprocess.run([MOECTL, "-S", self.daemon.path, *args], capture_output=True,
                              text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    # ---- going and coming

    def test_goes_and_comes_back(self):
        self.start()
        before = self.ask().ids
        for _ in range(2):
            begin = time.monotonic()
            self.rests()
            self.assertGreater(time.monotonic() - begin, IDLE / 2)
            self.assertEqual(self.ask().ids, before)
        words = self.daemon.words()
        self.assertEqual(words.count("unloaded for idleness"), 2, words)
        self.assertNotIn("' unloaded\n", words)

    def test_what_is_told(self):
        self.start()
        vector = self.moectl("embed", "--pooling", "mean", STORY)
        self.rests()
        status = self.moectl("status")
        self.assertIn("unloaded for idleness: the next request loads it", status)
        self.assertIn("moectl ask", status)
        self.assertTrue(json.loads(self.moectl("list", "--json"))["models"][0]["resting"])
        with Conn(self.daemon.path) as watcher:
            events = watcher.events(watcher.open("Watch", b"", RC), "Watch")
            self.assertEqual(self.moectl("embed", "--pooling", "mean", STORY), vector)
            states = []
            while READY not in states:
                model = next(events)["model"]
                if model:
                    states.append(model["state"] or 0)
        self.assertEqual(states[-2:], [LOADING, READY])

    def test_memory_is_given_back(self):
        """Of the process, and of who keeps the weights for the next one."""
        self.configure(IdleUnloadSec="1s")
        with Supervisor([MOED, "--config", self.room + "/moed.conf", "--model", MODEL]) as s:
            s.start()
            with wait_for(s.path) as conn:
                before = conn.ask(text=STORY, max_tokens=8, ignore_end=True).ids
                kept = s.names()
                self.assertGreater(len(kept), 0)

                def mapped():
                    with open("/proc/%d/status" % s.process.pid) as file:
                        lines = dict(line.split(":", 1) for line in file)
                    return sum(int(lines[key].split()[0]) for key in ("RssShmem", "RssAnon"))
                full = mapped()
                s.await_("STATUS=%s unloaded for idleness" % TINY)
                self.assertEqual(s.names(), [])
                weights = os.path.getsize(MODEL) >> 10
                self.assertLess(mapped(), full - weights / 2)
                self.assertEqual(conn.ask(text=STORY, max_tokens=8, ignore_end=True).ids, before)
                self.assertEqual(s.names(), kept)
            s.stop()

    def test_many_at_once(self):
        self.start()
        before = self.ask().ids
        self.rests()
        answers = []

        def ask():
            with Conn(self.daemon.path) as conn:
                answers.append(self.ask(conn).ids)
        threads = [threading.Thread(target=ask) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(answers, [before] * 6)
        self.assertEqual(self.daemon.words().count("' ready in"), 2)

    def test_at_the_moment_it_goes(self):
        """Nobody hears that a model is on its way out because of idleness."""
        self.configure(IdleUnloadSec="20ms")
        self.start()
        before = self.ask().ids
        for i in range(20):
            time.sleep(0.015 + i * 0.0006)
            self.assertEqual(self.ask().ids, before)
        self.assertGreater(self.daemon.words().count("unloaded for idleness"), 3)

    # ---- what keeps it

    def test_work_keeps_it(self):
        self.configure(IdleUnloadSec="30ms")
        self.start()
        with Conn(self.daemon.path) as conn:
            answer = conn.generate(model=TINY, text="One", max_tokens=200,
                                   ignore_end=True)
            begin = time.monotonic()
            self.assertEqual(len(answer.run().ids), 200)
            self.assertGreater(time.monotonic() - begin, 0.1)
        self.rests()

    def test_looking_is_no_work(self):
        self.start()
        end = time.monotonic() + 60
        while not self.model()["resting"]:
            self.conn.tokenize("it is asked all the time")
            self.conn.call("Stats", kind="Stats")
            self.assertLess(time.monotonic(), end)
            time.sleep(0.02)

    def test_a_pin_keeps_it(self):
        self.start()
        self.ask(extra=in_session("fox", create=True))
        self.conn.call("SessionPin", blob(1, "fox"))
        time.sleep(3 * IDLE)
        self.assertEqual(self.state(), READY)
        self.conn.call("SessionPin", blob(1, "fox") + num(3, 1))
        self.rests()

    def test_one_stays(self):
        with open(self.room + "/models.d/%s.conf" % TINY, "w") as file:
            file.write("[Engine]\nIdleUnloadSec=0\n")
        toy.write(self.models + "/lite.gguf", "v2-lite")
        self.start()
        self.conn.call("Load", blob(1, "lite") + num(2, 1), "One")
        self.rests("lite")
        time.sleep(IDLE)
        self.assertEqual(self.state(), READY)

    # ---- who decides

    def test_an_operator_has_it_stay_away(self):
        self.start()
        self.rests()
        self.conn.call("Unload", blob(1, TINY), "One")
        self.assertFalse(self.model()["resting"])
        self.refused(PRECONDITION, "load it first", self.ask)
        self.conn.call("Load", blob(1, TINY) + num(2, 1), "One")
        self.assertEqual(len(self.ask().ids), 8)
        self.rests()
        model = self.conn.call("Load", blob(1, TINY) + num(2, 1), "One")["model"]
        self.assertEqual((model["state"], bool(model["resting"])), (READY, False))

    # ---- what it knew

    def test_what_was_said_is_known(self):
        self.start("--keep-folder", self.room + "/kept")
        first = self.ask(extra=in_session("fox", create=True))
        self.rests()
        again = self.ask()
        self.assertGreater(again.usage["cached_tokens"], 32)
        self.assertEqual(again.ids, first.ids)
        self.rests()
        turn = self.ask(text=" And then", extra=in_session("fox"))
        self.assertGreater(turn.usage["cached_tokens"], 32)

    # ---- files that change while it rests

    def test_a_file_of_a_folder(self):
        path = self.models + "/lite.gguf"
        toy.write(path, "v2-lite")
        self.start()
        self.conn.call("Load", blob(1, "lite") + num(2, 1), "One")
        tokens = dict(name="lite", text=None, tokens=[5, 6, 7])
        before = self.ask(**tokens).ids
        self.rests("lite")
        os.rename(path, path + ".away")
        with open(path, "wb") as file:
            file.write(b"GGUF, but no more than that")
        self.conn.call("List", kind="Models")
        self.refused(PRECONDITION, "could not be opened", lambda: self.ask(**tokens))
        os.unlink(path)
        os.rename(path + ".away", path)
        self.conn.call("List", kind="Models")
        self.assertEqual(self.ask(**tokens).ids, before)

    def test_no_memory_for_it_now(self):
        """It is tried again for who asks later."""
        self.start()
        before = self.ask().ids
        self.rests()
        with open(self.room + "/models.d/%s.conf" % TINY, "w") as file:
            file.write("[Engine]\nCacheBytes=1000\n")
        self.refused(PRECONDITION, "holds 0 pages", self.ask)
        self.assertEqual(self.state(), FAILED)
        os.unlink(file.name)
        self.assertEqual(self.ask().ids, before)

    def test_ends_while_it_goes(self):
        self.configure(IdleUnloadSec="1ms")
        for i in range(5):
            with Daemon(MOED, MODEL, args=["--config", self.room + "/moed.conf"]) as daemon:
                with daemon.connect() as conn:
                    self.ask(conn)
                    time.sleep(0.001 * i)
                self.assertEqual(daemon.stop(), 0, daemon.words())


if __name__ == "__main__":
    unittest.main()
