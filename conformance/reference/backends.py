"""The learned scorers as formulas: features → components (the engine's ``backends/``).

A tensor of a backend is named ``<backend's name>.<name>``. Tables hold one column a component.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol

from .errors import Refusal
from .fastgrnn import FastGrnn
from .single import dot, inverse_norm, root, single
from .word_pieces import DIMENSIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .artifact import Weights
    from .features import Features

CUES = 81
LEAF = 0xFFFF
DEEPEST = 64


class Backend(Protocol):
    """A learned scorer."""

    def scores(self, features: Features) -> list[float]:
        """One score a component."""


class Linear:
    """Intercept + s_w/√n_w · Σ word weights + s_c/√n_c · Σ character weights + cues·C + embedding·E.

    The weights of an n-gram are the row (index mod number of rows, a power of two) of its table. Cues are held to
    what training saw, where the artifact says what that is.
    """

    def __init__(self, weights: Weights, name: str, components: int) -> None:
        self.least, self.most = [-math.inf] * CUES, [math.inf] * CUES
        if weights.dtype(f"{name}.cue_least") or weights.dtype(f"{name}.cue_most"):
            self.least = weights.get(f"{name}.cue_least", "F32", CUES)
            self.most = weights.get(f"{name}.cue_most", "F32", CUES)
            if any(least > most for least, most in zip(self.least, self.most, strict=True)):
                raise Refusal("ArtifactInvalid", name)
        self.word = weights.rows(f"{name}.word", "I8", components)
        self.character = weights.rows(f"{name}.character", "I8", components)
        for table in (self.word, self.character):
            if len(table).bit_count() != 1:
                raise Refusal("ArtifactInvalid", name)
        self.word_scale = weights.get(f"{name}.word_scale", "F32", components)
        self.character_scale = weights.get(f"{name}.character_scale", "F32", components)
        weights.get(f"{name}.cues", "F32", components, CUES)
        self.cues = weights.rows(f"{name}.cues", "F32", CUES)
        weights.get(f"{name}.embedding", "F32", components, DIMENSIONS)
        self.embedding = weights.rows(f"{name}.embedding", "F32", DIMENSIONS)
        self.intercept = weights.get(f"{name}.intercept", "F32", components)

    def scores(self, features: Features) -> list[float]:
        """One score a component."""
        bounds = zip(features.cues.values(), self.least, self.most, strict=True)
        cues, embedding = [min(max(cue, least), most) for cue, least, most in bounds], features.unit_embedding
        found = []
        for component, intercept in enumerate(self.intercept):
            words = mean_weight(self.word, component, features.word_ngrams)
            characters = mean_weight(self.character, component, features.character_ngrams)
            score = single(intercept + single(words * self.word_scale[component]))
            score = single(score + single(characters * self.character_scale[component]))
            score = single(score + dot(self.cues[component], cues))
            found.append(single(score + dot(self.embedding[component], embedding)))
        return found


def mean_weight(table: list[list[int]], component: int, ngrams: set[int]) -> float:
    """Sum of the weights of ``ngrams`` over the root of their number."""
    weight = sum(table[index % len(table)][component] for index in ngrams)
    return single(single(weight) * single(1.0 / root(float(max(len(ngrams), 1)))))


class Trees:
    """Intercept + scale · Σ leaf over the trees; inputs are the cues, then the embedding at length 1.

    Nodes of all trees follow each other, ``size`` of each tree. A node compares one input, ``feature``: where it
    is ≤ ``threshold``, the walk goes on at the next node, else at node ``right`` of the tree. A leaf (``feature``
    65535) names its row of ``leaf`` in ``right``, counted from the first leaf of its tree.
    """

    def __init__(self, weights: Weights, name: str, components: int) -> None:
        thresholds = weights.get(f"{name}.threshold", "F32", None)
        features = weights.get(f"{name}.feature", "U16", None)
        rights = weights.get(f"{name}.right", "U16", None)
        if not len(thresholds) == len(features) == len(rights):
            raise Refusal("ArtifactInvalid", f"{name}.feature")
        nodes = list(zip(thresholds, features, rights, strict=True))
        leaves = weights.rows(f"{name}.leaf", "I8", components)
        self.trees: list[tuple[list[Any], list[list[int]]]] = []
        for size in weights.get(f"{name}.size", "U16", None):
            tree, nodes = nodes[:size], nodes[size:]
            count = sum(feature == LEAF for _, feature, _ in tree)
            if len(tree) < max(size, 1) or not is_sound(tree, count):
                raise Refusal("ArtifactInvalid", f"{name}.size")
            self.trees.append((tree, leaves[:count]))
            leaves = leaves[count:]
        if nodes or leaves or any(len(rows) < 1 for _, rows in self.trees):
            raise Refusal("ArtifactInvalid", f"{name}.leaf")
        self.scale = weights.get(f"{name}.scale", "F32", components)
        self.intercept = weights.get(f"{name}.intercept", "F32", components)

    def scores(self, features: Features) -> list[float]:
        """One score a component."""
        inputs = [*features.cues.values(), *features.unit_embedding]
        reached = [leaves[walk(tree, inputs)] for tree, leaves in self.trees]
        sums = [sum(column) for column in zip(*reached, strict=True)] or [0] * len(self.scale)
        return [
            single(intercept + single(value * scale))
            for intercept, value, scale in zip(self.intercept, sums, self.scale, strict=True)
        ]


def walk(tree: list[tuple[float, int, int]], inputs: list[float]) -> int:
    """The leaf in which the walk ends."""
    at = 0
    while True:
        threshold, feature, right = tree[at]
        if feature == LEAF:
            return right
        at = at + 1 if inputs[feature] <= threshold else right


def is_sound(tree: list[tuple[float, int, int]], leaves: int) -> bool:
    """Children lie after their parents and inside the tree; no walk is longer than 64."""
    depth = [0] * len(tree)
    for at, (_, feature, right) in enumerate(tree):
        if feature == LEAF:
            if right >= leaves:
                return False
            continue
        if feature >= CUES + DIMENSIONS or not at + 1 < right < len(tree) or depth[at] >= DEEPEST:
            return False
        for child in (at + 1, right):
            depth[child] = max(depth[child], depth[at] + 1)
    return True


class Memory:
    """Intercept + Σ coefficient · exp(−γ_e·(2 − 2·cos(e, e_l)) − γ_c·‖c − c_l‖²) over landmarks l.

    e is the int8 embedding; c are the cues, standardised (subtract mean, multiply by scale), kept within ±127 and
    rounded half away from zero. A landmark's own are stored as int8.
    """

    def __init__(self, weights: Weights, name: str, components: int) -> None:
        self.embeddings = weights.rows(f"{name}.embeddings", "I8", DIMENSIONS)
        self.inverse_norms = [inverse_norm(row) for row in self.embeddings]
        self.cues = weights.rows(f"{name}.cues", "I8", CUES)
        self.gamma = weights.get(f"{name}.gamma", "F32", 2)
        landmarks = len(self.embeddings)
        values = [value for row in (*self.embeddings, *self.cues) for value in row]
        if len(self.cues) != landmarks or min(self.gamma) < 0 or -128 in values:
            raise Refusal("ArtifactInvalid", name)
        weights.get(f"{name}.coefficients", "F32", components, landmarks)
        self.coefficients = weights.rows(f"{name}.coefficients", "F32", landmarks)
        self.intercept = weights.get(f"{name}.intercept", "F32", components)
        self.cue_mean = weights.get(f"{name}.cue_mean", "F32", CUES)
        self.cue_scale = weights.get(f"{name}.cue_scale", "F32", CUES)

    def scores(self, features: Features) -> list[float]:
        """One score a component."""
        cues = self.standardise(features.cues.values())
        scale, similar = features.inverse_norm, []
        landmarks = zip(self.embeddings, self.inverse_norms, self.cues, strict=True)
        for embedding, landmark_scale, landmark_cues in landmarks:
            product = sum(a * b for a, b in zip(embedding, features.embedding, strict=True))
            cosine = single(single(single(product) * landmark_scale) * scale)
            distance = sum((a - b) ** 2 for a, b in zip(cues, landmark_cues, strict=True))
            apart = single(self.gamma[0] * single(2.0 - 2.0 * cosine))
            exponent = single(-apart - single(self.gamma[1] * distance))
            # The engine's exponential is within 2e-7 of this one, and 0 does not occur: e^-87 is its least.
            similar.append(single(math.exp(max(min(exponent, 0.0), -87.0))))
        return [
            single(intercept + dot(row, similar))
            for intercept, row in zip(self.intercept, self.coefficients, strict=True)
        ]

    def standardise(self, cues: Iterable[float]) -> list[int]:
        """Cues as int8."""
        rows = zip(cues, self.cue_mean, self.cue_scale, strict=True)
        return [round_away(single(single(cue - mean) * scale)) for cue, mean, scale in rows]


def round_away(value: float) -> int:
    """The nearest integer within ±127; of two the one farther from zero."""
    value = max(-127.0, min(127.0, value))
    return int(math.copysign(math.floor(abs(value) + 0.5), value))


BACKENDS: dict[str, Callable[[Weights, str, int], Backend]] = {
    "linear": Linear,
    "trees": Trees,
    "memory": Memory,
    "fastgrnn": FastGrnn,
}


def load(spec: dict[str, str], weights: Weights, components: int) -> Backend:
    """The backend that an artifact's header names."""
    if spec["kind"] not in BACKENDS:
        raise Refusal("ArtifactInvalid", "backends.kind")
    return BACKENDS[spec["kind"]](weights, spec["name"], components)
