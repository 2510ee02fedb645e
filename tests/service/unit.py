# SPDX-License-Identifier: MIT
"""moed as a unit of the systemd that runs here, from within the booted tree: what its tests share."""
import contextlib
import ctypes
import json
import os
import subprocess
import sys
import threading
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "live"))
from ttrpc import Closed, Conn, Failure  # noqa: E402

SOCKET = "/run/moed/moed.sock"
DROP_INS = "/run/systemd/system/moed.service.d"
SETTINGS = "/etc/moed/moed.conf.d"
PROMPTS = ["Once upon a time", "The little fox", "In the forest there was", "One day a girl"]
LONG = 600  # for a large model to be read
WAIT = 60  # seconds, for anything


def tell(what):
    """Of a test that failed."""
    print("FAILED  " + what)
    traceback.print_exc(file=sys.stdout)
    sys.stdout.flush()


@contextlib.contextmanager
def check(what):
    """What is done in it holds, or is told; the next goes on."""
    try:
        yield
        print("ok      " + what, flush=True)
    except Exception:
        tell(what)


@contextlib.contextmanager
def whole(what):
    """Of several checks: what is between them must go well too."""
    try:
        yield
    except Exception:
        tell(what)


def skip(what, why):
    print("skipped %s: %s" % (what, why), flush=True)


def figure(words):
    print("        " + words, flush=True)


def run(*command, user=None, timeout=WAIT):
    """Output and errors together must end well."""
    done = attempt(*command, user=user, timeout=timeout)
    assert done.returncode == 0, "%s: %d\n%s%s" % (command, done.returncode, done.stdout, done.stderr)
    return done.stdout


def attempt(*command, user=None, timeout=WAIT):
    if user:
        command = ("setpriv", "--reuid=" + user, "--regid=" + user, "--init-groups", "--", *command)
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=timeout, cwd="/")


def until(holds, seconds=WAIT, pause=0.02):
    """Waits for it; what it gave."""
    end = time.monotonic() + seconds
    while True:
        got = holds()
        if got:
            return got
        assert time.monotonic() < end, "waited in vain"
        time.sleep(pause)


# ---- systemd

def systemctl(*args, timeout=WAIT):
    return run("systemctl", *args, timeout=timeout)


def show(name, unit="moed.service"):
    return run("systemctl", "show", "--value", "--property=" + name, unit).strip()


def version():
    return int(run("systemctl", "--version").split()[1])


def main_pid():
    return int(show("MainPID"))


def n_stored():
    return int(show("NFileDescriptorStore"))


def drop_in(name, text):
    """Lines for the unit, or none any more; systemd knows of them at once."""
    os.makedirs(DROP_INS, exist_ok=True)
    write(os.path.join(DROP_INS, name + ".conf"), text)
    systemctl("daemon-reload")


def settings(name, text):
    """Lines of moed.conf, or none any more; nobody has read them yet."""
    os.makedirs(SETTINGS, mode=0o755, exist_ok=True)
    os.chmod(SETTINGS, 0o755)
    write(os.path.join(SETTINGS, name + ".conf"), text)


def write(path, text):
    if not text:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        return
    with open(path, "w") as file:
        file.write(text)
    os.chmod(path, 0o644)


def journal(*args, since=None):
    """Not by cursors: with a filter an older journalctl leaves out the first line behind one."""
    extra = ["--since=@%.6f" % since] if since else []
    run("journalctl", "--sync")
    return run("journalctl", "--no-pager", "--quiet", *extra, *args)


# ---- the daemon

def instance():
    """Which process answers now; None: none does."""
    try:
        with Conn(SOCKET, timeout=WAIT) as conn:
            return conn.hello()["instance_id"]
    except (OSError, Closed, Failure):
        return None


def ready(seconds=WAIT):
    """Waits until the first model can generate; how it lies in memory."""
    def look():
        try:
            with Conn(SOCKET, timeout=seconds) as conn:
                model = conn.call("List", kind="Models")["models"][0]
        except (OSError, Closed, Failure):
            return None
        assert model["state"] != 4, model["error"]
        return model if model["state"] == 2 else None
    return until(look, seconds)


def adopted():
    return bool(ready()["adopted"])


def ask(prompt=PROMPTS[0], tokens=40):
    with Conn(SOCKET, timeout=LONG) as conn:
        return conn.ask(text=prompt, max_tokens=tokens, temperature=0, ignore_end=True).ids


def answers():
    return [ask(prompt) for prompt in PROMPTS]


def same(was_adopted, expected, found):
    """Weights came from where they should, and nobody sees a difference."""
    model = ready()
    assert bool(model["adopted"]) == was_adopted, journal("--unit=moed", "--lines=40")
    assert found == expected, "expected %s, found %s" % (expected, found)


def first_answer(before):
    """Of another process than `before` somebody gets a token: when."""
    end = time.monotonic() + LONG
    while time.monotonic() < end:
        try:
            with Conn(SOCKET, timeout=LONG) as conn:
                if conn.hello()["instance_id"] != before:
                    assert len(conn.ask(text=PROMPTS[0], max_tokens=1, ignore_end=True).ids) == 1
                    return time.monotonic()
        except (OSError, Closed, Failure):
            pass
        time.sleep(0.002)
    raise AssertionError("nobody is answered")


def seconds_again(end):
    """Something ends the process: how long until the next one has answered."""
    before = instance()
    begin = time.monotonic()
    thread = threading.Thread(target=end)
    thread.start()
    at = first_answer(before)
    thread.join()
    return at - begin


def restart():
    systemctl("restart", "moed.service")


def kill():
    os.kill(until(main_pid), 9)


def fresh():
    """Runs, whatever has failed before."""
    systemctl("reset-failed", "moed.service")
    restart()
    ready()


def moectl(*args, user=None):
    return json.loads(run("moectl", "--json", *args, user=user))


# ---- a thread that does not move

SEIZE, INTERRUPT, WALL = 0x4206, 0x4207, 0x40000000


def hold(name):
    """One of moed's threads stands still until its process has ended; false: not allowed here."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    pid = main_pid()
    for tid in map(int, os.listdir("/proc/%d/task" % pid)):
        with open("/proc/%d/task/%d/comm" % (pid, tid)) as file:
            if file.read().strip() == name:
                break
    else:
        raise AssertionError("no thread is called " + name)
    for request in (SEIZE, INTERRUPT):
        if libc.ptrace(request, tid, None, None) < 0:
            raise AssertionError("ptrace: " + os.strerror(ctypes.get_errno()))
    os.waitpid(tid, WALL)
    # A thread that is dead stays, and its process with it, until its tracer has seen it.
    threading.Thread(target=bury, args=(tid,), daemon=True).start()


def bury(tid):
    with contextlib.suppress(ChildProcessError):
        while not os.WIFSIGNALED(os.waitpid(tid, WALL)[1]):
            pass
