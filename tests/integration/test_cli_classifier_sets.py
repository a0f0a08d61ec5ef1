"""`tiny-dancer calibrate` gives a classifier prediction sets, from a table a user has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.classifiers import LABELS, text_classifier, texts, vector_classifier, vectors
from tests.commands import columns, done, fails, write

from tiny_dancer import Classifier
from tiny_dancer.evaluation.overlap import remember
from tiny_dancer.routing import featurise

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("classifier") / "intents.safetensors"
    trained, _ = texts(400, 0)
    path.write_bytes(text_classifier(0, training={"rows_seen": remember(featurise(trained, None, None))}))
    return path


def table(n: int, seed: int) -> dict[str, list[str]]:
    found, labels = texts(n, seed)
    return {"text": found, "intent": labels, "source": ["a" if row % 4 else "b" for row in range(n)]}


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_a_table_becomes_sets_that_cover(classifier: Path, tmp_path: Path, suffix: str) -> None:
    rows = write(table(300, 1), tmp_path / f"rows.{suffix}")
    out = tmp_path / "sure.safetensors"
    said = done("calibrate", classifier, rows, "--alpha", "0.1", "--out", out, "--date", "2026-11-21")
    assert "10.0% of inputs like these 300 rows" in said
    loaded = Classifier.from_file(out)
    assert loaded.header["conformal"]["date"] == "2026-11-21"
    fresh, truth = texts(1500, 2)
    sets = loaded.predict_set(fresh)
    assert sets[np.arange(1500), [LABELS.index(label) for label in truth]].mean() > 0.84
    assert "sets" not in done("inspect", "default"), "routers are as they were"


def test_groups_and_the_other_method(classifier: Path, tmp_path: Path) -> None:
    rows = write({**table(60, 3)}, tmp_path / "rows.csv")
    out = tmp_path / "sure.safetensors"
    said = done(
        "calibrate", classifier, rows, "--alpha", "0.05", "--method", "aps", "--group", "source", "--out", out
    )
    assert "1 groups of source" in said
    assert "too few rows for their own: b" in said
    kept = Classifier.from_file(out).header["conformal"]
    assert (kept["score"], list(kept["groups"]), kept["group_column"]) == ("aps", ["a"], "source")


def test_a_column_of_labels_by_another_name(classifier: Path, tmp_path: Path) -> None:
    rows = table(40, 4)
    path = write({"text": rows["text"], "gold": rows["intent"]}, tmp_path / "rows.csv")
    line = fails(2, "calibrate", classifier, path, "--out", tmp_path / "x")
    assert "--label" in line
    done("calibrate", classifier, path, "--label", "gold", "--out", tmp_path / "x")


def test_vectors_come_from_numpy(tmp_path: Path) -> None:
    values, labels = vectors(200, 12)
    np.savez(tmp_path / "rows.npz", x=values, y=np.array(labels))
    (tmp_path / "plain.safetensors").write_bytes(vector_classifier())
    out = tmp_path / "sure.safetensors"
    done("calibrate", tmp_path / "plain.safetensors", tmp_path / "rows.npz", "--out", out)
    fresh, _ = vectors(10, 13)
    assert all(each.prediction_set is not None for each in Classifier.from_file(out).predict(fresh))
    line = fails(
        2, "calibrate", tmp_path / "plain.safetensors", tmp_path / "rows.npz", "--group", "g", "--out", out
    )
    assert "groups need a table" in line


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        ({}, ["--alpha", "0.02"], ["at least 49 rows"]),
        ({}, ["--alpha", "1"], ["alpha"]),
        ({}, ["--method", "naive"], ["lac or aps"]),
        ({}, ["--group", "absent"], ["absent", "source"]),
        ({}, ["--max-quality-loss", "0.1"], ["routers"]),
        ({"intent": ["dance"] * 30}, [], ["dance", "30 rows"]),
        ({"intent": [None] * 30}, [], ["intent", "number 1"]),
        ({"text": [""] * 30}, [], ["text", "number 1"]),
        ({"text": texts(400, 0)[0][:30]}, [], ["trained on"]),
    ],
)
def test_what_cannot_be_calibrated_is_refused(
    classifier: Path, tmp_path: Path, change: dict[str, list[str]], options: list[str], words: list[str]
) -> None:
    path = write({**table(30, 5), **change}, tmp_path / "rows.csv")
    line = fails(2, "calibrate", classifier, path, "--out", tmp_path / "x", *options)
    assert all(word in line for word in words), line
    assert [each.name for each in tmp_path.iterdir()] == ["rows.csv"]


def test_a_router_takes_none_of_these_options(tmp_path: Path) -> None:
    rows = write(columns(20, 1), tmp_path / "rows.csv")
    for options in (["--alpha", "0.1"], ["--group", "eval_name"], ["--label", "cheap"]):
        line = fails(2, "calibrate", "default", rows, "--out", tmp_path / "x", *options)
        assert "for classifiers" in line
