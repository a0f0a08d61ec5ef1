"""The WebAssembly modules answer the shared vectors as the engine does, byte for byte, wherever they run.

All is built here. Without node or the compiler's target the tests skip, and say what is missing.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
from pathlib import Path

import pytest
from tests.integration.doors import DATA, ENCODER, ROOT, compared, count, make, needs, replayed, run, written
from tests.integration.wasm_host import Engine, EngineError
from tests.missing import missing

CRATE = ROOT / "crates" / "tiny-dancer-wasm"
GLUE = CRATE / "js"
DEVELOPMENT = CRATE / "development" / "node_modules"
TARGET = "wasm32-unknown-unknown"
EDGE = ("tiny-dancer-edge.wasm", "tiny-dancer-edge-scalar.wasm")
EDGE_KINDS = ("edge",)


def has_target(target: str) -> None:
    needs("cargo", "rustc", "make")
    if not Path(run("rustc", "--print", "target-libdir", "--target", target).strip()).is_dir():
        missing(f"the target: rustup target add {target}")


def needs_wasmtime() -> None:
    if importlib.util.find_spec("wasmtime") is None:
        missing("wasmtime: pip install wasmtime")


@pytest.fixture(scope="module")
def module() -> Path:
    """The whole module, built, and those for the edge beside it."""
    has_target(TARGET)
    make("wasm")
    return GLUE / "tiny-dancer.wasm"


def test_every_vector_has_the_answer_of_the_engine(module: Path, tmp_path: Path) -> None:
    needs("node")
    assert replayed(["node", str(GLUE / "replay.js"), str(module)], tmp_path) == count()


@pytest.mark.parametrize("name", EDGE)
def test_the_edge_answers_what_it_holds(module: Path, tmp_path: Path, name: str) -> None:
    needs("node")
    command = ["node", str(GLUE / "replay.js"), str(module.parent / name)]
    assert replayed(command, tmp_path, EDGE_KINDS) == count(EDGE_KINDS)


def test_the_package_for_javascript(module: Path) -> None:
    needs("node")
    run("node", "--test", str(GLUE / "index.test.js"), TINY_DANCER_WASM=str(module))


def test_types_as_a_strict_compiler_reads_them() -> None:
    needs("node")
    compiler = DEVELOPMENT / "typescript" / "bin" / "tsc"
    if not compiler.exists():
        missing("typescript: make wasm-tools")
    strict = ("--noEmit", "--strict", "--module", "nodenext", "--target", "es2022", "--lib", "es2022,dom")
    run("node", str(compiler), *strict, str(GLUE / "index.test-d.ts"))


def test_sizes(module: Path) -> None:
    """What npm carries is below 1 MiB; module and artifact for the edge are below 700 KiB."""
    if not (DEVELOPMENT / "binaryen").exists():
        missing("wasm-opt: make wasm-tools")
    assert module.stat().st_size < 1 << 20
    artifact = (DATA / "edge.safetensors").stat().st_size
    for name in EDGE:
        assert (GLUE / name).stat().st_size + artifact <= 700 << 10, name


@pytest.fixture(scope="module")
def edge(module: Path) -> Path:
    needs_wasmtime()
    return module.parent / EDGE[0]


def test_wasmtime_answers_as_the_engine(edge: Path, tmp_path: Path) -> None:
    cases_file, expected = written(tmp_path, EDGE_KINDS)
    cases = json.loads(cases_file.read_text(encoding="utf-8"))
    engine = Engine(edge)
    assert compared(cases, expected, [engine.replay(case) for case in cases]) == count(EDGE_KINDS)


def test_nothing_is_imported_and_memory_is_small(edge: Path) -> None:
    engine = Engine(edge)
    assert engine.imports == []
    engine.call("router", (DATA / "edge.safetensors").read_bytes())
    request = json.dumps([{"role": "user", "content": "Explain how a heat pump warms a house. " * 20}])
    engine.call("decide", request)
    held = engine.memory
    assert held <= 2 << 20
    for _ in range(300):
        engine.call("decide", request)
    assert engine.memory == held, "requests alone do not make memory grow"


def test_damaged_artifacts_are_refused_and_trap_nothing(edge: Path) -> None:
    whole = (DATA / "edge.safetensors").read_bytes()
    engine = Engine(edge)
    damaged = [whole[:size] for size in (0, 1, 7, 8, 9, 100, len(whole) // 2, len(whole) - 1)]
    lengths = (0, 2, 1 << 20, 1 << 31, 1 << 63, (1 << 64) - 1)
    damaged += [length.to_bytes(8, "little") + whole[8:] for length in lengths]
    for place in range(0, len(whole), 997):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        damaged.append(bytes(flipped))
    for seed in sorted((ROOT / "crates" / "fuzz").glob("corpus/*/*"))[:300]:
        damaged.append(seed.read_bytes())
    codes = set()
    for data in damaged:
        try:
            engine.call("router", data)
        except EngineError as error:
            codes.add(error.code)
            assert error.remedy and error.field, error
    assert {"ArtifactInvalid", "ArtifactChecksum"} <= codes <= {
        "ArtifactInvalid", "ArtifactChecksum", "ArtifactVersion", "ArtifactSelfCheck", "EncoderMissing",
    }  # fmt: skip
    engine.call("router", whole)
    assert json.loads(engine.call("decide", '"hello"'))["model"] in {"weak", "strong"}


def test_what_the_edge_does_not_hold_is_named(edge: Path) -> None:
    engine = Engine(edge)
    for operation in ("encoder", "routes", "tools", "agents", "candidates", "tasks", "select"):
        with pytest.raises(EngineError) as refused:
            engine.call(operation)
        assert (refused.value.code, refused.value.value) == ("NotInModule", operation)
        assert "tiny-dancer.wasm" in refused.value.remedy
    with pytest.raises(EngineError, match="EncoderMissing"):
        engine.call("router", (DATA / "default.safetensors").read_bytes())


@pytest.fixture(scope="module")
def command() -> Path:
    """The command for WASI, built."""
    has_target("wasm32-wasip1")
    needs_wasmtime()
    make("wasm-command")
    return ROOT / "target" / "wasm32-wasip1" / "small" / "examples" / "tiny-dancer.wasm"


def test_the_command(command: Path, tmp_path: Path) -> None:
    from tests.integration.wasm_host import wasi

    data, encoder = DATA, ENCODER.name
    routed = wasi(command, data, ["route", "edge.safetensors", "What is the capital of France?"])
    assert routed.code == 0 and json.loads(routed.out)["model"] in {"weak", "strong"}
    asked = '[{"role": "user", "content": "hello"}]'
    by_file = wasi(command, data, ["route", "edge.safetensors", "--options", '{"pin": "strong"}'], asked)
    assert json.loads(by_file.out)["model"] == "strong"
    classified = wasi(command, data, ["classify", "tasks.safetensors", "Translate this.", "--encoder", encoder])
    assert classified.code == 0 and json.loads(classified.out)
    (tmp_path / "candidates.json").write_text('[{"id": "tide", "text": "the tide"}, {"id": "b", "text": "bread"}]')
    ranked = wasi(command, tmp_path, ["rank", "candidates.json", '{"text": "when is the tide"}'])
    assert json.loads(ranked.out)["decisions"][0]["candidate_id"] == "tide"
    for code, said, arguments in (
        (2, "no such command", ["decide"]),
        (2, "no such option", ["route", "edge.safetensors", "--encode", "x"]),
        (2, "one or two are due", ["route"]),
        (2, "ArtifactInvalid", ["route", "background.txt", "hello"]),
        (2, "RequestInvalid", ["route", "edge.safetensors", ""]),
        (2, "OptionInvalid", ["route", "edge.safetensors", "hello", "--options", '{"pin": 7}']),
        (1, "--dir", ["route", "../../pyproject.toml", "hello"]),
        (1, "--dir", ["route", "none.safetensors", "hello"]),
    ):
        done = wasi(command, data, arguments)
        assert (done.code, done.out) == (code, "") and said in done.error, (arguments, done)


def test_workers_of_cloudflare(module: Path) -> None:
    """workerd, by miniflare: no module is compiled there but what is uploaded, and memory ends at 128 MB."""
    needs("node")
    if not (DEVELOPMENT / "miniflare").exists():
        missing("miniflare: make wasm-tools")
    environment = {"TINY_DANCER_GLUE": str(module.parent), "TINY_DANCER_DATA": str(DATA)}
    answers = json.loads(run("node", str(CRATE / "development" / "worker.mjs"), **environment))
    assert answers["decided"]["model"] in {"weak", "strong"}
    assert answers["refused"]["code"] == "RequestInvalid"
    assert answers["upload"] < 3 << 20, "what a free Worker may take, compressed"


def test_a_page_routes_as_you_type(module: Path, tmp_path: Path) -> None:
    """The demo of the site, in a browser, from a static server."""
    from tools.browser import Browser, find_browser
    from tools.documentation import lay_out_demo

    executable = find_browser()
    if executable is None:
        missing("chromium")
    import http.server
    import shutil
    import threading

    shutil.copytree(ROOT / "docs" / "demo", tmp_path / "demo")
    assert lay_out_demo(tmp_path / "demo") == []

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *given: object, **named: object) -> None:
            super().__init__(*given, directory=str(tmp_path), **named)  # type: ignore[arg-type, misc]

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with Browser(executable) as browser:
            browser.go(f"http://127.0.0.1:{server.server_port}/demo/index.html")
            browser.until("!document.getElementById('answer').hidden")
            first = browser.value("document.getElementById('model').textContent")
            assert first in {"weak", "strong"}
            assert browser.value("document.querySelectorAll('meter').length") == 2
            browser.value(
                "(() => { const field = document.getElementById('request'); field.value = ' '; "
                "field.dispatchEvent(new Event('input')) })()"
            )
            assert browser.value("document.getElementById('answer').hidden")
            browser.value("document.querySelectorAll('.examples button')[1].click()")
            browser.until("!document.getElementById('answer').hidden")
            browser.until("document.getElementById('facts').textContent.startsWith('decided in ')")
            assert browser.problems == []
            assert all("127.0.0.1" in each or each.startswith("data:") for each in browser.requests)
    finally:
        server.shutdown()
        server.server_close()


def test_the_guide(module: Path, tmp_path: Path) -> None:
    """What docs/guides/wasm.md says in JavaScript runs, from the folder it names."""
    needs("node")
    guide = (ROOT / "docs" / "guides" / "wasm.md").read_text(encoding="utf-8")
    blocks = [part.split("```", 1)[0] for part in guide.split("```js\n")[1:]]
    assert len(blocks) >= 3
    for place, block in enumerate(blocks):
        path = ROOT / f".guide-{place}.mjs"
        path.write_text(block, encoding="utf-8")
        try:
            done = subprocess.run(["node", str(path)], cwd=ROOT, capture_output=True, text=True, check=False)
        finally:
            path.unlink()
        assert done.returncode == 0 and done.stdout.strip(), f"{block}\n{done.stderr}"
