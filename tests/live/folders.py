#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Models found in folders: what is listed, what loads, and files that change under the daemon.

usage: folders.py MOED MOECTL MODEL [unittest arguments]
MODEL is what the daemon serves by its path; the folders hold toys that are written here.
"""
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "fixture"))
import safetensors  # noqa: E402
import split  # noqa: E402
import gguf  # noqa: E402
import toy  # noqa: E402
from daemon import Daemon  # noqa: E402
from ttrpc import RC, Failure, blob, num  # noqa: E402

MOED, MOECTL, MODEL = (os.path.abspath(arg) for arg in sys.argv[1:4])
del sys.argv[1:4]
TINY = os.path.basename(MODEL)[:-len(".gguf")]
UNLOADED, LOADING, READY, TEXT, FAILED = range(5)
NOT_FOUND, PRECONDITION, ABORTED = 5, 9, 10

toys = tempfile.mkdtemp(prefix="moed-toys.")


def setUpModule():
    for name, family in (("lite", "v2-lite"), ("kimi", "kimi")):
        toy.write(f"{toys}/{name}.gguf", family)
    parts = split.parts(gguf.read(f"{toys}/lite.gguf"), 3)
    for i, part in enumerate(parts):
        gguf.write(split.name(f"{toys}/lite", i, 3), part.keys, part.tensors)
    safetensors.write(f"{toys}/point", "kimi", "F32", 2)


def tearDownModule():
    shutil.rmtree(toys)


class Folders(unittest.TestCase):
    def setUp(self):
        self.room = tempfile.mkdtemp(prefix="moed-folders.")
        self.addCleanup(shutil.rmtree, self.room)
        self.models = self.room + "/models"
        os.mkdir(self.models)

    def start(self, *folders):
        args = [arg for folder in folders or (self.models,) for arg in ("--folder", folder)]
        daemon = self.daemon = Daemon(MOED, MODEL, args=args)
        self.addCleanup(daemon.__exit__)
        daemon.start()
        conn = self.conn = daemon.ready()

        def stop():
            conn.close()
            self.assertEqual(daemon.stop(), 0, daemon.words())
        self.addCleanup(stop)

    def put(self, name, source, folder=None):
        """As a careful program does it: what has the name is whole."""
        target = f"{folder or self.models}/{name}"
        shutil.copyfile(f"{toys}/{source}", target + ".new")
        os.rename(target + ".new", target)
        return target

    def put_split(self, name="lite"):
        for i in range(3):
            self.put(split.name(name, i, 3), split.name("lite", i, 3))

    def listed(self):
        return {m["name"]: m for m in self.conn.call("List", kind="Models")["models"]}

    def show(self, name):
        return self.conn.call("Show", blob(1, name), "One")["model"]

    def load(self, name):
        return self.conn.call("Load", blob(1, name) + num(2, 1), "One")["model"]

    def unload(self, name):
        return self.conn.call("Unload", blob(1, name), "One")["model"]

    def ask(self, name):
        return self.conn.ask(model=name, tokens=[5, 6, 7], max_tokens=8, ignore_end=True).ids

    def refused(self, code, words, function, *args):
        with self.assertRaises(Failure) as caught:
            function(*args)
        self.assertEqual(caught.exception.code, code, caught.exception.words)
        self.assertIn(words, caught.exception.words)

    def moectl(self, *args, code=0):
        done = subprocess.run([MOECTL, "-S", self.daemon.path, *args], capture_output=True,
                              text=True, timeout=120)
        self.assertEqual(done.returncode, code, done.stderr)
        return done.stdout + done.stderr

    # ---- what is found

    def test_file_split_and_checkpoint(self):
        self.put("lite.gguf", "lite.gguf")
        self.put_split("parts")
        shutil.copytree(f"{toys}/point", self.models + "/point")
        self.start()
        listed = self.listed()
        self.assertEqual(set(listed), {TINY, "lite", "parts", "point"})
        self.assertRegex(self.moectl("list"), r"point +unloaded *\n")
        self.assertEqual(list(listed)[0], TINY, "the first is the one that nameless requests mean")
        for name in ("lite", "parts", "point"):
            self.assertEqual((listed[name]["state"] or 0, listed[name]["family"]), (UNLOADED, None))
        self.assertEqual(listed["lite"]["file_bytes"], os.path.getsize(f"{toys}/lite.gguf"))
        self.assertEqual(listed["parts"]["file_bytes"],
                         sum(os.path.getsize(split.name(f"{toys}/lite", i, 3)) for i in range(3)))
        self.refused(PRECONDITION, "not loaded", self.ask, "lite")

        self.assertIn("parts is ready", self.moectl("load", "parts"))
        for name in ("lite", "point"):
            self.assertEqual(self.load(name)["state"], READY)
        self.assertEqual(self.ask("lite"), self.ask("parts"))
        self.assertEqual(len(self.ask("point")), 8)
        table = self.moectl("list")
        self.assertRegex(table, r"lite +ready +1.0 MiB +0.3 M +2048\n")
        self.assertRegex(table, r"parts +ready +1.0 MiB +0.3 M +2048\n")
        self.assertRegex(table, r"point +ready +1.1 MiB +0.3 M +2048\n")
        self.assertEqual(self.unload("parts")["state"] or 0, UNLOADED)
        self.assertRegex(self.moectl("list"), r"parts +unloaded +1.0 MiB +0.3 M +2048\n")

    def test_what_is_no_model(self):
        outside = self.put("outside.gguf", "lite.gguf", self.room)
        os.symlink(outside, self.models + "/link.gguf")
        os.symlink("link.gguf", self.models + "/near.gguf")
        os.symlink(f"{toys}/point", self.models + "/linked")
        os.mkfifo(self.models + "/pipe.gguf")
        os.mkdir(self.models + "/empty")
        os.mkdir(self.models + "/hollow")
        for name in ("README", ".hidden.gguf", "a\nb.gguf", "hollow/config.json", "bad.gguf"):
            with open(f"{self.models}/{name}", "w") as file:
                file.write("{}")
        self.start()
        listed = self.listed()
        self.assertEqual(set(listed), {TINY, "link", "near", "pipe", "hollow", "bad"})
        for name, words in (("link", "symbolic link"), ("near", "symbolic link"),
                            ("pipe", "found a FIFO, expected a regular file")):
            self.assertEqual(listed[name]["state"], FAILED)
            self.assertIn(words, listed[name]["error"])
            self.refused(PRECONDITION, words, self.load, name)
        self.refused(PRECONDITION, "bad.gguf", self.load, "bad")
        self.refused(PRECONDITION, "hollow", self.load, "hollow")
        self.assertEqual(self.show("bad")["state"], FAILED)
        for name in ("../outside", "outside", "..", ".", "/", outside, "linked", "hollow/config",
                     "models/link", "README", ".hidden"):
            self.refused(NOT_FOUND, "there is no model", self.load, name)
        self.assertIn("no model 'nope' here, only: '" + TINY, self.moectl("load", "nope", code=4))

    def test_names_that_are_there_twice(self):
        other = self.room + "/other"
        os.mkdir(other)
        self.put("lite.gguf", "lite.gguf")
        self.put("lite.gguf", "kimi.gguf", other)
        self.put("second.gguf", "kimi.gguf", other)
        self.put_split("lite")
        self.put(TINY + ".gguf", "kimi.gguf")
        self.start(self.models, other, self.room + "/nowhere")
        listed = self.listed()
        self.assertEqual(set(listed), {TINY, "lite", "second"})
        self.assertEqual(listed[TINY]["path"], MODEL)
        self.assertTrue(listed["lite"]["path"].startswith(self.models + "/lite"))
        words = self.daemon.words()
        for path in (f"{other}/lite.gguf", f"{self.models}/{TINY}.gguf"):
            self.assertEqual(words.count(path + " is passed over"), 1)
        self.assertEqual(words.count(self.room + "/nowhere"), 1, words)
        os.mkdir(self.room + "/nowhere")
        self.put("late.gguf", "kimi.gguf", self.room + "/nowhere")
        self.assertEqual(self.load("late")["state"], READY)
        for name in os.listdir(self.models):
            os.unlink(f"{self.models}/{name}")
        self.assertEqual(self.listed()["lite"]["path"], f"{other}/lite.gguf")

    def test_very_many(self):
        for i in range(600):
            with open(f"{self.models}/m{i:03}.gguf", "w"):
                pass
        self.start()
        self.assertEqual(len(self.listed()), 512)
        self.assertIn("more than 512 models", self.daemon.words())
        for i in range(40):
            self.assertEqual(self.show(f"m{i:03}")["state"], FAILED)
        listed = self.listed()
        self.assertEqual((len(listed), listed["m039"]["state"]), (512, FAILED))

    # ---- files that change

    def test_added_and_removed(self):
        self.start()
        watch = self.conn.events(self.conn.open("Watch", b"", RC), "Watch")
        self.assertEqual(next(watch)["model"]["name"], TINY)
        self.refused(NOT_FOUND, "lite", self.load, "lite")
        self.put("lite.gguf", "lite.gguf")
        self.assertEqual(self.load("lite")["state"], READY)  # nobody listed it before
        seen = []
        while not seen or seen[-1] != ("lite", READY):
            model = next(watch)["model"]
            seen.append((model["name"], model["state"] or 0))
        self.put("kimi.gguf", "kimi.gguf")
        self.assertIn("kimi", self.listed())
        before = self.ask("lite")
        for name in ("lite", "kimi"):
            os.unlink(f"{self.models}/{name}.gguf")
        self.assertEqual(set(self.listed()), {TINY, "lite"}, "what is loaded stays")
        self.assertEqual(self.ask("lite"), before)
        self.refused(NOT_FOUND, "kimi", self.load, "kimi")
        self.refused(NOT_FOUND, "kimi", self.conn.tokenize, "x", "kimi")
        self.unload("lite")
        self.assertEqual(set(self.listed()), {TINY})
        self.put("lite.gguf", "lite.gguf")
        self.load("lite")
        self.assertEqual(self.ask("lite"), before)

    def test_replaced_before_it_loads(self):
        self.put("lite.gguf", "lite.gguf")
        self.put("kimi.gguf", "kimi.gguf")
        shutil.copytree(f"{toys}/point", self.models + "/point")
        self.start()
        self.listed()
        lite, kimi = (self.show(name) for name in ("lite", "kimi"))  # both are open now
        self.assertEqual(kimi["family"], lite["family"])
        self.load("kimi")
        self.put("lite.gguf", "kimi.gguf")
        self.load("lite")
        self.assertEqual(self.ask("lite"), self.ask("kimi"), "the new file is what was loaded")
        self.put("lite.gguf", "lite.gguf")  # and what is loaded stays
        self.listed()
        self.assertEqual(self.ask("lite"), self.ask("kimi"))
        self.unload("lite")
        self.load("lite")
        self.assertNotEqual(self.ask("lite"), self.ask("kimi"))

        self.show("point")
        os.rename(self.models + "/point", self.room + "/point")
        os.symlink(self.room + "/point", self.models + "/point")
        self.refused(NOT_FOUND, "point", self.load, "point")
        self.unload("kimi")
        os.rename(self.models + "/kimi.gguf", self.room + "/kimi.gguf")
        os.symlink(self.room + "/kimi.gguf", self.models + "/kimi.gguf")
        self.refused(PRECONDITION, "symbolic link", self.load, "kimi")
        os.unlink(self.models + "/kimi.gguf")
        shutil.copytree(self.room + "/point", self.models + "/kimi")
        self.assertEqual(self.load("kimi")["container"], "safetensors in 2 files")

    def test_folder_that_goes_and_comes(self):
        self.put("lite.gguf", "lite.gguf")
        self.start()
        self.assertIn("lite", self.listed())
        os.rename(self.models, self.room + "/moved")  # the folder, not its path, is what was opened
        os.mkdir(self.models)
        self.put("kimi.gguf", "kimi.gguf")
        self.assertEqual(set(self.listed()), {TINY, "lite"})
        self.assertEqual(self.load("lite")["state"], READY)
        self.unload("lite")
        shutil.rmtree(self.room + "/moved")
        self.assertEqual(set(self.listed()), {TINY, "kimi"})

    def test_files_are_shut_again(self):
        for i in range(12):
            self.put(f"m{i:02}.gguf", "lite.gguf")
        self.start()
        self.listed()
        before, numbers = self.daemon.n_fds(), []
        for i in range(12):
            self.assertTrue(self.conn.tokenize("Once upon a time", f"m{i:02}"))
            numbers.append(self.daemon.n_fds())
        self.assertGreater(numbers[0], before)
        self.assertEqual(numbers[5:], numbers[5:6] * 7, "of the unused ones a few stay open")
        self.assertEqual(self.show("m03")["context"], 2048)

    def test_everything_at_once(self):
        """Files come, go and become others while clients list, load, ask and leave."""
        names = ["a", "b", "c", "d"]
        self.start()
        end, broken = time.monotonic() + 3, []
        rng = random.Random(3)

        def client(seed):
            rng = random.Random(seed)
            try:
                while time.monotonic() < end:
                    with self.daemon.connect() as conn:
                        for _ in range(rng.randint(1, 8)):
                            step(conn, rng)
            except Exception as failure:  # noqa: BLE001
                broken.append(repr(failure))

        def step(conn, rng):
            name = rng.choice(names)
            what = rng.choice(("List", "Show", "Load", "Unload", "ask", "ask", "text", "leave"))
            try:
                if what == "ask":
                    conn.ask(model=name, tokens=[5, 6], max_tokens=4, ignore_end=True)
                elif what == "text":
                    self.assertTrue(conn.tokenize("Once", name))
                elif what == "leave":
                    conn.open("Load", blob(1, name) + num(2, 1))
                else:
                    conn.call(what, b"" if what == "List" else blob(1, name))
            except Failure as failure:
                if failure.code not in (NOT_FOUND, PRECONDITION, ABORTED, 14):
                    raise

        clients = [threading.Thread(target=client, args=(i,)) for i in range(4)]
        for thread in clients:
            thread.start()
        while time.monotonic() < end:
            name, do = rng.choice(names), rng.randrange(4)
            path = f"{self.models}/{name}.gguf"
            if do == 0 and os.path.lexists(path):
                os.unlink(path)
            elif do == 1:
                os.symlink(f"{toys}/lite.gguf", path + ".new")
                os.rename(path + ".new", path)
            else:
                self.put(name + ".gguf", rng.choice(("lite.gguf", "kimi.gguf")))
            time.sleep(0.02)
        for thread in clients:
            thread.join()
        self.assertEqual(broken, [])
        self.put("a.gguf", "kimi.gguf")
        self.put("fresh.gguf", "kimi.gguf")
        self.assertEqual(self.load("fresh")["state"], READY)
        self.unload("a")
        self.load("a")
        self.assertEqual(self.ask("a"), self.ask("fresh"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
