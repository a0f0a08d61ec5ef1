"""Fallback level 2: stated rules on the structure of a request, which need no artifact.

Each rule says "a weaker model is more likely to fail here than elsewhere", and was kept because that held on every
visible table where it fires often enough to tell (MMLU and GSM8K with a Mixtral / GPT-4 pair, fourteen tasks with
three pairs of open models). Together they send 38-50 % of those requests to the strong model and recover .07-.18
of the quality between the two models beyond what as many random calls would (.40 for one of the open pairs);
``benchmarks/micro/bench_resilience.py`` measures it.

Be warned: that is little, most of it is length, and length is the only signal that transferred across all tables.
By itself it reaches an APGR of .54 (MMLU), .62 (GSM8K) and .57-.80 (open pairs), where .5 is random. Thresholds
are round numbers, not fitted. That a question is multiple choice, on which one is tempted to build a rule, pointed
the wrong way outside MMLU. This is a stopgap for minutes, not a router.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log1p
from typing import TYPE_CHECKING

from tiny_dancer import _core

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

LONG_WORDS = 60
"""Words from which on a request counts as long."""

# Cue, least value (counts are stored as log(1 + n)), what it means.
_RULES = tuple(
    (_core.CUE_NAMES.index(cue), least, meaning)
    for cue, least, meaning in (
        ("log_words", log1p(LONG_WORDS), f"long: {LONG_WORDS} words or more"),
        ("conditions", log1p(2), "several conditions"),
        ("comparisons", log1p(2), "several comparisons"),
        ("latex", log1p(1), "mathematics: formulas"),
        ("operators", log1p(2), "mathematics: operators"),
        ("code_punctuation", log1p(2), "code"),
    )
)
_TOLERANCE = 1e-6  # cues are float32


@dataclass(frozen=True, slots=True)
class Hint:
    """Whether a request deserves the strong model, and the rule that says so."""

    strong: bool
    rule: str


def hint(cues: npt.NDArray[np.float32]) -> Hint:
    """What the rules say of a request's cues, float32 [number of cues]; the first rule that fires is named."""
    for index, least, meaning in _RULES:
        if cues[index] >= least - _TOLERANCE:
            return Hint(True, meaning)
    return Hint(False, f"short and plain: under {LONG_WORDS} words, no rule fires")
