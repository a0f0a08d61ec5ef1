"""A calibrated classifier's sets hold the true label as often as asked, and its artifact says so."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
from scipy.stats import betabinom
from tests.classifiers import LABELS, text_classifier, texts, vector_classifier, vectors

from tiny_dancer import Classifier, _core
from tiny_dancer.errors import ArtifactError, DataError, OptionError, RequestError
from tiny_dancer.evaluation.conformal import SplitConformalClassifier
from tiny_dancer.evaluation.overlap import remember
from tiny_dancer.routing import featurise
from tiny_dancer.training.conformal import calibrate_classifier


def covered(sets: np.ndarray, labels: list[str]) -> np.ndarray:
    return sets[np.arange(len(labels)), [LABELS.index(label) for label in labels]]


@pytest.mark.parametrize("method", ["lac", "aps"])
@pytest.mark.parametrize("alpha", [0.05, 0.3])
def test_sets_hold_the_true_label_as_often_as_asked(method: Literal["lac", "aps"], alpha: float) -> None:
    values, labels = vectors(500, 1)
    result = calibrate_classifier(vector_classifier(), values, labels, alpha=alpha, method=method)
    fresh, truth = vectors(4000, 2)
    share = covered(Classifier(result.artifact).predict_set(fresh), truth).sum()
    k = np.ceil(round(501 * (1 - alpha), 9))
    low, high = betabinom.ppf([1e-6, 1 - 1e-6], 4000, k, 501 - k)
    assert low <= share
    # Without randomisation adaptive sets cover more where the first label is right more often than asked.
    assert method == "aps" or share <= high
    assert result.mean_size < 3


def test_every_group_is_covered_by_itself() -> None:
    parts = {"clear": vectors(300, 3, 0.3), "noisy": vectors(300, 4, 2.0), "rare": vectors(5, 5)}
    values = np.concatenate([each[0] for each in parts.values()])
    labels = [label for each in parts.values() for label in each[1]]
    group = [name for name, each in parts.items() for _ in each[1]]
    result = calibrate_classifier(vector_classifier(), values, labels, alpha=0.1, group=group)
    assert result.own == ("clear", "noisy")
    assert result.pooled == ("rare",)
    classifier = Classifier(result.artifact)
    for name, noise in (("clear", 0.3), ("noisy", 2.0)):
        fresh, truth = vectors(3000, 6, noise)
        hits = covered(classifier.predict_set(fresh, group=[name] * 3000), truth).sum()
        assert hits >= betabinom.ppf(1e-6, 3000, 271, 30)
        if name == "clear":
            assert hits <= betabinom.ppf(1 - 1e-6, 3000, 271, 30)
        else:
            assert covered(classifier.predict_set(fresh), truth).sum() < hits, "one threshold for all is too low"
    fresh, _ = vectors(50, 7)
    pooled = classifier.predict_set(fresh)
    for unknown in ("rare", "unheard of"):
        np.testing.assert_array_equal(classifier.predict_set(fresh, group=[unknown] * 50), pooled)


def test_the_artifact_keeps_the_calibration_and_answers_with_sets() -> None:
    values, labels = vectors(200, 8)
    plain = Classifier(vector_classifier())
    assert all(each.prediction_set is None for each in plain.predict(values[:5]))
    with pytest.raises(ArtifactError, match="not calibrated"):
        plain.predict_set(values)
    result = calibrate_classifier(
        vector_classifier(metrics={"accuracy": 0.5}), values, labels, notes={"date": "2026-11-21"}
    )
    classifier = Classifier(result.artifact)
    kept = classifier.header["conformal"]
    assert (kept["score"], kept["alpha"], kept["rows"]) == ("lac", 0.1, 200)
    assert (kept["threshold"], kept["date"]) == (result.threshold, "2026-11-21")
    assert len(kept["data_digest"]) == 64
    assert classifier.header["metrics"] == {"accuracy": 0.5}
    fresh, _ = vectors(300, 9, 2.0)
    probabilities = classifier.predict_proba(fresh)
    expected = SplitConformalClassifier.from_header(kept).predict_set(probabilities)
    np.testing.assert_array_equal(classifier.predict_set(fresh), expected)
    for answer, row, inside in zip(classifier.predict(fresh), probabilities, expected, strict=True):
        assert answer.prediction_set is not None
        assert set(answer.prediction_set) == {LABELS[index] for index in np.flatnonzero(inside)}
        order = [row[LABELS.index(label)] for label in answer.prediction_set]
        assert order == sorted(order, reverse=True)
    again = calibrate_classifier(result.artifact, values, labels, alpha=0.3, method="aps")
    assert Classifier(again.artifact).header["conformal"]["score"] == "aps"


def test_texts_are_calibrated_and_rows_trained_on_refused() -> None:
    trained, _ = texts(400, 0)
    artifact = text_classifier(0, training={"rows_seen": remember(featurise(trained, None, None))})
    held_out, labels = texts(300, 1)
    result = calibrate_classifier(artifact, held_out, labels)
    assert result.accuracy > 0.5
    fresh, truth = texts(2000, 2)
    hits = covered(Classifier(result.artifact).predict_set(fresh), truth).sum()
    assert hits >= betabinom.ppf(1e-6, 2000, 271, 30)
    seen, seen_labels = texts(400, 0)
    with pytest.raises(DataError, match="trained on"):
        calibrate_classifier(artifact, seen[:50] + held_out, seen_labels[:50] + labels)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"labels": ["alarm"] * 19 + ["dance"]}, DataError, ["dance", "1 rows"]),
        ({"labels": ["alarm"] * 19}, DataError, ["labels"]),
        ({"alpha": 0.04}, OptionError, ["alpha", "at least 24 rows"]),
        ({"alpha": 0.0}, OptionError, ["alpha"]),
        ({"method": "naive"}, OptionError, ["method"]),
        ({"group": ["a"] * 3}, DataError, ["group"]),
        ({"inputs": np.full((20, 6), np.nan, np.float32)}, RequestError, ["finite"]),
    ],
)
def test_what_cannot_be_calibrated_is_refused(
    change: dict[str, Any], error: type[Exception], words: list[str]
) -> None:
    values, labels = vectors(20, 10)
    arguments: dict[str, Any] = {"inputs": values, "labels": labels, **change}
    with pytest.raises(error) as found:
        calibrate_classifier(vector_classifier(), **arguments)
    assert all(word in str(found.value) for word in words), found.value


@pytest.mark.parametrize(
    "conformal",
    [
        {"score": "rank", "alpha": 0.1, "rows": 100, "threshold": 3.0},
        {"score": "lac", "alpha": 0.1, "rows": 100, "threshold": 3.0},
        {"score": "lac", "alpha": 0.1, "rows": 5, "threshold": 0.5},
        {"score": "lac", "alpha": 0.1, "rows": 100},
        [],
    ],
)
def test_artifacts_with_a_calibration_that_cannot_be_are_refused(conformal: Any) -> None:
    with pytest.raises(ArtifactError):
        vector_classifier(conformal=conformal)


def test_groups_of_another_number_than_inputs_are_refused() -> None:
    values, labels = vectors(50, 11)
    classifier = Classifier(calibrate_classifier(vector_classifier(), values, labels).artifact)
    for group in (["a"], "a" * 50):
        with pytest.raises(RequestError, match="group"):
            classifier.predict(values, group=group)
    assert _core.read_header(vector_classifier())["conformal"] is None
