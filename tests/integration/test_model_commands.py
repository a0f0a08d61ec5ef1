"""`tiny-dancer models add|reprice|remove` on artifacts, and `train --prices`, as a user runs them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.commands import done, fails, run
from tests.synthetic import fitted_trio, requests

from tiny_dancer import Router, _core

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    path = tmp_path / "router.safetensors"
    path.write_bytes(fitted_trio().artifact)
    return path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    texts, hard = requests(80, 5)
    path = tmp_path / "new.csv"
    path.write_text(
        "prompt,new\n" + "".join(f"{text},{int(each)}\n" for text, each in zip(texts, hard, strict=True))
    )
    return path


def test_a_model_is_added_from_a_table_repriced_and_removed(artifact: Path, table: Path) -> None:
    second, third, fourth = (artifact.with_name(f"{number}.safetensors") for number in (2, 3, 4))
    found = done("models", "add", artifact, "new", "--from", table, "--prices", "new=0.000002", "--out", second)
    assert "new added, " in found
    assert "80 rows" in found
    assert "squared error on rows left out" in found
    assert Router.load(second).models == ("cheap", "middling", "dear", "new")
    assert "new repriced" in done("models", "reprice", second, "new=1/2/300", "--out", third)
    assert _core.read_header(third.read_bytes())["models"][3]["price_output"] == pytest.approx(2e-6)
    done("models", "remove", third, "new", "--out", fourth)
    assert Router.load(fourth).models == ("cheap", "middling", "dear")
    assert "new" in done("inspect", second)


def test_a_model_like_another_is_said_to_be_declared(artifact: Path) -> None:
    out = artifact.with_name("2.safetensors")
    answer = run("models", "add", artifact, "new", "--like", "dear", "--out", out)
    assert answer.returncode == 0
    assert b"declared, not measured" in answer.stderr
    assert "declared, not measured" in done("route", "Describe apple.", "--artifact", out)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("models", "add", "A", "new", "B"), "is an artifact, to which a model is added"),
        (("models", "add", "A", "new", "--bump", "minor", "--like", "dear"), "is an artifact"),
        (("models", "add", "registry", "new", "--like", "dear"), "is no file"),
        (("models", "add", "registry", "new"), "give FOLDER NAME ARTIFACT, or ARTIFACT NAME"),
        (("models", "add", "A", "new", "--like", "dear"), "say where to write"),
        (("models", "add", "A", "new", "--out", "OUT"), "give outcomes of the model, or --like"),
        (("models", "add", "A", "new", "--like", "dear", "--prices", "dear=1", "--out", "OUT"), "models reprice"),
        (("models", "reprice", "A", "dear=a", "--out", "OUT"), "NAME=USD"),
        (("models", "reprice", "A", "nobody=1", "--out", "OUT"), "cheap, middling, dear"),
        (("models", "remove", "A", "nobody", "--out", "OUT"), "cheap, middling, dear"),
    ],
)
def test_mixtures_and_mistakes_are_said_in_one_line(artifact: Path, arguments: tuple[str, ...], said: str) -> None:
    out = artifact.with_name("out.safetensors")
    places = {"A": artifact, "B": artifact, "OUT": out, "registry": artifact.with_name("registry")}
    error = fails(2, *(places.get(each, each) for each in arguments))
    assert said in error
    assert not out.exists()


def test_train_takes_prices_and_says_what_is_assumed_without(tmp_path: Path) -> None:
    texts, hard = requests(60, 8)
    generator = np.random.default_rng(1)
    rows = ["prompt,small,large,other"]
    for text, each in zip(texts, hard, strict=True):
        rows.append(f"{text},{int(not each)},{int(generator.random() < 0.9)},{int(generator.random() < 0.5)}")
    path, out = tmp_path / "graded.csv", tmp_path / "r.safetensors"
    path.write_text("\n".join(rows) + "\n")
    models = ("--models", "small,large,other")
    answer = run("train", path, *models, "--out", out)
    assert answer.returncode == 0
    assert b"warning: the table has no costs, so quality alone decides" in answer.stderr
    prices = [word for name in ("small=0.001", "large=2.5/10/300", "other=0.01") for word in ("--prices", name)]
    answer = run("train", path, *models, "--out", out, *prices)
    assert answer.returncode == 0
    assert b"no costs" not in answer.stderr
    costs = Router.load(out).route("Describe apple.").costs
    assert costs is not None
    assert costs["small"] == pytest.approx(0.001)
    assert "none of other" in fails(2, "train", path, *models, "--out", out, *prices[:4])
