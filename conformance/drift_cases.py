"""Which streams of decisions, feedback and outcomes the vectors of a watch hold."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from reference.drift import Drift, Shift

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Vector = dict[str, Any]
THRESHOLD = 100.0


def numbers(seed: int, count: int, middle: float, spread: float, digits: int = 3) -> list[float]:
    """Numbers in (0, 1) around a middle; few digits give ties."""
    generator = random.Random(seed)
    found = [middle + spread * (generator.random() + generator.random() - 1) for _ in range(count)]
    return [round(min(max(each, 0.001), 0.999), digits) for each in found]


SHIFTS: list[tuple[str, tuple[list[float], list[int]] | None, int, list[float]]] = [
    ("as usual", ([0.25, 0.5, 0.75], [10, 9, 8, 9]), 1, numbers(1, 60, 0.5, 0.5)),
    ("higher", ([0.25, 0.5, 0.75], [10, 9, 8, 9]), 2, numbers(2, 60, 0.8, 0.2)),
    ("lower", ([0.25, 0.5, 0.75], [10, 9, 8, 9]), 3, numbers(3, 60, 0.2, 0.2)),
    ("all in the middle", ([0.125, 0.375, 0.5, 0.625, 0.875], [9, 8, 8, 8, 8, 9]), 4, numbers(4, 60, 0.5, 0.1)),
    ("constant, as ever", ([0.5], [40, 0]), 5, [0.5] * 60),
    ("at a knot: it belongs below", ([0.5], [20, 20]), 6, [0.5, 0.5, 0.501] * 20),
    ("one row", ([0.5], [0, 1]), 7, numbers(7, 40, 0.5, 0.5)),
    ("nobody says: learned from 128, then higher", None, 8, numbers(8, 200, 0.4, 0.3) + numbers(9, 60, 0.7, 0.2)),
    ("nobody says, and few distinct", None, 2**64 - 1, numbers(10, 300, 0.5, 0.5, 1)),
]


def shift_vectors() -> list[Vector]:
    """Capital after every number, of one martingale."""
    found = []
    for explain, usual, seed, values in SHIFTS:
        state = Shift(usual, seed)
        capital = []
        for value in values:
            state.step(value)
            capital.append(state.accounts.capital)
        described = None if usual is None else {"knots": usual[0], "counts": usual[1]}
        found.append(
            {"explain": explain, "what": "shift", "usual": described, "seed": seed, "values": values,
             "capital": capital, "side": state.side}
        )  # fmt: skip
    return found


def events(seed: int, count: int, moved: float, quality: float, known: bool) -> list[list[Any]]:
    """Decisions, some with an outcome or feedback: what is counted, with what."""
    generator = random.Random(seed)
    found: list[list[Any]] = []
    for _ in range(count):
        scores = [
            round(0.4 + moved + 0.3 * generator.random(), 4),
            round(0.6 + moved + 0.3 * generator.random(), 4),
        ]
        found.append(["decided", round(0.02 + 0.98 * generator.random(), 3), scores])
        if generator.random() < 0.6:
            model = generator.randrange(2)
            outcome = float(generator.random() < scores[model] + quality)
            reference = float(generator.random() < scores[1]) if known else None
            found.append(["measured", model, outcome, scores, reference])
            found.append(["graded", outcome - scores[model]])
    return found


STREAMS: list[tuple[str, list[list[Any]]]] = [
    ("nothing changes", events(1, 240, 0.0, 0.0, known=False)),
    ("scores move after 200", events(2, 200, 0.0, 0.0, known=True) + events(3, 100, 0.09, 0.0, known=True)),
    ("answers become worse", events(4, 150, 0.0, 0.0, known=False) + events(5, 250, 0.0, -0.4, known=False)),
    ("answers become worse, beside the reference's", events(6, 260, 0.0, -0.5, known=True)),
    ("what is no number, or out of range, counts nothing",
     [["decided", None, [0.4, 0.6]], ["measured", 0, 1.5, [0.4, 0.6], None],
      ["measured", 1, 1.0, [0.4, 0.6], 1.0]]),
]  # fmt: skip


def stream_vectors(artifacts: Mapping[str, tuple[dict[str, Any], list[float] | None]]) -> list[Vector]:
    """All alarms after a stream, by the artifact with a certificate and one without."""
    found = []
    for name, (header, p_values) in artifacts.items():
        for explain, stream in STREAMS:
            state = Drift(header, p_values, THRESHOLD, 7)
            happens: dict[str, Callable[..., object]] = {
                "decided": state.decide,
                "measured": state.measure,
                "graded": state.grade,
            }
            for what, *given in stream:
                happens[what](*given)
            found.append(
                {"explain": f"{explain}; {name}", "what": "stream", "artifact": name, "threshold": THRESHOLD,
                 "seed": 7, "events": stream, "expect": state.alarms()}
            )  # fmt: skip
    return found
