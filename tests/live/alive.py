#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Runs a test beside a server of its own: alive.py SERVER TEST [ARG…]

The server gets a socket path in a fresh folder, the test the same path and its arguments. Both must
end well: a server that crashes, leaks or hangs fails the test.
"""
import os
import shutil
import signal
import subprocess
import sys
import tempfile

room = tempfile.mkdtemp(prefix="moed-alive.")
path = os.path.join(room, "moed.sock")
server = subprocess.Popen([sys.argv[1], path])
try:
    status = subprocess.call([sys.executable, sys.argv[2], path] + sys.argv[3:])
    server.send_signal(signal.SIGTERM)
    ended = server.wait(30)
finally:
    server.kill()
    shutil.rmtree(room)
if ended != 0:
    print("the server ended with %d" % ended)
sys.exit(status or (1 if ended else 0))
