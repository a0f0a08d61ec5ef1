"""The whole module in Node: a request as JSON in, the decision as JSON out; candidates by numbers beside JSON.

The modules for the edge hold no encoder, so they decide by another artifact: ``bench_wasm.py`` measures those.
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

SCRIPT = """
import { readFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
const [glue, wasm, artifact, encoder, requests, vectors, rounds] = process.argv.slice(1)
const { Instance } = await import(pathToFileURL(glue + '/instance.js'))
const module = new WebAssembly.Module(readFileSync(wasm))
const router = new Instance(module), candidates = new Instance(module)
router.call('encoder', readFileSync(encoder))
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
console.log(JSON.stringify({ decide_us: best(512, decide), rank_us: best(64, rank) }))
"""


def measure(given: Given) -> Measured | str:
    """By Node, over what ``make wasm`` has built; a call by wasmtime from Python beside it."""
    missing = without("node", "make", "cargo")
    if missing:
        return missing
    printed("make", "--silent", "-C", str(ROOT), "wasm")
    files = (GLUE, MODULE, given.artifact, given.encoder, given.requests, given.vectors)
    found = json.loads(
        printed("node", "--input-type=module", "--eval", SCRIPT, *map(str, files), str(given.rounds))
    )
    extra = {"module, bytes": MODULE.stat().st_size} | _by_wasmtime(given)
    return Measured(found["decide_us"], found["rank_us"], "JSON to JSON in Node, simd128", extra)


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
