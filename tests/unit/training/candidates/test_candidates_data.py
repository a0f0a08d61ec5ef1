from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from tests.commands import write
from tests.unit.training.candidates.conversations import conversations

from tiny_dancer import MemoryStorage, _core
from tiny_dancer.errors import DataError
from tiny_dancer.training.candidates.data import read_memories, read_questions
from tiny_dancer.training.candidates.lists import make_lists
from tiny_dancer.training.candidates.store import import_memories
from tiny_dancer.training.data import DataWarning

if TYPE_CHECKING:
    from pathlib import Path

ROW: dict[str, Any] = {"conversation": ["a"], "memory_id": ["m"], "text": ["Nora sold a kite."]}


def memories_of(tmp_path: Path, suffix: str = "parquet", **columns: list[Any]) -> Path:
    return write({**ROW, **columns}, tmp_path / f"memories.{suffix}")


def test_every_format_reads_alike(tmp_path: Path) -> None:
    memories, questions = conversations(("a", "b"), facts=6)
    flat = {**questions, "evidence": [json.dumps(each) for each in questions["evidence"]]}
    found = []
    for suffix in ("parquet", "csv", "jsonl"):
        known = read_memories(write(memories, tmp_path / f"m.{suffix}"))
        asked = read_questions(write(flat if suffix == "csv" else questions, tmp_path / f"q.{suffix}"), known)
        found.append((known.conversations, known.latest, asked.questions, known.digest, asked.digest))
    assert found[0] == found[1] == found[2]
    first = found[0][0]["a"][0]
    assert first.metadata == {"speaker": "Nora"}
    assert first.group == "1"
    assert first.created_at == 1_700_000_000
    assert found[0][2][0].now == found[0][1]["a"] == 1_700_000_000 + 5 * 86_400


def test_without_a_session_nothing_has_neighbours(tmp_path: Path) -> None:
    texts = ["Where is the drill?", "In the cellar, I think.", "The tap drips."]
    rows = {"conversation": ["a"] * 3, "memory_id": ["0", "1", "2"], "text": texts}
    asked = {"conversation": ["a"], "question": ["Where is the drill?"], "evidence": [["1"]]}
    features = {}
    for name, sessions in (("none", {}), ("some", {"session": ["1", "1", None]})):
        known = read_memories(write({**rows, **sessions}, tmp_path / f"{name}.parquet"))
        questions = read_questions(write(asked, tmp_path / "q.parquet"), known)
        lists = make_lists(_core.CandidateScorer(), known.sets(), questions.answerable)
        features[name] = [lists.column(each)[1] for each in ("words_before", "words_context", "answers_question")]
        groups = [memory.group for memory in known.conversations["a"]]
        assert groups == ([None] * 3 if name == "none" else ["1", "1", None])
        storage = MemoryStorage()
        import_memories(known, storage)
        stored = [record.group for record in storage.get_candidates(["a/0", "a/2"])]
        assert stored == ([None, None] if name == "none" else ["a/1", None])
    assert features["none"] == [0, 0, 0] and min(features["some"]) > 0


def test_an_edit_of_a_table_leaves_namespace_and_life(tmp_path: Path) -> None:
    storage = MemoryStorage()
    rows = {"conversation": ["a"], "memory_id": ["0"]}
    import_memories(read_memories(write({**rows, "text": ["tea"]}, tmp_path / "first.parquet")), storage)
    (first,) = storage.get_candidates()
    storage.upsert_candidates([replace(first, namespace=("anna",), ttl_s=3600)])
    (kept,) = storage.get_candidates()
    known = read_memories(write({**rows, "text": ["coffee"]}, tmp_path / "second.parquet"))
    assert import_memories(known, storage).changed == 1
    (edited,) = storage.get_candidates()
    assert edited.text == "coffee"
    assert (edited.namespace, edited.ttl_s, edited.expires_at) == (("anna",), 3600, kept.expires_at)


@pytest.mark.parametrize(
    "value",
    [1_700_000_000, 1_700_000_000_000, "2023-11-14T22:13:20", datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)],
)
def test_times_in_every_unit(tmp_path: Path, value: object) -> None:
    known = read_memories(memories_of(tmp_path, created_at=[value]))
    assert known.latest["a"] == 1_700_000_000


def test_usage_and_embeddings_are_read(tmp_path: Path) -> None:
    path = memories_of(
        tmp_path, embedding=[[0.5, 1.0]], access_count=[3], success_rate=[0.5], trials=[2], confidence=[0.75]
    )
    known = read_memories(path)
    memory = known.conversations["a"][0]
    assert memory.embedding is not None
    assert list(memory.embedding) == [0.5, 1.0]
    assert (memory.access_count, memory.success_rate, memory.trials, memory.confidence) == (3, 0.5, 2, 0.75)
    assert known.sets()["a"].dimensions == 2


@pytest.mark.parametrize(
    ("columns", "field", "words"),
    [
        ({"text": [" "]}, "text", "' '"),
        ({"text": [None]}, "text", "None"),
        ({"text": [3.5]}, "text", "type double"),
        ({"memory_id": [""]}, "memory_id", "''"),
        ({"conversation": [None]}, "conversation", "None"),
        ({"created_at": ["yesterday"]}, "created_at", "yesterday"),
        ({"confidence": [1.5]}, "confidence", "1.5"),
        ({"access_count": [-1]}, "access_count", "-1"),
        ({"embedding": [[1.0, float("nan")]]}, "embedding", "nan"),
        ({"embedding": ["near"]}, "embedding", "near"),
    ],
)
def test_bad_memories_name_column_row_and_value(
    tmp_path: Path, columns: dict[str, list[Any]], field: str, words: str
) -> None:
    with pytest.raises(DataError) as caught:
        read_memories(memories_of(tmp_path, **columns))
    assert caught.value.field == field
    assert words in caught.value.value
    assert caught.value.remedy


def test_ids_are_unique_within_a_conversation(tmp_path: Path) -> None:
    rows = {"conversation": ["a", "b", "a"], "memory_id": ["m", "m", "m"], "text": ["x", "y", "z"]}
    with pytest.raises(DataError, match="'m' twice in conversation a, row 3"):
        read_memories(write(rows, tmp_path / "m.parquet"))
    rows = {name: values[:2] for name, values in rows.items()}
    assert len(read_memories(write(rows, tmp_path / "m.parquet"))) == 2


def test_embeddings_of_different_lengths_name_the_conversation(tmp_path: Path) -> None:
    rows = {
        **{name: values * 2 for name, values in ROW.items()},
        "memory_id": ["m", "n"],
        "embedding": [[1.0], [1.0, 2.0]],
    }
    known = read_memories(write(rows, tmp_path / "m.parquet"))
    with pytest.raises(DataError, match="conversation a"):
        known.sets()


def test_missing_columns_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="memory_id: no such column"):
        read_memories(write({"conversation": ["a"], "text": ["x"]}, tmp_path / "m.parquet"))


def test_unknown_evidence_is_counted_and_its_questions_left_out(tmp_path: Path) -> None:
    known = read_memories(memories_of(tmp_path))
    asked = {
        "conversation": ["a", "a", "a"],
        "question": ["x", "y", "z"],
        "evidence": [["m", "gone"], ["gone"], []],
    }
    with pytest.warns(DataWarning) as warned:
        found = read_questions(write(asked, tmp_path / "q.parquet"), known)
    assert found.unknown_evidence == 2
    assert [each.text for each in found.answerable] == ["x"]
    assert found.answerable[0].evidence == ("m",)
    said = " ".join(str(each.message) for each in warned)
    assert "names 2 memories" in said
    assert "2 questions" in said


def test_a_question_about_an_unknown_conversation_is_refused(tmp_path: Path) -> None:
    known = read_memories(memories_of(tmp_path))
    asked = {"conversation": ["b"], "question": ["x"], "evidence": [["m"]]}
    with pytest.raises(DataError, match="'b' in row number 1"):
        read_questions(write(asked, tmp_path / "q.parquet"), known)


@pytest.mark.parametrize("evidence", ["m", '{"m": 1}', "[[1]]"])
def test_evidence_is_a_list_of_ids(tmp_path: Path, evidence: str) -> None:
    known = read_memories(memories_of(tmp_path))
    asked = {"conversation": ["a"], "question": ["x"], "evidence": [evidence]}
    with pytest.raises(DataError, match="give a list of memory ids"):
        read_questions(write(asked, tmp_path / "q.csv"), known)


def test_evidence_is_not_even_read_for_predicting(tmp_path: Path) -> None:
    known = read_memories(memories_of(tmp_path))
    asked = {"conversation": ["a"], "question": ["x"], "evidence": ["no list at all"]}
    found = read_questions(write(asked, tmp_path / "q.csv"), known, require_evidence=False)
    assert found.questions[0].evidence == ()
