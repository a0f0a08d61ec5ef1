"""The modules for WebAssembly in Node: size, time until ready, and decisions beside the engine's.

    make wasm && python benchmarks/micro/bench_wasm.py

Module and engine decide the same requests, JSON in and JSON out, one thread; the engine is called from Python,
which adds some tenths of a microsecond. Node's rounds stand between the engine's, so that a busy machine slows
both.
"""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import ROOT, write
from tiny_dancer import _core

GLUE = ROOT / "crates" / "tiny-dancer-wasm" / "js"
MODULES = {
    "tiny-dancer.wasm": ("default.safetensors", "encoder.safetensors"),
    "tiny-dancer-edge.wasm": ("edge.safetensors", ""),
    "tiny-dancer-edge-scalar.wasm": ("edge.safetensors", ""),
}
"""Each with its artifact and encoder."""
DATA = ROOT / "python" / "tiny_dancer" / "data"
SENTENCE = "Explain how a heat pump warms a house in winter, and what it costs to run. "
CHARACTERS = (20, 76, 300, 2400)
# V8 optimises in the background while the first rounds run: they are not counted. A short round is seldom
# interrupted.
WARMING, ROUNDS, CALLS = 200, 300, 20

# Answers a line with a line: how long each call took, in microseconds.
SCRIPT = """
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { pathToFileURL } from 'node:url'
const [glue, wasm, artifact, encoder, calls] = process.argv.slice(1)
const { Instance } = await import(pathToFileURL(glue + '/instance.js'))
const bytes = readFileSync(wasm)
const since = (begun) => performance.now() - begun
let begun = performance.now()
const instance = new Instance(new WebAssembly.Module(bytes))
const ready = since(begun), empty = instance.memory
begun = performance.now()
if (encoder) instance.call('encoder', readFileSync(encoder))
const encoded = since(begun)
begun = performance.now()
instance.call('router', readFileSync(artifact))
console.log(JSON.stringify({ ready, encoder: encoded, router: since(begun), empty, loaded: instance.memory }))
for await (const request of createInterface({ input: process.stdin })) {
  begun = performance.now()
  for (let call = 0; call < calls; call++) instance.call('decide', request)
  console.log(since(begun) / calls * 1000)
}
"""


def measured(node: str, name: str) -> dict[str, Any]:
    """Figures of one module."""
    path = GLUE / name
    artifact, encoder = MODULES[name]
    given = [str(DATA / artifact), str(DATA / encoder) if encoder else ""]
    command = [node, "--input-type=module", "--eval", SCRIPT, str(GLUE), str(path), *given, str(CALLS)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None and process.stdout is not None
    begun = json.loads(process.stdout.readline())
    router = _core.Router(_core.data_file(artifact), _core.encoder() if encoder else None)
    speeds: dict[str, Any] = {}
    for length in CHARACTERS:
        request = json.dumps((SENTENCE * (length // len(SENTENCE) + 1))[:length])
        here, there = [], []
        for _ in range(WARMING + ROUNDS):
            start = time.perf_counter()
            for _ in range(CALLS):
                router.decide_json(request, "")
            here.append((time.perf_counter() - start) / CALLS * 1e6)
            process.stdin.write(request + "\n")
            process.stdin.flush()
            there.append(float(process.stdout.readline()))
        here, there = here[WARMING:], there[WARMING:]
        speeds[f"{length:,} characters"] = {
            "engine, median, us": round(float(np.median(here)), 2),
            "wasm, median, us": round(float(np.median(there)), 2),
            "engine, least, us": round(min(here), 2),
            "wasm, least, us": round(min(there), 2),
            "ratio of medians": round(float(np.median(there) / np.median(here)), 2),
            "ratio of least": round(min(there) / min(here), 2),
        }
    process.stdin.close()
    process.wait()
    parts = [path.read_bytes(), (DATA / artifact).read_bytes()]
    return {
        "size": {
            "raw, bytes": len(parts[0]),
            "gzip, bytes": zipped(parts[0]),
            f"with {artifact}, raw, bytes": sum(map(len, parts)),
            f"with {artifact}, gzip, bytes": sum(map(zipped, parts)),
        },
        "ready": {
            "compile and instantiate, ms": round(begun["ready"], 1),
            **({"load the encoder, ms": round(begun["encoder"], 1)} if encoder else {}),
            "load the router, ms": round(begun["router"], 1),
            "memory of an empty instance, bytes": begun["empty"],
            "memory when loaded, bytes": begun["loaded"],
        },
        "decision": speeds,
    }


def zipped(data: bytes) -> int:
    """Bytes of it, compressed."""
    return len(gzip.compress(data, 9, mtime=0))


def main() -> None:
    """Prints and writes the figures."""
    node = shutil.which("node")
    if node is None or not all((GLUE / name).exists() for name in MODULES):
        sys.exit("needs node, and the modules: make wasm-tools wasm")
    version = subprocess.run([node, "--version"], check=True, capture_output=True, text=True).stdout.strip()
    note = (
        "The engine as WebAssembly modules in Node, beside itself on this machine. Wanted: at most 1.7 x; 15 ms "
        "until ready; 700 KiB raw and 330 KiB gzipped with an artifact without encoder; the whole below 1 MiB."
    )
    write("wasm", {name: measured(node, name) for name in MODULES}, note, {"node": version})


if __name__ == "__main__":
    main()
