# SPDX-License-Identifier: MIT
"""Memory, descriptors, floods, readers that do not read, and time."""
import array
import os
import socket
import threading
import time
import traceback

from probe import (EXHAUSTED, MIB, PATH, UNIMPLEMENTED, case, check, code_of, endless, equal, fake_case,
                   is_closed, pid_of_daemon, ping, refused, resident, room_for, silent)
from ttrpc import (RC, REQUEST, RO, Answer, Closed, Conn, blob, envelope, frame, generate, in_session,
                   n_fds, num, read)


# ---- memory, descriptors, floods
@case
def promises(conn):
    """two hundred connections promise 4 MiB each and cost what they sent"""
    most = int(conn.hello()["limit"]["connections_of_root"]["value"])
    n = min(200, most - 20 if os.getuid() == 0 else 40)
    before = resident(conn)
    others = []
    for _ in range(n):
        other = Conn(PATH)
        other.send(frame(1, REQUEST, 0, b"x" * 100, length=4 * MIB))
        others.append(other)
    ping(conn)
    grown = resident(conn) - before
    for other in others:
        other.close()
    check(grown <= room_for(conn, 16 * MIB), "%d bytes for promises" % grown)


@case
def room_given_back(conn):
    """a connection that once sent much holds nothing of it when it is idle"""
    with Conn(PATH) as other:
        stream = other.open("Nope", b"x" * 3000000)
        refused(other, stream, UNIMPLEMENTED)
        held = conn.stats()["counter"]["client_bytes"]
        check(held < 100000, "%d bytes are held" % held)


@case
def idle_memory(conn):
    """an idle connection costs at most 8 KiB"""
    n = 150 if os.getuid() == 0 else 40
    warm = [Conn(PATH) for _ in range(n)]
    for other in warm:
        ping(other)
    for other in warm:
        other.close()
    time.sleep(0.2)
    before = resident(conn)
    others = [Conn(PATH) for _ in range(n)]
    for other in others:
        ping(other)
    grown = resident(conn) - before
    for other in others:
        other.close()
    check(grown <= room_for(conn, n * 8192 + 65536), "%d bytes for %d connections" % (grown, n))


@case
def passed_fds(conn):
    """descriptors on every frame: none is kept"""
    pid = pid_of_daemon(conn)
    before = n_fds(pid)
    fds = array.array("i", [os.open("/dev/null", os.O_RDONLY) for _ in range(100)])
    for _ in range(50):
        stream = conn.next_stream()
        conn.sock.sendmsg([frame(stream, REQUEST, 0, envelope("Ping"))],
                          [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
        equal(code_of(conn, stream)[0], 0)
    after = n_fds(pid)
    for fd in fds:
        os.close(fd)
    check(after - before < 10, "%d more descriptors" % (after - before))  # others come and go
    check(conn.stats()["counter"]["fds_dropped"] >= 50, "they were not even noticed")


@case
def connection_flood(conn):
    """connections beyond a uid's share are closed; a place that is freed can be taken again"""
    limit = conn.hello()["limit"]
    most = limit["connections_of_root" if os.getuid() == 0 else "connections_per_uid"]["value"]
    others = [Conn(PATH) for _ in range(most + 20)]
    served = 0
    for other in others:
        try:
            other.call("Ping")
            served += 1
        except (Closed, OSError):
            pass
    check(most - 10 <= served < most, "%d of %d were served" % (served, most))
    for other in others:
        other.close()
    for _ in range(100):
        try:
            with Conn(PATH) as other:
                ping(other)
            return
        except (Closed, OSError):
            time.sleep(0.02)
    raise AssertionError("no place was given back")


@case
def many_calls(conn):
    """a connection with too many calls is read no further, and goes on when they end"""
    most = conn.hello()["limit"]["calls_per_connection"]["value"]
    conn.send(b"".join(frame(2 * i + 101, REQUEST, RO, envelope("Generate")) for i in range(most)))
    stream = 99
    conn.send(frame(stream, REQUEST, 0, envelope("Ping")))
    silent(conn)
    with Conn(PATH) as other:
        check(other.stats()["counter"]["calls_open"] >= most, "the calls are not open")


@fake_case
def sessions_in_flight(conn):
    """what is yet to come into a user's sessions takes its room already"""
    def turn(other, name, words="!hang"):
        said = num(1, 1) + blob(2, words) + blob(5, "thought " * (3 * MIB // 8))
        body = blob(2, blob(1, said)) + in_session(name, create=True)
        return other.open("Generate", body, RC)

    n = conn.hello()["limit"]["session_bytes_per_uid"]["value"] // (3 * MIB)
    with Conn(PATH) as other:
        for i in range(n):
            Answer(other, turn(other, "fox %d" % i)).step()
        refused(conn, turn(conn, "owl"), EXHAUSTED, "your sessions would hold")
        settings = blob(2, blob(7, "x" * 3 * MIB))
        refused(conn, conn.open("SessionCreate", settings), EXHAUSTED, "your sessions would hold")
    until = time.monotonic() + 20
    while conn.stats()["counter"]["generations_running"] > 0:
        check(time.monotonic() < until, "they go on")
        time.sleep(0.02)
    equal(code_of(conn, turn(conn, "owl", "hoot"))[0], 0, "when the others have gone")
    conn.call("SessionDelete", blob(1, "owl"))


@case
def never_read(conn):
    """streams that nobody reads cost a bounded memory and are parked"""
    before = conn.stats()
    others = []
    for _ in range(20):
        other = Conn(PATH)
        for _ in range(2):
            endless(other)
        others.append(other)
    time.sleep(1.5)
    after = conn.stats()
    held = after["counter"]["client_bytes"]
    for other in others:
        other.close()
    check(held <= 40 * 700000, "%d bytes are held" % held)
    grown = after["resident_bytes"] - before["resident_bytes"]
    check(grown <= room_for(conn, 40 * MIB), "%d bytes more are resident" % grown)


@fake_case
def parked(conn):
    """a reader that stops is parked, and gets every byte when it goes on"""
    ping(conn)
    with Conn(PATH) as other:
        body = generate(text="!flood0123456789" * 4, max_tokens=60000)
        answer = Answer(other, other.open("Generate", body, RC))
        check(answer.step(), "no event")
        end = time.monotonic() + 20  # on a busy machine it takes its time
        while conn.stats()["counter"]["generations_paused"] == 0:
            check(time.monotonic() < end, "it was never parked")
            time.sleep(0.02)
        while answer.step():
            pass
        equal(len(answer.tokens), 60000)
        equal(answer.finish, 2, "finish")
        text = ("!flood0123456789" * 4000)[:60000]
        check(answer.text.startswith(text[:500]) and len(answer.text) == 60000, "other text")


@fake_case
def abandoned(conn):
    """a stream that is not read for long ends with 8, and the connection goes on"""
    slow = conn.hello()["limit"]["slow_reader_ms"]["value"] / 1000
    with Conn(PATH) as other:
        stream = other.open("Generate", generate(text="!flood" * 20, max_tokens=1000000), RC)
        other.recv_on(stream)
        end = time.monotonic() + slow + 5
        while time.monotonic() < end:  # reads, but far too slowly to get below the soft limit
            other.sock.recv(2048)
            time.sleep(0.05)
            if conn.stats()["counter"]["generations_slow"] > 0:
                return
    raise AssertionError("it was never ended")


# ---- time: these run beside the others
def first_request(limit):
    """a peer that says nothing is closed"""
    start = time.monotonic()
    with Conn(PATH) as other:
        check(is_closed(other, limit["first_request_ms"] / 1000 + 5), "it may stay")
    return time.monotonic() - start, limit["first_request_ms"] / 1000


def unfinished(limit):
    """a header that is not finished is closed"""
    with Conn(PATH) as other:
        other.send(frame(1, REQUEST, 0, envelope("Ping")))
        other.recv_on(1)
        start = time.monotonic()
        other.send(b"\0\0\0")
        check(is_closed(other, limit["frame_progress_ms"] / 1000 + 5), "it may stay")
        return time.monotonic() - start, limit["frame_progress_ms"] / 1000


def dripping(limit):
    """a body that drips is closed at last"""
    with Conn(PATH) as other:
        ping(other)
        start = time.monotonic()
        other.send(frame(3, REQUEST, 0, length=1000))
        other.sock.settimeout(0.1)
        while time.monotonic() - start < limit["frame_ms"] / 1000 + 5:
            try:
                other.send(b"x")
                if not other.sock.recv(100):
                    break
            except socket.timeout:
                pass
            except (BrokenPipeError, ConnectionResetError):
                break
        return time.monotonic() - start, limit["frame_ms"] / 1000


def quiet_but_good(limit):
    """a peer that has made a call may be idle for as long as it likes"""
    with Conn(PATH) as other:
        ping(other)
        time.sleep(max(limit["first_request_ms"], limit["frame_progress_ms"]) / 1000 + 1)
        ping(other)
    return 0, 0


def in_background(limit):
    results = []

    def run(function):
        try:
            took, due = function(limit)
            check(due - 0.2 <= took <= due + 4, "closed after %.1f s, not %.1f" % (took, due))
            results.append((function.__doc__, None))
        except Exception:  # noqa: BLE001
            results.append((function.__doc__, traceback.format_exc()))

    threads = [threading.Thread(target=run, args=(f,))
               for f in (first_request, unfinished, dripping, quiet_but_good)
               if f is not dripping or limit["frame_ms"] <= 5000]  # the rest of us is done by then
    for thread in threads:
        thread.start()
    return threads, results
