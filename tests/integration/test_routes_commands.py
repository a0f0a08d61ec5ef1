"""`tiny-dancer routes`, end to end."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

import pytest
from pyarrow import parquet
from tests.commands import done, fails
from tests.unit.training.routes.intents import intents

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("routes")
    for name, seed, rows in (("train", 0, 25), ("test", 1, 10)):
        texts, labels = intents(rows, seed)
        with (made / f"{name}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["words", "what"])
            writer.writerows(zip(texts, labels, strict=True))
            if name == "test":
                writer.writerow(["what is the tallest mountain in peru", "oos"])
    done(
        "routes", "fit", made / "train.csv", "--text", "words", "--label", "what", "--out", made / "a.safetensors"
    )
    return made


def test_predictions_keep_the_order_and_the_contract_s_columns(folder: Path) -> None:
    out = folder / "p.parquet"
    done("routes", "predict", folder / "a.safetensors", folder / "test.csv", "--text", "words", "--out", out)
    found = parquet.read_table(out)
    assert found.schema.names == ["route", "best", "confidence", "in_scope_score"]
    assert found.num_rows == 51 and found["best"].null_count == 0
    labels = intents(10, 1)[1]
    best = found["best"].to_pylist()[:50]
    assert sum(a == b for a, b in zip(best, labels, strict=True)) >= 45
    assert found["route"].null_count < 10


def test_a_judgement_says_accuracy_and_confusions(folder: Path) -> None:
    asked = ("routes", "eval", folder / "a.safetensors", folder / "test.csv", "--text", "words", "--label", "what")
    assert "95 % interval" in done(*asked) and "texts of no route" in done(*asked)
    assert json.loads(done(*asked, "--json"))["n"] == 51


def test_what_went_wrong_is_a_page(folder: Path) -> None:
    asked = ("routes", "eval", folder / "a.safetensors", folder / "test.csv", "--text", "words", "--label", "what")
    assert "nearly missed" in done(*asked, "--html", folder / "eval.html")
    page = (folder / "eval.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>") and "Nearly missed" in page and "accuracy" in page
    assert json.loads(done(*asked, "--json", "--html", folder / "eval.html"))["n"] == 51
    table = ("routes", "lint", folder / "train.csv", "--text", "words", "--label", "what")
    done(*table, "--html", folder / "lint.html")
    assert "Overlapping routes" in (folder / "lint.html").read_text(encoding="utf-8")
    assert "folder that exists" in fails(2, *asked, "--html", folder / "nowhere" / "a.html")


def test_one_text_and_the_list(folder: Path) -> None:
    artifact = folder / "a.safetensors"
    assert "password" in done("routes", "match", artifact, "reset my password please")
    found = json.loads(done("routes", "match", artifact, "reset my password please", "--json", "--limit", "2"))
    assert found["name"] == "password" and len(found["top"]) == 2 and found["calibrated"]
    assert "calibrated on rows left out" in done("routes", "list", artifact)
    assert len(json.loads(done("routes", "list", artifact, "--json"))) == 5


def test_a_route_is_added_and_the_calibration_goes(folder: Path) -> None:
    out = folder / "b.safetensors"
    words = ("--utterance", "will it rain tomorrow", "--utterance", "is it sunny today", "--target", "sky")
    assert "not calibrated" in done("routes", "add", folder / "a.safetensors", "weather", *words, "--out", out)
    found = json.loads(done("routes", "match", out, "is rain coming tomorrow", "--json"))
    assert found["name"] == "weather" and found["target"] == "sky" and not found["calibrated"]


def test_lint_finds_what_is_misplaced(folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "u.csv"
    table.write_text(
        "text,intent\nreset my password,password\nforgot my password,password\n"
        "I cannot remember my password,status\n"
        "where is my parcel,status\ntrack my parcel,status\n"
    )
    log = tmp_path / "log.csv"
    log.write_text("text\nreset my password\nwhere is the tallest mountain\n")
    text = done("routes", "lint", table, "--artifact", folder / "a.safetensors", "--log", log)
    assert "I cannot remember my password" in text and "never fire" in text and "refund" in text
    found = json.loads(done("routes", "lint", table, "--json"))
    assert found["nearer"][0][:3] == ["status", "I cannot remember my password", "password"]
    assert found["few"] == ["password"]
    assert "artifact" in fails(2, "routes", "lint", table, "--log", log)


def test_routes_of_others_are_imported(tmp_path: Path) -> None:
    layer = tmp_path / "layer.yaml"
    layer.write_text(
        "routes: [{name: a, utterances: [hello there]}, {name: b, utterances: [goodbye], score_threshold: 0.4}]"
    )
    out = tmp_path / "o.safetensors"
    assert "2 routes of 2 utterances" in done("routes", "import", layer, "--out", out)
    assert json.loads(done("routes", "match", out, "hello", "--json"))["name"] == "a"
    layer.write_text("routes: []")
    assert "routes" in fails(2, "routes", "import", layer, "--out", out)


def test_tables_that_cannot_be_used_are_refused(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.safetensors"
    assert "--label" in fails(2, "routes", "fit", folder / "train.csv", "--text", "words", "--out", out)
    one = tmp_path / "one.csv"
    one.write_text("text,intent\na,x\nb,x\n")
    assert "two routes" in fails(2, "routes", "fit", one, "--out", out)
    assert not out.exists()


def test_texts_and_names_are_shown_as_they_are(tmp_path: Path) -> None:
    table, artifact = tmp_path / "hostile.csv", tmp_path / "hostile.safetensors"
    rows = [
        ("I want my money back", "[/red]"),
        ("refund my [bold]order[/bold]", "[/red]"),
        ("return [/] this please", "[/red]"),
        ("where is my \x1b[31morder", "deliver <script>"),
        ("money back for the parcel", "deliver <script>"),
        ("track my parcel", "deliver <script>"),
    ]
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([("text", "intent"), *rows])
    done("routes", "fit", table, "--out", artifact)
    html = tmp_path / "page.html"
    for command in (
        ("lint", table),
        ("lint", table, "--html", html),
        ("list", artifact),
        ("eval", artifact, table, "--html", html),
        ("match", artifact, "refund \x1b[31mmy order"),
    ):
        shown = done("routes", *command)
        assert "\x1b" not in shown and "[/red]" in shown
    page = html.read_text(encoding="utf-8")
    assert "deliver &lt;script&gt;" in page and "<script>" not in page and "\x1b" not in page


def test_a_row_that_says_nothing_is_named_by_its_place_in_the_table(folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.jsonl"
    table.write_text("".join(json.dumps({"text": text}) + "\n" for text in ("hello", "good bye", "\0\x01 ")))
    out = tmp_path / "out.parquet"
    for command in (("routes", "predict", folder / "a.safetensors", table), ("classify", table)):
        assert "row number 3 of table.jsonl" in fails(2, *command, "--out", out)
    assert not out.exists()
