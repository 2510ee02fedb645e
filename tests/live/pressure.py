#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Memory gets short: a daemon that is told so gives back what it kept, then refuses, and recovers.

usage: pressure.py MOED MOECTL MODEL [unittest arguments]

How short it is stands in a file of ours, which the daemon reads instead of the kernel's.
"""
import json
import os
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from daemon import Daemon  # noqa: E402
from ttrpc import RC, Failure, blob  # noqa: E402

MOED, MOECTL, MODEL = sys.argv[1:4]
del sys.argv[1:4]
CALM, SCRATCH, PARK, DROP, REFUSE = range(5)
NAMES = ["calm", "scratch", "park", "drop", "refuse"]
STORY = "Once upon a time there was a little fox who lived in the forest. " * 8


class Pressure(unittest.TestCase):
    def setUp(self):
        self.daemon = Daemon(MOED, MODEL)
        self.addCleanup(self.daemon.__exit__)
        self.file = os.path.join(self.daemon.room, "pressure")
        self.folder = os.path.join(self.daemon.room, "kept")
        self.press(0)
        self.daemon.args = ["--pressure-file", self.file, "--keep-folder", self.folder]

    def press(self, percent):
        words = "".join("%s avg10=%.2f avg60=0.00 avg300=0.00 total=0\n" % pair
                        for pair in (("some", percent), ("full", percent / 4)))
        with open(self.file + ".new", "w") as file:
            file.write(words)
        os.rename(self.file + ".new", self.file)

    def reach(self, rung):
        """Waits for it; the figures then."""
        end = time.monotonic() + 60
        while True:
            stats = self.conn.stats()
            if (stats["pressure"]["rung"] or 0) == rung:
                return stats
            self.assertLess(time.monotonic(), end, "rung %r" % stats["pressure"])
            time.sleep(0.02)

    def wait_kept(self, n):
        end = time.monotonic() + 60
        while (self.conn.stats()["models"][0]["pages_kept"] or 0) != n:
            self.assertLess(time.monotonic(), end)
            time.sleep(0.02)

    def status(self):
        done = subprocess.run([MOECTL, "-S", self.daemon.path, "status", "--json"], check=True,
                              stdout=subprocess.PIPE)
        return json.loads(done.stdout)

    def refuse(self, what):
        with self.assertRaises(Failure) as refused:
            what()
        self.assertEqual(refused.exception.code, 8)
        self.assertIn("memory is short", refused.exception.words)
        self.assertTrue(0 < refused.exception.retry_after_ms < 5000)

    def test_up_and_down(self):
        self.daemon.start()
        self.conn = self.daemon.ready()
        self.addCleanup(self.conn.close)
        watcher = self.daemon.connect()
        self.addCleanup(watcher.close)
        events = watcher.events(watcher.open("Watch", b"", RC), "Watch")
        first = self.conn.ask(text=STORY, max_tokens=8, ignore_end=True)
        self.assertEqual(self.reach(CALM)["pressure"]["changes"] or 0, 0)
        self.assertGreater(self.conn.stats()["models"][0]["pages_kept"], 0)

        self.press(12)  # what is kept goes to the disk
        stats = self.reach(PARK)
        self.assertEqual(stats["pressure"]["some_percent"], 12)
        self.wait_kept(0)
        again = self.conn.ask(text=STORY, max_tokens=8, ignore_end=True)
        self.assertEqual(again.ids, first.ids)
        self.assertGreater(again.usage["cached_tokens"], 64)
        model = self.conn.stats()["models"][0]
        self.assertGreater(model["given_back_bytes"], 0)
        self.assertFalse(model["pages_lost"])

        self.conn.call("SessionCreate", blob(1, "fox"))
        self.press(90)
        running = self.conn.generate(text="A fox", max_tokens=300, ignore_end=True)
        self.assertTrue(running.step())
        self.reach(REFUSE)
        self.refuse(lambda: self.conn.ask(text="Once", max_tokens=1))
        for method, body in (("SessionCreate", blob(1, "new")), ("SessionFork", blob(1, "fox")),
                             ("SessionAppend", blob(1, "fox") + blob(3, blob(4, "And then")))):
            self.refuse(lambda: self.conn.call(method, body))
        self.conn.call("SessionDelete", blob(1, "fox"))  # which frees some
        self.assertEqual(len(running.run().ids), 300)  # who runs goes on
        told = self.status()["pressure"]
        self.assertEqual((told["rung"], told["some_percent"]), ("refuse", 90))
        self.assertEqual(told["source"], self.file)

        self.press(0)
        changes = self.reach(DROP)["pressure"]["changes"]
        self.conn.ask(text="Once", max_tokens=1)
        seen = []
        while len(seen) == 0 or seen[-1] != (changes, DROP):
            pressure = next(events)["pressure"]
            if pressure:
                seen.append((pressure["changes"], pressure["rung"]))
        self.assertEqual(seen, sorted(set(seen)))
        self.assertIn(REFUSE, [rung for _, rung in seen])
        for rung in (PARK, REFUSE):
            self.assertIn("rung '%s'" % NAMES[rung], self.daemon.words())
        self.assertEqual(self.daemon.stop(), 0)

    def test_what_cannot_be_read(self):
        self.daemon.args = ["--pressure-file", "/nowhere/memory"]
        self.daemon.start()
        self.assertEqual(self.daemon.wait(), 1)
        self.assertIn("cannot read '/nowhere/memory' as a pressure file", self.daemon.words())

    def test_off(self):
        self.daemon.args = ["--pressure-file", "off"]
        self.daemon.start()
        self.conn = self.daemon.ready()
        self.addCleanup(self.conn.close)
        told = self.status()["pressure"]
        self.assertEqual((told["rung"], told["some_percent"]), ("calm", None))
        self.assertIn("nobody looks", told["source"])
        self.assertEqual(self.daemon.stop(), 0)


if __name__ == "__main__":
    unittest.main()
