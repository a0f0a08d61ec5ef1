"""An artifact's roles on a user's table, tables without labels, and rows that were trained on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from pyarrow import parquet
from tests.commands import columns, done, fails
from tests.synthetic import fitted_pair

from tiny_dancer import DataError, Router
from tiny_dancer.training.calibrate import calibrate

if TYPE_CHECKING:
    from pathlib import Path

MODELS = [name for name in columns(2, 0) if name in ("cheap", "dear")]


def test_the_default_artifact_is_judged_on_other_models(folder: Path, tmp_path: Path) -> None:
    names = sorted(MODELS)
    mapping = ("--map", f"weak={names[0]}", "--map", f"strong={names[1]}")
    found = json.loads(done("evaluate", "default", folder / "rest.parquet", *mapping, "--json"))
    assert {each["name"] for each in found["models"]} == set(names)
    assert found["guarantee"] is None, "a certificate does not carry over to other models"
    out = tmp_path / "mine.safetensors"
    done("calibrate", "default", folder / "rest.parquet", *mapping, "--share", f"{names[1]}=0.5", "--out", out)
    assert set(Router.load(out).models) == set(names)
    done("report", folder / "rest.parquet", "--artifact", "default", *mapping, "--out", tmp_path / "r.html")


@pytest.mark.parametrize("pair", ["weak", "weak=", "=dear", "nobody=dear"])
def test_a_bad_mapping_is_one_line(folder: Path, pair: str) -> None:
    assert "map" in fails(2, "evaluate", "default", folder / "rest.parquet", "--map", pair)


def test_a_table_without_labels_can_be_featurised_and_predicted(
    folder: Path, artifact: Path, tmp_path: Path
) -> None:
    rows = parquet.read_table(folder / "rest.parquet")
    parquet.write_table(rows.select(["sample_id", "prompt"]), tmp_path / "bare.parquet")
    hashed, out, plain = (tmp_path / name for name in ("hashed.parquet", "out.parquet", "plain.parquet"))
    done("data", "featurise", tmp_path / "bare.parquet", "--no-labels", "--out", hashed)
    done("predict", artifact, hashed, "--out", out)
    done("predict", artifact, folder / "rest.parquet", "--out", plain)
    assert parquet.read_table(out).equals(parquet.read_table(plain))
    fails(2, "data", "featurise", tmp_path / "bare.parquet", "--out", tmp_path / "no.parquet")


def test_a_part_of_the_training_rows_is_refused_too() -> None:
    fitted = fitted_pair()
    part = fitted.outcomes.rows(np.arange(150)[::-1])
    with pytest.raises(DataError, match="trained on"):
        calibrate(fitted.artifact, part, max_quality_loss=0.1)
