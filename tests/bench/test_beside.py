#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Does beside put the right figures beside each other?

    test_beside.py BUILD MODEL

Scripts that tell known figures stand for both sides; then one turn of the real moed-bench.
"""
import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
MOED = """#!/usr/bin/python3
import json, sys
from pathlib import Path
words, here = sys.argv[1:], Path(__file__).parent
value = lambda name: words[words.index(name) + 1] if name in words else ""
if "--cpu" in words:
    assert value("--cpu") == "avx2"
probe = {"read": 2e10, "fma": 1e11, "vnni": 1e12, "amx_int8": 0, "amx_loaded": 0, "amx_bf16": 0}
rows = []
if "--probe" not in words:
    turn = len(list(here.glob("turn*")))
    (here / ("turn%d" % turn)).touch()
    share = {"bandwidth_share": 0.5, "peak_share": 0.25}
    for n in filter(None, value("--prefill").split(",")):
        rows.append({"test": "prefill", "tokens": int(n), "tps": 100.0 * (turn + 1), **share})
    for n in filter(None, value("--decode").split(",")):
        rows.append({"test": "decode", "depth": int(n), "sequences": 1, "tps": 10.0, **share})
    for n in filter(None, value("--sequences").split(",")):
        rows.append({"test": "decode", "depth": 0, "sequences": int(n), "tps": 30.0, **share})
print(json.dumps({"isa": "avx2", "threads": 2, "rows": rows, "probe": probe}))
"""
LINES = "some words\nprefill 64 50\ndecode 0 4\ndecode 99 1\nsequences 8 12\n"
LLAMA_BENCH = "warning: of no use\n" + json.dumps([
    {"n_prompt": 64, "n_gen": 0, "avg_ts": 25, "test": "pp64"},
    {"n_prompt": 0, "n_gen": 8, "avg_ts": 5, "test": "tg8"},
    {"n_prompt": 256, "n_gen": 8, "avg_ts": 2, "test": "tg8@pp256"},
    {"n_prompt": 256, "n_gen": 8, "avg_ts": 77, "test": "pp256+tg8"},
    {"n_prompt": 0, "n_gen": 8, "n_depth": 512, "avg_ts": 1},
    {"n_prompt": 64, "n_gen": 0, "n_depth": 512, "avg_ts": 77}])


def beside(*words):
    return subprocess.run([HERE / "beside", *map(str, words)], capture_output=True, text=True)


def must(is_so, what, done):
    if not is_so:
        sys.exit("FAIL  %s\n%s%s" % (what, done.stdout, done.stderr))
    print("ok    " + what)


def fake(folder):
    bench = folder / "tests/bench/moed-bench"
    bench.parent.mkdir(parents=True)
    bench.write_text(MOED)
    bench.chmod(0o755)
    (folder / "lines").write_text(LINES)
    (folder / "json").write_text(LLAMA_BENCH)
    done = beside(folder, "model", "--prefill", "64", "--decode", "0,256,512", "--sequences", "8",
                  "--rounds", "3", "--cpu", "avx2", "--csv", folder / "csv", "--json", folder / "out",
                  "--rival", "lines=cat %s/lines" % folder, "--rival", "bench=cat %s/json" % folder)
    must(done.returncode == 0 and done.stderr == "", "two rivals, three rounds", done)
    whole = json.loads((folder / "out").read_text())
    rows = {(r["test"], r["n"]): r for r in whole["rows"]}
    must(rows["prefill", 64]["moed"] == dict(min=100, median=200, max=300, bandwidth_share=0.5,
                                             peak_share=0.25), "medians and ranges", done)
    must(rows["prefill", 64]["rivals"] == {
        "lines": dict(min=50, median=50, max=50, ratio=dict(min=2, median=4, max=6)),
        "bench": dict(min=25, median=25, max=25, ratio=dict(min=4, median=8, max=12))},
        "ratios of pairs", done)
    told = {row: {name: r["ratio"]["median"] for name, r in rows[row]["rivals"].items()} for row in rows}
    must(told["decode", 0] == {"lines": 2.5, "bench": 2} and told["decode", 256] == {"bench": 5} and
         told["decode", 512] == {"bench": 10} and told["sequences", 8] == {"lines": 2.5},
         "each row beside its own", done)
    table = list(csv.DictReader(open(folder / "csv")))
    must(len(table) == 5 + 3 + 4 and {"lines", "bench", "moed"} == {row["engine"] for row in table} and
         [row["ratio"] for row in table if row["engine"] == "lines"] == ["4.0", "2.5", "2.5"],
         "the same as CSV", done)
    done = beside(folder, "model", "--prefill", "64,65", "--decode", "7", "--sequences", "", "--rounds",
                  "1", "--rival", "dead=false", "--rival", "dumb=echo nothing", "--rival",
                  "words=echo {model} {prefill} {decode} {sequences} {tokens} {threads}")
    must(done.returncode == 1 and done.stdout.count("failed:") == 3, "failing rivals are told", done)
    must("\nmodel 64,65 7 0 24 2\n" in done.stdout, "rivals are told what is asked for", done)


def real(build, model):
    done = beside(build, model, "--prefill", "8", "--decode", "0", "--sequences", "2", "--tokens", "2",
                  "--rounds", "1", "--rival", "one=printf 'prefill 8 1\\nsequences 2 1\\n'")
    must(done.returncode == 0 and done.stdout.count("moed  ") == 4, "moed-bench is understood", done)


def main():
    with tempfile.TemporaryDirectory() as folder:
        fake(Path(folder))
    real(*sys.argv[1:])


if __name__ == "__main__":
    main()
