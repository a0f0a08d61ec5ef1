"""Which columns of a table are models: those that are named, and those that are unmistakable.

A column of numbers can be anything: a difficulty, a temperature, a flag. It is a model's where

* the models are named, or the table itself names them (one row a prompt and model);
* another column gives its cost, latency or response (``<name>|total_cost``);
* its name is a model's: of a known family (``gpt-4o``), with a size (``…-7b``) or a slash (``org/name``), with a
  version (``baseline-v2``), a role (``weak``, ``small``), or a letter or number (``a``, ``model_1``).

Names of plain words (``baseline``, ``production``) are models where all columns of numbers have such names; beside
columns that are models for sure they are refused, since they may be anything. Names that say what is measured
(``difficulty``, ``mini_cost``, ``is_premium``) are never models unless they are named.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tiny_dancer.errors import DataError
from tiny_dancer.names import hint
from tiny_dancer.training.data import featurised, logs, long
from tiny_dancer.training.data.columns import COST, IGNORED_COLUMNS, KNOWN_COLUMNS, LATENCY, NOT_A_MODEL, RESPONSE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from tiny_dancer.training.data.columns import Checker
    from tiny_dancer.training.data.raw import RawTable

_SHOWN = 12
_VERDICTS = 3
_VERDICT_CHARACTERS = 12
_NUMBERLIKE = re.compile(r"^[\s+-]*\d[\d.,'\s]*%?\s*$")


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


# What a column measures, whatever else its name says: gpt-4_cost is no model.
_MEASURES = _set(
    "cost costs price prices usd latency time timestamp date duration seconds ms tokens token length chars "
    "characters words len difficulty complexity hardness temperature is has count "
    "confidence prob probability likelihood logprob logprobs entropy similarity std variance toxicity"
)
# What a model was given: gpt-4_score is one, and so is weak_score.
_SCORES = _set(
    "acc accuracy correct correctness grade judge performance quality rating reward score scores success vote"
)
# What else a column may measure, where its name is not that of a known family.
_FEATURES = (
    _MEASURES
    | _SCORES
    | _set(
        "accepted age avg bleu brier category char cluster col column cosine day depth dim "
        "distance domain emb embedding evaluation f1 feat feature flag fold frequency hour "
        "id idx index intent label labels level max mean median min month n "
        "num number order p pass percentile perplexity position premium rank readability "
        "region relevance rouge row seed sentiment session shots sim size split steps sum "
        "target temp threshold top topic topk total turn turns user votes week weight word "
        "x y year"
    )
)
_FAMILIES = _set(
    "ada alpaca aya babbage baichuan bard bloom chatgpt codestral cohere command curie davinci dbrx devstral "
    "dolly dolphin doubao ernie exaone falcon flan glm granite grok haiku hermes hunyuan internlm jamba kimi "
    "lfm magistral minimax ministral mpt nemotron nova olmo openchat opus orca palm phi pixtral pythia qwq smollm "
    "solar sonar sonnet starcoder titan tulu vicuna wizardcoder wizardlm xlam yi zephyr"
)
_UNMISTAKABLE = ("gpt", "claude", "llama", "mistral", "mixtral", "gemini", "gemma", "qwen", "deepseek", "chatglm")
_ROLES = _set(
    "weak weaker strong stronger cheap cheaper dear expensive big bigger small smaller large larger medium little "
    "mini nano micro tiny huge fast slow base default local remote cloud edge teacher student expert primary "
    "secondary fallback model models llm slm lm"
)
_SIZE = re.compile(r"(?<![a-z0-9.])(\d+x)?\d+(\.\d+)?[bm](?![a-z])", re.IGNORECASE)
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+|[^\W\d_a-zA-Z]+")


def chosen_models(checkers: Sequence[Checker], models: Sequence[str] | None, unused: list[str]) -> tuple[str, ...]:
    """The models to read: those asked for, or every column that must be one; ``unused`` says why not.

    Raises:
        DataError: an unknown model, none, or columns of which nothing says whether they are models.
    """
    candidates = dict.fromkeys(name for checker in checkers for name in checker.table.names if _may_be_model(name))
    if models is not None:
        for model in models:
            if model not in candidates:
                meant = hint(model, candidates)
                raise DataError("models", f"unknown model {model!r}", f"{meant}known: {', '.join(candidates)}")
        return tuple(models)
    usable: dict[str, None] = {}
    measured: dict[str, None] = {}
    for checker in checkers:
        usable |= dict.fromkeys(_models_of(checker, unused, measured))
    if not usable:
        remedy = "add one column of quality in [0, 1] per model, named after it"
        if measured:
            remedy += f"; or name the models, if {_listed(measured)} are some (--models {','.join(measured)})"
        if any(long.lacks_scores(checker.table.names) for checker in checkers):
            remedy = f"for one row a request and model, add a column of scores, called {' or '.join(logs.SCORES)}"
        found = ", ".join(map(repr, candidates)) or "none"
        raise DataError("models", f"no model column in {checkers[0].table.name}: {found}", remedy)
    return tuple(usable)


def not_used(raw: RawTable, name: str, reason: str) -> str:
    """What is said of a column that is left out."""
    return f"column {name!r} of {raw.name} is not used: it {reason}"


def says_model(name: str, others: Collection[str] = ()) -> bool:
    """Whether a column's name, or another column about it, says that it is a model's."""
    if any(f"{name}|{suffix}" in others for suffix in (COST, LATENCY)) or f"{name}{RESPONSE}" in others:
        return True
    words = _words(name)
    lowered = name.lower()
    if _MEASURES.intersection(words):
        return False
    if any(family in lowered for family in _UNMISTAKABLE) or "/" in name or _SIZE.search(name):
        return True
    if _FEATURES.difference(_SCORES).intersection([*words, lowered]):
        return False
    if _FAMILIES.intersection(words) or len(lowered) == 1:
        return True
    own = [word for word in words if word not in _ROLES]
    if len(own) < len(words) and all(word in _SCORES or word.isdigit() or len(word) == 1 for word in own):
        return True
    return any(word.isdigit() for word in words) and not _SCORES.intersection(words)


def _models_of(checker: Checker, unused: list[str], measured: dict[str, None]) -> list[str]:
    """The models of one table, in order."""
    raw = checker.table
    sure: list[str] = []
    plain: list[str] = []
    for name in raw.names:
        if "|" in name and not _is_usable_suffix(name, raw.names):
            unused.append(not_used(raw, name, "is no cost or latency of a model column"))
        if not _may_be_model(name):
            continue
        if name in raw.models or says_model(name, raw.names):
            if _is_quality(checker, name, unused):
                sure.append(name)
        elif _FEATURES.intersection(_words(name)):
            if _holds_numbers(checker, name, unused) and not _is_empty(checker, name, unused):
                measured[name] = None
                reason = f"measures something, as its name says; a model is named (--models {name},...)"
                if {"cost", "price", "latency", "time"}.intersection(_words(name)):
                    reason += ", its cost is <model>|total_cost, its latency <model>|latency_s"
                unused.append(not_used(raw, name, reason))
        elif _is_quality(checker, name, unused):
            plain.append(name)
    plain = [name for name in plain if not _is_empty(checker, name, unused)] if sure else plain
    if sure and plain:
        named = ",".join(sure[:_SHOWN]) + (",..." if len(sure) > _SHOWN else "")
        raise DataError(
            "models",
            f"columns of {raw.name} that may be anything: {_listed(plain)}, beside the models {_listed(sure)}",
            f"name the models (--models {named}, and what else is one), or rename the columns",
        )
    return sure or plain


def _words(name: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(name)]


def _listed(names: Iterable[str]) -> str:
    found = [repr(name) for name in names]
    return ", ".join(found[:_SHOWN]) + (f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else "")


def may_name_model(name: str) -> bool:
    """Whether a model of this name can have a column in a table: what tables read otherwise names none."""
    return bool(name) and name == name.strip() and _may_be_model(name)


def _may_be_model(name: str) -> bool:
    return "|" not in name and name not in KNOWN_COLUMNS and name not in IGNORED_COLUMNS


def _is_usable_suffix(name: str, names: Iterable[str]) -> bool:
    model, _, suffix = name.rpartition("|")
    return (
        name in featurised.FEATURE_COLUMNS
        or name.endswith(RESPONSE)
        or (suffix in (COST, LATENCY) and model in names)
    )


def _holds_numbers(checker: Checker, name: str, unused: list[str]) -> bool:
    parsed = checker.numbers(name)
    if parsed is None or (parsed.bad and not parsed.numeric):
        is_named = says_model(name) and name not in long.REQUEST_COLUMNS
        if parsed is not None and is_named and _looks_scored([text for _, text in parsed.bad]):
            raise checker.fault(name, *parsed.bad[0], f"write quality as a number in [0, 1], {NOT_A_MODEL}")
        unused.append(not_used(checker.table, name, "holds no numbers, so it is no model"))
        return False
    return True


def _looks_scored(texts: Sequence[str]) -> bool:
    """Whether texts are scores in a spelling that is not read (0.9 %, 1.234,5), or a few verdicts (yes, no)."""
    distinct = set(texts)
    few = len(distinct) <= _VERDICTS and all(len(text) <= _VERDICT_CHARACTERS for text in distinct)
    return few or all(_NUMBERLIKE.match(text) for text in distinct)


def _is_empty(checker: Checker, name: str, unused: list[str]) -> bool:
    parsed = checker.numbers(name)
    if parsed is not None and not parsed.numeric:
        unused.append(not_used(checker.table, name, "has no value in any row"))
        return True
    return False


def _is_quality(checker: Checker, name: str, unused: list[str]) -> bool:
    """Whether the column is a model's; text that is a number in some rows only is refused."""
    if not _holds_numbers(checker, name, unused):
        return False
    parsed = checker.numbers(name)
    if parsed is not None and parsed.bad:
        row, text = parsed.bad[0]
        raise checker.fault(name, row, text, f"write quality in [0, 1], {NOT_A_MODEL}")
    return True
