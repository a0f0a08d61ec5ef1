"""Requests and the tools they called, out of storage.

They come from :meth:`tiny_dancer.ToolSelector.observe`, or from a gateway with ``tool_selection.learn``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiny_dancer.errors import TrainingError
from tiny_dancer.training.tools.data import ToolQueries, digest
from tiny_dancer.training.tools.learn import FEWEST_ROWS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tiny_dancer.storage import HistoryStorage
    from tiny_dancer.training.tools.data import ToolTable

HELPED = 0.5
"""Feedback below this says that an answer did not help: nothing is learned from its calls."""


def read_tool_history(storage: HistoryStorage, tools: ToolTable) -> tuple[ToolQueries, Mapping[str, int]]:
    """Requests by what they called, oldest first, and how many records were left out, by reason.

    The same words, asked again, are one request that needs all the tools it ever called: an agent calls one tool
    after the other for one of them.

    Raises:
        TrainingError: too few can be learned from; it says why.
        StorageError: the database cannot be read.
    """
    records = storage.routing_history(kind="tools", limit=None)
    feedback = storage.feedback_history(limit=None)
    useless = {each.decision_id for each in feedback if each.candidate_id is None and each.score < HELPED}
    left_out = {"what was asked is not kept": 0, "no tool of the table was called": 0, "did not help": 0}
    known = set(tools.ids)
    found: dict[str, dict[str, None]] = {}
    unknown = 0
    for record in sorted(records, key=lambda record: (record.time, record.decision_id)):
        names = [each.candidate_id for each in record.shown]
        unknown += sum(name not in known for name in names)
        if record.decision_id in useless:
            left_out["did not help"] += 1
        elif not record.query_text or not record.query_text.strip():
            left_out["what was asked is not kept"] += 1
        elif known.isdisjoint(names):
            left_out["no tool of the table was called"] += 1
        else:
            called = found.setdefault(record.query_text, {})
            called.update(dict.fromkeys(name for name in names if name in known))
    if len(found) < FEWEST_ROWS:
        reasons = "".join(f"; {count:,}: {reason}" for reason, count in left_out.items() if count)
        remedy = (
            f"{FEWEST_ROWS} are needed: observe more, with their text (keep_text, or tool_selection.learn and "
            f"log.prompts of a gateway), and give the tools by the ids they were called by"
        )
        seen = f"{len(found):,} requests to learn from, of {len(records):,} records of calls{reasons}"
        raise TrainingError("storage", seen, remedy)
    texts = tuple(found)
    used = tuple(tuple(names) for names in found.values())
    ids = tuple(str(row) for row in range(len(texts)))
    return ToolQueries(ids, texts, used, unknown, digest(texts, used)), left_out
