# SPDX-License-Identifier: MIT
"""Hostile bytes: broken connections, wrong ids, types and flags, envelopes that are none."""
import socket
import threading
import time

from probe import (DEADLINE, EXHAUSTED, INVALID, MIB, PATH, UNIMPLEMENTED, case, check, code_of, endless,
                   equal, is_closed, ping, room_for, refused, resident, silent)
from ttrpc import (DATA, ND, RC, REQUEST, RESPONSE, RO, Answer, Conn, blob, envelope, fields, float32,
                   frame, generate, key, num)


# ---- broken connections
@case
def bytewise(conn):
    """a request byte by byte, and the answer all the same"""
    for byte in frame(1, REQUEST, 0, envelope("Hello")):
        conn.send(bytes([byte]))
    equal(code_of(conn, 1)[0], 0)


@case
def coalesced(conn):
    """two thousand requests in one write"""
    streams = [conn.next_stream() for _ in range(2000)]
    data = b"".join(frame(s, REQUEST, 0, envelope("Ping")) for s in streams)
    sender = threading.Thread(target=conn.send, args=(data,))
    sender.start()
    for stream in streams:
        equal(code_of(conn, stream)[0], 0)
    sender.join()


@case
def cut_header(_):
    """a header cut after every byte"""
    for n in range(11):
        with Conn(PATH) as other:
            other.send(frame(1, REQUEST, 0, envelope("Ping"))[:n])


@case
def cut_body(_):
    """a body cut after every byte, by closing and by half closing"""
    whole = frame(1, REQUEST, 0, envelope("Tokenize", blob(2, "abc")))
    for n in range(10, len(whole)):
        for half in (False, True):
            with Conn(PATH) as other:
                other.send(whole[:n])
                if half:
                    other.sock.shutdown(socket.SHUT_WR)
                    check(is_closed(other), "cut at %d" % n)


@case
def half_closed(_):
    """half closed before anything, and after a whole request"""
    for data in (b"", frame(1, REQUEST, 0, envelope("Ping"))):
        with Conn(PATH) as other:
            if data:
                other.send(data)
            other.sock.shutdown(socket.SHUT_WR)
            check(is_closed(other), "still open")


@case
def early_close(_):
    """three hundred peers that leave before their answer is written"""
    for _ in range(300):
        with Conn(PATH) as other:
            other.send(frame(1, REQUEST, 0, envelope("Stats")) * 3)


@case
def other_protocols(_):
    """HTTP, TLS, HTTP/2, SSH and noise are turned away"""
    for data in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
                 b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"SSH-2.0-x\r\n", b"\xff" * 64, b"{}\n"):
        with Conn(PATH) as other:
            other.send(data)
            check(is_closed(other), "%r is listened to" % data[:8])


# ---- wrong ids, types, flags
@case
def even_ids(conn):
    """even ids and id 0 are answered 3"""
    for stream in (0, 2, 2**32 - 2):
        conn.send(frame(stream, REQUEST, 0, envelope("Ping")))
        refused(conn, stream, INVALID)
    conn.send(frame(4, DATA, 0, b""))
    refused(conn, 4, INVALID)
    ping(conn)


@case
def id_in_use(conn):
    """opening an id that is open ends it with 3"""
    stream = endless(conn)
    check(Answer(conn, stream).step(), "no event")
    conn.send(frame(stream, REQUEST, 0, envelope("Ping")))
    refused(conn, stream, INVALID, str(stream))
    ping(conn)


@case
def unknown_types(conn):
    """frames of unknown types, and responses, are ignored"""
    for kind in (0, RESPONSE, 4, 255):
        conn.send(frame(conn.next_stream(), kind, 0, b"abc"))
    conn.send(frame(1, 9, 0, bytes(4 * MIB + 10)))
    silent(conn)
    ping(conn)


@case
def odd_flags(conn):
    """flags that mean nothing change nothing"""
    for flags in (0x80, 0xF8, ND):
        stream = conn.next_stream()
        conn.send(frame(stream, REQUEST, flags, envelope("Ping")))
        equal(code_of(conn, stream)[0], 0)


@case
def after_the_end(conn):
    """DATA after the client's own end is answered 3"""
    stream = endless(conn)
    check(Answer(conn, stream).step(), "no event")
    conn.send(frame(stream, DATA, 0, b""))
    refused(conn, stream, INVALID)


@case
def two_messages(conn):
    """a second message to a method of one is answered 3"""
    stream = conn.next_stream()
    conn.send(frame(stream, REQUEST, RO, envelope("Tokenize", blob(2, "x" * 50000))) +
              frame(stream, DATA, 0, b""))
    refused(conn, stream, INVALID)


# ---- envelopes and messages
@case
def garbage(conn):
    """an envelope that is none is answered 3"""
    for body in (b"\xff\xff\xff", b"\x0a\x05ab", b"\x00\x00", b"\x0b", b"\x0e\x01", b"\x0a" + b"\xff" * 11):
        stream = conn.next_stream()
        conn.send(frame(stream, REQUEST, 0, body))
        refused(conn, stream, INVALID)
    ping(conn)


@case
def unknown_names(conn):
    """unknown services and methods are answered 12"""
    for service, method in (("x.Y", "Ping"), ("moed.v1.Engine", "Nope"), ("", ""), ("moed.v1", ""),
                            ("moed.v1.Engine", "ping"), ("moed.v1.Engine", "%s%n%x"),
                            ("moed.v1.Engine", "x" * 100000), ("\u200f\u202e", "\x01\x1b[2J")):
        refused(conn, conn.open(method, service=service), UNIMPLEMENTED)
    stream = conn.next_stream()
    conn.send(frame(stream, REQUEST, 0, b""))
    refused(conn, stream, UNIMPLEMENTED)


@case
def bad_utf8(conn):
    """bytes that are not UTF-8, and NUL, are named in every string"""
    for bad in (b"\xff", b"a\xc3", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80", b"a\x00b"):
        stream = conn.next_stream()
        conn.send(frame(stream, REQUEST, 0, blob(1, "moed.v1.Engine") + blob(2, bad)))
        refused(conn, stream, INVALID, "Request.method")
        refused(conn, conn.open("Tokenize", blob(2, bad)), INVALID, "text")
        refused(conn, conn.open("Tokenize", blob(1, bad)), INVALID)
        refused(conn, conn.open("Generate", blob(3, bad), RC), INVALID, "text")
        refused(conn, conn.open("Generate", blob(3, "x") + blob(7, bad), RC), INVALID, "stop")
        refused(conn, conn.open("Generate", blob(2, blob(1, blob(2, bad))), RC), INVALID, "content")
        refused(conn, conn.open("Show", blob(1, bad)), INVALID)


@case
def metadata(conn):
    """64 pairs of metadata are taken, one more or 16 KiB are not"""
    pairs = [("k%d" % i, "v") for i in range(64)]
    conn.call("Ping", metadata=pairs)
    refused(conn, conn.open("Ping", metadata=pairs + [("one", "more")]), EXHAUSTED, "64")
    refused(conn, conn.open("Ping", metadata=[("k", "v" * 16384)]), EXHAUSTED, "16384")


@case
def many_fields(conn):
    """4096 fields are taken, one more is not; a million are refused at once"""
    conn.call("Ping", num(99, 1) * 4096)
    refused(conn, conn.open("Ping", num(99, 1) * 4097), INVALID, "4096")
    before = resident(conn)
    for method in ("Tokenize", "Generate", "Detokenize"):
        start = time.monotonic()
        stream = conn.open(method, num(15, 1) * 1000000, RC)
        refused(conn, stream, INVALID)
        check(time.monotonic() - start < 2, "%s took %.1f s" % (method, time.monotonic() - start))
    check(resident(conn) - before <= room_for(conn, 16 * MIB), "%d bytes more" % (resident(conn) - before))
    stream = conn.next_stream()
    conn.send(frame(stream, REQUEST, 0, num(15, 1) * 1000000))
    refused(conn, stream, INVALID, "4096")


@case
def nested(conn):
    """groups and deep nesting are refused quickly"""
    deep = b""
    for _ in range(20000):
        deep = blob(2, deep[-60000:])
    for payload in (b"\x0b" * 100000, key(2, 3) + key(2, 4), deep, key(5, 6), key(5, 7)):
        start = time.monotonic()
        code, _ = code_of(conn, conn.open("Generate", payload, RC))
        equal(code, INVALID)
        check(time.monotonic() - start < 1, "took %.1f s" % (time.monotonic() - start))


@case
def broken_fields(conn):
    """cut varints, lengths beyond the end, field 0, wrong wire types"""
    for payload in (b"\x28", b"\x28\xff", b"\x28" + b"\xff" * 11, b"\x1a\x7fabc", b"\x1a\xff\xff\xff\xff\x0f",
                    b"\x02\x00", num(3, 1), blob(5, "x"), b"\x35\x00", b"\x51\x00",
                    blob(4, blob(1, b"\xff\xff")), blob(6, float32(2, 1.0) + num(1, 1))):
        refused(conn, conn.open("Generate", payload, RC), INVALID)
    ping(conn)


@case
def deadlines(conn):
    """a negative deadline has passed, extreme ones are taken as they are"""
    refused(conn, conn.open("Ping", timeout=-1), DEADLINE)
    refused(conn, conn.open("Ping", timeout=-(2**63)), DEADLINE)
    conn.call("Ping", timeout=2**63 - 1)
    conn.call("Ping", timeout=1)
    stream = conn.next_stream()
    body = envelope("Generate", b"", timeout=50000000)
    conn.send(frame(stream, REQUEST, RO, body))  # opened for parts that never come
    refused(conn, stream, DEADLINE)


@case
def too_large(conn):
    """a message beyond its method's limit is answered 8"""
    refused(conn, conn.open("Ping", blob(9, b"x" * 70000)), EXHAUSTED, "Ping")
    refused(conn, conn.open("Hello", blob(1, "x" * 70000)), EXHAUSTED)
    stream = conn.open("Ping", b"", RO)
    conn.send(frame(stream, DATA, 0, blob(9, b"x" * 70000)))
    refused(conn, stream, EXHAUSTED)


@case
def too_many_parts(conn):
    """parts beyond the limit of a request are answered 8, and their memory comes back"""
    most = conn.hello()["limit"]["request_bytes"]["value"]
    part = frame(1, DATA, 0, generate(text="x" * (MIB - 16)))
    conn.send(frame(1, REQUEST, RO, envelope("Generate")))
    for _ in range(most // MIB + 1):
        conn.send(part)
    refused(conn, 1, EXHAUSTED, str(most))
    check(conn.stats()["counter"]["client_bytes"] < 4 * MIB, "the parts are still held")
