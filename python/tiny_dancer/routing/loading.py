"""From an artifact's bytes to what they are for, whatever its kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiny_dancer import _core
from tiny_dancer.errors import ArtifactError
from tiny_dancer.routing.classifier import Classifier
from tiny_dancer.routing.router import Router
from tiny_dancer.routing.tasks import TaskClassifier

if TYPE_CHECKING:
    from collections.abc import Callable


def _routes(data: bytes) -> _core.Routes:
    checksum = _core.read_header(data)["encoder"].get("checksum")
    return _core.Routes(data, None if checksum is None else _core.encoder_of(checksum))


LOADERS: dict[str, Callable[[bytes], object]] = {
    "request-router": Router,
    "classifier": Classifier,
    "candidates": _core.CandidateScorer,
    "routes": _routes,
    "tools": lambda data: _core.ToolSet(_core.sentence_encoder(), data),
    "tasks": TaskClassifier,
}
"""Kind, as the header says it → what loads it."""


def load_any(data: bytes) -> object:
    """Loads an artifact by its kind; its self-checks are replayed.

    Raises:
        ArtifactError: no sound artifact, or of a kind this version does not know.
    """
    kind = _core.read_header(data).get("kind")
    load = LOADERS.get(str(kind))
    if load is None:
        raise ArtifactError("kind", repr(kind), f"this version loads {', '.join(LOADERS)}")
    return load(data)
