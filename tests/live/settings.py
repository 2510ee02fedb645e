#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The configuration of a daemon that runs: shown, changed, read again; and who may do what with it.

usage: settings.py MOED MOECTL MODEL
Access is tried as several users by those who may become them: root, a member of the socket's group,
a stranger. Others skip these.
"""
import json
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from ttrpc import CODES, Conn, Failure, blob, num, wait_for  # noqa: E402

MOED, MOECTL, MODEL = (os.path.abspath(arg) for arg in sys.argv[1:4])
WAIT = 60
NAME = "moed-tiny-Q4_K_M"
MEMBER, BATCH, STRANGER, GROUP, STUDENTS = 61001, 61002, 61003, 61010, 61011


class Settings(unittest.TestCase):
    def setUp(self):
        self.room = tempfile.mkdtemp(prefix="moed-settings.")
        os.chmod(self.room, 0o755)
        self.socket = self.room + "/moed.sock"
        self.conf = self.room + "/moed.conf"
        self.process = None
        self.write("")

    def tearDown(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
        if self.process:
            self.process.communicate()
        shutil.rmtree(self.room)

    def write(self, text, name="moed.conf"):
        path = os.path.join(self.room, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(text)
        return path

    def run_to_end(self, *command):
        done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT)
        return done.returncode, done.stdout, done.stderr

    def moed(self, *args):
        return self.run_to_end(MOED, "--config", self.conf, *args)

    def config(self, *args):
        return self.run_to_end(MOECTL, "config", *args, "--config", self.conf)

    def start(self, **env):
        clean = {k: v for k, v in os.environ.items()
                 if k not in ("NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "RUNTIME_DIRECTORY")}
        self.log = open(self.room + "/log", "w+")
        self.process = subprocess.Popen(
            [MOED, "--config", self.conf, "--socket", self.socket, "--model", MODEL],
            stdin=subprocess.DEVNULL, stderr=self.log, env={**clean, **env})
        wait_for(self.socket).close()
        self.addCleanup(self.log.close)

    def words(self):
        with open(self.room + "/log", errors="replace") as log:
            return log.read()

    def until(self, words, times=1):
        end = time.monotonic() + WAIT
        while self.words().count(words) < times:
            if time.monotonic() > end:
                self.fail(f"waited in vain for '{words}':\n{self.words()}")
            time.sleep(0.02)

    def moectl(self, *args):
        return self.run_to_end(MOECTL, "--socket", self.socket, *args)

    # ---- shown, checked, changed

    def test_show_says_where(self):
        self.write("[Engine]\nThreads=3\n[Model]\nFolder=\nFolder=/a\n")
        drop_in = self.write("[Engine]\nThreads=2\n[Model]\nFolder=/b\n", "moed.conf.d/10-a.conf")
        code, out, words = self.config("cat")
        self.assertEqual((code, words), (0, ""))
        self.assertIn(f"\n# {drop_in}:2\nThreads=2\n", out)
        self.assertIn(f"# {self.conf}:5\nFolder=/a\n# {drop_in}:4\nFolder=/b\n", out)
        self.assertIn("# default\nLogLevel=info\n", out)
        again = self.write(out, "again.conf")  # it is a configuration, and says the same
        strip = [line for line in out.split("\n") if not line.startswith("#")]
        _, twice, _ = self.run_to_end(MOED, "--config", again, "--show-config")
        self.assertEqual([line for line in twice.split("\n") if not line.startswith("#")], strip)
        code, out, words = self.config("get", "Threads")
        self.assertEqual((code, out, words), (0, "2\n", f"from {drop_in}:2\n"))
        code, out, words = self.config("get", "Model.Folder")
        self.assertEqual((code, out), (0, "/a\n/b\n"))
        code, out, words = self.moed("--threads", "7", "--get-config", "Threads")
        self.assertEqual((code, out, words), (0, "7\n", "from --threads\n"))
        code, out, words = self.config("get", "Thread")
        self.assertEqual((code, out), (2, ""))
        self.assertIn("the nearest is Engine.Threads", words)

    def test_json(self):
        code, out, _ = self.config("cat", "--json")
        keys = [json.loads(line) for line in out.splitlines()]
        self.assertEqual(code, 0)
        self.assertIn({"section": "Daemon", "key": "LogLevel", "value": "info",
                       "where": "default"}, keys)
        code, out, _ = self.config("get", "Allow", "--json")
        self.assertEqual(json.loads(out), {"section": "Access", "key": "Allow", "values": [],
                                           "where": "default"})

    def test_check(self):
        code, out, words = self.config("check")
        self.assertEqual((code, out, words), (0, "all is well\n", ""))
        self.write("[Engine]\nThread=3\n")
        code, out, words = self.config("check")
        self.assertEqual((code, out), (0, "1 unknown keys are ignored, the rest is well\n"))
        self.assertIn(f"{self.conf}:2: unknown key [Engine] Thread is ignored; the nearest is "
                      "[Engine] Threads", words)
        self.write("")
        for name, text, fault in (
                ("moed.conf.d/x.conf", "[Engine]\nThreads=many\n", ":2: Threads=many"),
                ("moed.conf.d/x.conf", "[Access]\nAllow=no-such-user\n", "there is no user"),
                ("models.d/big.conf", "[Engine]\nCacheBytes=much\n", ":2: CacheBytes=much")):
            path = self.write(text, name)
            code, out, words = self.config("check")
            self.assertEqual((code, out), (78, ""), words)
            self.assertIn(fault, words)
            os.unlink(path)
        lone = self.write("[Engine]\nThreads=many\n", "lone.conf")
        for args in ((f"--check-config={lone}",), ("--check-config", lone)):
            code, _, words = self.moed(*args)
            self.assertEqual(code, 78)
            self.assertIn(f"{lone}:2:", words)
        self.assertEqual(self.moed("--check-config", lone, "more")[0], 2)

    def test_set(self):
        code, _, words = self.config("set", "Threads", "2")
        self.assertEqual(code, 0, words)
        self.assertIn(f"{self.conf}.d/90-set.conf", words)
        self.assertEqual(self.config("get", "Threads")[1], "2\n")
        self.assertEqual(self.config("set", "Threads", "many")[0], 2)
        self.assertEqual(self.config("set", "Thread", "1")[0], 2)
        self.assertEqual(self.config("get", "Threads")[1], "2\n")
        self.write("[Engine]\nThreads=5\n", "moed.conf.d/99-z.conf")
        code, _, words = self.config("set", "Threads", "3")
        self.assertEqual(code, 0)
        self.assertIn("overruled by", words)
        self.assertEqual(self.config("get", "Threads")[1], "5\n")
        for args in ((), ("set", "Threads"), ("get",), ("cat", "x"), ("burn",)):
            self.assertEqual(self.config(*args)[0], 2, args)

    def test_doctor(self):
        code, out, _ = self.run_to_end(MOECTL, "doctor", "--json", "-S", "/nowhere/b.sock")
        fault = json.loads(out)["findings"][0]
        self.assertEqual((code, fault["name"], fault["level"]), (1, "socket", "fault"))
        self.assertIn("/nowhere/b.sock", fault["found"])
        self.assertIn("moed.socket", fault["fix"])
        self.assertIn("what to do:", self.run_to_end(MOECTL, "doctor", "-S", "/nowhere/b.sock")[1])
        self.start()
        found = {f["name"]: f for f in json.loads(self.moectl("doctor", "--json")[1])["findings"]}
        self.assertEqual(found["socket"]["level"], "ok")
        self.assertLessEqual({"processor", "memory", "huge pages", "sandbox", "memlock"}, set(found))
        for finding in found.values():
            self.assertTrue(finding["fix"] or finding["level"] == "ok", finding)

    def test_doctor_on_swap(self):
        """With another /proc/meminfo, and one of a process from whom something is swapped out."""
        self.start()
        status = f"/proc/{self.process.pid}/status"

        def found(swap, pages, swapped):
            with open(status) as file:
                lines = file.read().replace("VmSwap:\t       0 kB", f"VmSwap:\t {swapped} kB")
            fake = (self.write(f"SwapTotal: {swap} kB\nHugePages_Total: {pages}\n", "meminfo"),
                    self.write(lines, "status"))
            script = (f"mount --bind {fake[0]} /proc/meminfo && mount --bind {fake[1]} {status} "
                      '&& exec "$@"')
            _, out, words = self.run_to_end("unshare", "--mount", "sh", "-c", script, "sh", MOECTL,
                                            "doctor", "--json", "-S", self.socket)
            if not out:
                self.skipTest("no mount namespaces here: " + words)
            return next(f for f in json.loads(out)["findings"]
                        if f["name"] == "memlock" and f" {self.process.pid}" in f["found"])
        self.assertEqual(found(0, 0, 0)["level"], "ok")
        self.assertEqual(found(1000, 5, 0)["level"], "ok")
        may = found(1000000, 0, 0)
        self.assertEqual(may["level"], "note")
        self.assertIn("976.6 MiB of swap", may["found"])
        is_out = found(1000000, 5, 2048)
        self.assertEqual(is_out["level"], "fault")
        self.assertIn("2.0 MiB of moed", is_out["found"])
        for finding in (may, is_out):
            self.assertIn("HugePages", finding["fix"])

    # ---- read again

    def test_reload(self):
        self.start()
        self.write("[Daemon]\nLogLevel=warning\nSocket=/elsewhere\n[Engine]\nCacheBytes=64M\n")
        code, out, words = self.moectl("reload")
        self.assertEqual((code, words), (0, ""))
        self.assertEqual(out, "changed: LogLevel\n"
                         "for models that are loaded from now on: CacheBytes\n")
        # --socket still overrules the file, so nothing there needs another start; this does:
        self.write("[Daemon]\nLogLevel=warning\n[Engine]\nCacheBytes=64M\nKeepBytes=1G\n")
        for _ in range(2):  # and is told until it gets one
            self.assertEqual(self.moectl("reload")[:2], (0, "after the next start: KeepBytes\n"))
        self.write("[Daemon]\nLogLevel=warning\n[Engine]\nCacheBytes=64M\n")
        self.assertEqual(self.moectl("reload")[:2], (0, "nothing changed\n"))

    def test_reload_whole_or_not_at_all(self):
        self.start()
        self.write("[Daemon]\nLogLevel=error\n[Access]\nMaxRequests=1\nAllow=no-such-user\n")
        code, out, words = self.moectl("reload")
        self.assertEqual((code, out), (1, ""))
        self.assertIn("no-such-user", words)
        self.until("the configuration stays as it was")  # and LogLevel is none the less info
        self.write("[Engine]\nThreads=many\n")
        self.process.send_signal(signal.SIGHUP)
        self.until("Threads=many")
        self.write("[Daemon]\nDrainSec=5s\n")
        self.process.send_signal(signal.SIGHUP)
        self.until("the configuration is read again: 1 changes count")
        self.assertIsNone(self.process.poll())

    def test_reload_is_told(self):
        path = self.room + "/notify"
        said = []
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
            supervisor.bind(path)
            supervisor.settimeout(WAIT)
            self.start(NOTIFY_SOCKET=path)
            while "READY=1" not in said:
                said += supervisor.recv(4096).decode().split("\n")
            said.clear()
            before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
            self.process.send_signal(signal.SIGHUP)
            while "READY=1" not in said:
                said += supervisor.recv(4096).decode().split("\n")
        # the model may get ready meanwhile
        others = ("STATUS=", "FDSTORE=", "FDSTOREREMOVE=", "FDNAME=", "FDPOLL=", "BARRIER=", "WATCHDOG=")
        said = [line for line in said if not line.startswith(others)]
        self.assertEqual(said[0], "RELOADING=1")
        self.assertTrue(said[1].startswith("MONOTONIC_USEC="))
        self.assertLessEqual(before, int(said[1].split("=")[1]))
        self.assertEqual(said[2:], ["READY=1"])

    def test_a_model_of_its_own(self):
        self.write("[Engine]\nPlace=cpu\nThreads=1\n")
        self.write("[Engine]\nPlace=ref\n[Daemon]\nLogLevel=error\n", f"models.d/{NAME}.conf")
        self.write("[Engine]\nPlace=moon\n", "models.d/other.conf")
        self.start()
        self.assertEqual(self.moectl("load")[0], 0)
        with Conn(self.socket) as conn:
            answer = conn.ask(text="Once", max_tokens=2)
        self.assertEqual(answer.last["receipt"]["place"], "ref")
        self.assertIn("[Daemon] LogLevel is not for one model", self.words())

    # ---- access

    def become(self, uid, gids, act):
        """What `act(path)` returns or raises, done by another user on the socket."""
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.setgroups(gids)
                os.setgid(gids[0])
                os.setuid(uid)
                result = act(self.socket)
            except Exception as error:  # noqa: BLE001
                result = type(error).__name__, str(error)
            os.write(writer, pickle.dumps(result))
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as answer:
            result = answer.read()
        os.waitpid(child, 0)
        return pickle.loads(result)

    @unittest.skipUnless(os.geteuid() == 0, "only root can become others")
    def test_access(self):
        def ping(path):
            with Conn(path, timeout=WAIT) as conn:
                return conn.call("Ping")

        def load(path):
            with Conn(path, timeout=WAIT) as conn:
                conn.call("Load", num(2, 1), kind="One")
                return "loaded"

        def two_answers(path):
            """How the second and a third one end while the first is being written."""
            with Conn(path, timeout=WAIT) as conn, Conn(path, timeout=WAIT) as other:
                conn.generate(text="Once", max_tokens=1000, ignore_end=True).step()
                try:
                    other.ask(text="Once", max_tokens=1)
                    second = "answered"
                except Failure as failure:
                    second = CODES[failure.code]
            for _ in range(200):  # the first one is gone when its connection is
                try:
                    with Conn(path, timeout=WAIT) as conn:
                        conn.ask(text="Once", max_tokens=1)
                        return second, "answered"
                except Failure as failure:
                    last = CODES[failure.code]
                    time.sleep(0.02)
            return second, last

        def classes(path):
            """What becomes of requests without a class, of interactive and of background."""
            found = []
            for wish in (b"", num(16, 0), num(16, 2)):
                with Conn(path, timeout=WAIT) as conn, Conn(path, timeout=WAIT) as other:
                    conn.generate(text="Once", max_tokens=1000, ignore_end=True, extra=wish).step()
                    found += [g["class"] or 0 for g in other.stats()["generations"]]
                    while other.stats()["generations"]:
                        conn.close()
                        time.sleep(0.01)
            return found

        def meddle(path):
            """What a stranger's answer, which root has written, looks like from here."""
            with Conn(path, timeout=WAIT) as conn:
                return (conn.call("Cancel", blob(1, others.id), "Cancel")["found"],
                        conn.stats()["generations"])

        self.write(f"[Access]\nMaxRequests=1\nQuota={BATCH} 5\nOperator={BATCH}\n"
                   f"Deny=@{STUDENTS}\nClass={BATCH} background\nClass=@{GROUP} batch\n")
        self.start()
        os.chown(self.socket, 0, GROUP)  # as the socket unit has it
        self.assertEqual(self.moectl("load")[0], 0)

        self.assertEqual(self.become(MEMBER, [GROUP], ping), {})
        self.assertEqual(self.become(STRANGER, [STRANGER], ping)[0], "PermissionError")
        self.assertEqual(self.become(STRANGER, [STRANGER, GROUP], ping), {})
        for gids in ([GROUP, STUDENTS], [STUDENTS, GROUP]):
            denied = self.become(STRANGER, gids, ping)
            self.assertEqual(denied[0], "Failure")
            self.assertIn(f"uid {STRANGER} may not ask here", denied[1])
        self.assertEqual(self.become(0, [0, STUDENTS], ping), {})

        self.assertEqual(self.become(BATCH, [GROUP], load), "loaded")
        self.assertIn("operators", self.become(MEMBER, [GROUP], load)[1])

        self.assertEqual(self.become(MEMBER, [GROUP], two_answers),
                         ("RESOURCE_EXHAUSTED", "answered"))
        self.assertEqual(self.become(BATCH, [GROUP], two_answers), ("answered", "answered"))
        self.assertEqual(self.become(0, [0], two_answers), ("answered", "answered"))

        self.assertEqual(self.become(MEMBER, [GROUP], classes), [1, 1, 2])
        self.assertEqual(self.become(BATCH, [GROUP], classes), [2, 2, 2])
        self.assertEqual(self.become(0, [GROUP], classes), [0, 0, 2])

        with Conn(self.socket, timeout=WAIT) as conn:
            others = conn.generate(text="Once", max_tokens=1500, ignore_end=True)
            others.step()
            self.assertEqual(self.become(MEMBER, [GROUP], meddle), (False, []))
            self.assertEqual(self.become(BATCH, [GROUP], meddle), (False, []))

        # other rules count for who connects from then on
        self.write(f"[Access]\nAllow={MEMBER}\n")
        self.assertEqual(self.moectl("reload")[:2],
                         (0, "changed: Allow, Deny, Operator, MaxRequests, Quota, Class\n"))
        self.assertEqual(self.become(MEMBER, [GROUP, STUDENTS], ping), {})
        self.assertEqual(self.become(BATCH, [GROUP], ping)[0], "Failure")
        self.assertEqual(self.become(MEMBER, [GROUP], two_answers), ("answered", "answered"))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
