from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import pytest

from tiny_dancer.training.data import check_outcomes

NAN = float("nan")


def kinds(table) -> dict[str, list]:
    found: dict[str, list] = {}
    for finding in check_outcomes(table).findings:
        assert finding.message
        assert finding.remedy
        assert len(finding.rows) <= 5
        assert set(finding.rows) <= set(table.sample_id)
        found.setdefault(finding.kind, []).append(finding)
    return found


def coin(rows: int, models: int, seed: int = 0, share: float = 0.5) -> np.ndarray:
    return (np.random.default_rng(seed).random((rows, models)) < share).astype(float)


def test_a_sound_table_has_notes_only(make_outcomes):
    quality = coin(400, 2)
    quality[:, 1] = np.maximum(quality[:, 0], quality[:, 1])
    prompts = [f"{chr(97 + row % 26)}{row} {row * 7919} {row * 104729}" for row in range(400)]
    report = check_outcomes(make_outcomes(quality, prompts, cost=np.ones((400, 2))))
    assert report.findings == ()
    assert (report.rows, report.groups) == (400, 400)
    assert report.tasks == (("", 400),)
    assert report.models[1].observed == 400
    assert report.models[1].mean_cost == 1.0
    assert report.models[0].mean_quality == pytest.approx(quality[:, 0].mean())


def test_findings_come_errors_first(make_outcomes):
    report = check_outcomes(make_outcomes(np.ones((10, 2))))
    severities = [finding.severity for finding in report.findings]
    assert severities == sorted(severities, key=("error", "warning", "note").index)
    assert report.of("error") == tuple(f for f in report.findings if f.severity == "error")


@pytest.mark.parametrize(("rows", "severity"), [(1, "error"), (29, "error"), (299, "warning")])
def test_tiny_tables(make_outcomes, rows, severity):
    assert kinds(make_outcomes(coin(rows, 2)))["tiny_table"][0].severity == severity


def test_one_model_only(make_outcomes):
    assert kinds(make_outcomes(coin(400, 1)))["one_model"][0].severity == "error"


def test_all_equal_labels(make_outcomes):
    found = kinds(make_outcomes(np.ones((400, 2))))
    assert found["no_difference"][0].severity == "error"
    assert [finding.field for finding in found["constant_quality"]] == ["a", "b"]
    equal = np.repeat(coin(400, 1), 2, axis=1)
    assert "no_difference" in kinds(make_outcomes(equal))


def test_few_differences_and_copied_models(make_outcomes):
    quality = np.repeat(coin(400, 1), 3, axis=1)
    quality[:10, 2] = 1 - quality[:10, 2]
    found = kinds(make_outcomes(quality))
    assert found["few_differences"][0].count == 10
    assert [finding.field for finding in found["same_quality"]] == ["b"]


def test_missing_quality(make_outcomes):
    quality = coin(400, 4)
    quality[:10, 1] = NAN
    quality[:300, 2] = NAN
    quality[:, 3] = NAN
    quality[5] = NAN
    found = kinds(make_outcomes(quality))
    by_model = {finding.field: finding for finding in found["missing_quality"]}
    assert {name: finding.severity for name, finding in by_model.items()} == {
        "a": "note",
        "b": "note",
        "c": "warning",
        "d": "error",
    }
    assert by_model["b"].count == 10
    assert by_model["b"].rows == ("s0", "s1", "s2", "s3", "s4")
    assert (found["unobserved_row"][0].rows, found["unobserved_row"][0].count) == (("s5",), 1)


def test_missing_costs(make_outcomes):
    quality = coin(400, 3)
    assert kinds(make_outcomes(quality))["missing_cost"][0].severity == "note"
    cost = np.ones((400, 3))
    cost[:7, 0] = NAN
    cost[:, 1] = NAN
    found = {finding.field: finding for finding in kinds(make_outcomes(quality, cost=cost))["missing_cost"]}
    assert set(found) == {"a|total_cost", "b|total_cost"}
    assert found["a|total_cost"].count == 7
    assert "no costs while others do" in found["b|total_cost"].message
    unscored = np.where(np.isnan(cost), NAN, quality)
    unscored[:, 1] = quality[:, 1]
    names = {finding.field for finding in kinds(make_outcomes(unscored, cost=cost))["missing_cost"]}
    assert names == {"b|total_cost"}


def test_duplicates_and_their_contradictions(make_outcomes):
    prompts = [f"{row} is a number like no other, {row * 7919}" for row in range(400)]
    prompts[1] = prompts[0]
    prompts[3] = prompts[2]
    quality = coin(400, 2)
    quality[:4] = [[1, 0], [1, 0], [1, 0], [0, 0]]
    for features in ({}, {"features": None}):
        found = kinds(make_outcomes(quality, prompts, **features))
        assert found["exact_duplicate"][0].rows == ("s0", "s1", "s2", "s3")
        conflict = found["conflicting_labels"][0]
        assert (conflict.rows, conflict.severity) == (("s2", "s3"), "warning")
        assert "1 of 4 repeated labels disagree (25.0%)" in conflict.message
        assert "leak" not in found, "without a group column there are no groups that leak"
        grouped = np.arange(400)
        grouped[399] = 398
        assert kinds(make_outcomes(quality, prompts, group=grouped, **features))["leak"][0].count == 4
        assert ("not_featurised" in found) == bool(features)


def test_equal_prompts_with_other_tools_are_no_duplicates(make_outcomes):
    table = make_outcomes(coin(2, 2), ["same", "same"], tools=("[]", '[{"name": "f"}]'), features=None)
    assert "exact_duplicate" not in kinds(table)


def test_near_duplicates_and_passages(make_outcomes):
    random = np.random.default_rng(0)
    words = [f"w{number}" for number in range(3000)]
    prompts = [" ".join(random.choice(words, 60)) for _ in range(300)]
    prompts[1] = prompts[0] + " again"
    passage = " ".join(random.choice(words, 80))
    prompts[10:13] = [f"{passage} {prompt}" for prompt in prompts[10:13]]
    found = kinds(make_outcomes(coin(300, 2), prompts))
    assert found["near_duplicate"][0].rows == ("s0", "s1")
    assert found["shared_passage"][0].rows == ("s10", "s11", "s12")
    assert "leak" not in found
    group = np.arange(300)
    group[299] = 298
    assert kinds(make_outcomes(coin(300, 2), prompts, group=group))["leak"][0].count == 5
    group[1], group[11], group[12] = 0, 10, 10
    assert "leak" not in kinds(make_outcomes(coin(300, 2), prompts, group=group))


def test_groups_too_few_or_too_large(make_outcomes):
    quality = coin(400, 2)
    prompts = [f"{row * 7919} {row * 104729}" for row in range(400)]
    assert kinds(make_outcomes(quality, prompts, group=np.arange(400) % 3))["few_groups"][0].severity == "error"
    group = np.arange(400)
    group[:100] = 0
    assert kinds(make_outcomes(quality, prompts, group=group))["large_group"][0].count == 100


def test_label_noise(make_outcomes):
    quality = coin(400, 2, share=0.0)
    quality[:, 1] = 1
    quality[:60] = [1, 0]
    noise = kinds(make_outcomes(quality))["label_noise"][0]
    assert (noise.severity, noise.count) == ("warning", 60)
    assert "a beats b in 15.0%" in noise.message


def test_small_tasks_and_long_prompts(make_outcomes):
    prompts = [f"{row * 7919}" for row in range(400)]
    prompts[7] = "x " * 40_000
    table = make_outcomes(coin(400, 2), prompts, task=("rare",) * 5 + ("common",) * 395)
    found = kinds(table)
    assert found["small_task"][0].count == 5
    assert "rare (5)" in found["small_task"][0].message
    assert found["long_prompt"][0].rows == ("s7",)


def failing_table(make_outcomes, **levels):
    """Four models on five tasks; ``levels`` gives a share by model and task, such as ``a2=0.01``."""
    random = np.random.default_rng(0)
    share = np.outer([0.8, 0.7, 0.6, 0.75, 0.5], [0.9, 1.0, 1.1, 0.6])
    for cell, level in levels.items():
        share[int(cell[1]), "abcd".index(cell[0])] = level
    task = np.repeat(np.arange(5), 200)
    quality = (random.random((1000, 4)) < share[task]).astype(float)
    return make_outcomes(quality, features=None, task=tuple(f"task{number}" for number in task))


def test_a_model_that_fails_on_one_task_only(make_outcomes):
    found = kinds(failing_table(make_outcomes, a2=0.01, d0=0.0))
    accused = {(seen.field, seen.message.split(" on ")[1].split()[0]) for seen in found["extraction_failure"]}
    assert accused == {("a", "task2"), ("d", "task0")}
    assert all(finding.severity == "warning" for finding in found["extraction_failure"])
    assert "weak_on_task" not in found


def test_weak_models_and_hard_tasks_are_not_accused(make_outcomes):
    everywhere_weak = {f"d{task}": 0.05 for task in range(5)}
    hard_task = {f"{model}3": 0.03 for model in "abcd"}
    somewhat_weak = {"b1": 0.45}
    for levels in ({}, everywhere_weak, hard_task, somewhat_weak):
        found = kinds(failing_table(make_outcomes, **levels))
        assert "extraction_failure" not in found
        assert "weak_on_task" not in found


def test_any_table_is_reported_on_without_warnings(make_outcomes):
    random = np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for rows in (1, 2, 30, 60):
            for models in (1, 2, 5):
                quality = random.random((rows, models))
                quality[random.random((rows, models)) < 0.5] = NAN
                cost = np.where(random.random((rows, models)) < 0.5, NAN, 1.0)
                task = tuple(random.choice(["x", "y", "z"], rows))
                table = make_outcomes(quality, cost=cost, task=task)
                check_outcomes(table)
                check_outcomes(dataclasses.replace(table, prompt=None, quality=np.full_like(quality, NAN)))
        empty = make_outcomes(np.empty((3, 0)))
        assert "one_model" in kinds(empty)
