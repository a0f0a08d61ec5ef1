"""What answers questions without a model: fitted routes, the kinds of tasks, a router's decision."""

from __future__ import annotations

import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

from tiny_dancer.errors import OptionError
from tiny_dancer.routing.questions import Answer, Question
from tiny_dancer.routing.semantic import SemanticRoutes
from tiny_dancer.routing.tasks import TaskClassifier

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tiny_dancer.routing.questions import Kind
    from tiny_dancer.routing.tasks import TaskClassification
    from tiny_dancer.types import Decision

__all__ = ["Head", "heads_of"]

_SHORT = 20_000


class Decides(Protocol):
    """A router: :class:`tiny_dancer.Router`, or the resilient one."""

    @property
    def models(self) -> Any:
        """Names."""
        ...

    def route(self, request: Any, /, **options: Any) -> Decision:
        """One decision."""
        ...


class Head(Protocol):
    """Answers questions of one type.

    Attributes:
        type: of the questions.
    """

    type: Kind

    @property
    def labels(self) -> tuple[str, ...]:
        """Values it may answer with, in its own order; empty where they are no list."""
        ...

    def answer(self, text: str, question: Question) -> Answer:
        """The answer, whose name and ``by`` the caller fills in; the question's choices are among the labels."""
        ...


class RoutesHead:
    """A choice among routes."""

    type: Kind = "choice"

    def __init__(self, routes: SemanticRoutes) -> None:
        self._routes = routes
        self.labels = tuple(each.name for each in routes.routes)

    def answer(self, text: str, question: Question) -> Answer:
        """See :class:`Head`. Open where the text is out of scope."""
        wanted = tuple(str(each.value) for each in question.options())
        # Probabilities are of the routes that may be given.
        found = self._routes(text, limit=len(self.labels), allowed=wanted, now=time.time())
        known = dict(found.top)
        names = wanted or self.labels
        given = found.name
        total = sum(known.get(name, 0.0) for name in names)
        probabilities = tuple((name, known.get(name, 0.0) / total if total > 0 else 0.0) for name in names)
        return Answer(
            type="choice",
            value=given,
            probabilities=probabilities,
            confidence=dict(probabilities)[given] if given is not None else found.confidence,
            calibrated=found.calibrated and not wanted,
            version=found.artifact_version,
            reason="" if given is not None else found.reason,
        )


class RouterHead:
    """The model that a router chooses, of those named as choices where some are."""

    type: Kind = "choice"

    def __init__(self, router: Decides) -> None:
        self._router = router

    @property
    def labels(self) -> tuple[str, ...]:
        """Models."""
        return tuple(self._router.models)

    def answer(self, text: str, question: Question) -> Answer:
        """See :class:`Head`. What a router expects of models are qualities, no probabilities of being right."""
        wanted = [str(each.value) for each in question.options()]
        found = self._router.route(text, **({"allowed": wanted} if wanted else {}))
        return Answer(
            type="choice",
            value=found.model,
            confidence=found.confidence,
            calibrated=found.confidence is not None and not found.level,
            version=found.artifact_version,
        )


class TaskHead:
    """One of the things that are known of a task."""

    def __init__(
        self,
        classify: Callable[[str], TaskClassification],
        type: Kind,
        read: Callable[[TaskClassification], Answer],
        labels: tuple[str, ...] = (),
    ) -> None:
        self._classify, self.type, self._read, self.labels = classify, type, read, labels

    def answer(self, text: str, question: Question) -> Answer:
        """See :class:`Head`."""
        found = self._read(self._classify(text))
        wanted = [str(each.value) for each in question.options()]
        if not wanted or not found.probabilities:
            return found
        # Given that it is one of these.
        known = dict(found.probabilities)
        total = sum(known[name] for name in wanted)
        left = tuple((name, known[name] / total if total > 0 else 1 / len(wanted)) for name in wanted)
        best, confidence = max(left, key=lambda each: each[1])
        return Answer(type="choice", value=best, probabilities=left, confidence=confidence, version=found.version)


def heads_of(name: str, given: Any) -> dict[str, Head]:
    """The heads that something brings, by the names under which questions find them.

    Args:
        name: of the head; of kinds of tasks it is the beginning of several names, with a dot.
        given: :class:`tiny_dancer.SemanticRoutes`, :class:`tiny_dancer.TaskClassifier`, or a router.

    Raises:
        OptionError: it is none of these.
    """
    if isinstance(given, SemanticRoutes):
        return {name: RoutesHead(given)}
    if isinstance(given, TaskClassifier):
        return _task_heads(name, given)
    if hasattr(given, "models") and callable(getattr(given, "route", None)):
        return {name: RouterHead(given)}
    if hasattr(given, "answer") and hasattr(given, "type"):
        return {name: given}
    raise OptionError(f"heads[{name}]", type(given).__name__, "give SemanticRoutes, a TaskClassifier or a Router")


def _task_heads(name: str, classifier: TaskClassifier) -> dict[str, Head]:
    @lru_cache(maxsize=4)
    def remembered(text: str) -> TaskClassification:
        return classifier.predict([text])[0]

    def classify(text: str) -> TaskClassification:
        # Many questions are asked of one text; long ones are not worth holding on to.
        return remembered(text) if len(text) <= _SHORT else classifier.predict([text])[0]

    def head(type: Kind, read: Callable[[TaskClassification], Answer], labels: tuple[str, ...] = ()) -> Head:
        return TaskHead(classify, type, read, labels)

    def category(found: TaskClassification) -> Answer:
        known = found.category != "unknown"
        return Answer(
            type="choice",
            value=found.category if known else None,
            probabilities=tuple(zip(classifier.categories, found.probabilities, strict=True)),
            confidence=found.confidence,
            calibrated=True,
            version=found.artifact_version,
            reason="" if known else "unknown",
        )

    def language(found: TaskClassification) -> Answer:
        reason = "" if found.language is not None else "unknown"
        return Answer(type="choice", value=found.language, version=found.artifact_version, reason=reason)

    def share(of: Callable[[TaskClassification], float | None]) -> Callable[[TaskClassification], Answer]:
        return lambda found: _predicate(of(found), found.artifact_version)

    def amount(
        of: Callable[[TaskClassification], float], low: float, high: float
    ) -> Callable[[TaskClassification], Answer]:
        return lambda found: Answer(
            type="score", value=of(found), score=of(found), range=(low, high), version=found.artifact_version
        )

    def part(group: str, key: str) -> Callable[[TaskClassification], float]:
        def read(found: TaskClassification) -> float:
            values: Mapping[str, float] = getattr(found, group)
            return values[key]

        return read

    example = classifier.predict(["Hello"])[0]
    found = {
        f"{name}.category": head("choice", category, classifier.categories),
        f"{name}.language": head("choice", language),
        f"{name}.weak_quality": head("score", amount(lambda each: each.weak_quality, 1.0, 5.0)),
        f"{name}.structured_output": head("predicate", share(lambda each: each.structured_output)),
    }
    for key in example.complexity:
        found[f"{name}.complexity.{key}"] = head("score", amount(part("complexity", key), 0.0, 1.0))
    for key in example.capability_scores:
        found[f"{name}.capability.{key}"] = head("predicate", share(part("capability_scores", key)))
    return found


def _predicate(probability: float | None, version: str) -> Answer:
    if probability is None:
        return Answer(type="predicate", version=version, reason="unknown")
    value = probability >= 0.5
    return Answer(
        type="predicate",
        value=value,
        probabilities=((True, probability), (False, 1 - probability)),
        confidence=probability if value else 1 - probability,
        version=version,
    )


def check_fits(head: Head, question: Question, place: str) -> str:
    """Why a head cannot answer a question; empty where it can."""
    if head.type != question.type:
        return f"{place} answers questions of type {head.type}"
    if question.levels:
        return f"{place} has a scale of its own: leave levels out"
    if question.criteria is not None:
        return f"{place} needs no criteria: leave them out"
    unknown = next((each.value for each in question.options() if each.value not in head.labels), None)
    if unknown is not None:
        return f"{place} does not know {unknown!r}"
    return ""
