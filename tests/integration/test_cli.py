"""The command line end to end, through the installed executable and the function it calls."""

from __future__ import annotations

import csv
import gzip
import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import pytest
from pyarrow import parquet
from tests.commands import columns, done, execute, fails, run, write
from tests.synthetic import requests

import tiny_dancer
from tiny_dancer import Router, _core

if TYPE_CHECKING:
    from pathlib import Path

COMMANDS = (
    "demo",
    "route",
    "train",
    "predict",
    "calibrate",
    "evaluate",
    "report",
    "inspect",
    "bench",
    "savings",
    "analytics",
    "data check",
    "data featurise",
    "data split",
    "candidates train",
    "candidates eval",
    "candidates predict",
    "candidates import",
    "candidates route",
    "candidates learn",
    "classifier train",
    "classifier predict",
    "classifier evaluate",
    "tools train",
    "tools predict",
    "tools select",
    "tools eval",
    "agents add",
    "agents import",
    "agents list",
    "agents search",
    "agents stats",
    "agents deactivate",
    "policy try",
    "classify",
    "routes fit",
    "routes predict",
    "routes eval",
    "routes match",
    "routes list",
    "routes add",
    "routes import",
    "routes lint",
    "queue list",
    "queue show",
    "queue claim",
    "queue answer",
    "queue cancel",
    "models list",
    "models add",
    "models reprice",
    "models remove",
    "models promote",
    "models rollback",
    "models retire",
    "models gc",
    "db stats",
    "db backup",
    "db restore",
    "db vacuum",
    "db shell",
    "db plpython",
    "gateway",
    "gateway check",
    "gateway init",
    "keys create",
    "keys list",
    "keys revoke",
    "budget set",
    "budget status",
    "budget remove",
    "budget forecast",
    "budget optimize",
    "mcp",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example(command: str) -> None:
    text = " ".join(done(*command.split(), "--help").split())
    assert f"Example: tiny-dancer {command}" in text


def test_the_root_lists_every_command() -> None:
    text = done("--help")
    listed = re.findall(r"^  ([a-z]+)  ", text.split("Commands:")[1], re.MULTILINE)
    assert set(listed) == {command.split()[0] for command in COMMANDS}
    assert re.fullmatch(r"tiny-dancer \d+\.\d+\.\d+", done("--version").strip())
    assert "Label columns are never read" in " ".join(done("predict", "--help").split())


def test_the_demo_does_the_main_job(tmp_path: Path) -> None:
    text = done("demo", "--out", tmp_path / "demo.html")
    for word in ("Train", "guarantee", "Should you route", "Decide", "µs"):
        assert word in text
    # What is judged is what was certified: the report repeats the certificate, and calls both models as it did.
    step3, step4 = text.split("4. Should")[0], " ".join(text.split("4. Should")[1].split())
    certificate = next(line for line in step3.splitlines() if line.startswith("Certified"))
    assert certificate[:60] in step4 and "every request goes to" not in step4
    assert_self_contained((tmp_path / "demo.html").read_text())
    assert sorted(each.name for each in tmp_path.iterdir()) == ["demo.html"]


def test_training_ends_with_the_commands_that_come_next(folder: Path, tmp_path: Path) -> None:
    out, certified = tmp_path / "a.safetensors", tmp_path / "a-certified.safetensors"
    text = done("train", folder / "train.parquet", "--out", out)
    commands = [line.strip() for line in text.split("next, ")[1].splitlines()[1:]]
    rest = str(folder / "rest.parquet")
    for line in commands[:3]:
        words = line.replace("HELD_OUT", rest).replace("OTHERS", rest).replace("0.05", "0.3").split('"')[0].split()
        assert words[0] == "tiny-dancer"
        done(*words[1:], *(["a request"] if '"' in line else []), cwd=tmp_path)
    assert certified.exists() and (tmp_path / "report.html").exists()
    split = commands[3].split("? tiny-dancer ")[1].split()
    assert split[:2] == ["data", "split"]
    done(*split)
    for part in ("train", "calibrate", "test"):
        (folder / f"train-{part}.parquet").unlink()


def test_inspect_prints_nothing_encoded(artifact: Path) -> None:
    header = _core.read_header(artifact.read_bytes())
    encoded = header["training"]["rows_seen"]["filter"]
    for text in (done("inspect", artifact), done("inspect", artifact, "--json")):
        assert encoded[:20] not in text and "policy" in text and not re.search(r"-0\.0+(?![0-9])", text)
    assert json.loads(done("inspect", artifact, "--json"))["training"]["rows_seen"]["filter"].endswith("encoded)")


def assert_self_contained(html: str) -> None:
    assert re.search(r"\b(do not route|route|not enough data)\b", html, re.IGNORECASE)
    assert not re.search(r"""(src|href)\s*=\s*["']?\s*(https?:)?//""", html), "nothing is fetched"
    assert not re.search(r"""(@import|url\()\s*["']?\s*(https?:)?//""", html)
    assert "<script src" not in html
    assert "<svg" in html
    assert "nan" not in re.findall(r">\s*(nan)\s*<", html)


# The same rows in every form.


def test_every_form_of_a_table_gives_the_same_bytes(folder: Path, artifact: Path) -> None:
    expected = artifact.read_bytes()
    assert _core.read_header(expected)["training"]["backends"], "something was learned"
    for name in ("train.csv", "train.jsonl"):
        assert (folder / f"{name}.safetensors").read_bytes() == expected, name
    # Without texts, what rows were trained on is remembered by features alone: disguised copies are not told.
    hashed = (folder / "hashed.parquet.safetensors").read_bytes()
    headers = [_core.read_header(each) for each in (expected, hashed)]
    with_texts, without = (header["training"].pop("rows_seen") for header in headers)
    assert headers[0] == headers[1] and without.keys() < with_texts.keys()
    assert _core.read_tensors(expected).keys() == _core.read_tensors(hashed).keys()
    for name, tensor in _core.read_tensors(expected).items():
        np.testing.assert_array_equal(_core.read_tensors(hashed)[name], tensor)


def test_tables_in_memory_are_taken_everywhere(folder: Path, artifact: Path) -> None:
    frame, rest = pd.read_parquet(folder / "train.parquet"), parquet.read_table(folder / "rest.parquet")
    assert tiny_dancer.fit(frame, seed=5, policy="cheapest").artifact == artifact.read_bytes()
    judged = [tiny_dancer.evaluate(artifact, table) for table in (rest, folder / "rest.parquet")]
    assert judged[0] == judged[1]
    certified = [
        tiny_dancer.calibrate(artifact, table, max_quality_loss=0.1) for table in (rest, folder / "rest.parquet")
    ]
    assert certified[0].artifact == certified[1].artifact


def test_a_featurised_table_holds_no_text(folder: Path) -> None:
    names = parquet.read_schema(folder / "hashed.parquet").names
    assert not {"prompt", "messages", "tools"} & set(names)
    data = (folder / "hashed.parquet").read_bytes()
    assert b"Compute" not in data
    assert b"umbrella" not in data


def predictions(artifact: Path, table: Path, out: Path) -> dict[str, list[Any]]:
    done("predict", artifact, table, "--out", out)
    found: dict[str, list[Any]] = parquet.read_table(out).to_pydict()
    return found


def test_predictions_keep_the_order_and_say_quality_cost_and_decision(
    folder: Path, artifact: Path, tmp_path: Path
) -> None:
    table = columns(400, 2)
    found = predictions(artifact, folder / "rest.parquet", tmp_path / "p.parquet")
    assert list(found) == ["sample_id", "cheap", "dear", "cheap|cost", "dear|cost", "decision", "likeness"]
    assert found["sample_id"] == table["sample_id"]
    batch = Router.load(artifact).route_batch(table["prompt"])
    assert found["decision"] == [decision.model for decision in batch]
    assert found["cheap"] == pytest.approx(batch.scores[:, 0].tolist())
    assert found["dear|cost"] == pytest.approx(batch.costs[:, 1].tolist())
    assert {"cheap", "dear"} == set(found["decision"])
    hashed = predictions(artifact, folder / "rest-hashed.parquet", tmp_path / "h.parquet")
    assert hashed == found, "from features as from text"


def test_predictions_never_read_labels(folder: Path, artifact: Path, tmp_path: Path) -> None:
    table = columns(400, 2)
    expected = predictions(artifact, folder / "rest.parquet", tmp_path / "p.parquet")
    order = np.random.default_rng(0).permutation(400)
    variants = {
        "absent": {name: table[name] for name in ("sample_id", "prompt")},
        "garbage": {**table, "cheap": ["?"] * 400, "dear": [7.5] * 400, "dear|total_cost": ["free"] * 400},
        "permuted": {
            **table,
            "dear": [table["dear"][i] for i in order],
            "cheap": [table["cheap"][i] for i in order],
        },
        "weighted": {**table, "weight": [-1.0] * 400, "group": ["x"] * 400},
    }
    for name, variant in variants.items():
        for suffix in ("csv", "parquet"):
            path = write(variant, tmp_path / f"{name}.{suffix}")
            assert predictions(artifact, path, tmp_path / "v.parquet") == expected, (name, suffix)
    shuffled = {key: [values[i] for i in order] for key, values in table.items()}
    found = predictions(artifact, write(shuffled, tmp_path / "s.csv"), tmp_path / "v.parquet")
    assert found["sample_id"] == shuffled["sample_id"]
    assert found["cheap"] == [expected["cheap"][i] for i in order]


def test_the_main_path_from_training_to_the_report(folder: Path, artifact: Path, tmp_path: Path) -> None:
    shown = done("inspect", artifact)
    assert "cheap, dear" in shown
    assert "guarantee: none" in shown
    header = json.loads(done("inspect", artifact, "--json"))
    assert header["training"]["seed"] == 5
    assert header["training"]["rows"] == 80

    safe = tmp_path / "safe.safetensors"
    text = done(
        "calibrate", artifact, folder / "rest.parquet", "--max-quality-loss", 0.1, "--out", safe, "--date", "today"
    )
    assert "certified: mean quality loss against dear below 0.1" in text
    assert "guarantee: mean quality loss" in done("inspect", safe)
    assert json.loads(done("inspect", safe, "--json"))["guarantee"]["date"] == "today"
    decision = json.loads(
        done(
            "route",
            "Describe market basket falcon guitar pepper elbow cactus kitchen napkin copper.",
            "--artifact",
            safe,
            "--json",
        )
    )
    assert decision["guarantee"]["epsilon"] == 0.1
    pinned = json.loads(
        done(
            "route",
            "Describe market basket falcon guitar pepper elbow cactus kitchen napkin copper.",
            "--artifact",
            safe,
            "--pin",
            "dear",
            "--json",
        )
    )
    assert (pinned["model"], pinned["routed_by"]) == ("dear", "override")

    found = json.loads(done("evaluate", safe, folder / "rest-hashed.parquet", "--json"))
    assert found["rows"] == 399, "one nearly equals a row trained on"
    assert found["guarantee"]["certified"] is True
    assert found["policies"][0]["name"] == "router"
    assert {"always cheap", "always dear", "random", "shuffle", "length", "tfidf", "oracle"} <= {
        policy["name"] for policy in found["policies"]
    }
    assert "NaN" not in json.dumps(found)
    plain = json.loads(done("evaluate", safe, folder / "rest.parquet", "--json"))
    assert len(plain["robustness"]) >= 4
    for key in ("policies", "cost_ratio", "gap_reference", "verdict"):
        assert plain[key] == found[key], "text and features are judged alike"

    html = tmp_path / "report.html"
    text = done("report", folder / "rest.parquet", "--artifact", safe, "--out", html)
    assert_self_contained(html.read_text())
    assert found["verdict"]["headline"].split()[0] in text
    assert sorted(each.name for each in tmp_path.iterdir()) == ["report.html", "safe.safetensors"]


def test_nothing_is_written_where_nothing_can_be_certified(folder: Path, artifact: Path, tmp_path: Path) -> None:
    few = write({key: values[:20] for key, values in columns(400, 2).items()}, tmp_path / "few.csv")
    line = fails(1, "calibrate", artifact, few, "--max-quality-loss", 0.01, "--out", tmp_path / "no.safetensors")
    assert line.startswith("not certified: ")
    assert "20 independent rows" in line
    assert [each.name for each in tmp_path.iterdir()] == ["few.csv"]
    line = fails(
        2, "calibrate", artifact, folder / "train.csv", "--max-quality-loss", 0.1, "--out", tmp_path / "no"
    )
    assert "trained on" in line


def test_the_dials_read_no_labels(folder: Path, artifact: Path, tmp_path: Path) -> None:
    table = columns(400, 2)
    blind = write({name: table[name] for name in ("sample_id", "prompt")}, tmp_path / "blind.csv")
    for option, value in (("--cost-cut", "0.4"), ("--share", "dear=0.3")):
        outs = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
        for source, out in zip((folder / "rest.parquet", blind), outs, strict=True):
            done("calibrate", artifact, source, option, value, "--out", out)
        assert outs[0].read_bytes() == outs[1].read_bytes()
        share = np.mean([each.model == "dear" for each in Router.load(outs[0]).route_batch(table["prompt"])])
        assert share == pytest.approx(0.3, abs=0.01) if option == "--share" else share < 0.65


def test_a_share_is_set_from_prompts_one_a_line(tmp_path: Path) -> None:
    texts, _ = requests(220, 5)
    (tmp_path / "prompts.txt").write_text("\ufeff" + "\n\n".join(texts) + "\n", encoding="utf-8")
    said = []
    for share in ("0.3", "strong=0.3", "weak=0.7"):
        out = tmp_path / f"{share}.safetensors"
        said.append(done("calibrate", "default", tmp_path / "prompts.txt", "--share", share, "--out", out))
        chosen = [each.model for each in Router.load(out).route_batch(texts)]
        assert np.mean([each == "strong" for each in chosen]) == pytest.approx(0.3, abs=0.005)
    assert "220 the share is 30.0% give or take 6.1%" in " ".join(said[0].split())
    (tmp_path / "empty.txt").write_text("\n", encoding="utf-8")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    for name, why in (("empty.txt", "no prompts"), ("latin.txt", "UTF-8"), ("none.txt", "no such file")):
        assert why in fails(2, "calibrate", "default", tmp_path / name, "--share", "0.3", "--out", tmp_path / "x")


# Tables of other kinds.


def test_several_tables_are_joined_and_models_chosen(folder: Path, tmp_path: Path) -> None:
    first = {key: values[:9] for key, values in columns(400, 2).items()}
    second = {key: values[9:18] for key, values in columns(400, 2).items() if not key.startswith("cheap")}
    second["model-3"] = [0.5] * 9
    paths = [write(first, tmp_path / "one.csv"), write(second, tmp_path / "two.jsonl")]
    out = tmp_path / "joined.safetensors"
    assert "18 rows, 3 models" in " ".join(done("train", *paths, "--out", out).split())
    assert Router.load(out).models == ("cheap", "dear", "model-3")
    assert "18 rows, 2 models" in " ".join(
        done("train", *paths, "--models", "model-3, dear", "--out", out).split()
    )
    assert Router.load(out).models == ("model-3", "dear")
    assert "unknown model 'dera'; did you mean dear?" in fails(
        2, "train", *paths, "--models", "dera", "--out", out
    )
    assert "names separated by commas" in fails(2, "train", *paths, "--models", ",", "--out", out)


def test_routellms_tables_are_read_as_they_are(tmp_path: Path) -> None:
    texts, hard = requests(15, 3)
    table = {
        "prompt": list(texts),
        "small/model": ["False" if h else "True" for h in hard],
        "gpt-x": ["True"] * 15,
    }
    out = tmp_path / "r.safetensors"
    done("train", write(table, tmp_path / "routellm.csv"), "--out", out)
    assert Router.load(out).models == ("small/model", "gpt-x")
    assert Router.load(out).route("hello").model == "gpt-x"


def test_data_check_says_what_spoils_training(folder: Path, tmp_path: Path) -> None:
    found = json.loads(done("data", "check", folder / "rest.parquet", "--json"))
    assert found["rows"] == 400
    assert "400 rows" in done("data", "check", folder / "rest.parquet")
    table = columns(60, 4)
    table["prompt"][1] = table["prompt"][0]
    text = done("data", "check", write(table, tmp_path / "duplicates.csv"))
    assert "remedy:" in text
    assert "id-4-1" in text
    same = {**columns(60, 4), "cheap": [0.5] * 60, "dear": [0.5] * 60}
    result = run("data", "check", write(same, tmp_path / "same.csv"))
    assert result.returncode == 1
    assert b"error" in result.stdout
    assert b"Traceback" not in result.stderr
    assert run("data", "check", tmp_path / "same.csv", "--json").returncode == 1


def test_a_table_is_split_with_its_own_rows_and_columns(tmp_path: Path) -> None:
    table = {**columns(60, 4), "asked_at": [f"2026-01-{1 + row % 28:02d}T10:00:00" for row in range(60)]}
    table["prompt"][1::7] = [table["prompt"][0]] * len(table["prompt"][1::7])
    source = write(table, tmp_path / "all.csv")
    parts = {name: tmp_path / f"{name}.{suffix}" for name, suffix in (("train", "csv"), ("test", "parquet"))}
    outs = ["--out-train", parts["train"], "--out-test", parts["test"]]
    text = done("data", "split", source, *outs, "--share", 0.25, "--seed", 3)
    assert "rows to train on" in text
    train = list(csv.DictReader(parts["train"].read_text("utf-8").splitlines()))
    test = parquet.read_table(parts["test"]).to_pylist()
    assert list(train[0]) == list(test[0]) == list(table)
    assert sorted([row["sample_id"] for row in (*train, *test)]) == sorted(table["sample_id"])
    assert not {row["prompt"] for row in train} & {row["prompt"] for row in test}
    assert test[0]["dear"] == dict(zip(table["sample_id"], table["dear"], strict=True))[test[0]["sample_id"]]
    again = [tmp_path / "a.csv", tmp_path / "b.parquet"]
    done("data", "split", source, "--out-train", again[0], "--out-test", again[1], "--share", 0.25, "--seed", 3)
    assert again[0].read_bytes() == parts["train"].read_bytes()
    done("data", "split", source, *outs, "--out-calibrate", tmp_path / "c.jsonl", "--by-time", "asked_at")
    latest = [json.loads(line)["asked_at"] for line in (tmp_path / "c.jsonl").read_text("utf-8").splitlines()]
    train = list(csv.DictReader(parts["train"].read_text("utf-8").splitlines()))
    test = parquet.read_table(parts["test"]).to_pylist()
    assert max(row["asked_at"] for row in train) <= max(latest) <= max(row["asked_at"] for row in test)
    done("train", parts["train"], "--out", tmp_path / "r.safetensors")
    assert "give each part" in fails(2, "data", "split", source, "--out-train", source, "--out-test", again[1])
    assert "no column 'when'" in fails(2, "data", "split", source, *outs, "--by-time", "when")
    assert "above 0" in fails(2, "data", "split", source, *outs, "--share", 1.5)


def test_a_table_is_written_as_its_name_says(folder: Path, artifact: Path, tmp_path: Path) -> None:
    expected = predictions(artifact, folder / "rest.parquet", tmp_path / "p.parquet")
    for name in ("p.csv", "p.tsv", "p.jsonl", "p.csv.gz"):
        done("predict", artifact, folder / "rest.parquet", "--out", tmp_path / name)
        opened = gzip.open if name.endswith(".gz") else open
        with opened(tmp_path / name, "rt", encoding="utf-8") as file:
            if name.endswith("jsonl"):
                rows = [json.loads(line) for line in file]
            else:
                rows = list(csv.DictReader(file, delimiter="\t" if name.endswith("tsv") else ","))
        assert list(rows[0]) == list(expected)
        assert [row["decision"] for row in rows] == expected["decision"]
        assert [float(row["cheap"]) for row in rows] == expected["cheap"]
    for words in (
        ("predict", "missing", "missing.csv", "--out", "p.txt"),
        ("candidates", "predict", "missing", "missing", "missing", "--out", "p"),
        ("classifier", "predict", "missing", "missing", "--out", "p.xlsx"),
        ("tools", "predict", "default", "missing", "missing", "--out", "p"),
        ("data", "split", "missing.csv", "--out-train", "a.csv", "--out-test", "p.doc"),
        ("data", "featurise", "missing.csv", "--out", "p.csv"),
    ):
        line = fails(2, *words, cwd=tmp_path)
        assert ".parquet" in line, "refused before anything is read"
        assert ("out-test" if "split" in words else "out") in line


def test_judges_scales_and_columns_that_are_no_models(tmp_path: Path) -> None:
    table = columns(40, 4)
    graded = {**table, "cheap": [None if each is None else 1 + 4 * each for each in table["cheap"]]}
    graded |= {"dear": [1 + 4 * each for each in table["dear"]], "difficulty": [3] * 40}
    path, out = write(graded, tmp_path / "graded.csv"), tmp_path / "r.safetensors"
    assert "--scale 1:5" in fails(2, "train", path, "--models", "cheap,dear", "--out", out)
    result = run("train", path, "--scale", "1:5", "--out", out)
    assert result.returncode == 0, result.stderr
    assert b"models: cheap, dear\n" in result.stdout
    assert b"'difficulty'" in result.stderr
    plain = tmp_path / "plain.safetensors"
    done("train", write(table, tmp_path / "plain.csv"), "--out", plain)
    assert Router.load(out).route("Describe apple.").scores == Router.load(plain).route("Describe apple.").scores
    text = done("data", "check", path, "--models", "cheap,dear", "--scale", "1:5")
    assert "models: cheap, dear" in text
    judged = done("evaluate", out, path, "--scale", "1:5", "--json")
    assert json.loads(judged)["rows"] == 40
    assert "LOW:HIGH" in fails(2, "train", path, "--scale", "five", "--out", out)


# Routing and usage.


def test_route_reads_standard_input() -> None:
    given = json.loads(done("route", "-", "--json", stdin="Übersetze: früh übt sich".encode()))
    plain = json.loads(done("route", "Übersetze: früh übt sich", "--json"))
    assert given["scores"] == plain["scores"]
    assert set(plain) >= {"id", "model", "scores", "confidence", "prediction_set", "reason", "guarantee_note"}
    assert "no UTF-8" in fails(2, "route", "-", stdin=b"caf\xe9")
    assert "empty" in fails(2, "route", "-", stdin=b" \n")


def test_route_takes_constraints_and_prints_them() -> None:
    text = done("route", "What is 2 + 2?", "--exclude", "weak")
    assert text.startswith("strong")
    assert "expected quality" in text
    assert "guarantee none" in text
    assert done("route", "What is 2 + 2?", "--pin", "weak").startswith("weak  (pinned, override)")
    assert "weak" in fails(2, "route", "x", "--exclude", "weak", "--exclude", "strong")
    assert "price" in fails(2, "route", "x", "--max-cost", "1")
    assert "NaN" in fails(2, "route", "x", "--max-cost", "nan")
    assert "[0, 1]" in fails(2, "route", "x", "--min-quality", "3")
    assert "'nobody'" in fails(2, "route", "x", "--pin", "nobody")
    assert "a b" in fails(2, "route", "x", "--pin", "a b\x1b[31m\n")


def test_the_executable_itself(folder: Path, artifact: Path, tmp_path: Path) -> None:
    """Through a process of its own: what it writes, its exit codes, no traceback."""
    out = tmp_path / "t.safetensors"
    trained = execute("train", folder / "train.jsonl", "--out", out, "--seed", 5, "--policy", "cheapest")
    assert trained.returncode == 0, trained.stderr
    assert out.read_bytes() == artifact.read_bytes()
    routed = execute("route", "-", "--artifact", out, "--json", stdin=b"Describe apple.")
    assert routed.returncode == 0
    assert json.loads(routed.stdout)["model"] in ("cheap", "dear")
    for code, words in (
        (1, ["calibrate", str(out), str(folder / "rest.parquet"), "--max-quality-loss", "0.0001", "--out", "no"]),
        (2, ["frobnicate"]),
        (2, ["inspect", "/nonexistent"]),
    ):
        ended = execute(*words, cwd=tmp_path)
        assert ended.returncode == code
        assert ended.stderr.count(b"\n") == 1
        assert b"Traceback" not in ended.stderr
    assert [each.name for each in tmp_path.iterdir()] == ["t.safetensors"]


def test_a_bare_command_shows_its_help() -> None:
    for arguments in ([], ["data"]):
        result = run(*arguments)
        assert result.returncode == 2
        assert b"Usage: tiny-dancer" in result.stderr + result.stdout
        assert b"Traceback" not in result.stderr


def test_inspect_shows_the_shipped_artifact() -> None:
    header = json.loads(done("inspect", "default", "--json"))
    assert [model["name"] for model in header["models"]] == ["weak", "strong"]
    text = done("inspect", "default")
    assert "self-checks" in text
    assert "held out" in text
    assert len(_core.data_file("default.safetensors")) <= 512 * 1024


def test_an_artifact_without_encoder_is_trained_inspected_and_routed_by(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "edge.safetensors"
    done("train", folder / "train.parquet", "--no-encoder", "--out", out)
    header = json.loads(done("inspect", out, "--json"))
    assert header["features"]["encoder"] is None
    assert json.loads(done("route", "--artifact", out, "--json", "What is 2 + 2?"))["level"] == 0
    assert json.loads(done("inspect", "edge", "--json"))["features"]["encoder"] is None
    assert json.loads(done("route", "--artifact", "edge", "--json", "What is 2 + 2?"))["tokens"] == 6


def test_bench_prints_ratios() -> None:
    figures = json.loads(done("bench", "--json"))
    assert figures["yardstick_us"] > 0
    assert figures["batch_per_second"] > 0
    assert figures["route_30_tokens_ratio"] == pytest.approx(
        figures["route_30_tokens_us"] / figures["yardstick_us"], rel=5
    )


def test_training_says_which_policy_is_in_force_and_what_the_others_cost(folder: Path, tmp_path: Path) -> None:
    path = write(columns(60, 3), tmp_path / "few.csv")
    out = tmp_path / "few.safetensors"
    said = " ".join(done("train", path, "--out", out, "--policy", "cheapest", "--backends", "linear").split())
    assert "policy: cheapest: " in said
    assert all(f"{name} " in said.split("expected cost: ")[1] for name in ("quality", "balanced", "cheapest"))
    assert Router.load(out).header["policies"]["in_force"] == "cheapest"
    asked = done("route", "Compute 12 + 13", "--artifact", out, "--policy", "quality", "--json")
    assert json.loads(asked)["model"] in Router.load(out).models
    assert "quality, balanced, cheapest" in fails(2, "train", path, "--out", out, "--policy", "thrifty")
    assert "quality, balanced, cheapest" in fails(2, "route", "x y z", "--artifact", out, "--policy", "thrifty")
