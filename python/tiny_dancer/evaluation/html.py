"""Reports as one HTML file each: no script, no request, every name escaped, dark and light."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from tiny_dancer.evaluation import wording

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tiny_dancer.evaluation.results import Evaluation

STYLE = """
:root{color-scheme:light dark;--page:#fbfbf9;--card:#fff;--ink:#1d2126;--faint:#878f98;--line:#dfe2e5;
--route:#146c43;--stop:#a4262c;--wait:#8a5a00;--router:#0b62b8;--tfidf:#b3470c;--length:#20764a;
--random:#6e7781;--oracle:#7d4fb0}
@media(prefers-color-scheme:dark){:root{--page:#14171a;--card:#1c2024;--ink:#e7eaed;--faint:#8e979f;
--line:#343a40;--route:#5bc48b;--stop:#ff8f8c;--wait:#e9b44c;--router:#6cb6ff;--tfidf:#ff9d66;
--length:#6fce9b;--random:#a2abb4;--oracle:#c9a3f5}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:78rem;padding:2rem 1.25rem 4rem;background:var(--page);color:var(--ink);
font:16px/1.55 system-ui,-apple-system,"Segoe UI",sans-serif}
h1{font-size:1rem;font-weight:600;color:var(--faint);margin:0 0 .75rem;overflow-wrap:anywhere}
h2{font-size:1.15rem;margin:2.5rem 0 .6rem}
.verdict{border-left:.4rem solid var(--tone);background:var(--card);padding:1.1rem 1.4rem;border-radius:.3rem}
.verdict p{font-size:1.45rem;line-height:1.3;font-weight:650;margin:0 0 .6rem;color:var(--tone);
overflow-wrap:anywhere}
.verdict ul{margin:0;padding-left:1.1rem}
.route{--tone:var(--route)}.stop{--tone:var(--stop)}.wait{--tone:var(--wait)}
.scroll{overflow-x:auto;background:var(--card);border:1px solid var(--line);border-radius:.3rem}
table{border-collapse:collapse;width:100%;font-size:.84rem;font-variant-numeric:tabular-nums}
caption{text-align:left;padding:.6rem;color:var(--faint)}
th,td{padding:.42rem .6rem;text-align:right;border-top:1px solid var(--line);white-space:nowrap}
thead th{white-space:normal;vertical-align:bottom;border-top:0}
th:first-child,td:first-child{text-align:left}
tbody th{font-weight:400;white-space:normal;min-width:12.5rem;overflow-wrap:anywhere}
tbody tr.own{font-weight:650}tbody tr.own th{font-weight:650;color:var(--router)}
details{margin-top:.6rem}summary{cursor:pointer;color:var(--faint)}
.plots{display:grid;align-items:start;gap:1.2rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,27rem),1fr))}
figure{margin:0;background:var(--card);border:1px solid var(--line);border-radius:.3rem;padding:.9rem}
figure svg{width:100%;height:auto;display:block}
figcaption{font-weight:600;margin-bottom:.4rem}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.5rem 1.2rem}
dt{font-weight:600}dd{margin:0}
.small{color:var(--faint);font-size:.875rem}
@media(max-width:40rem){dl{display:block}dd{margin-bottom:.6rem}}
@media print{.scroll{overflow:visible}}
"""
TONES = {"route": "route", "do not route": "stop", "not enough data": "wait"}


def table(caption: str, content: wording.Content, *, own: int | None = None) -> str:
    """A table with row and column headers; row ``own`` is the router's."""
    header, rows = content
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in header)
    body = []
    for place, row in enumerate(rows):
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])
        mark = ' class="own"' if place == own else ""
        body.append(f'<tr{mark}><th scope="row">{escape(row[0])}</th>{cells}</tr>')
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def page(title: str, parts: Sequence[str], style: str = "") -> str:
    """A whole page of parts that are HTML already; ``style`` is added to the usual one."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}{style}</style></head>"
        f"<body><main>{''.join(parts)}</main></body></html>"
    )


def _folded(title: str, caption: str, content: wording.Content) -> str:
    """A long table behind its title, which opens it."""
    return f"<details><summary>{escape(title)}</summary>{table(caption, content)}</details>"


def _figure(caption: str, svg: str) -> str:
    return f"<figure><figcaption>{escape(caption)}</figcaption>{svg}</figure>"


def _plots(evaluation: Evaluation) -> str:
    from tiny_dancer.evaluation import plots

    router = evaluation.policies[0]
    constants = [(m.name, m.cost, m.quality) for m in evaluation.models]
    figures = []
    label = (
        f"Mean quality against mean cost. The router is at {wording.number(router.quality.estimate)} "
        f"at {wording.money(router.cost, evaluation.cost_unit)}; the table above has every figure."
    )
    figures.append(
        _figure(
            "Cost and quality, with the router's 95 % band",
            plots.cost_quality_plot(
                evaluation.curves,
                constants,
                (router.cost, router.quality.estimate),
                evaluation.cost_unit,
                escape(label),
            ),
        )
    )
    if evaluation.pair is not None:
        pair = evaluation.pair
        label = f"Mean quality against the share of calls to {pair.strong}, the rest to {pair.weak}."
        figures.append(_figure("Calls and performance", plots.calls_plot(pair, escape(label))))
    if evaluation.calibration is not None:
        error = wording.number(evaluation.calibration.calibration_error)
        label = f"Observed against forecast quality; expected calibration error {error}."
        figures.append(
            _figure(f"Reliability (ECE {error})", plots.reliability_plot(evaluation.calibration, escape(label)))
        )
    shares = ", ".join(f"{m.name} {wording.percent(m.share)}" for m in evaluation.models if m.share)
    figures.append(
        _figure("Decisions by model", plots.share_plot(evaluation.models, escape(f"Shares: {shares}.")))
    )
    return f'<div class="plots">{"".join(figures)}</div>'


def html_report(evaluation: Evaluation) -> str:
    """The evaluation as a self-contained HTML page.

    Raises MissingExtraError where matplotlib is not installed.
    """
    verdict = evaluation.verdict
    main, few = wording.main_models(evaluation), wording.some_of(evaluation)
    means = f"Means per request with 95 % intervals; cost in {evaluation.cost_unit}"
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in verdict.reasons)
    parts = [
        f"<h1>Should you route at all? · {escape(evaluation.title)}</h1>",
        f'<section class="verdict {TONES[verdict.choice]}" aria-label="Verdict">'
        f"<p>{escape(verdict.headline)}</p><ul>{reasons}</ul></section>",
        "<h2>The figures</h2>",
        table(f"{means}{f'; {few}' if few else ''}", wording.policy_table(evaluation, main), own=0),
    ]
    if few:
        parts.append(_folded(f"All {len(evaluation.models)} models", means, wording.policy_table(evaluation)))
    if evaluation.pair is not None:
        pair = evaluation.pair
        caption = (
            f"Weak: {pair.weak} ({wording.number(pair.quality_weak)}); strong: {pair.strong} "
            f"({wording.number(pair.quality_strong)}); {pair.rows:,} requests, {pair.dropped:,} left out"
        )
        parts += ["<h2>As a weak and a strong model</h2>"]
        parts.append(table(caption, wording.pair_table(evaluation), own=0))
    certificate = evaluation.guarantee
    words = certificate.text() if certificate else "None. Calibrate for a certified bound on the quality lost."
    parts += ["<h2>The guarantee</h2>", f"<p>{escape(words)}</p>"]
    parts += ["<h2>Plots</h2>", _plots(evaluation), "<h2>Models</h2>"]
    means = f"Means over observed requests; cost in {evaluation.cost_unit}"
    parts.append(table(f"{means}{f'; {few}' if few else ''}", wording.model_table(evaluation, main)))
    if few:
        parts.append(_folded(f"All {len(evaluation.models)} models", means, wording.model_table(evaluation)))
    if evaluation.tasks:
        parts += ["<h2>Tasks</h2>", table("By number of requests", wording.task_table(evaluation))]
    if evaluation.robustness:
        parts += ["<h2>Robustness</h2>"]
        parts.append(table("Decisions that change with the text", wording.robustness_table(evaluation)))
    reading = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in wording.READING)
    parts += ["<h2>How to read</h2>", f"<dl>{reading}</dl>"]
    parts += [f'<p class="small">{escape(note)}</p>' for note in evaluation.notes]
    parts.append(f'<p class="small">{escape(wording.basis(evaluation))}</p>')
    return page(verdict.headline, parts)
