"""Semantic routes beside semantic-router 1.1.1 in the same run, with the same static encoder in both.

Ten utterances an intent of clinc150 and banking77. Ours are fitted by ``fit_routes``; theirs is a
``SemanticRouter`` with a local index, by a ``DenseEncoder`` that asks our encoder for its vectors (cosine, as
theirs is), as it comes and after its own ``fit`` on the utterances, which draws thresholds at random. Judged on
the same rows: clinc150's validation rows, of which 200 belong to no intent, and up to 2,000 of banking77's other
rows. ``best`` is what is nearest with thresholds at zero; ``answered`` the share of rows of intents that get any
route. Their score says nothing of how likely it is right, so there is no calibration error of it; what is out of
scope is told by their highest score.

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
from bench_routes import Rows, part, rows, shots

from common import write
from tiny_dancer import SemanticRoutes, _core
from tiny_dancer.evaluation.intervals import exact_interval
from tiny_dancer.training.routes.fit import fit_routes
from tiny_dancer.training.routes.scope import area

VERSION = "1.1.1"
MOST_ROWS, TIMED, STEPS = 2000, 200, 100


def figures(
    best: list[str | None], given: list[str | None], score: Any, labels: list[str | None]
) -> dict[str, Any]:
    """Accuracy of the best route, of the route given, and how what is out of scope is told."""
    inside = np.array([label is not None for label in labels])
    right = np.array([a == b for a, b in zip(best, labels, strict=True)])[inside]
    none = np.array([each is None for each in given])
    found: dict[str, Any] = {
        "accuracy of the best": round(float(right.mean()), 4),
        "interval": [round(end, 4) for end in exact_interval(int(right.sum()), len(right))],
        "given the right route": round(
            float(np.mean([a == b for a, b in zip(given, labels, strict=True) if b is not None])), 4
        ),
        "answered": round(float(1 - none[inside].mean()), 4),
    }
    if not inside.all():
        hits = int((none & ~inside).sum())
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
    found = figures(
        [each.best for each in answers],
        [each.name for each in answers],
        [each.in_scope_score for each in answers],
        test[1],
    )
    found["calibration error"] = round(router.evaluate(*test).calibration_error, 4)
    return found | {"microseconds a call": timed(router, test[0])}


def theirs(train: Rows, test: Rows) -> dict[str, Any]:
    """semantic-router, before and after its fit."""
    from semantic_router import Route
    from semantic_router.encoders import DenseEncoder
    from semantic_router.index.local import LocalIndex
    from semantic_router.routers import SemanticRouter

    class Static(DenseEncoder):  # type: ignore[misc]
        name: str = "tiny-dancer"
        score_threshold: float = 0.3
        type: str = "static"

        def __call__(self, docs: list[str]) -> list[list[float]]:
            vectors: list[list[float]] = _core.encode(list(docs), _core.sentence_encoder()).tolist()
            return vectors

    names = sorted({label for label in train[1] if label is not None})
    by_name: dict[str, list[str]] = {name: [] for name in names}
    for text, label in zip(*train, strict=True):
        if label is not None:
            by_name[label].append(text)
    router = SemanticRouter(
        encoder=Static(),
        routes=[Route(name=name, utterances=own) for name, own in by_name.items()],
        index=LocalIndex(),
        auto_sync="local",
    )
    vectors = _core.encode(list(test[0]), _core.sentence_encoder())

    def judged() -> dict[str, Any]:
        given = [router(vector=vector.tolist()).name for vector in vectors]
        thresholds = {route.name: route.score_threshold for route in router.routes}
        for route in router.routes:
            route.score_threshold = 0.0
        found = [router(vector=vector.tolist(), limit=None) for vector in vectors]
        for route in router.routes:
            route.score_threshold = thresholds[route.name]
        tops = [
            max(each, key=lambda one: one.similarity_score or 0.0) if isinstance(each, list) and each else each
            for each in found
        ]
        best = [None if isinstance(each, list) else each.name for each in tops]
        score = [0.0 if isinstance(each, list) else float(each.similarity_score or 0.0) for each in tops]
        return figures(best, given, score, test[1])

    found = {"as it comes": judged()}
    if len(names) <= 200:
        texts = [text for text, label in zip(*train, strict=True) if label is not None]
        router.fit(X=texts, y=[label for label in train[1] if label is not None], max_iter=STEPS)
    values = sorted({round(float(value or 0), 3) for value in router.get_thresholds().values()})
    found["after its fit"] = judged() | {"thresholds": [values[0], values[-1]]}
    found["as it comes"]["microseconds a call"] = timed(router, test[0])
    return found


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
