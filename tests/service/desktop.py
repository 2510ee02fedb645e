# SPDX-License-Identifier: MIT
"""moed on the real system bus, as desktops find it; a part of booted.py."""
from unit import attempt, check, journal, main_pid, run, settings, show, systemctl, until

OBJECT = ("org.moed.Moed1", "/org/moed/Moed1", "org.moed.Manager1")
MEMBER, STRANGER = "moed-desktop", "moed-other"


def call(member, *words, user=None):
    return attempt("busctl", "call", *OBJECT, member, *words, user=user)


def state(user=None):
    return attempt("busctl", "get-property", *OBJECT, "State", user=user)


def until_ready():
    until(lambda: state().stdout.strip() == 's "ready"')


def desktop():
    for name in (MEMBER, STRANGER):
        run("useradd", name)
    run("usermod", "--append", "--groups=moed", MEMBER)
    systemctl("reload", "dbus")  # it remembers who is in which group
    systemctl("stop", "moed.service")
    with check("who asks on the bus has the service started"):
        assert not main_pid()
        until_ready()
        assert show("ActiveState") == "active"
        assert "bus" not in run("moectl", "status")
    with check("members of the group moed see it there, others do not"):
        assert state(MEMBER).returncode == 0
        assert state(STRANGER).returncode != 0
    with check("they change nothing unless they are told to be operators"):
        for words in (("UnloadModel", "s", ""), ("LoadModel", "s", ""), ("Reload",)):
            assert call(*words, user=MEMBER).returncode != 0, words
        assert "by the bus is refused" in journal("--unit=moed")
        assert state().stdout.strip() == 's "ready"'
        settings("desktop", "[Access]\nOperator=%s\n" % MEMBER)
        assert call("Reload").returncode == 0
        assert call("UnloadModel", "s", "", user=MEMBER).returncode == 0
        assert state().stdout.strip() == 's "idle"'
        assert call("LoadModel", "s", "", user=MEMBER).returncode == 0
        until_ready()
    with check("the machine would wait for it before it sleeps"):
        until(lambda: "moed" in run("systemd-inhibit", "--list", "--no-pager"))
    with check("a bus that is restarted has it back"):
        pid = main_pid()
        systemctl("restart", "dbus")
        until_ready()
        until(lambda: "moed" in run("systemd-inhibit", "--list", "--no-pager"))
        assert main_pid() == pid
    settings("desktop", "")
    systemctl("restart", "moed.service")
