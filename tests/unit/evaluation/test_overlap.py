"""Rows remembered in a filter."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest
from tests.disguises import ADDED, DISGUISES

from tiny_dancer.errors import DataError
from tiny_dancer.evaluation.disguise import Texts
from tiny_dancer.evaluation.overlap import (
    MOST_SEEN,
    held_out,
    optimistic,
    remember,
    remember_inputs,
    training_inputs,
    training_rows,
)
from tiny_dancer.routing import featurise

SYLLABLES = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]
WORDS = [a + b + c for a in SYLLABLES for b in SYLLABLES for c in "nrst"]


def texts(count: int, seed: int = 0, words: int = 25) -> list[str]:
    random = np.random.default_rng(seed)
    return [" ".join(WORDS[word] for word in row) for row in random.integers(0, len(WORDS), (count, words))]


def header(memory: dict) -> dict:
    return {"training": {"rows_seen": json.loads(json.dumps(memory))}, "input": {"kind": "tokens"}}


@pytest.fixture(scope="module")
def remembered() -> dict:
    return header(remember(featurise(texts(1000), None, None)))


def test_rows_that_were_remembered_are_found_in_any_order_and_part(remembered: dict) -> None:
    for some in (texts(1000)[::-1], texts(1000)[100:300]):
        found = training_rows(remembered, featurise(some))
        assert found.rows.all()
        assert found.share == pytest.approx(1.0)


def test_other_rows_are_not_found_and_mixtures_are_measured(remembered: dict) -> None:
    other = training_rows(remembered, featurise(texts(2000, 1)))
    assert other.share == 0.0
    assert other.rows.mean() <= 0.005
    mixed = training_rows(remembered, featurise(texts(1000)[:500] + texts(1500, 1)))
    assert abs(mixed.share - 0.25) < 0.01
    assert mixed.rows[:500].all()


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text + " Thanks!",
        lambda text: "Please: " + text,
        str.upper,
        lambda text: text.replace(" ", "  ", 3),
        lambda text: text[:60] + text[62:],
    ],
    ids=["thanks", "please", "case", "spaces", "typo"],
)
def test_training_rows_with_a_word_more_are_training_rows(remembered: dict, change) -> None:
    found = training_rows(remembered, featurise([change(text) for text in texts(1000)[:300]]))
    assert found.rows.mean() > 0.95
    assert found.share > 0.95
    with pytest.raises(DataError, match="held out from training"):
        held_out(found)


@pytest.mark.parametrize("kind", DISGUISES)
def test_training_rows_in_disguise_are_training_rows(kind: str) -> None:
    learnt = texts(400)
    memory = header(remember(featurise(learnt), Texts(learnt)))
    for count, seed, share in ((60, 0, 0.95), (120, 1, 0.0)):
        some = [DISGUISES[kind](text) for text in texts(count, seed)]
        found = training_rows(memory, featurise(some), Texts(some))
        assert found.rows.mean() >= share
        assert (found.share > 0.95) if share else (found.share == 0.0 and found.rows.mean() <= 0.02)


def test_of_many_rows_with_text_added_a_sample_is_looked_at() -> None:
    learnt = texts(400)
    memory = header(remember(featurise(learnt), Texts(learnt)))
    some = [ADDED["page behind"](text) for text in learnt] + texts(2600, 7)
    found = training_rows(memory, featurise(some), Texts(some))
    assert abs(found.share - 400 / 3000) < 0.03
    with pytest.raises(DataError, match="held out"):
        held_out(found)


def test_a_template_common_to_all_rows_does_not_make_them_kin() -> None:
    def wrapped(some: list[str]) -> list[str]:
        return [f"You are a careful assistant. Answer in one word only.\n{text}\nAnswer:" for text in some]

    memory = header(remember(featurise(wrapped(texts(600)), None, None)))
    assert training_rows(memory, featurise(wrapped(texts(600, 2)))).share == 0.0
    assert training_rows(memory, featurise(wrapped(texts(600)))).share == pytest.approx(1.0)


def test_rows_with_nothing_of_their_own_are_remembered_exactly() -> None:
    some, other = ([f"{number}" for number in range(*span)] for span in ((0, 300), (300, 600)))
    memory = header(remember(featurise(some, None, None)))
    assert training_rows(memory, featurise(some)).rows.all()
    assert not training_rows(memory, featurise([f"item {each}" for each in other])).rows.any()


def test_few_are_left_out_and_more_refused(remembered: dict) -> None:
    few = training_rows(remembered, featurise(texts(1000)[:15] + texts(985, 3)))
    assert 0 < few.share <= MOST_SEEN
    assert set(range(15)).isdisjoint(held_out(few).tolist())
    many = training_rows(remembered, featurise(texts(1000)[:30] + texts(970, 3)))
    with pytest.raises(DataError, match="about 3% of its rows"):
        held_out(many)
    assert "optimistic" in optimistic(many.share)
    assert optimistic(few.share) == ""


@pytest.mark.parametrize("rows", [1, 50, 9000])
def test_the_memory_is_bounded(rows: int) -> None:
    some = texts(rows, 4, 6)
    memory = remember(featurise(some), Texts(some))
    assert len(json.dumps(memory)) <= min(64 << 10, 1000 + 16 * rows)


def test_of_a_large_table_a_part_is_remembered_and_the_share_scaled_up() -> None:
    some = texts(12_000, 5, 8)
    memory = header(remember(featurise(some, None, None)))
    found = training_rows(memory, featurise(some[:2000] + texts(2000, 6, 8)))
    assert 0.35 < found.rows[:2000].mean() < 0.45
    assert abs(found.share - 0.5) < 0.05
    assert found.rows[2000:].mean() <= 0.005


def test_the_same_rows_give_the_same_filter() -> None:
    features = featurise(texts(50))
    assert remember(features) == remember(features.rows(np.arange(50)[::-1]))


def test_copies_alone_are_found_where_texts_are_short(remembered: dict) -> None:
    near = featurise([text + " Thanks!" for text in texts(1000)[:300]])
    assert training_rows(remembered, near, copies_only=True).rows.mean() < 0.5
    assert training_inputs(remembered, texts(1000)[:300]).rows.all()


def test_vectors_are_found_where_they_are_equal() -> None:
    vectors = np.random.default_rng(0).normal(size=(200, 2, 5)).astype(np.float32)
    memory = {**header(remember_inputs(vectors)), "input": {"kind": "vectors"}}
    assert training_inputs(memory, vectors[:50]).share == pytest.approx(1.0)
    assert training_inputs(memory, vectors[:50] + np.float32(1e-3)).share == 0.0


def test_a_memory_of_the_older_kind_still_finds_equal_rows() -> None:
    """Written as artifacts before this memory wrote it."""
    import hashlib

    features = featurise(texts(200))
    bits = 2048
    filled = np.zeros(bits, bool)
    for row in range(len(features)):
        start, end = features.ngram_offsets[row : row + 2]
        key = hashlib.blake2b(features.ngrams[start:end].tobytes(), digest_size=16)
        key.update(features.embedding[row].tobytes())
        filled[np.frombuffer(key.digest(), "<u4") % bits] = True
    memory = header({"bits": bits, "filter": base64.b85encode(np.packbits(filled).tobytes()).decode()})
    assert training_rows(memory, features).rows.all()
    assert training_rows(memory, featurise(texts(500, 9))).share == 0.0


def test_an_artifact_that_remembers_nothing_refuses_nothing() -> None:
    found = training_rows({"training": {}}, featurise(texts(20)))
    assert not found.rows.any()
    assert len(held_out(found)) == 20
