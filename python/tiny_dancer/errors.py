"""The one exception tree.

Every error names the field at fault, the value found there and the remedy::

    TinyDancerError
    ├── ArtifactError            the artifact cannot be used
    │   ├── ArtifactVersionError     made for another format version
    │   ├── ArtifactChecksumError    bytes differ from their checksum
    │   └── ArtifactSelfCheckError   decides otherwise than when it was made
    ├── EncoderMissingError      the artifact needs the static encoder
    ├── RequestError             a request that cannot be routed as it stands
    ├── OptionError              an option or constraint outside its range
    ├── NoFeasibleModelError     the constraints removed every model
    │   └── NoSuitableAgentError     the constraints removed every agent
    ├── DataError                an outcomes table that cannot be used
    ├── TrainingError            training cannot proceed on these rows
    ├── NotCertifiedError        no policy meets the asked guarantee
    ├── CandidateError           a candidate or candidate set that cannot be used
    ├── StorageError             the database cannot be opened, read or written
    ├── RegistryError            a version that cannot be added, promoted or removed
    ├── ConfigError              a configuration file that cannot be used
    ├── AccessError              an API key that cannot be made, found or changed
    ├── BudgetError              a budget, or an amount charged to one, that cannot be
    │   └── BudgetExceededError      a budget has less left than was asked for
    ├── QueueError               a queued request that cannot be put, claimed or answered
    ├── ModelError               a model that was asked did not answer as asked
    └── MissingExtraError        an optional dependency is not installed
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


class TinyDancerError(Exception):
    """Base of every error this package raises.

    Attributes:
        field: what is at fault (a column, an option, a tensor).
        value: what was found there, as text.
        remedy: what to do about it.
    """

    def __init__(self, field: str, value: object, remedy: str) -> None:
        self.field = _shown(field)
        text = _shown(value)
        self.value = text if len(text) <= 300 else text[:297] + "..."
        self.remedy = remedy
        super().__init__(field, value, remedy)

    def __str__(self) -> str:
        return f"{self.field}: {self.value}; {self.remedy}"


def _shown(value: object) -> str:
    try:
        text = str(value)
    except ValueError:
        return "a number of thousands of digits"
    # A surrogate that stands alone could not be printed.
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()


class ArtifactError(TinyDancerError):
    """The artifact cannot be used."""


class ArtifactVersionError(ArtifactError):
    """The artifact was made for another format version."""


class ArtifactChecksumError(ArtifactError):
    """The artifact's bytes differ from their checksum."""


class ArtifactSelfCheckError(ArtifactError):
    """The artifact decides otherwise than when it was made."""


class EncoderMissingError(TinyDancerError):
    """The artifact needs the static encoder and none was given."""


class RequestError(TinyDancerError):
    """A request that cannot be routed as it stands."""


class OptionError(TinyDancerError):
    """An option or constraint outside its range, or naming an unknown model."""


class NoFeasibleModelError(TinyDancerError):
    """The constraints removed every model; ``value`` lists which removed which."""


class NoSuitableAgentError(NoFeasibleModelError):
    """The constraints removed every agent; ``value`` lists which removed which.

    Attributes:
        removed: by agent, the constraint that removed it.
    """

    def __init__(self, field: str, value: object, remedy: str, removed: Mapping[str, str] | None = None) -> None:
        super().__init__(field, value, remedy)
        self.removed = dict(removed or {})


class DataError(TinyDancerError):
    """An outcomes table that cannot be used."""


class TrainingError(TinyDancerError):
    """Training cannot proceed on these rows."""


class NotCertifiedError(TinyDancerError):
    """No policy meets the asked guarantee on these rows."""


class CandidateError(TinyDancerError):
    """A candidate or candidate set that cannot be used."""


class StorageError(TinyDancerError):
    """The database cannot be opened, read or written."""


class RegistryError(TinyDancerError):
    """A version that cannot be added, promoted or removed."""


class ConfigError(TinyDancerError):
    """A configuration file that cannot be used; ``field`` is the path of the key."""


class AccessError(TinyDancerError):
    """An API key that cannot be made, found or changed."""


class BudgetError(TinyDancerError):
    """A budget that cannot be kept as it stands, or an amount that cannot be charged to one."""


class BudgetExceededError(BudgetError):
    """A budget has less left than was asked for; nothing is reserved, of none.

    Attributes:
        budget: its id, such as ``team/research/1mo``.
        limit: USD.
        spent: USD of the period.
        reserved: USD, by calls under way.
        wanted: USD.
        left: USD that may still be reserved.
        starts_anew: UTC seconds, when the period ends, or the first part of a rolling window does; None: never.
    """

    def __init__(
        self,
        budget: str,
        *,
        limit: float,
        spent: float,
        reserved: float,
        wanted: float,
        left: float,
        starts_anew: float | None,
    ) -> None:
        self.budget, self.limit, self.spent, self.reserved = budget, limit, spent, reserved
        self.wanted, self.left, self.starts_anew = wanted, left, starts_anew
        anew = "it does not start anew" if starts_anew is None else f"wait until {_moment(starts_anew)}"
        held = f", {reserved:.6g} reserved" if reserved else ""
        super().__init__(
            budget,
            f"{wanted:.6g} USD asked for, {left:.6g} left ({spent:.6g} of {limit:.6g} spent{held})",
            f"ask for less, raise the budget, or {anew}"
            if starts_anew is not None
            else f"ask for less, or raise the budget: {anew}",
        )

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions are made again from their arguments, which here are words.
        names = ("limit", "spent", "reserved", "wanted", "left", "starts_anew")
        return _exceeded, (type(self), self.budget, {name: getattr(self, name) for name in names})


def _moment(seconds: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(math.ceil(seconds), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _exceeded(kind: type[BudgetExceededError], budget: str, numbers: Mapping[str, Any]) -> BudgetExceededError:
    return kind(budget, **numbers)


class QueueError(TinyDancerError):
    """A queued request that cannot be put, claimed or answered; ``field`` is ``id`` where there is none."""


class ModelError(TinyDancerError):
    """A model that was asked cannot be reached, refuses, takes too long, or does not answer as asked; ``field`` is
    its name."""


class MissingExtraError(TinyDancerError):
    """An optional dependency is not installed; ``remedy`` says what to install."""
