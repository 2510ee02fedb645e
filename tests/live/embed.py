#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Texts as vectors, beside those of a judge that shares no line with the daemon.

usage: embed.py MOECTL MOED MODEL [unittest arguments]
"""
import json
import os
import subprocess
import sys
import unittest

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "fixture")]
import forward  # noqa: E402
from daemon import Daemon  # noqa: E402

MOECTL, MOED, MODEL = (os.path.abspath(arg) for arg in sys.argv[1:4])
del sys.argv[1:4]
TEXTS = ("The owl counted the bells of the town, and the fox the owls.", "a")


def moectl(daemon, *args, stdin=b""):
    done = subprocess.run([MOECTL, "-S", daemon.path, "--json", *args], input=stdin,
                          capture_output=True, timeout=120)
    return done.returncode, json.loads(done.stdout)


def angle(a, b):
    return 1 - a @ b / (np.linalg.norm(a) * np.linalg.norm(b))


class Embed(unittest.TestCase):
    def embed(self, daemon, text, *args):
        rc, told = moectl(daemon, "embed", "--pooling", "mean", *args, stdin=text.encode())
        self.assertEqual(rc, 0, told)
        return np.array(told["values"])

    def test_against_the_judge(self):
        judge = forward.Model(MODEL)
        exact = []
        with Daemon(MOED, MODEL, args=["--place", "ref"]) as daemon:
            conn = daemon.ready()
            for text in TEXTS:
                ids = conn.ask(text=text, max_tokens=1, return_prompt=True).prompt
                expected = judge.hidden(ids).mean(axis=0)
                found = self.embed(daemon, text)
                self.assertEqual(len(found), len(expected))
                self.assertLess(np.abs(found - expected).max(), 2e-3 * np.abs(expected).max())
                exact.append(found)
            unit = self.embed(daemon, TEXTS[-1], "--normalize")
            self.assertAlmostEqual(np.linalg.norm(unit), 1, 5)
            self.assertLess(angle(exact[-1], unit), 1e-6)
            conn.close()
        with Daemon(MOED, MODEL, args=["--threads", "2"]) as daemon:
            conn = daemon.ready()
            for text, expected in zip(TEXTS, exact):
                found = self.embed(daemon, text)
                self.assertLess(angle(found, expected), 5e-3)
                again = self.embed(daemon, text)  # now that it is known
                self.assertTrue((found == again).all())
            self.refusals(daemon)
            conn.close()

    def refusals(self, daemon):
        def refused(request, status, *words):
            rc, told = moectl(daemon, "rpc", "Embed", json.dumps(request))
            self.assertEqual((rc, told["error"]["status"]), (1, status), told)
            for word in words:
                self.assertIn(word, told["error"]["message"])
        refused({"text": "a"}, "FAILED_PRECONDITION", "no embedding model", "'mean'")
        refused({"text": "a", "pooling": ""}, "FAILED_PRECONDITION", "no embedding model")
        refused({"text": "a", "pooling": "last"}, "INVALID_ARGUMENT", "is 'last', expected 'mean'")
        refused({"pooling": "mean"}, "INVALID_ARGUMENT", "exactly one of")
        refused({"text": "a", "tokens": {"ids": [1]}, "pooling": "mean"}, "INVALID_ARGUMENT")
        refused({"tokens": {"ids": [999999]}, "pooling": "mean"}, "INVALID_ARGUMENT", "expected 0 to")
        refused({"tokens": {"ids": [300] * 20000}, "pooling": "mean"}, "INVALID_ARGUMENT",
                "the context holds")
        rc, told = moectl(daemon, "embed", "--pooling", "mean", "--model", "none", "a")
        self.assertEqual((rc, told["error"]["status"]), (4, "NOT_FOUND"))
        rc, told = moectl(daemon, "embed", "a")
        self.assertIn("Use a model that was made for embeddings", told["error"]["message"])

        # whoever goes away is not worked for
        for _ in range(3):
            process = subprocess.Popen(
                [MOECTL, "-S", daemon.path, "embed", "--pooling", "mean"], stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            process.stdin.write(b"The heron told a long tale. " * 60)
            process.stdin.close()
            process.kill()
            process.wait()
        name = moectl(daemon, "list")[1]["models"][0]["name"]
        moectl(daemon, "unload", name)
        refused({"text": "a", "pooling": "mean"}, "FAILED_PRECONDITION", "load it first")
        self.assertEqual(daemon.stop(), 0)


if __name__ == "__main__":
    unittest.main()
