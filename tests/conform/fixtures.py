#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Puts conversations and the prompts that an official encoder made of them into one list.

    fixtures.py FAMILY OUT.json NAME:MODE:INPUT:OUTPUT...

MODE is thinking or chat. INPUT is a list of messages or {"tools","messages"}; either file may be
compressed with xz. An output says nothing about a generation prompt, so one is asked for.
"""
import json
import lzma
import sys


def read(path):
    opener = lzma.open if path.endswith(".xz") else open
    with opener(path, "rt", encoding="utf-8", newline="") as f:
        return f.read()


def main():
    family, out, *cases = sys.argv[1:]
    entries = []
    for case in cases:
        name, mode, talk, rendered = case.split(":")
        talk = json.loads(read(talk))
        if isinstance(talk, list):
            talk = {"messages": talk}
        options = {"thinking_mode": mode, "tools": talk.get("tools")}
        entries.append({"family": family, "case": name, "messages": talk["messages"],
                        "options": options, "rendered": read(rendered)})
    with open(out, "w", encoding="utf-8") as f:
        json.dump(entries, f, ensure_ascii=False)


if __name__ == "__main__":
    main()
