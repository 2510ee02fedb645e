#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A daemon that hangs is found out: the supervisor's watchdog is fed by work that gets on, and who is
ended by it tells where its threads stood, and nothing else.

usage: watchdog.py MOED MODEL [unittest arguments]
Single threads are held by ptrace, as a debugger would.
"""
import ctypes
import os
import signal
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from supervisor import Supervisor  # noqa: E402
from ttrpc import Closed, Conn  # noqa: E402

MOED, MODEL = (os.path.abspath(arg) for arg in sys.argv[1:3])
del sys.argv[1:3]

PERIOD = 1.8  # seconds; the daemon looks at its engines six times as often
SECRET = "Wolpertinger"
SEIZE, INTERRUPT, WALL = 0x4206, 0x4207, 0x40000000
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


class Held:
    """A thread that does not move until its process ends."""

    def __init__(self, tid):
        self.tid = tid
        for request in (SEIZE, INTERRUPT):
            if libc.ptrace(request, tid, None, None) < 0:
                raise unittest.SkipTest("ptrace: " + os.strerror(ctypes.get_errno()))
        os.waitpid(tid, WALL)

    def bury(self):
        """Of a process that was ended: its thread stays until its tracer has seen it."""
        while True:
            try:
                _, status = os.waitpid(self.tid, WALL)
            except ChildProcessError:
                return
            if os.WIFEXITED(status) or os.WIFSIGNALED(status):
                return


class Watchdog(unittest.TestCase):
    def setUp(self):
        self.super = Supervisor([MOED, "--model", MODEL])
        self.addCleanup(self.super.close)

    def fed(self):
        return self.super.last_heard("WATCHDOG=1")

    def thread(self, name):
        for tid in os.listdir("/proc/%d/task" % self.super.process.pid):
            with open("/proc/%d/task/%s/comm" % (self.super.process.pid, tid)) as file:
                if file.read().strip() == name:
                    return int(tid)
        raise AssertionError("no thread is called " + name)

    def busy(self):
        """Two who ask again and again, until the process ends."""
        def ask():
            try:
                with Conn(self.super.path) as conn:
                    while True:
                        conn.ask(text=SECRET, max_tokens=60, ignore_end=True)
                        self.n_answers += 1
            except (OSError, Closed):
                pass

        self.n_answers = 0
        for _ in range(2):
            thread = threading.Thread(target=ask)
            thread.start()
            self.addCleanup(thread.join)
        self.addCleanup(self.super.process.kill)  # which comes first
        time.sleep(0.2)

    def hold(self, tid):
        held = Held(tid)
        self.addCleanup(held.bury)
        self.addCleanup(self.super.process.kill)  # which comes first
        return held

    def quiet(self, since, seconds):
        """Nothing is fed any more, from a look later on until the period is over."""
        while time.monotonic() < since + seconds:
            time.sleep(0.1)
        self.assertLess(self.fed(), since + 2 * PERIOD / 6 + 1)

    def test_fed_while_idle_and_at_work(self):
        self.super.start(watchdog=PERIOD)
        with self.super.ready():
            pass
        for work in (lambda: None, self.busy):
            work()
            begin = time.monotonic()
            time.sleep(2 * PERIOD / 6 + 1)
            self.assertGreater(self.fed(), begin)
        self.assertGreater(self.n_answers, 0)

    def test_without_a_watchdog(self):
        self.super.start()
        with self.super.ready():
            self.assertEqual(self.super.heard("WATCHDOG=1"), [])

    def test_the_loop_hangs(self):
        self.super.start(watchdog=PERIOD)
        self.super.ready().close()
        held = self.hold(self.super.process.pid)
        self.quiet(time.monotonic(), PERIOD)
        self.super.process.kill()
        held.bury()
        self.super.process.wait()

    def test_an_engine_hangs(self):
        self.super.start(watchdog=PERIOD)
        self.super.ready().close()
        self.busy()
        held = self.hold(self.thread("moed-engine"))
        begin = time.monotonic()
        self.quiet(begin, PERIOD)
        # what systemd does then
        self.super.process.send_signal(signal.SIGABRT)
        held.bury()
        self.assertEqual(self.super.process.wait(60), -signal.SIGABRT)
        words = self.super.words()
        self.assertIn("ended by signal 6", words)
        self.assertRegex(words, r"stack of thread \d+ \(moed\):\n\S*moed\(")
        self.assertRegex(words, r"thread \d+ \(moed-engine\) does not answer")
        self.assertNotIn(SECRET, words)
        self.super.start(watchdog=PERIOD)
        with self.super.ready() as conn:
            self.assertTrue(conn.call("List", kind="Models")["models"][0]["adopted"])
            self.assertEqual(len(conn.ask(text=SECRET, max_tokens=4, ignore_end=True).ids), 4)

    def test_a_failed_assertion_tells_all_stacks(self):
        self.super.start()
        self.super.ready().close()
        self.busy()
        self.super.process.send_signal(signal.SIGABRT)
        self.assertEqual(self.super.process.wait(60), -signal.SIGABRT)
        words = self.super.words()
        self.assertRegex(words, r"stack of thread \d+ \(moed-engine\):\n(\S*\(.*\)\[0x[0-9a-f]+\]\n)+")
        self.assertNotIn(SECRET, words)


if __name__ == "__main__":
    unittest.main()
