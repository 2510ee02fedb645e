# SPDX-License-Identifier: MIT
"""Fifteen behaviours that real ttrpc peers show, numbered as T1 to T15."""
import socket
import time

from probe import (DEADLINE, EXHAUSTED, INVALID, MIB, NOT_FOUND, PATH, UNIMPLEMENTED, case, check,
                   code_of, endless, equal, is_closed, ping, refused, short, silent, xxh3)
from ttrpc import (DATA, ND, RC, REQUEST, RESPONSE, RO, Answer, Conn, blob, envelope, frame, generate,
                   num, read, varint)


@case
def t1(conn):
    """T1 a stream ends well by DATA 05 and badly by RESPONSE, never by a response that is OK"""
    answer = Answer(conn, conn.open("Generate", short(), RC)).run()
    check(answer.last["usage"], "no totals")
    stream = conn.open("Generate", short(model="nobody"), RC)
    got = conn.recv_on(stream)
    equal(got[1], RESPONSE, "type of the failure")
    equal(read("Response", got[3])["status"]["code"], NOT_FOUND)


@case
def t2(conn):
    """T2 DATA that closes and carries a message is delivered"""
    stream = conn.open("Generate", b"", RO)
    conn.send(frame(stream, DATA, 0, generate(text="one ")))
    conn.send(frame(stream, DATA, RC, generate(text="two", max_tokens=2, return_prompt=True)))
    answer = Answer(conn, stream).run()
    equal(answer.prompt, conn.ask(text="one two", max_tokens=1, return_prompt=True).prompt)


@case
def t3(conn):
    """T3 DATA of length 0 without no-data is a message, with it is none"""
    stream = conn.open("Ping", b"", RO)
    conn.send(frame(stream, DATA, ND))
    silent(conn)
    conn.send(frame(stream, DATA, 0))
    equal(code_of(conn, stream)[0], 0)


@case
def t4(conn):
    """T4 the method's shape counts, not the flags"""
    Answer(conn, conn.open("Generate", short(), 0)).run()
    equal(code_of(conn, conn.open("Ping", b"", RC))[0], 0)
    equal(code_of(conn, conn.open("Tokenize", blob(2, "x"), RO))[0], 0)


@case
def t5(conn):
    """T5 client streams may open with RO|ND, or with the first message in the payload"""
    for flags, first in ((RO | ND, b""), (RO, generate(text="first "))):
        stream = conn.open("Generate", first, flags)
        conn.send(frame(stream, DATA, 0, generate(text="second", max_tokens=2, return_prompt=True)))
        conn.send(frame(stream, DATA, RC | ND))
        answer = Answer(conn, stream).run()
        text = ("first " if first else "") + "second"
        equal(answer.prompt, conn.ask(text=text, max_tokens=1, return_prompt=True).prompt)


@case
def t6(conn):
    """T6 DATA for an unknown stream, or for a unary call, is answered 3 and harms nobody"""
    conn.send(frame(7777, DATA, 0, b"abc"))
    refused(conn, 7777, INVALID)
    stream = conn.next_stream()
    conn.send(frame(stream, REQUEST, 0, envelope("Tokenize", blob(2, "x" * 50000))) +
              frame(stream, DATA, 0, b"abc"))
    refused(conn, stream, INVALID)
    ping(conn)


@case
def t7(conn):
    """T7 one terminal frame a stream, also when a deadline and a Cancel meet"""
    stream = endless(conn, num(12, 60))
    answer = Answer(conn, stream)
    check(answer.step(), "no first event")
    with Conn(PATH) as other:
        time.sleep(0.05)
        other.call("Cancel", blob(1, answer.id), "Cancel")
    while answer.step():
        pass
    check(answer.failure.code in (1, DEADLINE), str(answer.failure))
    silent(conn)


@case
def t8(conn):
    """T8 a stream that flows does not hold up other calls of its connection"""
    stream = endless(conn)
    for _ in range(20):
        ping(conn)
    answer = Answer(conn, stream)
    check(answer.step(), "no first event")
    equal(conn.call("Cancel", blob(1, answer.id), "Cancel")["found"], True)
    while answer.step():
        pass
    equal(answer.failure.code, 1)
    equal(answer.finish, 3, "finish")


@case
def t9(conn):
    """T9 events are numbered, the last one has totals and the hash of the text"""
    answer = conn.ask(messages=[("user", "Say something short.")], thinking=True, max_tokens=40)
    equal(answer.usage["completion_tokens"], len(answer.tokens))
    hashed = xxh3((answer.thinking + answer.text).encode())
    if hashed is not None:
        equal(answer.last["text_hash"], hashed, "text_hash")


@case
def t10(conn):
    """T10 any odd id that is not open may be opened; DATA on one that is over: one 3, then silence"""
    for stream in (9, 5, 1, 5, 2**31 + 1, 2**32 - 1):
        conn.send(frame(stream, REQUEST, 0, envelope("Ping")))
        equal(code_of(conn, stream)[0], 0)
    conn.send(frame(5, DATA, 0, b"x"))
    refused(conn, 5, INVALID)
    conn.send(frame(5, DATA, 0, b"x") * 3 + frame(5, DATA, RC | ND))
    silent(conn)


@case
def t11(conn):
    """T11 a stream's deadline is a field of its request"""
    start = time.monotonic()
    answer = Answer(conn, endless(conn, num(12, 200)))
    while answer.step():
        pass
    equal(answer.failure.code, DEADLINE)
    check(0.15 < time.monotonic() - start < 5, "after %.2f s" % (time.monotonic() - start))
    equal(answer.finish, 3, "finish")


@case
def t12(conn):
    """T12 shutting down the sending half cancels everything and closes"""
    before = conn.stats()["counter"]["generations_running"]
    with Conn(PATH) as other:
        for _ in range(3):
            check(Answer(other, endless(other)).step(), "no event")
        other.sock.shutdown(socket.SHUT_WR)
        check(is_closed(other), "the connection lives on")
    for _ in range(200):
        if conn.stats()["counter"]["generations_running"] == before:
            return
        time.sleep(0.05)
    raise AssertionError("generations go on")


@case
def t13(conn):
    """T13 answers may overtake each other"""
    slow = conn.next_stream()
    quick = conn.next_stream()
    conn.send(frame(slow, REQUEST, 0, envelope("Tokenize", blob(2, "word " * 100000))) +
              frame(quick, REQUEST, 0, envelope("Ping")))
    first = conn.recv_frame()
    equal(first[0], quick, "the first answer is for stream")
    equal(code_of(conn, slow)[0], 0)


@case
def t14(conn):
    """T14 a frame of 4 MiB is taken, a longer one thrown away and answered 8, in sync"""
    body = fit(4 * MIB)
    stream = conn.next_stream()
    conn.send(frame(stream, REQUEST, 0, body))
    refused(conn, stream, UNIMPLEMENTED)
    stream = conn.next_stream()
    conn.send(frame(stream, REQUEST, 0, b"y" * (4 * MIB + 1)))
    refused(conn, stream, EXHAUSTED, "4194304")
    ping(conn)


def fit(size):
    """An envelope of exactly this size for a method that is not there."""
    body = envelope("Nope")
    left = size - len(body)
    for head in range(2, 7):
        if len(varint(left - head)) + 1 == head:
            return body + blob(3, b"x" * (left - head))
    raise AssertionError("no such size")


@case
def t15(conn):
    """T15 a length of 16 MiB or more ends the connection; a byte less is thrown away"""
    conn.send(frame(1, REQUEST, 0, b"", length=16 * MIB - 1))
    for _ in range(16):
        conn.send(bytes(MIB if _ < 15 else MIB - 1))
    refused(conn, 1, EXHAUSTED)
    ping(conn)
    for length in (16 * MIB, 2**32 - 1):
        with Conn(PATH) as other:
            other.send(frame(1, REQUEST, 0, b"", length=length))
            check(is_closed(other), "a length of %d is believed" % length)
