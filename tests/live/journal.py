#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What the log tells and what it must not: fields in the journal, a ration for what clients cause,
no word of a prompt or an answer; and moectl log.

usage: journal.py MOED MOECTL MODEL [unittest arguments]

journald is a socket of ours, in a mount namespace of the daemon's own; where that is not allowed,
those tests are skipped.
"""
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from daemon import Daemon  # noqa: E402
from ttrpc import Failure  # noqa: E402

MOED, MOECTL, MODEL = (os.path.abspath(arg) for arg in sys.argv[1:4])
del sys.argv[1:4]
HERE = os.path.dirname(os.path.abspath(__file__))
WAIT = 60
RATION = 10  # lines of one cause in a minute
CANARY = "quetzalcoatlus"
NAMESPACE = ["unshare", "--mount", "sh", "-c",
             'mount -t tmpfs none /run && mkdir -p /run/systemd/journal && '
             'mount --bind "$0" /run/systemd/journal && exec "$@"']


def ids():
    path = os.path.join(HERE, "../../daemon/base/event.def")
    with open(path, encoding="utf-8") as file:
        return dict(re.findall(r'^EVENT\((\w+), "(\w+)"\)$', file.read(), re.M))


def may_mount():
    with tempfile.TemporaryDirectory() as room:
        return shutil.which("unshare") and subprocess.run(
            NAMESPACE[:4] + [NAMESPACE[4], room, "true"], capture_output=True).returncode == 0


MAY_MOUNT = may_mount()


class Journald:
    """Its socket, and what was heard there."""

    def __init__(self, room):
        self.folder = os.path.join(room, "journal")
        os.mkdir(self.folder)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(os.path.join(self.folder, "socket"))
        self.lines = []
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        while True:
            data = self.socket.recv(65536).decode(errors="replace")
            if not data:
                return
            assert data.endswith("\n") and "\n\n" not in data, data
            self.lines.append(dict(line.split("=", 1) for line in data[:-1].split("\n")))

    def close(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
            end.sendto(b"", self.socket.getsockname())
        self.reader.join()
        self.socket.close()

    def until(self, event, times=1):
        end = time.monotonic() + WAIT
        while True:
            found = [line for line in list(self.lines) if line.get("MESSAGE_ID") == ids()[event]]
            if len(found) >= times:
                return found
            assert time.monotonic() < end, f"waited in vain for {event}: {self.lines}"
            time.sleep(0.01)


class Journalled(Daemon):
    """Its stderr is the journal's stream, as systemd says it."""

    def start(self):
        self.journald = Journald(self.room)
        with open(self.log, "ab") as log:
            st = os.fstat(log.fileno())
            env = {**os.environ, "JOURNAL_STREAM": f"{st.st_dev}:{st.st_ino}"}
            self.process = subprocess.Popen(
                NAMESPACE + [self.journald.folder, self.moed, "--socket", self.path, "--model",
                             os.path.abspath(self.models[0])] + self.args,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env)
        return self

    def __exit__(self, *_):
        self.kill()
        self.journald.close()
        super().__exit__()


@unittest.skipUnless(MAY_MOUNT, "no mount namespaces here")
class Fields(unittest.TestCase):
    def test_events(self):
        with Journalled(MOED, MODEL) as daemon:
            daemon.ready().close()
            journald = daemon.journald
            name = os.path.basename(MODEL).removesuffix(".gguf")
            started, = journald.until("STARTED")
            self.assertRegex(started["MESSAGE"], r"^main: moed \d")
            self.assertEqual(started["PRIORITY"], "6")
            self.assertEqual(started["SYSLOG_IDENTIFIER"], "moed")
            self.assertEqual(started["ROOM"], "main")
            ready, = journald.until("MODEL_READY")
            self.assertEqual(ready["MODEL"], name)
            self.assertEqual(daemon.stop(), 0)
            journald.until("STOPPING")
            self.assertEqual(daemon.words(), "")

    def test_ration(self):
        """Who sends rubbish fills nobody's journal, nor gets a byte of it in there."""
        with Journalled(MOED, MODEL) as daemon:
            daemon.ready().close()
            for i in range(3 * RATION):
                with socket.socket(socket.AF_UNIX) as client:
                    client.settimeout(WAIT)
                    client.connect(daemon.path)
                    client.sendall(f"GET /{CANARY}\x1b[31m\n\nMODEL=forged\n".encode() * 3)
                    client.recv(1)  # closed by then
                # heard before the next one: the socket's queue holds ten lines, others are lost
                daemon.journald.until("CLIENT_BROKEN", min(i + 1, RATION))
            self.assertEqual(daemon.stop(), 0)
            daemon.journald.until("STOPPING")
            broken = daemon.journald.until("CLIENT_BROKEN", RATION)
            self.assertEqual(len(broken), RATION)
            for line in broken:
                self.assertEqual(line["PEER"], str(os.getuid()))
                self.assertEqual(line["PRIORITY"], "4")
            self.assertNotIn(CANARY, str(daemon.journald.lines))


class Silence(unittest.TestCase):
    def talk(self, daemon):
        """Prompts that are answered, refused, broken off and not understood; an answer."""
        with daemon.ready() as conn:
            answer = conn.ask(text=f"Once upon a {CANARY}", max_tokens=24, temperature=0.0)
            conn.ask(messages=[("user", f"What is a {CANARY}?")], max_tokens=4)
            conn.tokenize(f"{CANARY} " * 3)
            for failing in ({"text": f"{CANARY} " * 4000}, {"text": CANARY, "model": "absent"},
                            {"text": CANARY, "stop": [CANARY] * 200}):
                with self.assertRaises(Failure):
                    conn.ask(**failing)
            conn.generate(text=f"Gone: {CANARY}", max_tokens=2000, ignore_end=True).step()
        return answer.text

    def grep(self, room, *words):
        for folder, _, names in os.walk(room):
            for name in names:
                path = os.path.join(folder, name)
                if not os.path.isfile(path):
                    continue
                with open(path, "rb") as file:
                    data = file.read()
                for word in words:
                    self.assertNotIn(word.encode(), data, path)

    def test_no_prompt(self):
        """At every level but debug; and what is kept of a talk holds numbers, not words."""
        for level in ("error", "warning", "info"):
            with self.subTest(level=level):
                daemon = Daemon(MOED, MODEL, args=["--log-level", level])
                daemon.args += ["--keep-folder", os.path.join(daemon.room, "kept")]
                with daemon:
                    answer = self.talk(daemon)
                    self.assertEqual(daemon.stop(), 0)
                    self.assertGreater(len(answer), 20)
                    self.grep(daemon.room, CANARY, answer[:20])

    @unittest.skipUnless(MAY_MOUNT, "no mount namespaces here")
    def test_no_prompt_in_the_journal(self):
        with Journalled(MOED, MODEL) as daemon:
            answer = self.talk(daemon)
            self.assertEqual(daemon.stop(), 0)
            daemon.journald.until("STOPPING")
            for word in (CANARY, answer[:20]):
                self.assertNotIn(word, str(daemon.journald.lines))


class Verb(unittest.TestCase):
    def setUp(self):
        self.room = tempfile.mkdtemp(prefix="moed-log.")
        self.addCleanup(shutil.rmtree, self.room)
        with open(os.path.join(self.room, "journalctl"), "w") as file:
            file.write('#!/bin/sh\nprintf "%s\\n" "$@"\n')
        os.chmod(file.name, 0o755)

    def log(self, *args, has_journal=True):
        how = NAMESPACE[:]
        if not has_journal:
            how[4] = 'mount -t tmpfs none /run && mount -t tmpfs "$0" /var/log && exec "$@"'
        env = {**os.environ, "PATH": self.room + ":" + os.environ["PATH"]}
        done = subprocess.run(how + [self.room, MOECTL, "log", *args], capture_output=True,
                              text=True, timeout=WAIT, env=env)
        return done.returncode, done.stdout.split("\n")[:-1], done.stderr

    @unittest.skipUnless(MAY_MOUNT, "no mount namespaces here")
    def test_journalctl(self):
        unit = ["--unit=moed", "--no-hostname"]
        self.assertEqual(self.log(), (0, unit + ["--lines=100", "--pager-end"], ""))
        self.assertEqual(self.log("-f", "--since", "1 hour ago", "--json", "MODEL=a b", "PEER=0"),
                         (0, unit + ["--since=1 hour ago", "--follow", "--output=json", "MODEL=a b",
                                     "PEER=0"], ""))
        self.assertEqual(self.log("-qx")[1][-2:], ["--catalog", "--quiet"])

    @unittest.skipUnless(MAY_MOUNT, "no mount namespaces here")
    def test_no_journal(self):
        code, out, err = self.log(has_journal=False)
        self.assertEqual((code, out), (1, []))
        self.assertIn("keeps no journal", err)

    def test_usage(self):
        """No word becomes an option of journalctl."""
        for word in ("tiny", "--rotate", "--vacuum-size=1", "=x"):
            done = subprocess.run([MOECTL, "log", "--", word], capture_output=True, text=True,
                                  timeout=WAIT)
            self.assertEqual(done.returncode, 2, done.stderr)


if __name__ == "__main__":
    unittest.main()
