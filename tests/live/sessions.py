#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Sessions: conversations that the daemon holds, over turns, forks, rewinds and kill -9.

usage: sessions.py MOED MODEL [unittest arguments]
"""
import glob
import os
import shutil
import signal
import stat
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from daemon import Daemon  # noqa: E402
from ttrpc import CODES, Conn, Failure, blob, float32, generate, in_session, num  # noqa: E402

MOED, MODEL = sys.argv[1:3]
del sys.argv[1:3]
STORY = "Tell me a story about a fox, an owl and a mouse who live in the same old wood. "
STOP, LENGTH, CANCELLED, DRAINING = 1, 2, 3, 5
# The small model at times begins by </think>, which its chat format does not replay.
PLAIN = b"".join(blob(6, blob(9, num(1, marker) + float32(2, -100.0))) for marker in (4606, 4607))


def code(name):
    return CODES.index(name)


class Client(unittest.TestCase):
    # ---- what clients do
    def say(self, conn, session, words, max_tokens=20, revision=0, create=False, **kw):
        messages = [("user", words)] if words else None
        extra = in_session(session, revision, create) + (b"" if kw.get("thinking") else PLAIN)
        return conn.ask(messages=messages, max_tokens=max_tokens, extra=extra, **kw)

    def create(self, conn, name):
        return conn.call("SessionCreate", blob(1, name), "Session")

    def list(self, conn):
        return {one["name"] or one["id"]: one
                for one in conn.call("SessionList", kind="Sessions")["sessions"]}

    def show(self, conn, session, tokens=True):
        return conn.call("SessionShow", blob(1, session) + num(4, int(tokens)), "Shown")["messages"]

    def place(self, messages, tokens):
        return num(1, messages) + num(2, tokens)

    def rewind(self, conn, session, messages, tokens=0):
        return conn.call("SessionRewind", blob(1, session) + blob(3, self.place(messages, tokens)),
                         "Session")

    def fork(self, conn, session, name, at=None):
        body = blob(1, session) + blob(4, name)
        return conn.call("SessionFork", body + (blob(3, at) if at is not None else b""), "Session")

    def refused(self, name, words, call, *args, **kw):
        with self.assertRaises(Failure) as caught:
            result = call(*args, **kw)
            if getattr(result, "failure", None):
                raise result.failure
        self.assertEqual(caught.exception.code, code(name), caught.exception)
        self.assertIn(words, caught.exception.words)

    def whole(self, answer):
        """All that the model saw and wrote, but for what it has not read itself yet."""
        return answer.usage["prompt_tokens"] + answer.usage["completion_tokens"] - 2


class Held(Client):
    """One daemon; every test begins without sessions."""

    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon(MOED, MODEL)
        cls.daemon.args = ["--keep-folder", os.path.join(cls.daemon.room, "kept")]
        cls.daemon.start()
        cls.daemon.ready().close()

    @classmethod
    def tearDownClass(cls):
        status = cls.daemon.stop()
        cls.daemon.__exit__()
        assert status == 0, status

    def born(self):
        conn = self.daemon.connect()
        self.addCleanup(conn.close)
        for one in conn.call("SessionList", kind="Sessions")["sessions"]:
            conn.call("SessionDelete", blob(1, one["id"]))
        return conn

    def test_turns(self):
        conn = self.born()
        made = self.create(conn, "fox")
        self.assertEqual((made["name"], made["revision"], made["messages"]), ("fox", 1, None))
        one = self.say(conn, "fox", STORY)
        self.assertEqual(one.last["session_revision"], 2)
        self.assertIsNone(one.last["session_unkept"])
        two = self.say(conn, made["id"], "And then?", temperature=1.2, seed=7)
        self.assertGreaterEqual(two.usage["cached_tokens"], self.whole(one))
        three = self.say(conn, "fox", "And then?")
        self.assertGreaterEqual(three.usage["cached_tokens"], self.whole(two))
        shown = self.show(conn, "fox")
        self.assertEqual([m["role"] or 0 for m in shown], [1, 2] * 3)
        self.assertEqual([m["content"] for m in shown[1::2]], [one.text, two.text, three.text])
        self.assertEqual(shown[0]["content"], STORY)
        # the same, said by a client that keeps it all itself
        whole = conn.ask(messages=[("user", STORY), ("assistant", one.text), ("user", "And then?")],
                         max_tokens=20, temperature=1.2, seed=7, extra=PLAIN)
        self.assertEqual(whole.text, two.text)

    def test_cut_and_continued(self):
        conn = self.born()
        self.create(conn, "fox")
        first = self.say(conn, "fox", STORY, max_tokens=12, ignore_end=True, return_prompt=True)
        self.assertEqual(first.last["finish"], LENGTH)
        self.assertTrue(self.list(conn)["fox"]["cut"])
        more = self.say(conn, "fox", None, max_tokens=12, ignore_end=True, return_prompt=True)
        self.assertGreaterEqual(more.usage["cached_tokens"], self.whole(first))
        self.assertEqual(more.prompt, first.prompt + first.ids)
        shown = self.show(conn, "fox")
        self.assertEqual(len(shown), 2)
        self.assertEqual(shown[1]["tokens"], first.ids + more.ids)
        self.assertEqual(shown[1]["content"], first.text + more.text)
        self.assertEqual(conn.detokenize(shown[1]["tokens"])["text"], first.text + more.text)

    def test_cancelled(self):
        conn = self.born()
        self.create(conn, "fox")
        with self.daemon.connect() as other:
            got = other.generate(messages=[("user", STORY)], ignore_end=True,
                                 extra=in_session("fox"))
            while len(got.tokens) < 3:
                got.step()
            self.refused("ABORTED", "busy", self.say, conn, "fox", "And then?")
            self.assertTrue(self.list(conn)["fox"]["busy"])
        end = time.monotonic() + 30
        while self.list(conn)["fox"]["busy"]:  # who hangs up is cancelled
            self.assertLess(time.monotonic(), end)
            time.sleep(0.01)
        shown = self.show(conn, "fox")
        self.assertEqual([m["finish"] for m in shown], [None, CANCELLED])
        self.assertTrue(shown[1]["tokens"])
        # what follows does not go on with it
        then = self.say(conn, "fox", "And then?")
        self.assertGreaterEqual(then.usage["cached_tokens"], len(shown[1]["tokens"]))
        self.assertEqual(len(self.show(conn, "fox")), 4)

    def test_fork_and_rewind(self):
        conn = self.born()
        self.create(conn, "fox")
        one = self.say(conn, "fox", STORY, max_tokens=40, ignore_end=True, return_prompt=True)
        two = self.say(conn, "fox", "And then?")
        self.fork(conn, "fox", "owl")
        owl = self.say(conn, "owl", "Who was it?")
        fox = self.say(conn, "fox", "Who was it?")
        self.assertGreaterEqual(owl.usage["cached_tokens"], self.whole(two))
        self.assertEqual(fox.ids, owl.ids)
        self.assertEqual(len(self.show(conn, "owl")), 6)
        # to a message, and the same again
        self.rewind(conn, "fox", 3)
        again = self.say(conn, "fox", None)
        self.assertEqual(again.ids, two.ids)
        self.assertGreaterEqual(again.usage["cached_tokens"], two.usage["prompt_tokens"] - 1)
        # into an answer
        self.rewind(conn, "fox", 1, 10)
        cut = self.show(conn, "fox")[1]
        self.assertEqual(cut["tokens"], one.ids[:10])
        self.assertTrue(one.text.startswith(cut["content"]))
        more = self.say(conn, "fox", None, max_tokens=30, ignore_end=True, return_prompt=True)
        self.assertEqual(more.prompt, one.prompt + one.ids[:10])
        self.assertEqual(self.show(conn, "fox")[1]["tokens"], one.ids[:10] + more.ids)
        self.assertEqual(self.show(conn, "fox")[1]["content"], cut["content"] + more.text)
        # a fork of a place
        self.fork(conn, "owl", "mouse", self.place(1, 10))
        again = self.say(conn, "mouse", None, max_tokens=30, ignore_end=True, return_prompt=True)
        self.assertEqual((again.prompt, again.ids), (more.prompt, more.ids))
        self.assertEqual(len(self.show(conn, "owl")), 6)
        self.refused("INVALID_ARGUMENT", "not 9", self.rewind, conn, "owl", 9)
        self.refused("INVALID_ARGUMENT", "no answer", self.rewind, conn, "owl", 0, 5)
        self.refused("INVALID_ARGUMENT", "no answer", self.rewind, conn, "owl", 1, 9000)
        self.rewind(conn, "owl", 0)
        self.assertEqual(self.show(conn, "owl"), [])

    def test_thinking(self):
        conn = self.born()
        self.create(conn, "fox")
        one = self.say(conn, "fox", STORY, max_tokens=30, thinking=True, ignore_end=True,
                       return_prompt=True)
        self.assertTrue(one.thinking)
        self.rewind(conn, "fox", 1, 4)
        before = self.show(conn, "fox")[1]["reasoning"]
        self.assertTrue(before and one.thinking.startswith(before))
        more = self.say(conn, "fox", None, max_tokens=26, ignore_end=True, return_prompt=True)
        self.assertEqual(more.prompt, one.prompt + one.ids[:4])  # opened for thinking, as it was
        self.assertTrue(more.thinking)
        self.assertEqual(self.show(conn, "fox")[1]["reasoning"], before + more.thinking)

    def test_raw_text(self):
        conn = self.born()
        self.create(conn, "raw")
        one = conn.ask(text="Once upon a time", max_tokens=20, extra=in_session("raw"))
        two = conn.ask(text=" But the owl", max_tokens=20, extra=in_session("raw"))
        self.assertGreaterEqual(two.usage["cached_tokens"], self.whole(one) - 1)
        said = [i for piece in self.show(conn, "raw") for i in piece["tokens"]]
        text = conn.detokenize(said)["text"]
        self.assertIn("Once upon a time" + one.text, text)
        self.assertTrue(text.endswith(" But the owl" + two.text), (text, two.text))
        listed = self.list(conn)["raw"]
        self.assertEqual((listed["raw"], listed["tokens"], listed["messages"]),
                         (True, len(said), None))
        conn.call("SessionRewind", blob(1, "raw") + blob(3, self.place(0, 7)), "Session")
        self.assertEqual([i for p in self.show(conn, "raw") for i in p["tokens"]], said[:7])
        self.refused("INVALID_ARGUMENT", "exactly one", self.say, conn, "raw", "Hello")

    def test_stop_strings(self):
        conn = self.born()
        whole = conn.ask(text="Once upon a time", max_tokens=40)
        stop = whole.text[len(whole.text) // 2:][:3]
        self.create(conn, "raw")
        one = conn.ask(text="Once upon a time", max_tokens=40, stop=[stop], extra=in_session("raw"))
        self.assertEqual(one.last["finish"], STOP)
        said = [i for piece in self.show(conn, "raw") for i in piece["tokens"]]
        self.assertTrue(conn.detokenize(said)["text"].endswith("Once upon a time" + one.text))

    def test_settings_and_append(self):
        conn = self.born()
        settings = generate(max_tokens=5, ignore_end=True)
        conn.call("SessionCreate", blob(1, "short") + blob(2, settings), "Session")
        more = generate(messages=[("system", "You are a fox."), ("user", "Who are you?")])
        got = conn.call("SessionAppend", blob(1, "short") + blob(3, more), "Session")
        self.assertEqual((got["revision"], got["messages"]), (2, 2))
        answer = conn.ask(extra=in_session("short"))
        self.assertEqual(answer.usage["completion_tokens"], 5)
        self.assertEqual(self.say(conn, "short", "Why?", max_tokens=7).usage["completion_tokens"], 7)
        self.refused("ABORTED", "revision 4", self.say, conn, "short", "Why?", revision=3)
        self.say(conn, "short", "Why?", revision=4)
        conn.call("SessionUpdate", blob(1, "short") + blob(3, "long")
                  + blob(4, generate(max_tokens=6, ignore_end=True)), "Session")
        self.assertEqual(self.say(conn, "long", "Why?", max_tokens=0).usage["completion_tokens"], 6)
        self.refused("NOT_FOUND", "no session 'short'", self.say, conn, "short", "Why?")

    def test_what_is_refused(self):
        conn = self.born()
        self.create(conn, "fox")
        self.refused("ALREADY_EXISTS", "'fox'", self.create, conn, "fox")
        self.refused("INVALID_ARGUMENT", "name", self.create, conn, "a\nb")
        self.refused("INVALID_ARGUMENT", "name", self.create, conn, "0123456789abcdef")
        self.refused("NOT_FOUND", "no session 'owl'", self.say, conn, "owl", "Hello")
        self.refused("NOT_FOUND", "no session ''", self.say, conn, "", "Hello", create=True)
        self.refused("NOT_FOUND", "nobody", self.say, conn, "fox", "Hello", model="nobody")
        self.say(conn, "owl", "Hello", create=True, stop=["e"], max_tokens=200)
        self.refused("FAILED_PRECONDITION", "of model", self.say, conn, "owl", "Hello",
                     model="nobody")
        self.refused("INVALID_ARGUMENT", "nothing new", self.say, conn, "owl", None)
        self.refused("INVALID_ARGUMENT", "prefix", conn.ask, extra=in_session("fox"),
                     messages=[("user", "Hi"), ("assistant", "I", True)])
        self.refused("INVALID_ARGUMENT", "temperature", self.say, conn, "fox", "Hi",
                     temperature=-1.0)
        self.assertFalse(self.list(conn)["fox"]["busy"])
        conn.call("SessionDelete", blob(1, "owl"))
        self.assertEqual(list(self.list(conn)), ["fox"])
        most = int(conn.hello()["limit"]["sessions_per_uid"]["value"])
        for i in range(most - 1):
            self.create(conn, "s%d" % i)
        self.refused("RESOURCE_EXHAUSTED", "delete some", self.create, conn, "one more")
        self.assertEqual(len(self.list(conn)), most)

    @unittest.skipUnless(os.geteuid() == 0, "only root can be somebody else")
    def test_another_user(self):
        conn = self.born()
        mine = self.say(conn, "fox", STORY, create=True)
        os.chmod(self.daemon.room, 0o755)
        os.chmod(self.daemon.path, 0o666)
        known = self.list(conn)["fox"]
        os.setegid(65534)
        os.seteuid(65534)  # the kernel tells the daemon who connects
        try:
            other = Conn(self.daemon.path)
        finally:
            os.seteuid(0)
            os.setegid(0)
        with other:
            self.assertEqual(other.hello()["uid"], 65534)
            self.assertEqual(self.list(other), {})
            for which in ("fox", known["id"]):
                self.refused("NOT_FOUND", "no session", self.say, other, which, "Hello")
                self.refused("NOT_FOUND", "no session", self.show, other, which)
                self.refused("NOT_FOUND", "no session", self.rewind, other, which, 0)
                self.refused("NOT_FOUND", "no session", other.call, "SessionDelete",
                             blob(1, which))
            theirs = self.say(other, "fox", STORY, create=True)
            self.assertEqual(theirs.usage["cached_tokens"] or 0, 0)
            self.assertEqual(theirs.ids, mine.ids)
        self.assertEqual(self.list(conn)["fox"], known)


class Kept(Client):
    """A daemon of its own for every test."""

    def setUp(self):
        self.daemon = Daemon(MOED, MODEL)
        self.addCleanup(self.daemon.__exit__)
        self.folder = os.path.join(self.daemon.room, "kept")
        self.daemon.args = ["--keep-folder", self.folder]

    def born(self):
        self.daemon.start()
        conn = self.daemon.ready()
        self.addCleanup(conn.close)
        return conn

    def test_killed_and_resumed(self):
        conn = self.born()
        one = self.say(conn, "fox", STORY, create=True)
        two = self.say(conn, "fox", "And then?")
        self.fork(conn, "fox", "owl")
        before, shown = self.list(conn), self.show(conn, "fox")
        end = time.monotonic() + 60
        while not glob.glob(self.folder + "/*/*.kv"):
            self.assertLess(time.monotonic(), end)
            time.sleep(0.02)
        self.daemon.kill()
        conn = self.born()
        self.assertEqual(self.list(conn), before)
        self.assertEqual(self.show(conn, "fox"), shown)
        three = self.say(conn, "fox", "And then?")
        self.assertGreaterEqual(three.usage["cached_tokens"], self.whole(two))
        self.assertGreater(self.whole(two), self.whole(one))
        conn.call("SessionDelete", blob(1, "owl"))
        self.daemon.kill()
        conn = self.born()  # what was told is there, at once
        self.assertEqual(len(self.show(conn, "fox")), 6)
        self.assertEqual(list(self.list(conn)), ["fox"])

    def move(self, conn, method, session, extra=b""):
        return conn.call("Session" + method, blob(1, session) + extra, "Session")

    def stats(self, conn):
        return conn.stats()["models"][0]

    def wait_for(self, holds):
        end = time.monotonic() + 60
        while not holds():
            self.assertLess(time.monotonic(), end)
            time.sleep(0.02)

    def test_parked(self):
        conn = self.born()
        self.create(conn, "empty")
        self.assertTrue(self.move(conn, "Park", "empty")["parked"])
        one = self.say(conn, "fox", STORY, create=True)
        two = self.say(conn, "fox", "And then?")
        kept = self.stats(conn)["pages_kept"]
        self.assertGreater(kept, 1)
        parked = self.move(conn, "Park", "fox")
        self.assertTrue(parked["parked"])
        self.assertGreater(parked["disk_bytes"], 0)
        held = glob.glob(self.folder + "/*/*.held")
        self.assertEqual([os.path.getsize(path) for path in held], [parked["disk_bytes"]])
        self.wait_for(lambda: not self.stats(conn)["pages_kept"])
        self.assertEqual(self.move(conn, "Park", "fox")["revision"], parked["revision"])
        self.daemon.kill()  # what was told is there, at once
        conn = self.born()
        self.assertEqual(self.list(conn)["fox"], parked)
        resumed = self.move(conn, "Resume", "fox")
        self.assertFalse(resumed["parked"])
        self.assertIsNone(resumed["disk_bytes"])
        self.assertGreater(self.stats(conn)["pages_kept"], 1)
        self.assertEqual(glob.glob(self.folder + "/*/*.held"), [])
        parked = self.move(conn, "Park", "fox")
        self.daemon.kill()
        conn = self.born()
        three = self.say(conn, "fox", "And then?")  # resumes it, too
        self.assertGreaterEqual(three.usage["cached_tokens"], self.whole(two))
        self.assertGreater(self.whole(two), self.whole(one))
        self.assertFalse(self.list(conn)["fox"]["parked"])
        self.move(conn, "Park", "fox")
        conn.call("SessionDelete", blob(1, "fox"))
        self.assertEqual(glob.glob(self.folder + "/*/*.held"), [])
        self.refused("NOT_FOUND", "no session 'fox'", self.move, conn, "Park", "fox")

    def test_pinned(self):
        conn = self.born()
        self.say(conn, "fox", STORY, create=True)
        pinned = self.move(conn, "Pin", "fox")
        self.assertTrue(pinned["pinned"])
        self.assertGreater(pinned["memory_bytes"], 0)
        pages = self.stats(conn)["pages_pinned"]
        self.assertGreater(pages, 0)
        two = self.say(conn, "fox", "And then? " * 20)
        now = self.list(conn)["fox"]
        self.assertGreater(now["memory_bytes"], pinned["memory_bytes"])
        self.assertFalse(self.fork(conn, "fox", "owl")["pinned"])
        self.wait_for(lambda: glob.glob(self.folder + "/*/*.kv"))
        self.daemon.kill()
        conn = self.born()
        waiting = self.list(conn)["fox"]
        self.assertEqual((waiting["pinned"], waiting["memory_bytes"]), (True, None))
        self.assertEqual(self.move(conn, "Resume", "fox")["memory_bytes"], now["memory_bytes"])
        self.daemon.kill()
        conn = self.born()
        three = self.say(conn, "fox", "And then?")
        self.assertGreaterEqual(three.usage["cached_tokens"], two.usage["prompt_tokens"])
        self.assertGreaterEqual(self.list(conn)["fox"]["memory_bytes"], now["memory_bytes"])
        parked = self.move(conn, "Park", "fox")
        self.assertEqual((parked["pinned"], parked["memory_bytes"]), (None, None))
        again = self.move(conn, "Pin", "fox")
        self.assertEqual((again["parked"], again["disk_bytes"]), (None, None))
        self.assertGreater(again["memory_bytes"], 0)
        self.assertFalse(self.move(conn, "Pin", "fox", num(3, 1))["pinned"])
        self.wait_for(lambda: not self.stats(conn)["pages_pinned"])
        self.move(conn, "Pin", "fox")
        conn.call("SessionDelete", blob(1, "fox"))
        self.wait_for(lambda: not self.stats(conn)["pages_pinned"])

    def test_too_much_is_pinned_or_parked(self):
        config = os.path.join(self.daemon.room, "moed.conf")
        with open(config, "w") as file:
            file.write("[Engine]\nCacheBytes=4M\nKeepBytes=1K\n")
        self.daemon.args += ["--config", config]
        conn = self.born()
        self.say(conn, "fox", STORY * 30, create=True)
        self.refused("RESOURCE_EXHAUSTED", "that you may pin", self.move, conn, "Pin", "fox")
        self.refused("RESOURCE_EXHAUSTED", "for one user", self.move, conn, "Park", "fox")
        fox = self.list(conn)["fox"]
        self.assertFalse(fox["pinned"] or fox["parked"] or fox["busy"])
        self.say(conn, "fox", "And then?")
        conn.call("Unload", blob(1, fox["model"]))
        self.refused("FAILED_PRECONDITION", "load it first", self.move, conn, "Pin", "fox")

    def test_ended_in_the_middle(self):
        conn = self.born()
        answer = conn.generate(messages=[("user", STORY)], ignore_end=True,
                               extra=in_session("fox", create=True))
        while len(answer.tokens) < 5:
            answer.step()
        self.daemon.signal(signal.SIGTERM)
        time.sleep(0.05)
        self.daemon.signal(signal.SIGTERM)  # at once
        with self.assertRaises(Failure) as caught:
            answer.run()
        self.assertEqual(caught.exception.code, code("UNAVAILABLE"))
        self.assertEqual(answer.last["session_revision"], 1)
        self.assertEqual(self.daemon.wait(), 0)
        conn = self.born()
        cut = self.show(conn, "fox")[1]
        self.assertEqual((cut["tokens"], cut["finish"]), (answer.ids, DRAINING))

    def test_files(self):
        conn = self.born()
        self.say(conn, "fox", STORY, create=True)
        self.say(conn, "owl", STORY, create=True)
        files = glob.glob(self.folder + "/sessions/*/*")
        self.assertEqual(len(files), 2)
        for path in files:
            self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
            self.assertEqual(stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode), 0o700)
        self.daemon.kill()
        with open(files[0], "r+b") as file:
            file.seek(-40, 2)
            byte = file.read(1)
            file.seek(-1, 1)
            file.write(bytes([byte[0] ^ 4]))
        own = os.path.dirname(files[1])
        shutil.copytree(own, os.path.join(os.path.dirname(own), "54321"))  # another's, by force
        with open(os.path.join(own, "0" * 16 + ".tmp"), "w"):
            pass
        conn = self.born()
        self.assertEqual(len(self.list(conn)), 1)
        self.assertIn("its sum is another", self.daemon.words())
        self.assertIn("it is another's", self.daemon.words())
        self.assertEqual(glob.glob(own + "/*.tmp"), [])
        self.assertEqual(self.daemon.stop(), 0)

    def test_without_a_folder(self):
        self.daemon.args = []
        conn = self.born()
        one = self.say(conn, "fox", STORY, create=True)
        self.assertIn("KeepFolder", one.last["session_unkept"])
        self.assertIn("KeepFolder", self.list(conn)["fox"]["unkept"])
        two = self.say(conn, "fox", "And then?")
        self.assertGreaterEqual(two.usage["cached_tokens"], self.whole(one))
        self.daemon.kill()
        self.assertEqual(self.list(self.born()), {})


if __name__ == "__main__":
    unittest.main()
