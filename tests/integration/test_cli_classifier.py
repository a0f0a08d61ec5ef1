"""`tiny-dancer classifier`: train, predict and evaluate as a user does."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from tests.commands import done, fails

WORDS = {
    "alarm": ["wake me up at seven", "set an alarm for noon", "alarm for six please", "wake me at nine"],
    "weather": ["will it rain today", "is it sunny outside", "weather for tomorrow", "how warm will it get"],
    "music": ["play some jazz", "put on a song", "play my morning songs", "start the music again"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Texts and vectors of our own making, and a classifier of each."""
    path = tmp_path_factory.mktemp("classifier")
    rows = [(f"{text} {ending}", name) for name, texts in WORDS.items() for text in texts for ending in "abcdefgh"]
    texts, labels = ([row[column] for row in rows] for column in (0, 1))
    parquet.write_table(pa.table({"text": texts, "intent": labels}), path / "texts.parquet")
    held_out = [(f"{text} now", name) for name, each in WORDS.items() for text in each]
    table = {"text": [row[0] for row in held_out], "intent": [row[1] for row in held_out]}
    parquet.write_table(pa.table(table), path / "held-out.parquet")
    generator = np.random.default_rng(0)
    label = np.arange(120) % 3
    x = generator.normal(0, 0.3, (120, 3, 4))
    x[np.arange(120), label, 0] += 2
    np.savez(path / "vectors.npz", x=x, y=label)
    said = done(
        *("classifier", "train", path / "texts.parquet", "--validation", path / "held-out.parquet"),
        *("--out", path / "bag.safetensors", "--model", "bag"),
    )
    assert "bag, as asked" in said
    return path


def test_a_fastgrnn_is_trained_applied_and_judged(folder) -> None:
    out = folder / "cell.safetensors"
    said = done(
        *("classifier", "train", folder / "vectors.npz", "--out", out, "--model", "fastgrnn"),
        *("--hidden", "8", "--form", "sparse", "--sparsity", "0.5", "--seed", "3"),
    )
    for phase in ("baseline, f32", "distilled, f32", "sparse"):
        assert phase in said
    assert "50.0% of W" in said
    assert not (folder / "cell.safetensors.training").exists()
    judged = json.loads(done("classifier", "evaluate", out, folder / "vectors.npz", "--json"))
    assert judged["rows"] == 120
    assert judged["trained_on"] == pytest.approx(0.8, abs=0.03), "a fifth was held out"
    assert "were trained on" in done("classifier", "evaluate", out, folder / "vectors.npz")
    assert judged["accuracy"] > 0.9
    assert judged["interval"][0] < judged["accuracy"] <= judged["interval"][1]
    done("classifier", "predict", out, folder / "vectors.npz", "--out", folder / "p.parquet")
    found = parquet.read_table(folder / "p.parquet")
    assert found.column_names == ["label", "probability", "probabilities"]
    right = np.array(found["label"].to_pylist()) == np.load(folder / "vectors.npz")["y"].astype(str)
    assert right.mean() == pytest.approx(judged["accuracy"])
    rows = np.array(found["probabilities"].to_pylist())
    assert rows.shape == (120, 3)
    assert rows.sum(1) == pytest.approx(np.ones(120), abs=1e-5)
    assert rows.max(1) == pytest.approx(found["probability"].to_numpy(), abs=1e-6)


def test_texts_are_labelled_without_their_labels(folder) -> None:
    said = done("classifier", "evaluate", folder / "bag.safetensors", folder / "held-out.parquet")
    assert "accuracy" in said
    assert "12 rows" in said
    (folder / "bare.csv").write_text("text\nplay a song\nwake me at ten\n")
    done("classifier", "predict", folder / "bag.safetensors", folder / "bare.csv", "--out", folder / "q.parquet")
    assert parquet.read_table(folder / "q.parquet")["label"].to_pylist() == ["music", "alarm"]


def test_rows_with_unknown_labels_are_counted_and_left_out(folder) -> None:
    (folder / "odd.csv").write_text("text,label\nplay a song,music\nbuy bread,shopping\n")
    judged = json.loads(done("classifier", "evaluate", folder / "bag.safetensors", folder / "odd.csv", "--json"))
    assert (judged["rows"], judged["unknown"], judged["accuracy"]) == (1, 1, 1.0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("train", "{f}/texts.parquet", "--out", "{f}/x", "--model", "forest"), "model: forest"),
        (("train", "{f}/texts.parquet", "--out", "{f}/x", "--form", "int2"), "form: int2"),
        (("train", "{f}/texts.parquet", "--out", "{f}/x", "--label", "kind"), "kind: no such column"),
        (("train", "{f}/texts.parquet", "--out", "{f}/no/x"), "write to a folder that exists"),
        (("train", "{f}/texts.parquet", "--out", "{f}/x", "--validation", "{f}/vectors.npz"), "other inputs"),
        (("train", "{f}/absent.npz", "--out", "{f}/x"), "no such file"),
        (("train", "{f}/alike.csv", "--out", "{f}/x"), "too few different rows of music, talk"),
        (("evaluate", "{f}/bag.safetensors", "{f}/vectors.npz"), "none of the labels"),
        (("predict", "{f}/texts.parquet", "{f}/texts.parquet", "--out", "{f}/x"), "error: "),
        (("predict", "{f}/bag.safetensors", "{f}/vectors.npz", "--out", "{f}/x"), "error: "),
    ],
)
def test_bad_input_ends_in_one_line(folder, arguments, said) -> None:
    (folder / "alike.csv").write_text("text,label\n" + "play a song,music\nhello,talk\n" * 20)
    assert said in fails(2, "classifier", *(each.format(f=folder) for each in arguments))
