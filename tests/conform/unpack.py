#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Unpacks a vector that is kept compressed:  unpack.py IN.xz OUT"""
import lzma
import shutil
import sys

with lzma.open(sys.argv[1], "rb") as src, open(sys.argv[2], "wb") as dst:
    shutil.copyfileobj(src, dst)
