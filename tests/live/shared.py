#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What all users may find known: the system prompts that the administrator lists, and nothing else.

usage: shared.py MOED MODEL [unittest arguments]        as root, else nothing is tested
"""
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from daemon import Daemon  # noqa: E402
from ttrpc import Conn  # noqa: E402

MOED, MODEL = sys.argv[1:3]
del sys.argv[1:3]
ALICE, BOB = 50001, 50002
SYSTEM = "You are a clerk of the town. Answer briefly, politely and truthfully. " * 6
SECRET = "My secret is that the fox who lives behind the mill has eaten the geese of the mayor. " * 3
PAGE = 32


@unittest.skipUnless(os.geteuid() == 0, "only root can be somebody else")
class Shared(unittest.TestCase):
    def born(self, *listed):
        daemon = Daemon(MOED, MODEL)
        self.addCleanup(daemon.__exit__)
        config = os.path.join(daemon.room, "moed.conf")
        with open(config, "w") as file:
            file.write("[Engine]\n")
            for i, text in enumerate(listed):
                path = os.path.join(daemon.room, "prompt-%d" % i)
                if text is not None:
                    with open(path, "w") as prompt:
                        prompt.write(text)
                file.write("SharedPrompt=%s\n" % path)
        daemon.args = ["--config", config]
        daemon.start()
        daemon.ready().close()
        os.chmod(daemon.room, 0o755)
        os.chmod(daemon.path, 0o666)
        return daemon

    def connect(self, daemon, uid):
        os.seteuid(uid)  # the kernel tells the daemon who connects
        try:
            conn = Conn(daemon.path)
        finally:
            os.seteuid(0)
        self.addCleanup(conn.close)
        self.assertEqual(conn.hello()["uid"], uid)
        return conn

    def ask(self, conn, **kw):
        answer = conn.ask(max_tokens=12, temperature=0, ignore_end=True, **kw)
        return answer.ids, answer.usage["cached_tokens"] or 0

    def chat(self, conn, system, user):
        return self.ask(conn, messages=[("system", system), ("user", user)])

    def test_a_system_prompt(self):
        plain, daemon = self.born(), self.born(SYSTEM.strip() + "\n")
        nobody = self.connect(plain, ALICE)
        alice, bob = self.connect(daemon, ALICE), self.connect(daemon, BOB)
        n = len(alice.tokenize(SYSTEM))
        expected = [self.chat(nobody, SYSTEM.strip(), words)[0]
                    for words in (SECRET, SECRET + "Why?", "Good morning!")]
        self.assertEqual(self.chat(alice, SYSTEM.strip(), SECRET), (expected[0], 0))
        # what she said is in no page that he gets
        for words, ids in zip((SECRET + "Why?", "Good morning!"), expected[1:]):
            got, known = self.chat(bob, SYSTEM.strip(), words)
            self.assertEqual(got, ids)
            self.assertEqual(known % PAGE, 0)
            self.assertGreater(known, n - 2 * PAGE)
            self.assertLess(known, n + PAGE)
        self.assertGreater(self.chat(alice, SYSTEM.strip(), SECRET)[1], n + 2 * PAGE)
        # another prompt is nobody else's, nor is the listed one behind something else
        for system in ("Be brief. " + SYSTEM, SECRET):
            self.chat(alice, system, SECRET)
            self.assertLess(self.chat(bob, system, SECRET)[1], PAGE)
        stats = bob.stats()["models"][0]
        self.assertEqual(stats["pages_shared"], known // PAGE)

    def test_plain_text(self):
        daemon = self.born(SYSTEM)
        alice, bob = self.connect(daemon, ALICE), self.connect(daemon, BOB)
        n = len(alice.tokenize(SYSTEM))
        self.assertEqual(self.ask(alice, text=SYSTEM + SECRET)[1], 0)
        known = self.ask(bob, text=SYSTEM + SECRET)[1]
        self.assertEqual(known % PAGE, 0)
        self.assertGreater(known, n - 2 * PAGE)
        self.assertLessEqual(known, n)

    def test_what_cannot_be_shared(self):
        daemon = self.born(None, "", "Short.", "much " * 100000, SYSTEM)
        for i, words in enumerate(("cannot open", "expected text", "0 whole pages", "expected at most")):
            line = [one for one in daemon.words().split("\n") if "prompt-%d " % i in one]
            self.assertTrue(line and words in line[0], (words, line))
        alice, bob = self.connect(daemon, ALICE), self.connect(daemon, BOB)
        self.chat(alice, SYSTEM, SECRET)
        self.assertGreater(self.chat(bob, SYSTEM, SECRET)[1], PAGE)


if __name__ == "__main__":
    unittest.main()
