#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What a daemon knows again after it died: a folder of what was read and written before.

usage: kept.py MOED MODEL [unittest arguments]
"""
import glob
import os
import random
import stat
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from daemon import Daemon  # noqa: E402
from ttrpc import Conn  # noqa: E402

MOED, MODEL = sys.argv[1:3]
del sys.argv[1:3]
STORY = "Once upon a time there was a little fox who lived in the forest. " * 8


class Kept(unittest.TestCase):
    def setUp(self):
        self.daemon = Daemon(MOED, MODEL)
        self.addCleanup(self.daemon.__exit__)
        self.folder = os.path.join(self.daemon.room, "kept")
        self.daemon.args = ["--keep-folder", self.folder]

    def born(self, *args):
        self.daemon.args = ["--keep-folder", self.folder] + list(args)
        self.daemon.start()
        conn = self.daemon.ready()
        self.addCleanup(conn.close)
        return conn

    def files(self, ending=".kv"):
        return glob.glob(self.folder + "/*/*" + ending)

    def written(self, n=1):
        """Waits until so many files are there; nobody may ask for anything meanwhile."""
        end = time.monotonic() + 60
        while len(self.files()) < n:
            self.assertLess(time.monotonic(), end, self.daemon.words())
            time.sleep(0.02)

    def pages_kept(self, conn):
        """Once nothing is computed any more."""
        while True:
            stats = conn.stats()["models"][0]
            if not stats["sequences"] and not stats["pages_used"]:
                return conn.stats()["models"][0]["pages_kept"] or 0
            time.sleep(0.02)

    def talk(self, conn, turns):
        """What is said in each turn, and how much of it was known."""
        said, known = conn.tokenize(STORY), []
        for turn in range(turns):
            answer = conn.ask(tokens=said, max_tokens=30, temperature=0, ignore_end=True)
            known.append(answer.usage["cached_tokens"] or 0)
            said = said + answer.ids + conn.tokenize(" And then, turn %d." % turn)
        return said, known

    def test_killed_and_known(self):
        conn = self.born()
        said, known = self.talk(conn, 2)
        self.assertEqual(known[0], 0)
        whole, after = self.talk(conn, 4)
        self.written()
        self.daemon.kill()
        conn = self.born()
        answer = conn.ask(tokens=said, max_tokens=30, temperature=0, ignore_end=True)
        self.assertGreaterEqual(answer.usage["cached_tokens"], after[2])
        self.assertEqual(whole[len(said):len(said) + 30], answer.ids)
        again, known = self.talk(conn, 4)
        self.assertEqual(again, whole)
        self.assertTrue(all(a >= b for a, b in zip(known, after)), (known, after))
        self.daemon.kill()
        # rows of another arithmetic are others
        with self.born("--cpu", "c") as conn:
            self.assertEqual(self.talk(conn, 1)[1], [0])

    def test_ended_and_known(self):
        conn = self.born()
        said, _ = self.talk(conn, 2)
        begin = time.monotonic()
        self.assertEqual(self.daemon.stop(), 0)
        self.assertLess(time.monotonic() - begin, 10)
        self.assertEqual(len(self.files()), 1)
        for path in [self.folder] + glob.glob(self.folder + "/*"):
            self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o700)
        for path in self.files():
            self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        conn = self.born()
        answer = conn.ask(tokens=said, max_tokens=5)
        self.assertGreater(answer.usage["cached_tokens"], len(said) - 80)
        self.assertEqual(self.daemon.stop(), 0)

    def test_killed_at_any_moment(self):
        chosen = random.Random(5)
        conn = self.born()
        whole, _ = self.talk(conn, 3)
        for _ in range(4):
            time.sleep(chosen.uniform(0.9, 1.4))  # a second after the last word it is written
            self.daemon.kill()
            conn = self.born()
            self.assertEqual(self.files(".tmp"), [])
            self.assertEqual(self.talk(conn, 3)[0], whole)
        self.assertNotIn("not read", self.daemon.words())

    @unittest.skipUnless(os.geteuid() == 0, "only root can be somebody else")
    def test_a_users_quota(self):
        stats = self.born().stats()["models"][0]
        self.assertEqual(self.daemon.stop(), 0)
        page = stats["cache_bytes"] // stats["pages_total"]
        config = os.path.join(self.daemon.room, "moed.conf")
        with open(config, "w") as file:
            file.write("[Access]\nCacheQuota=50001 %d %d\nCacheQuota=50002 0\n"
                       "CacheQuota=50003 1T 0\n" % (12 * page, 8 * page))
        conn = self.born("--config", config)
        os.chmod(self.daemon.room, 0o755)
        os.chmod(self.daemon.path, 0o666)
        pages = []
        for uid in (50001, 50002, 50003, 50004):
            os.seteuid(uid)  # the kernel tells the daemon who connects
            try:
                other = Conn(self.daemon.path)
            finally:
                os.seteuid(0)
            with other:
                for i in range(4):
                    other.ask(text="%d %s" % (i, STORY), max_tokens=1)
            pages.append(self.pages_kept(conn) - sum(pages))
        self.assertEqual(pages[:2], [12, 0])
        self.assertGreater(pages[3], 12)
        self.assertEqual(pages[2], pages[3])
        self.assertEqual(self.daemon.stop(), 0)  # the rest is written
        bytes_of = {uid: sum(os.path.getsize(path) for path in
                             glob.glob("%s/%d/*.kv" % (self.folder, uid)))
                    for uid in (50001, 50002, 50003, 50004)}
        self.assertGreater(bytes_of[50001], 0)
        self.assertLessEqual(bytes_of[50001], 8 * page)
        self.assertEqual((bytes_of[50002], bytes_of[50003]), (0, 0))
        self.assertGreater(bytes_of[50004], 8 * page)

    def test_a_folder_that_cannot_be(self):
        with open(self.folder, "w"):
            pass
        conn = self.born()
        self.assertEqual(self.talk(conn, 1)[1], [0])
        self.assertIn("nothing is kept on the disk: cannot open the folder", self.daemon.words())
        self.assertEqual(self.daemon.stop(), 0)


if __name__ == "__main__":
    unittest.main()
