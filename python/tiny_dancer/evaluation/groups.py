"""Which rows must not be split apart, found from hashed features, and from texts where there are texts.

With texts, n-grams are of what they say beneath disguises (:mod:`tiny_dancer.evaluation.disguise`), and rows that
differ by case, spacing and punctuation alone, or by the order of their words, are near duplicates, however much
they do.

Four kinds of kin are joined, and their kin in turn:

* exact duplicates: the same n-grams;
* near duplicates: n-gram sets with a Jaccard similarity of at least .8. MinHash with fixed
  parameters proposes, the sets decide. A family of more than 30 rows (fewer in a small table) is taken for a
  template (a system prompt, an exam's preamble) and not for duplicates: what most of the family
  shares is struck out and its rows are compared again;
* shared passages: rows that share at least 30 rare word n-grams, being half of the rare ones of
  the row that has fewer. Rare means at most 30 rows or 0.5 % of the table: what more rows share
  is common language or a template;
* a request with text added: of the rare word n-grams of one row, five at least, nine in ten are in the other,
  and eight in ten of all. Where a row has fewer of its own, all of its n-grams that at most a quarter of the rows
  share are in the other.

The work grows with the number of n-grams, not with the number of pairs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tiny_dancer import _core
from tiny_dancer.evaluation.disguise import Texts, kin_features, reordered_groups, squeezed_groups
from tiny_dancer.extras import needed

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from tiny_dancer.types import FeatureTable, Outcomes

    Labels: TypeAlias = npt.NDArray[np.int64]
    Pairs: TypeAlias = npt.NDArray[np.int64]

NEAR_JACCARD = 0.8
BANDS = 16
ROWS_PER_BAND = 4
TEMPLATE_FAMILY = 30
TEMPLATE_ROUNDS = 3
PASSAGE_NGRAMS = 30
PASSAGE_SHARE = 0.5
FEWEST_OWN = 5
CONTAINED_SHARE = 0.9
CONTAINED_IN_ALL = 0.8
COMMON_SHARE = 0.25
PROBES = 3
NGRAM_SPACE = 2 * _core.CHAR_BASE
# Bounds on the memory of one step: n-grams hashed, pairs counted, n-grams compared.
HASHED_AT_ONCE = 1 << 20
COUNTED_PAIRS = 4_000_000
COMPARED_AT_ONCE = 4_000_000


def independent(outcomes: Outcomes) -> Outcomes:
    """The same outcomes in groups that are independent of each other: the table's own, joined where rows are kin.

    Without features, rows are told apart by the table's own groups alone.
    """
    if outcomes.features is None:
        return outcomes
    return replace(outcomes, group=assign_groups(outcomes.features, outcomes.group, Texts.of(outcomes)))


def assign_groups(
    features: FeatureTable, group: npt.NDArray[np.int64] | None = None, texts: Texts | None = None
) -> Labels:
    """One group number per row, counted from 0 as groups appear; rows of one group belong together.

    Args:
        features: the rows' features; only the n-grams are looked at.
        group: groups already known (the ``group`` column); they are joined, never split.
        texts: the rows' texts; without them, disguised copies are not found.
    """
    content = kinship(features, texts).content
    return content if group is None else joined_groups(content, np.asarray(group))


@dataclass(frozen=True, slots=True)
class Kinship:
    """Groups of rows by content, each wider than the one before; numbered as they appear.

    Attributes:
        exact: the same n-grams; a row without any is alone.
        near: exact and near duplicates.
        content: duplicates, shared passages, and requests with text added.
    """

    exact: Labels
    near: Labels
    content: Labels


def kinship(features: FeatureTable, texts: Texts | None = None) -> Kinship:
    """All kinds of kin at once."""
    same = _chains(_same_sets(_Sets.of(features)))
    sets = _Sets.of(kin_features(features, texts))
    duplicates = _duplicate_pairs(sets)
    if texts is not None:
        said = texts.said()
        disguised = (_chains(squeezed_groups(said)), _chains(reordered_groups(said)))
        duplicates = np.concatenate((same, *disguised, duplicates))
    words = sets.where(sets.ids < _core.CHAR_BASE)
    count = len(sets)
    return Kinship(
        exact=_components(count, same),
        near=_components(count, duplicates),
        content=_components(count, np.concatenate((duplicates, _passage_pairs(words), _contained_pairs(words)))),
    )


def joined_groups(one: Labels, other: Labels) -> Labels:
    """The finest groups that split neither of two groupings."""
    return _components(len(one), np.concatenate((_chains(one), _chains(other))))


@dataclass(frozen=True, slots=True)
class _Sets:
    """One set of numbers per row."""

    offsets: npt.NDArray[np.int64]
    ids: npt.NDArray[np.uint32]

    @classmethod
    def of(cls, features: FeatureTable) -> _Sets:
        return cls(features.ngram_offsets, features.ngrams)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        return np.diff(self.offsets)

    def where(self, keep: npt.NDArray[np.bool_]) -> _Sets:
        """The sets without the members that are not kept."""
        kept = np.concatenate(([0], np.cumsum(keep, dtype=np.int64)))
        return _Sets(kept[self.offsets], self.ids[keep])

    def places(self, chosen: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Where the members of the chosen rows lie in ``ids``."""
        sizes = self.sizes[chosen]
        ends = np.cumsum(sizes)
        return np.arange(sizes.sum()) + np.repeat(self.offsets[chosen] - ends + sizes, sizes)

    def rows(self, chosen: npt.NDArray[np.int64]) -> _Sets:
        """The sets of the chosen rows."""
        offsets = np.concatenate(([0], np.cumsum(self.sizes[chosen])))
        return _Sets(offsets, self.ids[self.places(chosen)])

    def frequency(self) -> npt.NDArray[np.int64]:
        """How many rows hold each number."""
        return np.bincount(self.ids, minlength=NGRAM_SPACE)

    def matrix(self) -> Any:
        """The sets as a sparse matrix of ones."""
        ones = np.ones(len(self.ids), np.int32)
        return _sparse().csr_matrix((ones, self.ids, self.offsets), shape=(len(self), NGRAM_SPACE))


def _duplicate_pairs(sets: _Sets) -> Pairs:
    """Pairs that connect exact and near duplicates."""
    same = _same_sets(sets)
    distinct = np.unique(same, return_index=True)[1]
    distinct = distinct[sets.sizes[distinct] > 0]
    near = distinct[_near_pairs(sets.rows(distinct))]
    return np.concatenate((_chains(same), near))


def _same_sets(sets: _Sets) -> Labels:
    """The first row with the same set; a row with an empty set is alone."""
    first: dict[bytes, int] = {}
    labels = np.arange(len(sets))
    for row in np.flatnonzero(sets.sizes):
        members = sets.ids[sets.offsets[row] : sets.offsets[row + 1]].tobytes()
        labels[row] = first.setdefault(members, int(row))
    return labels


def _near_pairs(sets: _Sets) -> Pairs:
    """Pairs of at least ``NEAR_JACCARD``, once the templates of large families are struck out."""
    pairs = _similar_pairs(sets)
    largest = max(4, min(TEMPLATE_FAMILY, len(sets) // 20))
    for _ in range(TEMPLATE_ROUNDS):
        labels = _components(len(sets), pairs)
        family_sizes = np.bincount(labels)
        large = np.flatnonzero(family_sizes > largest)
        if not len(large):
            break
        # Struck out for good: later rounds see only what tells a family's rows apart.
        keep = np.ones(len(sets.ids), bool)
        families = [np.flatnonzero(labels == family) for family in large]
        for rows in families:
            template = sets.rows(rows).frequency() * 2 > len(rows)
            places = sets.places(rows)
            keep[places] = ~template[sets.ids[places]]
        sets = sets.where(keep)
        again = [rows[_similar_pairs(sets.rows(rows))] for rows in families]
        pairs = np.concatenate((pairs[family_sizes[labels[pairs[:, 0]]] <= largest], *again))
    return pairs


def _similar_pairs(sets: _Sets) -> Pairs:
    """Pairs of at least ``NEAR_JACCARD``: proposed by MinHash, decided by the sets."""
    pairs = _proposed_pairs(sets)
    shared = _shared(sets, pairs)
    sizes = sets.sizes
    union = sizes[pairs[:, 0]] + sizes[pairs[:, 1]] - shared
    return pairs[(shared >= NEAR_JACCARD * union) & (shared > 0)]


def _proposed_pairs(sets: _Sets) -> Pairs:
    """Rows that agree on a band of their MinHash signature, each with the first and the previous such row."""
    filled = np.flatnonzero(sets.sizes)
    signatures = min_hashes(sets.offsets, sets.ids, filled, BANDS * ROWS_PER_BAND)
    found = [np.empty((0, 2), np.int64)]
    for band in range(BANDS):
        key = np.zeros(len(filled), np.uint64)
        for index in range(band * ROWS_PER_BAND, (band + 1) * ROWS_PER_BAND):
            key = (key ^ signatures[:, index]) * np.uint64(0x9E3779B97F4A7C15)
            key ^= key >> np.uint64(29)
        order = np.argsort(key, kind="stable")
        again = np.flatnonzero(key[order][1:] == key[order][:-1]) + 1
        starts = np.ones(len(order), bool)
        starts[again] = False
        first = np.maximum.accumulate(np.where(starts, np.arange(len(order)), 0))
        found += [filled[np.column_stack((order[other], order[again]))] for other in (again - 1, first[again])]
    return np.unique(np.concatenate(found), axis=0)


def min_hashes(
    offsets: npt.NDArray[np.int64], ids: npt.NDArray[np.uint32], rows: npt.NDArray[np.int64], count: int
) -> npt.NDArray[np.uint32]:
    """``count`` MinHashes of some rows' sets, uint32 [len(rows), count]; none of these sets is empty.

    Args:
        offsets: int64 [n + 1], where each row's numbers lie in ``ids``.
        ids: the sets' members.
        rows: which rows.
        count: of hash functions. They are fixed: the same hashes on every machine and in every run.
    """
    sets = _Sets(offsets, ids)
    signatures = np.empty((len(rows), count), np.uint32)
    constants = np.random.Generator(np.random.PCG64(20)).integers(0, 1 << 32, (2, count))
    multipliers, increments = constants.astype(np.uint32)
    multipliers |= np.uint32(1)
    for block in _blocks(sets.sizes[rows], HASHED_AT_ONCE):
        part = sets.rows(rows[block])
        mixed = _mixed(part.ids)
        for index in range(count):
            hashed = mixed * multipliers[index] + increments[index]
            signatures[block, index] = np.minimum.reduceat(hashed, part.offsets[:-1])
    return signatures


def _mixed(ids: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """Murmur3's finaliser: every bit of the number touches every bit of the hash."""
    mixed = ids ^ (ids >> np.uint32(16))
    mixed *= np.uint32(0x85EBCA6B)
    mixed ^= mixed >> np.uint32(13)
    mixed *= np.uint32(0xC2B2AE35)
    mixed ^= mixed >> np.uint32(16)
    return mixed


def _passage_pairs(words: _Sets) -> Pairs:
    """Pairs of rows that share a passage, told by rare word n-grams."""
    count = len(words)
    frequency = words.frequency()
    most = max(4, min(max(TEMPLATE_FAMILY, count // 200), count // 4))
    rare = words.where((frequency[words.ids] <= most) & (frequency[words.ids] > 1))
    sizes = words.where(frequency[words.ids] <= most).sizes
    # In a large table a fixed sample of the n-grams proposes the pairs; all of them decide.
    times = frequency[np.unique(rare.ids)]
    share = min(1.0, COUNTED_PAIRS / max(1, int((times * (times - 1) // 2).sum())))
    sampled = rare.where(_mixed(rare.ids) <= np.uint32(share * 0xFFFFFFFF)).matrix()
    counts = _sparse().triu(sampled @ sampled.T, 1).tocoo()
    needed = PASSAGE_NGRAMS if share == 1.0 else max(2.0, 0.5 * share * PASSAGE_NGRAMS)
    likely = counts.data >= needed
    pairs = np.column_stack((counts.row[likely], counts.col[likely])).astype(np.int64)
    shared = _shared(rare, pairs)
    fewer = np.minimum(sizes[pairs[:, 0]], sizes[pairs[:, 1]])
    return pairs[(shared >= PASSAGE_NGRAMS) & (shared >= PASSAGE_SHARE * fewer)]


def _contained_pairs(words: _Sets) -> Pairs:
    """Pairs of rows of which one holds what the other says and more, told by word n-grams.

    Each row is sought where its rarest n-grams are, the rarest of all first: the work is bounded.
    """
    distinct = np.unique(_same_sets(words), return_index=True)[1]
    distinct = distinct[words.sizes[distinct] >= FEWEST_OWN]
    sets = words.rows(distinct)
    if len(sets) < 2:
        return np.empty((0, 2), np.int64)
    frequency = sets.frequency()
    most = max(4, min(max(TEMPLATE_FAMILY, len(sets) // 200), len(sets) // 4))
    times = frequency[sets.ids]
    own, told = times <= most, times <= max(most, COMMON_SHARE * len(sets))
    row_of = np.repeat(np.arange(len(sets)), sets.sizes)

    def counted(which: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        return np.bincount(row_of[which], minlength=len(sets))

    has_own = counted(own) >= FEWEST_OWN
    judged = own | (told & ~has_own[row_of])
    sizes = counted(judged)
    share = np.where(has_own, CONTAINED_SHARE, 1.0)
    # An n-gram that no other row has is in no other row.
    possible = (counted(judged & (times > 1)) >= share * sizes) & (sizes >= FEWEST_OWN)
    pairs = _probed_pairs(sets, np.flatnonzero(judged & (times > 1) & possible[row_of]), row_of, times)
    own_parts = sets.where(judged & possible[row_of])
    pairs = pairs[_shared(own_parts, pairs, sets) >= share[pairs[:, 0]] * sizes[pairs[:, 0]]]
    return distinct[pairs[_shared(sets, pairs) >= CONTAINED_IN_ALL * sets.sizes[pairs[:, 0]]]]


def _probed_pairs(
    sets: _Sets, places: npt.NDArray[np.int64], row_of: npt.NDArray[np.int64], times: npt.NDArray[np.int64]
) -> Pairs:
    """Each row with the rows that hold one of its rarest n-grams; ``places`` are those of n-grams to look at."""
    order = places[np.lexsort((_mixed(sets.ids[places]), times[places], row_of[places]))]
    starts = np.flatnonzero(np.diff(row_of[order], prepend=-1))
    rank = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
    probes = order[rank < PROBES]
    probes = probes[np.argsort(times[probes], kind="stable")]
    probes = probes[np.cumsum(times[probes]) <= COUNTED_PAIRS]
    holders = np.argsort(sets.ids, kind="stable")
    begins = np.searchsorted(sets.ids[holders], sets.ids[probes])
    counts = times[probes]
    ends = np.cumsum(counts)
    found = np.arange(counts.sum()) + np.repeat(begins - ends + counts, counts)
    pairs = np.column_stack((np.repeat(row_of[probes], counts), row_of[holders[found]]))
    return np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0)


def _shared(sets: _Sets, pairs: Pairs, others: _Sets | None = None) -> npt.NDArray[np.int64]:
    """How many members the two rows of each pair share; the second row's set is in ``others``, if given."""
    others = sets if others is None else others
    matrix = sets.matrix()
    other_matrix = matrix if others is sets else others.matrix()
    shared = np.zeros(len(pairs), np.int64)
    for block in _blocks(sets.sizes[pairs[:, 0]] + others.sizes[pairs[:, 1]], COMPARED_AT_ONCE):
        both = matrix[pairs[block, 0]].multiply(other_matrix[pairs[block, 1]])
        shared[block] = np.asarray(both.sum(axis=1)).ravel()
    return shared


def _sparse() -> Any:
    """scipy's sparse matrices and the graphs made of them."""
    with needed():
        from scipy import sparse
        from scipy.sparse import csgraph  # noqa: F401
    return sparse


def _blocks(sizes: npt.NDArray[np.int64], most: int) -> Iterator[slice]:
    """Consecutive slices whose sizes sum to about ``most``."""
    number = np.cumsum(sizes) // most
    edges = np.flatnonzero(np.diff(number)) + 1
    starts = np.concatenate(([0], edges, [len(sizes)]))
    for start, stop in pairwise(starts):
        if stop > start:
            yield slice(int(start), int(stop))


def _chains(labels: Labels) -> Pairs:
    """Pairs that connect the rows of equal label, each with the next."""
    order = np.argsort(labels, kind="stable")
    same = labels[order][1:] == labels[order][:-1]
    return np.column_stack((order[:-1][same], order[1:][same])).astype(np.int64)


def _components(count: int, pairs: Pairs) -> Labels:
    """Connected components, numbered as they appear."""
    sparse = _sparse()
    ones = np.ones(len(pairs), np.int8)
    graph = sparse.coo_matrix((ones, (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    labels = sparse.csgraph.connected_components(graph, directed=False)[1]
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse]
