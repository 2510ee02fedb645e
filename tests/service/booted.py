#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""moed as a service of a real systemd, run as root within the booted tree by `packages`, which put
the packages into /moed/newer that this upgrades to.

usage: booted.py [NAME...]   only these parts
A line for each thing that was tried begins with "ok", "FAILED" or "skipped"; figures are indented.
"""
import glob
import os
import re
import shutil
import statistics
import subprocess
import sys
import threading
import time

from unit import (HERE, PROMPTS, SOCKET, Closed, Conn, Failure, adopted, answers, ask, attempt, check,
                  drop_in, figure, fresh, hold, instance, journal, kill, main_pid, moectl, n_stored, ready,
                  restart, run, same, seconds_again, settings, show, systemctl, until, version, whole)
import press
import unit
from desktop import desktop

CANARY = "quetzalcoatlus"
KILLS = 20
WATCHDOG_S = 3


# ---- from the first client on

def activation():
    with check("the socket waits, the service does not run"):
        assert show("ActiveState", "moed.socket") == "active"
        assert show("ActiveState") == "inactive"
    with check("the first who asks has it started"):
        run("sh", "-x", os.path.join(HERE, "../tests/ask"), timeout=120)
        assert show("ActiveState") == "active"
    with check("moectl status needs no configuration, and names the next step"):
        words = run("moectl", "status")
        assert "\nnext: moectl " in words, words
        assert "systemd" in words, words
    with check("systemctl status tells of the model"):
        until(lambda: "ready" in show("StatusText"))
    with check("moectl doctor finds no fault"):
        for finding in moectl("doctor")["findings"]:
            assert finding["level"] != "fault", finding
            assert finding["name"] != "sandbox" or finding["level"] == "ok", finding


def lives(kind, end, times, expected, stored):
    seconds = []
    with check("%s, %d times: weights are taken over, and the same bytes are answered" % (kind, times)):
        for _ in range(times):
            seconds.append(seconds_again(end))
            same(True, expected, answers())
            assert n_stored() == stored, (n_stored(), stored)
            assert show("ActiveState") == "active"
    if seconds:
        figure("%s to first answer: median %.3f s, worst %.3f s" %
               (kind, statistics.median(seconds), max(seconds)))


def often():
    """Ends that nobody asked for are no reason to stop, nor for safe mode."""
    drop_in("often", "[Unit]\nStartLimitIntervalSec=0\n")
    settings("often", "[Daemon]\nSafeAfter=0\n")
    fresh()


def seldom():
    drop_in("often", "")
    settings("often", "")


def restarts():
    often()
    expected, stored = answers(), n_stored()
    with check("systemd keeps weights and a manifest"):
        assert stored >= 2, stored
    lives("restart", restart, 5, expected, stored)
    lives("kill -9", kill, KILLS, expected, stored)
    with check("killed under load, no answer is wrong"):
        under_load(expected[0])
    seldom()


def under_load(right):
    wrong, stop = [], threading.Event()

    def client():
        while not stop.is_set():
            try:
                with Conn(SOCKET) as conn:
                    answer = conn.generate(text=PROMPTS[0], max_tokens=40, temperature=0, ignore_end=True)
                    while answer.step():
                        pass
            except (OSError, Closed):
                pass
            if answer.ids != right[:len(answer.ids)]:
                wrong.append(answer.ids)

    clients = [threading.Thread(target=client) for _ in range(4)]
    for one in clients:
        one.start()
    for _ in range(5):
        time.sleep(0.2)
        seconds_again(kill)
    stop.set()
    for one in clients:
        one.join(unit.WAIT)
        assert not one.is_alive()
    assert not wrong, wrong


def safe_mode():
    fresh()
    with check("who ends three times unasked starts in safe mode, and a restart leaves it"):
        for _ in range(3):
            before = instance()
            kill()
            until(lambda: instance() not in (None, before))
        assert "safe mode" in run("moectl", "status"), run("moectl", "status")
        restart()
        assert adopted() is False, "weights were trusted"
        assert "safe mode" not in run("moectl", "status")


# ---- the watchdog

def watchdog():
    often()
    drop_in("watchdog", "[Service]\nWatchdogSec=%d\n" % WATCHDOG_S)
    restart()
    expected = answers()
    for name in ("moed-engine", "moed-worker-1", "moed"):
        what = "a thread %s that hangs is found out, and service goes on" % name
        if name == "moed-worker-1" and os.cpu_count() < 2:
            unit.skip(what, "one processor, one worker")
            continue
        with check(what):
            hangs(name, expected)
    drop_in("watchdog", "")
    seldom()


def hangs(name, expected):
    """A worker that is held between two tasks is nobody's loss: then another try."""
    for _ in range(40):
        if held(name):
            break
        kill()
    else:
        raise AssertionError("%s was never held at work" % name)
    same(True, expected, answers())


def held(name):
    """Whether that was noticed: in time, and somebody is served again."""
    ready()
    since, before = time.time(), instance()
    busy = [threading.Thread(target=try_to_ask) for _ in range(2)]
    for one in busy:
        one.start()
    until(lambda: len(moectl("ps")["generations"]) == 2, pause=0)
    begin = time.monotonic()
    hold(name)
    if name.startswith("moed-worker") and goes_on(before):
        return False
    seconds = unit.first_answer(before) - begin
    figure("%s: first answer after %.1f s, the watchdog's time is %d s" % (name, seconds, WATCHDOG_S))
    assert seconds < WATCHDOG_S + 10, seconds
    told(name, since)
    for one in busy:
        one.join(unit.WAIT)
    return True


def goes_on(before):
    """The same process answers."""
    try:
        with Conn(SOCKET, timeout=WATCHDOG_S + 10) as conn:
            conn.ask(text=PROMPTS[0], max_tokens=1, ignore_end=True)
            return conn.hello()["instance_id"] == before
    except (OSError, Closed, Failure):
        return False


def told(name, since):
    """By whom the watchdog has ended."""
    words = journal("--unit=moed", since=since)
    assert show("NRestarts") != "0" and "result 'watchdog'" in words, words
    assert "ended by signal 6" in words and "stack of thread" in words, words
    # the thread that signals come to first cannot tell, if it is the one that is held
    assert re.search(r"thread \d+ \(%s\) does not answer" % name, words) or name == "moed", words
    assert CANARY not in words


def try_to_ask():
    try:
        with Conn(SOCKET) as conn:
            conn.ask(text=CANARY, max_tokens=1500, ignore_end=True)
    except (OSError, Closed, Failure):
        pass


# ---- reload, stop

def reload():
    fresh()
    with check("systemctl reload has a change count, in the same process"):
        before, since = instance(), time.time()
        settings("level", "[Daemon]\nLogLevel=debug\n")
        systemctl("reload", "moed.service")
        assert instance() == before
        assert "read again" in journal("--unit=moed", since=since), journal("--unit=moed", since=since)
        assert moectl("config", "get", "LogLevel")["value"] == "debug"
    with check("a fault in it fails the reload, and all goes on as before"):
        settings("level", "[Daemon]\nLogLevel=loud\n")
        assert attempt("systemctl", "reload", "moed.service").returncode != 0
        assert instance() == before and show("ActiveState") == "active"
    with check("a start with that fault fails once, without a loop of restarts"):
        attempt("systemctl", "restart", "moed.service")
        until(lambda: show("ActiveState") == "failed")
        assert show("ExecMainStatus") == "78", show("ExecMainStatus")
    settings("level", "")
    fresh()


def stop():
    fresh()
    expected = answers()
    with check("stop lets a running answer end"):
        with Conn(SOCKET) as conn:
            answer = conn.generate(text=PROMPTS[0], max_tokens=600, temperature=0, ignore_end=True)
            answer.step()
            stopping = threading.Thread(target=systemctl, args=("stop", "moed.service"))
            stopping.start()
            answer.run()
            assert len(answer.ids) == 600
            stopping.join(unit.WAIT)
        assert show("ActiveState") == "inactive" and show("Result") == "success"
    with check("the socket stays, and the next client has it started again"):
        assert show("ActiveState", "moed.socket") == "active"
        stored = n_stored()
        assert answers() == expected
    keeps = version() >= 254
    with check("weights " + ("outlive" if keeps else "do not outlive") + " a stop, as this systemd has it"):
        assert (stored > 0) == keeps, stored
        assert adopted() == keeps


# ---- who may ask

def users():
    run("groupadd", "--force", "pupils")
    for name in ("member", "pupil", "stranger"):
        if attempt("id", name).returncode:
            run("useradd", "--user-group", name)
    run("usermod", "--append", "--groups", "moed", "member")
    run("usermod", "--append", "--groups", "moed,pupils", "pupil")


def may(user, *args):
    """Whether it ended well, and what was said."""
    done = attempt("moectl", *args, user=user)
    return done.returncode == 0, done.stdout + done.stderr


def access():
    users()
    settings("access", "")
    fresh()
    name = ready()["name"]
    asking = ("ask", "--tokens", "3", "hello")
    with check("root and members may ask, a stranger may not open the socket"):
        assert may(None, *asking)[0] and may("member", *asking)[0]
        allowed, words = may("stranger", *asking)
        assert not allowed and "adduser" in may("stranger", "doctor")[1], words
    with check("members may look, but not load, unload, reload"):
        for args in (("list",), ("status",), ("ps",)):
            assert may("member", *args)[0], args
        for args in (("load", name), ("unload", name), ("reload",)):
            allowed, words = may("member", *args)
            assert not allowed and "operators" in words, (args, words)
    with check("who is named by Operator= may"):
        settings("access", "[Access]\nOperator=@pupils\n")
        systemctl("reload", "moed.service")
        assert may("pupil", "reload")[0] and not may("member", "reload")[0]
    with check("who is named by Deny= may not ask, nor who Allow= does not name"):
        settings("access", "[Access]\nDeny=pupil\n")
        systemctl("reload", "moed.service")
        assert may("member", *asking)[0] and not may("pupil", *asking)[0]
        settings("access", "[Access]\nAllow=@pupils\n")
        systemctl("reload", "moed.service")
        assert may("pupil", *asking)[0] and not may("member", *asking)[0] and may(None, *asking)[0]
    with check("with a socket for all it is Allow= that keeps a stranger out"):
        os.chmod(SOCKET, 0o666)
        allowed, words = may("stranger", *asking)
        assert not allowed and "Allow=" in may("stranger", "doctor")[1], words
        os.chmod(SOCKET, 0o660)
    with check("one more than the quota is refused, others go on"):
        settings("access", "[Access]\nMaxRequests=1\nQuota=@pupils 2\n")
        systemctl("reload", "moed.service")
        for user, most in (("member", 1), ("pupil", 2), (None, 4)):
            quota(user, most, asking)
    settings("access", "")
    systemctl("reload", "moed.service")


def quota(user, most, asking):
    command = ["moectl", "generate", "--raw", "Once", "--tokens", "1900", "--ignore-end"]
    if user:
        command = ["setpriv", "--reuid=" + user, "--regid=" + user, "--init-groups", *command]
    running = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
               for _ in range(most)]
    try:
        until(lambda: len(moectl("ps")["generations"]) >= most, pause=0)
        allowed, words = may(user, *asking)
        assert allowed == (user is None), (user, words)
        if user:
            assert "at the same time" in words or "quota" in words.lower(), words
            other = "pupil" if user == "member" else "member"
            assert may(other, *asking)[0]
    finally:
        for one in running:
            one.kill()
            one.wait()
    until(lambda: not moectl("ps")["generations"])


# ---- the sandbox

def probed(which):
    lines = run("setpriv", "--reuid=moed", "--regid=moed", "--clear-groups", "/moed/probe", which)
    return dict(line.split() for line in lines.splitlines())


def sandbox():
    run("cc", "-O1", "-o", "/moed/probe", os.path.join(HERE, "probe.c"))
    outside = probed("needs")
    since = time.time()
    drop_in("probe", "[Service]\nExecStartPre=/moed/probe needs\nExecStartPre=/moed/probe must-not\n")
    restart()
    drop_in("probe", "")
    lines = journal("SYSLOG_IDENTIFIER=probe", "--output=cat", since=since).splitlines()
    found = dict(line.split() for line in lines)
    with check("what the daemon wants of the kernel works within the unit as it does outside"):
        assert outside and {name: found.get(name) for name in outside} == outside, (outside, found)
        refused = [name for name, error in found.items() if name in outside and error in ("EPERM", "EACCES", "ENOSYS")]
        assert not refused, refused
    with check("what it must not get it does not get"):
        forbidden = {name: error for name, error in found.items() if name not in outside}
        assert len(forbidden) > 10 and "ok" not in forbidden.values(), forbidden
    restart()
    pid = main_pid()
    ask()
    with check("no capability, no new privileges, filtered calls, another user, no core"):
        with open("/proc/%d/status" % pid) as file:
            status = dict(line.split(":\t", 1) for line in file.read().splitlines() if ":\t" in line)
        for key in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(status[key], 16) == 0, status
        assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"
        assert set(status["Uid"].split()) == {run("id", "-u", "moed").strip()}
        with open("/proc/%d/limits" % pid) as file:
            assert re.search(r"^Max core file size +0 +0", file.read(), re.M)
    with check("no socket but Unix ones"):
        inet = []
        for name in ("tcp", "tcp6", "udp", "udp6", "udplite", "udplite6", "raw", "raw6", "icmp", "packet"):
            if os.path.exists("/proc/%d/net/%s" % (pid, name)):
                with open("/proc/%d/net/%s" % (pid, name)) as file:
                    inet += file.readlines()[1:]
        assert not inet, inet
        with open("/proc/%d/net/dev" % pid) as file:
            devices = [line.split(":")[0].strip() for line in file.readlines()[2:]]
        assert devices == ["lo"], devices
        sockets = [os.readlink(path) for path in glob.glob("/proc/%d/fd/*" % pid)]
        unix = set()
        for space in {1, pid}:  # those that systemd opened are of its network
            with open("/proc/%d/net/unix" % space) as file:
                unix |= {line.split()[6] for line in file.readlines()[1:]}
        inodes = [target[8:-1] for target in sockets if target.startswith("socket:[")]
        assert len(inodes) >= 2 and set(inodes) <= unix, (inodes, sockets)
    with check("systemd-analyze security: at most 1.0"):
        run("systemd-analyze", "--no-pager", "security", "--threshold=10", "moed.service")
    with check("nothing was refused to the daemon that it wanted"):
        words = journal("--unit=moed", "_COMM=moed")
        for bad in ("not permitted", "EPERM", "Permission denied", "may not"):
            assert bad not in words, [line for line in words.splitlines() if bad in line]


# ---- what is written

def files_with(word, *folders):
    done = attempt("grep", "--recursive", "--files-with-matches", "--binary-files=text", "--ignore-case",
                   word, *folders)
    return done.stdout.split("\n")[:-1]


def secrets():
    fresh()
    secret = "The %s said to the little fox" % CANARY
    with Conn(SOCKET) as conn:
        answer = conn.ask(text=secret, max_tokens=60, temperature=0, ignore_end=True).text
    words = [CANARY, answer.strip()[:24]]
    run("moectl", "generate", "--raw", secret, "--tokens", "20")
    with Conn(SOCKET) as conn:
        answer = conn.generate(text=secret, max_tokens=1500, ignore_end=True)
        answer.step()
        os.kill(main_pid(), 6)  # in the middle of an answer
    until(lambda: instance())
    ready()
    with check("no word of prompts and answers in the journal, /var, /run or a core"):
        everything = journal("--output=export")
        assert "ended by signal 6" in everything
        for word in words:
            assert word not in everything
            left = files_with(word, "/var/lib/moed", "/var/log", "/var/tmp", "/var/lib/systemd", "/run/moed",
                              "/run/log", "/tmp")
            assert not left, left
        cores = [path for path in glob.glob("/core*") + glob.glob("/var/lib/systemd/coredump/*")
                 + glob.glob("/var/lib/moed/core*")]
        assert not cores, cores
    with check("what is kept on request only moed may read"):
        settings("keep", "[Engine]\nKeepFolder=/var/lib/moed/kept\n")
        restart()
        for _ in range(3):
            run("moectl", "ask", "--session", "talk", "--tokens", "20", "a %s, please" % CANARY)
        systemctl("stop", "moed.service")  # which writes what is left to write
        kept = [os.path.join(at, name) for at, _, names in os.walk("/var/lib/moed/kept") for name in names]
        assert kept
        for path in kept:
            assert os.stat(path).st_mode & 0o077 == 0, path
        users()
        for user in ("member", "stranger"):
            assert attempt("ls", "/var/lib/moed/kept", user=user).returncode != 0
            assert attempt("cat", kept[0], user=user).returncode != 0
        assert CANARY not in journal("--output=export")
    settings("keep", "")
    fresh()


# ---- the journal

def log():
    fresh()
    since = time.time()
    restart()
    ask()
    with check("lines have fields and ids"):
        lines = [line for line in moectl_lines("log", "--since", "-2min") if line.get("ROOM")]
        assert lines
        for line in lines:
            assert line["SYSLOG_IDENTIFIER"] == "moed" and line["_SYSTEMD_UNIT"] == "moed.service", line
        ids = {line.get("MESSAGE_ID") for line in lines}
        with open("/usr/lib/systemd/catalog/moed.catalog") as file:
            known = set(re.findall(r"^-- (\w+)$", file.read(), re.M))
        assert len(ids & known) >= 2, ids
        name = ready()["name"]
        assert any(line.get("MODEL") == name for line in lines)
    with check("moectl log chooses by field, and explains from the catalog"):
        name = ready()["name"]
        words = run("moectl", "log", "--since", "-2min", "MODEL=" + name)
        assert name in words and "ready" in words, words
        assert "Its socket answers from now on" in run("moectl", "log", "--explain", "--since", "-2min")
    with check("the journal of a start has no warning"):
        found = journal("--unit=moed", "--priority=warning", "_COMM=moed", since=since)
        assert not found, found
    with check("moectl log leaves it to the journal who may read"):
        done = attempt("moectl", "log", user="stranger")
        assert "moed:" not in done.stdout and "service:" not in done.stdout, done.stdout


def moectl_lines(*args):
    import json
    return [json.loads(line) for line in run("moectl", "--json", *args).splitlines()]


# ---- memory

def memory():
    what = "memory that is really short moves the ladder, answers stay right, and nobody is killed"
    fresh()
    with check("what the unit's own group waits for is looked at"):
        source = moectl("status")["pressure"]["source"]
        assert "moed.service/memory.pressure" in source, source
    reason = press.why_not()
    if reason:
        unit.skip(what, reason)
        return
    with check(what):
        pid, since, expected = main_pid(), time.time(), answers()
        with press.hog(show("ControlGroup")):
            until(lambda: moectl("status")["pressure"]["rung"] != "calm", pause=0.2)
            seen = moectl("status")["pressure"]
            figure("rung %s, %.1f %% of the time waited for" % (seen["rung"], seen["some_percent"]))
            if seen["rung"] != "refuse":
                assert answers() == expected
        until(lambda: moectl("status")["pressure"]["rung"] == "calm", pause=0.2)
        assert answers() == expected
        assert main_pid() == pid and show("Result") == "success"
        assert "memory is short" in journal("--unit=moed", since=since)


# ---- packages come and go while it runs

def upgrade():
    """The model is an administrator's own: the one that comes along is a new file afterwards."""
    own = "/var/lib/moed/models/own.gguf"
    shutil.copy("/usr/share/moed/models/moed-tiny-Q4_K_M.gguf", own)
    settings("own", "[Model]\nModel=%s\n" % own)
    fresh()
    expected, before = answers(), instance()
    refused, stop = [], threading.Event()

    def client():
        while not stop.is_set():
            try:
                with Conn(SOCKET) as conn:
                    conn.hello()
            except OSError as error:
                refused.append(error)
            except (Closed, Failure):
                pass
            time.sleep(0.005)

    clients = threading.Thread(target=client)
    clients.start()
    with check("upgraded while it runs: another process, weights taken over, nobody is turned away"):
        run("sh", "-c", "dpkg --force-confold -i /moed/newer/*.deb", timeout=300)
        assert instance() not in (None, before)
        same(True, expected, answers())
    stop.set()
    clients.join()
    with check("who connects meanwhile waits"):
        assert not refused, refused
    with check("the socket is enabled still"):
        assert run("systemctl", "is-enabled", "moed.socket").strip() == "enabled"
    settings("own", "")
    os.unlink(own)


def removal():
    fresh()
    with check("removed while it runs: ended, and no socket is left"):
        run("dpkg", "--remove", "moed", "moed-data", "moectl", "libmoed-dev", "libmoed0", timeout=300)
        assert not comms("moed") and not os.path.exists(SOCKET)
    with check("purged"):
        run("dpkg", "--purge", "moed", "moed-data", "moectl", "libmoed-dev", "libmoed0", timeout=300)
        systemctl("daemon-reload")
        assert show("LoadState", "moed.socket") == "not-found"


def comms(name):
    found = []
    for path in glob.glob("/proc/[0-9]*/comm"):
        try:
            with open(path) as file:
                found += [path] if file.read().strip() == name else []
        except OSError:
            pass
    return found


PARTS = [activation, restarts, safe_mode, watchdog, reload, stop, access, desktop, sandbox, secrets,
         log, memory, upgrade, removal]

if __name__ == "__main__":
    named = {part.__name__: part for part in PARTS}
    for name in sys.argv[1:] or named:
        with whole(name):
            named[name]()
