# SPDX-License-Identifier: MIT
"""What the probes share: the table of cases and the words of a check."""
import ctypes
import ctypes.util
import re
import socket
import struct
import sys

from ttrpc import ND, RC, RESPONSE, Closed, Conn, generate, read

PATH = sys.argv[1]
CASES = []
INVALID, DEADLINE, NOT_FOUND, EXHAUSTED, PRECONDITION, UNIMPLEMENTED = 3, 4, 5, 8, 9, 12
MIB = 1 << 20
is_fake = False  # set by the prober: the scripted models are served


def case(function):
    CASES.append((function.__doc__.split("\n")[0], function, False))
    return function


def fake_case(function):
    """Needs the scripted model."""
    CASES.append((function.__doc__.split("\n")[0], function, True))
    return function


def equal(found, expected, what=""):
    if found != expected:
        raise AssertionError("%s: found %r, expected %r" % (what, found, expected))


def check(condition, what):
    if not condition:
        raise AssertionError(what)


def code_of(conn, stream):
    """The status code that ends a stream, and its words."""
    while True:
        _, kind, flags, body = conn.recv_on(stream)
        if kind == RESPONSE:
            status = read("Response", body)["status"]
            return (status["code"] or 0, status["message"] or "") if status else (0, "")
        if flags & ND:
            return 0, ""


def refused(conn, stream, code, *words):
    found, text = code_of(conn, stream)
    equal(found, code, "status (%s)" % text)
    for word in words:
        check(word in text, "'%s' does not say '%s'" % (text, word))
    check(all(ord(c) >= 32 for c in text), "control bytes in %r" % text)


def is_closed(conn, seconds=5.0):
    conn.sock.settimeout(seconds)
    try:
        while True:
            conn.recv_frame()
    except Closed:
        return True
    except socket.timeout:
        return False


def silent(conn, seconds=0.3):
    """Nothing comes, and the connection lives."""
    conn.sock.settimeout(seconds)
    try:
        got = conn.recv_frame()
        raise AssertionError("an answer that was not expected: %r" % (got,))
    except socket.timeout:
        conn.sock.settimeout(120)


def pid_of_daemon(conn):
    cred = conn.sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return struct.unpack("iII", cred)[0]


def resident(conn):
    return conn.stats()["resident_bytes"]


def room_for(conn, most):
    """Resident bytes a server may grow by: a sanitizer keeps what was freed, so it may have more."""
    with open("/proc/%d/status" % pid_of_daemon(conn)) as status:
        size = int(re.search(r"VmSize:\s+(\d+)", status.read()).group(1))
    return most if size < 1 << 30 else 1 << 40  # KiB: shadow memory is terabytes


def ping(conn):
    conn.call("Ping")


def endless(conn, extra=b""):
    """A generation that goes on until it is stopped."""
    body = generate(text="!flood of words " if is_fake else "Once upon a time", ignore_end=True,
                    extra=extra)
    return conn.open("Generate", body, RC)


def short(**kw):
    kw.setdefault("text", "a few words")
    kw.setdefault("max_tokens", 4)
    return generate(**kw)


def xxh3(data):
    """XXH3-64 by the system's library; None where there is none."""
    name = ctypes.util.find_library("xxhash")
    if not name:
        return None
    function = ctypes.CDLL(name).XXH3_64bits
    function.restype = ctypes.c_uint64
    function.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    return function(data, len(data))
