"""The shared vectors as what any binding of the engine is asked, and the engine's own answers to them.

A binding (a *door*) brings a command ``replay CASES ANSWERS``, and its test calls :func:`replayed` with it:

    def test_every_vector_has_the_answer_of_the_engine(built: Path, tmp_path: Path) -> None:
        assert replayed([str(built)], tmp_path) == count()

``CASES`` is a JSON list of ``{"kind", "explain", "encoder": path or null, "steps": [[operation, first,
second]]}``, where an argument is text, ``{"file": path}``, or null for the answer before. ``ANSWERS`` becomes a
JSON list, a list of texts a case: what each step answered (empty where it answers nothing); of the step that is
refused, after which no other of the case is done, an object of ``code``, ``field``, ``value`` and ``remedy``.
What a case makes stays for the next ones with the same encoder, until they make another. What the operations
are is said in ``crates/tiny-dancer-wasm/src/instance.rs``, whose example ``replay`` is such a command, too: the
engine on this machine, called from Rust. Texts are compared as texts, errors by all four fields.

The engine's answers are made once, and kept below cargo's target folder by what they were made of.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.integration.test_conformance_routes import artifact as routes_artifact
from tests.missing import missing

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ROOT = Path(__file__).resolve().parents[2]
CONFORMANCE = ROOT / "conformance"
sys.path.insert(0, str(CONFORMANCE))

from decisions import damaged  # noqa: E402
from examples import as_json  # noqa: E402

DATA = ROOT / "python" / "tiny_dancer" / "data"
ENCODER, SENTENCES = DATA / "encoder.safetensors", DATA / "sentences.safetensors"
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))

KINDS = ("requests", "damages", "routes", "tools", "candidates", "agents", "tasks", "edge")
"""What there are cases of; a door that has no tools, say, is asked the others."""

Case = dict[str, Any]
Answers = list[list[str]]


def run(*command: str, **environment: str) -> str:
    """What a command printed; it has to succeed."""
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=1200, env=os.environ | environment
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-6000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def make(target: str) -> None:
    """Builds a target of the Makefile; one process at a time, as several tests build the same files."""
    folder = ROOT / "target"
    folder.mkdir(exist_ok=True)
    with (folder / "make.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        run("make", "--silent", target)


def needs(*tools: str) -> None:
    """Skips the test where a tool is missing, and says which (:func:`tests.missing.missing`)."""
    for tool in tools:
        if shutil.which(tool) is None:
            missing(tool)


def replayed(
    command: Sequence[str], folder: Path, kinds: Iterable[str] = KINDS, *, values: bool = False, **environment: str
) -> dict[str, int]:
    """Has a door answer all cases of these kinds, and holds its answers against the engine's.

    Args:
        command: what replays; two paths are added.
        folder: where the cases and the door's answers are written.
        kinds: what the door can be asked.
        values: for a door that gives values in place of JSON: answers are equal as JSON values.
        environment: further variables of the command.

    Returns:
        How many cases were the same, by kind; where one is not, the test fails.
    """
    kinds = frozenset(kinds)
    cases, expected = written(folder, kinds)
    answers = folder / "answers.json"
    run(*command, str(cases), str(answers), **environment)
    found: Answers = json.loads(answers.read_text(encoding="utf-8"))
    return compared(json.loads(cases.read_text(encoding="utf-8")), expected, found, values=values)


def written(folder: Path, kinds: Iterable[str] = KINDS) -> tuple[Path, Answers]:
    """The cases of these kinds in a file, and the engine's answers to them."""
    wanted = frozenset(kinds)
    assert wanted and wanted <= set(KINDS), wanted
    chosen = [place for place, each in enumerate(_cases()) if each["kind"] in wanted]
    path = folder / "cases.json"
    path.write_text(json.dumps([_cases()[place] for place in chosen]), encoding="utf-8")
    answers = _answers()
    return path, [answers[place] for place in chosen]


def count(kinds: Iterable[str] = KINDS) -> dict[str, int]:
    """How many cases there are of each kind."""
    wanted = frozenset(kinds)
    return dict(Counter(each["kind"] for each in _cases() if each["kind"] in wanted))


def compared(cases: list[Case], expected: Answers, found: Answers, *, values: bool = False) -> dict[str, int]:
    """Fails at the first case whose answers are not the engine's; else how many there were of each kind."""
    assert len(cases) == len(expected) == len(found)
    for case, right, given in zip(cases, expected, found, strict=True):
        about = f"{case['kind']}: {case['explain']}"
        assert len(given) == len(right), f"{about}: {given[-1:]} in place of {right[-1:]}"
        for at, (one, other) in enumerate(zip(right, given, strict=True)):
            refused = case["error"] is not None and at == len(right) - 1
            if refused or (values and one):
                assert json.loads(other) == json.loads(one), about
            else:
                assert other == one, about
    return dict(Counter(case["kind"] for case in cases))


def vectors(name: str) -> list[dict[str, Any]]:
    """Those of one file in ``conformance/vectors``."""
    found: list[dict[str, Any]] = json.loads(
        (CONFORMANCE / "vectors" / f"{name}.json").read_text(encoding="utf-8")
    )["vectors"]
    return found


def _text(value: Any) -> str:
    """JSON out of a vector: a value, or its text where the text matters."""
    return value if isinstance(value, str) else json.dumps(value)


def _file(data: bytes) -> dict[str, str]:
    """Bytes as a file that all doors read, named by what is in it."""
    path = TARGET / "doors" / f"{hashlib.sha256(data).hexdigest()[:20]}.safetensors"
    if not path.exists():
        _put(path, data)
    return {"file": str(path)}


def _put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    beside.write_bytes(data)
    beside.replace(path)


def _case(explain: str, encoder: Path | None, *steps: tuple[str, Any, Any], error: str | None = None) -> Case:
    """Steps that are done in turn; with ``error``, the last that is done is refused by this kind."""
    given = None if encoder is None else str(encoder)
    return {"explain": explain, "encoder": given, "steps": [list(step) for step in steps], "error": error}


def _of_requests() -> list[Case]:
    cases = []
    for vector in vectors("decisions"):
        data = (CONFORMANCE / "artifacts" / f"{vector['artifact']}.safetensors").read_bytes()
        changes = json.dumps(vector["changes"]) if "changes" in vector else ""
        steps = (
            ("router", _file(data), changes),
            ("decide", as_json(vector, "request"), as_json(vector, "options")),
        )
        cases.append(_case(vector["explain"], ENCODER, *steps, error=vector["expect"].get("error")))
    return cases


def _of_edge() -> list[Case]:
    """The shipped artifact that names no encoder, without one."""
    data = _file((DATA / "edge.safetensors").read_bytes())
    return [
        _case(
            vector["explain"],
            None,
            ("router", data, json.dumps(vector["changes"]) if "changes" in vector else ""),
            ("decide", as_json(vector, "request"), as_json(vector, "options")),
            error=vector["expect"].get("error"),
        )
        for vector in vectors("edge")
    ]


def _of_damages() -> list[Case]:
    cases = []
    for vector in vectors("damages"):
        data = (CONFORMANCE / "artifacts" / f"{vector['artifact']}.safetensors").read_bytes()
        encoder = None if "no_encoder" in vector["damage"] else ENCODER
        step = ("router", _file(damaged(data, vector["damage"])), "")
        cases.append(_case(vector["explain"], encoder, step, error=vector["error"]))
    return cases


def _of_routes() -> list[Case]:
    document = json.loads((CONFORMANCE / "vectors" / "routes.json").read_text(encoding="utf-8"))
    artifacts = {name: _file(routes_artifact(given)) for name, given in document["artifacts"].items()}
    return [
        _case(
            vector["explain"],
            SENTENCES,
            ("routes", artifacts[vector["artifact"]], ""),
            ("route", _text(vector["request"]), json.dumps(vector["options"])),
            error=vector.get("error"),
        )
        for vector in document["vectors"]
    ]


def _of_tools() -> list[Case]:
    services = json.loads((ROOT / "benchmarks" / "data" / "everyday_tools.json").read_text(encoding="utf-8"))
    cases = []
    for vector in vectors("tools"):
        tools = services["tools"] if isinstance(vector["tools"], str) else vector["tools"]
        named = isinstance(vector["tools"], dict)
        given = [{"name": name, "tools": each} for name, each in tools.items()] if named else [tools]
        query = {"text": vector["text"], "k": 1000}
        steps = [("tools", "", ""), *(("addTools", json.dumps(each), "") for each in given)]
        encoder = SENTENCES if vector.get("encoder") else None
        cases.append(_case(vector["explain"], encoder, *steps, ("select", json.dumps(query), "")))
    return cases


def _of_candidates() -> list[Case]:
    return [
        _case(
            vector["explain"],
            None,
            ("candidates", "", ""),
            ("addCandidates", _text(vector["candidates"]), ""),
            ("rank", _text(vector["query"]), ""),
            error=vector["expect"].get("error"),
        )
        for vector in vectors("candidates")
    ]


def _of_agents() -> list[Case]:
    cases = []
    for vector in vectors("agents"):
        half_life = vector.get("half_life")
        begun = ("agents", "" if half_life is None else json.dumps(half_life), "")
        if "outcomes" in vector:
            # No first argument is the answer before: the state so far.
            steps = [("observe", None, json.dumps(each)) for each in vector["outcomes"]]
            cases.append(_case(vector["explain"], None, begun, *steps, error=vector["state"].get("error")))
            continue
        asked = ("choose", json.dumps(vector["query"]), "")
        error = vector["expect"].get("error")
        put = ("putAgents", json.dumps(vector["agents"]), "")
        cases.append(_case(vector["explain"], None, begun, put, asked, error=error))
    return cases


def _of_tasks() -> list[Case]:
    made = ("tasks", _file((DATA / "tasks.safetensors").read_bytes()), "")
    cases = [_case("the classifier that ships", ENCODER, made)]
    for vector in vectors("tasks"):
        asked = ("classify", json.dumps({"text": vector["text"]}), "")
        cases.append(_case(vector["explain"], ENCODER, asked, error=vector.get("error")))
    return cases


@cache
def _cases() -> list[Case]:
    made = (_of_requests, _of_damages, _of_routes, _of_tools, _of_candidates, _of_agents, _of_tasks, _of_edge)
    cases = [{"kind": kind} | case for kind, of in zip(KINDS, made, strict=True) for case in of()]
    assert len(cases) > 750
    return cases


@cache
def _answers() -> Answers:
    """The engine's, on this machine; each error is of the kind that its vector states."""
    needs("cargo")
    built = ("--quiet", "--locked", "--package", "tiny-dancer-wasm", "--example", "replay")
    run("cargo", "build", *built)
    replay = TARGET / "debug" / "examples" / f"replay{'.exe' if os.name == 'nt' else ''}"
    cases = json.dumps(_cases())
    made_of = hashlib.sha256()
    for part in (cases.encode(), replay.read_bytes(), ENCODER.read_bytes(), SENTENCES.read_bytes()):
        made_of.update(hashlib.sha256(part).digest())
    kept = TARGET / "doors" / f"answers-{made_of.hexdigest()[:20]}.json"
    if not kept.exists():
        asked, answered = (kept.with_suffix(f".{os.getpid()}.{name}") for name in ("cases", "answers"))
        asked.write_text(cases, encoding="utf-8")
        run(str(replay), str(asked), str(answered))
        answered.replace(kept)
        asked.unlink()
    answers: Answers = json.loads(kept.read_text(encoding="utf-8"))
    for case, each in zip(_cases(), answers, strict=True):
        last = json.loads(each[-1] or "{}")
        assert (last.get("code") if isinstance(last, dict) else None) == case["error"], case["explain"]
    return answers
