# SPDX-License-Identifier: MIT
"""A small ttrpc client by hand: frames and protobuf packed with nothing but the standard library.

Messages are described by field numbers (FIELDS below), so that a test sees names. It is written
from the protocol's description alone and shares no code with the daemon.
"""
import os
import socket
import struct
import time

REQUEST, RESPONSE, DATA = 1, 2, 3
RC, RO, ND = 1, 2, 4
SERVICE = "moed.v1.Engine"
CODES = ("OK CANCELLED UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND ALREADY_EXISTS "
         "PERMISSION_DENIED RESOURCE_EXHAUSTED FAILED_PRECONDITION ABORTED OUT_OF_RANGE "
         "UNIMPLEMENTED INTERNAL UNAVAILABLE DATA_LOSS UNAUTHENTICATED").split()

# name -> {number: (field, kind)}; a kind in capitals is another message, a list is repeated
MESSAGES = {
    "Hello": {1: ("version", "str"), 2: ("protocol_minor", "int"), 3: ("features", ["str"]),
              4: ("limits", ["Limit"]), 5: ("boot_id", "str"), 6: ("instance_id", "bytes"),
              7: ("uid", "int"), 8: ("draining", "bool")},
    "Limit": {1: ("name", "str"), 2: ("value", "int"), 3: ("least", "double"),
              4: ("most", "double"), 5: ("missing", "double")},
    "Event": {1: ("seq", "int"), 2: ("generation_id", "bytes"), 3: ("model", "str"),
              4: ("prompt", ["int"]), 5: ("first_index", "int"), 6: ("tokens", ["Token"]),
              7: ("thinking", "str"), 8: ("text", "str"), 9: ("finish", "int"), 10: ("stop", "str"),
              11: ("error", "str"), 12: ("usage", "Usage"), 13: ("text_hash", "fixed64"),
              14: ("calls", ["CallDelta"]), 15: ("receipt", "Receipt"),
              16: ("prompt_tokens", ["Token"]), 17: ("progress", "Progress"),
              19: ("session_revision", "int"),
              20: ("session_unkept", "str"), 21: ("index", "int"), 22: ("thinking_cut", "int"),
              23: ("mean_logprob", "float"), 24: ("estimate", "Estimate")},
    "Estimate": {1: ("prefill_seconds", "double"), 2: ("tokens_per_second", "double"),
                 3: ("thinking_tokens", "int"), 4: ("answer_tokens", "int")},
    "Session": {1: ("id", "str"), 2: ("name", "str"), 3: ("revision", "int"), 4: ("model", "str"),
                5: ("raw", "bool"), 6: ("messages", "int"), 7: ("tokens", "int"),
                8: ("bytes", "int"), 9: ("created", "int"), 10: ("used", "int"),
                11: ("busy", "bool"), 12: ("cut", "bool"), 13: ("unkept", "str"),
                17: ("pinned", "bool"), 18: ("parked", "bool"), 19: ("memory_bytes", "int"),
                20: ("disk_bytes", "int")},
    "Sessions": {1: ("sessions", ["Session"])},
    "Shown": {1: ("session", "Session"), 2: ("settings", "bytes"), 3: ("messages", ["Message"]),
              4: ("next", "int")},
    "Message": {1: ("role", "int"), 2: ("content", "str"), 3: ("calls", ["bytes"]),
                4: ("prefix", "bool"), 5: ("reasoning", "str"), 7: ("tokens", ["int"]),
                8: ("finish", "int")},
    "Receipt": {1: ("place", "str"), 2: ("isa", "str"), 3: ("cache", "str"),
                4: ("attention", "str"), 5: ("sampler", "str"), 6: ("seed", "int"),
                7: ("cached_rows", ["int"]), 8: ("model", "str"), 9: ("made_rows", ["int"]),
                10: ("version", "str")},
    "CallDelta": {1: ("index", "int"), 2: ("id", "str"), 3: ("name", "str"),
                  4: ("arguments", "str"), 5: ("done", "bool")},
    "Token": {1: ("id", "int"), 2: ("text", "bytes"), 3: ("logprob", "float"), 4: ("top", ["Top"])},
    "Top": {1: ("id", "int"), 2: ("logprob", "float"), 3: ("text", "bytes")},
    "Usage": {1: ("prompt_tokens", "int"), 2: ("cached_tokens", "int"),
              3: ("completion_tokens", "int"), 4: ("thinking_tokens", "int"),
              5: ("queue_seconds", "double"), 6: ("prefill_seconds", "double"),
              7: ("decode_seconds", "double")},
    "Cancel": {1: ("found", "bool")},
    "Tokens": {1: ("ids", ["int"]), 2: ("text", "str")},
    "Text": {1: ("text", "str"), 2: ("raw", "bytes")},
    "Models": {1: ("models", ["Model"])},
    "One": {1: ("model", "Model"), 2: ("metadata", ["Pair"])},
    "Pair": {1: ("key", "str"), 2: ("value", "str")},
    "Model": {1: ("name", "str"), 2: ("path", "str"), 3: ("state", "int"), 4: ("family", "str"),
              5: ("chat", "str"), 6: ("quantisation", "str"), 7: ("container", "str"),
              8: ("file_bytes", "int"), 11: ("context", "int"), 12: ("vocabulary", "int"),
              14: ("bytes_done", "int"), 15: ("bytes_all", "int"), 16: ("load_seconds", "double"),
              17: ("error", "str"), 18: ("adopted", "int"), 19: ("kept_bytes", "int"), 30: ("resting", "int")},
    "Stats": {1: ("counters", ["Counter"]), 2: ("models", ["ModelStats"]),
              3: ("generations", ["Generation"]), 4: ("uptime_seconds", "double"),
              5: ("resident_bytes", "int"), 6: ("pressure", "Pressure"),
              13: ("vault", "str"), 14: ("notice", "str")},
    "Pressure": {1: ("rung", "int"), 2: ("changes", "int"), 3: ("some_percent", "double"),
                 5: ("left_bytes", "int"), 6: ("limit_bytes", "int"), 7: ("limit", "str"),
                 8: ("source", "str")},
    "Counter": {1: ("name", "str"), 2: ("value", "int")},
    "ModelStats": {1: ("model", "str"), 2: ("steps", "int"), 7: ("sequences", "int"),
                   8: ("queued", "int"), 9: ("pages_used", "int"), 10: ("pages_total", "int"),
                   11: ("cache_bytes", "int"),
                   13: ("memory", "str"), 15: ("cached_tokens", "int"), 16: ("pages_kept", "int"),
                   27: ("given_back_bytes", "int"), 28: ("pages_lost", "int"),
                   43: ("saves_failed", "int"), 44: ("pages_shared", "int"),
                   46: ("pages_pinned", "int"),
                   17: ("queued_by_class", ["int"]), 18: ("refused", "int"),
                   19: ("plan_seconds", "double"), 5: ("prefill_seconds", "double"),
                   6: ("decode_seconds", "double")},
    "Generation": {1: ("generation_id", "bytes"), 2: ("model", "str"), 3: ("uid", "int"),
                   5: ("completion_tokens", "int"), 7: ("class", "int"),
                   8: ("cached_tokens", "int"), 9: ("prefill_rate", "double"),
                   10: ("decode_rate", "double"), 11: ("queue_position", "int"),
                   12: ("queue_seconds", "double")},
    "Watch": {1: ("seq", "int"), 2: ("model", "Model"), 3: ("draining", "bool"),
              4: ("pressure", "Pressure")},
    "Response": {1: ("status", "Status"), 2: ("payload", "bytes")},
    "Status": {1: ("code", "int"), 2: ("message", "str"), 3: ("details", ["Any"])},
    "Any": {1: ("type_url", "str"), 2: ("value", "bytes")},
    "RetryAfter": {1: ("retry_after_ms", "int")},
    "Progress": {1: ("tokens_done", "int"), 2: ("tokens_all", "int"),
                 3: ("seconds_left", "double")},
    "Nothing": {},
}


# ---- packing
def varint(value):
    value &= (1 << 64) - 1
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def key(number, wire):
    return varint(number << 3 | wire)


def num(number, value):
    return key(number, 0) + varint(value)


def blob(number, value):
    if isinstance(value, str):
        value = value.encode()
    return key(number, 2) + varint(len(value)) + value


def float32(number, value):
    return key(number, 5) + struct.pack("<f", value)


def float64(number, value):
    return key(number, 1) + struct.pack("<d", value)


def packed(number, values):
    return blob(number, b"".join(varint(v) for v in values))


def frame(stream, kind, flags, body=b"", length=None):
    return struct.pack(">IIBB", len(body) if length is None else length, stream, kind, flags) + body


def envelope(method, payload=b"", service=SERVICE, timeout=0, metadata=()):
    body = blob(1, service) + blob(2, method)
    if payload:
        body += blob(3, payload)
    if timeout:
        body += num(4, timeout)
    for name, value in metadata:
        body += blob(5, blob(1, name) + blob(2, value))
    return body


def message(role, content, prefix=False):
    roles = {"system": 0, "user": 1, "assistant": 2, "tool": 3}
    body = num(1, roles[role]) + blob(2, content)
    return body + num(4, 1) if prefix else body


def chat(messages, thinking=False):
    body = b"".join(blob(1, message(*m)) for m in messages)
    return blob(2, body + num(2, 1) if thinking else body)


def generate(text=None, messages=None, tokens=None, model=None, max_tokens=0, thinking=False,
             stop=(), logprobs=False, top_logprobs=0, ignore_end=False, return_prompt=False,
             timeout_ms=0, show_special=False, seed=0, temperature=0.0, extra=b""):
    """A GenerateRequest."""
    body = blob(1, model) if model else b""
    if messages is not None:
        body += chat(messages, thinking)
    if text is not None:
        body += blob(3, text)
    if tokens is not None:
        body += blob(4, packed(1, tokens))
    sampling = (float32(1, temperature) if temperature else b"") + (num(8, seed) if seed else b"")
    for number, value in ((5, max_tokens), (8, logprobs), (9, top_logprobs), (10, ignore_end),
                          (11, return_prompt), (12, timeout_ms), (13, show_special)):
        if value:
            body += num(number, int(value))
    if sampling:
        body += blob(6, sampling)
    for one in stop:
        body += blob(7, one)
    return body + extra


def in_session(name, revision=0, create=False):
    """What a GenerateRequest has to say of its session."""
    return blob(19, blob(1, name) + (num(2, revision) if revision else b"")
                + (num(3, 1) if create else b""))


# ---- unpacking
def take_varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def fields(data):
    """(number, wire type, value) of each field; a broken message raises."""
    at = 0
    while at < len(data):
        tag, at = take_varint(data, at)
        wire = tag & 7
        if wire == 0:
            value, at = take_varint(data, at)
        else:
            if wire == 2:
                size, at = take_varint(data, at)
            else:
                size = {1: 8, 5: 4}[wire]
            value = data[at:at + size]
            if len(value) != size:
                raise ValueError("cut field")
            at += size
        yield tag >> 3, wire, value


def signed(value):
    return value - (1 << 64) if value >> 63 else value


def read(kind, data):
    """A message as a dict; what is missing has its zero."""
    out = {}
    for name, sort in MESSAGES[kind].values():
        out[name] = [] if isinstance(sort, list) else None
    for number, wire, value in fields(data):
        name, sort = MESSAGES[kind].get(number, (None, None))
        if name is None:
            continue
        many = isinstance(sort, list)
        sort = sort[0] if many else sort
        if sort == "int" and wire == 2:  # packed
            at = 0
            while at < len(value):
                one, at = take_varint(value, at)
                out[name].append(signed(one))
            continue
        if sort in ("int", "bool"):
            value = bool(value) if sort == "bool" else signed(value)
        elif sort == "str":
            value = value.decode("utf-8")  # strict: every string must be whole characters
        elif sort in ("float", "double", "fixed64"):
            value = struct.unpack({"float": "<f", "double": "<d", "fixed64": "<Q"}[sort], value)[0]
        elif sort != "bytes":
            value = read(sort, value)
        if many:
            out[name].append(value)
        else:
            out[name] = value
    return out


class Failure(Exception):
    def __init__(self, code, words, details=()):
        super().__init__("%s: %s" % (CODES[code] if code < len(CODES) else code, words))
        self.code, self.words, self.retry_after_ms = code, words, 0
        for one in details:
            if one["type_url"].endswith("/moed.v1.RetryAfter"):
                self.retry_after_ms = read("RetryAfter", one["value"])["retry_after_ms"]


class Closed(Exception):
    """The daemon closed the connection."""


class Conn:
    """One connection; frames in order, no threads."""

    def __init__(self, path, timeout=120.0, receive_buffer=None):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(timeout)
        try:
            self.sock.connect(path)
        except OSError:
            self.sock.close()
            raise
        self.data = b""
        self.stream = -1
        self.waiting = {}  # frames of streams that nobody asked for yet

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, data):
        self.sock.sendall(data)

    def next_stream(self):
        self.stream += 2
        return self.stream

    def recv_frame(self):
        """(stream, type, flags, body); Closed at the end of file."""
        while True:
            if len(self.data) >= 10:
                length, stream, kind, flags = struct.unpack(">IIBB", self.data[:10])
                if len(self.data) >= 10 + length:
                    body = self.data[10:10 + length]
                    self.data = self.data[10 + length:]
                    return stream, kind, flags, body
            try:
                more = self.sock.recv(1 << 16)
            except ConnectionResetError:
                more = b""
            if not more:
                raise Closed()
            self.data += more

    def recv_on(self, stream):
        while not self.waiting.get(stream):
            got = self.recv_frame()
            self.waiting.setdefault(got[0], []).append(got)
        return self.waiting[stream].pop(0)

    # ---- calls
    def open(self, method, payload=b"", flags=0, **kw):
        stream = self.next_stream()
        self.send(frame(stream, REQUEST, flags, envelope(method, payload, **kw)))
        return stream

    def response(self, stream):
        """The payload of a RESPONSE; Failure if it is one."""
        _, kind, flags, body = self.recv_on(stream)
        if kind != RESPONSE or flags != 0:
            raise AssertionError("type %d flags %d instead of a response" % (kind, flags))
        got = read("Response", body)
        status = got["status"] or {"code": 0}
        if status["code"]:
            raise Failure(status["code"], status["message"] or "", status["details"])
        return got["payload"] or b""

    def call(self, method, payload=b"", kind="Nothing", **kw):
        return read(kind, self.response(self.open(method, payload, **kw)))

    def events(self, stream, kind="Event"):
        """The events of a stream until it is over; Failure if it fails."""
        while True:
            got = self.recv_on(stream)
            if got[1] == DATA:
                if got[2] & ND:
                    if got[2] != RC | ND or got[3]:
                        raise AssertionError("a strange end: flags %d" % got[2])
                    return
                yield read(kind, got[3])
            else:
                self.waiting[stream].insert(0, got)
                self.response(stream)
                raise AssertionError("a stream ended by an OK response")

    def generate(self, **kw):
        return Answer(self, self.open("Generate", generate(**kw), RC))

    def ask(self, **kw):
        """Generate, and wait for the end."""
        return self.generate(**kw).run()

    def several(self, n, **kw):
        """Generate n answers, and wait for the end of all."""
        return Answers(self, self.open("Generate", generate(**kw), RC), n)

    # ---- what tests ask all the time
    def stats(self):
        got = self.call("Stats", kind="Stats")
        got["counter"] = {c["name"]: c["value"] or 0 for c in got["counters"]}
        return got

    def hello(self):
        got = self.call("Hello", kind="Hello")
        got["limit"] = {one["name"]: one for one in got["limits"]}
        return got

    def tokenize(self, text, model=None):
        body = (blob(1, model) if model else b"") + blob(2, text)
        return self.call("Tokenize", body, "Tokens")["ids"]

    def detokenize(self, ids, model=None):
        body = (blob(1, model) if model else b"") + packed(2, ids)
        return self.call("Detokenize", body, "Text")


class Answer:
    """A generation as it comes; checks what every stream must keep."""

    def __init__(self, conn, stream):
        self.conn, self.stream = conn, stream
        self.source = conn.events(stream)
        self.id = self.model = self.last = self.failure = None
        self.text = self.thinking = ""
        self.tokens, self.prompt, self.chunks, self.calls = [], [], [], []
        self.prompt_tokens = []
        self.estimate = None
        self.n_events = 0

    def step(self):
        """Takes one event; False: the stream is over."""
        try:
            event = next(self.source, None)
        except Failure as failure:
            self.failure = failure
            event = None
        if event is None:
            return False
        assert (event["seq"] or 0) == self.n_events, "seq"
        assert self.last is None, "an event after the last"
        if self.n_events == 0:
            self.id, self.model = event["generation_id"], event["model"]
            assert len(self.id) == 16 and self.model
            self.prompt = event["prompt"]
        self.n_events += 1
        if event["estimate"]:
            assert not self.estimate and not self.tokens, "an estimate behind the answer"
            self.estimate = event["estimate"]
        if event["prompt_tokens"]:
            assert not self.tokens, "the prompt behind the answer"
            self.prompt_tokens += event["prompt_tokens"]
        if event["tokens"]:
            assert (event["first_index"] or 0) == len(self.tokens), "first_index"
            self.tokens += event["tokens"]
        self.calls += event["calls"]
        for name in ("thinking", "text"):
            if event[name]:
                self.chunks.append(event[name])
                setattr(self, name, getattr(self, name) + event[name])
        if event["finish"]:
            self.last = event
            self.usage = event["usage"]
            self.finish = event["finish"]
            assert self.usage["completion_tokens"] == len(self.tokens), "totals"
        return True

    def run(self):
        while self.step():
            pass
        if self.failure:
            raise self.failure
        assert self.last, "a stream that ended well without totals"
        return self

    @property
    def ids(self):
        return [t["id"] or 0 for t in self.tokens]


class Answers:
    """Several answers of one stream, each as it would be alone, in parts."""

    def __init__(self, conn, stream, n):
        self.parts, self.usage, self.n_events, self.n_turns = [], None, 0, 0
        sources = [[] for _ in range(n)]
        before = first = None
        for event in conn.events(stream):
            index = event["index"] or 0
            assert (event["seq"] or 0) == self.n_events and self.usage is None, "seq"
            first = first or event
            self.n_events += 1
            self.n_turns += before != index
            before, self.usage = index, event["usage"]
            event["seq"] = len(sources[index])
            event["generation_id"], event["model"] = first["generation_id"], first["model"]
            if event["finish"]:
                n_tokens = sum(len(e["tokens"]) for e in (*sources[index], event))
                event["usage"] = dict(completion_tokens=n_tokens)
            sources[index].append(event)
        assert self.usage, "a stream that ended well without totals"
        for events in sources:
            part = Answer(conn, stream)
            part.source = iter(events)
            self.parts.append(part.run())


def wait_for(path, seconds=60.0):
    """A connection to a daemon that may still be starting."""
    end = time.monotonic() + seconds
    while True:
        try:
            return Conn(path)
        except (FileNotFoundError, ConnectionRefusedError):
            if time.monotonic() > end:
                raise
            time.sleep(0.02)


def n_fds(pid):
    return len(os.listdir("/proc/%d/fd" % pid))
