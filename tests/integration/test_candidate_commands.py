"""The `candidates` commands, as a user runs them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq
import pytest
from tests.commands import done, execute, fails, write
from tests.unit.training.candidates.conversations import conversations
from tests.unit.training.candidates.users import World, watch

from tiny_dancer import _core
from tiny_dancer.registry import Registry
from tiny_dancer.routing.loading import load_any
from tiny_dancer.storage import CandidateRecord, Feedback, SqliteStorage

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables of two conversations, tables of a third, and a scorer trained on the two."""
    folder = tmp_path_factory.mktemp("candidates")
    for name, known in (("train", ("a", "b")), ("test", ("c",))):
        memories, questions = conversations(known, seed=len(known))
        write(memories, folder / f"{name}-memories.parquet")
        write(questions, folder / f"{name}-questions.parquet")
    said = done(
        *("candidates", "train", folder / "train-memories.parquet", folder / "train-questions.parquet"),
        *("--out", folder / "scorer.safetensors", "--created", "2026-01-01"),
    )
    assert "48 questions" in said
    assert "default combination" in said
    return folder


def test_training_twice_gives_the_same_bytes(place: Path) -> None:
    again = place / "again.safetensors"
    done(
        *("candidates", "train", place / "train-memories.parquet", place / "train-questions.parquet"),
        *("--out", again, "--created", "2026-01-01"),
    )
    assert again.read_bytes() == (place / "scorer.safetensors").read_bytes()
    assert _core.read_header(again.read_bytes())["created"] == "2026-01-01"


def test_eval_prints_figures_beside_the_baselines(place: Path) -> None:
    tables = (place / "test-memories.parquet", place / "test-questions.parquet")
    trained = json.loads(done("candidates", "eval", *tables, "--artifact", place / "scorer.safetensors", "--json"))
    assert trained["scorer"] == "linear 1.0.0"
    assert trained["questions"] == 24
    assert trained["recall@1"] <= trained["recall@5"] <= trained["recall@10"] <= 1
    assert trained["recall@5"] > trained["baselines"]["cosine"]["recall@5"]
    low, high = trained["intervals"]["mrr"]
    assert low <= trained["mrr"] <= high
    untrained = json.loads(done("candidates", "eval", *tables, "--json"))
    assert untrained["scorer"] == "default combination"
    assert untrained["mrr"] == pytest.approx(trained["baselines"]["default combination"]["mrr"])
    table = done("candidates", "eval", *tables)
    assert "24 questions, 72 memories" in table
    assert all(word in table for word in ("recall@1", "recall@10", "mrr", "cosine + words"))


def test_predict_writes_one_row_a_question_without_reading_evidence(place: Path) -> None:
    memories, questions = conversations(("c",), seed=1)
    found = []
    for name, evidence in (("with", questions["evidence"]), ("without", None), ("misled", [["nonsense"]] * 24)):
        columns = {key: values for key, values in questions.items() if key != "evidence"}
        asked = write(columns | ({} if evidence is None else {"evidence": evidence}), place / f"{name}.parquet")
        out = place / f"{name}-ranked.parquet"
        done(
            *("candidates", "predict", place / "scorer.safetensors", place / "test-memories.parquet", asked),
            *("--k", 7, "--out", out),
        )
        found.append(pq.read_table(out))
    assert found[0] == found[1] == found[2]
    rows = found[0].to_pylist()
    assert found[0].column_names == ["memory_ids", "scores"]
    assert len(rows) == len(questions["question"])
    hits = [wanted[0] in row["memory_ids"][:5] for wanted, row in zip(questions["evidence"], rows, strict=True)]
    assert np.mean(hits) > 0.8
    assert all(len(row["memory_ids"]) == len(row["scores"]) == 7 for row in rows)
    assert set(rows[0]["memory_ids"]) <= set(memories["memory_id"])


def test_import_route_feedback(place: Path) -> None:
    database = place / "agent.db"
    memories = place / "train-memories.parquet"
    assert "144 memories added, 0 brought up to date, 0 were there" in done(
        "candidates", "import", memories, "--database", database
    )
    assert "0 memories added, 0 brought up to date, 144 were there" in done(
        "candidates", "import", memories, "--database", database
    )
    _, questions = conversations(("a", "b"), seed=2)
    last = len(questions["question"]) - 1
    wanted = f"b/{questions['evidence'][last][0]}"
    arguments = ("--database", database, "--query", questions["question"][last])
    scored = ("--artifact", place / "scorer.safetensors", "--where", "conversation=b", "-k", 4)
    found = json.loads(done("candidates", "route", *arguments, *scored, "--json"))
    ids = [each["candidate_id"] for each in found["decisions"]]
    assert len(ids) == 4
    assert all(id.startswith("b/") for id in ids)
    assert wanted in ids
    assert found["artifact_version"] == "1.0.0"
    assert found["calibrated"]
    shown = done("candidates", "route", *arguments)
    assert "score" in shown
    with SqliteStorage(database) as storage:
        storage.record_feedback(Feedback(found["id"], 1.0, wanted))
        history = {record.decision_id: record for record in storage.routing_history()}
        assert len(history) == 2
        kept = history[found["id"]]
        assert [each.candidate_id for each in kept.shown] == ids
        assert all(len(each.features) == 4 * len(_core.CANDIDATE_FEATURES) for each in kept.shown)
        assert kept.query_text is None
        assert storage.get_candidates([wanted])[0].trial_count == 1


def copied(source: object, path: Path) -> Path:
    """A watched history in a database file."""
    with SqliteStorage(path) as storage:
        for record in source.routing_history(limit=None):  # type: ignore[attr-defined]
            storage.record_routing(record, wait=True)
        for each in source.feedback_history(limit=None):  # type: ignore[attr-defined]
            storage.record_feedback(each)
    return path


def test_learn_promotes_what_is_better_and_only_that(tmp_path: Path) -> None:
    world = World.make(40, 1)
    database = copied(watch(world, answers=500, eta=0.5, seed=3), tmp_path / "agent.db")
    registry = tmp_path / "registry"
    said = done("candidates", "learn", database, "--registry", registry)
    assert "chance of being seen" in said
    assert "candidates 1.0.0 serves now" in said
    versions = Registry(registry, load=load_any)
    assert versions.serving("candidates").version == "1.0.0"
    # Again, with nothing new: what was just learned is as good as what would be learned.
    said = done("candidates", "learn", database, "--registry", registry)
    assert "stays" in said
    assert [each.version for each in versions.versions("candidates")] == ["1.0.0"]
    out = tmp_path / "learned.safetensors"
    done("candidates", "learn", database, "--out", out)
    assert _core.read_header(out.read_bytes())["kind"] == "candidates"
    small = copied(watch(world, answers=20, eta=0.5, seed=4), tmp_path / "small.db")
    said = done("candidates", "learn", small, "--out", tmp_path / "none.safetensors")
    assert "are needed" in said
    assert not (tmp_path / "none.safetensors").exists()


def test_the_installed_command_says_what_is_wrong_in_one_line(place: Path) -> None:
    found = execute("candidates", "eval", place / "missing.parquet", place / "test-questions.parquet")
    assert found.returncode == 2
    assert found.stderr.decode().startswith("error: table: ")
    assert len(found.stderr.splitlines()) == 1


def test_bad_input_is_refused_in_one_line(place: Path) -> None:
    tables = (place / "test-memories.parquet", place / "test-questions.parquet")
    scorer = place / "scorer.safetensors"
    assert "no such file" in fails(2, "candidates", "eval", tables[0], place / "nothing.parquet").lower()
    assert "'c'" in fails(2, "candidates", "eval", place / "train-memories.parquet", tables[1])
    assert "k" in fails(2, "candidates", "predict", scorer, *tables, "--k", 0, "--out", place / "x.parquet")
    assert "artifact" in fails(2, "candidates", "predict", place / "no", *tables, "--out", place / "x.parquet")
    assert "scorer" in fails(
        2, "candidates", "train", *tables, "--scorer", "trees", "--out", place / "x.safetensors"
    )
    assert "registry" in fails(2, "candidates", "learn", place / "agent.db")
    fails(2, "candidates", "learn", place / "none.db", "--out", place / "x.safetensors")
    router = _core.data_path("default.safetensors")
    assert "candidates" in fails(2, "candidates", "eval", *tables, "--artifact", router)
    assert "where" in fails(
        2, "candidates", "route", "--database", place / "none.db", "--query", "x", "--where", "odd"
    )


def test_conversations_with_separators_keep_their_memories_apart(tmp_path: Path) -> None:
    database = tmp_path / "agent.db"
    tables = [("a/b", "c"), ("a", "b/c"), ("a%2Fb", "c"), ("a%2F", "b/c"), ("a", "b%2Fc")]
    for number, (conversation, memory) in enumerate(tables):
        table = tmp_path / f"{number}.csv"
        table.write_text(f"conversation,memory_id,text\n{conversation},{memory},train of {number}\n")
        assert "1 memories added" in done("candidates", "import", table, "--database", database)
    with SqliteStorage(database) as storage:
        assert {each.text for each in storage.get_candidates()} == {f"train of {n}" for n in range(len(tables))}
        assert {each.id for each in storage.get_candidates()} >= {"a%2Fb/c", "a/b/c", "a%252Fb/c"}


def test_every_property_that_is_asked_for_must_hold(tmp_path: Path) -> None:
    database = tmp_path / "agent.db"
    with SqliteStorage(database) as storage:
        for user in ("anna", "ben"):
            storage.insert_candidate(CandidateRecord(user, text="train", metadata={"user": [user, "all"]}))
    asked = ("candidates", "route", "--database", database, "--query", "train", "--json", "--where")

    def found(*where: str) -> list[str]:
        answer = json.loads(done(*asked, *" --where ".join(where).split()))
        return [each["candidate_id"] for each in answer["decisions"]]

    assert sorted(found("user=all")) == ["anna", "ben"]
    assert found("user=all", "user=ben") == ["ben"]
    assert found("user=anna", "user=ben") == []


def test_a_memory_sends_no_codes_to_the_terminal(tmp_path: Path) -> None:
    database = tmp_path / "agent.db"
    with SqliteStorage(database) as storage:
        text = "train\x1b]0;owned\x07 \x1b[31mred\u202e \x9b2J"
        storage.insert_candidate(CandidateRecord("a\x1b[2J\nanswer forged", text=text))
    said = done("candidates", "route", "--database", database, "--query", "train")
    assert len(said.splitlines()) == 2
    assert all(each.isprintable() for each in said.replace("\n", ""))
    assert "red" in said


def test_what_is_removed_meanwhile_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = tmp_path / "agent.db"
    with SqliteStorage(database) as storage:
        storage.insert_candidate(CandidateRecord("a", text="train"))
    monkeypatch.setattr(SqliteStorage, "get_candidates", lambda *_, **__: ())
    assert "a  (score" in done("candidates", "route", "--database", database, "--query", "train")
