#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Runs a test beside a server of its own.

usage: alive.py SERVER [ARG...] -- TEST [ARG...]
An argument @ is the path of a socket in a fresh folder. Both must end well: a server that crashes,
leaks or hangs fails the test. A test that exits with 77 was skipped.
"""
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

room = tempfile.mkdtemp(prefix="moed-alive.")
path = os.path.join(room, "moed.sock")
command = [path if arg == "@" else arg for arg in sys.argv[1:]]
middle = command.index("--")
server = subprocess.Popen(command[:middle], stdin=subprocess.DEVNULL)
try:
    while not os.path.exists(path) and server.poll() is None:
        time.sleep(0.02)
    status = subprocess.call(command[middle + 1:])
    server.send_signal(signal.SIGTERM)
    ended = server.wait(30)
finally:
    server.kill()
    shutil.rmtree(room)
if ended != 0:
    print("the server ended with %d" % ended)
sys.exit(status or (1 if ended else 0))
