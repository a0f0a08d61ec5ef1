"""Decisions of recent requests, found again by similarity: what fallback level 1 answers from."""

from __future__ import annotations

import math
import time
from collections import OrderedDict, deque
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from tiny_dancer import _core
from tiny_dancer.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    import numpy.typing as npt

T = TypeVar("T")

LONGEST_TEXT = 32_768
"""Characters (or bytes of a vector); longer requests are not remembered, which bounds the memory a cache takes."""


@dataclass(frozen=True, slots=True)
class Similar(Generic[T]):
    """A remembered value.

    Attributes:
        value: as remembered.
        similarity: cosine of the two requests, in [-1, 1]; 1 for the same text.
        age: seconds since it was remembered.
    """

    value: T
    similarity: float
    age: float


@dataclass(frozen=True, slots=True)
class _Entry(Generic[T]):
    row: int
    value: T
    at: float


class DecisionCache(Generic[T]):
    """The last requests with what was decided, least recently used first out. Share it between threads.

    Remembering happens on every decision and costs a fraction of a microsecond; sorting what was remembered and
    computing vectors wait until something is looked up, that is, for an outage.

    A request is a text and its context. The context (system prompt, earlier turns, tools) has to be equal: it is
    often longer than what is asked, and would make any two requests of one application look alike. The text is
    compared by cosine of static embeddings. Where requests are embeddings already, give their float32 bytes as the
    text, and :func:`encode_vectors` as ``encode``. Texts stay in this process's memory and go nowhere else.
    """

    def __init__(
        self,
        *,
        similarity: float = 0.95,
        confidence: float = 0.5,
        longest_age: float = 900.0,
        capacity: int = 1024,
        clock: Callable[[], float] = time.monotonic,
        encode: Callable[[Sequence[Any]], npt.NDArray[np.float32]] = _core.encode,
    ) -> None:
        """Empty.

        Args:
            similarity: least cosine at which two requests count as similar, in (0, 1].
            confidence: decisions below it are not remembered, in [0, 1].
            longest_age: seconds after which a decision is no longer used.
            capacity: decisions remembered; also how many are taken in between two look-ups.
            clock: seconds that never go back.
            encode: n texts → float32 [n, d], rows of length 1 or 0.

        Raises:
            OptionError: a number outside its range.
        """
        if not 0 < similarity <= 1:
            raise OptionError("similarity", similarity, "give a cosine in (0, 1]")
        if not 0 <= confidence <= 1:
            raise OptionError("confidence", confidence, "give a probability in [0, 1]")
        if not (math.isfinite(longest_age) and longest_age > 0):
            raise OptionError("longest_age", longest_age, "give seconds above 0")
        if isinstance(capacity, bool) or not isinstance(capacity, int) or capacity < 1:
            raise OptionError("capacity", repr(capacity), "give a whole number ≥ 1")
        self._similarity, self._confidence = similarity, confidence
        self._longest_age, self._capacity = longest_age, capacity
        self._clock, self._encode = clock, encode
        # What was put since the last look-up: appending is atomic, so that remembering needs no lock.
        self._fresh: deque[tuple[tuple[Hashable, str | bytes], T, float]] = deque(maxlen=capacity)
        self._lock = Lock()
        self._entries: OrderedDict[tuple[Hashable, str | bytes], _Entry[T]] = OrderedDict()
        self._keys: list[tuple[Hashable, str | bytes]] = []  # row → key
        self._waiting: dict[int, str | bytes] = {}  # rows without a vector, and their text
        self._vectors: npt.NDArray[np.float32] | None = None

    def __len__(self) -> int:
        with self._lock:
            self._take_in()
            return len(self._entries)

    def put(self, text: str | bytes, context: Hashable, value: T, confidence: float) -> None:
        """Remembers ``value`` for a request, in place of what was remembered for the same one."""
        if confidence >= self._confidence and len(text) <= LONGEST_TEXT:  # a NaN is below every floor
            self._fresh.append(((context, text), value, self._clock()))

    def find(self, text: str | bytes, context: Hashable, accept: Callable[[T], bool]) -> Similar[T] | None:
        """The most similar request's value among those fresh, similar enough and accepted.

        The same text is found without its vector, so also when the encoder fails.
        """
        now = self._clock()
        with self._lock:
            self._take_in()
            same = self._entries.get((context, text))
            if same is not None and now - same.at < self._longest_age and accept(same.value):
                self._entries.move_to_end((context, text))
                return Similar(same.value, 1.0, now - same.at)
            if not any(key[0] == context for key in self._entries):
                return None
            vectors = self._encoded()
            cosines = vectors @ self._encode([text])[0]
            rows = np.flatnonzero(cosines >= self._similarity)
            for row in rows[np.argsort(-cosines[rows], kind="stable")]:
                key = self._keys[row]
                if key[0] != context:
                    continue
                entry = self._entries[key]
                if now - entry.at < self._longest_age and accept(entry.value):
                    self._entries.move_to_end(key)
                    return Similar(entry.value, min(1.0, float(cosines[row])), now - entry.at)
        return None

    def clear(self) -> None:
        """Forgets everything."""
        with self._lock:
            self._fresh.clear()
            self._entries.clear()
            self._keys.clear()
            self._waiting.clear()

    def _take_in(self) -> None:
        """Moves what was put into its rows; the least recently used give way."""
        while self._fresh:
            key, value, at = self._fresh.popleft()
            old = self._entries.pop(key, None)
            if old is not None:
                row = old.row
            else:
                if len(self._entries) < self._capacity:
                    row = len(self._keys)
                    self._keys.append(key)
                else:
                    row = self._entries.popitem(last=False)[1].row
                    self._keys[row] = key
                self._waiting[row] = key[1]
            self._entries[key] = _Entry(row, value, at)

    def _encoded(self) -> npt.NDArray[np.float32]:
        """Vectors of all rows, float32 [rows, d]; computes those that are missing."""
        if self._waiting:
            fresh = self._encode(list(self._waiting.values()))
            if self._vectors is None:
                self._vectors = np.zeros((self._capacity, fresh.shape[1]), np.float32)
            self._vectors[list(self._waiting)] = fresh
            self._waiting.clear()
        assert self._vectors is not None  # every row has waited once
        return self._vectors[: len(self._keys)]


def encode_vectors(rows: Sequence[bytes]) -> npt.NDArray[np.float32]:
    """float32 bytes of n embeddings of one dimension d → float32 [n, d] of length 1; zero rows stay zero."""
    vectors = np.stack([np.frombuffer(row, np.float32) for row in rows])
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)
