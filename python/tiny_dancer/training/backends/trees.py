"""Tree ensembles on the cues (and, optionally, the static embedding), split on all models' quality at once.

Extremely randomised trees: Geurts, Ernst and Wehenkel 2006, doi:10.1007/s10994-006-6226-1. Gradient boosting:
Friedman 2001, doi:10.1214/aos/1013203451.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn import config_context
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.tree import ExtraTreeRegressor

from tiny_dancer import _core
from tiny_dancer.training.backends.quantise import quantise

if TYPE_CHECKING:
    import numpy.typing as npt

    from tiny_dancer.training.backends.base import Matrix, Targets
    from tiny_dancer.types import FeatureTable

_LEAF = 65_535
_FEW_ROWS = 2000
"""Of fewer, a tree is grown in the time that two threads take to hand each other the interpreter."""


def inputs(features: FeatureTable, *, embedding: bool) -> npt.NDArray[np.float32]:
    """Inputs of the engine's trees: cues, then the unit embedding; float32 [n, CUES] or [n, CUES + 256]."""
    if not embedding:
        return np.ascontiguousarray(features.cues)
    return np.hstack([features.cues, unit_embedding(features)])


def unit_embedding(features: FeatureTable) -> npt.NDArray[np.float32]:
    """The static embedding at length 1, float32 [n, 256]; zero rows stay zero."""
    return unit_vectors(features.embedding)


def unit_vectors(rows: npt.NDArray[np.int8]) -> npt.NDArray[np.float32]:
    """Rows at length 1, float32 of the same shape; zero rows stay zero."""
    whole = rows.astype(np.float32)
    norm = np.sqrt((whole * whole).sum(1, keepdims=True))
    inverse = np.divide(np.float32(1), norm, out=np.zeros_like(norm), where=norm > 0)
    return np.asarray(whole * inverse, np.float32)


@dataclass(frozen=True, slots=True)
class FittedTrees:
    """An ensemble as the engine holds it: nodes in depth-first order, int8 leaves with one scale a component."""

    feature: npt.NDArray[np.uint16]
    threshold: npt.NDArray[np.float32]
    right: npt.NDArray[np.uint16]
    size: npt.NDArray[np.uint16]
    leaf: npt.NDArray[np.int8]
    scale: npt.NDArray[np.float32]
    intercept: npt.NDArray[np.float32]
    kind: str = "trees"

    def predict(self, features: FeatureTable) -> Matrix:
        """Components [n, r] by walking every tree for all rows at once."""
        needs_embedding = bool((self.feature[self.feature != _LEAF] >= _core.CUES).any())
        x = inputs(features, embedding=needs_embedding)
        rows = np.arange(len(x))
        total = np.zeros((len(x), self.leaf.shape[1]))
        first = first_leaf = 0
        for size in self.size.tolist():
            feature = self.feature[first : first + size].astype(np.int64)
            threshold = self.threshold[first : first + size]
            right = self.right[first : first + size].astype(np.int64)
            inner = feature != _LEAF
            at = np.zeros(len(x), np.int64)
            while (moving := inner[at]).any():
                go_left = x[rows, np.where(moving, feature[at], 0)] <= threshold[at]
                at = np.where(moving, np.where(go_left, at + 1, right[at]), at)
            total += self.leaf[first_leaf + right[at]]
            first += size
            first_leaf += int((~inner).sum())
        return np.asarray(self.intercept + total * self.scale.astype(np.float64), np.float64)

    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """Tensors by the engine's names."""
        names = ("feature", "threshold", "right", "size", "leaf", "scale", "intercept")
        return {name: getattr(self, name) for name in names}


def _flatten(tree: Any, leaf_values: Matrix) -> tuple[list[int], list[float], list[int], list[Matrix]]:
    """Depth-first nodes of a scikit-learn tree: the left child follows its parent."""
    feature: list[int] = []
    threshold: list[float] = []
    right: list[int] = []
    leaves: list[Matrix] = []
    stack: list[tuple[int, int]] = [(0, -1)]
    while stack:
        node, parent = stack.pop()
        at = len(feature)
        if parent >= 0:
            right[parent] = at
        if tree.children_left[node] < 0:
            feature.append(_LEAF)
            threshold.append(0.0)
            right.append(len(leaves))
            leaves.append(leaf_values[node])
            continue
        feature.append(int(tree.feature[node]))
        threshold.append(float(tree.threshold[node]))
        right.append(0)
        stack.append((int(tree.children_right[node]), at))
        stack.append((int(tree.children_left[node]), -1))
    return feature, threshold, right, leaves


def _pack(trees: list[Any], leaf_values: list[Matrix], intercept: Matrix) -> FittedTrees:
    features: list[int] = []
    thresholds: list[float] = []
    rights: list[int] = []
    sizes: list[int] = []
    leaves: list[Matrix] = []
    for tree, values in zip(trees, leaf_values, strict=True):
        feature, threshold, right, rows = _flatten(tree, values)
        features += feature
        thresholds += threshold
        rights += right
        sizes.append(len(feature))
        leaves += rows
    table = np.array(leaves).reshape(len(leaves), len(intercept))
    leaf, scale = quantise(table)
    # scikit-learn compares float32 inputs with float64 thresholds: rounding down keeps every comparison.
    rounded = np.array(thresholds, np.float64).astype(np.float32)
    rounded = np.where(rounded > np.array(thresholds), np.nextafter(rounded, np.float32(-np.inf)), rounded)
    return FittedTrees(
        feature=np.array(features, np.uint16),
        threshold=rounded.astype(np.float32),
        right=np.array(rights, np.uint16),
        size=np.array(sizes, np.uint16),
        leaf=leaf,
        scale=scale,
        intercept=intercept.astype(np.float32),
    )


@dataclass(frozen=True, slots=True)
class ExtraTrees:
    """Extremely randomised trees with large leaves, split on every model's quality and every gain at once."""

    name: str = "extra_trees"
    trees: int = 80
    leaf_factor: float = 1.3
    most_leaves: int = 64
    embedding: bool = False
    most_features: float = 0.5

    def fit(self, features: FeatureTable, targets: Targets, seed: int) -> FittedTrees:
        """Fits on [qualities; differences to the best constant]; leaves then hold mean components."""
        x = inputs(features, embedding=self.embedding)
        trees = self._grow(x, targets, seed)
        leaf_values = [_leaf_means(tree, tree.apply(x), targets) for tree in trees]
        return _pack(trees, [values / len(trees) for values in leaf_values], np.zeros(targets.components.shape[1]))

    def _grow(self, x: npt.NDArray[np.float32], targets: Targets, seed: int) -> list[Any]:
        """The trees of scikit-learn's ``ExtraTreesRegressor``, the same to the last bit.

        One by one: the ensemble asks for each tree's signature again, which takes longer than growing it.
        """
        quality = targets.quality
        gains = np.delete(quality - quality[:, [targets.best_constant]], targets.best_constant, axis=1)
        outcomes = np.ascontiguousarray(np.hstack([quality, gains]), np.float64)
        leaf = max(2, round(self.leaf_factor * math.sqrt(len(x))))
        # Equal weights are none: the same trees, without a check of the weights for each.
        weight = None if bool((targets.weight == 1).all()) else targets.weight

        def grow(seed: int) -> Any:
            tree = ExtraTreeRegressor(
                min_samples_leaf=leaf,
                max_leaf_nodes=self.most_leaves,
                max_features=self.most_features,
                random_state=seed,
            )
            with config_context(skip_parameter_validation=True):
                tree.fit(x, outcomes, sample_weight=weight, check_input=False)
            return tree.tree_

        chance = np.random.RandomState(seed)
        seeds = [int(chance.randint(np.iinfo(np.int32).max)) for _ in range(self.trees)]
        if len(x) < _FEW_ROWS:
            return list(map(grow, seeds))
        with ThreadPoolExecutor(2) as threads:
            return list(threads.map(grow, seeds))


def cue_importances(features: FeatureTable, targets: Targets, seed: int) -> npt.NDArray[np.float64]:
    """Share of the variance reduction each cue brings in a few extremely randomised trees: float64 [CUES], sum 1.

    All zero where no split is possible.
    """
    trees = ExtraTrees(trees=30)._grow(inputs(features, embedding=False), targets, seed)
    found = [tree.compute_feature_importances() for tree in trees if tree.node_count > 1]
    total = np.mean(found, axis=0) if found else np.zeros(_core.CUES)
    return np.asarray(total / max(float(total.sum()), 1e-300), np.float64)


def _leaf_means(tree: Any, leaf_of_row: npt.NDArray[np.int64], targets: Targets) -> Matrix:
    """Weighted mean components of the rows in each node that is a leaf, float64 [nodes, r]."""
    weight = np.bincount(leaf_of_row, targets.weight, minlength=tree.node_count)
    columns = [
        np.bincount(leaf_of_row, targets.weight * column, minlength=tree.node_count)
        for column in targets.components.T
    ]
    return np.stack(columns, axis=1) / np.maximum(weight, 1e-12)[:, None]


@dataclass(frozen=True, slots=True)
class BoostedTrees:
    """Boosted trees of depth 2 on the cues, one small ensemble a component, of the first few.

    Attributes:
        rounds: trees a component.
        learning_rate: what each adds.
        depth: of each.
        components: so many are learned, the leading ones; the rest, with less to explain, are left to the others.
    """

    name: str = "boosted_trees"
    rounds: int = 80
    learning_rate: float = 0.04
    depth: int = 2
    components: int = 4

    def fit(self, features: FeatureTable, targets: Targets, seed: int) -> FittedTrees:
        """Fits one ensemble a component and joins them: a leaf adds to its own component only."""
        x = inputs(features, embedding=False)
        count = targets.components.shape[1]
        trees: list[Any] = []
        leaf_values: list[Matrix] = []
        intercept = np.zeros(count)
        for component in range(min(count, self.components)):
            model = GradientBoostingRegressor(
                n_estimators=self.rounds,
                learning_rate=self.learning_rate,
                max_depth=self.depth,
                subsample=0.5,
                max_features=0.5,
                min_samples_leaf=max(2, min(20, len(x) // 10)),
                random_state=seed + component,
            )
            model.fit(x, targets.components[:, component], sample_weight=targets.weight)
            intercept[component] = float(model.init_.constant_.ravel()[0])
            for (estimator,) in model.estimators_:
                values = np.zeros((estimator.tree_.node_count, count))
                values[:, component] = estimator.tree_.value[:, 0, 0] * self.learning_rate
                trees.append(estimator.tree_)
                leaf_values.append(values)
        return _pack(trees, leaf_values, intercept)
