"""`tiny-dancer classifier predict`."""

from __future__ import annotations

from tiny_dancer.cli.arguments import ClassifierArtifact, Examples, OutTable
from tiny_dancer.cli.output import check_table, say, write_table

HELP = """Label every row of a table, or of the `x` in an .npz file.

The output keeps the input's order: `label`, its `probability`, all `probabilities` in the order of the artifact's
labels, and `prediction_set` where the artifact is calibrated for one. Label columns are never read.

Example: tiny-dancer classifier predict intents.safetensors requests.parquet --out labels.parquet"""


def predict(
    artifact: ClassifierArtifact,
    data: Examples,
    out: OutTable,
) -> None:
    import pyarrow as arrow

    from tiny_dancer.routing import Classifier
    from tiny_dancer.training.fastgrnn.data import read_examples

    check_table(out)
    classifier = Classifier.from_file(artifact)
    found = classifier.predict(read_examples(data, require_label=False).inputs)
    probabilities = [[each.probabilities[name] for name in classifier.labels] for each in found]
    columns = {
        "label": arrow.array([each.label for each in found], arrow.string()),
        "probability": arrow.array([each.probability for each in found], arrow.float32()),
        "probabilities": arrow.array(probabilities, arrow.list_(arrow.float32())),
    }
    if classifier.header.get("conformal"):
        sets = [None if each.prediction_set is None else list(each.prediction_set) for each in found]
        columns["prediction_set"] = arrow.array(sets, arrow.list_(arrow.string()))
    write_table(out, columns)
    say(f"{out}: {len(found):,} rows")
