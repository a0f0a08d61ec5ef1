"""The structural cues by name (the engine's ``cues.rs``). All arithmetic is in single precision.

Read :func:`cues` as the specification: one entry a cue, in the order of ``CUE_NAMES``.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import TYPE_CHECKING

from .alphabetic import is_alphabetic
from .lexicon import on_list
from .options import MOST_COMPARED, Question, without_answer
from .single import log1p, log10, root, share, single, total
from .text import NUMBER, SYMBOL, WORD, Token, is_digit

if TYPE_CHECKING:
    from collections.abc import Iterable

TAIL_TOKENS = 24  # of the stem, searched for an exception
LARGEST_NUMBER = 1e15


@dataclass(frozen=True)
class Surroundings:
    """What surrounds the text in a request; sizes in bytes."""

    turns: int = 1
    system: int = 0
    assistant: int = 0
    tools: int = 0
    tool_parameters: int = 0
    tool_bytes: int = 0
    format_bytes: int = 0


@dataclass(frozen=True)
class Similarity:
    """Cosines between the embeddings of a question's parts; 0 with fewer than two options."""

    options_mean: float = 0.0
    options_highest: float = 0.0
    stem_option: float = 0.0


def log_count(number: int) -> float:
    """ln(1 + number)."""
    return log1p(number)


def yes(condition: bool) -> float:
    """1 or 0."""
    return 1.0 if condition else 0.0


def number_value(text: str) -> float:
    """The number a token spells: commas dropped, whole part at most 1e15; a double."""
    whole, _, decimals = text.replace(",", "").partition(".")
    number, place = 0.0, 0.1
    for digit in whole:
        number = min(number * 10.0 + float(digit), LARGEST_NUMBER)
    for digit in decimals:
        number += float(digit) * place
        place /= 10.0
    return number


class Reading:
    """A text's tokens and the counts that the cues are made of."""

    def __init__(self, characters: str, tokens: list[Token], question: Question) -> None:
        self.characters = characters
        self.tokens = without_answer(tokens)
        self.text = characters[: self.tokens[-1].end if self.tokens else 0]
        self.stem = [token for token in self.tokens if token.start < question.stem_end]
        self.words = [token for token in self.tokens if token.kind == WORD]
        self.stem_words = [token for token in self.stem if token.kind == WORD]
        self.number_tokens = [token for token in self.tokens if token.kind == NUMBER]
        self.numbers = [number_value(token.text) for token in self.number_tokens]
        self.magnitudes = [log10(single(1.0 + single(number))) for number in self.numbers]
        self.last = self.stem[-1].text[-1] if self.stem else " "

    def listed(self, *names: str) -> list[Token]:
        """Words on any of these lists."""
        return [word for word in self.words if on_list(word.text, *names)]

    def stem_listed(self, *names: str) -> list[Token]:
        """Words of the stem on any of these lists."""
        return [word for word in self.stem_words if on_list(word.text, *names)]

    def symbols(self, wanted: str) -> int:
        """How many symbols are among ``wanted``."""
        return sum(token.kind == SYMBOL and token.text in wanted for token in self.tokens)

    def stem_has(self, first: str, second: str) -> bool:
        """Whether a word on list ``first`` is followed at once by one on ``second``, in the stem."""
        return any(on_list(a.text, first) and on_list(b.text, second) for a, b in pairwise(self.stem))

    def sentences(self) -> list[int]:
        """Words and numbers of each sentence of the stem; ``.?!`` before a space or the end ends one."""
        found, words = [], 0
        for token in self.stem:
            if token.kind != SYMBOL:
                words += 1
            elif token.text in ".?!。？！" and self.characters[token.end : token.end + 1] in ("", " ") and words:
                found.append(words)
                words = 0
        return [*found, words] if words else found

    def comparisons(self) -> int:
        """``as many``, ``as much``, ``times as``, ``times more``."""
        return sum(
            (on_list(a.text, "as") and on_list(b.text, "many", "much"))
            or (on_list(a.text, "times") and on_list(b.text, "as", "comparison"))
            for a, b in pairwise(self.tokens)
        )

    def fractions(self) -> int:
        """Number, slash, number."""
        threes = zip(self.tokens, self.tokens[1:], self.tokens[2:], strict=False)
        return sum(a.kind == c.kind == NUMBER and b.text in ("/", "⁄") for a, b, c in threes)

    def has_blank(self) -> bool:
        """Two underscores or two full stops side by side, or the word."""
        sides = ((a, b) for a, b in pairwise(self.stem) if a.end == b.start)
        return any(a.text == b.text and a.text in ("_", ".") for a, b in sides) or bool(self.stem_listed("blank"))


def distinct(tokens: Iterable[Token]) -> int:
    """How many different words, digits as 0."""
    return len({token.identity for token in tokens})


def cues(
    characters: str,
    tokens: list[Token],
    question: Question,
    similarity: Similarity,
    around: Surroundings,
) -> dict[str, float]:
    """All cues of a text."""
    reading = Reading(characters, tokens, question)
    text, stem_words = reading.text, reading.stem_words
    words = len(reading.words)
    everywhere, in_stem, symbols = reading.listed, reading.stem_listed, reading.symbols
    sentences = reading.sentences()
    magnitudes = reading.magnitudes
    backslashes = symbols("\\")
    options = option_cues(reading, question)
    how_many, how_much = reading.stem_has("how", "many"), reading.stem_has("how", "much")
    telling = [word for word in reading.words if not on_list(word.text, "stop")]
    return {
        # Size and vocabulary.
        "log_characters": log_count(len(text)),
        "log_words": log_count(words),
        "mean_word_length": share(sum(word.length for word in reading.words), words),
        "long_word_share": share(sum(word.length >= 8 for word in reading.words), words),
        "type_token_ratio": share(distinct(reading.words), words),
        "stop_word_share": share(len(everywhere("stop")), words),
        # Sentences of the stem.
        "sentences": log_count(len(sentences)),
        "words_per_sentence": log1p(share(len(stem_words), len(sentences))),
        "last_sentence_words": log_count(sentences[-1] if sentences else 0),
        "commas_per_word": root(share(symbols(","), words)),
        "parentheses": log_count(symbols("(")),
        # Numbers.
        "numbers": log_count(len(reading.numbers)),
        "distinct_numbers": log_count(len(set(reading.numbers))),
        "number_share": root(share(len(reading.numbers), len(reading.tokens))),
        "largest_number": max(magnitudes, default=0.0),
        "mean_number": share(total(magnitudes), len(magnitudes)),
        "sum_of_numbers": log1p(total(magnitudes)),
        "decimals": log_count(sum("." in token.text for token in reading.number_tokens)),
        "round_numbers": log_count(sum(number >= 10 and number % 10 == 0 for number in reading.numbers)),
        "money": log_count(symbols("$€£¥")),
        "percent": log_count(symbols("%") + len(everywhere("percent"))),
        "fractions": log_count(reading.fractions()),
        "number_words": log_count(len(everywhere("number_word"))),
        # Symbols.
        "operators": log_count(symbols("+-*/=<>^×÷−")),
        "symbol_share": root(share(sum(t.kind == SYMBOL for t in reading.tokens), len(reading.tokens))),
        "latex": log_count(backslashes + symbols("$") // 2 if backslashes else 0),
        "code_punctuation": log_count(symbols("{}[];_`#&|")),
        "letter_variables": log_count(sum(w.length == 1 and w.text not in "ai" for w in stem_words)),
        "carets": log_count(symbols("^")),
        "non_ascii_share": root(share(sum(not character.isascii() for character in text), len(text))),
        # Options of a multiple-choice question.
        **{name: options[name] for name in OPTION_CUES},
        "stem_words": log_count(len(stem_words)),
        "option_share": share(options["characters"], len(text)),
        "option_shortest": log_count(int(options["shortest"])),
        "option_cosine_mean": similarity.options_mean,
        "option_cosine_highest": similarity.options_highest,
        "stem_option_cosine": similarity.stem_option,
        # Form of the question.
        "of_the_following": yes(reading.stem_has("stop", "following")),
        "what": yes(bool(in_stem("what"))),
        "how_many": yes(how_many),
        "how_much": yes(how_much),
        "why_how": yes(bool(in_stem("why")) or (bool(in_stem("how")) and not how_many and not how_much)),
        "ends_question": yes(reading.last == "?"),
        "ends_colon": yes(reading.last == ":"),
        "incomplete_stem": yes(is_alphanumeric(reading.last) or reading.last == ","),
        "blank": yes(reading.has_blank()),
        "negations": log_count(len(in_stem("negation"))),
        "exception": yes(any(on_list(token.text, "exception") for token in reading.stem[-TAIL_TOKENS:])),
        "statements": yes(bool(everywhere("statement"))),
        "true_false": yes(bool(everywhere("true_false"))),
        # What it is about.
        "time_words": log_count(len(everywhere("time"))),
        "comparisons": log_count(len(everywhere("comparison"))),
        "rates": log_count(len(everywhere("rate"))),
        "scales": log_count(len(everywhere("scale"))),
        "totals": log_count(len(everywhere("total"))),
        "remainders": log_count(len(everywhere("remainder"))),
        "conditions": log_count(len(everywhere("condition"))),
        "pronouns": root(share(len(everywhere("pronoun")), words)),
        "mathematics_words": log_count(len(everywhere("mathematics"))),
        "units": log_count(len(everywhere("unit"))),
        "quotes": log_count(symbols('"“”‘«»')),
        "unit_kinds": log_count(distinct(everywhere("unit", "time"))),
        # Quantities, spelt out or not, and what the text says again.
        "digit_share": share(sum(map(is_digit, text)), len(text)),
        "quantities": log_count(len(reading.numbers) + len(everywhere("number_word", "scale"))),
        "distinct_quantities": log_count(len(set(reading.numbers)) + distinct(everywhere("number_word", "scale"))),
        "more_than": log_count(len(everywhere("than")) + reading.comparisons()),
        "repeated_content": share(len(telling) - distinct(telling), len(telling)),
        # What surrounds the text.
        "turns": float(around.turns),
        "log_system_characters": log_count(around.system),
        "log_assistant_characters": log_count(around.assistant),
        "tools": log_count(around.tools),
        "tool_parameters": log_count(around.tool_parameters),
        "log_tool_characters": log_count(around.tool_bytes),
    }


def is_alphanumeric(character: str) -> bool:
    """A letter, or any number (categories Nd, Nl, No)."""
    return is_alphabetic(character) or unicodedata.category(character)[0] == "N"


OPTION_CUES = (
    "options",
    "option_mean_words",
    "option_longest",
    "option_length_variation",
    "option_overlap",
    "option_stem_overlap",
    "option_numeric_share",
    "option_all_or_none",
    "option_same_first_word",
)


def option_cues(reading: Reading, question: Question) -> dict[str, float]:
    """The option cues, and the ``characters`` of all options and of the ``shortest``; zeros without options."""
    ranges = question.ranges(len(reading.text))
    if not ranges:
        return dict.fromkeys((*OPTION_CUES, "characters", "shortest"), 0.0)
    count = len(ranges)
    options = [[t for t in reading.tokens if start <= t.start < end] for start, end in ranges]
    lengths = [option[-1].end - option[0].start if option else 0 for option in options]
    compared = [{token.identity for token in option[:MOST_COMPARED]} for option in options]
    stem = {w.identity for w in reading.stem_words if not on_list(w.text, "stop")}
    overlaps = [share(len(a & b), len(a | b)) for a, b in combinations(compared, 2)]
    stem_overlaps = [share(len(option & stem), len(option)) for option in compared]
    mean = share(sum(lengths), count)
    squares = [single(single(length - mean) * single(length - mean)) for length in lengths]
    deviation = root(share(total(squares), count))
    first_words = {option[0].identity if option else None for option in options}
    return {
        "options": float(count),
        "option_mean_words": log1p(share(sum(map(len, options)), count)),
        "option_longest": log_count(max(lengths)),
        "option_length_variation": single(deviation / single(mean + 1.0)),
        "option_overlap": share(total(overlaps), len(overlaps)),
        "option_stem_overlap": share(total(stem_overlaps), count),
        "option_numeric_share": share(sum(map(is_numeric, options)), count),
        "option_all_or_none": yes(any(map(names_options, options))),
        "option_same_first_word": single(1.0 - share(len(first_words), count)),
        "characters": float(sum(lengths)),
        "shortest": float(min(lengths)),
    }


def is_numeric(option: list[Token]) -> bool:
    """Of an option's words and numbers, at least half are numbers; one of symbols only counts."""
    numbers = sum(token.kind == NUMBER for token in option)
    spoken = sum(token.kind != SYMBOL for token in option)
    return bool(option) and numbers * 2 >= spoken


def names_options(option: list[Token]) -> bool:
    """``all …``, ``none …``, ``both …``, ``neither …``, or ``i`` before a comma or a word that begins with a."""
    if not option:
        return False
    roman = option[0].text == "i" and len(option) > 1 and option[1].text[0] in "a,"
    return roman or (option[0].kind == WORD and on_list(option[0].text, "all_or_none"))
