"""Kinds of tasks: the shipped artifact's answers, and what is refused."""

from __future__ import annotations

import json
import pickle

import pytest

from tiny_dancer import ArtifactError, ArtifactSelfCheckError, RequestError, TaskClassifier, _core

LARGEST = 1 << 20
CATEGORIES = {
    "brainstorming",
    "chatbot",
    "classification",
    "closed_qa",
    "code_generation",
    "extraction",
    "open_qa",
    "other",
    "rewrite",
    "summarization",
    "text_generation",
}
PASSAGE = "The mill stood by the river for two hundred years until a flood took its wheel and the miller left. "
PLAIN = {
    "code_generation": "Write a Python function that merges two sorted lists without using sorted().",
    "summarization": f"Summarize the following passage in one sentence: {PASSAGE * 3}",
    "open_qa": "What is the capital of Mongolia?",
    "brainstorming": "Give me ten ideas for a birthday party for a six year old.",
    "text_generation": "Write a short story about a lighthouse keeper who has lost his voice.",
    "closed_qa": f"{PASSAGE * 3}Question: Why did the miller leave, according to the passage?",
}


@pytest.fixture(scope="module")
def classifier() -> TaskClassifier:
    return TaskClassifier.default()


def test_the_shipped_artifact_knows_the_categories_and_is_small(classifier: TaskClassifier) -> None:
    assert set(classifier.categories) == CATEGORIES
    assert len(_core.data_file("tasks.safetensors")) <= LARGEST


@pytest.mark.parametrize("category", PLAIN)
def test_plain_requests_get_their_category(classifier: TaskClassifier, category: str) -> None:
    found = classifier.predict([PLAIN[category]])[0]
    assert found.best == category


def test_every_number_is_in_its_range_and_what_no_data_supports_is_named(classifier: TaskClassifier) -> None:
    for found in classifier.predict([*PLAIN.values(), "?", "x" * 20_000, "你好", "a\u200bb"]):
        assert sum(found.probabilities) == pytest.approx(1, abs=1e-5)
        assert found.confidence == max(found.probabilities)
        assert found.category in (found.best, "unknown")
        assert found.confidence >= classifier.header["threshold"] or found.category == "unknown"
        assert list(found.complexity) == [
            "reasoning",
            "creativity",
            "domain_knowledge",
            "contextual_knowledge",
            "constraints",
        ]
        scores = [*found.complexity.values(), *found.capability_scores.values(), found.structured_output or 0.0]
        assert all(0 <= score <= 1 for score in scores)
        assert set(found.capabilities) == {name for name, at in found.capability_scores.items() if at >= 0.5}
        assert 1 <= found.weak_quality <= 5
        assert {"capabilities", "complexity", "structured_output", "language"} <= set(found.heuristic)
        measured = found.category in classifier.header["weak"]["measured"]
        assert ("weak_quality" in found.heuristic) == (not measured)


def test_what_is_declared_follows_what_the_text_says(classifier: TaskClassifier) -> None:
    bare, form = classifier.predict(
        ["List the planets and their moons.", "List the planets and their moons as JSON with this schema."]
    )
    assert form.structured_output > 0.5 > bare.structured_output  # type: ignore[operator]
    poem, sum_ = classifier.predict(["Write a poem about the sea.", "What is 17 * 23 + 4?"])
    assert poem.complexity["creativity"] > 0.5 > sum_.complexity["creativity"]
    asked = classifier.predict(["Please give me a translation of this into French: good day"])[0]
    assert "translation" in asked.capabilities


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("What is the name of the river that flows to the sea?", "en"),
        ("Was ist der Name des Flusses, und wie lang ist er?", "de"),
        ("Quel est le nom du fleuve qui traverse la ville ?", "fr"),
        ("¿Cómo se llama el río que pasa por la ciudad?", "es"),
        ("川の名前は何ですか。", "ja"),
        ("这条河叫什么名字", "zh"),
        ("강의 이름은 무엇입니까", "ko"),
        ("Как называется эта река?", "ru"),
        ("12 + 30", None),
    ],
)
def test_language_is_told_by_script_or_words(classifier: TaskClassifier, text: str, language: str | None) -> None:
    assert classifier.predict([text])[0].language == language


def test_what_is_like_nothing_is_unknown(classifier: TaskClassifier) -> None:
    strange = ["zxqv wjk pfff", "qqq", "川の名前は何ですか。"]
    assert [each.category for each in classifier.predict(strange)] == ["unknown"] * 3


def test_one_text_and_many_get_the_same_answer_through_either_door(classifier: TaskClassifier) -> None:
    texts = [*PLAIN.values()] * 20
    many = classifier.predict(texts)
    assert many == [classifier.predict([text])[0] for text in PLAIN.values()] * 20
    engine = _core.Tasks(_core.data_file("tasks.safetensors"), _core.encoder())
    answer = json.loads(engine.classify_json(json.dumps({"text": texts[0]})))
    assert answer["category"] == many[0].category and answer["confidence"] == many[0].confidence
    assert pickle.loads(pickle.dumps(classifier)).predict(texts[:2]) == many[:2]


@pytest.mark.parametrize(
    ("texts", "field"),
    [
        (["fine", "  \n"], "requests[1].text"),
        (["\ud800"], "requests[0].text"),
        ([3], "requests[0].text"),
        ("one", "texts"),
    ],
)
def test_bad_texts_are_refused_by_place(classifier: TaskClassifier, texts: list[str], field: str) -> None:
    with pytest.raises(RequestError) as caught:
        classifier.predict(texts)
    assert caught.value.field == field


@pytest.mark.parametrize("request_", ["", "[]", '{"text": 3}', '{"text": "a", "more": 1}'])
def test_json_that_is_no_request_is_refused(request_: str) -> None:
    engine = _core.Tasks(_core.data_file("tasks.safetensors"), _core.encoder())
    with pytest.raises(RequestError, match="request"):
        engine.classify_json(request_)


def test_another_kind_of_artifact_is_refused() -> None:
    with pytest.raises(ArtifactError, match="kind: 'request-router'"):
        TaskClassifier(_core.data_file("default.safetensors"))
    with pytest.raises(ArtifactError):
        TaskClassifier.from_file("no such file")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("categories", ["unknown"] * 11),
        ("temperature", 0.0),
        ("threshold", 1.5),
        ("least_known", -0.1),
        ("spec", "9"),
        ("languages", {"en": ["two words"]}),
        ("heuristics", [{"name": "a", "group": "capability", "bias": 0.0, "cues": {"no_cue": 1.0}}]),
        ("weak", {"bias": 0.0, "knots": [1.0, 0.0], "values": [0.0, 1.0], "measured": []}),
    ],
)
def test_headers_that_mean_nothing_are_refused(field: str, value: object) -> None:
    data = _core.data_file("tasks.safetensors")
    with pytest.raises(ArtifactError):
        TaskClassifier(_core.with_header(data, {**_core.read_header(data), field: value}))


def test_an_artifact_that_answers_otherwise_than_where_it_was_made_is_refused() -> None:
    data = _core.data_file("tasks.safetensors")
    header = _core.read_header(data)
    with pytest.raises(ArtifactSelfCheckError):
        TaskClassifier(_core.with_header(data, {**header, "temperature": header["temperature"] * 2}))
