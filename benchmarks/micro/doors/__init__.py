"""What a binding's file here brings, for ``bench_doors.py``: see :class:`Given` and :class:`Measured`.

Each file is a door, with ``LABEL``, as the table prints it, and ``measure(given) -> Measured | str``: a text says
why it cannot be measured here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Given:
    """What every door measures.

    Attributes:
        artifact: the default router.
        encoder: the one it needs.
        requests: a JSON list of texts; a decision takes a text, and gives model and reason.
        candidates: JSON: ``dimensions``, ``query`` (numbers) and ``rows`` (lists of numbers).
        vectors: the same as float32: how many numbers a row, the query, the rows.
        rounds: a round goes through all requests several times; the best counts.
        folder: for files of the door's own.
    """

    artifact: Path
    encoder: Path
    requests: Path
    candidates: Path
    vectors: Path
    rounds: int
    folder: Path


@dataclass(frozen=True)
class Measured:
    """What a door takes.

    Attributes:
        decide_us: microseconds a decision, in the best round.
        rank_us: microseconds to rank 100 candidates of 384 numbers that are there already, and give ten; None
            where there is no way by numbers.
        note: what is in it.
        extra: other figures by their names.
    """

    decide_us: float
    rank_us: float | None = None
    note: str = ""
    extra: dict[str, float] = field(default_factory=dict)


def without(*tools: str) -> str | None:
    """What is missing of these commands, in words."""
    absent = [tool for tool in tools if shutil.which(tool) is None]
    return f"needs {', '.join(absent)}" if absent else None


def printed(*command: str, **options: str) -> str:
    """What a command prints; ``options`` are variables of its environment."""
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | options)
    return done.stdout
