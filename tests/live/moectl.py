#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""moectl as people and scripts use it: against the daemon, and against one that plays scripts.

usage: moectl.py MOECTL MOED MODEL
"""
import csv
import json
import math
import os
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixture"))
import parrot  # noqa: E402
from daemon import Daemon  # noqa: E402
from ttrpc import (  # noqa: E402
    DATA, ND, RC, REQUEST, RESPONSE, blob, fields, float32, float64, frame, num, packed)

MOECTL, MOED, MODEL = (os.path.abspath(arg) for arg in sys.argv[1:4])
NAME = os.path.basename(MODEL)[:-len(".gguf")]
WAIT = 60  # seconds; sanitized builds on a busy machine are slow
VERBS = ("ask chat session generate tokenize detokenize render embed status ps stats list show "
         "load unload replay bench config doctor reload rpc").split()


def environment(**more):
    env = {k: v for k, v in os.environ.items()
           if k not in ("MOED_SOCKET", "XDG_RUNTIME_DIR", "NO_COLOR", "CLICOLOR_FORCE")}
    env.update(more)
    return env


def moectl(*args, stdin=b"", env=None):
    """(exit code, standard output, standard error)"""
    done = subprocess.run([MOECTL, *args], input=stdin, capture_output=True, timeout=WAIT,
                          env=env or environment())
    return done.returncode, done.stdout, done.stderr


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, *args, env=None):
        pid, self.fd = pty.fork()
        if pid == 0:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.execve(args[0], args, env or environment(TERM="xterm"))
        self.pid, self.seen = pid, b""

    def read_until(self, pattern, seconds=WAIT):
        end = time.monotonic() + seconds
        while not re.search(pattern, self.seen, re.S):
            if time.monotonic() > end:
                raise AssertionError(f"waited in vain for {pattern!r} in {self.seen!r}")
            if select.select([self.fd], [], [], 0.1)[0]:
                self.seen += os.read(self.fd, 65536)
        return self.seen

    def type(self, data):
        self.seen = b""
        os.write(self.fd, data)

    def end(self):
        """The rest of the output; the exit code."""
        while True:
            try:
                data = os.read(self.fd, 65536)
            except OSError:
                break
            if not data:
                break
            self.seen += data
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


# ---- a daemon that plays a script
ID = bytes(range(16))


def event(seq, text=None, finish=0, thinking=None, tokens=(), error=None, usage=None):
    body = num(1, seq)
    if seq == 0:
        body += blob(2, ID) + blob(3, "scripted")
    for token in tokens:
        body += blob(6, token)
    for number, value in ((7, thinking), (8, text), (11, error)):
        if value is not None:
            body += blob(number, value)
    if finish:
        body += num(9, finish) + blob(12, usage or num(1, 4) + num(3, 2))
    return body


class Script:
    """Answers methods by name: a function from (stream, payload) to bytes, or to a list of bytes
    with pauses (numbers) between them."""

    def __init__(self, **answers):
        self.answers, self.called = answers, []
        self.room = tempfile.mkdtemp(prefix="moed-script.")
        self.path = self.room + "/moed.sock"
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                conn = self.listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self.serve, args=(conn,), daemon=True).start()

    def serve(self, conn):
        data = b""
        while True:
            while len(data) < 10 or len(data) < 10 + int.from_bytes(data[:4], "big"):
                try:
                    more = conn.recv(65536)
                except OSError:
                    more = b""
                if not more:
                    conn.close()
                    return
                data += more
            n, stream = int.from_bytes(data[:4], "big"), int.from_bytes(data[4:8], "big")
            kind, body, data = data[8], data[10:10 + n], data[10 + n:]
            if kind != REQUEST:
                continue
            request = {number: value for number, _, value in fields(body)}
            method = request[2].decode()
            self.called.append((method, request.get(3, b"")))
            threading.Thread(target=self.answer, args=(conn, stream, method, request.get(3, b"")),
                             daemon=True).start()

    def answer(self, conn, stream, method, payload):
        if method not in self.answers:
            frames = respond(stream)
        else:
            frames = self.answers[method](stream, payload)
        try:
            for piece in frames if isinstance(frames, list) else [frames]:
                if isinstance(piece, (int, float)):
                    time.sleep(piece)
                elif piece is None:
                    conn.shutdown(socket.SHUT_RDWR)
                else:
                    conn.sendall(piece)
        except OSError:
            pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()
        shutil.rmtree(self.room)


def respond(stream, payload=b"", code=0, words=""):
    body = blob(1, num(1, code) + blob(2, words)) if code else b""
    return frame(stream, RESPONSE, 0, body + (blob(2, payload) if payload else b""))


def stream_of(*events):
    """A script that sends events and ends well."""
    def play(stream, _):
        return [frame(stream, DATA, 0, e) if isinstance(e, bytes) else e for e in events] + [
            frame(stream, DATA, RC | ND)]
    return play


class WithoutDaemon(unittest.TestCase):
    def test_help(self):
        rc, out, err = moectl("--help")
        self.assertEqual((rc, err), (0, b""))
        for verb in VERBS:
            self.assertRegex(out.decode(), rf"(?m)^  {verb} ")
        for code in ("0  done", "1  the", "2  the", "3  no", "4  there", "130  inter"):
            self.assertIn(code, out.decode())
        for args in [("--help",)] + [(verb, "--help") for verb in VERBS] + [
                ("--help", verb) for verb in VERBS]:
            rc, out, err = moectl(*args)
            self.assertEqual((rc, err), (0, b""), args)
            self.assertTrue(out.startswith(b"Usage: moectl"), args)
            for line in out.decode().split("\n"):
                self.assertLessEqual(len(line), 80, (args, line))
        page = moectl("--help=man")[1].decode()
        for verb in VERBS:
            self.assertIn(f"\n\\fB{verb}\\fR", page)
        self.assertRegex(moectl("--version")[1], rb"^moectl \d+\.\d+\.\d+")

    def test_usage(self):
        for args in [(), ("bogus",), ("--bogus", "ps"), ("ps", "--bogus"), ("ps", "word"),
                     ("--tokens", "3", "ask"), ("ask", "--tokens"), ("ask", "--tokens", "x"),
                     ("ask", "--tokens", "99999999999"), ("ask", "--temperature", "1,5"),
                     ("ask", "--temperature", "nan"), ("ask", "--seed", "-1"), ("rpc",),
                     ("ps", "--json=yes"), ("ps", "--color", "pink"), ("ps", "-x"),
                     ("--help=html",), ("--help="),
                     ("generate", "--raw", "x", "--tokens-in", "1"), ("rpc", "Nope"),
                     ("generate", "--raw", "x", "--top-logprobs", "5"),
                     ("generate", "--raw", "x", "--prompt-logprobs"),
                     ("generate", "--tokens-in", "1,x"), ("rpc", "Ping", "{"),
                     ("rpc", "Ping", "[]"), ("rpc", "Show", '{"model":1}'),
                     ("rpc", "Cancel", '{"generation_id":"0g"}'),
                     ("rpc", "Generate", '{"max_tokens":3000000000}'),
                     ("bench", "--prompt", "5-3"), ("bench", "--answer", "0"), ("bench", "-c", "0"),
                     ("bench", "--rate", "-1"), ("bench", "--shared", "2"), ("bench", "word"),
                     ("ask", "--logit-bias", "7"), ("detokenize", "1", "two"), ("ask",)]:
            rc, out, err = moectl(*args)
            self.assertEqual((rc, out), (2, b""), (args, err))
            self.assertRegex(err.decode(), r"\Amoectl: .+\nTry 'moectl.* --help'\.\n\Z", args)

    def test_no_daemon(self):
        for args in [("status",), ("ask", "x"), ("ps",), ("rpc", "Ping"), ("chat",),
                     ("generate", "--raw", "x"), ("tokenize",), ("bench",)]:
            rc, out, err = moectl("--socket", "/nowhere/a.sock", *args)
            self.assertEqual((rc, out), (3, b""), args)
            self.assertIn(b"/nowhere/a.sock (No such file or directory)", err)
            self.assertIn(b"moed --model FILE", err)
        rc, out, err = moectl("status", "--json", env=environment(MOED_SOCKET="/nowhere/b.sock"))
        self.assertEqual(rc, 3)
        self.assertEqual(json.loads(out)["error"]["status"], "UNAVAILABLE")
        self.assertIn("/nowhere/b.sock", json.loads(out)["error"]["message"])
        rc, out, err = moectl("status", env=environment(XDG_RUNTIME_DIR="/nowhere"))
        if rc == 3:  # this machine may well run a daemon
            self.assertIn(b"/nowhere/moed/moed.sock", err)
            self.assertIn(b"/run/moed/moed.sock", err)
            self.assertIn(b"systemctl start moed", err)

    def test_full_disk(self):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([MOECTL, "--help"], stdout=full, stderr=subprocess.PIPE)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"No space left", done.stderr)


class WithDaemon(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon(MOED, MODEL, args=["--threads", "2"]).start()
        cls.daemon.ready().close()

    @classmethod
    def tearDownClass(cls):
        cls.daemon.signal(signal.SIGTERM)
        cls.daemon.wait()
        shutil.rmtree(cls.daemon.room)

    def run_well(self, *args, stdin=b""):
        rc, out, err = moectl("--socket", self.daemon.path, *args, stdin=stdin)
        self.assertEqual(rc, 0, (args, err))
        return out

    def run_json(self, *args, stdin=b""):
        lines = self.run_well("--json", *args, stdin=stdin).decode().split("\n")
        self.assertEqual(lines.pop(), "")
        objects = [json.loads(line) for line in lines]
        self.assertTrue(all(isinstance(o, dict) for o in objects))
        return objects[0] if len(objects) == 1 else objects

    def test_what_is_known_is_told(self):
        tale = "The owl of the third tower counted the bells of the town, and told nobody. " * 4
        args = ("generate", "--raw", tale, "--tokens", "2", "--temperature", "0")
        first = self.run_json(*args)
        again = self.run_json(*args)
        known = len(first["prompt_tokens"]) - 1  # the last one is always computed
        self.assertEqual(first["usage"]["cached_tokens"], 0)
        self.assertEqual(first["receipt"]["cached_rows"], [])
        self.assertEqual(again["usage"]["cached_tokens"], known)
        self.assertEqual(again["receipt"]["cached_rows"], [known])
        self.assertEqual(again["tokens"], first["tokens"])
        figures = moectl(*args, "--socket", self.daemon.path)[2].decode()
        self.assertIn("(%d known)" % known, figures)
        stats = self.run_json("status")["model_stats"][0]
        self.assertGreaterEqual(stats["cached_tokens"], 2 * known)
        self.assertGreaterEqual(stats["pages_kept"], known // 32)
        words = moectl("status", "--socket", self.daemon.path)[1].decode()
        self.assertIn("%d kept" % stats["pages_kept"], words)

    def test_how_requests_fare(self):
        self.run_json("generate", "--raw", "A fox", "--tokens", "5", "--ignore-end")
        model = self.run_json("stats", "--experts")["models"][0]
        for name in ("time_to_first_token", "time_per_token", "queue_time", "cached_share"):
            one = model["histograms"][name]
            self.assertEqual(len(one["counts"]), len(one["bounds"]) + 1)
            self.assertEqual(sum(one["counts"]), one["count"])
            self.assertGreater(one["count"], 0, name)
            self.assertTrue(one["p50"] <= one["p90"] <= one["p95"] <= one["p99"], one)
        used = int(self.run_json("show")["metadata"]["deepseek2.expert_used_count"])
        self.assertTrue(model["experts"])
        for layer in model["experts"]:
            self.assertEqual(sum(layer["chosen"]) % used, 0)
            self.assertGreater(sum(layer["chosen"]), 5 * used)
            self.assertTrue(all(r <= c * 1.001 for r, c in zip(layer["recent"], layer["chosen"])))
        self.assertNotIn("experts", self.run_json("stats")["models"][0])
        for verb in ("status", "ps"):
            words = moectl(verb, "--socket", self.daemon.path)[1].decode()
            self.assertRegex(words, r"(?m) COUNT +MEAN +P50 +P90 +P95 +P99$", verb)
            self.assertRegex(words, r"(?m)^  queue_time +[0-9]+ +[0-9.]+ (us|ms|s) ", verb)
        words = moectl("stats", "--experts", "--socket", self.daemon.path)[1].decode()
        self.assertRegex(words, r"(?m)^  time_to_first_token +[0-9]+ +[0-9.]+ (us|ms|s) ")
        self.assertRegex(words, r"(?m)^  cached_share +[0-9]+ +[0-9]+ % ")
        self.assertRegex(words, r"(?m)^  layer %d +[0-9]+ +[0-9.]+ %%" % model["experts"][0]["layer"])

    def test_json_on_every_verb(self):
        keys = {
            ("ask", "Hi", "-n", "3"): {"model", "text", "thinking", "finish_reason",
                                       "thinking_cut", "usage", "receipt"},
            ("tokenize",): {"tokens"},
            ("detokenize", "1"): {"text", "bytes"},
            ("render", "Hi"): {"tokens", "text"},
            ("generate", "--raw", "x", "-n", "2"): {"prompt_tokens", "tokens", "finish_reason",
                                                    "usage", "receipt"},
            ("status",): {"socket", "version", "models", "limits", "uptime_seconds", "draining"},
            ("ps",): {"generations", "models"},
            ("stats",): {"models"},
            ("list",): {"models"},
            ("plan", MODEL): {"weights_bytes", "required_bytes", "available_bytes", "fits"},
            ("show",): {"name", "state", "metadata"},
            ("show", NAME): {"name", "state", "metadata"},
            ("load", NAME): {"name", "state", "load_seconds"},
            ("rpc", "Hello"): {"version", "features"},
            ("reload",): {"now", "later", "restart"},
        }
        for args, expected in keys.items():
            found = self.run_json(*args)
            self.assertLessEqual(expected, set(found), args)
        self.assertEqual(self.run_json("list")["models"][0]["name"], NAME)
        self.assertEqual(moectl("--socket", self.daemon.path, "--quiet", "list")[1].decode(), NAME + "\n")
        stats = self.run_json("status")["model_stats"][0]
        self.assertRegex(stats["workers"], r"^2 on processors? [0-9,-]+, of [0-9]+ cores?")
        self.assertRegex(stats["memory"], r"^weights [0-9.]+ MB in small pages")
        self.assertIn(stats["workers"], moectl("status", "--socket", self.daemon.path)[1].decode())
        turn = self.run_json("chat", "-n", "3", stdin=b"Hi\n")
        self.assertEqual(turn["finish_reason"], "length")
        self.assertEqual(self.run_json("unload")["state"], "unloaded")
        rc, out, err = moectl("--socket", self.daemon.path, "generate", "--raw", "x", "--json")
        self.assertEqual((rc, json.loads(out)["error"]["status"]), (1, "FAILED_PRECONDITION"))
        lines = self.run_well("load", "--json").splitlines()
        self.assertEqual(json.loads(lines[-1])["state"], "ready")

    def test_generate_object(self):
        # A beginning of this test alone: what the daemon remembers of others may be rows of answers,
        # whose numbers differ in the last digits, and scored prompts recall nothing.
        prompt = "In a small harbour"
        args = ("generate", "--raw", prompt, "--tokens", "8", "--top-logprobs", "20",
                "--json", "--temperature", "0")
        one = self.run_json(*args)
        self.assertEqual(set(one), {"prompt_tokens", "tokens", "finish_reason", "usage", "receipt"})
        self.assertEqual(set(one["receipt"]), {"model", "version", "place", "isa", "cache", "attention",
                                               "sampler", "seed", "cached_rows"})
        self.assertEqual((one["receipt"]["sampler"], one["receipt"]["seed"]), ("greedy", None))
        scored = self.run_json(*args, "--prompt-logprobs")
        self.assertEqual([t["id"] for t in scored["prompt_logprobs"]], one["prompt_tokens"][1:])
        self.assertEqual(set(scored["prompt_logprobs"][0]), {"id", "text", "logprob", "top"})
        self.assertEqual(scored["tokens"], one["tokens"])
        drawn = ("generate", "--raw", prompt, "--tokens", "12", "--json",
                 "--temperature", "1.3", "--top-k", "50")
        first = self.run_json(*drawn)
        self.assertEqual(first["receipt"]["sampler"], "temperature=1.3 top_k=50 draw")
        again = self.run_json(*drawn, "--seed", first["receipt"]["seed"])
        self.assertEqual((again["tokens"], again["receipt"]), (first["tokens"], first["receipt"]))
        self.assertEqual(len(one["tokens"]), 8)
        self.assertEqual(one["finish_reason"], "length")
        self.assertEqual(one["usage"]["prompt_tokens"], len(one["prompt_tokens"]))
        self.assertEqual(one["usage"]["completion_tokens"], 8)
        for token in one["tokens"]:
            self.assertEqual(set(token), {"id", "text", "logprob", "top"})
            self.assertEqual(len(token["top"]), 20)
            self.assertEqual(set(token["top"][0]), {"id", "logprob"})
            self.assertEqual(token["id"], token["top"][0]["id"])
            self.assertEqual(token["logprob"], token["top"][0]["logprob"])
            numbers = [t["logprob"] for t in token["top"]]
            self.assertEqual(numbers, sorted(numbers, reverse=True))
            self.assertLessEqual(numbers[0], 0)
        ids = ",".join(map(str, one["prompt_tokens"]))
        two = self.run_json("generate", "--tokens-in", ids, "-n", "8", "--top-logprobs", "20")
        self.assertEqual(two["prompt_tokens"], one["prompt_tokens"])
        self.assertEqual(two["tokens"], one["tokens"])
        text = self.run_well("generate", "-n", "8", stdin=prompt.encode())
        self.assertEqual(text.decode(), "".join(t["text"] for t in one["tokens"]))

    def test_text_round_trip(self):
        for text in ["hello world", "हिन्दी में एक वाक्य", "اردو میں ایک جملہ", "中文的一句话", "👩‍👩‍👧 🦊", "a\tb\n\n",
                     "\x1b[31m"]:
            data = text.encode()
            ids = self.run_json("tokenize", "--model", NAME, stdin=data)["tokens"]
            self.assertTrue(all(isinstance(i, int) for i in ids))
            plain = self.run_well("tokenize", stdin=data)
            self.assertEqual([int(i) for i in plain.split()], ids)
            self.assertEqual(self.run_well("detokenize", *map(str, ids)), data)
            self.assertEqual(self.run_well("detokenize", stdin=plain), data)
            again = self.run_json("detokenize", stdin=json.dumps({"tokens": ids}).encode())
            self.assertEqual(again, {"text": text, "bytes": data.hex()})
        rendered = self.run_json("render", "hi")
        self.assertTrue(rendered["text"].endswith("<｜Assistant｜>"))
        self.assertEqual(self.run_well("render", "hi").decode(), rendered["text"])

    def test_hole(self):
        before, behind = "def add(a, b):\n    return <｜fim▁hole｜>", "\n\nprint(add(1, 2)) # सौ\n"
        answer = self.run_json("generate", "--suffix", behind, "-n", "4", stdin=before.encode())
        marks = [self.run_json("tokenize", stdin=mark.encode())["tokens"] for mark in
                 ("<｜begin▁of▁sentence｜>", "<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>")]
        self.assertEqual([len(mark) for mark in marks], [1] * 4)
        parts = [self.run_json("tokenize", "--no-special", stdin=text.encode())["tokens"]
                 for text in (before, behind)]
        self.assertEqual(answer["prompt_tokens"],
                         marks[0] + marks[1] + parts[0] + marks[2] + parts[1] + marks[3])
        self.assertGreater(len(answer["tokens"]), 0)
        self.assertEqual(self.run_well("generate", "--suffix", behind, "-n", "4", "--raw", before),
                         b"".join(bytes(t.get("bytes", t["text"].encode()))
                                  for t in answer["tokens"]))
        for args in (("--suffix", "x", "--tokens-in", "1"), ("--raw", "x", "--suffix", "")):
            self.assertEqual(moectl("generate", *args)[0], 2)
        room = tempfile.mkdtemp(prefix="moed-holes.")
        self.addCleanup(shutil.rmtree, room)
        parrot.write(room + "/plain.gguf", "a", ["b"])
        with open(room + "/plain.gguf", "r+b") as file:
            data = file.read().replace("<｜fim▁hole｜>".encode(), "<｜xim▁hole｜>".encode())
            file.seek(0)
            file.write(data)
        with Daemon(MOED, room + "/plain.gguf") as plain:
            plain.ready().close()
            rc, out, err = moectl("-S", plain.path, "generate", "--raw", "a", "--suffix", "b")
            self.assertEqual((rc, out), (1, b""))
            self.assertIn("model 'plain' was not made to fill holes: its vocabulary lacks <｜fim",
                          err.decode())
            self.assertEqual(plain.stop(), 0)

    def test_ask_keeps_streams_apart(self):
        rc, out, err = moectl("ask", "--think", "Tell", "me", "a story", "-n", "60", "--socket",
                              self.daemon.path)
        self.assertEqual(rc, 0)
        one = self.run_json("ask", "--think", "Tell me a story", "-n", "60")
        self.assertEqual(out.decode(), one["text"] + "\n")
        self.assertIn(one["thinking"], err.decode())
        self.assertNotEqual(one["thinking"], "")
        figures = err.decode().strip().split("\n")[-1]
        self.assertRegex(figures, r"^\d+ prompt tokens, first token after \d+\.\d+ s, prefill "
                                  r"\d+\.\d tokens/s, \d+ tokens \(\d+ of thinking\), decode "
                                  r"\d+\.\d tokens/s")
        rc, out, err = moectl("-S", self.daemon.path, "-q", "ask", "--think", "Tell me a story",
                              "-n60")
        self.assertEqual((rc, out.decode(), err), (0, one["text"] + "\n", b""))
        joined = self.run_json("ask", "Say", "-n", "9", stdin=b"it again\n")
        self.assertEqual(joined["text"], self.run_json("ask", "Say\n\nit again", "-n9")["text"])

    def test_not_found_and_refused(self):
        for args in [("show", "nope"), ("ask", "x", "--model", "nope"), ("load", "nope")]:
            rc, out, err = moectl("-S", self.daemon.path, *args)
            self.assertEqual((rc, out), (4, b""), args)
            self.assertIn(b"nope", err)
        rc, out, err = moectl("-S", self.daemon.path, "generate", "--raw", "x", "--top-k", "-5")
        self.assertEqual((rc, out), (1, b""))
        self.assertIn(b"top_k", err)
        for bad in (b"\xff", b"a\0b"):
            rc, out, err = moectl("-S", self.daemon.path, "tokenize", stdin=bad)
            self.assertEqual((rc, out), (1, b""))

    def test_closed_pipe_is_silent(self):
        process = subprocess.Popen([MOECTL, "-S", self.daemon.path, "-q", "generate", "--raw",
                                    "Once", "-n", "1000", "--ignore-end"], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdout.read(1)
        process.stdout.close()
        err = process.stderr.read()
        process.stderr.close()
        self.assertEqual((process.wait(WAIT), err), (-signal.SIGPIPE, b""))
        self.wait_idle()

    def wait_idle(self):
        end = time.monotonic() + WAIT
        while self.run_json("ps")["generations"]:
            self.assertLess(time.monotonic(), end, "a generation runs on")
            time.sleep(0.02)

    def wait_for_work(self):
        end = time.monotonic() + WAIT
        while not self.run_json("ps")["generations"]:
            self.assertLess(time.monotonic(), end, "no generation begins")

    def test_ctrl_c(self):
        for verb in (("generate", "--raw", "Once"), ("ask", "Tell me a story")):
            process = subprocess.Popen(
                [MOECTL, "-S", self.daemon.path, *verb, "-n", "1500", "--ignore-end"],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
            process.stdout.read(1)
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=WAIT)
            self.assertEqual(process.returncode, 130)
            self.wait_idle()

    def bench(self, *args, rc=0):
        found, out, err = moectl("--socket", self.daemon.path, "--json", "bench", *args)
        self.assertEqual(found, rc, err)
        return json.loads(out)

    def test_bench(self):
        with tempfile.TemporaryDirectory() as room:
            path = os.path.join(room, "requests.csv")
            args = ("-c", "3", "--requests", "12", "--prompt", "20-40", "--answer", "3-5",
                    "--shared", "0.5", "--seed", "7")
            figures = self.bench(*args, "--csv", path)
            with open(path, newline="") as file:
                lines = list(csv.DictReader(file))
        self.assertEqual((figures["answered"], figures["failed"], len(lines)), (12, 0, 12))
        for key in ("prompt_tokens", "answer_tokens", "cached_tokens"):
            self.assertEqual(sum(int(line[key]) for line in lines), figures[key])
        for line in lines:
            self.assertTrue(20 <= int(line["prompt_tokens"]) <= 40, line)
            self.assertTrue(3 <= int(line["answer_tokens"]) <= 5, line)
            self.assertEqual(line["status"], "")
            self.assertLessEqual(float(line["first_token_seconds"]), float(line["whole_seconds"]))
        self.assertGreater(figures["cached_tokens"], 9 * 9)  # all but those that came first
        for key in ("late_seconds", "queue_seconds", "first_token_seconds", "token_seconds",
                    "gap_seconds", "whole_seconds"):
            ranks = [figures[key][name] for name in ("p50", "p90", "p99", "most")]
            self.assertEqual(ranks, sorted(ranks), key)
            measured = sorted(float(line[key]) for line in lines if line[key])
            for found, share in zip(ranks, (0.5, 0.9, 0.99, 1)):
                self.assertAlmostEqual(found, measured[math.ceil(share * len(measured)) - 1], 5)
        again = self.bench(*args)
        for key in ("prompt_tokens", "answer_tokens"):
            self.assertEqual(again[key], figures[key])
        rc, out, err = moectl("-S", self.daemon.path, "bench", *args)
        self.assertEqual(rc, 0, err)
        self.assertIn(b"12 answered, 0 failed, 0 cancelled", out)
        self.assertRegex(out, rb"first token( +[0-9]+[.][0-9]{4}){4}\n")

    def test_bench_at_a_rate(self):
        """As many are due in a time as the seed says, whether somebody was free for them or not."""
        args = ("-c", "2", "--rate", "200", "--duration", "0.4", "--prompt", "4", "--answer", "2")
        due = []
        for _ in range(2):
            figures = self.bench(*args)
            self.assertGreater(figures["answered"], 0)
            due.append(figures["answered"] + figures["missed"])
        self.assertEqual(due[0], due[1])
        self.assertTrue(40 < due[0] < 130, due)

    def test_bench_counts_failures(self):
        figures = self.bench("-c", "2", "--requests", "4", "--prompt", "900000", rc=1)
        self.assertEqual((figures["answered"], figures["failed"]), (0, 4))
        (kind,) = figures["failures"]
        self.assertEqual((kind["status"], kind["count"]), ("INVALID_ARGUMENT", 4))
        self.assertIn("context", kind["message"])

    def test_bench_is_interrupted(self):
        with tempfile.TemporaryDirectory() as room:
            path = os.path.join(room, "requests.csv")
            process = subprocess.Popen(
                [MOECTL, "-S", self.daemon.path, "--json", "bench", "--duration", "600",
                 "--answer", "1-200", "--csv", path], stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
            self.wait_for_work()
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=WAIT)
            self.assertEqual(process.returncode, 130, err)
            figures = json.loads(out)
            self.assertGreater(figures["cancelled"], 0)
            with open(path, newline="") as file:
                kinds = [line["status"] for line in csv.DictReader(file)]
            self.assertEqual(kinds.count("CANCELLED"), figures["cancelled"])
            self.assertEqual(kinds.count(""), figures["answered"])
        self.wait_idle()

    def test_colours(self):
        ask = ("-S", self.daemon.path, "ask", "--think", "Hi", "-n", "20")
        for more, wanted in (({"TERM": "xterm"}, False), ({"CLICOLOR_FORCE": "1"}, True),
                             ({"CLICOLOR_FORCE": "1", "NO_COLOR": "1"}, False)):
            rc, out, err = moectl(*ask, env=environment(**more))
            self.assertEqual((rc, b"\x1b" in out, b"\x1b" in err), (0, False, wanted), more)
        self.assertIn(b"\x1b", moectl(*ask, "--color=always")[2])
        for more, wanted in (({"TERM": "xterm"}, True), ({"TERM": "dumb"}, False),
                             ({"TERM": "xterm", "NO_COLOR": "1"}, False)):
            terminal = Terminal(MOECTL, *ask, env=environment(**more))
            self.assertEqual(terminal.end(), 0)
            self.assertEqual(b"\x1b" in terminal.seen, wanted, (more, terminal.seen))

    def test_conversations_are_held(self):
        ask = ("ask", "--session", "fox", "-n", "8", "--ignore-end")
        one = self.run_json(*ask, "Tell me a story about a fox.")
        self.assertEqual((one["session"]["name"], one["session"]["revision"]), ("fox", 1))
        self.assertIn("KeepFolder", one["session"]["unkept"])
        rc, out, err = moectl("-S", self.daemon.path, *ask)  # what was cut goes on
        self.assertEqual(rc, 0)
        self.assertIn(b"not on the disk", err)
        shown = self.run_json("session", "show", "fox")
        self.assertEqual([m["role"] for m in shown["said"]], ["user", "assistant"])
        self.assertEqual(shown["said"][1]["content"], one["text"] + out.decode()[:-1])
        self.assertEqual((shown["said"][1]["cut"], len(shown["said"][1]["tokens"])), (True, 16))
        self.assertIn("user: Tell me a story", self.run_well("session", "show", "fox").decode())
        # chat goes on with it, and says what it is on a terminal
        turn = self.run_json("chat", "--session", "fox", "-n", "4", "--ignore-end", stdin=b"Why?\n")
        self.assertEqual(turn["session"]["revision"], 3)
        terminal = Terminal(MOECTL, "-S", self.daemon.path, "chat", "-n", "4", "--ignore-end")
        terminal.read_until(b"> ")
        terminal.type(b"/session fox\r")
        terminal.read_until(b"4 messages; the last:.*> Why.*> ")
        terminal.type(b"And?\r")
        terminal.read_until(b"ended by length.*> ")
        terminal.type(b"\x04")
        self.assertEqual(terminal.end(), 0)
        # forks, rewinds, names, settings
        self.assertEqual(self.run_json("session", "fork", "fox", "owl", "1", "3")["messages"], 2)
        self.assertTrue(self.run_json("session", "show", "owl")["session"]["cut"])
        self.assertEqual(self.run_json("session", "rewind", "fox", "2")["messages"], 2)
        self.assertEqual(self.run_json("session", "name", "fox", "reynard")["name"], "reynard")
        pinned = self.run_json("session", "pin", "reynard")
        self.assertTrue(pinned["pinned"] and pinned["memory_bytes"] > 0)
        self.assertIn("(pinned, ", self.run_well("session", "resume", "reynard").decode())
        self.assertNotIn("pinned", self.run_well("session", "unpin", "reynard").decode())
        code, _, words = moectl("-S", self.daemon.path, "session", "park", "reynard")
        self.assertEqual(code, 1)
        self.assertIn(b"KeepFolder", words)
        made = self.run_json("session", "create", "short", "-n", "3", "--ignore-end")
        short = self.run_json("ask", "--session", made["id"], "Hello")
        self.assertEqual(short["usage"]["completion_tokens"], 3)
        self.assertEqual(self.run_json("chat", "--session", "short", stdin=b"/clear\nHello\n")["text"],
                         short["text"])
        self.run_well("generate", "--session", "raw", "--raw", "Once upon", "-n", "3")
        self.run_well("generate", "--session", "raw", "--raw", " a time", "-n", "3")
        self.assertRegex(self.run_well("session", "show", "raw").decode(), "Once upon.* a time")
        listed = self.run_json("session")["sessions"]
        self.assertEqual({s["name"] for s in listed}, {"reynard", "owl", "short", "raw"})
        table = self.run_well("session", "list").decode()
        self.assertEqual(len(table.splitlines()), 4)
        self.run_well("session", "delete", "reynard", "owl", "short", "raw")
        self.assertEqual(self.run_well("session"), b"no sessions\n")
        self.assertEqual(moectl("-S", self.daemon.path, "session", "show", "fox")[0], 4)
        for bad in (("bogus",), ("show",), ("rewind", "fox", "x"), ("fork", "fox")):
            self.assertEqual(moectl("-S", self.daemon.path, "session", *bad)[0], 2, bad)

    def test_chat_from_a_pipe(self):
        turns = self.run_json("chat", "-n", "12",
                              stdin=b"Hello\n/think off\n\n//slash\n/exit\nno\n")
        self.assertEqual(len(turns), 2)
        alone = self.run_json("ask", "Hello", "-n", "12")
        self.assertEqual(turns[0]["text"], alone["text"])
        self.assertGreater(turns[1]["usage"]["prompt_tokens"], alone["usage"]["prompt_tokens"])
        self.assertEqual(self.run_well("chat", "-q", "-n", "12", stdin=b"Hello\n").decode(),
                         alone["text"] + "\n")
        rc, out, err = moectl("-S", self.daemon.path, "chat", stdin=b"/nope\nHello\n")
        self.assertEqual((rc, out), (1, b""))

    def test_chat_on_a_terminal(self):
        state = tempfile.mkdtemp(prefix="moed-state.")
        env = environment(TERM="xterm", XDG_STATE_HOME=state)
        terminal = Terminal(MOECTL, "-S", self.daemon.path, "chat", "-n", "1500", "--ignore-end",
                            env=env)
        terminal.read_until(b"> ")
        terminal.type("Erzähl mir 狐狸 🦊\r".encode())
        terminal.read_until("🦊.*\n.*[a-z]{3}".encode())
        terminal.type(b"\x03")  # stops the answer, not the program
        terminal.read_until(b"> ")
        self.wait_idle()
        terminal.type(b"half a line\x03")
        terminal.read_until(rb"\^C.*> ")
        terminal.type(b"/help\r")
        terminal.read_until(b"/exit .*> ")
        terminal.type(b"\x04")
        self.assertEqual(terminal.end(), 0)
        with open(state + "/moed/history", encoding="utf-8", errors="replace") as file:
            history = file.read()
        self.assertNotIn("half", history)
        self.assertIn("help", history)
        again = Terminal(MOECTL, "-S", self.daemon.path, "chat", env=env)
        again.read_until(b"> ")
        again.type(b"\x1b[A\x1b[A")
        again.read_until("狐狸 🦊".encode())
        again.type(b"\x03")
        again.read_until(b"> ")
        again.type(b"\x04")
        self.assertEqual(again.end(), 0)
        shutil.rmtree(state)


class WithParrot(unittest.TestCase):
    """A toy that writes one reply, whatever is asked: here a sentence and a call of a function."""
    SAYS = ("I sing: ", "<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>", "sing", "<｜tool▁sep｜>",
            '{"song":', ' "m\u00f6on"}', "<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>",
            "<｜end▁of▁sentence｜>")
    TOOLS = '[{"type": "function", "function": {"name": "sing", "parameters": {"a": 1.0}}}]'
    ARGUMENTS = '{"song": "m\u00f6on"}'

    @classmethod
    def setUpClass(cls):
        cls.room = tempfile.mkdtemp(prefix="moed-parrot.")
        model = cls.room + "/parrot.gguf"
        parrot.write(model, "</think>", cls.SAYS)
        cls.daemon = Daemon(MOED, model).start()
        cls.conn = cls.daemon.ready()

    @classmethod
    def tearDownClass(cls):
        cls.conn.close()
        assert cls.daemon.stop() == 0
        cls.daemon.__exit__()
        shutil.rmtree(cls.room)

    def file(self, text):
        path = self.room + "/tools.json"
        with open(path, "w") as file:
            file.write(text)
        return path

    def test_events(self):
        answer = self.conn.ask(messages=[("user", "Sing!")])
        self.assertEqual((answer.text, answer.thinking, answer.finish), ("I sing: ", "", 6))
        first, *pieces, last = answer.calls
        self.assertEqual((first["index"] or 0, first["name"]), (0, "sing"))
        self.assertRegex(first["id"], r"\Acall_[0-9a-f]{16}\Z")
        self.assertEqual("".join(p["arguments"] for p in pieces), self.ARGUMENTS)
        self.assertGreater(len(pieces), 1, "arguments come as they are written")
        for piece in (*pieces, last):
            self.assertEqual((piece["index"] or 0, piece["id"], piece["name"]), (0, None, None))
        self.assertEqual([bool(p["done"]) for p in answer.calls], [False] * (len(pieces) + 1) + [True])
        self.assertNotEqual(self.conn.ask(messages=[("user", "x")]).calls[0]["id"], first["id"])
        cut = self.conn.ask(messages=[("user", "Sing!")], max_tokens=6)
        self.assertEqual((cut.finish, "".join(p["arguments"] or "" for p in cut.calls)),
                         (2, '{"song":'))
        self.assertTrue(cut.calls[-1]["done"], "what the end cuts off is ended")

    def test_ask(self):
        tools = self.file(self.TOOLS)
        rc, out, err = moectl("-S", self.daemon.path, "-q", "ask", "--tools", tools, "Sing!")
        self.assertEqual((rc, out.decode(), err), (0, "I sing: \nsing " + self.ARGUMENTS + "\n", b""))
        rc, out, err = moectl("-S", self.daemon.path, "ask", "--tools", tools, "Sing!", "--json")
        self.assertEqual((rc, err), (0, b""))
        answer = json.loads(out)
        self.assertEqual((answer["text"], answer["finish_reason"]), ("I sing: ", "tool_calls"))
        self.assertEqual([{**call, "id": 0} for call in answer["calls"]],
                         [{"id": 0, "name": "sing", "arguments": self.ARGUMENTS}])
        rc, out, err = moectl("-S", self.daemon.path, "render", "--tools", tools, "Sing!")
        self.assertIn('### sing\nDescription: \n\nParameters: {"a": 1.0}\n', out.decode())

    def test_tools_that_are_none(self):
        for text, words in (("[", r":1: .*']' expected"), ("{}", "expected a JSON array"),
                            ("[1]", "tools"), ('[{"a":1,"a":2}]', "duplicate"), ("[] x", "end of file")):
            rc, out, err = moectl("-S", self.daemon.path, "ask", "--tools", self.file(text), "x")
            self.assertEqual((rc, out.strip()), (1, b""), text)
            self.assertRegex(err.decode(), words)
        rc, out, err = moectl("-S", self.daemon.path, "ask", "--tools", "/nowhere/t.json", "x")
        self.assertEqual(rc, 1)
        self.assertIn(b"/nowhere/t.json", err)
        self.assertEqual(moectl("generate", "--tools", "x")[0], 2)


class WithScript(unittest.TestCase):
    def test_calls(self):
        def delta(index, **fields):
            numbers = {"id": 2, "name": 3, "arguments": 4}
            return blob(14, num(1, index) + b"".join(blob(numbers[k], v) for k, v in fields.items()
                                                     if k != "done") + num(5, "done" in fields))
        events = [event(0) + delta(0, id="a", name="f"), event(1) + delta(0, arguments="{}"),
                  event(2) + delta(0, done=1) + delta(1, id="b", name="g\x1b") +
                  delta(1, arguments='{"x":'), event(3) + delta(1, arguments="1}"),
                  event(4, finish=6) + delta(1, done=1)]
        with Script(Generate=stream_of(*events)) as script:
            rc, out, err = moectl("-S", script.path, "-q", "ask", "x")
            self.assertEqual((rc, out, err), (0, b'f {}\ng\x1b {"x":1}\n', b""))
            rc, out, err = moectl("-S", script.path, "ask", "x", "--json")
            self.assertEqual(json.loads(out)["calls"],
                             [{"id": "a", "name": "f", "arguments": "{}"},
                              {"id": "b", "name": "g\x1b", "arguments": '{"x":1}'}])
            terminal = Terminal(MOECTL, "-S", script.path, "-q", "ask", "x")
            self.assertEqual(terminal.end(), 0)
            self.assertIn(rb"g\x1b", terminal.seen)
        with Script(Generate=stream_of(event(0), event(1, finish=6) + delta(1, arguments="x"))) as script:
            rc, out, err = moectl("-S", script.path, "ask", "x")
            self.assertEqual(rc, 1)
            self.assertIn(b"never began", err)

    def test_escapes(self):
        text = "a\x1b[2J\x07\rb\x9bc\x7f\td\n"
        with Script(Generate=stream_of(event(0), event(1, text, finish=1))) as script:
            rc, out, _ = moectl("-S", script.path, "ask", "x", "-q")
            self.assertEqual((rc, out.decode()), (0, text))
            terminal = Terminal(MOECTL, "-S", script.path, "-q", "ask", "x")
            self.assertEqual(terminal.end(), 0)
            shown = terminal.seen.decode()
            self.assertNotRegex(shown, r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
            self.assertIn(r"a\x1b[2J\x07\x0db\x9bc\x7f", shown)

    def test_escapes_in_failures(self):
        with Script(Show=lambda s, _: respond(s, code=5, words="no \x1b[2J")) as script:
            terminal = Terminal(MOECTL, "-S", script.path, "show", "x", env=environment(TERM="dumb"))
            self.assertEqual(terminal.end(), 4)
            self.assertNotIn(b"\x1b", terminal.seen)

    def test_token_that_is_no_text(self):
        def token(identity, data, logprob):
            return num(1, identity) + blob(2, data) + float32(3, logprob)
        tokens = [token(7, b"\xf0\x9f", -0.1), token(8, b"ok", float("-inf"))]
        with Script(Generate=stream_of(event(0, tokens=tokens), event(1, finish=1))) as script:
            rc, out, _ = moectl("-S", script.path, "generate", "--raw", "x", "--json")
        self.assertEqual(rc, 0)
        first, second = json.loads(out)["tokens"]
        self.assertEqual(first, {"id": 7, "text": "\ufffd", "bytes": [0xF0, 0x9F],
                                 "logprob": -0.100000001})
        self.assertEqual(second, {"id": 8, "text": "ok", "logprob": None})

    def test_ways_to_fail(self):
        scripts = {
            "missing": stream_of(event(0, "half")),
            "seq is 2": stream_of(event(0, "a"), event(2, "c")),
            "numbers ran away": stream_of(event(0), event(1, finish=4, error="numbers ran away")),
            "going down": stream_of(event(0), event(1, finish=5)),
            "was cancelled": stream_of(event(0), event(1, finish=3)),
            "queue is full": lambda s, _: respond(s, code=8, words="the queue is full"),
            "went away": lambda s, _: [frame(s, DATA, 0, event(0, "half")), None],
            "does not speak ttrpc": lambda s, _: b"HTTP/1.1 400 Bad Request\r\n",
        }
        for words, play in scripts.items():
            with Script(Generate=play) as script:
                for args in (("generate", "--raw", "x"), ("ask", "x", "--json")):
                    rc, out, err = moectl("-S", script.path, *args)
                    self.assertEqual(rc, 1, words)
                    self.assertIn(words, err.decode())
                self.assertIn(words, json.loads(out)["error"]["message"])

    def test_ctrl_c_cancels_by_id(self):
        def play(stream, _):
            return [frame(stream, DATA, 0, event(0, "begun")), WAIT]
        for text, expected in (("begun", True), (None, False)):
            with Script(Generate=play if text else lambda s, _: [WAIT]) as script:
                process = subprocess.Popen(
                    [MOECTL, "-S", script.path, "ask", "x"], stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                    preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
                if text:
                    process.stdout.read(5)
                else:
                    end = time.monotonic() + WAIT
                    while not script.called and time.monotonic() < end:
                        time.sleep(0.01)
                    time.sleep(0.1)
                process.send_signal(signal.SIGINT)
                process.communicate(timeout=WAIT)
                self.assertEqual(process.returncode, 130)
                end = time.monotonic() + 5
                while expected and len(script.called) < 2 and time.monotonic() < end:
                    time.sleep(0.01)
                wanted = [("Cancel", blob(1, ID))] if expected else []
                self.assertEqual(script.called[1:], wanted)

    def test_long_prompt_in_parts(self):
        with Script(Generate=stream_of(event(0), event(1, "ok", finish=1))) as script:
            rc, out, err = moectl("-S", script.path, "-q", "generate",
                                  stdin="世".encode() * 1500000)
            self.assertEqual((rc, out), (0, b"ok"), err)

    def test_load_shows_progress(self):
        GiB = 1 << 30

        def model(state, done=0, seconds=0.0):
            return (blob(1, "big") + num(3, state) + num(14, done) + num(15, 10 * GiB) +
                    float64(16, seconds))

        def watch(stream, _):
            other = blob(1, "other") + num(3, 1) + num(14, 1) + num(15, 2)
            steps = [model(0), other, model(1), model(1, 2 * GiB, 4.0), model(1, 9 * GiB, 9.0),
                     model(2, 10 * GiB, 10.0)]
            return [frame(stream, DATA, 0, num(1, i) + blob(2, step))
                    for i, step in enumerate(steps)] + [WAIT]
        with Script(Watch=watch,
                    Load=lambda s, _: [0.5, respond(s, blob(1, model(2)))]) as script:
            def shown(columns):
                terminal = Terminal("/bin/sh", "-c", 'stty cols %d; exec "$@"' % columns, "sh",
                                    MOECTL, "-S", script.path, "load", "big")
                self.assertEqual(terminal.end(), 0)
                lines = terminal.seen.split(b"\r")
                for line in lines:
                    self.assertLess(len(line), columns, line)
                self.assertNotIn(b"other", terminal.seen)
                self.assertEqual(lines[-3:-1], [b" " * len(lines[-3]), b"big is ready"])
                return [line.rstrip(b" ") for line in lines]
            lines = shown(100)
            self.assertIn(b"loading big [............................]   0 %, 0 B of 10.0 GiB",
                          lines)
            self.assertIn(b"loading big [#####.......................]  20 %, 2.0 GiB of 10.0 GiB, "
                          b"512.0 MiB/s, 16 s left", lines)
            self.assertIn(b"loading big [#########################...]  90 %, 9.0 GiB of 10.0 GiB, "
                          b"1.0 GiB/s, 1 s left", lines)
            self.assertIn(b"loading big [###.............]  20 %, 2.0 GiB of 10.0 GiB, 512.0 MiB/s, "
                          b"16 s left", shown(82))
            self.assertIn(b"loading big  20 %", shown(40))
            rc, out, err = moectl("-S", script.path, "load", "big")
            self.assertEqual((rc, out, err), (0, b"big is ready\n", b""))
            rc, out, err = moectl("-S", script.path, "load", "big", "--json")
            self.assertEqual((rc, err), (0, b""))
            self.assertEqual([(m["state"], m.get("bytes_done"), m["load_seconds"])
                              for m in map(json.loads, out.splitlines())],
                             [("loading", 0, 0), ("loading", 2 * GiB, 4), ("loading", 9 * GiB, 9),
                              ("ready", None, 0)])
            for option in ("--quiet", "--no-wait"):
                out = moectl("-S", script.path, "load", "big", "--json", option)[1]
                self.assertEqual(len(out.splitlines()), 1)
        with Script(Load=lambda s, _: respond(s, blob(1, model(4) + blob(17, "bad file")))) as script:
            rc, out, err = moectl("-S", script.path, "load", "big")
            self.assertEqual(rc, 1)
            self.assertIn(b"bad file", err)

    def test_status_says_the_next_step(self):
        steps = {0: "moectl load", 1: "loading", 2: "moectl ask", None: "moed --model FILE"}
        for state, words in steps.items():
            models = b"" if state is None else blob(1, blob(1, "m") + num(3, state))
            with Script(List=lambda s, _, m=models: respond(s, m)) as script:
                rc, out, err = moectl("-S", script.path, "status")
                self.assertEqual(rc, 0, err)
                self.assertIn(words, out.decode().strip().split("\n")[-1])

    def test_rpc_reflection(self):
        everything = {
            "model": "m", "chat": {"messages": [{"role": "ROLE_ASSISTANT", "content": "हि",
                                                 "calls": [{"name": "f", "arguments": "{}"}],
                                                 "prefix": True}], "thinking": False},
            "tokens": {"ids": [1, -2]}, "sampling": {"temperature": 0.5,
                                                     "seed": "18446744073709551615",
                                                     "logit_bias": [{"id": 1, "bias": -100}]},
            "stop": ["a", "b"], "timeout_ms": "9007199254740993"}
        with Script(Generate=stream_of(event(0, "x"), event(1, finish=2))) as script:
            rc, out, err = moectl("-S", script.path, "rpc", "Generate", "-",
                                  stdin=json.dumps(everything).encode())
            self.assertEqual(rc, 0, err)
            sent = script.called[0][1]
        first, last = map(json.loads, out.decode().splitlines())
        self.assertEqual(first["generation_id"], ID.hex())
        self.assertEqual(last["finish"], "FINISH_LENGTH")
        found = {number: value for number, _, value in fields(sent)}
        self.assertEqual(found[4], packed(1, [1, -2]))
        self.assertEqual(found[12], 9007199254740993)
        sampling = {number: value for number, _, value in fields(found[6])}
        self.assertEqual(sampling[8], 18446744073709551615)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[4:])
