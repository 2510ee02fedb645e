# SPDX-License-Identifier: MIT
"""What requests may say: models, ids, every field at its bounds, states of models."""
import math
import os
import struct

from probe import (EXHAUSTED, INVALID, NOT_FOUND, PATH, PRECONDITION, case, check, endless, equal,
                   fake_case, refused, short, xxh3)
from ttrpc import (RC, RESPONSE, Answer, Conn, Failure, blob, fields, float32, generate, num, packed,
                   read)


# ---- what requests say
@case
def one_prompt(conn):
    """exactly one of chat, text and tokens"""
    for payload in (b"", generate(text="a", tokens=[1]), generate(text="a", messages=[("user", "b")]),
                    generate(tokens=[1], messages=[("user", "b")]), num(5, 3)):
        refused(conn, conn.open("Generate", payload, RC), INVALID)
    refused(conn, conn.open("Generate", generate(tokens=[]), RC), INVALID)
    refused(conn, conn.open("Generate", generate(messages=[]), RC), INVALID)
    refused(conn, conn.open("Generate", generate(messages=[("user", "b")], show_special=True), RC),
            INVALID, "show_special")
    for payload in (generate(tokens=[1], extra=blob(14, "b")),
                    generate(messages=[("user", "b")], extra=blob(14, "b"))):
        refused(conn, conn.open("Generate", payload, RC), INVALID, "suffix")


@case
def wrong_models(conn):
    """a model that is not there is named, with those that are"""
    known = conn.call("List", kind="Models")["models"][0]["name"]
    for method in ("Generate", "Tokenize", "Detokenize", "Render", "Show", "Load", "Unload"):
        refused(conn, conn.open(method, blob(1, "nobody"), RC), NOT_FOUND, "nobody", known)
    refused(conn, conn.open("Generate", generate(text="x", model="y" * 3000), RC), INVALID)


@case
def wrong_ids(conn):
    """token ids outside the vocabulary are named with their place"""
    size = conn.call("List", kind="Models")["models"][0]["vocabulary"]
    for bad in (-1, size, 2**31 - 1, -2**31):
        refused(conn, conn.open("Generate", generate(tokens=[0, bad]), RC), INVALID, str(bad), "[1]")
        refused(conn, conn.open("Detokenize", packed(2, [0, 0, bad])), INVALID, str(bad), "[2]")
        bias = blob(6, blob(9, num(1, bad) + float32(2, 1.0)))
        refused(conn, conn.open("Generate", generate(text="x", extra=bias), RC), INVALID, str(bad))
    # unpacked numbers are the same numbers
    loose = blob(4, b"".join(num(1, i) for i in (5, 6, 7)))
    answer = Answer(conn, conn.open("Generate", loose + generate(max_tokens=1, return_prompt=True), RC))
    equal(answer.run().prompt, [5, 6, 7])


def sampling(number, value, real=True):
    return short(extra=blob(6, float32(number, value) if real else num(number, value)))


FIELDS = {  # how each published field is asked for
    "generate.max_tokens": lambda v: generate(text="x", stop=["e"], extra=num(5, v)),
    "generate.top_logprobs": lambda v: short(extra=num(9, v)),
    "generate.class": lambda v: short(extra=num(16, v)),
    "generate.queue_timeout_ms": lambda v: short(extra=num(17, v)),
    "generate.timeout_ms": lambda v: short(extra=num(12, v)),
    "generate.sampling.temperature": lambda v: sampling(1, v),
    "generate.sampling.top_k": lambda v: sampling(2, v, False),
    "generate.sampling.top_p": lambda v: sampling(3, v),
    "generate.sampling.min_p": lambda v: sampling(4, v),
    "generate.sampling.top_n_sigma": lambda v: sampling(10, v),
    "generate.sampling.mirostat_tau": lambda v: short(temperature=1.0, extra=blob(6, float32(11, v))),
    "generate.sampling.mirostat_eta": lambda v: sampling(12, v),
    "generate.sampling.dry_multiplier": lambda v: sampling(13, v),
    "generate.sampling.dry_base": lambda v: sampling(14, v),
    "generate.sampling.dry_allowed_length": lambda v: sampling(15, v, False),
    "generate.sampling.dry_range": lambda v: sampling(16, v, False),
    "generate.sampling.dry_breakers": lambda n: short(extra=blob(6, blob(17, "\n") * n)),
    "generate.sampling.dry_breakers.bytes": lambda n: short(extra=blob(6, blob(17, "z" * n))),
    "generate.sampling.banned": lambda n: short(extra=blob(6, blob(18, "zq") * n)),
    "generate.sampling.banned.bytes": lambda n: short(extra=blob(6, blob(18, "z" * n))),
    "generate.sampling.repetition_penalty": lambda v: sampling(5, v),
    "generate.sampling.presence_penalty": lambda v: sampling(6, v),
    "generate.sampling.frequency_penalty": lambda v: sampling(7, v),
    "generate.sampling.seed": lambda v: sampling(8, v, False),
    "generate.sampling.logit_bias.id":
        lambda v: short(extra=blob(6, blob(9, num(1, v) + float32(2, 1.0)))),
    "generate.sampling.logit_bias.bias":
        lambda v: short(extra=blob(6, blob(9, num(1, 7) + float32(2, v)))),
    "generate.sampling.logit_bias":
        lambda n: short(extra=blob(6, blob(9, num(1, 7) + float32(2, 0.5)) * n)),
    "generate.stop": lambda n: short(stop=["zq%d" % i for i in range(n)]),
    "generate.stop.bytes": lambda n: short(stop=["z" * n]),
    "generate.chat.messages.role":
        lambda v: blob(2, blob(1, num(1, 1) + blob(2, "a")) + blob(1, num(1, v) + blob(2, "b"))) +
        num(5, 2),
    "generate.chat.effort":
        lambda v: blob(2, blob(1, num(1, 1) + blob(2, "a")) + num(5, v)) + num(5, 2),
    "generate.thinking_tokens":
        lambda v: generate(messages=[("user", "a")], max_tokens=2, extra=num(22, v)),
    "generate.thinking_soft_tokens":
        lambda v: generate(messages=[("user", "a")], max_tokens=2, extra=num(23, v)),
    "generate.finish_within_ms": lambda v: short(extra=num(24, v)),
    "generate.n": lambda v: short(extra=num(25, v)),
    "generate.best_of": lambda v: short(extra=num(26, v)),
    "generate.tokens.ids": lambda v: generate(tokens=[v], max_tokens=2),
    "detokenize.ids": lambda v: packed(2, [v]),
    "render.chat.messages.role":
        lambda v: blob(2, blob(1, num(1, 1) + blob(2, "a")) + blob(1, num(1, v) + blob(2, "b"))),
    "render.chat.effort": lambda v: blob(2, blob(1, num(1, 1) + blob(2, "a")) + num(5, v)),
    "cancel.generation_id": lambda n: blob(1, b"x" * n),
}
REAL = ("temperature", "top_p", "min_p", "penalty", "bias.bias", "sigma", "tau", "eta",
        "multiplier", "base")
BY_VOCABULARY = ("logit_bias.id", "tokens.ids", "detokenize.ids")
SIZES = ("generate.stop", "generate.stop.bytes", "generate.sampling.logit_bias",
         "generate.sampling.banned", "generate.sampling.banned.bytes",
         "generate.sampling.dry_breakers", "generate.sampling.dry_breakers.bytes", "cancel.generation_id")


def verdict(name, value):
    """(status code, words) of a request that holds a value."""
    method = {"detokenize": "Detokenize", "render": "Render", "cancel": "Cancel"}.get(
        name.split(".")[0], "Generate")
    with Conn(PATH) as other:
        stream = other.open(method, FIELDS[name](value), RC if method == "Generate" else 0)
        _, kind, _, body = other.recv_on(stream)
        if kind != RESPONSE:
            return 0, ""
        status = read("Response", body)["status"]
        return (status["code"], status["message"]) if status else (0, "")


def probe_field(name, least, most, vocabulary):
    real = any(name.endswith(end) for end in REAL)
    if name in SIZES:
        good, bad = {least, most}, {least - 1, most + 1}
    elif real:
        good = {least, most, 0.0}
        bad = {math.nan, math.inf, -math.inf, most * 1.01 + 0.01, least - 0.01, -1e30, 1e30}
        if least > 0:
            bad.add(least * 0.9)
    else:
        top = vocabulary - 1 if any(name.endswith(end) for end in BY_VOCABULARY) else most
        good, bad = {least, top, 0}, {least - 1, top + 1, -1, -2**31, 2**31 - 1}
        if name.endswith("seed"):
            good, bad = {0, 1, 2**64 - 1, 2**63}, set()
    for value in good:
        code, words = verdict(name, value)
        if name.endswith(("role", "effort")) and code == INVALID and name not in words:
            code = 0  # the family cannot express that, which is another matter
        check(code == 0, "%s = %r is refused: %s" % (name, value, words))
    for value in bad - good - {0, 0.0, -1 if name in SIZES else 0}:
        code, words = verdict(name, value)
        check(code == INVALID, "%s = %r gets %d %s" % (name, value, code, words))
        check(name in words, "'%s' does not name %s" % (words, name))


@case
def boundaries(conn):
    """every field of Hello at, below and above its bounds, NaN and infinite, and missing"""
    limits = conn.hello()["limit"]
    vocabulary = conn.call("List", kind="Models")["models"][0]["vocabulary"]
    published = [n for n, one in limits.items() if one["most"] is not None]
    equal(sorted(published), sorted(FIELDS), "published fields")
    for name in published:
        least, most = limits[name]["least"], limits[name]["most"]
        if not any(name.endswith(end) for end in REAL):
            least, most = int(least), int(most)
        probe_field(name, least, most, vocabulary)


@case
def cancel(conn):
    """Cancel wants 16 bytes, tells what it did not find, and works from another connection"""
    for n in (0, 15, 17):
        refused(conn, conn.open("Cancel", blob(1, b"x" * n)), INVALID, "generation_id")
    equal(conn.call("Cancel", blob(1, os.urandom(16)), "Cancel")["found"] or False, False)
    answer = Answer(conn, endless(conn))
    check(answer.step(), "no event")
    with Conn(PATH) as other:
        equal(other.call("Cancel", blob(1, answer.id), "Cancel")["found"], True)
    while answer.step():
        pass
    equal((answer.failure.code, answer.finish), (1, 3))


@case
def watch(conn):
    """Watch begins with every model as it is"""
    names = [m["name"] for m in conn.call("List", kind="Models")["models"]]
    source = conn.events(conn.open("Watch", b"", RC), "Watch")
    for seq, name in enumerate(names):
        event = next(source)
        equal((event["seq"] or 0, event["model"]["name"]), (seq, name))


def embed(text, model="fake"):
    return blob(1, model) + blob(2, text) + blob(4, "mean")


@fake_case
def errors(conn):
    """an engine's error ends the stream with words, a full queue refuses at once"""
    answer = Answer(conn, conn.open("Generate", generate(text="!error"), RC))
    while answer.step():
        pass
    equal((answer.failure.code, answer.finish, len(answer.tokens)), (13, 4, 3))
    check("non-finite" in answer.last["error"], answer.last["error"])
    refused(conn, conn.open("Generate", generate(text="!busy"), RC), EXHAUSTED, "queue")
    for method, body in (("Generate", generate(text="!busy")), ("Embed", embed("!busy"))):
        try:
            conn.response(conn.open(method, body, RC if method == "Generate" else 0))
            raise AssertionError("%s was not refused" % method)
        except Failure as failure:
            equal((failure.code, failure.retry_after_ms), (EXHAUSTED, 7000), method)


@fake_case
def states(conn):
    """models without weights, without a chat, unloaded, loading, failing"""
    refused(conn, conn.open("Generate", generate(text="x", model="words"), RC), PRECONDITION, "words")
    equal(conn.tokenize("ab", "words"), [97, 98])
    refused(conn, conn.open("Generate", generate(messages=[("user", "x")], model="plain"), RC),
            PRECONDITION, "chat")
    refused(conn, conn.open("Render", blob(1, "plain") + blob(2, b"")), PRECONDITION, "chat")
    refused(conn, conn.open("Generate", generate(text="x", model="broken"), RC), PRECONDITION)
    refused(conn, conn.open("Load", blob(1, "broken") + num(2, 1)), 13, "cannot be read")
    refused(conn, conn.open("Load", blob(1, "words")), PRECONDITION)
    answer = Answer(conn, conn.open("Generate", generate(text="!hang", model="plain"), RC))
    check(answer.step(), "no event")
    equal(conn.call("Unload", blob(1, "plain"), "One")["model"]["state"] or 0, 0)
    while answer.step():
        pass
    equal(answer.failure.code, 14)
    refused(conn, conn.open("Generate", generate(text="x", model="plain"), RC), PRECONDITION, "load it")
    stream = conn.open("Load", blob(1, "plain"))
    equal(read("One", conn.response(stream))["model"]["state"], 1, "state while loading")
    waits = Answer(conn, conn.open("Generate", generate(text="waited", model="plain"), RC))
    vector = conn.open("Embed", embed("waited", "plain"))
    gone = Conn(PATH)
    gone.open("Embed", embed("waited", "plain"))
    gone.close()
    equal(conn.call("Load", blob(1, "plain") + num(2, 1), "One")["model"]["state"], 2)
    equal(waits.run().text, "waited")
    equal([struct.unpack("<2f", value) for number, _, value in fields(conn.response(vector))
           if number == 1], [(3, 4)])


@fake_case
def stop_strings(conn):
    """a stop string ends the text before it and is named"""
    answer = conn.ask(text="one two three", stop=["xx", "two"])
    equal((answer.text, answer.last["stop"], answer.finish), ("one ", "two", 1))
    answer = conn.ask(text="one two three", max_tokens=5)
    equal((answer.text, answer.last["stop"], answer.finish), ("one t", None, 2))


@fake_case
def thinking(conn):
    """thinking is told apart, counted and hashed before the text"""
    answer = conn.ask(messages=[("user", "deep"), ("user", "plain")], thinking=True)
    equal((answer.thinking, answer.text), ("deep", "plain"))
    equal(answer.usage["thinking_tokens"], 6)
    answer = conn.ask(messages=[("user", "deep"), ("user", "plain"), ("user", "er")], thinking=True)
    equal((answer.thinking, answer.text), ("deeper", "plain"))
    equal(answer.last["text_hash"], xxh3(b"deeperplain") or answer.last["text_hash"], "text_hash")
    answer = conn.ask(text="<think>x</think>y", show_special=True)
    equal(answer.text, "<think>x</think>y")


@fake_case
def logprobs(conn):
    """logprobs come when asked for, as many as asked for"""
    answer = conn.ask(text="ab")
    equal([t["logprob"] for t in answer.tokens], [None, None])
    answer = conn.ask(text="ab", logprobs=True)
    equal([(t["logprob"], len(t["top"])) for t in answer.tokens], [(-0.5, 0)] * 2)
    answer = conn.ask(text="ab" * 400, top_logprobs=20)
    equal([len(t["top"]) for t in answer.tokens], [20] * 800)
    check(answer.n_events > 800 * 84 // 4096, "more than 4096 fields in an event")
