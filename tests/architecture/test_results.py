"""Figures say where they come from, and README.md says what the figures say."""

from __future__ import annotations

import json
import re
from datetime import datetime
from pathlib import Path

import pytest
from tools.readme_figures import README, rendered, rounded, signed, three

ROOT = Path(__file__).resolve().parents[2]
RESULTS = sorted((ROOT / "benchmarks" / "results").glob("*.json"))


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_a_result_says_when_by_what_and_on_which_machine(path: Path) -> None:
    found = json.loads(path.read_text(encoding="utf-8"))
    origin, machine = found["origin"], found["machine"]
    assert datetime.fromisoformat(origin["date"]).tzinfo is not None
    assert re.match(r"[0-9a-f]{10}( with changes)?$", origin["commit"])
    script = origin["command"].split()[1]
    assert (ROOT / script).is_file() and f'"{path.stem}"' in (ROOT / script).read_text(encoding="utf-8"), script
    assert {"processor", "cores", "python", "tiny_dancer", "load_at_start"} <= set(machine)
    assert "numpy" in found["versions"] and found["note"]


def test_every_benchmark_writes_its_results_the_same_way() -> None:
    for script in sorted((ROOT / "benchmarks").glob("*/bench_*.py")):
        text = script.read_text(encoding="utf-8")
        assert re.search(r"^from common import .*\bwrite\b", text, re.MULTILINE), script
        assert "write_text" not in text, script


def test_the_readme_has_the_figures_of_the_results() -> None:
    text = README.read_text(encoding="utf-8")
    assert rendered(text) == text, "run tools/readme_figures.py"


def test_a_figure_that_is_changed_by_hand_is_seen() -> None:
    text = README.read_text(encoding="utf-8")
    changed = text.replace(" kB |", " MB |")
    assert changed != text and rendered(changed) == text
    with pytest.raises(ValueError, match="figures: table"):
        rendered(text.replace("<!-- figures: table -->", ""))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.826, "0.8"),
        (4.39, "4.4"),
        (19.94, "19.9"),
        (107.2, "107"),
        (192.8, "193"),
        (11194.4, "11,200"),
        (1e6, "1,000,000"),
    ],
)
def test_numbers_are_rounded_to_what_they_are_worth(value: float, text: str) -> None:
    assert rounded(value) == text


def test_scores_are_written_as_the_literature_does() -> None:
    assert (three(0.592), three(0.0), three(1.0)) == (".592", ".000", "1.000")
    assert signed([0.03, -0.009, 0.0711]) == "+.030 [−.009, .071]"
    assert signed([-0.03, -0.05, -0.01]) == "−.030 [−.050, −.010]"
