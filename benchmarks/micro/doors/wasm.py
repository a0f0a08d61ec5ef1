"""The modules in Node: a request as JSON in, the decision as JSON out; candidates by numbers beside JSON.

The module for the edge holds no encoder, so it decides by another artifact, beside the engine with the same.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from pathlib import Path

from doors import Given, Measured, printed, without

LABEL = "WebAssembly"
ROOT = Path(__file__).resolve().parents[3]
GLUE = ROOT / "crates" / "tiny-dancer-wasm" / "js"
MODULE = GLUE / "tiny-dancer.wasm"
EDGE = GLUE / "tiny-dancer-edge.wasm"

SCRIPT = """
import { readFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
const [glue, wasm, artifact, encoder, requests, vectors, rounds] = process.argv.slice(1)
const { Instance } = await import(pathToFileURL(glue + '/instance.js'))
const module = new WebAssembly.Module(readFileSync(wasm))
const router = new Instance(module)
if (encoder) router.call('encoder', readFileSync(encoder))
router.call('router', readFileSync(artifact))
const texts = JSON.parse(readFileSync(requests)).map((text) => JSON.stringify(text))
const best = (calls, ask, times = rounds) => {
  let least = Infinity
  for (let round = 0; round < times; round++) {
    const begun = performance.now()
    for (let call = 0; call < calls; call++) ask(call)
    least = Math.min(least, (performance.now() - begun) / calls)
  }
  return least * 1000
}
const decide = (call) => router.call('decide', texts[call % texts.length])
best(4096, decide, 2)
const found = { decide_us: best(texts.length, decide) }
if (!encoder) {
  console.log(JSON.stringify(found))
  process.exit()
}
const candidates = new Instance(module)
const data = readFileSync(vectors)
const dimensions = data.readFloatLE(0)
const numbers = (from, to) => new Uint8Array(data.buffer, data.byteOffset + 4 * (1 + from), 4 * (to - from))
const rows = (data.length - 4) / 4 / dimensions - 1
candidates.call('candidates', '')
const named = JSON.stringify(Array.from({ length: rows }, (_, row) => ({ id: String(row) })))
candidates.call('addCandidates', named, numbers(dimensions, dimensions * (rows + 1)))
const query = numbers(0, dimensions)
const rank = () => candidates.call('rank', '{"k":10}', query)
best(512, rank, 2)
console.log(JSON.stringify({ ...found, rank_us: best(64, rank) }))
"""


def measure(given: Given) -> Measured | str:
    """By Node, over what ``make wasm`` has built; a call by wasmtime from Python beside it."""
    missing = without("node", "make", "cargo")
    if missing:
        return missing
    printed("make", "--silent", "-C", str(ROOT), "wasm")
    whole = _in_node(given, MODULE, given.artifact, given.encoder)
    edge = _in_node(given, EDGE, given.edge, "")
    extra = {
        "module, bytes": MODULE.stat().st_size,
        "module for the edge, bytes": EDGE.stat().st_size,
        "it and its router, bytes": EDGE.stat().st_size + given.edge.stat().st_size,
    }
    extra |= _by_wasmtime(given)
    return Measured(
        whole["decide_us"], whole["rank_us"], "JSON to JSON in Node, simd128", extra, edge["decide_us"]
    )


def _in_node(given: Given, module: Path, artifact: Path, encoder: Path | str) -> dict[str, float]:
    """Microseconds a decision and, where there is an encoder, a ranking."""
    files = (GLUE, module, artifact, encoder, given.requests, given.vectors)
    script = ("node", "--input-type=module", "--eval", SCRIPT)
    found: dict[str, float] = json.loads(printed(*script, *map(str, files), str(given.rounds)))
    return found


def _by_wasmtime(given: Given) -> dict[str, float]:
    """Microseconds of a decision called from Python by wasmtime; nothing where that is not installed."""
    if importlib.util.find_spec("wasmtime") is None:
        return {}
    sys.path.append(str(ROOT))
    from tests.integration.wasm_host import Engine

    engine = Engine(MODULE)
    engine.call("encoder", given.encoder.read_bytes())
    engine.call("router", given.artifact.read_bytes())
    texts = [json.dumps(text).encode() for text in json.loads(given.requests.read_text(encoding="utf-8"))]
    least = float("inf")
    for _ in range(given.rounds):
        begun = time.perf_counter()
        for text in texts:
            engine.call("decide", text)
        least = min(least, (time.perf_counter() - begun) / len(texts))
    return {"a decision by wasmtime from Python, us": round(least * 1e6, 1)}
