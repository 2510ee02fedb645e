#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""How the daemon is born and dies: options, configuration, sockets, signals, a supervisor.

usage: birth.py MOED MOECTL MODEL CONFIG_DEF
The supervisor is played here: a datagram socket for notifications, an inherited listening socket.
"""
import ctypes
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixture"))
import toy  # noqa: E402

MOED, MOECTL, MODEL, CONFIG_DEF = (os.path.abspath(arg) for arg in sys.argv[1:5])
WAIT = 60  # seconds; sanitized builds on a busy machine are slow


def wait_for(what, condition):
    end = time.monotonic() + WAIT
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("waited in vain for " + what)
        time.sleep(0.02)


class Birth(unittest.TestCase):
    def setUp(self):
        self.room = tempfile.mkdtemp(prefix="moed-birth.")
        self.socket = self.room + "/moed.sock"
        self.conf = self.room + "/moed.conf"
        self.write("")
        self.started = []

    def tearDown(self):
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.communicate()
        shutil.rmtree(self.room)

    def write(self, text):
        with open(self.conf, "w") as file:
            file.write(text)

    def env(self, **more):
        env = {k: v for k, v in os.environ.items()
               if k not in ("NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "RUNTIME_DIRECTORY")}
        env.update(more)
        return env

    def command(self, *args):
        return [MOED, "--config", self.conf, *args]

    def start(self, *args, preexec=None, env=None, pass_fds=()):
        process = subprocess.Popen(self.command(*args), stderr=subprocess.PIPE, text=True,
                                   preexec_fn=preexec, env=env or self.env(), pass_fds=pass_fds)
        self.started.append(process)
        return process

    def start_with(self, handed_over):
        """As systemd does it: descriptor 3, and LISTEN_PID, which only the child can know."""
        def as_third():
            os.dup2(handed_over.fileno(), 3)
            os.set_inheritable(3, True)

        process = subprocess.Popen(
            ["/bin/sh", "-c", 'LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"', "sh", *self.command()],
            stderr=subprocess.PIPE, text=True, env=self.env(), preexec_fn=as_third, close_fds=False)
        self.started.append(process)
        return process

    def start_on_socket(self, *args, **more):
        process = self.start("--socket", self.socket, *args, **more)
        wait_for("the socket", lambda: self.answers() or process.poll() is not None)
        if process.poll() is not None:
            self.fail("moed ended: " + process.stderr.read())
        return process

    def answers(self):
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(self.socket)
                return True
            except OSError:
                return False

    def run_to_end(self, *args, config=True):
        command = self.command(*args) if config else [MOED, *args]
        done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT, env=self.env())
        return done.returncode, done.stdout, done.stderr

    def moectl(self, *args, text=None):
        done = subprocess.run([MOECTL, "--socket", self.socket, *args], input=text, text=True,
                              capture_output=True, timeout=WAIT)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def stop(self, process, number=signal.SIGTERM):
        process.send_signal(number)
        words = process.communicate(timeout=WAIT)[1]
        self.assertEqual(process.returncode, 0, words)
        return words

    # ---- options and configuration

    def test_help(self):
        code, out, words = self.run_to_end("--help", config=False)
        self.assertEqual((code, words), (0, ""))
        self.assertTrue(all(len(line) <= 80 for line in out.split("\n")))
        with open(CONFIG_DEF) as file:
            options = re.findall(r'^CONFIG\((?:[^,"]*,){6} "[^"]*", "([a-z-]+)"', file.read(), re.M)
        self.assertIn("socket", options)
        for option in options + ["config", "check", "version"]:
            self.assertIn("--" + option + " " if option != "version" else "--version", out)
        code, out, words = self.run_to_end("--help=html", config=False)
        self.assertEqual((code, out), (2, ""))
        self.assertIn("expected man, bash, zsh or fish", words)
        code, out, _ = self.run_to_end("--help=man", config=False)
        self.assertEqual(code, 0)
        for option in options:
            self.assertIn("\\-\\-" + option.replace("-", "\\-") + "\\fR", out)
        code, out, _ = self.run_to_end("--version", config=False)
        self.assertRegex(out, r"^moed \d+\.\d+\.\d+\n$")

    def test_bad_command_line(self):
        for args in (["--nothing"], ["words"], ["--threads", "many"], ["--threads=1025"], ["--model"]):
            code, out, words = self.run_to_end(*args)
            self.assertEqual((code, out), (2, ""), args)
            self.assertNotEqual(words, "")

    def test_bad_configuration(self):
        self.write("[Engine]\nThreads=many\n")
        code, _, words = self.run_to_end()
        self.assertEqual(code, 78)
        self.assertIn(self.conf + ":2: Threads=many", words)
        self.write("[Engine]\nPlace=moon\n")
        code, _, words = self.run_to_end("--socket", self.socket)
        self.assertEqual(code, 78)
        self.assertIn("moon", words)
        os.unlink(self.conf)
        code, _, words = self.run_to_end()
        self.assertEqual(code, 78)
        self.assertIn(self.conf, words)

    def test_options_come_last(self):
        self.write(f"[Daemon]\nSocket={self.room}/other.sock\nLogLevel=error\n[Model]\nModel=/nowhere\n")
        process = self.start_on_socket("--model", MODEL)
        self.assertEqual(self.stop(process), "", "the file says LogLevel=error")
        self.assertFalse(os.path.exists(self.room + "/other.sock"))

    def test_missing_model(self):
        code, _, words = self.run_to_end("--socket", self.socket, "--model", "/nowhere/x.gguf")
        self.assertEqual(code, 1)
        self.assertIn("/nowhere/x.gguf", words)
        self.assertFalse(os.path.exists(self.socket))

    def test_check(self):
        self.write("nonsense")  # what a file says of itself does not hang on the configuration
        code, out, words = self.run_to_end("--check", MODEL)
        self.assertEqual((code, words), (0, ""))
        self.assertIn("deepseek2", out)
        bad = self.room + "/cut.gguf"
        with open(MODEL, "rb") as source, open(bad, "wb") as target:
            target.write(source.read(100000))
        code, out, words = self.run_to_end("--check", bad)
        self.assertEqual((code, out), (1, ""))
        self.assertEqual(words.count("\n"), 1)
        self.assertTrue(words.startswith("moed: "))
        self.assertIn(bad, words)

    # ---- sockets

    def test_default_socket(self):
        room = self.room + "/run"
        os.mkdir(room)
        process = self.start(env=self.env(RUNTIME_DIRECTORY=room))
        wait_for("the socket", lambda: os.path.exists(room + "/moed.sock"))
        self.stop(process)

    def test_a_users_own(self):
        """As the user's systemd starts it: settings, models and socket are in his folders."""
        run, conf, state = (self.room + "/" + name for name in ("run", "config", "state"))
        for folder in (run + "/moed", conf + "/models.d", state + "/models"):
            os.makedirs(folder)
        with open(conf + "/moed.conf", "w") as file:
            file.write("[Engine]\nThreads=1\n")
        shutil.copy(MODEL, state + "/models/mine.gguf")
        env = self.env(XDG_RUNTIME_DIR=run, RUNTIME_DIRECTORY=run + "/moed",
                       CONFIGURATION_DIRECTORY=conf, STATE_DIRECTORY=f"{state}:{state}/models")
        env.pop("MOED_SOCKET", None)
        process = subprocess.Popen([MOED], stderr=subprocess.PIPE, text=True, env=env)
        self.started.append(process)
        wait_for("the socket", lambda: os.path.exists(run + "/moed/moed.sock"))
        for args, words in ((("load", "mine"), "mine is ready"), (("status",), "1 on processor")):
            done = subprocess.run([MOECTL, *args], capture_output=True, text=True, timeout=WAIT,
                                  env=env)
            self.assertIn(words, done.stdout, done.stderr)
        self.stop(process)

    def test_living_socket_is_kept(self):
        first = self.start_on_socket()
        code, _, words = self.run_to_end("--socket", self.socket)
        self.assertEqual(code, 1)
        self.assertIn(self.socket, words)
        self.assertTrue(self.answers())
        self.stop(first)
        self.assertFalse(os.path.exists(self.socket))

    def test_dead_socket_is_replaced(self):
        first = self.start_on_socket()
        first.kill()
        first.wait()
        self.assertTrue(os.path.exists(self.socket))
        self.stop(self.start_on_socket())

    def test_activation(self):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self.socket)
        listener.listen(8)
        early = socket.socket(socket.AF_UNIX)
        early.connect(self.socket)  # before anybody serves: waits in the backlog
        self.write("[Daemon]\nSocket=/nowhere/moed.sock\n")

        process = self.start_with(listener)
        self.assertIn("moed", self.moectl("status"))
        early.close()
        self.stop(process)
        self.assertTrue(os.path.exists(self.socket), "the path is the supervisor's")
        listener.close()

    def test_activation_with_something_else(self):
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):  # the stream socket does not listen
            other = socket.socket(socket.AF_UNIX, kind)
            process = self.start_with(other)
            words = process.communicate(timeout=WAIT)[1]
            self.assertEqual(process.returncode, 1)
            self.assertIn("expected a listening Unix stream socket", words)
            other.close()

    # ---- a supervisor that listens

    def test_notifications(self):
        path = self.room + "/notify"
        said = []
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
            supervisor.bind(path)
            supervisor.settimeout(0.05)

            def hear(word):
                try:
                    said.extend(supervisor.recv(4096).decode().split("\n"))
                except socket.timeout:
                    pass
                return any(line.startswith(word) for line in said)

            process = self.start("--socket", self.socket, env=self.env(NOTIFY_SOCKET=path))
            wait_for("READY=1", lambda: hear("READY=1"))
            self.assertTrue(self.answers(), "ready means that the socket is served")
            wait_for("the model", lambda: hear("STATUS=moed-tiny-Q4_K_M ready"))
            process.send_signal(signal.SIGTERM)
            wait_for("STOPPING=1", lambda: hear("STOPPING=1"))
            process.communicate(timeout=WAIT)
            self.assertEqual(process.returncode, 0)

    def test_progress(self):
        """A load that takes its time: the daemon is stopped again and again while it loads."""
        path = self.room + "/notify"
        toy.write(self.room + "/big.gguf", "v2-lite", experts=32, expert_width=256, hidden=512)
        said = []
        progress = r"STATUS=Loading big: \d+\.\d of 110\.8 MB, \d+\.\d [kM]B/s, \d+ s left"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
            supervisor.bind(path)
            process = self.start("--socket", self.socket, "--model", self.room + "/big.gguf",
                                 env=self.env(NOTIFY_SOCKET=path))

            def hear(pattern, seconds=0.05):
                supervisor.settimeout(seconds)
                try:
                    said.extend(supervisor.recv(4096).decode().split("\n"))
                except socket.timeout:
                    pass
                return any(re.fullmatch(pattern, line) for line in said)

            def load_slowly():
                """What `load --json` printed; longer runs each time, for a machine may be busy."""
                process.send_signal(signal.SIGSTOP)
                loads = subprocess.Popen([MOECTL, "--socket", self.socket, "load", "--json"],
                                         stdout=subprocess.PIPE, text=True)
                seconds = 0.001
                while loads.poll() is None:
                    process.send_signal(signal.SIGCONT)
                    if hear(progress, seconds):
                        break
                    process.send_signal(signal.SIGSTOP)
                    time.sleep(0.04)
                    seconds *= 1.05
                process.send_signal(signal.SIGCONT)
                return [json.loads(line) for line in loads.communicate(timeout=WAIT)[0].splitlines()]

            wait_for("the model", lambda: hear("STATUS=big ready"))
            for _ in range(20):  # it may be through before anything is said
                self.moectl("unload")
                wait_for("its end", lambda: hear("STATUS=big unloaded"))
                said.clear()
                lines = load_slowly()
                if hear(progress):
                    break
            self.assertTrue(hear(progress), said)
            self.assertEqual(lines[-1]["state"], "ready")
            done = [line["bytes_done"] for line in lines[:-1]]
            self.assertEqual(done, sorted(set(done)))
            self.assertTrue(any(0 < n < lines[0]["bytes_all"] for n in done), lines)
            self.stop(process)

    # ---- signals

    def test_signals_are_blocked_in_every_thread(self):
        process = self.start_on_socket()
        self.moectl("load")
        bits = 1 << (signal.SIGTERM - 1) | 1 << (signal.SIGINT - 1)
        tasks = f"/proc/{process.pid}/task"
        names = os.listdir(tasks)
        self.assertGreater(len(names), 2)
        for name in names:
            with open(f"{tasks}/{name}/status") as file:
                blocked = int(re.search(r"SigBlk:\s*(\w+)", file.read()).group(1), 16)
            with open(f"{tasks}/{name}/comm") as file:
                # a sanitizer has a thread of its own, which blocks them in its own way
                self.assertEqual(blocked & bits, bits, file.read())
        self.stop(process, signal.SIGINT)

    def test_second_signal_ends_at_once(self):
        self.write("[Daemon]\nDrainSec=1h\n")
        process = self.start_on_socket()
        self.moectl("load")
        endless = subprocess.Popen(
            [MOECTL, "--socket", self.socket, "rpc", "Generate",
             '{"text":"Once","max_tokens":2000,"ignore_end":true}'],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        endless.stdout.read(1)  # it runs
        process.send_signal(signal.SIGTERM)
        begin = time.monotonic()
        time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=WAIT)
        self.assertEqual(process.returncode, 0)
        self.assertLess(time.monotonic() - begin, 10)
        endless.communicate(timeout=WAIT)

    # ---- a machine that is short of something

    def test_failed_load_leaves_the_daemon_up(self):
        self.write("[Engine]\nCacheBytes=1024T\n")
        process = self.start_on_socket()
        wait_for("the failure", lambda: "failed" in self.moectl("list"))
        self.assertIn("moed-tiny", self.moectl("list"))
        self.assertEqual(self.moectl("tokenize", text="x").strip() != "", True)
        self.stop(process)

    def test_without_writable_code(self):
        """The unit's MemoryDenyWriteExecute=yes: regular expressions run interpreted then."""
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(66, 0, 0, 0, 0) < 0:  # PR_GET_MDWE, from Linux 6.3 on
            self.skipTest("this kernel cannot deny writable code")

        def deny():
            libc.prctl(65, 1, 0, 0, 0)  # PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN

        plain = self.start_on_socket()
        expected = self.moectl("tokenize", "--json", text="Hello 12345 नमस्ते 你好")
        self.stop(plain)
        denied = self.start_on_socket(preexec=deny)
        self.assertEqual(self.moectl("tokenize", "--json", text="Hello 12345 नमस्ते 你好"), expected)
        self.stop(denied)


unittest.main(argv=sys.argv[:1] + sys.argv[5:], verbosity=2)
