"""Which rows an artifact was trained on, without the rows: a Bloom filter (Bloom 1970) of sketches in its header.

A row's eight sketches are three MinHashes each (Broder 1997) of its n-grams, without those that are common in the
training table (a template's, say). Equal rows share all eight; rows whose n-gram sets have a Jaccard similarity J
share each with probability J³, so three of eight are found for J = .8 in 86 % of cases, for .9 in 99 %, for .5 in
7 % and for .3 in 0.1 %. Rows with too few n-grams of their own are remembered exactly. What the filter itself
takes for a sketch by mistake makes at most one row in 200 look like one trained on: :func:`_least_shared` asks for
more than three sketches where it has to.

Where there are texts, n-grams are of what they say beneath disguises (:mod:`tiny_dancer.evaluation.disguise`), a
second filter remembers each row without spacing and punctuation, and of texts the beginnings, ends, lines and
paragraphs are looked up as well: a training row with a page in front or behind is found by them.

A filter of the older kind, which finds equal rows alone, is still read.
"""

from __future__ import annotations

import base64
import hashlib
import math
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tiny_dancer import _core
from tiny_dancer.errors import DataError
from tiny_dancer.evaluation.disguise import FEWEST_SQUEEZED, Texts, kin_features, squeezed, undisguised
from tiny_dancer.evaluation.groups import NGRAM_SPACE, min_hashes
from tiny_dancer.routing import featurise
from tiny_dancer.routing.router import needs_encoder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import numpy.typing as npt

    from tiny_dancer.types import FeatureTable

    Flags = npt.NDArray[np.bool_]
    Keys = npt.NDArray[np.uint64]

MOST_SEEN = 0.02
"""Share of held-out rows that may look like training rows: common short requests repeat."""
SKETCHES = 8
MIN_HASHES = 3
_LEAST_SHARED = 3
_HASHES = 4
_BITS_A_SKETCH = 8
_BITS_A_TEXT = 16
_TEXT_HASHES = 8
_MOST_ROWS = 4800
"""Rows remembered, 64 bits each and 16 for its text; of a larger table those whose first sketch is smallest.
Filters and common n-grams together then take less than 64 KiB of the header."""
_COMMON_SHARE = 0.05
_MOST_COMMON = 2000
_FEWEST_NGRAMS = 8
_MOST_MISTAKEN = 0.005
# Parts of texts that are looked up: characters of the shortest and the longest, how they grow, how many lines and
# paragraphs of a text, and in runs of how many; and how many rows and characters of a table at most.
_LEAST_OF_PARTS = 5
_SHORTEST_PART = 40
_LONGEST_PART = 8192
_GROWTH = 1.2
_MOST_LINES = 32
_LINES = (1, 2, 3, 4, 6, 8)
_PARTED_ROWS = 2000
_PARTED_CHARACTERS = 4_000_000


@dataclass(frozen=True, slots=True)
class Overlap:
    """What of a table an artifact was trained on.

    Attributes:
        rows: bool [n], rows that equal or nearly equal one trained on.
        share: of the rows; where the artifact remembers a part of its training rows, scaled up to all, and less
            those its filter takes for one by mistake.
    """

    rows: Flags
    share: float

    @property
    def too_much(self) -> bool:
        """Whether more of them were trained on than repeated short requests account for."""
        return self.share > MOST_SEEN


def optimistic(share: float) -> str:
    """What is said of figures on rows of which a share was trained on; empty for a share that means little."""
    if share <= MOST_SEEN:
        return ""
    return f"About {share:.0%} of these rows were trained on: the figures are optimistic."


def dropped_note(rows: int) -> str:
    """What is said of rows left out because they look like rows trained on; empty for none."""
    if not rows:
        return ""
    what = (
        "1 row that equals or nearly equals one" if rows == 1 else f"{rows:,} rows that equal or nearly equal some"
    )
    return f"Left out: {what} trained on."


def remember(features: FeatureTable, texts: Texts | None = None, *, most: int = _MOST_ROWS) -> dict[str, Any]:
    """A filter of these rows, as JSON values; the same for any order of the rows.

    ``most`` is how many it has room for; shares found with fewer of them are scaled up.
    """
    features = kin_features(features, texts)
    frequency = np.bincount(features.ngrams, minlength=NGRAM_SPACE)
    frequent = max(4.0, _COMMON_SHARE * len(features))
    chosen = np.argsort(-frequency, kind="stable")[:_MOST_COMMON]
    common = np.zeros(NGRAM_SPACE, np.bool_)
    common[chosen] = frequency[chosen] > frequent
    packed = zlib.compress(np.packbits(common).tobytes(), 9)
    keys = _text_keys(features, common)
    kept = _kept(keys, most)
    memory = {**_filter(keys, kept), "common": base64.b85encode(packed).decode()}
    if texts is not None:
        said = texts.said()
        memory |= {"texts": _packed_texts([said[row] for row in kept])}
    return memory


def remember_inputs(inputs: Sequence[Any]) -> dict[str, Any]:
    """A filter of a classifier's inputs: texts, or sequences of vectors, of which equal ones are found."""
    if isinstance(inputs[0], str):
        return remember(featurise(inputs, None, None), Texts(inputs))
    keys = _exact_keys(_vector_bytes(inputs))
    return _filter(keys, _kept(keys))


def training_rows(
    header: Mapping[str, Any], features: FeatureTable, texts: Texts | None = None, *, copies_only: bool = False
) -> Overlap:
    """Which of these rows the artifact of this header was trained on; none where it remembers nothing.

    Args:
        header: of the artifact.
        features: n rows.
        texts: theirs; without them, disguised rows and those with long text added are not found. Of a large table
            a sample of rows is looked at for the latter.
        copies_only: leave out near copies: for tables of short texts, which resemble each other by chance.
    """
    # Rows that a model was added from are remembered beside those of training.
    memories = [header.get("training") or {}, *header.get("added", [])]
    rows, share = np.zeros(len(features), np.bool_), 0.0
    seen = [each["rows_seen"] for each in memories if each.get("rows_seen") is not None]
    if not seen or not len(features):
        return Overlap(rows, share)
    # A request router without encoder remembers what it saw; in other kinds' headers features are something else.
    if isinstance(header.get("features"), dict) and not needs_encoder(header):
        features = _core.without_encoder(features)
    bare = kin_features(features, texts)
    said = None if texts is None else texts.said()
    for memory in seen:
        found = _remembered(memory, bare, said, copies_only=copies_only)
        rows, share = rows | found.rows, min(1.0, share + found.share)
        if said is not None and not copies_only and "sketches" in memory:
            parts = _remembered_parts(memory, said, np.flatnonzero(~rows), features.spec)
            rows, share = rows | parts.rows, min(1.0, share + parts.share)
    return Overlap(rows, share)


def _remembered(
    memory: Mapping[str, Any], features: FeatureTable, said: list[str] | None, *, copies_only: bool
) -> Overlap:
    """Which of these rows one filter remembers."""
    if "sketches" not in memory:
        return _found(memory, _older_positions(features, memory["bits"])[:, None], 1)
    keys = _text_keys(features, _common(memory))
    found = _found(memory, _positions(keys, memory["bits"]), SKETCHES if copies_only else None)
    if said is None or "texts" not in memory:
        return found
    filled: Flags = _unpacked(memory["texts"])
    positions = _squeezed_positions(said, len(filled))
    rows = (positions >= 0).all(axis=1) & filled[positions].all(axis=1)
    more = rows & ~found.rows
    error = float(filled.mean()) ** _TEXT_HASHES
    return Overlap(
        found.rows | rows, min(1.0, found.share + _beyond(float(more.mean()), error, len(said), memory))
    )


def _remembered_parts(
    memory: Mapping[str, Any], said: list[str], rows: npt.NDArray[np.int64], spec: str
) -> Overlap:
    """Which of some rows hold a remembered one as a part; of many rows, a sample is looked at."""
    found = np.zeros(len(said), np.bool_)
    drawn = np.sort(np.random.Generator(np.random.PCG64(20)).permutation(rows)[:_PARTED_ROWS])
    sizes = np.cumsum([min(len(said[row]), 2 * _LONGEST_PART) for row in drawn])
    looked_at = drawn[: int(np.searchsorted(sizes, _PARTED_CHARACTERS)) + 1]
    parts = [(int(row), part) for row in looked_at for part in _parts(undisguised(said[row]))]
    if not parts:
        return Overlap(found, 0.0)
    owner = np.array([row for row, _ in parts])
    common = _common(memory)
    # Each row has many parts: none of them may look like a remembered row by chance.
    filled, mistaken = _unpacked(memory["filter"]), _mistaken(memory)
    many = len(parts) / len(np.unique(owner))
    least = min(SKETCHES, max(_LEAST_OF_PARTS, _least_shared(mistaken, _MOST_MISTAKEN / many)))
    for start in range(0, len(parts), _PARTED_ROWS):
        features = featurise([part for _, part in parts[start : start + _PARTED_ROWS]], None, None, spec)
        own = np.flatnonzero(_own_ngrams(features, common) >= _FEWEST_NGRAMS)
        if not len(own):
            continue
        positions = _positions(_text_keys(features.rows(own), common), memory["bits"])
        hits = filled[positions].all(axis=2).sum(axis=1) >= least
        found[owner[start + own[hits]]] = True
    error = min(1.0, many * _chance(mistaken, least))
    share = _beyond(float(found[looked_at].mean()), error, len(looked_at), memory)
    return Overlap(found, share * len(rows) / len(said))


def _parts(text: str) -> Iterator[str]:
    """Beginnings and ends of a text, its lines and its paragraphs: of any length, to a tenth."""
    length = float(_SHORTEST_PART)
    while length < min(len(text) * 0.95, _LONGEST_PART):
        yield text[: int(length)]
        yield text[-int(length) :]
        length *= _GROWTH
    # Between two pages a row is neither beginning nor end.
    for separator in ("\n\n", "\n"):
        pieces = text.split(separator, _MOST_LINES)[:_MOST_LINES]
        if len(pieces) > 1:
            runs = (separator.join(pieces[at : at + run]) for run in _LINES for at in range(len(pieces) - run + 1))
            yield from (run for run in runs if _SHORTEST_PART <= len(run) <= min(_LONGEST_PART, 0.95 * len(text)))


def training_inputs(header: Mapping[str, Any], inputs: Any) -> Overlap:
    """Which of these inputs a classifier was trained on: equal ones, since short texts resemble each other."""
    memory = (header.get("training") or {}).get("rows_seen")
    if memory is None or not len(inputs):
        return Overlap(np.zeros(len(inputs), np.bool_), 0.0)
    if header["input"]["kind"] == "tokens":
        texts = [str(each) for each in inputs]
        return training_rows(header, featurise(texts, None, None), Texts(texts), copies_only=True)
    return _found(memory, _positions(_exact_keys(_vector_bytes(inputs)), memory["bits"]), SKETCHES)


def held_out(overlap: Overlap) -> npt.NDArray[np.int64]:
    """Rows that may be calibrated on: those not trained on.

    Raises:
        DataError: more of them were trained on than repeated short requests account for.
    """
    if overlap.too_much:
        raise DataError(
            "table",
            f"about {overlap.share:.0%} of its rows were trained on",
            "calibrate on rows held out from training",
        )
    return np.flatnonzero(~overlap.rows)


def _common(memory: Mapping[str, Any]) -> Flags:
    """N-grams that were common among the rows remembered, bool [NGRAM_SPACE]."""
    packed = zlib.decompress(base64.b85decode(memory["common"]))
    return np.unpackbits(np.frombuffer(packed, np.uint8)).astype(np.bool_)


def _own_ngrams(features: FeatureTable, common: Flags) -> npt.NDArray[np.int64]:
    """How many n-grams of each row are not common, int64 [n]."""
    return np.diff(
        np.concatenate(([0], np.cumsum(~common[features.ngrams], dtype=np.int64)))[features.ngram_offsets]
    )


def _text_bits(rows: int) -> int:
    return 8 * math.ceil(max(64, _BITS_A_TEXT * rows) / 8)


def _packed_texts(texts: Sequence[str]) -> str:
    bits = _text_bits(len(texts))
    return _packed(_squeezed_positions(texts, bits), bits)


def _squeezed_positions(texts: Sequence[str], bits: int) -> npt.NDArray[np.int64]:
    """Bits of each text without spacing and punctuation, int64 [n, hashes]; -1 for one that says too little."""
    positions = np.full((len(texts), _TEXT_HASHES), -1, np.int64)
    for row, text in enumerate(texts):
        key = squeezed(text)
        if len(key) >= FEWEST_SQUEEZED:
            digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=4 * _TEXT_HASHES).digest()
            positions[row] = np.frombuffer(digest, "<u4") % bits
    return positions


def _text_keys(features: FeatureTable, common: Flags) -> Keys:
    """Sketches, uint64 [n, SKETCHES]."""
    kept = ~common[features.ngrams]
    offsets = np.concatenate(([0], np.cumsum(kept, dtype=np.int64)))[features.ngram_offsets]
    keys = np.empty((len(features), SKETCHES), np.uint64)
    alone = np.diff(offsets) < _FEWEST_NGRAMS
    own = np.flatnonzero(~alone)
    hashes = min_hashes(offsets, features.ngrams[kept], own, SKETCHES * MIN_HASHES)
    parts = hashes.reshape(len(own), SKETCHES, MIN_HASHES).astype(np.uint64)
    mixed = np.broadcast_to(np.arange(SKETCHES, dtype=np.uint64), parts.shape[:2]).copy()
    for part in range(MIN_HASHES):
        mixed = (mixed ^ parts[:, :, part]) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
    keys[own] = mixed
    keys[alone] = _exact_keys(_feature_bytes(features, int(row)) for row in np.flatnonzero(alone))
    return keys


def _feature_bytes(features: FeatureTable, row: int) -> bytes:
    start, end = features.ngram_offsets[row : row + 2]
    ngrams, embedding = np.ascontiguousarray(features.ngrams[start:end]), features.embedding[row]
    return bytes(ngrams) + bytes(embedding)


def _vector_bytes(inputs: Any) -> Iterable[bytes]:
    return (np.ascontiguousarray(each, "<f4").tobytes() for each in inputs)


def _exact_keys(rows: Iterable[bytes]) -> Keys:
    """uint64 [n, SKETCHES]: hashes of the bytes."""
    digests = b"".join(hashlib.blake2b(row, digest_size=8 * SKETCHES).digest() for row in rows)
    return np.frombuffer(digests, "<u8").reshape(-1, SKETCHES).astype(np.uint64)


def _positions(keys: Keys, bits: int) -> npt.NDArray[np.int64]:
    """The filter's bits for each sketch, int64 [n, SKETCHES, hashes] (Kirsch and Mitzenmacher 2006)."""
    first, second = keys >> np.uint64(32), keys & np.uint64(0xFFFFFFFF)
    steps = np.arange(_HASHES, dtype=np.uint64)
    return ((first[..., None] + steps * (second[..., None] | np.uint64(1))) % np.uint64(bits)).astype(np.int64)


def _kept(keys: Keys, most: int = _MOST_ROWS) -> npt.NDArray[np.int64]:
    """Which rows are remembered."""
    return np.argsort(keys[:, 0], kind="stable")[:most]


def _filter(keys: Keys, kept: npt.NDArray[np.int64]) -> dict[str, Any]:
    bits = 8 * math.ceil(max(64, _BITS_A_SKETCH * SKETCHES * len(kept)) / 8)
    packed = _packed(_positions(keys[kept], bits), bits)
    return {"sketches": SKETCHES, "bits": bits, "filter": packed, "kept": len(kept) / max(1, len(keys))}


def _packed(positions: npt.NDArray[np.int64], bits: int) -> str:
    """A filter with these bits set; negative positions are none."""
    filled = np.zeros(bits, np.bool_)
    filled[positions[positions >= 0]] = True
    return base64.b85encode(np.packbits(filled).tobytes()).decode()


def _unpacked(packed: str) -> Flags:
    bits: Flags = np.unpackbits(np.frombuffer(base64.b85decode(packed), np.uint8)).astype(np.bool_)
    return bits


def _mistaken(memory: Mapping[str, Any]) -> float:
    """Probability that the filter takes a sketch for a remembered one by mistake."""
    return float(_unpacked(memory["filter"])[: memory["bits"]].mean()) ** _HASHES


def _chance(mistaken: float, least: int, sketches: int = SKETCHES) -> float:
    """Probability that at least so many of a row's sketches are mistaken for remembered ones."""
    terms = (
        math.comb(sketches, shared) * mistaken**shared * (1 - mistaken) ** (sketches - shared)
        for shared in range(least, sketches + 1)
    )
    return math.fsum(terms)


def _least_shared(mistaken: float, most: float = _MOST_MISTAKEN) -> int:
    """Sketches that must be found for a row to be; a sketch is mistaken for one found with this probability."""
    return next((least for least in range(_LEAST_SHARED, SKETCHES) if _chance(mistaken, least) <= most), SKETCHES)


def _found(memory: Mapping[str, Any], positions: npt.NDArray[np.int64], needed: int | None) -> Overlap:
    """Rows of whose sketches enough are in the filter; positions int64 [n, sketches, hashes]."""
    mistaken = _mistaken(memory)
    least = _least_shared(mistaken) if needed is None else needed
    rows = _unpacked(memory["filter"])[positions].all(axis=2).sum(axis=1) >= least
    error = _chance(mistaken, least, positions.shape[1])
    return Overlap(rows, _beyond(float(rows.mean()), error, len(rows), memory))


def _beyond(share: float, error: float, rows: int, memory: Mapping[str, Any]) -> float:
    """The share found beyond what the filter's mistakes explain, scaled up to all rows that were trained on."""
    noise = 4 * math.sqrt(error * (1 - error) / rows)
    share = 0.0 if share <= error + noise else (share - error) / (1 - error)
    kept: float = memory.get("kept", 1.0)
    return min(1.0, share / kept)


def _older_positions(features: FeatureTable, bits: int) -> npt.NDArray[np.int64]:
    """Bits of a filter of exact features, int64 [n, hashes]: how artifacts before format 1.1 remember rows."""
    positions = np.empty((len(features), _HASHES), np.int64)
    for row, (start, end) in enumerate(zip(features.ngram_offsets[:-1], features.ngram_offsets[1:], strict=True)):
        key = hashlib.blake2b(np.ascontiguousarray(features.ngrams[start:end]).tobytes(), digest_size=4 * _HASHES)
        key.update(features.embedding[row].tobytes())
        positions[row] = np.frombuffer(key.digest(), "<u4") % bits
    return positions
