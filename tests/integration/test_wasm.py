"""The WebAssembly module answers every shared vector as the engine on this machine does, byte for byte.

Both are built here. Without node or the compiler's target the tests skip, and say what is missing.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.integration.test_conformance_routes import artifact as routes_artifact

ROOT = Path(__file__).resolve().parents[2]
CONFORMANCE = ROOT / "conformance"
sys.path.insert(0, str(CONFORMANCE))

from decisions import damaged  # noqa: E402
from examples import as_json  # noqa: E402

DATA = ROOT / "python" / "tiny_dancer" / "data"
GLUE = ROOT / "crates" / "tiny-dancer-wasm" / "js"
ENCODER, SENTENCES = DATA / "encoder.safetensors", DATA / "sentences.safetensors"
TARGET = "wasm32-unknown-unknown"

Case = dict[str, Any]


def run(*command: str, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=1200, env=os.environ | environment
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-6000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def module() -> Path:
    """The module, built."""
    for tool in ("node", "cargo", "rustc", "make"):
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool}")
    if not Path(run("rustc", "--print", "target-libdir", "--target", TARGET).strip()).is_dir():
        pytest.skip(f"needs the target: rustup target add {TARGET}")
    run("make", "--silent", "wasm")
    return GLUE / "tiny-dancer.wasm"


def vectors(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(
        (CONFORMANCE / "vectors" / f"{name}.json").read_text(encoding="utf-8")
    )["vectors"]
    return found


def text(value: Any) -> str:
    """JSON out of a vector: a value, or its text where the text matters."""
    return value if isinstance(value, str) else json.dumps(value)


class Files:
    """Bytes as files that both read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, data: bytes) -> dict[str, str]:
        path = self.folder / f"{hash(data) & 0xFFFFFFFFFFFFFFFF:016x}.safetensors"
        path.write_bytes(data)
        return {"file": str(path)}


def case(explain: str, encoder: Path | None, *steps: tuple[str, Any, Any], error: str | None = None) -> Case:
    """Steps that are done in turn; with ``error``, the last that is done is refused by this kind."""
    given = None if encoder is None else str(encoder)
    return {"explain": explain, "encoder": given, "steps": [list(step) for step in steps], "error": error}


def of_requests(files: Files) -> list[Case]:
    cases = []
    for vector in vectors("decisions"):
        data = (CONFORMANCE / "artifacts" / f"{vector['artifact']}.safetensors").read_bytes()
        changes = json.dumps(vector["changes"]) if "changes" in vector else ""
        steps = (
            ("router", files(data), changes),
            ("decide", as_json(vector, "request"), as_json(vector, "options")),
        )
        cases.append(case(vector["explain"], ENCODER, *steps, error=vector["expect"].get("error")))
    return cases


def of_damages(files: Files) -> list[Case]:
    cases = []
    for vector in vectors("damages"):
        data = (CONFORMANCE / "artifacts" / f"{vector['artifact']}.safetensors").read_bytes()
        encoder = None if "no_encoder" in vector["damage"] else ENCODER
        step = ("router", files(damaged(data, vector["damage"])), "")
        cases.append(case(vector["explain"], encoder, step, error=vector["error"]))
    return cases


def of_routes(files: Files) -> list[Case]:
    document = json.loads((CONFORMANCE / "vectors" / "routes.json").read_text(encoding="utf-8"))
    artifacts = {name: files(routes_artifact(given)) for name, given in document["artifacts"].items()}
    return [
        case(
            vector["explain"],
            SENTENCES,
            ("routes", artifacts[vector["artifact"]], ""),
            ("route", text(vector["request"]), json.dumps(vector["options"])),
            error=vector.get("error"),
        )
        for vector in document["vectors"]
    ]


def of_tools() -> list[Case]:
    services = json.loads((ROOT / "benchmarks" / "data" / "everyday_tools.json").read_text(encoding="utf-8"))
    cases = []
    for vector in vectors("tools"):
        tools = services["tools"] if isinstance(vector["tools"], str) else vector["tools"]
        named = isinstance(vector["tools"], dict)
        given = [{"name": name, "tools": each} for name, each in tools.items()] if named else [tools]
        query = {"text": vector["text"], "k": 1000}
        steps = [("tools", "", ""), *(("addTools", json.dumps(each), "") for each in given)]
        encoder = SENTENCES if vector.get("encoder") else None
        cases.append(case(vector["explain"], encoder, *steps, ("select", json.dumps(query), "")))
    return cases


def of_candidates() -> list[Case]:
    return [
        case(
            vector["explain"],
            None,
            ("candidates", "", ""),
            ("addCandidates", text(vector["candidates"]), ""),
            ("rank", text(vector["query"]), ""),
            error=vector["expect"].get("error"),
        )
        for vector in vectors("candidates")
    ]


def of_agents() -> list[Case]:
    cases = []
    for vector in vectors("agents"):
        half_life = vector.get("half_life")
        begun = ("agents", "" if half_life is None else json.dumps(half_life), "")
        if "outcomes" in vector:
            # No first argument is the answer before: the state so far.
            steps = [("observe", None, json.dumps(each)) for each in vector["outcomes"]]
            cases.append(case(vector["explain"], None, begun, *steps, error=vector["state"].get("error")))
            continue
        asked = ("choose", json.dumps(vector["query"]), "")
        error = vector["expect"].get("error")
        put = ("putAgents", json.dumps(vector["agents"]), "")
        cases.append(case(vector["explain"], None, begun, put, asked, error=error))
    return cases


def of_tasks(files: Files) -> list[Case]:
    made = ("tasks", files((DATA / "tasks.safetensors").read_bytes()), "")
    cases = [case("the classifier that ships", ENCODER, made)]
    for vector in vectors("tasks"):
        asked = ("classify", json.dumps({"text": vector["text"]}), "")
        cases.append(case(vector["explain"], ENCODER, asked, error=vector.get("error")))
    return cases


def test_every_vector_has_the_answer_of_the_engine(module: Path, tmp_path: Path) -> None:
    files = Files(tmp_path)
    cases = [*of_requests(files), *of_damages(files), *of_routes(files), *of_tools(), *of_candidates()]
    cases += [*of_agents(), *of_tasks(files)]
    assert len(cases) > 750
    asked, answered = tmp_path / "cases.json", tmp_path / "answers.json"
    asked.write_text(json.dumps(cases), encoding="utf-8")
    replay = ("cargo", "run", "--quiet", "--locked", "--package", "tiny-dancer-wasm", "--example", "replay")
    run(*replay, "--", str(asked), str(answered))
    for one, answers in zip(cases, json.loads(answered.read_text(encoding="utf-8")), strict=True):
        last = json.loads(answers[-1] or "{}")
        assert (last.get("code") if isinstance(last, dict) else None) == one["error"], one["explain"]
    found = {
        "TINY_DANCER_WASM": str(module),
        "TINY_DANCER_CASES": str(asked),
        "TINY_DANCER_ANSWERS": str(answered),
    }
    run("node", "--test", str(GLUE / "replay.test.js"), **found)


def test_the_package_for_javascript(module: Path) -> None:
    run("node", "--test", str(GLUE / "index.test.js"), TINY_DANCER_WASM=str(module))
