"""Arguments several commands share."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from tiny_dancer.errors import OptionError
from tiny_dancer.types import ModelInfo

Artifact = Annotated[str, typer.Argument(help="Path of an artifact, or `default` or `edge`, which are shipped.")]
Table = Annotated[
    Path, typer.Argument(help="Outcomes table: Parquet, CSV, TSV, JSONL, JSON or xlsx, plain or featurised.")
]
Tables = Annotated[list[Path], typer.Argument(help="Outcomes tables, joined row below row.")]
Models = Annotated[str | None, typer.Option(help="Only these models, separated by commas.")]
Scale = Annotated[
    str | None,
    typer.Option(help="LOW:HIGH, what the lowest and highest quality are in the table, such as 1:5; else 0:1."),
]
OutTable = Annotated[
    Path, typer.Option(help="Table to write: .parquet, .csv, .tsv or .jsonl, as its name says; text also as .gz.")
]
ClassifierArtifact = Annotated[str, typer.Argument(help="Path of a classifier's artifact.")]
RoutesArtifact = Annotated[str, typer.Argument(help="Path of an artifact of routes.")]
LabelledTable = Annotated[Path, typer.Argument(help="Table of texts: Parquet, CSV, TSV, JSONL, JSON or xlsx.")]
TextOf = Annotated[str, typer.Option("--text", metavar="COLUMN", help="Column of the texts.")]
LabelOf = Annotated[str, typer.Option("--label", metavar="COLUMN", help="Column of the intents.")]
OutOfScope = Annotated[str, typer.Option(help="Label of rows that belong to no route, as those without one do.")]
FalseAlarms = Annotated[
    float | None,
    typer.Option(help="Share of in-scope texts that may be called out of scope; else the artifact's."),
]
Examples = Annotated[
    Path, typer.Argument(help="`text` and `label` as Parquet, CSV or JSONL; or .npz with x and y.")
]
Label = Annotated[str | None, typer.Option(help="Column of the labels; else label, intent or category.")]
Seed = Annotated[int, typer.Option(min=0, help="Of every random choice: the same seed gives the same result.")]
Map = Annotated[
    list[str] | None,
    typer.Option("--map", help="NAME=MODEL: the table's model for a name of the artifact; repeatable."),
]
Prices = Annotated[
    list[str] | None,
    typer.Option(
        help="NAME=USD a request, or NAME=INPUT/OUTPUT/LENGTH: USD per million tokens of prompt and answer, and "
        "tokens of a usual answer; repeatable, one a model."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def mapped(pairs: list[str] | None) -> dict[str, str]:
    """Names of the artifact to models of the table."""
    result = {}
    for pair in pairs or []:
        name, separator, model = pair.partition("=")
        if not (name and separator and model):
            raise OptionError("map", pair, "give NAME=MODEL, such as strong=gpt-4o")
        result[name] = model
    return result


def scaled(ends: str | None) -> tuple[float, float] | None:
    """The two ends of a scale, or None."""
    if ends is None:
        return None
    low, _, high = ends.partition(":")
    try:
        return float(low), float(high)
    except ValueError:
        raise OptionError("scale", ends, "give LOW:HIGH, such as 1:5, 0:100 or -1:1") from None


def priced(pairs: list[str] | None) -> dict[str, float | ModelInfo]:
    """Models to USD a request, or to prices of tokens."""
    result: dict[str, float | ModelInfo] = {}
    for pair in pairs or []:
        name, separator, text = pair.rpartition("=")
        try:
            numbers = [float(each) for each in text.split("/")]
        except ValueError:
            numbers = []
        sound = all(math.isfinite(each) and each >= 0 for each in numbers)
        if not (name and separator and sound and len(numbers) in (1, 3)) or name in result:
            remedy = (
                "give NAME=USD a request, or NAME=INPUT/OUTPUT/LENGTH (USD per million tokens, answer's tokens)"
            )
            raise OptionError("prices", pair, f"{remedy}, once a model")
        result[name] = (
            numbers[0]
            if len(numbers) == 1
            else ModelInfo(
                input_cost_per_token=numbers[0] / 1e6,
                output_cost_per_token=numbers[1] / 1e6,
                expected_output_tokens=numbers[2],
            )
        )
    return result


def listed(names: str | None, option: str = "models") -> list[str] | None:
    """Names separated by commas, or None."""
    if names is None:
        return None
    found = [name.strip() for name in names.split(",") if name.strip()]
    if not found:
        raise OptionError(option, names, "give names separated by commas")
    return found
