#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A daemon on a system bus of the test's own, with the policy that is packaged.

usage: bus.py MOED MODEL CONF FAKE_LOGIND [unittest arguments]

CONF is packaging/dbus/org.moed.Moed1.conf. The users "nobody" and "daemon", which every Debian has,
play a member of the group moed and a stranger.
"""
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from daemon import Daemon  # noqa: E402

MOED, MODEL, CONF, LOGIND = sys.argv[1:5]
del sys.argv[1:5]
for tool in ("dbus-daemon", "busctl", "setpriv"):
    if not shutil.which(tool):
        print("skipped: no %s here" % tool)
        sys.exit(77)

CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><listen>unix:path=%s</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><deny own="*"/><deny send_type="method_call"/>
<allow send_type="signal"/><allow send_requested_reply="true" send_type="method_return"/>
<allow send_requested_reply="true" send_type="error"/><allow receive_type="method_call"/>
<allow receive_type="method_return"/><allow receive_type="error"/><allow receive_type="signal"/>
<allow send_destination="org.freedesktop.DBus"/><allow own="org.freedesktop.login1"/>
<allow send_destination="org.freedesktop.login1"/></policy>%s</busconfig>
"""
OBJECT = ["org.moed.Moed1", "/org/moed/Moed1", "org.moed.Manager1"]


class Bus(unittest.TestCase):
    def setUp(self):
        self.daemon = Daemon(MOED, MODEL)
        self.addCleanup(self.daemon.__exit__)
        room = self.daemon.room
        os.chmod(room, 0o755)
        self.path = os.path.join(room, "bus")
        self.conf = os.path.join(room, "moed.conf")
        with open(CONF) as file:
            policy = re.search(r"<busconfig>(.*)</busconfig>", file.read(), re.S).group(1)
        for a, b in (('group="moed"', 'group="nogroup"'), ('user="moed"', 'user="root"')):
            self.assertIn(a, policy)
            policy = policy.replace(a, b)
        if os.geteuid() != 0:  # then we are all of them
            policy = policy.replace('user="root"', 'user="%d"' % os.geteuid())
        with open(os.path.join(room, "bus.conf"), "w") as file:
            file.write(CONFIG % (self.path, policy))
        os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = "unix:path=" + self.path
        self.bus = None
        self.addCleanup(self.bus_dies)

    def bus_is_born(self):
        self.bus = subprocess.Popen(
            ["dbus-daemon", "--config-file=" + os.path.join(self.daemon.room, "bus.conf"), "--nofork",
             "--nopidfile", "--print-address"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.assertTrue(self.bus.stdout.readline())

    def bus_dies(self):
        if self.bus:
            self.bus.kill()
            self.bus.wait()
            self.bus.stdout.close()
            self.bus = None

    def born(self, settings="", *args):
        with open(self.conf, "w") as file:
            file.write("[Daemon]\nBus=system\n" + settings)
        self.daemon.args = ["--config", self.conf] + list(args)
        self.daemon.start()
        conn = self.daemon.ready()
        self.addCleanup(conn.close)
        return conn

    def ask(self, *words, user=None):
        """What busctl says, as JSON; or its complaint, as text."""
        command = ["busctl", "--system", "--json=short", "--auto-start=no"] + list(words)
        if user:
            command = ["setpriv", "--reuid", user, "--regid", user if user != "nobody" else "nogroup",
                       "--init-groups"] + command
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        return json.loads(done.stdout or "{}") if done.returncode == 0 else done.stderr.strip()

    def call(self, member, *words, user=None):
        return self.ask("call", *OBJECT, member, *words, user=user)

    def state(self):
        return self.ask("get-property", *OBJECT, "State")

    def until(self, what, expected, seconds=60):
        end = time.monotonic() + seconds
        while (is_now := what()) != expected:
            self.assertLess(time.monotonic(), end, "%r\n%s" % (is_now, self.daemon.words()))
            time.sleep(0.05)

    def test_on_and_off(self):
        self.bus_is_born()
        conn = self.born()
        self.until(self.state, {"type": "s", "data": "ready"})
        models = self.call("ListModels")["data"][0]
        self.assertEqual([m["State"]["data"] for m in models], ["ready"])
        name = models[0]["Name"]["data"]
        self.assertEqual(self.call("UnloadModel", "s", name), {})
        self.assertEqual(conn.call("List", kind="Models")["models"][0]["state"], 0)
        self.until(self.state, {"type": "s", "data": "idle"})
        self.assertIn("no model 'x' here", self.call("LoadModel", "s", "x"))
        self.assertEqual(self.call("LoadModel", "s", ""), {})
        self.until(self.state, {"type": "s", "data": "ready"})
        with open(self.conf, "a") as file:
            file.write("LogLevel=debug\nHugePages=2M\n")
        self.assertEqual(self.call("Reload")["data"], [["LogLevel"], [], ["HugePages"]])
        with open(self.conf, "a") as file:
            file.write("LogLevel=loud\n")
        self.assertIn("the configuration stays as it was", self.call("Reload"))
        self.assertEqual(conn.call("Stats", kind="Stats")["notice"], "")
        self.assertEqual(self.daemon.stop(), 0)
        self.assertIsInstance(self.state(), str)  # nobody has the name

    @unittest.skipIf(os.geteuid() != 0, "other users are root's to play")
    def test_others(self):
        self.bus_is_born()
        self.born()
        self.until(self.state, {"type": "s", "data": "ready"})
        self.assertEqual(len(self.call("ListModels", user="nobody")["data"][0]), 1)
        for words in (("UnloadModel", "s", ""), ("LoadModel", "s", ""), ("Reload",)):
            self.assertIn("Access denied", self.call(*words, user="nobody"))
        self.assertEqual(self.daemon.words().count("polkit cannot be asked"), 3)
        self.assertIn("Access denied", self.call("ListModels", user="daemon"))
        self.assertIn("Access denied", self.call("Reload", user="daemon"))
        self.assertEqual(self.daemon.words().count("refused"), 3)  # he never came as far as us
        self.assertEqual(self.state(), {"type": "s", "data": "ready"})
        for rules, expected in (("Deny=nobody\n", "Call failed: Access denied"),
                                ("Deny=@nogroup\n", "Call failed: Access denied"),
                                ("Operator=nobody\n", {}), ("Operator=@nogroup\n", {})):
            with open(self.conf, "w") as file:
                file.write("[Daemon]\nBus=system\n[Access]\n" + rules)
            self.assertIsInstance(self.call("Reload"), dict)
            self.assertEqual(self.call("UnloadModel", "s", "", user="nobody"), expected)
        self.assertEqual(self.daemon.words().count("do not let uid 65534 in"), 2)
        self.assertIn("uid 65534 by the bus: UnloadModel", self.daemon.words())

    def test_bus_comes_and_goes(self):
        conn = self.born()  # there is none yet
        notice = lambda: conn.call("Stats", kind="Stats")["notice"]
        self.assertIn("cannot connect to the system's bus", notice())
        self.bus_is_born()
        self.until(notice, "")
        self.until(self.state, {"type": "s", "data": "ready"})
        self.bus_dies()
        self.until(lambda: "the system's bus" in notice(), True)
        self.assertTrue(conn.ask(tokens=conn.tokenize("Once upon a time"), max_tokens=5).ids)
        self.bus_is_born()
        self.until(notice, "")
        self.assertEqual(self.state(), {"type": "s", "data": "ready"})
        self.assertEqual(self.daemon.stop(), 0)

    def said(self, words):
        self.until(lambda: words in self.daemon.words(), True)

    def test_sleep(self):
        self.bus_is_born()
        folder, vault = (os.path.join(self.daemon.room, name) for name in ("kept", "vault"))
        with open(self.daemon.log, "ab") as log:
            helper = subprocess.Popen([MOED, "--vault-socket", vault], stderr=log)
        self.addCleanup(helper.wait)
        self.addCleanup(helper.terminate)
        self.until(lambda: os.path.exists(vault), True)
        logind = subprocess.Popen([LOGIND, "unix:path=" + self.path, "20000"], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, text=True, bufsize=1)
        self.addCleanup(logind.stdout.close)
        self.addCleanup(logind.wait)
        self.addCleanup(logind.stdin.close)
        hear = lambda: logind.stdout.readline().strip()
        self.assertEqual(hear(), "here")
        conn = self.born("", "--keep-folder", folder, "--vault", vault)
        self.assertEqual(hear(), "held")
        story = "Once upon a time there was a little fox who lived in the forest. " * 8
        files = lambda: glob.glob(folder + "/[0-9]*/*.kv")
        for turn in range(2):
            ids = conn.tokenize(story + "Turn %d." % turn)
            # It is writing another answer all the while, and would write nothing to the disk by itself.
            busy = self.daemon.connect()
            busy.generate(text="And then", ignore_end=True)
            self.assertTrue(conn.ask(tokens=ids, max_tokens=3).ids)
            before = len(files())
            logind.stdin.write("sleep\n")
            self.assertEqual(hear(), "released")
            self.assertGreater(len(files()), before)
            self.said("nothing is left to be written")
            logind.stdin.write("wake\n")
            self.assertEqual(hear(), "held")
            self.said("kept weights of 1 models are compared")
            busy.close()
        self.said("all weights have their checksums")
        self.assertEqual(self.daemon.words().count("the machine may sleep"), 2)
        self.assertEqual(self.daemon.stop(), 0)
        self.assertEqual(hear(), "released")

    def test_refused(self):
        self.bus_is_born()
        holder = os.path.join(self.daemon.room, "bus.conf")
        with open(holder) as file:
            text = file.read()
        with open(holder, "w") as file:
            file.write(text.replace('<allow own="org.moed.Moed1"/>', ""))
        self.bus_dies()
        self.bus_is_born()
        conn = self.born()
        self.until(lambda: "does not let us be org.moed.Moed1" in conn.call("Stats", kind="Stats")["notice"],
                   True)
        with open(holder, "w") as file:
            file.write(text)
        self.ask("call", "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus",
                 "ReloadConfig")
        self.until(lambda: conn.call("Stats", kind="Stats")["notice"], "")
        self.assertEqual(self.daemon.words().count("does not let us be"), 1)  # not with every try

    def test_unwanted(self):
        self.bus_is_born()
        with open(self.conf, "w") as file:
            file.write("[Daemon]\nBus=no\n")
        self.daemon.args = ["--config", self.conf]
        self.daemon.start()
        self.daemon.ready().close()
        self.assertIsInstance(self.state(), str)
        self.assertEqual(self.daemon.stop(), 0)
        with open(self.conf, "w") as file:
            file.write("[Daemon]\nBus=omni\n")
        self.daemon.start()
        self.assertEqual(self.daemon.wait(), 78)
        self.assertIn("Bus=omni: expected auto, system or no", self.daemon.words())


if __name__ == "__main__":
    unittest.main()
