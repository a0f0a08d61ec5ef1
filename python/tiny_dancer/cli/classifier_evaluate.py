"""`tiny-dancer classifier evaluate`."""

from __future__ import annotations

from tiny_dancer.cli.arguments import ClassifierArtifact, Examples, Json, Label
from tiny_dancer.cli.output import print_json, say

HELP = """Judge a classifier on labelled rows it was not trained on.

Rows whose label the artifact does not know are counted and left out of the figures.

Example: tiny-dancer classifier evaluate intents.safetensors held-out.parquet --json"""


def evaluate(artifact: ClassifierArtifact, data: Examples, label: Label = None, json: Json = False) -> None:
    from tiny_dancer.evaluation.overlap import optimistic
    from tiny_dancer.routing import Classifier
    from tiny_dancer.training.fastgrnn.data import read_examples
    from tiny_dancer.training.fastgrnn.judge import judge

    found = judge(Classifier.from_file(artifact), read_examples(data, label_column=label))
    if json:
        print_json(found)
        return
    if warning := optimistic(found.trained_on):
        say(warning)
    low, high = found.interval
    say(
        f"accuracy {found.accuracy:.4f}, 95 % interval {low:.4f} to {high:.4f}, {found.rows:,} rows",
        f"macro F1 {found.macro_f1:.4f}, log loss {found.log_loss:.4f}, "
        f"expected calibration error {found.calibration_error:.4f}",
    )
    if found.unknown:
        say(f"left out: {found.unknown:,} rows whose label the artifact does not know")
