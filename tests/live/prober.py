#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Raw frames against a running daemon: what real peers do, and what hostile ones try.

usage: prober.py SOCKET [NAME…]          only the cases whose name contains one of the NAMEs
After every case a good client, connected since the start, must still be served. Cases that need a
model to do as it is told run only where the scripted one ("fake") is served.
"""
import sys
import time
import traceback

import probe
import probe_frames  # noqa: F401  the cases register themselves
import probe_limits
import probe_peers  # noqa: F401
import probe_requests  # noqa: F401
from ttrpc import Conn, wait_for


def main():
    wanted = sys.argv[2:]
    good = wait_for(probe.PATH)
    deadline = time.monotonic() + 120
    while True:  # the first model must be ready
        models = good.call("List", kind="Models")["models"]
        if models[0]["state"] == 2:
            break
        probe.check(time.monotonic() < deadline, "model '%s' never gets ready" % models[0]["name"])
        time.sleep(0.1)
    probe.is_fake = models[0]["name"] == "fake"
    limit = {n: one["value"] for n, one in good.hello()["limit"].items()}
    threads, results = ([], []) if wanted else probe_limits.in_background(limit)
    passed = failed = 0
    for name, function, needs_fake in probe.CASES:
        if (needs_fake and not probe.is_fake) or (wanted and not any(w in name for w in wanted)):
            continue
        trouble = None
        try:
            with Conn(probe.PATH) as conn:
                function(conn)
            start = time.monotonic()
            good.call("Ping")
            took = time.monotonic() - start
            probe.check(took < 1, "the good client waited %.1f s afterwards" % took)
        except Exception:  # noqa: BLE001
            trouble = traceback.format_exc()
        passed += trouble is None
        failed += trouble is not None
        if trouble:
            print("FAILED %s\n%s" % (name, trouble), flush=True)
    for thread in threads:
        thread.join()
    for name, trouble in results:
        passed += trouble is None
        failed += trouble is not None
        if trouble:
            print("FAILED %s\n%s" % (name, trouble))
    print("%d passed, %d failed" % (passed, failed))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
