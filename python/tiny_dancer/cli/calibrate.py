"""`tiny-dancer calibrate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, cast

import typer

from tiny_dancer.cli.arguments import Artifact, Map, Scale, Tables, mapped, scaled
from tiny_dancer.cli.output import say, write_file
from tiny_dancer.errors import OptionError

HELP = """Put a router under a certified policy, turn one of two dials, or give a classifier prediction sets.

--max-quality-loss certifies the cheapest policy (Learn-then-Test) on rows the artifact was not trained on;
--budget certifies the safest one of which few requests cost more. Where none can be certified, nothing is written
and the exit code is 1. Rows that are kin (copies, near copies, shared passages, the tables' own groups) count as
one, also across tables; rows trained on are left out where they are at most 2 %, and refused where they are more.

--cost-cut and --share read no labels: tables of prompts will do, or a .txt of one prompt a line. --share 0.3 is
for the best constant, the strong one of two; 200 prompts give a share to within some 6 points on others like them.

A classifier's table has columns text and label (or intent, category); a classifier of vectors takes an .npz with x
and y. --alpha is the share of sets that may miss the true label; with --group each group of enough rows is covered
by itself.

Example: tiny-dancer calibrate intents.safetensors held-out.csv --alpha 0.1 --method lac --out sure.safetensors

Example: tiny-dancer calibrate router.safetensors rest.parquet --max-quality-loss 0.05 --out safe.safetensors

Example: tiny-dancer calibrate r.safetensors rest.parquet --max-quality-loss 0.1 --risk routed --out s.safetensors

Example: tiny-dancer calibrate r.safetensors rest.parquet --budget 0.01 --max-exceeded 0.05 --out s.safetensors

Example: tiny-dancer calibrate default prompts.txt --share 0.3 --out mine.safetensors"""


def calibrate(
    artifact: Artifact,
    tables: Tables,
    out: Annotated[Path, typer.Option(help="Where to write the artifact.")],
    max_quality_loss: Annotated[float | None, typer.Option(help="Largest risk to certify, such as 0.05.")] = None,
    confidence: Annotated[float, typer.Option(help="Of the certificate.")] = 0.9,
    risk: Annotated[
        str,
        typer.Option(
            help="`mean` quality lost; `harm`: its positive part; `routed`: share of the requests not sent to the "
            "reference on which quality is lost."
        ),
    ] = "mean",
    reference: Annotated[
        str | None, typer.Option(help="Model compared with; the best constant if absent.")
    ] = None,
    budget: Annotated[float | None, typer.Option(help="USD that a request may cost.")] = None,
    max_exceeded: Annotated[float, typer.Option(help="Share of requests (batches) that may cost more.")] = 0.05,
    batch: Annotated[int, typer.Option(help="Bound the mean cost of a request in a batch of so many.")] = 1,
    date: Annotated[str, typer.Option(help="Date to record in the certificate; the tool reads no clock.")] = "",
    cost_cut: Annotated[float | None, typer.Option(help="Share of the best constant's cost to save.")] = None,
    share: Annotated[
        str | None,
        typer.Option(help="Of requests: SHARE for the best constant, or MODEL=SHARE, such as strong=0.2."),
    ] = None,
    map_: Map = None,
    scale: Scale = None,
    alpha: Annotated[float | None, typer.Option(help="Classifiers: share of sets that may miss.")] = None,
    method: Annotated[str, typer.Option(help="Classifiers: `lac`, smallest sets, or `aps`, never empty.")] = "lac",
    group: Annotated[str | None, typer.Option(help="Classifiers: column of groups to cover each.")] = None,
    label: Annotated[str | None, typer.Option(help="Classifiers: column of labels.")] = None,
) -> None:
    from tiny_dancer import _core
    from tiny_dancer.routing import read_artifact

    certified = max_quality_loss is not None or budget is not None
    asked = [max_quality_loss is not None, budget is not None, cost_cut is not None, share is not None]
    data = read_artifact(artifact)
    if _core.read_header(data)["kind"] == "classifier":
        if sum(asked) or map_:
            raise OptionError("calibrate", "a target for routers", "a classifier takes --alpha, --method, --group")
        if len(tables) > 1:
            raise OptionError("table", f"{len(tables)} tables", "a classifier takes one")
        _sets(data, tables[0], out, 0.1 if alpha is None else alpha, method, group, label, date)
        return
    if alpha is not None or group is not None or label is not None:
        raise OptionError("calibrate", "a router", "--alpha, --group and --label are for classifiers")
    from tiny_dancer.evaluation.overlap import dropped_note
    from tiny_dancer.routing import Router
    from tiny_dancer.training import calibrate as room
    from tiny_dancer.training.api import read_outcomes, read_prompts

    if sum(asked) != 1:
        raise OptionError(
            "calibrate",
            f"{sum(asked)} targets",
            "give one of --max-quality-loss, --budget, --cost-cut and --share",
        )
    data = room.with_models(data, mapped(map_))
    names = [model["name"] for model in _core.read_header(data)["models"]]
    outcomes = read_outcomes(tables, models=names, scale=scaled(scale)) if certified else read_prompts(tables)
    if certified:
        result = room.calibrate(
            data,
            outcomes,
            max_quality_loss=max_quality_loss,
            confidence=confidence,
            risk=cast("Any", risk),
            reference=reference,
            budget=budget,
            max_exceeded=max_exceeded,
            batch=batch,
            date=date,
        )
    elif cost_cut is not None:
        result = room.dial_cost_cut(data, outcomes, cost_cut)
    else:
        model, wanted = _share(share or "")
        result = room.dial_share(data, outcomes, model, wanted)
    write_file(out, result.artifact)
    lines = [f"{out}: policy {result.policy.kind}, level {result.policy.level:.6g}"]
    lines += [f"  {name}: {part:.1%} of these rows" for name, part in result.share.items() if part]
    lines.append(f"  cost {result.cost:.1%} of always calling the reference")
    if share is not None:
        error = 1.96 * (wanted * (1 - wanted) / len(outcomes)) ** 0.5
        lines.append(
            f"  on other requests like these {len(outcomes):,} the share is {wanted:.1%} give or take {error:.1%} "
            "(95 %); on unlike ones it may be any (Router.follow_share follows them)"
        )
    if result.certification is not None:
        found = result.certification
        stated = Router(result.artifact).guarantee
        assert stated is not None
        counted = found.counted[found.index or 0]
        some = f", {counted:,} of them not sent to it" if risk == "routed" else ""
        lines.append(
            f"  certified: {stated.words()} with confidence {confidence:g} ({found.n:,} independent rows{some}, "
            f"observed {stated.observed_risk:z.4f}, p = {stated.p_value:.2g})"
        )
    if note := dropped_note(result.dropped):
        lines.append(f"  {note}")
    say(*lines)


def _sets(
    artifact: bytes,
    table: Path,
    out: Path,
    alpha: float,
    method: str,
    group: str | None,
    label: str | None,
    date: str,
) -> None:
    """Prediction sets for a classifier."""
    from tiny_dancer.training.conformal import calibrate_classifier, read_groups
    from tiny_dancer.training.fastgrnn.data import read_examples

    if method not in ("lac", "aps"):
        raise OptionError("method", method, "choose lac or aps")
    rows = read_examples(table, label_column=label)
    notes = {"date": date, "group_column": group or ""}
    result = calibrate_classifier(
        artifact,
        rows.inputs,
        rows.label,
        alpha=alpha,
        method="aps" if method == "aps" else "lac",
        group=None if group is None else read_groups(table, group),
        notes={name: value for name, value in notes.items() if value},
    )
    write_file(out, result.artifact)
    lines = [
        f"{out}: sets that miss the true label in at most {alpha:.1%} of inputs like these {result.rows:,} rows",
        f"  {method} threshold {result.threshold:.6g}; {result.mean_size:.2f} labels in a set of these rows, "
        f"{result.empty:.1%} empty; accuracy {result.accuracy:.1%}",
    ]
    if result.dropped:
        lines.append(f"  left out: {result.dropped:,} rows that equal some trained on")
    if group is not None:
        lines.append(f"  {len(result.own)} groups of {group} covered each by itself")
    if result.pooled:
        few = f"  under the pooled threshold, having too few rows for their own: {', '.join(result.pooled[:10])}"
        lines.append(few + (", ..." if len(result.pooled) > 10 else ""))
    say(*lines)


def _share(text: str) -> tuple[str | None, float]:
    """Model and share of `MODEL=SHARE`; no model where only the share is given."""
    model, separator, share = text.rpartition("=")
    try:
        if bool(separator) == bool(model):
            return model or None, float(share)
    except ValueError:
        pass
    raise OptionError("share", text, "give SHARE or MODEL=SHARE, such as 0.2 or strong=0.2")
