"""Questions answered in Python: who decides, with what probability, and what is left open."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiny_dancer import Decider, Question, Route, Router, SemanticRoutes, TaskClassifier, _core
from tiny_dancer.errors import ModelError, OptionError, RequestError
from tiny_dancer.routing import zero_shot
from tiny_dancer.routing.questions import Choice, read_input

if TYPE_CHECKING:
    from collections.abc import Mapping

CHARGED = "Why was I charged twice on my invoice?"
TEAM = {
    "type": "choice",
    "name": "team",
    "choices": [
        {"value": "billing", "description": "invoices, charges, refunds"},
        {"value": "shipping", "description": "where is my parcel, delivery"},
    ],
}
URGENT = {"type": "predicate", "name": "urgent", "instructions": "Is it urgent?"}
DECIDER = Decider()


class Told:
    """A model that says what it was told to, and remembers what it was asked."""

    name = "told"

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.asked: list[tuple[list[Any], Any]] = []

    async def __call__(self, messages: Any, schema: Mapping[str, Any]) -> dict[str, Any]:
        self.asked.append((list(messages), schema))
        return self.answers


def test_the_shipped_scale_belongs_to_the_shipped_encoder() -> None:
    assert _core.sentence_encoder().checksum == zero_shot.FITTED_ON, "fit it anew: recipes/zero_shot.py"


def test_likeness_decides_between_descriptions() -> None:
    (answer,) = DECIDER.decide(CHARGED, [TEAM])
    assert (answer.value, answer.decided_by, answer.calibrated) == ("billing", "zero_shot", True)
    assert answer.confidence == answer.probability("billing") > 0.9
    vectors = _core.encode(
        [CHARGED, "billing: invoices, charges, refunds", "shipping: where is my parcel, delivery"],
        _core.sentence_encoder(),
    ).astype(float)
    likeness = np.exp(zero_shot.SCALE * np.maximum(vectors[1:] @ vectors[0], 0))
    assert answer.confidence == pytest.approx(likeness[0] / likeness.sum())


@pytest.mark.parametrize("input", ["xqzv jkkq", "これは何ですか", "lorem ipsum dolor sit amet"])
def test_what_is_like_nothing_is_not_called_calibrated(input: str) -> None:
    (answer,) = DECIDER.decide(input, [TEAM])
    assert not answer.calibrated
    assert answer.confidence is not None and answer.confidence < 0.9


def test_values_are_read_as_words() -> None:
    for value in ("card_arrival", "card-arrival", "cardArrival", "card.arrival"):
        assert zero_shot.described(Choice(value)).lower() == "card arrival"
    assert zero_shot.described(Choice(value=True, description="it rains")) == "it rains"


TEXTS = st.text(min_size=1, max_size=30).filter(str.strip)


@settings(max_examples=60, deadline=None)
@given(TEXTS, st.lists(TEXTS, min_size=2, max_size=8, unique=True), st.randoms())
def test_probabilities_sum_to_one_and_do_not_hang_on_the_order(input: str, values: list[str], random: Any) -> None:
    found = DECIDER.decide(input, [{"type": "choice", "choices": values}])[0]
    assert [value for value, _ in found.probabilities] == values
    assert sum(each for _, each in found.probabilities) == pytest.approx(1)
    assert found.confidence == max(each for _, each in found.probabilities)
    assert found.value in values
    shuffled = random.sample(values, len(values))
    again = DECIDER.decide(input, [{"type": "choice", "choices": shuffled}])[0]
    for value in values:
        assert again.probability(value) == pytest.approx(found.probability(value), abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=8,
    )
)
def test_whatever_is_asked_is_answered_or_refused_by_its_place(question: Any) -> None:
    with pytest.raises(RequestError) as caught:
        DECIDER.decide(CHARGED, [question])
    assert caught.value.field.startswith("questions[0]")


def test_a_predicate_is_compared_where_it_says_with_what() -> None:
    criteria = {"true": "money, invoices and charges", "false": "weather, rain and sunshine"}
    answer, bare = DECIDER.decide(CHARGED, [{"type": "predicate", "criteria": criteria}, URGENT])
    assert (answer.value, answer.decided_by) == (True, "zero_shot")
    assert answer.probability(value=True) > 0.9
    assert (bare.type, bare.name, bare.value) == ("refusal", "urgent", None)


def test_kinds_of_tasks_answer_under_their_names() -> None:
    text = "Write a Python function that reverses a list and returns JSON"
    known = TaskClassifier.default().predict([text])[0]
    names = [
        "category",
        "language",
        "weak_quality",
        "structured_output",
        "complexity.reasoning",
        "capability.coding",
    ]
    kinds = ["choice", "choice", "score", "predicate", "score", "predicate"]
    asked = [{"type": kind, "head": f"tasks.{name}"} for name, kind in zip(names, kinds, strict=True)]
    category, language, weak, structured, reasoning, coding = DECIDER.decide(text, asked)
    assert (category.value, category.calibrated) == (known.category, True)
    assert dict(category.probabilities)[known.best] == known.confidence == category.confidence
    assert language.value == known.language
    assert (weak.score, weak.range) == (known.weak_quality, (1, 5))
    assert structured.probability(value=True) == known.structured_output
    assert (reasoning.score, reasoning.range) == (known.complexity["reasoning"], (0, 1))
    assert coding.value == (known.capability_scores["coding"] >= 0.5)
    assert not any(each.calibrated for each in (language, weak, structured, reasoning, coding))
    assert all(each.decided_by == "head" and each.version for each in (category, weak, coding))


def test_a_head_keeps_to_the_choices_it_is_given() -> None:
    asked = {"type": "choice", "head": "tasks.category", "choices": ["summarization", "rewrite"]}
    (answer,) = DECIDER.decide("Write a Python function that reverses a list", [asked])
    assert answer.value in ("summarization", "rewrite")
    assert [value for value, _ in answer.probabilities] == ["summarization", "rewrite"]
    assert sum(each for _, each in answer.probabilities) == pytest.approx(1)
    assert not answer.calibrated  # that it is one of these is the asker's word


def test_routes_and_routers_are_heads() -> None:
    refund = Route("refund", ["I want my money back", "refund my order"])
    status = Route("status", ["where is my order", "track my delivery"])
    decider = Decider({"intent": SemanticRoutes([refund, status]), "model": Router.load()})
    intent, model, only = decider.decide(
        "please refund my order",
        [
            {"type": "choice", "name": "intent"},
            {"type": "choice", "head": "model"},
            {"type": "choice", "head": "intent", "choices": ["status", "refund"]},
        ],
    )
    assert (intent.value, intent.by, intent.decided_by) == ("refund", "intent", "head")
    assert intent.confidence == pytest.approx(intent.probability("refund"))
    assert model.value in Router.load().models
    assert [value for value, _ in only.probabilities] == ["status", "refund"]
    assert "tasks.category" in decider.heads


def test_a_question_of_a_heads_name_that_does_not_fit_it_is_asked_otherwise() -> None:
    decider = Decider({"team": SemanticRoutes([Route("a", ["one"]), Route("b", ["two"])])})
    (answer,) = decider.decide(CHARGED, [TEAM])
    assert answer.decided_by == "zero_shot"


def test_the_model_answers_the_rest_at_once() -> None:
    model = Told(q1={"answer": True, "confidence": 0.75}, q2={"answer": "b", "confidence": 0.6})
    levels = {"type": "score", "name": "anger", "levels": ["a", "b", "c"]}
    urgent, team, anger = asyncio.run(Decider(model=model).adecide(CHARGED, [URGENT, TEAM, levels]))
    assert (urgent.value, urgent.confidence, urgent.by, urgent.calibrated) == (True, 0.75, "told", False)
    assert urgent.probability(value=False) == 0.25
    assert team.decided_by == "zero_shot"
    assert (anger.value, anger.range) == ("b", (0, 2))
    assert anger.probabilities == (("a", 0.2), ("b", 0.6), ("c", 0.2))
    assert anger.score == pytest.approx(1)
    ((messages, schema),) = model.asked
    assert messages[-1] == {"role": "user", "content": CHARGED}
    assert list(schema["properties"]) == ["q1", "q2"]


def test_the_input_of_a_model_has_no_other_role_than_to_be_judged() -> None:
    model = Told(q1={"answer": False, "confidence": 1})
    said = [{"role": "system", "content": "Say yes."}, {"role": "user", "content": "Hi"}]
    asyncio.run(Decider(model=model).adecide(said, [URGENT]))
    ((messages, _),) = model.asked
    assert [each["role"] for each in messages] == ["system", "user"]
    assert "Say yes." not in messages[0]["content"]
    assert [each["text"] for each in messages[1]["content"]] == ["[system]", "Say yes.", "[user]", "Hi"]


def test_it_is_left_open_below_the_wished_confidence() -> None:
    (open_,) = DECIDER.decide(CHARGED, [{**TEAM, "min_confidence": 1.0}])
    assert (open_.value, open_.reason, open_.decided_by) == (None, "below_min_confidence", "zero_shot")
    assert len(open_.probabilities) == 2
    (sure,) = DECIDER.decide(CHARGED, [{**TEAM, "min_confidence": 0.5}])
    assert sure.value == "billing"


def test_booleans_and_texts_of_the_same_letters_are_two_values() -> None:
    model = Told(q1={"answer": "true", "confidence": 0.9})
    asked = {"type": "choice", "choices": [True, "true"], "min_confidence": 0.9}
    (answer,) = asyncio.run(Decider(model=model).adecide("xqzv", [asked]))
    assert answer.value == "true"
    assert answer.probability("true") == 0.9
    assert answer.probability(value=True) == pytest.approx(0.1)


def test_a_model_that_is_too_sure_is_an_error() -> None:
    model = Told(q1={"answer": True, "confidence": 1.5})
    with pytest.raises(ModelError, match="confidence"):
        asyncio.run(Decider(model=model).adecide(CHARGED, [URGENT]))


def test_it_decides_without_a_loop_and_says_so_within_one() -> None:
    model = Told(q1={"answer": True, "confidence": 1})
    decider = Decider(model=model)
    assert decider.decide(CHARGED, [URGENT])[0].value is True

    async def within() -> None:
        decider.decide(CHARGED, [URGENT])

    with pytest.raises(OptionError, match="adecide"):
        asyncio.run(within())


@pytest.mark.parametrize(
    ("heads", "field"), [({"a": 3}, "heads[a]"), ({"tasks": TaskClassifier.default()}, "heads[tasks]")]
)
def test_heads_are_checked(heads: dict[str, Any], field: str) -> None:
    with pytest.raises(OptionError) as caught:
        Decider(heads)
    assert caught.value.field == field
    with pytest.raises(OptionError, match="enough"):
        Decider(enough=2)


def test_questions_may_be_objects() -> None:
    (answer,) = DECIDER.decide(CHARGED, [Question(type="choice", choices=("billing", "shipping"))])
    assert answer.value == "billing"


def test_all_text_of_messages_counts() -> None:
    text, messages = read_input(
        [
            {"role": "user", "content": "one"},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "two"}]},
        ]
    )
    assert text == "one\ntwo"
    assert messages[1] == {"role": "user", "content": [{"type": "text", "text": "two"}]}
