"""`tiny-dancer evaluate`."""

from __future__ import annotations

from tiny_dancer.cli.arguments import Artifact, Json, Map, Scale, Seed, Tables, mapped, scaled
from tiny_dancer.cli.output import console, print_json

HELP = """Judge an artifact on rows it was not trained on, beside every baseline, with paired 95 % intervals.

Rows that are kin (copies, near copies, shared passages, the tables' own groups) count as one, also across tables.
Rows that were trained on are left out where they are at most 2 %; where there are more, the verdict says so.

Example: tiny-dancer evaluate router.safetensors held-out.parquet --json
Example: tiny-dancer evaluate default outcomes.parquet --map weak=gpt-4o-mini --map strong=gpt-4o"""


def evaluate(
    artifact: Artifact,
    tables: Tables,
    map_: Map = None,
    scale: Scale = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    from tiny_dancer.evaluation.report import terminal_report
    from tiny_dancer.evaluation.results import to_dict
    from tiny_dancer.training.api import evaluate as judge

    evaluation = judge(artifact, tables, seed=seed, models=mapped(map_), scale=scaled(scale))
    if json:
        print_json(to_dict(evaluation))
    else:
        console().print(terminal_report(evaluation))
