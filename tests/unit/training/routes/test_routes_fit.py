"""Fitting routes: what is fitted answers right, says so truly, and refuses what it cannot use."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from tests.unit.training.routes.intents import intents

from tiny_dancer import Route, SemanticRouter, SemanticRoutes, _core
from tiny_dancer.errors import OptionError, TrainingError
from tiny_dancer.evaluation.robustness import perturb
from tiny_dancer.routing.spelling import Words
from tiny_dancer.training.likeness import background_texts
from tiny_dancer.training.routes import head
from tiny_dancer.training.routes.data import everyday_requests, features_of
from tiny_dancer.training.routes.fit import STEPS, FittedRoutes, fit_routes
from tiny_dancer.training.routes.prototypes import Prototypes

FAR = [
    "what is the tallest mountain in peru",
    "write a poem about autumn",
    "solve x^2 = 9",
    "how do vaccines work",
]


@pytest.fixture(scope="module")
def fitted() -> FittedRoutes:
    return fit_routes(*intents())


@pytest.fixture(scope="module")
def router(fitted: FittedRoutes) -> SemanticRoutes:
    return SemanticRoutes.from_bytes(fitted.artifact)


def test_rows_that_were_not_seen_are_routed_right(fitted: FittedRoutes, router: SemanticRoutes) -> None:
    texts, labels = intents(40, seed=1)
    found = router.evaluate(texts, labels)
    assert found.accuracy > 0.95 and fitted.report.accuracy > 0.95
    assert found.calibration_error < 0.1 and fitted.report.ece < 0.1
    assert router.calibrated and fitted.report.n == 150 and fitted.report.routes == 5
    assert len(fitted.artifact) < 1 << 20


def test_what_belongs_to_no_route_scores_lower(router: SemanticRoutes) -> None:
    texts, labels = intents(20, seed=2)
    found = router.evaluate([*texts, *FAR], [*labels, *[None] * len(FAR)])
    assert found.out_of_scope_auroc > 0.95
    cautious = router(FAR[0], false_alarms=0.2)
    assert cautious.name is None and cautious.reason == "out_of_scope" and cautious.best in dict(cautious.top)
    assert router(FAR[0], false_alarms=0.0).name is not None


def test_the_same_rows_give_the_same_bytes(fitted: FittedRoutes) -> None:
    steps: list[str] = []
    again = fit_routes(*intents(), progress=steps.append)
    assert again.artifact == fitted.artifact and len(steps) == STEPS


def test_the_engine_scores_as_training_does(fitted: FittedRoutes) -> None:
    texts, labels = intents(12, seed=3)
    names = sorted(set(labels))
    y = np.array([names.index(label) for label in labels])
    features = features_of(texts)
    found = head.fit_head(features, y, len(names), 0)
    examples = Prototypes.of(features.embedding, y, len(names), means=False)
    header = json.loads(_core.Routes(fitted.artifact, _core.sentence_encoder()).header())
    header |= {"self_check": [], "model": {"kind": "head", "prototypes": 3.0}}
    del header["spelling"]
    artifact = _core.artifact_bytes(header, examples.tensors() | found.tensors("head"))
    scores, measures = _core.Routes(artifact, _core.sentence_encoder()).scores([*texts, *FAR])
    other = features_of([*texts, *FAR])
    likeness, nearest = examples.likeness(other.embedding)
    expected = found.scores(other) + 3 * likeness
    np.testing.assert_allclose(np.frombuffer(scores, "<f4").reshape(expected.shape), expected, atol=1e-4)
    measured = np.frombuffer(measures, "<f4").reshape(-1, 7)
    np.testing.assert_allclose(measured[:, 3], nearest, atol=1e-5)
    np.testing.assert_allclose(measured[:, 4:6], np.stack(found.known(other), axis=1), atol=1e-6)


def test_rows_out_of_scope_in_the_table_are_learnt(fitted: FittedRoutes) -> None:
    texts, labels = intents(15)
    rows = [*texts, *(f"{each} number {at}" for at in range(5) for each in FAR)]
    found = fit_routes(rows, [*labels, *[None] * 20])
    assert found.report.out_of_scope_rows == 20 and found.report.far_auroc > 0.95


def test_few_utterances_are_enough() -> None:
    router = SemanticRouter([Route(name, texts) for name, texts in by_route(3).items()])
    assert not router.calibrated and router("i forgot my password").name == "password"
    report = router.fit()
    assert report.n == 15 and router("i forgot my password").name == "password"


def test_a_change_never_keeps_a_calibration_silently() -> None:
    router = SemanticRouter([Route(name, texts) for name, texts in by_route(10).items()])
    router.fit()
    assert router.calibrated
    kept = router("i forgot my password")
    password = next(route for route in router.routes if route.name == "password")
    router.update(Route("password", password.utterances, target="accounts"))
    assert router.calibrated, "only its target changed"
    moved = router("i forgot my password")
    assert moved.target == "accounts" and moved.confidence == kept.confidence
    router.add(Route("weather", ["will it rain tomorrow", "is it sunny", "what's the forecast"]))
    assert not router.calibrated and router("will it be sunny or rain?").name == "weather"
    router.remove("weather")
    assert not router.calibrated
    router.fit()
    assert router.calibrated


def by_route(rows: int) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for text, label in zip(*intents(rows), strict=True):
        found.setdefault(label, []).append(text)
    return found


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(TrainingError, match="two routes"):
        fit_routes(["a", "b"], ["one", "one"])
    with pytest.raises(TrainingError, match="no route has this name"):
        fit_routes(["a", "b"], ["one", "two"], routes=[{"name": "one"}, {"name": "three"}])
    with pytest.raises(TrainingError, match="no rows"):
        fit_routes(["a", "b"], ["one", "two"], routes=[{"name": each} for each in ("one", "two", "three")])
    router = SemanticRouter([Route("a", ["x"]), Route("b", ["y"])])
    with pytest.raises(OptionError, match="labels"):
        router.fit(["x"], [])


def test_precision_sets_a_threshold_a_route() -> None:
    found = fit_routes(*intents(), precision=0.9)
    assert set(found.report.thresholds) == {"refund", "status", "password", "opening", "human"}
    assert all(0 <= each <= 1 for each in found.report.thresholds.values())
    specs = json.loads(_core.Routes(found.artifact, _core.sentence_encoder()).header())["routes"]
    assert all(
        spec["threshold"] == pytest.approx(found.report.thresholds[spec["name"]], abs=1e-6) for spec in specs
    )


def test_slips_of_the_fingers_change_no_route(fitted: FittedRoutes, router: SemanticRoutes) -> None:
    texts, _ = intents(40, seed=4)
    slipped = [perturb(text, "typos", 1) for text in texts]
    header = {name: value for name, value in router.header.items() if name not in ("spelling", "self_check")}
    as_written = SemanticRoutes.from_bytes(_core.artifact_bytes(header, _core.read_tensors(fitted.artifact)))

    def changed(routes: SemanticRoutes) -> tuple[float, float]:
        pairs = [*zip(routes.route_many(texts), routes.route_many(slipped), strict=True)]
        return (
            float(np.mean([first.best != second.best for first, second in pairs])),
            float(np.mean([abs(first.confidence - second.confidence) for first, second in pairs])),
        )

    (flips, by), (_, by_as_written) = changed(router), changed(as_written)
    assert flips <= 0.035 and by < by_as_written / 3
    assert fitted.report.flips_under_typos <= 0.06
    assert router("i forgot my pasword").read_as == "i forgot my password"
    assert router("i forgot my password").read_as is None


def test_training_reads_texts_as_the_engine_does(fitted: FittedRoutes, router: SemanticRoutes) -> None:
    texts, _ = intents()
    words = Words.of([*texts, *background_texts(), *everyday_requests()[: len(texts)]])
    tensors = _core.read_tensors(fitted.artifact)
    np.testing.assert_array_equal(words.hashes, tensors["spelling.words"])
    np.testing.assert_array_equal(words.levels, tensors["spelling.levels"])
    speller = words.speller(tensors["head.ngrams"][: _core.CHAR_BASE // 8])
    slipped = [perturb(text, "typos", 2) for text in texts[:50]]
    read = [router(text).read_as or text for text in slipped]
    first, second = features_of(slipped, speller=speller), features_of(read)
    assert (first.ngrams != second.ngrams).nnz == 0
    np.testing.assert_array_equal(first.embedding, second.embedding)


def test_words_are_left_as_they_are_where_other_vectors_are_compared() -> None:
    texts, labels = intents(12)
    vectors = features_of(texts).embedding
    spec = {"name": "toy", "dimension": vectors.shape[1]}
    found = fit_routes(texts, labels, vectors=vectors, encoder=spec, self_check_vectors=vectors)
    assert "spelling" not in _core.read_header(found.artifact)


def test_columns_and_arrays_are_fitted_as_lists_are() -> None:
    pandas = pytest.importorskip("pandas")
    texts, labels = intents(6, 0)
    routes = [Route(name, [name.replace("_", " ")]) for name in sorted(set(labels))]
    found = []
    for given in (list, np.array, pandas.Series):
        router = SemanticRouter(routes)
        router.fit(given(texts), given(labels))
        found.append(router.artifact)
    assert found[0] == found[1] == found[2]


def test_numbers_out_of_range_are_refused() -> None:
    router = SemanticRouter([Route("a", ["reset my password"]), Route("b", ["where is my order"])])
    wrong: list[dict[str, Any]] = [
        *({"precision": each} for each in (2.0, 0.0, float("nan"))),
        *({"seed": each} for each in (-1, 1.5, True)),
    ]
    for options in wrong:
        with pytest.raises(OptionError, match=next(iter(options))):
            router.fit(["log me in"], ["a"], **options)
