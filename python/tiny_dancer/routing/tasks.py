"""What kind of task a text is, what it takes, and how well a weak model will do."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Self

import msgspec

from tiny_dancer import _core
from tiny_dancer.errors import ArtifactError, RequestError
from tiny_dancer.routing.router import read_artifact

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

__all__ = ["TaskClassification", "TaskClassifier"]

_DEFAULT = "tasks.safetensors"


class TaskClassification(msgspec.Struct, frozen=True, gc=False):
    """What kind of task a text is.

    ``category``, ``confidence`` and ``probabilities`` are learned from labelled prompts and judged on sources left
    out; ``weak_quality`` is learned from outcomes of weak models. What ``heuristic`` names is declared by hand: no
    data supports it.

    Attributes:
        category: the most probable one; ``unknown`` where its probability is below the artifact's threshold, or
            hardly a word of the text is one that the artifact knows (another language, no language).
        best: the most probable one, never ``unknown``; of equal ones the first.
        confidence: calibrated probability of ``best``.
        probabilities: of every category, in the artifact's order; they sum to 1.
        capabilities: what a model must be able to do: those whose score is at least one half.
        capability_scores: of every capability, in [0, 1].
        complexity: ``reasoning``, ``creativity``, ``domain_knowledge``, ``contextual_knowledge`` and
            ``constraints``, in [0, 1].
        structured_output: whether an answer in a form that programs read is expected, in [0, 1].
        language: code in ISO 639-1, or None where it cannot be told.
        weak_quality: how well a weak model is expected to answer, from 1 (fails) to 5 (as good as can be): 1 + 4 ×
            its expected quality.
        heuristic: which of these no data supports. ``weak_quality`` is among them where outcomes of weak models
            were not there for this category.
        artifact_version: version of the artifact that answered.
    """

    category: str
    best: str
    confidence: float
    probabilities: tuple[float, ...]
    capabilities: tuple[str, ...]
    capability_scores: Mapping[str, float]
    complexity: Mapping[str, float]
    structured_output: float | None
    language: str | None
    weak_quality: float
    heuristic: tuple[str, ...]
    artifact_version: str


_DECODER = msgspec.json.Decoder(TaskClassification)


class TaskClassifier:
    """Tells kinds of tasks apart by an artifact of kind ``tasks``. Immutable; share it between threads.

    Example:
        >>> found = TaskClassifier.default().predict(["Write a Python function that reverses a list"])[0]
        >>> found.category
        'code_generation'
        >>> "complexity" in found.heuristic
        True
    """

    def __init__(self, artifact: bytes) -> None:
        """See :meth:`from_file`; ``artifact`` is the file's bytes."""
        header = _core.read_header(artifact)
        if header["kind"] != "tasks":
            remedy = "give an artifact that tells tasks apart, or 'default'"
            raise ArtifactError("kind", repr(header["kind"]), remedy)
        self._engine = _core.Tasks(artifact, _core.encoder())
        self._artifact = artifact
        self.header: dict[str, Any] = json.loads(self._engine.header())
        """Everything about the artifact that is not a weight."""
        self.categories: tuple[str, ...] = tuple(self.header["categories"])
        """The categories, in the order of ``probabilities``."""

    @classmethod
    def default(cls) -> Self:
        """The one the package ships; see its model card."""
        return cls(_core.data_file(_DEFAULT))

    @classmethod
    def from_file(cls, artifact: str | os.PathLike[str]) -> Self:
        """Loads an artifact of kind ``tasks`` and replays its self-checks; ``default`` is the package's.

        Raises:
            ArtifactError: the file is missing, no sound artifact or of another kind (see its subclasses).
            EncoderMissingError: it was trained with another encoder than the package ships.
        """
        return cls.default() if artifact == "default" else cls(read_artifact(artifact))

    def __reduce__(self) -> tuple[Callable[[bytes], TaskClassifier], tuple[bytes]]:
        """Pickles as the artifact it was loaded from."""
        return type(self), (self._artifact,)

    def predict(self, texts: Sequence[str]) -> list[TaskClassification]:
        """What kind of task each of n texts is, on all processors.

        One bad text fails the batch with an error that names its row: nothing is dropped. Of a long text the first
        6,144 and the last 2,048 bytes count.

        Raises:
            RequestError: an empty text, no valid Unicode, or no list of texts.
        """
        if isinstance(texts, str | bytes) or not isinstance(texts, Iterable):
            raise RequestError("texts", type(texts).__name__, "give a list of texts")
        return [_DECODER.decode(each) for each in self._engine.classify_batch(list(texts))]

    def classify_json(self, request: str) -> str:
        """The engine's whole answer to ``{"text": …}``, as JSON.

        Raises:
            RequestError: as :meth:`predict`, and what is no such JSON.
        """
        return self._engine.classify_json(request)
