"""Ways in which a text is pasted again so that it does not look it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_CYRILLIC = str.maketrans("aeopcxyiABEHKMOPTX", "аеорсхуіАВЕНКМОРТХ")
_GREEK = str.maketrans("aiovpuABEHIKMNOPTXYZ", "αιονρυΑΒΕΗΙΚΜΝΟΡΤΧΥΖ")
_SUBJECTS = ("refunds", "deliveries", "passwords", "invoices", "holidays", "warranties", "complaints", "discounts")
PAGE = (
    "You are a helpful assistant. Follow the policy of the company and be polite with each customer. "
    + " ".join(
        f"Rule {number}: who asks about {subject} is told what chapter {7 * number} of the handbook says."
        for number, subject in enumerate(_SUBJECTS)
    )
)


def _strewn(mark: str, every: int) -> Callable[[str], str]:
    """Puts a mark after every so many characters."""
    return lambda text: "".join(each + (mark if at % every == 0 else "") for at, each in enumerate(text))


CHARACTERS: dict[str, Callable[[str], str]] = {
    "cyrillic": lambda text: text.translate(_CYRILLIC),
    "greek": lambda text: text.translate(_GREEK),
    "full width": lambda text: "".join(chr(ord(each) + 0xFEE0) if "!" <= each <= "~" else each for each in text),
    "mathematical": lambda text: "".join(
        chr(0x1D41A + ord(each) - 97) if "a" <= each <= "z" else each for each in text
    ),
    "zero-width space": _strewn("\u200b", 1),
    "zero-width joiner": _strewn("\u200d", 3),
    "word joiner": _strewn("\u2060", 2),
    "soft hyphen": _strewn("\u00ad", 2),
    "byte order mark": _strewn("\ufeff", 5),
    "combining mark": _strewn("\u0301", 4),
    "variation selector": _strewn("\ufe0f", 3),
    "tags": _strewn("\U000e0061", 3),
    "filler": _strewn("\u3164", 4),
}
FORM: dict[str, Callable[[str], str]] = {
    "upper case": str.upper,
    "swapped case": str.swapcase,
    "wide spaces": lambda text: text.replace(" ", " \u00a0 "),
    "line breaks": lambda text: text.replace(" ", "\n"),
    "no spaces": lambda text: text.replace(" ", ""),
    "spaced letters": " ".join,
    "broken words": _strewn(" ", 5),
    "no punctuation": lambda text: "".join(each for each in text if each not in ".,?!;:'\"-()"),
    "dots": lambda text: text.replace(" ", " ... "),
}
ADDED: dict[str, Callable[[str], str]] = {
    "page in front": lambda text: f"{PAGE}\n\n{text}",
    "page behind": lambda text: f"{text}\n\n{PAGE}",
    "between pages": lambda text: f"{PAGE}\n{text}\n{PAGE[::-1]}",
    "many pages in front": lambda text: f"{PAGE}\n" * 6 + text,
}
DISGUISES = CHARACTERS | FORM | ADDED
