"""`tiny-dancer evaluate`."""

from __future__ import annotations

from tiny_dancer.cli.arguments import Artifact, Json, Map, Scale, Seed, Table, mapped, scaled
from tiny_dancer.cli.output import console, print_json

HELP = """Judge an artifact on rows it was not trained on, beside every baseline, with paired 95 % intervals.

Example: tiny-dancer evaluate router.safetensors held-out.parquet --json
Example: tiny-dancer evaluate default outcomes.parquet --map weak=gpt-4o-mini --map strong=gpt-4o"""


def evaluate(
    artifact: Artifact,
    table: Table,
    map_: Map = None,
    scale: Scale = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    from tiny_dancer.evaluation.report import terminal_report
    from tiny_dancer.evaluation.results import to_dict
    from tiny_dancer.training.api import evaluate as judge

    evaluation = judge(artifact, table, seed=seed, models=mapped(map_), scale=scaled(scale))
    if json:
        print_json(to_dict(evaluation))
    else:
        console().print(terminal_report(evaluation))
