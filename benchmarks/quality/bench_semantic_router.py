"""Semantic routes beside semantic-router 1.1.1 in the same run, with the same static encoder in both.

Ten utterances an intent of clinc150 and banking77. Ours are fitted by ``fit_routes``; theirs is an
``IndexedRouter`` with its defaults (local index, mean of the five nearest), by a ``DenseEncoder`` that asks our
encoder for its vectors. It is judged as it comes, all ten utterances stored, no threshold; and calibrated as its
documentation asks: seven stored, ``fit`` (Platt) on the three held out, a route given from a confidence of one
half. Judged on the same rows: clinc150's validation rows, of which 200 belong to no intent, and 2,000 of
banking77's other rows. ``answered`` is the share of rows of intents that get any route, ``refused`` of those of
none that get none; what is out of scope is told by the confidence of the best route.

    pip install semantic-router==1.1.1    (not one of this package's dependencies; skipped without it)
"""

from __future__ import annotations

import importlib.metadata
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))
from bench_routes import SHOTS, Rows, part, rows, shots

from common import write
from tiny_dancer import SemanticRoutes, _core
from tiny_dancer.evaluation.intervals import exact_interval
from tiny_dancer.evaluation.metrics import expected_calibration_error
from tiny_dancer.training.routes.fit import fit_routes
from tiny_dancer.training.routes.scope import area

VERSION = "1.1.1"
MOST_ROWS, TIMED = 2000, 200
STORED, THRESHOLD = 7, 0.5


def figures(
    best: list[str | None], given: list[str | None], score: Any, confidence: Any, labels: list[str | None]
) -> dict[str, Any]:
    """Accuracy of the best route, of the route given, calibration, and how what is out of scope is told."""
    inside = np.array([label is not None for label in labels])
    right = np.array([a == b for a, b in zip(best, labels, strict=True)])[inside]
    none = np.array([each is None for each in given])
    confidence = np.asarray(confidence, np.float64)[inside]
    found: dict[str, Any] = {
        "accuracy": round(float(right.mean()), 4),
        "accuracy interval": [round(end, 4) for end in exact_interval(int(right.sum()), len(right))],
        "given the right route": round(
            float(np.mean([a == b for a, b in zip(given, labels, strict=True) if b is not None])), 4
        ),
        "answered": round(float(1 - none[inside].mean()), 4),
        "calibration error": round(expected_calibration_error(confidence, right.astype(np.float64)), 4),
    }
    if not inside.all():
        hits = int((none & ~inside).sum())
        found["refused"] = round(hits / int((~inside).sum()), 4)
        found["out-of-scope AUROC"] = round(area(np.asarray(score)[inside], np.asarray(score)[~inside]), 4)
        found["out-of-scope F1"] = round(2 * hits / int(none.sum() + (~inside).sum()), 4)
    return found


def timed(ask: Any, texts: list[str]) -> float:
    """Median microseconds of a call."""
    taken = []
    for text in texts[:TIMED]:
        begun = time.perf_counter()
        ask(text)
        taken.append(time.perf_counter() - begun)
    return round(float(np.median(taken)) * 1e6, 1)


def ours(train: Rows, test: Rows) -> dict[str, Any]:
    """Fitted routes."""
    router = SemanticRoutes.from_bytes(fit_routes(*train).artifact)
    answers = router.route_many(test[0])
    # A route that is given over a likelier one has its own confidence: without priorities there is none.
    found = figures(
        [each.best for each in answers],
        [each.name for each in answers],
        [each.in_scope_score for each in answers],
        [each.confidence for each in answers],
        test[1],
    )
    return found | {"microseconds a call": timed(router, test[0])}


def theirs(train: Rows, test: Rows) -> dict[str, Any]:
    """semantic-router, as it comes and calibrated."""
    from semantic_router.encoders import DenseEncoder
    from semantic_router.route import Route
    from semantic_router.routers import IndexedRouter

    class Static(DenseEncoder):  # type: ignore[misc]
        name: str = "tiny-dancer"
        type: str = "static"

        def __call__(self, docs: list[str]) -> list[list[float]]:
            vectors: list[list[float]] = _core.encode(list(docs), _core.sentence_encoder()).tolist()
            return vectors

    by_name: dict[str, list[str]] = {}
    for text, label in zip(*train, strict=True):
        if label is not None:
            by_name.setdefault(label, []).append(text)

    def made(stored: int, threshold: float | None) -> Any:
        routes = [Route(name=name, utterances=own[:stored]) for name, own in sorted(by_name.items())]
        return IndexedRouter(Static(name="tiny-dancer"), routes, confidence_threshold=threshold)

    def judged(router: Any, threshold: float | None) -> dict[str, Any]:
        answers = [router(text, threshold=-1.0) for text in test[0]]
        best = [each.name for each in answers]
        confidence = np.clip([each.confidence for each in answers], 0, 1)
        given = [
            name if threshold is None or sure >= threshold else None
            for name, sure in zip(best, confidence.tolist(), strict=True)
        ]
        return figures(best, given, confidence, confidence, test[1]) | {
            "microseconds a call": timed(router, test[0])
        }

    plain, calibrated = made(SHOTS, None), made(STORED, THRESHOLD)
    held_out = [(text, name) for name, own in sorted(by_name.items()) for text in own[STORED:]]
    calibrated.fit([text for text, _ in held_out], [name for _, name in held_out])
    return {"as it comes": judged(plain, None), "calibrated": judged(calibrated, THRESHOLD)}


def main() -> None:
    """Both tables."""
    try:
        version = importlib.metadata.version("semantic-router")
    except importlib.metadata.PackageNotFoundError:
        version = ""
    if version != VERSION:
        print(f"semantic-router {VERSION} is not installed ({version or 'none'}): nothing measured")
        return
    clinc, validation, banking = rows("clinc150_train"), rows("clinc150_val"), rows("banking77_train")
    if clinc is None or validation is None or banking is None:
        return
    few, others = shots(banking, 0)
    some = np.random.default_rng(0).permutation(len(others[0]))[:MOST_ROWS]
    found: dict[str, Any] = {}
    for name, train, test in (
        ("clinc150, ten utterances", shots(clinc, 0)[0], validation),
        ("banking77, ten utterances", few, part(others, some)),
    ):
        commonest = max(np.unique([label for label in test[1] if label is not None], return_counts=True)[1])
        found[name] = {
            "ours": ours(train, test),
            "semantic-router": theirs(train, test),
            "commonest intent": round(float(commonest / sum(label is not None for label in test[1])), 4),
        }
        print(name, found[name], flush=True)
    write("semantic_router", found, note=__doc__ or "")


if __name__ == "__main__":
    main()
