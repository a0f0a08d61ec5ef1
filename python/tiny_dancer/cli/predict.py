"""`tiny-dancer predict`."""

from __future__ import annotations

from tiny_dancer.cli.arguments import Artifact, OutTable, Table
from tiny_dancer.cli.output import check_table, say, write_table
from tiny_dancer.errors import DataError

HELP = """Write expected quality, cost and decision for every row of a table.

The output keeps the input's order: sample_id, one column a model with its expected quality, `<model>|cost` in USD
where the artifact knows costs, `decision`, and `likeness` where it knows what requests are like. Label columns are
never read and may be absent.

Example: tiny-dancer predict router.safetensors requests.parquet --out predictions.parquet"""


def predict(
    artifact: Artifact,
    table: Table,
    out: OutTable,
) -> None:
    import pyarrow as arrow

    from tiny_dancer.routing import Router
    from tiny_dancer.training.api import read_outcomes

    check_table(out)
    router = Router.load(artifact)
    outcomes = read_outcomes(table, require_quality=False)
    batch = router.route_features(router.features_of(outcomes))
    for name in ("sample_id", "decision", "likeness"):
        if name in router.models:
            raise DataError("models", name, "an output column has this name: rename the model and train again")
    columns = {"sample_id": arrow.array(list(outcomes.sample_id), arrow.string())}
    for index, name in enumerate(router.models):
        columns[name] = arrow.array(batch.scores[:, index].astype("float64"))
    for index, name in enumerate(router.models):
        costs = batch.costs[:, index]
        if not (costs != costs).all():
            columns[f"{name}|cost"] = arrow.array(costs)
    columns["decision"] = arrow.array([router.models[i] for i in batch.choice], arrow.string())
    if not (batch.likeness != batch.likeness).all():
        columns["likeness"] = arrow.array(batch.likeness)
    write_table(out, columns)
    say(f"{out}: {len(outcomes):,} rows")
