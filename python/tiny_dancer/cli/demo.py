"""`tiny-dancer demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tiny_dancer.cli.arguments import Seed
from tiny_dancer.cli.output import console, progress, say, write_file
from tiny_dancer.extras import require

HELP = """The main job on a bundled sample: train, report, guarantee, route.

The sample holds real outcomes of two models on MMLU and GSM8K questions, as hashed features without text.

Example: tiny-dancer demo --out demo-report.html"""

REQUESTS = (
    "What is the capital of France?",
    "A train leaves at 9:40 and arrives at 13:05 after a stop of 25 minutes. At an average speed of 84 km/h while "
    "moving, how far is the journey?",
)


def demo(
    out: Annotated[Path, typer.Option(help="HTML report to write.")] = Path("demo-report.html"),
    seed: Seed = 0,
) -> None:
    require("sklearn", "pyarrow", "matplotlib")
    import numpy as np

    from tiny_dancer import _core
    from tiny_dancer.errors import NotCertifiedError
    from tiny_dancer.evaluation.html import html_report
    from tiny_dancer.evaluation.report import terminal_report
    from tiny_dancer.evaluation.router import certificate, evaluate_router
    from tiny_dancer.routing import Router
    from tiny_dancer.training.api import fit, read_outcomes, split_outcomes
    from tiny_dancer.training.calibrate import calibrate
    from tiny_dancer.training.fit import steps

    screen = console()
    outcomes = read_outcomes(_core.data_path("sample.parquet"))
    screen.rule("1. A table: what each model scored on each request")
    means = ", ".join(
        f"{name} {mean:.3f}" for name, mean in zip(outcomes.models, np.nanmean(outcomes.quality, 0), strict=True)
    )
    say(f"{len(outcomes):,} rows; mean quality {means}")

    screen.rule("2. Train on some rows, and keep some for steps 3 and 4")
    training, calibration, test = split_outcomes(outcomes, calibrate=0.3, test=0.3, seed=seed)
    say(f"{len(training):,} + {len(calibration):,} + {len(test):,} rows; requests that are kin stay together")
    with progress(steps()) as step:
        fitted = fit(training, seed=seed, progress=step)
    artifact = fitted.artifact
    say(f"{len(artifact):,} bytes; {' + '.join(fitted.chosen)}")

    screen.rule("3. A guarantee on the quality given up")
    epsilon, confidence = 0.1, 0.9
    try:
        certified = calibrate(artifact, calibration, max_quality_loss=epsilon, confidence=confidence)
    except NotCertifiedError as error:
        say(f"not certified: {error}")
    else:
        artifact = certified.artifact
        guarantee = certificate(Router(artifact))
        assert guarantee is not None
        say(guarantee.text())
        calls = ", ".join(f"{name} {share:.0%}" for name, share in certified.share.items())
        say(f"calls under it: {calls}")

    screen.rule("4. Should you route at all? That router on rows it never saw")
    router = Router(artifact)
    evaluation = evaluate_router(router, test, seed=seed, title="a router trained and certified on the sample")
    write_file(out, html_report(evaluation).encode())
    screen.print(terminal_report(evaluation))
    say(f"the same with plots: {out}")

    screen.rule("5. Decide")
    for request in (*REQUESTS, *REQUESTS):  # the second round is the one a running program sees
        decision = router.route(request)
        line = f"{decision.elapsed_us:7.0f} µs  {decision.model}  {decision.reason}  {request[:60]}"
        say(line)
    say("next, with a table of your own: tiny-dancer data check TABLE; tiny-dancer train TABLE --out A")
