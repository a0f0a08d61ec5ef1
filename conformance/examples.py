"""The requests of the conformance vectors. Every one is written for this purpose; none is from a data set."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

Described = dict[str, Any]
Part = str | list[Any]


def long(*parts: Part) -> Described:
    """A string that is too long to write out: strings, and [string, how often], joined."""
    return {"$text": list(parts)}


def user(*contents: Any) -> list[Described]:
    """Messages of the user's."""
    return [{"role": "user", "content": content} for content in contents]


FILLER = "The lamp on the third pier blinks twice, waits, and blinks again. "

TEXTS: list[tuple[str, str | Described]] = [
    ("nothing at all has no normal form: a request of it is refused", ""),
    ("white space of every kind has none either", " \t\r\n\u00a0\u2003\u3000"),
    ("control characters count as white space: these alone are nothing", "\u0000\u0001\u007f\u0085"),
    ("one letter: a word, and no character n-gram", "Q"),
    ("two characters: still no character n-gram", "no"),
    ("three characters: one", "yes"),
    ("case and white space fold, ends are trimmed", "  Seven   Otters,\r\n\tONE raft "),
    ("NUL separates, as white space does", "otter\u0000raft"),
    ("an inner apostrophe stays in the word, an outer one does not", "'don't' o'clock dogs' rock'n'roll"),
    ("a typographic apostrophe stays in the word too, as itself", "don’t"),
    ("an apostrophe before a digit is a symbol", "the winter of a'9"),
    ("commas and one point belong to a number", "$1,234.50 and 1.2.3 and 5. and ,7 and 1.5,2"),
    ("every digit counts as 0 in n-grams: these two lines have the same", "room 12"),
    ("every digit counts as 0 in n-grams: these two lines have the same", "room 97"),
    ("letters and digits do not join", "x2 2x b12c"),
    ("an underscore is a symbol, so identifiers fall apart", "snake_case(kebab-case)"),
    ("ASCII symbols are tokens of their own", "a+b=c<d>e^f|g~h`i$j\\k"),
    ("NFKC undoes superscripts, fractions and ligatures", "x² ½ ﬁn ①"),
    ("full-width forms become ASCII, and only then lower case", "ＲＯＵＴＥ １２，５ ！"),
    ("letters with accents, precomposed and combining, are the same", "Señor cafe\u0301 café"),
    ("a dotted capital I becomes i and a combining dot: the dot is no letter", "İzmir"),
    ("a capital sigma folds by itself: none is final", "ΟΔΟΣ"),
    ("sharp s stays, its capital folds to it", "Straße STRAẞE"),
    ("Cyrillic and Greek words are words", "Один маяк и λίγο φως"),
    ("an ideograph is a word of one character", "你好 ok世界"),
    ("kana too; half-width kana become full-width first", "カタカナ ｶﾞ ひらがな"),
    ("Thai, Lao, Khmer and Myanmar characters stand alone, vowel signs included", "ไทย ລາວ ខ្មែរ မြန်မာ"),
    ("Devanagari vowel signs are letters, its virama is not", "हिन्दी"),
    ("Arabic and Hebrew letters; Arabic digits are symbols", "مرحبا שלום ٤٢"),
    ("Hangul syllables are letters", "안녕 하세요"),
    ("an emoji is a symbol; a joiner between two is one as well", "ok 😀 👩\u200d🚀"),
    ("mathematical letters become plain ones, operators stay", "𝑥 ≤ 𝟑 ∑ ∂ ≠ √"),
    ("a soft hyphen and a zero-width space are symbols, not spaces", "light\u00adhouse light\u200bhouse"),
    ("code keeps punctuation, loses indentation", "def f(X):\n    return X[0] ** 2  # half"),
    ("LaTeX", "\\frac{a}{b} = \\sqrt{2}, $x_1^2$"),
    ("repeated n-grams count once", long(["tick tock ", 40])),
    ("8,192 bytes are read whole", long(["lighthouse boat ", 512])),
    (
        "of more, the first 6,144 and the last 2,048 bytes, cut between characters: two bytes each here, and the "
        "head ends inside one",
        long("x", ["é", 3100], " middle ", ["ü", 3100], "."),
    ),
    ("20 KB by repetition", long([FILLER, 310])),
]

QUESTION = (
    "Which of the following floats?\nA. a wet stone\nB. a dry cork\nC. an iron nail, unless it is rusty\n"
    "D. none of the above\nAnswer:"
)
TOOLS: list[Described] = [
    {
        "name": "tide_table",
        "parameters": {"type": "object", "properties": {"port": {"type": "string"}, "days": {"type": "integer"}}},
    },
    {"name": "ring_bell", "parameters": {"type": "object"}},
]
WORD_PROBLEM = (
    "A ferry carries 12 cars and twice as many bicycles. Each car costs $7.50 and each bicycle $2. "
    "If 1/4 of the cars leave and 3 more bicycles come, how much money is paid in total?"
)

REQUESTS: list[tuple[str, Any]] = [
    ("a plain question", "Why does fog muffle the sound of a bell?"),
    ("one letter", "Q"),
    ("symbols only: no word piece but punctuation", "?!"),
    ("nothing known to the encoder: the embedding is 0, unknown words count as tokens", "😀 🎉"),
    ("a word problem: numbers, money, fractions, quantities, comparisons", WORD_PROBLEM),
    ("size of numbers: at most 1e15, decimals, round numbers", "99999999999999999999 0.125 300 7,000 0"),
    ("multiple choice: stem, options, all-or-none; the closing answer does not count", QUESTION),
    (
        "options in parentheses, of numbers only; white space makes no difference",
        "How many legs have 3 crabs? (a) 24 (b) 30 (c) 18 (d) 2.5",
    ),
    (
        "two chains: the longer one counts, and a. before it belongs to the stem",
        "In part a. and part b. of the log, who rowed? a) Mira b) Jonas c) neither of them",
    ),
    ("of two equally long chains the last", "a. one b. two and again a. three b. four"),
    (
        "ten options a to j; k is no marker",
        "Pick: " + " ".join(f"{x}) item {x}{x}" for x in "abcdefghijk"),
    ),
    ("an option without words", "Choose the empty one: a. b. boat"),
    ("roman statements as options", "I. It rains. II. It pours. a. I only b. i, ii and iii c. i and ii"),
    ("nothing is left without the closing answer", "answer:"),
    ("a blank to fill", "The keeper lit the ____ at dusk"),
    ("negation and exception at the stem's end", "All of these are ships except"),
    ("true or false statements", "Statement 1: tides turn. Statement 2: they do not. True or false?"),
    ("several sentences, the last one short", "It was 3.5 m high. It fell! Then it rose again? Why."),
    (
        "quotes, percent, units",
        "“Ten knots,” she said, 'or 5 % more' — 3 km, 2 miles, 40 kg, two hours.",
    ),
    ("code", "```python\ndef add(a: int, b: int) -> int:\n    return a + b  # {x} & [y] | z;\n```"),
    ("LaTeX", "Solve $\\frac{x^2}{y} = \\sqrt{z}$ for $x$, where $y \\neq 0$."),
    ("Chinese: every character is a word", "灯塔为什么在雾中发光？请用三句话回答。"),
    ("Russian, Greek and Hindi", "Почему маяк светит? Γιατί λάμπει ο φάρος; नाव कहाँ है?"),
    ("typographic apostrophes are plain ones", "It isn't here. It isn’t there."),
    ("NUL and other control characters", "bell\u0000buoy\u0007 and\u000b rope"),
    (
        "one word again and again: few n-grams, whatever the length",
        long(["boat ", 300]),
    ),
    ("a long unknown word", long(["ab", 60])),
    (
        "20 KB by repetition: what was not read counts at the rate of what was",
        long([FILLER, 310]),
    ),
    ("tools offered", {"messages": user("When is high tide in port seven?"), "tools": TOOLS}),
    (
        "tools beyond 64 KiB: all of them count",
        {
            "messages": user("Ring it."),
            "tools": [*TOOLS, {"name": "sing", "description": long(["é ", 22000])}, *TOOLS],
        },
    ),
    (
        "chat: the user's messages are the text, the others surround it",
        {
            "messages": [
                {"role": "system", "content": "Answer as an old sailor."},
                {"role": "user", "content": "How deep is the bay?"},
                {"role": "assistant", "content": "Nine fathoms, give or take — ñandú."},
                {"role": "user", "content": "And beyond the bar?"},
            ],
            "tools": TOOLS,
        },
    ),
    (
        "chat without a user: all messages are the text, and there are no turns",
        {
            "messages": [
                {"role": "system", "content": "Translate the log book."},
                {"role": "assistant", "content": "Which page?"},
            ]
        },
    ),
    (
        "a chat that grows too long: each message is bounded, then the middle is dropped",
        {
            "messages": user(*(long(f"Entry {n}. ", [FILLER, 200 - n]) for n in range(7))),
        },
    ),
    (
        "an empty message between others",
        {"messages": user("Left.", "", "Right.")},
    ),
]

REFUSED: list[tuple[str, Any]] = [
    ("an empty text", ""),
    ("white space only", {"text": " \n\t\u3000"}),
    ("messages without a word", {"messages": user(" \u0000 ")}),
]


def expand(value: Any) -> Any:
    """A value in which every ``{"$text": parts}`` is the string it stands for."""
    if isinstance(value, list):
        return [expand(each) for each in value]
    if not isinstance(value, dict):
        return value
    if set(value) != {"$text"}:
        return {key: expand(inner) for key, inner in value.items()}
    parts = [part if isinstance(part, str) else part[0] * part[1] for part in value["$text"]]
    return "".join(parts)


@dataclass(frozen=True)
class Raw:
    """JSON whose spelling is the point."""

    text: str | Described


def described(name: str, value: Any) -> Described:
    """A request or options as a vector has them: JSON under their name, or their text."""
    return {f"{name}_text": value.text} if isinstance(value, Raw) else {name: value}


def as_json(vector: Described, name: str) -> str:
    """The request or the options of a vector as JSON text."""
    if f"{name}_text" in vector:
        return str(expand(vector[f"{name}_text"]))
    return json.dumps(expand(vector.get(name, {})), ensure_ascii=False)


STEM, ITEMS = "Which of these floats on water?", ("a wet stone", "a dry cork", "an iron nail", "none of them")
PLAN = "Plan a bridge over the strait, with its pylons, cables and a budget."
STEPS = "First the soil: bore every forty metres down to the rock."


def listed(*markers: str, separator: str = "\n") -> str:
    """A question with its options behind these markers."""
    return STEM + "".join(separator + marker + item for marker, item in zip(markers, ITEMS, strict=False))


SHAPED: list[tuple[str, Any]] = [
    (f"options behind {markers[0].strip()!r} have one form", listed(*markers))
    for markers in (
        ("A. ", "B. ", "C. ", "D. "),
        ("1) ", "2) ", "3) ", "4) "),
        ("(i) ", "(ii) ", "(iii) ", "(iv) "),
        ("[A] ", "[B] ", "[C] ", "[D] "),
        ("Option A: ", "Option B: ", "Option C: ", "Option D: "),
        ("**A.** ", "**B.** ", "**C.** ", "**D.** "),
        ("• ", "• ", "• ", "• "),
        ("- ", "- ", "- ", "- "),
        ("- 1. ", "- 2. ", "- 3. ", "- 4. "),
    )
]
SHAPED += [
    (
        "a turn that leans on an earlier one",
        "User: Here is my essay: Whales swim.\nAssistant: Nice.\nUser: Can you find what is wrong in my essay?",
    ),
    (
        "a turn of a few words",
        "Human: You are in a dark room. What do you do?\nAI: I light a match.\nHuman: What do you see?\nAI:",
    ),
    (
        "a question that points at an earlier one",
        "Q: Ada has 3 cats and Bo 2. How many has Ada?\nA: 3\nQ: How many cats do they have in total?\nA:",
    ),
    (
        "a part of an exam with a letter of an earlier one",
        "Question 1: Let G be a group of order 12. Is it simple?\nAnswer: no\nQuestion 2: Which are normal in G?",
    ),
    (
        "questions that name the same, with short answers",
        "Q: What is the capital of Chad?\nA: N'Djamena\n\nQ: What is the capital of Mali?\nA:",
    ),
    (
        "worked sums",
        "Q: Bo had 2 nets and lost 1. How many has he?\nA: He had 2 - 1 = 1. The answer is 1.\n\n"
        "Q: Ann has 3 nets. She buys 4 more. How many nets does she have?\nA:",
    ),
    (
        "answers in another language are the task",
        "Q: Where is the station?\nA: Wo liegt hier Köln\nQ: What is the price of two tickets?\nA:",
    ),
    ("what was selected stays", "<ide_selection>let x: i32 = 'a';</ide_selection> Why does it not compile?"),
    ("words of a sentence to parse", "Parse: " + "buffalo " * 8),
    ("how many times a word is said", "How many times: " + "ha " * 9),
    ("an agent of somebody", "You are an agent of the king. What do you do next in the story?"),
    (
        "a label before options, and a closing answer",
        STEM + "\nAnswer choices: a) x; b) y; c) z\nThe correct answer is:",
    ),
    ("eleven bullets are no options", "Bring:" + "".join(f"\n• item {x}{x}" for x in "abcdefghijk")),
    (
        "JSON: its strings, those in a list as options",
        json.dumps({"id": "q-7", "question": STEM, "options": ITEMS}),
    ),
    (
        "JSON with letters as keys, numbers and literals",
        '{"ask": "How \\"deep\\"?\\n", "a": 3, "b": 2.5, "c": null, "ok": true}',
    ),
    (
        "JSON as Python writes it, in a fence",
        "```json\n{'query': 'How deep?', 'choices': ['a fathom', 'two']}\n```",
    ),
    (
        "JSON cut short, with escapes",
        '[{"role": "user", "content": "Wie tief ist der Fjord? \\u00dcberall \\ud83d',
    ),
    ("brackets that are no JSON", "[see the log] and {the other} one"),
    (
        "tags, with options in them",
        f"<question>{STEM}</question> <options><option>yes</option><option>no</option></options>",
    ),
    ("tags of any name around all, and attributes", '<ask lang="en">How deep is <b>it</b>?</ask>'),
    ("tags in prose stay", "Why does <div> close after </span> here?"),
    ("Markdown", f"## Question 3\n\n> **{STEM}** `now` ~~~\n---\n* yes\n* no\n### Answer"),
    ("operators are no Markdown", "is 5 - 3 * 2 > a_b ** 2 ** c == #4?"),
    (
        "worked examples: the last question",
        "Q: What swims?\nA: a cod\n\nQ: What flies north?\nA: a gull\n\nQ: What sinks?\nA:",
    ),
    (
        "a passage that all questions are about stays",
        "Passage: Ada has 3 cod, Bo two gulls.\nQuestion: What swims?\nAnswer: a cod\n"
        "Question: What flies north?\nAnswer:",
    ),
    (
        "answered by letters",
        "What swims? a. cod b. owl\nAnswer: A\nWhat hoots? a. cod b. owl\nAnswer: (B)\n"
        "What sinks at once? a. cork b. lead\nAnswer:",
    ),
    (
        "labels of any kind",
        "Sort fish from birds. Animal: cod Kind: fish Animal: owl Kind: bird Animal: gull Kind:",
    ),
    ("examples that the text goes on from stay", "Sum them. Input: 1 2 Output: 3 Limits: at most ten numbers"),
    (
        "a transcript in one text",
        "System: Be brief. User: What swims? Assistant: A cod. User: And what sinks in oil?",
    ),
    ("a transcript that goes on", f"User: {PLAN} Assistant: {STEPS} User: go on"),
    (
        "prose with a colon",
        "To be or not to be, that is the question: whether it is nobler to wait. The problem: none.",
    ),
    (
        "preamble at both ends",
        "You are a helpful pilot. Please answer the question.\n"
        "How deep is the bay at low tide? Think step by step.",
    ),
    (
        "a notice, and an aside in brackets",
        "Note: checked twice. How deep is the bay at low tide? (Whoever asks agrees to wait.)",
    ),
    ("preamble behind options", listed("a) ", "b) ", "c) ") + "\nAnswer with the letter only"),
    ("nothing but preamble", "Please answer the question."),
    ("one word sixty times in front", long(["word ", 60], "How deep is the bay?")),
    ("sums in front", "1+1=2 2+2=4 13-1=12 5*5=25 100+1=101 How deep is the bay?"),
    ("a sentence said again", "The lamp is lit now. It is dark. The lamp is lit now. Why?"),
    ("a block said three times", "ring the bell ring the bell ring the bell at noon"),
    ("a block nine times", long(["Blah blah, blah blah blah. ", 9], "How deep is the bay?")),
    ("words repeated, and nothing else", long(["boat ", 20], ["raft ", 20])),
    ("blanks and ellipses keep two marks", "The keeper lit the ______ at dusk ..."),
    (
        "earlier turns count as what was said before",
        {
            "messages": [
                *user("What swims?"),
                {"role": "assistant", "content": "A cod."},
                *user("And what sinks in oil?"),
            ]
        },
    ),
    (
        "a turn that says go on stands for what it follows",
        {"messages": [*user(PLAN), {"role": "assistant", "content": STEPS}, *user("Yes, go on.")]},
    ),
    (
        "several of them",
        {
            "messages": [
                *user(PLAN),
                {"role": "assistant", "content": STEPS},
                *user("ok"),
                {"role": "assistant", "content": ""},
                {"role": "tool", "content": "sand"},
                *user("continue", "please"),
            ]
        },
    ),
    ("nothing but go on", {"messages": user("ok, do it")}),
    (
        "a turn of a harness alone is none",
        {
            "messages": [
                *user("How deep is the bay?"),
                {"role": "assistant", "content": "Nine fathoms."},
                *user("<system-reminder>Mind the tide.</system-reminder>", "[Request interrupted by user]"),
            ]
        },
    ),
    (
        "what a harness put around the user's words",
        {"messages": user("<environment_details>\npier 4\n</environment_details>\nIs the harbour deep enough?")},
    ),
    ("nothing but a harness", {"messages": user("<system-reminder>Mind the tide.</system-reminder>")}),
    ("JSON that is asked about stays", '{"pier": 4, "open": true, "name": "east"}\nIs this valid?'),
    ("a question in JSON with a key of its own", '{"question": "How deep is the bay?", "expected": true}'),
    ("tags that are asked about stay", "<div><option>a</option></div> Why is nothing shown?"),
    ("examples that define the task stay", "Input: [[0, 1]] Output: [[1, 0]] Input: [[1, 1]] Output:"),
    ("a context that is a conversation", "Context: User: hi Assistant: hello there Question: who spoke first?"),
    ("what is left out by except", "The following are all ships EXCEPT: A. sloop B. barge C. buoy"),
    ("a note that says something", "How deep is it? Note: the tide is low. (It is a bay.)"),
    ("a text that is worked on", "Translate into Dutch: Please answer the question below."),
    ("boilerplate of a kind", "How deep is the bay? By reading this message the recipient accepts all terms."),
    ("numbers that repeat are data", "0 0 0 0 0 0 0 0 0 1 0 0 0 0 0 0 0 0 Which one is odd?"),
    ("sums that hold in front", " ".join(f"{k}+{k}={2 * k}" for k in range(1, 12)) + " How deep is the bay?"),
    ("names with underscores", "What does __init__ do, and what _one word_ does not?"),
    ("circled markers", "Which floats?\n① a stone\n② a cork\n③ a nail"),
    ("loose markers", "Which floats?\nA - a stone\nB - a cork\nC - a nail"),
    ("comparisons are no markers", "when a > 3 and b > 4 and c > 5 then what is d?"),
    ("keycaps", "Which floats?\n1\ufe0f\u20e3 a stone\n2\ufe0f\u20e3 a cork"),
    (
        "two messages of one turn, a system's between",
        {"messages": [*user("Read this log."), {"role": "system"}, *user("How deep was it?")]},
    ),
]
