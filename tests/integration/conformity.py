"""Engine and readable reference side by side, for the tests that hold them together."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tiny_dancer import Router, _core
from tiny_dancer.errors import (
    ArtifactChecksumError,
    ArtifactError,
    ArtifactSelfCheckError,
    ArtifactVersionError,
    EncoderMissingError,
    NoFeasibleModelError,
    OptionError,
    RequestError,
    TinyDancerError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tiny_dancer.types import Decision

CONFORMANCE = Path(__file__).resolve().parents[2] / "conformance"
sys.path.insert(0, str(CONFORMANCE))

import reference  # noqa: E402

KINDS: dict[str, type[TinyDancerError]] = {
    "ArtifactInvalid": ArtifactError,
    "ArtifactVersion": ArtifactVersionError,
    "ArtifactChecksum": ArtifactChecksumError,
    "ArtifactSelfCheck": ArtifactSelfCheckError,
    "EncoderMissing": EncoderMissingError,
    "RequestInvalid": RequestError,
    "OptionInvalid": OptionError,
    "NoFeasibleModel": NoFeasibleModelError,
}
ARTIFACTS = sorted(path.stem for path in (CONFORMANCE / "artifacts").glob("*.safetensors"))
TOLERANCE = 1e-6


def vectors(name: str) -> list[Any]:
    """Vectors of a file as test parameters."""
    document = json.loads((CONFORMANCE / "vectors" / f"{name}.json").read_text(encoding="utf-8"))
    return [pytest.param(vector, id=vector["explain"][:60]) for vector in document["vectors"]]


def chosen(name: str, wanted: Callable[[dict[str, Any]], bool]) -> list[Any]:
    """Those of them that are wanted."""
    return [parameter for parameter in vectors(name) if wanted(parameter.values[0])]


def artifact(name: str) -> bytes:
    return (CONFORMANCE / "artifacts" / f"{name}.safetensors").read_bytes()


@cache
def engine(name: str) -> _core.Router:
    return _core.Router(artifact(name), _core.encoder())


@cache
def public_router(name: str) -> Router:
    return Router(artifact(name))


@cache
def reference_encoder() -> reference.Encoder:
    return reference.Encoder.from_bytes(_core.data_file("encoder.safetensors"))


@cache
def reference_router(name: str) -> reference.Router:
    return reference.Router(artifact(name), reference_encoder())


def close(found: float, expected: float) -> bool:
    return math.isclose(found, expected, rel_tol=TOLERANCE, abs_tol=TOLERANCE)


# ------------------------------------------------------------------------------------------ the engine's answers


def engine_features(
    request: reference.Request, spec: str = _core.FEATURE_SPEC
) -> tuple[list[int], dict[str, float], list[int], int]:
    """(n-gram indices, cues, embedding, tokens) as the engine computes them."""
    said = request.words if request.kind == "text" else request.words.encode()
    table = _core.featurise([said], [request.tools or None], spec)
    cues = dict(zip(_core.CUE_NAMES, table.cues[0].tolist(), strict=True))
    return table.ngrams.tolist(), cues, table.embedding[0].tolist(), int(table.tokens[0])


def is_featurised(request: reference.Request) -> bool:
    """Whether Python has words for the features of such a request: a text or messages, and tools."""
    return request.kind != "prompt" and not request.system and not request.format


def assert_same_answer(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Two whole answers agree, field by field."""
    assert found.keys() == expected.keys()
    for field, value in expected.items():
        if field in ("scores", "quality", "confidence", "likeness"):
            assert_close(found[field], value, TOLERANCE)
        elif field in ("costs", "latencies", "cost"):
            assert_close(found[field], value, 0.0)
        else:
            assert found[field] == value, field


def assert_close(found: Any, expected: Any, absolute: float) -> None:
    """A number, or numbers by model; None is unknown."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert_close(found[name], value, absolute)
    elif expected is None:
        assert found is None
    else:
        assert math.isclose(found, expected, rel_tol=TOLERANCE, abs_tol=absolute), (found, expected)


def assert_same_cues(found: dict[str, float], expected: dict[str, float]) -> None:
    apart = {name: (value, expected[name]) for name, value in found.items() if not close(value, expected[name])}
    assert not apart


def expect_answer(decide: Callable[[], dict[str, Any]], expected: dict[str, Any]) -> None:
    """The answer, or a refusal of the right kind."""
    if "error" in expected:
        with pytest.raises(TinyDancerError) as caught:
            decide()
        assert type(caught.value) is KINDS[expected["error"]]
    else:
        assert_same_answer(decide(), expected)


_NUMBERS = ("costs", "latencies", "output_tokens")
_WORDS = ("reason", "routed_by", "guarantee_note", "artifact_version")


def as_answer(decision: Decision, names: tuple[str, ...]) -> dict[str, Any]:
    """A decision as the vectors have it. Python says None where nothing is known of any model."""
    answer: dict[str, Any] = {
        field: getattr(decision, field)
        for field in (
            "model",
            "scores",
            *_NUMBERS,
            "tokens",
            "removed",
            "quality",
            "cost",
            "confidence",
            "likeness",
            *_WORDS,
        )
    }
    for field in _NUMBERS:
        answer[field] = dict.fromkeys(names) if answer[field] is None else answer[field]
    return answer | {
        "prediction_set": list(decision.prediction_set),
        # What only some risks have is left out of the others' certificates, as in JSON.
        "guarantee": decision.guarantee
        and {name: value for name, value in asdict(decision.guarantee).items() if value is not None},
    }
