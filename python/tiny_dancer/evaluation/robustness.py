"""Small changes to a request that should not change its decision.

Every change is a function of the text, the kind and the seed alone: the same input is changed the same way on
every machine and in every order, so that a training run and an evaluation agree.
"""

from __future__ import annotations

import hashlib
import random
import re
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from tiny_dancer.errors import DataError, OptionError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

Perturbation = Literal["typos", "case", "whitespace", "markdown"]
PERTURBATIONS: tuple[Perturbation, ...] = get_args(Perturbation)
TYPO_RATE = 1 / 12
KEYBOARD = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
WORD = re.compile(r"[^\W\d_]{3,}")


def _neighbours() -> dict[str, str]:
    near: dict[str, str] = {}
    for above, row in enumerate(KEYBOARD):
        for place, key in enumerate(row):
            around = row[max(0, place - 1) : place] + row[place + 1 : place + 2]
            for other in (above - 1, above + 1):
                if 0 <= other < len(KEYBOARD):
                    around += KEYBOARD[other][place : place + 1]
            near[key] = around
    return near


NEIGHBOURS = _neighbours()


def _typo(word: str, dice: random.Random) -> str:
    """One slip of the fingers: swap, drop, double, or hit the key beside."""
    place = dice.randrange(len(word) - 1)
    kind = dice.randrange(4)
    if kind == 0:
        return word[:place] + word[place + 1] + word[place] + word[place + 2 :]
    if kind == 1:
        return word[:place] + word[place + 1 :]
    near = NEIGHBOURS.get(word[place].lower(), "")
    if kind == 2 or not near:
        return word[:place] + word[place] + word[place:]
    key = dice.choice(near)
    return word[:place] + (key.upper() if word[place].isupper() else key) + word[place + 1 :]


def _typos(text: str, dice: random.Random) -> str:
    """A typo in one word of twelve (letters only, three or more), and in at least one where there is any."""
    words = list(WORD.finditer(text))
    if not words:
        return text
    hit = {i for i in range(len(words)) if dice.random() < TYPO_RATE} or {dice.randrange(len(words))}
    pieces, end = [], 0
    for i, match in enumerate(words):
        pieces.append(text[end : match.start()])
        pieces.append(_typo(match.group(), dice) if i in hit else match.group())
        end = match.end()
    return "".join(pieces) + text[end:]


def _case(text: str, dice: random.Random) -> str:
    return (text.upper, text.lower, text.title)[dice.randrange(3)]()


def _whitespace(text: str, dice: random.Random) -> str:
    kind = dice.randrange(4)
    if kind == 0:
        return re.sub(r" +", lambda match: "  " if dice.random() < 0.3 else match.group(), text)
    if kind == 1:
        return text.replace("\n", " ") if "\n" in text else text.replace(". ", ".\n")
    if kind == 2:
        return re.sub(r"\n", "\n\n", text) if "\n" in text else text + "\n"
    return dice.choice(("  ", "\n", "\t", "\n\n")) + text + dice.choice(("  ", "\n", " \n\n"))


def _markdown(text: str, dice: random.Random) -> str:
    kind = dice.randrange(4)
    if kind == 0:
        return f"**{text}**"
    if kind == 1:
        return "\n".join(f"> {line}" for line in text.split("\n"))
    if kind == 2:
        return f"```\n{text}\n```"
    return "\n".join(f"- {line}" if line.strip() else line for line in text.split("\n"))


CHANGES: dict[Perturbation, Callable[[str, random.Random], str]] = {
    "typos": _typos,
    "case": _case,
    "whitespace": _whitespace,
    "markdown": _markdown,
}


def perturb(text: str, kind: Perturbation, seed: int = 0) -> str:
    """The text with one kind of harmless change.

    Args:
        text: a request; any string, lone surrogates included. Text without words is left as it is by typos.
        kind: ``typos`` (about one word in twelve: letters swapped, dropped, doubled, or the key beside),
            ``case`` (upper, lower or title), ``whitespace`` (doubled spaces, newlines for spaces or the other
            way round, leading and trailing), ``markdown`` (bold, quote, code fence or bullets around it).
        seed: another seed gives another change of the kind.

    Raises:
        OptionError: no such kind.
    """
    if kind not in CHANGES:
        raise OptionError("kind", kind, f"choose one of {', '.join(PERTURBATIONS)}")
    source = f"{kind}\0{seed}\0{text}".encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(source, digest_size=8).digest()
    return CHANGES[kind](text, random.Random(int.from_bytes(digest, "big")))


def flip_share(
    before: npt.NDArray[np.int64],
    after: npt.NDArray[np.int64],
    *,
    weight: npt.NDArray[np.float64] | None = None,
) -> float:
    """Share of requests whose decision changed; both int [n]. Raises DataError where lengths differ."""
    first, second = np.asarray(before), np.asarray(after)
    if first.shape != second.shape or first.size == 0:
        raise DataError("decisions", f"shapes {first.shape}, {second.shape}", "give n >= 1 decisions of each")
    return float(np.average(first != second, weights=weight))
