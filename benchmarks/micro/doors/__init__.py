"""What a binding's file here brings, for ``bench_doors.py``: see :class:`Given` and :class:`Measured`.

Each file is a door, with ``LABEL``, as the table prints it, and ``measure(given) -> Measured | str``: a text says
why it cannot be measured here.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Given:
    """What every door measures.

    Attributes:
        artifact: the default router.
        encoder: the one it needs.
        edge: the router that needs none.
        requests: a JSON list of texts; a decision takes a text, and gives model and reason.
        candidates: JSON: ``dimensions``, ``query`` (numbers) and ``rows`` (lists of numbers).
        vectors: the same as float32: how many numbers a row, the query, the rows.
        rounds: a round goes through all requests several times; the best counts.
        folder: for files of the door's own.
    """

    artifact: Path
    encoder: Path
    edge: Path
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
        edge_us: microseconds a decision by the router that needs no encoder; None where there is no build for it.
    """

    decide_us: float
    rank_us: float | None = None
    note: str = ""
    extra: dict[str, float] = field(default_factory=dict)
    edge_us: float | None = None


DIMENSIONS, ROWS = 384, 100
SENTENCE = "{}. Explain how a heat pump warms a house in winter, and what it costs to run for {} days a year. "


def prepared(data: Path, folder: Path, rounds: int) -> Given:
    """32 requests of 40 to 420 characters, and 100 candidates of 384 numbers."""
    texts = [(SENTENCE.format(number, 300 - number) * 4)[: 40 + 12 * number] for number in range(32)]
    draw = np.random.default_rng(0)
    query, rows = draw.normal(size=DIMENSIONS), draw.normal(size=(ROWS, DIMENSIONS))
    requests, candidates, vectors = folder / "requests.json", folder / "candidates.json", folder / "vectors.f32"
    requests.write_text(json.dumps(texts), encoding="utf-8")
    known = {"dimensions": DIMENSIONS, "query": query.tolist(), "rows": rows.tolist()}
    candidates.write_text(json.dumps(known), encoding="utf-8")
    vectors.write_bytes(np.concatenate([[DIMENSIONS], query, rows.ravel()]).astype(np.float32).tobytes())
    artifact, encoder = data / "default.safetensors", data / "encoder.safetensors"
    edge = data / "edge.safetensors"
    return Given(artifact, encoder, edge, requests, candidates, vectors, rounds, folder)


def without(*tools: str) -> str | None:
    """What is missing of these commands, in words."""
    absent = [tool for tool in tools if shutil.which(tool) is None]
    return f"needs {', '.join(absent)}" if absent else None


def printed(*command: str, **options: str) -> str:
    """What a command prints; ``options`` are variables of its environment."""
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | options)
    return done.stdout
