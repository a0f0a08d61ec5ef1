"""What NULL means in every database that has the functions, asked of each by the same cases.

NULL options ask nothing, a NULL state is that before the first outcome, and of a NULL request nothing is known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

TEXT, REQUEST, NONE = "What is the capital of France?", '"What is the capital of France?"', "{}"
STRONG = '{"pin": "strong"}'
AGENTS = '[{"name": "a", "quality": 0.9, "cost_per_call": 0.01}]'
QUERY = '{"optimize_for": "quality", "now": 0}'
OUTCOME = '{"at": 1, "success": true}'
CANDIDATES, LOOKED_FOR = '[{"id": "a", "text": "tea"}]', '{"text": "tea"}'
IDS, TEXTS = ["a", "b"], ["pears are green", "a red fruit"]
VECTORS, VECTOR = [[1.0, 0.0], [0.0, 1.0]], [0.0, 1.0]
RED = "which fruit is red"

SAME: tuple[tuple[str, tuple[Any, ...], tuple[Any, ...]], ...] = (
    ("decide_model", (TEXT, None), (TEXT,)),
    ("decide_json", (REQUEST, None), (REQUEST, NONE)),
    ("decide_by", ("checksum", TEXT, None), ("checksum", TEXT)),
    ("agent_state_after", (None, OUTCOME), ("", OUTCOME)),
    ("rank", (RED, IDS, TEXTS, None, None, None), (RED, IDS, TEXTS)),
    ("rank", (None, IDS, None, VECTORS, VECTOR, None), (None, IDS, None, VECTORS, VECTOR, NONE)),
)
"""Function, arguments with a NULL, and others that are to have the same answer. ``checksum`` stands for that
of what decides."""

NULL: tuple[tuple[str, tuple[Any, ...]], ...] = (
    ("decide_model", (None,)),
    ("decide_model", (None, None)),
    ("decide_model", (None, STRONG)),
    ("decide_json", (None, None)),
    ("decide_json", (None, STRONG)),
    ("decide_by", (None, TEXT)),
    ("decide_by", ("checksum", None, STRONG)),
    ("embed", (None,)),
    ("classify_json", (None,)),
    ("rank_json", (None, LOOKED_FOR)),
    ("rank_json", (CANDIDATES, None)),
    ("choose_among", (None, QUERY)),
    ("choose_among", (AGENTS, None)),
    ("agent_state_after", ("", None)),
    ("rank", (RED, None, TEXTS)),
    ("rank", (None, IDS, TEXTS)),
)
"""Function, and arguments that have NULL for an answer."""


def check_nulls(ask: Callable[..., Any], checksum: str) -> None:
    """Asks all cases.

    Args:
        ask: a function by its name, with its arguments; ``rank`` is to give the ids in their order, or None.
        checksum: of what decides.
    """

    def given(arguments: tuple[Any, ...]) -> list[Any]:
        return [checksum if each == "checksum" else each for each in arguments]

    for function, arguments, same in SAME:
        answer = ask(function, *given(arguments))
        assert answer is not None, (function, arguments)
        assert answer == ask(function, *given(same)), (function, arguments)
    for function, arguments in NULL:
        assert ask(function, *given(arguments)) is None, (function, arguments)
    assert ask("decide_model", TEXT, STRONG) == "strong"
    assert ask("rank", None, IDS, None, VECTORS, VECTOR)[0] == "b" == ask("rank", RED, IDS, TEXTS)[0]
