"""Findings about rows that are kin: duplicates, shared passages, and groups that let them apart."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from tiny_dancer.evaluation import groups
from tiny_dancer.evaluation.disguise import Texts
from tiny_dancer.training.data.findings import Finding, examples

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from tiny_dancer.types import FeatureTable, Outcomes


@dataclass(frozen=True, slots=True)
class Kin:
    """Groups of rows that are kin.

    Attributes:
        exact: equal requests: by all features, or by text where there are none.
        near: exact and near duplicates; None without features.
        content: duplicates and shared passages.
        joined: content and the table's own groups.
    """

    exact: npt.NDArray[np.int64]
    near: npt.NDArray[np.int64] | None
    content: npt.NDArray[np.int64]
    joined: npt.NDArray[np.int64]

    @classmethod
    def of(cls, outcomes: Outcomes) -> Kin:
        """The kin of a table's rows."""
        exact = _equal_requests(outcomes)
        if outcomes.features is None:
            return cls(exact, None, exact, groups.joined_groups(exact, outcomes.group))
        found = groups.kinship(outcomes.features, Texts.of(outcomes))
        return cls(exact, found.near, found.content, groups.joined_groups(found.content, outcomes.group))


def duplicates(outcomes: Outcomes, kin: Kin) -> Iterator[Finding]:
    """Exact duplicates and their contradictions, near duplicates, shared passages."""
    repeated = _repeated(kin.exact)
    if len(repeated):
        message = f"{len(repeated)} rows are exact duplicates of one another"
        remedy = "they are kept in one fold; drop repeats that carry no new outcomes"
        rows = examples(outcomes, repeated)
        yield Finding("note", "exact_duplicate", "prompt", message, remedy, rows, len(repeated))
        yield from _conflicts(outcomes, kin.exact)
    if kin.near is None:
        message = "near duplicates and shared passages were not looked for"
        yield Finding("note", "not_featurised", "features", message, "featurise the table")
        return
    close = np.setdiff1d(_repeated(kin.near), repeated)
    if len(close):
        message = f"{len(close)} rows are near duplicates of others"
        remedy = "they are kept in one fold; check that none was meant to be a test row"
        rows = examples(outcomes, close)
        yield Finding("note", "near_duplicate", "prompt", message, remedy, rows, len(close))
    passages = np.setdiff1d(_repeated(kin.content), _repeated(kin.near))
    if len(passages):
        message = f"{len(passages)} rows share a passage with others"
        remedy = "they are kept in one fold; an evaluation that splits them is too good"
        rows = examples(outcomes, passages)
        yield Finding("note", "shared_passage", "prompt", message, remedy, rows, len(passages))


def _conflicts(outcomes: Outcomes, exact: npt.NDArray[np.int64]) -> Iterator[Finding]:
    """Equal requests with different labels: what no router can tell apart."""
    conflicting: list[int] = []
    compared = unequal = 0
    order = np.argsort(exact, kind="stable")
    for first, second in pairwise(order):
        if exact[first] != exact[second]:
            continue
        difference = np.abs(outcomes.quality[first] - outcomes.quality[second])
        compared += int((~np.isnan(difference)).sum())
        unequal += int((difference > 0).sum())
        if (difference > 0).any():
            conflicting += [int(first), int(second)]
    if conflicting:
        rows = sorted(set(conflicting))
        message = (
            f"{len(rows)} duplicates have different outcomes: "
            f"{unequal} of {compared} repeated labels disagree ({unequal / compared:.1%})"
        )
        remedy = "average repeated outcomes; no router can be better than their agreement"
        yield Finding(
            "warning", "conflicting_labels", "models", message, remedy, examples(outcomes, rows), len(rows)
        )


def leaks(outcomes: Outcomes, kin: Kin) -> Iterator[Finding]:
    """Kin by content that the table's own groups would let apart."""
    content = kin.content
    if len(np.unique(outcomes.group)) == len(outcomes):
        return  # no groups were given: each row is its own, and what training joins is all there is
    order = np.lexsort((outcomes.group, content))
    close = content[order][1:] == content[order][:-1]
    apart = close & (outcomes.group[order][1:] != outcomes.group[order][:-1])
    families = np.unique(content[order][1:][apart])
    if len(families):
        rows = np.flatnonzero(np.isin(content, families))
        message = f"{len(rows)} kindred rows in {len(families)} families lie in different groups"
        remedy = "splits by this table's groups leak; training joins them (assign_groups)"
        yield Finding("warning", "leak", "group", message, remedy, examples(outcomes, rows), len(rows))


def _equal_requests(outcomes: Outcomes) -> npt.NDArray[np.int64]:
    """The first row with an equal request."""
    if outcomes.features is not None:
        keys: Sequence[object] = _feature_keys(outcomes.features)
    else:
        empty = (None,) * len(outcomes)
        keys = list(
            zip(outcomes.prompt or empty, outcomes.messages or empty, outcomes.tools or empty, strict=True)
        )
    first: dict[object, int] = {}
    return np.array([first.setdefault(key, row) for row, key in enumerate(keys)], np.int64)


def _feature_keys(features: FeatureTable) -> list[tuple[bytes, bytes, bytes]]:
    bounds = zip(features.ngram_offsets[:-1], features.ngram_offsets[1:], strict=True)
    return [
        (
            features.ngrams[start:stop].tobytes(),
            features.cues[row].tobytes(),
            features.embedding[row].tobytes(),
        )
        for row, (start, stop) in enumerate(bounds)
    ]


def _repeated(labels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Rows whose label occurs more than once."""
    _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    return np.flatnonzero(counts[inverse] > 1)
