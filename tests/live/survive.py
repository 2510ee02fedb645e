#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Weights outlive the daemon: what a supervisor kept is taken over by the next process if it is
right in every way, and dropped if not. The supervisor is played by supervisor.py.

usage: survive.py MOED MODEL [unittest arguments]
"""
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from daemon import Daemon  # noqa: E402
from supervisor import Supervisor  # noqa: E402
from ttrpc import Conn, blob, num  # noqa: E402

MOED, MODEL = (os.path.abspath(arg) for arg in sys.argv[1:3])
del sys.argv[1:3]

F_ADD_SEALS, F_GET_SEALS = 1033, 1034
SEAL_ALL = 15  # no more seals, and neither shrinking, growing nor writing


def copy_of(fd, change=None, seals=SEAL_ALL, bytes_less=0):
    """A memory of its own with the same bytes but for what `change` does to them."""
    size = os.fstat(fd).st_size - bytes_less
    data = bytearray(os.pread(fd, size, 0))
    if change:
        change(data)
    made = os.memfd_create("copy", os.MFD_ALLOW_SEALING)
    os.write(made, data)
    fcntl.fcntl(made, F_ADD_SEALS, seals)
    return made


def flip(at):
    def change(data):
        data[at] ^= 0x10
    return change


class Survive(unittest.TestCase):
    def setUp(self):
        self.super = Supervisor([MOED, "--model", MODEL])
        self.addCleanup(self.super.close)

    def ask(self, conn):
        return conn.ask(text="Once upon a time", max_tokens=12, temperature=0, ignore_end=True).ids

    def model(self, conn):
        return conn.call("List", kind="Models")["models"][0]

    def born(self, *args):
        """A process, what its model says of itself, and what it answers."""
        self.super.start(*args)
        with self.super.ready() as conn:
            return self.model(conn), self.ask(conn)

    def test_restarted_and_killed(self):
        first, said = self.born()
        self.assertFalse(first["adopted"])
        self.assertGreater(first["kept_bytes"], 1 << 20)
        names = self.super.names()
        self.assertEqual([name[0] for name in names], ["m", "w"])
        for end in (self.super.stop, self.super.kill, self.super.kill):
            end()
            self.assertEqual(self.super.names(), names)
            again, words = self.born()
            self.assertTrue(again["adopted"], self.super.words())
            self.assertEqual(again["kept_bytes"], first["kept_bytes"])
            self.assertEqual(words, said)
            self.assertEqual(self.super.names(), names)
        for name in names:
            fd = self.super.fd(name)
            self.assertEqual(fcntl.fcntl(fd, F_GET_SEALS) & 14, 14)

    def test_status_says_who_keeps_them(self):
        self.super.start()
        with self.super.ready() as conn:
            self.assertEqual(conn.call("Stats", kind="Stats")["vault"], "systemd")

    def test_unloaded_is_gone(self):
        self.super.start()
        with self.super.ready() as conn:
            self.assertEqual(len(self.super.names()), 2)
            conn.call("Unload")
            end = time.monotonic() + 60
            while self.super.names():
                self.assertLess(time.monotonic(), end)
                time.sleep(0.01)

    def test_cut_short(self):
        """Whatever a load that did not end left behind, the next one is whole."""
        for ms in (0, 10, 40):
            self.super.start()
            time.sleep(ms / 1000)
            self.super.kill()
        _, said = self.born()
        self.super.kill()
        again, words = self.born()
        self.assertTrue(again["adopted"])
        self.assertEqual(words, said)
        self.assertEqual(len(self.super.names()), 2)

    def test_another_file(self):
        model = os.path.join(self.super.room, "model.gguf")
        shutil.copy(MODEL, model)
        self.super.command[-1] = model
        _, said = self.born()

        def replaced():  # another file of the same bytes
            shutil.copy(model, model + ".new")
            os.rename(model + ".new", model)

        def touched():
            os.utime(model, (1, 1))

        def changed():  # a weight, and the times as they were
            before = os.stat(model)
            with open(model, "r+b") as file:
                file.seek(-5000, os.SEEK_END)
                byte = file.read(1)[0]
                file.seek(-5000, os.SEEK_END)
                file.write(bytes([byte ^ 1]))
            os.utime(model, ns=(before.st_atime_ns, before.st_mtime_ns))

        for change in (replaced, touched, changed):
            self.super.kill()
            change()
            again, words = self.born()
            self.assertFalse(again["adopted"], change.__name__)
            self.assertIn("the model's file is another one now", self.super.words())
            self.assertEqual(len(self.super.names()), 2)
            if change != changed:
                self.assertEqual(words, said)
        self.super.kill()
        again, words = self.born()
        self.assertTrue(again["adopted"])

    def test_another_packing(self):
        fast, said = self.born()
        self.super.kill()
        plain, _ = self.born("--cpu", "c")
        with open("/proc/cpuinfo") as file:
            has_avx2 = " avx2 " in file.read()
        self.assertEqual(plain["adopted"], not has_avx2)
        self.super.kill()
        again, words = self.born()
        self.assertFalse(again["adopted"])
        self.assertEqual(words, said)
        if has_avx2:  # which finds the rows where wider sets do
            self.super.kill()
            narrow, _ = self.born("--cpu", "avx2")
            self.assertTrue(narrow["adopted"])

    def test_no_longer_wanted(self):
        self.born()
        self.super.kill()
        self.super.add("k.something-else", os.memfd_create("other"))
        model = os.path.join(self.super.room, "other.gguf")
        os.symlink(MODEL, model)
        before = self.super.names()
        self.super.command[-1] = model
        other, _ = self.born()
        self.assertFalse(other["adopted"])
        self.assertEqual(len(self.super.names()), 2)
        self.assertFalse(set(before) & set(self.super.names()))

    def test_loaded_from_a_folder(self):
        """What somebody had loaded is loaded again; what was taken away is let go."""
        folder = os.path.join(self.super.room, "models")
        os.mkdir(folder)
        shutil.copy(MODEL, os.path.join(folder, "one.gguf"))
        self.super.command += ["--folder", folder]

        def found():
            with Conn(self.super.path) as conn:
                models = conn.call("List", kind="Models")["models"]
                return next((m for m in models if m["name"] == "one"), None)

        self.super.start()
        with self.super.ready() as conn:
            conn.call("Load", blob(1, "one") + num(2, 1))
        self.assertEqual(len(self.super.names()), 4)
        for end in (self.super.kill, self.super.stop):
            end()
            self.super.start()
            self.super.await_("STATUS=moed-tiny-Q4_K_M ready; one ready", self.super.started)
            self.assertTrue(found()["adopted"])
            self.assertEqual(len(self.super.names()), 4)
        self.super.kill()
        os.unlink(os.path.join(folder, "one.gguf"))
        self.super.start()
        self.super.ready().close()
        self.assertIsNone(found())
        end = time.monotonic() + 60
        while len(self.super.names()) > 2:
            self.assertLess(time.monotonic(), end)
            time.sleep(0.01)

    # ---- what is not as we left it

    def spoil(self, words, begin, fd):
        """With this instead of what was kept, everything is loaded anew."""
        self.super.kill()
        self.super.replace(begin, fd)
        again, said = self.born()
        self.assertFalse(again["adopted"], words)
        self.assertIn(words, self.super.words())
        self.assertEqual(said, self.said)
        self.assertEqual([name[0] for name in self.super.names()], ["m", "w"])
        self.assertEqual(fcntl.fcntl(self.super.fd("w."), F_GET_SEALS), SEAL_ALL)

    def test_spoilt_blocks(self):
        first, self.said = self.born()
        block = lambda: self.super.fd("w.")  # noqa: E731
        self.spoil("block 0 of 1 is missing", "w.", None)
        self.spoil("it could still be changed", "w.", copy_of(block(), seals=0))
        self.spoil("it could still be changed", "w.", copy_of(block(), seals=2 | 4))
        self.spoil("bytes, expected", "w.", copy_of(block(), bytes_less=4096))
        self.spoil("the checksum of matrix", "w.", copy_of(block(), flip(first["kept_bytes"] // 2)))
        self.spoil("the checksum of matrix", "w.", copy_of(block(), flip(0)))
        self.spoil("it is no memory that could be sealed", "w.", os.open(MODEL, os.O_RDONLY))
        self.spoil("it is no memory that could be sealed", "w.", os.open("/dev/zero", os.O_RDWR))
        if os.geteuid() == 0:
            made = copy_of(block())
            os.fchown(made, 65534, 65534)
            self.spoil("it belongs to uid 65534", "w.", made)

    def test_spoilt_manifests(self):
        _, self.said = self.born()
        manifest = lambda: self.super.fd("m.")  # noqa: E731

        def words(bytes_):
            def change(data):
                data[:len(bytes_)] = bytes_
            return change

        # what is no manifest at all is dropped before anything is loaded
        dropped = "are of no use any more"
        self.spoil(dropped, "m.", None)
        self.spoil(dropped, "m.", copy_of(manifest(), seals=0))
        self.spoil(dropped, "m.", copy_of(manifest(), words(b"something else")))
        for at in (8, 30, 60, 3000):
            self.spoil(dropped, "m.", copy_of(manifest(), flip(at)))
        self.spoil(dropped, "m.", copy_of(manifest(), bytes_less=os.fstat(manifest()).st_size - 50))
        self.spoil(dropped, "m.", os.memfd_create("empty"))


class Safe(unittest.TestCase):
    """What ends again and again is started carefully."""

    def setUp(self):
        self.super = Supervisor([MOED, "--model", MODEL])
        self.addCleanup(self.super.close)
        self.super.env["STATE_DIRECTORY"] = self.super.room + ":/nowhere"

    def asked(self):
        """What the daemon says of itself and its model once it serves."""
        with Conn(self.super.path) as conn:
            return conn.call("Stats", kind="Stats")["notice"], conn.call("List", kind="Models")["models"][0]

    def test_the_fourth_start_is_careful(self):
        for _ in range(3):
            self.super.start()
            self.assertEqual(self.asked()[0], "")
            self.super.ready().close()
            self.super.kill()
        self.assertEqual(len(self.super.names()), 2)
        self.super.start()
        notice, model = self.asked()
        self.assertIn("safe mode, since moed ended unasked 3 times", notice)
        self.assertEqual(model["state"] or 0, 0)  # not loaded
        self.super.await_("STATUS=Safe mode")
        self.assertEqual(self.super.names(), [])
        with Conn(self.super.path) as conn:  # but it can be
            conn.call("Load", num(2, 1))
            self.assertFalse(conn.call("List", kind="Models")["models"][0]["adopted"])
        self.assertEqual(self.super.stop(), 0)
        self.super.start()
        self.assertEqual(self.asked()[0], "")
        self.super.ready().close()

    def test_never(self):
        self.super.command += ["--config", os.path.join(self.super.room, "moed.conf")]
        with open(self.super.command[-1], "w") as file:
            file.write("[Daemon]\nSafeAfter=0\n")
        for _ in range(5):
            self.super.start()
            self.assertEqual(self.asked()[0], "")
            self.super.kill()

    def test_failures_that_say_why_do_not_count(self):
        for _ in range(4):
            self.super.start("--model", "/nowhere/x.gguf")
            self.assertEqual(self.super.process.wait(60), 1)
        self.super.start()
        self.assertEqual(self.asked()[0], "")


class Helper(unittest.TestCase):
    """Without a supervisor: a helper keeps the weights."""

    def setUp(self):
        self.daemon = Daemon(MOED, MODEL)
        self.addCleanup(self.daemon.__exit__)
        self.socket = os.path.join(self.daemon.room, "vault")
        self.daemon.args = ["--vault", self.socket]
        self.helper = None

    def start_helper(self):
        with open(self.daemon.log, "ab") as log:
            self.helper = subprocess.Popen([MOED, "--vault-socket", self.socket], stderr=log)
        self.addCleanup(self.helper.wait)
        self.addCleanup(self.helper.terminate)
        while not os.path.exists(self.socket):
            time.sleep(0.01)

    def born(self):
        self.daemon.start()
        with self.daemon.ready() as conn:
            model = conn.call("List", kind="Models")["models"][0]
            ids = conn.ask(text="Once upon a time", max_tokens=12, temperature=0, ignore_end=True).ids
            return model, conn.call("Stats", kind="Stats")["vault"], ids

    def held(self):
        fds = "/proc/%d/fd/" % self.helper.pid
        return sum("memfd:" in os.readlink(fds + fd) for fd in os.listdir(fds))

    def test_kept_by_a_helper(self):
        self.start_helper()
        model, vault, said = self.born()
        self.assertEqual(vault, "the helper at " + self.socket)
        self.assertFalse(model["adopted"])
        self.assertEqual(self.held(), 2)
        for end in (self.daemon.kill, self.daemon.stop, self.daemon.kill):
            end()
            model, _, words = self.born()
            self.assertTrue(model["adopted"], self.daemon.words())
            self.assertEqual(words, said)
            self.assertEqual(self.held(), 2)
        with self.daemon.connect() as conn:
            conn.call("Unload")
        end = time.monotonic() + 60
        while self.held():
            self.assertLess(time.monotonic(), end)
            time.sleep(0.01)
        # one at a time
        other = Daemon(MOED, MODEL)
        other.args = self.daemon.args
        self.addCleanup(other.__exit__)
        other.start()
        with other.ready() as conn:
            self.assertEqual(conn.call("Stats", kind="Stats")["vault"] or "", "")
        self.assertIn("serves another daemon", other.words())
        self.assertEqual(other.stop(), 0)
        self.assertEqual(self.daemon.stop(), 0)
        # one that died is replaced, and what it held is gone
        self.helper.kill()
        self.helper.wait()
        before = self.daemon.words()
        self.start_helper()
        while self.daemon.words() == before:
            time.sleep(0.01)
        model, _, words = self.born()
        self.assertFalse(model["adopted"])
        self.assertEqual(words, said)

    @unittest.skipUnless(os.geteuid() == 0, "only root can become somebody else")
    def test_somebody_else_is_turned_away(self):
        """As often as he tries; ten lines a minute say so."""
        self.start_helper()
        for path, mode in ((self.daemon.room, 0o755), (self.socket, 0o777)):
            os.chmod(path, mode)
        child = os.fork()
        if child == 0:
            os.setuid(61003)
            for _ in range(40):
                with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
                    client.connect(self.socket)
                    try:
                        if client.recv(1) != b"":
                            os._exit(1)
                    except ConnectionResetError:
                        pass
            os._exit(0)
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 0)
        self.assertEqual(self.daemon.words().count("uid 61003 was turned away"), 10)

    def test_no_helper(self):
        model, vault, _ = self.born()
        self.assertEqual((vault or "", model["kept_bytes"]), ("", 0))
        self.assertIn("weights will end with this process: no helper answers at", self.daemon.words())


class Patience(unittest.TestCase):
    def test_slow_files_are_waited_for(self):
        """The daemon stands still among them for longer than a start may take."""
        with tempfile.TemporaryDirectory() as room:
            models = ["%s/%d.gguf" % (room, i) for i in range(12)]
            for model in models:
                os.symlink(MODEL, model)
            with Supervisor([MOED] + [arg for model in models for arg in ("--model", model)]) as s:
                s.start()
                s.await_("STATUS=Opening model ")
                s.process.send_signal(signal.SIGSTOP)
                self.assertEqual(s.heard("READY=1"), [])
                going_on = threading.Timer(2, s.process.send_signal, [signal.SIGCONT])
                going_on.start()
                s.in_time(1)
                self.assertGreater(time.monotonic(), s.started + 2)
                going_on.join()
                stopped = time.monotonic()
                self.assertEqual(s.stop(), 0)
                self.assertIn("EXTEND_TIMEOUT_USEC=40000000", s.heard("EXTEND", stopped))


if __name__ == "__main__":
    unittest.main()
