"""Which candidates a search may return."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tiny_dancer.errors import OptionError
from tiny_dancer.storage.check import integer, metadata_text, share, stored_text, utc_seconds

if TYPE_CHECKING:
    from tiny_dancer.storage.records import CandidateRecord


@dataclass(frozen=True, slots=True)
class Filter:
    """Conditions that must all hold; the default lets every candidate pass.

    Attributes:
        equals: metadata keys and the value each must have: text, a number, true or false. It becomes the text that
            stands for it in metadata: 1, 1.0 and ``"1"`` are one, True is ``"true"``.
        any_of: metadata keys and the values each may have.
        has: metadata keys that must be there, whatever their value.
        ids: the candidate is one of these.
        groups: its group is one of these.
        created_from: created at or after, UTC seconds.
        created_before: created before, UTC seconds.
        min_success_rate: mean feedback score at least this; removes candidates without trials.
        min_trials: trials at least this many.
        min_confidence: confidence at least this; removes candidates without one.
    """

    equals: Mapping[str, Any] = field(default_factory=dict)
    any_of: Mapping[str, Collection[Any]] = field(default_factory=dict)
    has: Collection[str] = ()
    ids: Collection[str] | None = None
    groups: Collection[str] | None = None
    created_from: float | None = None
    created_before: float | None = None
    min_success_rate: float | None = None
    min_trials: int = 0
    min_confidence: float | None = None

    def __post_init__(self) -> None:
        for name in ("equals", "any_of"):
            if not isinstance(getattr(self, name), Mapping):
                raise OptionError(f"filter.{name}", getattr(self, name), "give a mapping from metadata keys")
        for name in ("has", "ids", "groups"):
            values = getattr(self, name)
            for value in () if values is None else _listed(f"filter.{name}", values):
                stored_text(f"filter.{name}", value, empty=True, error=OptionError)
        for key in (*self.equals, *self.any_of):
            stored_text("filter key", key, empty=True, error=OptionError)
        equals = {
            key: metadata_text(f"filter.equals[{key}]", value, error=OptionError)
            for key, value in self.equals.items()
        }
        any_of = {
            key: [
                metadata_text(f"filter.any_of[{key}]", value, error=OptionError)
                for value in _listed(f"filter.any_of[{key}]", values)
            ]
            for key, values in self.any_of.items()
        }
        # Metadata is kept as text: what is looked for has the same form.
        object.__setattr__(self, "equals", equals)
        object.__setattr__(self, "any_of", any_of)
        for name in ("created_from", "created_before"):
            if getattr(self, name) is not None:
                utc_seconds(f"filter.{name}", getattr(self, name), error=OptionError)
        share("filter.min_success_rate", self.min_success_rate, error=OptionError)
        integer("filter.min_trials", self.min_trials, error=OptionError)
        share("filter.min_confidence", self.min_confidence, error=OptionError)

    @property
    def empty(self) -> bool:
        """Whether every candidate passes."""
        return self == EVERYTHING

    def passes(self, record: CandidateRecord) -> bool:
        """Whether a candidate may be returned."""
        metadata, rate = record.metadata, record.success_rate
        return (
            all(metadata.get(key) == value for key, value in self.equals.items())
            and all(metadata.get(key) in values for key, values in self.any_of.items())
            and all(key in metadata for key in self.has)
            and (self.ids is None or record.id in self.ids)
            and (self.groups is None or record.group in self.groups)
            and (self.created_from is None or record.created_at >= self.created_from)
            and (self.created_before is None or record.created_at < self.created_before)
            and (self.min_success_rate is None or (rate is not None and rate >= self.min_success_rate))
            and record.trial_count >= self.min_trials
            and (
                self.min_confidence is None
                or (record.confidence is not None and record.confidence >= self.min_confidence)
            )
        )


def _listed(field: str, values: object) -> Collection[Any]:
    if isinstance(values, str) or not isinstance(values, Collection):
        raise OptionError(field, values, "give a list of texts")
    return values


EVERYTHING = Filter()
