# SPDX-License-Identifier: MIT
"""Starts a moed of our own: a private folder, a model, a socket; stops it by its process id."""
import os
import shutil
import signal
import subprocess
import tempfile
import time

from ttrpc import n_fds, wait_for


class Daemon:
    """with Daemon(moed, model) as d: d.connect() …"""

    def __init__(self, moed, *models, args=(), room=None):
        self.moed, self.models, self.args = os.path.abspath(moed), models, list(args)
        self.room = room or tempfile.mkdtemp(prefix="moed-live.")
        self.keeps_room = room is not None
        self.path = os.path.join(self.room, "moed.sock")
        self.log = os.path.join(self.room, "log")
        self.process = None

    def start(self):
        command = [self.moed, "--socket", self.path]
        for model in self.models:
            command += ["--model", os.path.abspath(model)]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command + self.args, stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log)
        return self

    def ready(self, seconds=120):
        """Waits until the first model can generate; a connection."""
        conn = wait_for(self.path, seconds)
        end = time.monotonic() + seconds
        while True:
            state = conn.call("List", kind="Models")["models"][0]["state"]
            if state == 2:
                return conn
            if state == 4 or time.monotonic() > end:
                raise AssertionError("the model does not get ready:\n" + self.words())
            time.sleep(0.02)

    def connect(self):
        return wait_for(self.path)

    def words(self):
        with open(self.log, errors="replace") as log:
            return log.read()

    def n_fds(self):
        return n_fds(self.process.pid)

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self, seconds=30):
        return self.process.wait(seconds)

    def stop(self):
        """Drains; the exit status."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        if self.process and self.process.poll() is None:
            self.kill()
        if not self.keeps_room:
            shutil.rmtree(self.room, ignore_errors=True)
