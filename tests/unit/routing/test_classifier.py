"""Classifiers: the engine's answers in numpy's words, shapes, batches, and what is refused."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiny_dancer import (
    ArtifactChecksumError,
    ArtifactError,
    ArtifactSelfCheckError,
    Classifier,
    EncoderMissingError,
    RequestError,
    Router,
    _core,
)

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    Array = npt.NDArray[Any]

DIMENSIONS, HIDDEN, LABELS = 6, 9, ("yes", "no", "déjà vu")
TEXTS = ("what is my balance", "move the unaffordable meeting to friday", "x", "\U0001f600")


def header(**fields: Any) -> dict[str, Any]:
    return {
        "format": _core.FORMAT,
        "kind": "classifier",
        "version": "1.2.3",
        "labels": list(LABELS),
        "input": {"kind": "vectors", "dimensions": DIMENSIONS},
        "model": {"kind": "fastgrnn"},
        "temperature": 1.5,
        "metrics": {"accuracy": 0.5},
        **fields,
    }


def tokens(**fields: Any) -> dict[str, Any]:
    return {"kind": "tokens", "encoder": _core.encoder().checksum, "most_steps": 8, "scale": 0.0078125, **fields}


def cell(seed: int, dimensions: int) -> dict[str, Array]:
    """A cell in f32."""
    random = np.random.default_rng(seed)
    return {
        "cell.zeta": np.array([1.0], "<f4"),
        "cell.nu": np.array([-2.0], "<f4"),
        "cell.gate_bias": random.normal(size=HIDDEN).astype("<f4"),
        "cell.update_bias": random.normal(size=HIDDEN).astype("<f4"),
        "cell.activation": np.array([0], "u1"),
        "cell.input_weight": random.normal(0, 0.3, size=(HIDDEN, dimensions)).astype("<f4"),
        "cell.recurrent_weight": random.normal(0, 0.3, size=(HIDDEN, HIDDEN)).astype("<f4"),
    }


def head(seed: int, width: int) -> dict[str, Array]:
    random = np.random.default_rng(seed)
    weight = random.normal(size=(len(LABELS), width)).astype("<f4")
    return {"head.weight": weight, "head.bias": random.normal(size=len(LABELS)).astype("<f4")}


def of_vectors(seed: int = 0) -> tuple[Classifier, dict[str, Array]]:
    tensors = cell(seed, DIMENSIONS) | head(seed, HIDDEN)
    return Classifier.from_bytes(_core.artifact_bytes(header(), tensors)), tensors


def of_texts(seed: int = 0) -> tuple[Classifier, dict[str, Array]]:
    tensors = cell(seed, _core.EMBEDDING_DIMENSIONS) | head(seed, HIDDEN)
    return Classifier.from_bytes(_core.artifact_bytes(header(input=tokens()), tensors)), tensors


def states(tensors: dict[str, Array], steps: Array) -> Array:
    """The last state by the paper's equations, in float64."""

    def sigmoid(x: Array) -> Array:
        return 1 / (1 + np.exp(-x.astype(np.float64)))

    state = np.zeros(HIDDEN)
    for step in steps:
        shared = tensors["cell.input_weight"] @ step + tensors["cell.recurrent_weight"] @ state
        gate = sigmoid(shared + tensors["cell.gate_bias"])
        candidate = np.tanh(shared + tensors["cell.update_bias"])
        share = sigmoid(tensors["cell.zeta"]) * (1 - gate) + sigmoid(tensors["cell.nu"])
        state = share * candidate + gate * state
    return state


def logits(tensors: dict[str, Array], state: Array) -> Array:
    result: Array = tensors["head.weight"] @ state + tensors["head.bias"]
    return result


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 12), min_size=1, max_size=5))
@settings(max_examples=40, deadline=None)
def test_sequences_of_vectors_follow_the_equations(seed: int, lengths: list[int]) -> None:
    classifier, tensors = of_vectors()
    random = np.random.default_rng(seed)
    sequences = [random.normal(size=(length, DIMENSIONS)) for length in lengths]
    expected = np.array([logits(tensors, states(tensors, each.astype("<f4"))) for each in sequences])
    found = classifier.predict_logits(sequences)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
    scaled = np.exp(found / 1.5)
    np.testing.assert_allclose(
        classifier.predict_proba(sequences), scaled / scaled.sum(axis=1, keepdims=True), atol=1e-6
    )


@given(st.lists(st.sampled_from(TEXTS), min_size=1, max_size=4).map(" ".join))
@settings(max_examples=40, deadline=None)
def test_texts_step_through_the_tokens_that_training_sees(text: str) -> None:
    classifier, tensors = of_texts()
    offsets, ids = _core.token_steps([text, "another"], 8)
    assert offsets[1] <= 8 and offsets[0] == 0 and offsets[2] == len(ids)
    steps = _core.token_rows()[ids[: offsets[1]]].astype("<f4") * np.float32(0.0078125)
    np.testing.assert_allclose(
        classifier.predict_logits([text])[0], logits(tensors, states(tensors, steps)), rtol=0, atol=1e-4
    )


def test_of_long_texts_the_first_and_last_tokens_are_kept() -> None:
    words = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
    _, ids = _core.token_steps(words, 8)
    assert len(ids) == len(words), "each is one token"
    _, kept = _core.token_steps([" ".join(words)], 8)
    assert kept.tolist() == [*ids[:6], *ids[-2:]]


def test_a_bag_is_the_unit_embedding_of_a_text_and_the_mean_of_vectors() -> None:
    tensors = head(3, _core.EMBEDDING_DIMENSIONS)
    artifact = _core.artifact_bytes(header(input=tokens(), model={"kind": "bag"}), tensors)
    found = Classifier.from_bytes(artifact).predict_logits(list(TEXTS))
    expected = _core.encode(TEXTS) @ tensors["head.weight"].T + tensors["head.bias"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    tensors = head(3, DIMENSIONS)
    classifier = Classifier.from_bytes(_core.artifact_bytes(header(model={"kind": "bag"}), tensors))
    vectors = np.random.default_rng(1).normal(size=(5, 4, DIMENSIONS))
    expected = vectors.mean(axis=1) @ tensors["head.weight"].T + tensors["head.bias"]
    np.testing.assert_allclose(classifier.predict_logits(vectors), expected, rtol=0, atol=1e-5)


def test_what_is_said_of_one_input() -> None:
    classifier, _ = of_texts()
    found = classifier.predict(list(TEXTS))
    probabilities = classifier.predict_proba(list(TEXTS))
    for one, row in zip(found, probabilities, strict=True):
        assert one.label == LABELS[row.argmax()]
        assert one.probability == row.max() == one.probabilities[one.label]
        assert tuple(one.probabilities) == LABELS
        assert one.artifact_version == "1.2.3"
        assert one.prediction_set is None
    assert classifier.labels == LABELS
    assert classifier.header["metrics"] == {"accuracy": 0.5}


def test_every_shape_of_the_same_sequences_gives_the_same() -> None:
    classifier, _ = of_vectors()
    vectors = np.random.default_rng(2).normal(size=(4, 3, DIMENSIONS)).astype("<f4")
    found = classifier.predict_logits(vectors)
    for same in (
        list(vectors),
        [each.tolist() for each in vectors],
        vectors.astype(np.float64),
        np.asfortranarray(vectors),
        vectors[::-1][::-1],
    ):
        assert (classifier.predict_logits(same) == found).all()
    one_step = classifier.predict_logits(vectors[:, 0])
    assert (classifier.predict_logits(list(vectors[:, 0])) == one_step).all()
    assert (classifier.predict_logits(vectors[:, :1]) == one_step).all()
    assert classifier.predict([]) == []
    assert classifier.predict_proba([]).shape == (0, len(LABELS))


def test_a_batch_on_all_processors_and_from_many_threads_is_one_after_the_other() -> None:
    classifier, _ = of_texts()
    texts = [f"{text} {number}" for number in range(60) for text in TEXTS]
    expected = np.concatenate([classifier.predict_logits([text]) for text in texts])
    assert (classifier.predict_logits(texts) == expected).all()
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: classifier.predict_logits(texts), range(8)):
            assert (found == expected).all()


def test_copies_and_pickles_answer_alike(tmp_path: Path) -> None:
    classifier, tensors = of_texts()
    path = tmp_path / "intents.safetensors"
    path.write_bytes(_core.artifact_bytes(header(input=tokens()), tensors))
    for other in (
        Classifier.from_file(path),
        Classifier.from_file(str(path)),
        pickle.loads(pickle.dumps(classifier)),
        copy.deepcopy(classifier),
    ):
        assert (other.predict_logits(list(TEXTS)) == classifier.predict_logits(list(TEXTS))).all()


@pytest.mark.parametrize(
    ("texts", "field"),
    [
        ("one text", "inputs"),
        (b"bytes", "inputs"),
        (["fine", ""], "requests[1].text"),
        (["fine", " \n"], "requests[1].text"),
        (["a\ud800b"], "requests[0].text"),
        ([None], "requests[0].text"),
        ([["nested"]], "requests[0].text"),
        (np.zeros((2, DIMENSIONS)), "requests[0].text"),
        (5, "inputs"),
        (None, "inputs"),
    ],
)
def test_texts_that_cannot_be_labelled(texts: Any, field: str) -> None:
    with pytest.raises(RequestError) as caught:
        of_texts()[0].predict(texts)
    assert caught.value.field == field
    assert caught.value.remedy


GOOD = np.zeros((3, DIMENSIONS))


def spoilt(value: float) -> Array:
    vectors = np.zeros((2, 3, DIMENSIONS))
    vectors[1, 2, 4] = value
    return vectors


@pytest.mark.parametrize(
    ("vectors", "field"),
    [
        (spoilt(np.nan), "requests[1].vectors[2][4]"),
        (spoilt(np.inf), "requests[1].vectors[2][4]"),
        (spoilt(-1e300), "requests[1].vectors[2][4]"),
        (spoilt(1e10), "requests[1].vectors[2][4]"),
        (np.zeros((2, 3, DIMENSIONS + 1)), "inputs"),
        (np.zeros(DIMENSIONS), "inputs"),
        (np.zeros((1, 2, 3, DIMENSIONS)), "inputs"),
        (np.zeros((2, 0, DIMENSIONS)), "requests[0].vectors"),
        ([GOOD, np.zeros((0, DIMENSIONS))], "requests[1].vectors"),
        ([GOOD, np.zeros((2, DIMENSIONS - 1))], "inputs[1]"),
        ([GOOD, np.float32(1)], "inputs[1]"),
        ([GOOD, [[1.0], [2.0, 3.0]]], "inputs[1]"),
        ([GOOD, [["a"] * DIMENSIONS]], "inputs[1]"),
        ([GOOD, [[1j] * DIMENSIONS]], "inputs[1]"),
        (np.zeros((2, 3, DIMENSIONS), dtype=object), "inputs"),
        (["a text"], "inputs[0]"),
        ("a text", "inputs"),
        (7, "inputs"),
    ],
)
def test_vectors_that_cannot_be_labelled(vectors: Any, field: str) -> None:
    with pytest.raises(RequestError) as caught:
        of_vectors()[0].predict(vectors)
    assert caught.value.field == field
    assert caught.value.remedy


def test_artifacts_that_cannot_be_used(tmp_path: Path) -> None:
    tensors = cell(0, _core.EMBEDDING_DIMENSIONS) | head(0, HIDDEN)
    with pytest.raises(ArtifactError, match="missing"):
        Classifier.from_file(tmp_path / "missing.safetensors")
    with pytest.raises(ArtifactError) as caught:
        Classifier.from_file("default")
    assert caught.value.field == "kind"
    sound = _core.artifact_bytes(header(input=tokens()), tensors)
    with pytest.raises(ArtifactError):
        Router(sound)
    with pytest.raises(ArtifactChecksumError):
        Classifier.from_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    with pytest.raises(EncoderMissingError):
        Classifier.from_bytes(_core.artifact_bytes(header(input=tokens(encoder="another")), tensors))
    check = {"input": TEXTS[0], "label": "no", "probabilities": [0.2, 0.5, 0.3]}
    with pytest.raises(ArtifactSelfCheckError):
        Classifier.from_bytes(_core.artifact_bytes(header(input=tokens(), self_check=[check]), tensors))
    for name in tensors:
        lacking = {other: tensor for other, tensor in tensors.items() if other != name}
        with pytest.raises(ArtifactError) as lacked:
            Classifier.from_bytes(_core.artifact_bytes(header(input=tokens()), lacking))
        assert lacked.value.field == name


def test_recorded_answers_load() -> None:
    classifier, tensors = of_texts()
    (one,) = classifier.predict([TEXTS[1]])
    check = {"input": TEXTS[1], "label": one.label, "probabilities": list(one.probabilities.values())}
    artifact = _core.artifact_bytes(header(input=tokens(), self_check=[check]), tensors)
    assert Classifier.from_bytes(artifact).header["self_check"][0]["label"] == one.label
