"""Which candidates are asked what in the candidate vectors."""

from __future__ import annotations

from typing import Any

from reference.candidates import Candidate, Query, default_scores, features, ranking

Vector = dict[str, Any]

MAY_8_2023, DAY = 1_683_554_160.0, 86_400.0
TALK: list[Vector] = [
    {"id": "t1", "group": "talk", "text": "Did you paint anything over the weekend?", "created_at": MAY_8_2023},
    {
        "id": "t2",
        "group": "talk",
        "text": "Yes, I painted a sunrise by the lake last year.",
        "created_at": MAY_8_2023,
    },
    {"id": "t3", "group": "talk", "text": "Lovely! Caroline's classes start in June.", "created_at": MAY_8_2023},
    {"id": "t4", "group": "talk", "text": "Pottery or painting classes?", "created_at": MAY_8_2023 + DAY},
    {
        "id": "o1",
        "group": "other",
        "text": "The bus to the lake leaves at 8.",
        "created_at": MAY_8_2023 - 60 * DAY,
    },
    {"id": "o2", "group": "other", "text": "When does it come back?", "created_at": MAY_8_2023 - 60 * DAY},
    {"id": "alone", "text": "A sunrise painting hangs in the hall."},
    {"id": "silent"},
]
TOOLS: list[Vector] = [
    {
        "id": "calendar",
        "text": "Adds an event to a calendar",
        "metadata": [["kind", "write"], ["tag", "dates"]],
        "access_count": 12.0,
        "success_rate": 0.75,
        "trials": 8.0,
        "confidence": 0.9,
        "created_at": MAY_8_2023 - 3 * DAY,
    },
    {
        "id": "search",
        "text": "Searches the web",
        "metadata": [["kind", "read"], ["tag", "web pages"]],
        "access_count": 90.0,
        "success_rate": 0.5,
        "created_at": MAY_8_2023 - 400 * DAY,
    },
    {"id": "mail", "text": "Sends a mail", "metadata": [["kind", "write"]], "confidence": 0.2},
    {
        "id": "new",
        "text": "Reads mails and searches them",
        "created_at": MAY_8_2023 + 9 * DAY,
        "access_count": 0.0,
    },
    {"id": "quiet", "metadata": [["kind", "mail"]], "success_rate": 1.0},
]
POINTS: list[Vector] = [
    {"id": "east", "embedding": [1.0, 0.0, 0.0]},
    {"id": "north", "embedding": [0.0, 2.0, 0.0]},
    {"id": "west", "embedding": [-1.0, 0.0, 0.0]},
    {"id": "nowhere", "embedding": [0.0, 0.0, 0.0]},
    {"id": "between", "embedding": [0.5, 0.5, 0.25]},
    {"id": "also east", "embedding": [4.0, 0.0, 0.0]},
]
GROUPED = [
    {**point, "group": "row", "text": text}
    for point, text in zip(POINTS, ("tea", "green tea?", "", "coffee", "tea and coffee", "x"), strict=True)
]
STRANGE: list[Vector] = [
    {"id": "stems", "text": "studies studied study STUDYING classes class buses bus running runs quickly agreed"},
    {"id": "clitics", "text": "don't we're I'll it's o'clock rock'n'roll dogs'"},
    {"id": "numbers", "text": "1,234.5 2023 8 3.14 007 12th"},
    {"id": "scripts", "text": "déjà vu über 你好 สวัสดี ÉCOLE ﬁne ½"},
    {"id": "nothing", "text": ""},
    {"id": "stops", "text": "what is it and who are you"},
    {"id": "one letter", "text": "x y z"},
    {"id": "doubles", "text": "tea tea tea bus bus"},
]

CASES: list[tuple[str, list[Vector], Vector]] = [
    ("a question about a talk: context, neighbours, groups", TALK, {"text": "What did she paint at the lake?"}),
    ("a question when: words of time", TALK, {"text": "When was the sunrise painted?"}),
    ("a month, a day and a year are compared with the date", TALK, {"text": "What was said on March 9, 2023?"}),
    ("two years; a number without a month is no day", TALK, {"text": "painting 8 in 2022 or 2023"}),
    ("may is a verb", TALK, {"text": "may I paint on 8"}),
    ("recency, of a later date", TALK, {"text": "painting classes", "now": MAY_8_2023 + 10 * DAY}),
    ("no text: only when it was made", TALK, {"now": MAY_8_2023}),
    ("nothing asked", TALK, {}),
    (
        "use, success, confidence, metadata",
        TOOLS,
        {"text": "search mails", "metadata": [["kind", "write"], ["tag", "dates"]], "now": MAY_8_2023},
    ),
    ("use without a now", TOOLS, {"text": "calendar events"}),
    ("metadata alone", TOOLS, {"metadata": [["kind", "read"]]}),
    ("a tag is named", TOOLS, {"text": "which dates are there on web pages"}),
    ("cosines: opposite is as unrelated, ties by id", POINTS, {"embedding": [1.0, 0.25, 0.0]}),
    ("a zero query", POINTS, {"embedding": [0.0, 0.0, 0.0]}),
    ("cosines and words in context", GROUPED, {"embedding": [0.5, 1.0, -0.25], "text": "a cup of coffee"}),
    ("stems", STRANGE, {"text": "study classes bus run quick agree"}),
    ("clitics and apostrophes", STRANGE, {"text": "o'clock rock dog don"}),
    ("numbers", STRANGE, {"text": "1,234.5 in 2023, 3.14 and 007"}),
    ("scripts and ligatures", STRANGE, {"text": "DÉJÀ VU, 好! école fine 1/2"}),
    ("pairs in whichever order; equal words", STRANGE, {"text": "bus bus tea tea"}),
    ("only stop words", STRANGE, {"text": "what is it"}),
    ("one candidate", TALK[:1], {"text": "weekend painting"}),
    ("no candidate", [], {"text": "anything"}),
]


def to_candidates(described: list[Vector]) -> list[Candidate]:
    """The vectors' candidates as the reference takes them."""
    pairs = [[(key, value) for key, value in each.get("metadata", ())] for each in described]
    return [Candidate(**{**each, "metadata": own}) for each, own in zip(described, pairs, strict=True)]


def to_query(described: Vector) -> Query:
    """The vectors' query as the reference takes it."""
    return Query(**{**described, "metadata": [(key, value) for key, value in described.get("metadata", ())]})


def candidate_vectors() -> list[Vector]:
    """Every case with its answer."""
    found = []
    for explain, described, asked in CASES:
        candidates, query = to_candidates(described), to_query(asked)
        scores = default_scores(candidates, query)
        values = [
            {name: round(value, 9) for name, value in row.items() if value} for row in features(candidates, query)
        ]
        # The order must not hang on the last bit: scores that are not equal are well apart.
        apart = [abs(a - b) for a in scores for b in scores if a != b]
        assert min(apart, default=1.0) > 1e-5, explain
        expect = {
            "features": values,
            "scores": [round(score, 9) for score in scores],
            "ids": ranking(candidates, scores),
        }
        found.append({"explain": explain, "candidates": described, "query": asked, "expect": expect})
    return found
