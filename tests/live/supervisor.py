# SPDX-License-Identifier: MIT
"""Plays systemd for one service: listens to what it says, keeps the descriptors that it hands over
and gives them to its next process."""
import array
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

from ttrpc import wait_for

MOST_FDS = 64


class Supervisor:
    """with Supervisor([moed, "--model", …]) as s: s.start(); s.ready(); s.kill(); s.start() …"""

    def __init__(self, command, env=None):
        self.command, self.env = list(command), dict(env or {})
        self.room = tempfile.mkdtemp(prefix="moed-super.")
        self.path = os.path.join(self.room, "moed.sock")
        self.log = os.path.join(self.room, "log")
        self.said = []  # (monotonic, line)
        self.store = []  # [name, fd]
        self.process = None
        self.lock = threading.Lock()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(64)
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(os.path.join(self.room, "notify"))
        self.thread = threading.Thread(target=self._hear, daemon=True)
        self.thread.start()

    # ---- what the service says

    def _hear(self):
        while True:
            try:
                data, control, _, _ = self.notify.recvmsg(65536, socket.CMSG_SPACE(4 * MOST_FDS))
            except OSError:
                return
            fds = array.array("i")
            for level, kind, body in control:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    fds.frombytes(body[:len(body) // 4 * 4])
            if data == b"end":
                return
            self._take(data.decode().split("\n"), list(fds))

    def _take(self, lines, fds):
        now = time.monotonic()
        values = dict(line.split("=", 1) for line in lines if "=" in line)
        with self.lock:
            self.said += [(now, line) for line in lines]
            if values.get("FDSTORE") == "1":
                for fd in fds:
                    if any(os.path.sameopenfile(fd, kept) for _, kept in self.store):
                        os.close(fd)
                    else:
                        self.store.append([values.get("FDNAME", "stored"), fd])
                fds = []
            if values.get("FDSTOREREMOVE") == "1":
                self._drop(lambda name: name == values.get("FDNAME"))
        for fd in fds:  # BARRIER=1: closing tells that all before was done
            os.close(fd)

    def _drop(self, which):
        for name, fd in [entry for entry in self.store if which(entry[0])]:
            os.close(fd)
        self.store = [entry for entry in self.store if not which(entry[0])]

    def names(self):
        with self.lock:
            return sorted(name for name, _ in self.store)

    def fd(self, begin):
        """The first that is kept under a name which begins so."""
        with self.lock:
            return next(fd for name, fd in self.store if name.startswith(begin))

    def replace(self, begin, fd):
        """Another descriptor, or none, under such a name; takes it."""
        with self.lock:
            name = next(name for name, _ in self.store if name.startswith(begin))
            self._drop(lambda other: other == name)
            if fd is not None:
                self.store.append([name, fd])

    def add(self, name, fd):
        with self.lock:
            self.store.append([name, fd])

    def heard(self, begin, since=0.0):
        with self.lock:
            return [line for at, line in self.said if at >= since and line.startswith(begin)]

    def last_heard(self, begin):
        """When such a line was heard last; 0: never."""
        with self.lock:
            return max((at for at, line in self.said if line.startswith(begin)), default=0.0)

    def await_(self, begin, since=0.0, seconds=120):
        end = time.monotonic() + seconds
        while not self.heard(begin, since):
            if time.monotonic() > end or self.process.poll() is not None:
                raise AssertionError("waited in vain for %s:\n%s" % (begin, self.words()))
            time.sleep(0.01)

    # ---- the service

    def start(self, *args, watchdog=None):
        with self.lock:
            names = ["rpc"] + [name for name, _ in self.store]
            fds = [self.listener.fileno()] + [fd for _, fd in self.store]
        env = {k: v for k, v in os.environ.items() if k not in ("RUNTIME_DIRECTORY", "WATCHDOG_USEC")}
        env.update(self.env, NOTIFY_SOCKET=os.path.join(self.room, "notify"),
                   LISTEN_FDS=str(len(fds)), LISTEN_FDNAMES=":".join(names))
        if watchdog:
            env["WATCHDOG_USEC"] = str(int(watchdog * 1e6))

        def hand_over():
            high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 500) for fd in fds]
            for i, fd in enumerate(high):
                os.dup2(fd, 3 + i)
                os.close(fd)

        self.started = time.monotonic()
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                ["/bin/sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh"] + self.command + list(args),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, preexec_fn=hand_over,
                close_fds=False)
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
            time.sleep(0.01)

    def in_time(self, limit):
        """Waits for READY=1 as TimeoutStartSec= has systemd do: ended if that has not come in time,
        unless it was asked for more."""
        end = self.started + limit
        while not self.heard("READY=1", self.started):
            with self.lock:
                for at, line in self.said:
                    if at >= self.started and line.startswith("EXTEND_TIMEOUT_USEC="):
                        end = max(end, at + int(line.split("=")[1]) / 1e6)
            if time.monotonic() > end or self.process.poll() is not None:
                self.kill()
                raise AssertionError("not ready in time:\n" + self.words())
            time.sleep(0.01)

    def words(self):
        with open(self.log, errors="replace") as log:
            return log.read()

    def read_bytes(self):
        """What the process has read from files so far, from the cache of the kernel or not."""
        with open("/proc/%d/io" % self.process.pid) as file:
            return int(file.readline().split()[1])

    def kill(self, number=signal.SIGKILL):
        self.process.send_signal(number)
        return self.process.wait(60)

    def stop(self):
        return self.kill(signal.SIGTERM)

    def close(self):
        if self.process and self.process.poll() is None:
            self.kill()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
            end.sendto(b"end", self.notify.getsockname())
        self.thread.join()
        with self.lock:
            self._drop(lambda name: True)
        self.notify.close()
        self.listener.close()
        shutil.rmtree(self.room, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
