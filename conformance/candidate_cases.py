"""Which candidates are asked what in the candidate vectors."""

from __future__ import annotations

from typing import Any

from reference import Refusal
from reference.candidates_json import answer

Vector = dict[str, Any]

MAY_8_2023, DAY = 1_683_554_160.0, 86_400.0
EVERYTHING = 100
"""A `k` beyond all cases: the whole order."""
TALK: list[Vector] = [
    {"id": "t1", "group": "talk", "text": "Did you paint anything over the weekend?", "created_at": MAY_8_2023},
    {
        "id": "t2",
        "group": "talk",
        "text": "Yes, I painted a sunrise by the lake last year.",
        "created_at": "2023-05-08T13:56:00Z",
    },
    {
        "id": "t3",
        "group": "talk",
        "text": "Lovely! Caroline's classes start in June.",
        "created_at": MAY_8_2023 * 1e3,
    },
    {"id": "t4", "group": "talk", "text": "Pottery or painting classes?", "created_at": "2023-05-09 15:56+02:00"},
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
        "metadata": {"kind": "write", "tag": "dates"},
        "access_count": 12.0,
        "success_rate": 0.75,
        "trials": 8.0,
        "confidence": 0.9,
        "created_at": MAY_8_2023 - 3 * DAY,
    },
    {
        "id": "search",
        "text": "Searches the web",
        "metadata": {"kind": "read", "tag": ["web pages"], "none": None},
        "access_count": 90.0,
        "success_rate": 0.5,
        "created_at": MAY_8_2023 - 400 * DAY,
    },
    {"id": "mail", "text": "Sends a mail", "metadata": {"kind": ["write"]}, "confidence": 0.2},
    {
        "id": "new",
        "text": "Reads mails and searches them",
        "created_at": MAY_8_2023 + 9 * DAY,
        "access_count": 0.0,
    },
    {"id": "quiet", "metadata": {"kind": "mail"}, "success_rate": 1.0},
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

CASES: list[tuple[str, Any, Any]] = [
    ("a question about a talk: context, neighbours, groups", TALK, {"text": "What did she paint at the lake?"}),
    ("a question when: words of time", TALK, {"text": "When was the sunrise painted?"}),
    ("a month, a day and a year are compared with the date", TALK, {"text": "What was said on March 9, 2023?"}),
    ("two years; a number without a month is no day", TALK, {"text": "painting 8 in 2022 or 2023"}),
    ("may is a verb", TALK, {"text": "may I paint on 8"}),
    ("recency, of a later date", TALK, {"text": "painting classes", "now": "20230518T135600"}),
    ("no text: only when it was made", TALK, {"now": MAY_8_2023}),
    ("nothing asked", TALK, {}),
    (
        "use, success, confidence, metadata",
        TOOLS,
        {"text": "search mails", "metadata": {"kind": "write", "tag": "dates"}, "now": MAY_8_2023},
    ),
    ("use without a now", TOOLS, {"text": "calendar events"}),
    ("metadata alone", TOOLS, {"metadata": {"kind": "read"}}),
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

VALUES: list[Vector] = [
    {"id": "text 1", "metadata": {"v": "1"}},
    {"id": "whole 1", "metadata": {"v": 1}},
    {"id": "double 1", "metadata": {"v": 1.0}},
    {"id": "text 1.0", "metadata": {"v": "1.0"}},
    {"id": "true", "metadata": {"v": True}},
    {"id": "text true", "metadata": {"v": "true"}},
    {"id": "false", "metadata": {"v": False}},
    {"id": "minus zero", "metadata": {"v": -0.0}},
    {"id": "whole zero", "metadata": {"v": 0}},
    {"id": "1e21", "metadata": {"v": 1e21}},
    {"id": "text of 1e21", "metadata": {"v": "1e+21"}},
    {"id": "third", "metadata": {"v": 1 / 3}},
    {"id": "small", "metadata": {"v": 1e-7}},
    {"id": "several", "metadata": {"v": [None, 7, "seven", 7.5]}},
    {"id": "null", "metadata": {"v": None}},
    {"id": "empty list", "metadata": {"v": []}},
    {"id": "empty text", "metadata": {"v": ""}},
    {"id": "bare"},
]
BIG = """[{"id": "a", "metadata": {"v": 9223372036854775808}}, {"id": "b", "metadata": {"v": 9223372036854775807}},
{"id": "c", "metadata": {"v": 9223372036854775808.0}},
{"id": "d", "metadata": {"v": 10000000000000000000000000000001}}, {"id": "e", "metadata": {"v": 1E0}},
{"id": "f", "metadata": {"v": -0}}, {"id": "g", "metadata": {"v": 0.10}}]"""
"""JSON as text: other readers of this file would round such numbers before an engine sees them."""
TIMES: list[Vector] = [
    {"id": "seconds", "created_at": 1_683_554_160},
    {"id": "half a second", "created_at": 1_683_500_000.5},
    {"id": "milliseconds", "created_at": 1_683_640_560_000},
    {"id": "microseconds", "created_at": 1_683_726_960_000_000.0},
    {"id": "nanoseconds", "created_at": 1_683_813_360_000_000_000.0},
    {"id": "before 1970", "created_at": -86_400},
    {"id": "zone", "created_at": "2023-05-12T23:56:00-02:00"},
    {"id": "no zone", "created_at": "2023-05-14 01:56"},
    {"id": "date", "created_at": "2023-05-14"},
    {"id": "basic", "created_at": "20230515T135600,25+0530"},
    {"id": "week", "created_at": "2023-W20-3T12"},
    {"id": "week alone", "created_at": "2023W20"},
    {"id": "hyphen", "created_at": "2023-W20-12:30"},
    {"id": "fine", "created_at": "2023-05-18T00:00:00.1234567Z"},
    {"id": "leap day", "created_at": "2020-02-29"},
    {"id": "unknown"},
]
MEMORIES: list[Vector] = [
    {
        "id": "m1",
        "group": "g",
        "namespace": ["acme", "anna"],
        "created_at": "2024-05-08T13:56:00Z",
        "metadata": {"user": "anna", "year": 2020, "tags": ["x", "y"], "place": {"city": "Oslo", "floor": 3}},
        "confidence": 0.9,
    },
    {
        "id": "m2",
        "group": "h",
        "namespace": ["acme"],
        "created_at": 1_700_000_000,
        "metadata": {"user": "ben", "year": 2021.5, "done": True, "place": [{"city": "Lima"}, {"city": "Riga"}]},
        "success_rate": 0.1,
        "access_count": 3.0,
    },
    {"id": "m3", "namespace": ["acmeanna"], "metadata": {"user": "Ben", "year": "2022", "tags": [["x"], []]}},
    {"id": "m4", "metadata": {"user": None, "year": [2019, "b"], "tags": [], "place": {}}, "trials": 7.0},
    {"id": "m5", "metadata": {"user": "Žofie", "year": -1e300, "a.b": 1, "a": {"b": "2"}, "": {"": 0}}},
    {"id": "m6"},
]
FILTERS: list[tuple[str, Any]] = [
    ("nothing is asked", {}),
    ("another key beside it", {"user": "anna", "year": 2020}),
    ("equal", {"user": {"$eq": "ben"}}),
    ("not equal is everything else", {"user": {"$ne": "ben"}}),
    ("not equal to nothing is everything", {"user": {"$ne": None}}),
    ("one of", {"user": {"$in": ["anna", "ben", None]}}),
    ("none of", {"user": {"$nin": ["anna", "ben"]}}),
    ("none of nothing is everything", {"user": {"$nin": []}}),
    ("numbers from", {"year": {"$gte": 2020}}),
    ("numbers above and below, of any value each", {"year": {"$gt": 2019, "$lt": 2021.5}}),
    ("numbers to", {"year": {"$lte": 2019}}),
    ("texts from", {"year": {"$gte": ""}}),
    ("texts above, by code point", {"user": {"$gt": "Z"}}),
    ("texts below", {"user": {"$lt": "a"}}),
    ("nothing is above nothing", {"year": {"$gt": None}}),
    ("exists", {"tags": {"$exists": True}}),
    ("exists not", {"done": {"$exists": False}}),
    ("exists below", {"place": {"$exists": True}}),
    ("a key with a point", {"place.city": ["Lima", "Oslo"]}),
    ("one key said in two ways", {"a.b": {"$in": [1]}, "$and": [{"a.b": 2}]}),
    ("empty keys", {".": 0}),
    ("any of filters", {"$or": [{"user": "anna"}, {"done": True}]}),
    ("all of filters", {"$and": [{"tags": "x"}, {"year": {"$exists": True}}]}),
    ("none of filters", {"$nor": [{"tags": "x"}, {"done": True}]}),
    ("not", {"$not": {"tags": "x", "user": "anna"}}),
    ("not everything", {"$not": {}}),
    ("ids", {"$id": ["m1", "m6", "m9"]}),
    ("ids in order", {"$id": {"$gte": "m5"}}),
    ("groups", {"$group": "g"}),
    ("no group", {"$group": {"$exists": False}}),
    ("a namespace", {"$namespace": ["acme"]}),
    ("a narrower namespace", {"$namespace": ["acme", "anna"]}),
    ("this namespace alone", {"$namespace": {"$eq": ["acme"]}}),
    ("another than this namespace", {"$namespace": {"$ne": ["acme"]}}),
    ("no namespace", {"$namespace": {"$exists": False}}),
    ("an empty namespace is nobody's", {"$namespace": []}),
    ("made since", {"$created_at": {"$gte": "2024-01-01"}}),
    ("made then, in milliseconds", {"$created_at": 1_700_000_000_000}),
    ("nobody expires", {"$expires_at": {"$exists": True}}),
    ("confidence, as it is kept", {"$confidence": {"$gte": 0.9}}),
    ("a success rate, as it is kept", {"$success_rate": 0.1}),
    ("trials, uses where absent", {"$trials": {"$gte": 3}}),
    ("without the value no comparison holds", {"$not": {"$confidence": {"$lte": 1}}}),
]
NO_FILTERS: list[tuple[str, Any]] = [
    ("no object", [{"user": "anna"}]),
    ("an unknown word", {"$where": 1}),
    ("an unknown operator", {"user": {"$regex": "a"}}),
    ("an object without operators", {"user": {}}),
    ("an object of values", {"place": {"city": "Oslo"}}),
    ("an operator beside a key", {"user": {"$eq": "a", "b": 1}}),
    ("equal to a list", {"user": {"$eq": ["a"]}}),
    ("in a text", {"user": {"$in": "anna"}}),
    ("a list in a list", {"user": [["anna"]]}),
    ("an object in a list", {"user": [{"$eq": "anna"}]}),
    ("truth values have no order", {"done": {"$gt": False}}),
    ("lists have no order", {"year": {"$gt": [2019]}}),
    ("exists is a truth value", {"done": {"$exists": 1}}),
    ("not an operator", {"done": {"$not": {"$eq": True}}}),
    ("any of no filters", {"$or": []}),
    ("all of no filters", {"$and": []}),
    ("none of no filters", {"$nor": []}),
    ("all of no list", {"$and": {"user": "anna"}}),
    ("not a list", {"$not": [{"user": "anna"}]}),
    ("a namespace that is a text", {"$namespace": "acme"}),
    ("a namespace that holds a number", {"$namespace": ["acme", 1]}),
    ("no operator of namespaces", {"$namespace": {"$in": [["acme"]]}}),
    ("a confidence that is a text", {"$confidence": {"$gt": "0.5"}}),
    ("a time that is none", {"$created_at": {"$gt": "soon"}}),
]
SOME_POINTS = [*POINTS, {"id": "no point", "text": "tea"}]

_WHERE: list[tuple[str, Any]] = [
    ("1", 1),
    ("1.0", 1.0),
    ("the text 1", "1"),
    ("the text 1.0", "1.0"),
    ("true", True),
    ("0 and its negative", 0),
    ("1e21", 1e21),
    ("a third", 1 / 3),
    ("a small number", 1e-7),
    ("any of a list", [7, False, None, ""]),
    ("null is nobody's", None),
    ("of no value any is nobody's", []),
    ("nobody has it", "one"),
]
CASES += [
    (f"where metadata is: {what}", VALUES, {"where": {"v": wanted}, "k": EVERYTHING}) for what, wanted in _WHERE
]
CASES += [(f"filter: {what}", MEMORIES, {"where": where, "k": EVERYTHING}) for what, where in FILTERS]
CASES += [
    (
        f"filter of large numbers: {order}",
        BIG,
        f'{{"where": {{"v": {{"{order}": 9223372036854775807}}}}, "k": 100}}',
    )
    for order in ("$gt", "$gte", "$lt", "$lte")
]
CASES += [
    ("numbers are words of their form", VALUES, {"text": "1 and 7.5", "k": EVERYTHING}),
    ("shares of a query's metadata", VALUES, {"metadata": {"v": [7, 1.0], "w": True}, "k": EVERYTHING}),
    ("two keys must both hold", TOOLS, {"where": {"kind": ["read", "write"], "tag": "dates"}, "k": EVERYTHING}),
    ("a filter leaves the best of those that pass", TOOLS, {"text": "mail", "where": {"kind": "write"}, "k": 1}),
    ("digits of whole numbers", BIG, '{"where": {"v": 9223372036854775808}, "k": 100}'),
    ("a double of that size", BIG, '{"where": {"v": [9223372036854775808.0, "0.1"]}, "k": 100}'),
    (
        "forms of JSON's numbers",
        BIG,
        '{"where": {"v": [1.00, -0.0e5, 10000000000000000000000000000001]}, "k": 100}',
    ),
    ("times, in seconds", TIMES, {"now": 1_684_540_800, "k": EVERYTHING}),
    ("times, in milliseconds", TIMES, {"now": 1_684_540_800_000, "k": EVERYTHING}),
    ("times, as text", TIMES, {"now": "2023-05-20", "k": EVERYTHING}),
    ("times are named", TIMES, {"text": "what was on May 15, 2023, or 14 June", "k": EVERYTHING}),
    ("five where nobody says how many", TALK, {"text": "painting"}),
    ("diversity", POINTS, {"embedding": [1.0, 0.5, 0.25], "diversity": 0.5, "k": 3}),
    ("diversity alone", POINTS, {"embedding": [1.0, 0.5, 0.25], "diversity": 1.0, "k": 4}),
    ("diversity of those that pass", GROUPED, {"text": "tea", "diversity": 0.25, "k": 4}),
    ("without an embedding unlike everything", SOME_POINTS, {"embedding": [1.0, 0.25, 0.0], "text": "tea"}),
    ("null is absent", [{"id": "a", "text": None, "metadata": None, "group": None}], {"text": None, "k": None}),
]

REFUSED: list[tuple[str, Any, Any]] = [
    ("no list", {"id": "a"}, {}),
    ("no object", ["a"], {}),
    ("no id", [{"text": "x"}], {}),
    ("an empty id", [{"id": ""}], {}),
    ("an id that is a number", [{"id": 1}], {}),
    ("an id twice", [{"id": "a"}, {"id": "a"}], {}),
    ("an unknown field", [{"id": "a", "createdAt": 0}], {}),
    ("a field twice", '[{"id": "a", "text": "x", "text": "y"}]', {}),
    ("no JSON", '[{"id": "a",}]', {}),
    ("not a number of JSON's", '[{"id": "a", "metadata": {"v": NaN}}]', {}),
    ("metadata beyond any double", '[{"id": "a", "metadata": {"v": 1e999}}]', {}),
    ("metadata beyond any double in metadata", '[{"id": "a", "metadata": {"v": {"w": 1e999}}}]', {}),
    ("a key in metadata twice", '[{"id": "a", "metadata": {"v": {"w": 1, "w": 2}}}]', {}),
    ("a namespace that is a text", [{"id": "a", "namespace": "x"}], {}),
    ("a namespace of numbers", [{"id": "a", "namespace": [1]}], {}),
    ("a namespace of too many parts", [{"id": "a", "namespace": ["x"] * 33}], {}),
    ("metadata that is a list", [{"id": "a", "metadata": [["v", 1]]}], {}),
    ("a key of metadata twice", '[{"id": "a", "metadata": {"v": 1, "v": 2}}]', {}),
    ("an endless time", '[{"id": "a", "created_at": 1e999}]', {}),
    ("a negative count", [{"id": "a", "access_count": -1}], {}),
    ("a rate above 1", [{"id": "a", "success_rate": 1.5}], {}),
    ("a truth value as a number", [{"id": "a", "confidence": True}], {}),
    ("embeddings of two lengths", [{"id": "a", "embedding": [1]}, {"id": "b", "embedding": [1, 2]}], {}),
    ("an embedding of nothing", [{"id": "a", "embedding": []}], {}),
    ("a query of another width", POINTS, {"embedding": [1.0]}),
    ("an unknown field of the query", TOOLS, {"query": "x"}),
    ("a text that is none", TOOLS, {"text": 1}),
    *((f"no filter: {what}", MEMORIES, {"where": where}) for what, where in NO_FILTERS),
    ("no filter: a key twice", MEMORIES, '{"where": {"user": "anna", "user": "ben"}}'),
    ("a filter that is none", TOOLS, {"where": "kind"}),
    ("a filter beyond any double", TOOLS, '{"where": {"v": -1e999}}'),
    ("no candidates asked for", TOOLS, {"k": 0}),
    ("half a candidate", TOOLS, {"k": 1.5}),
    ("too many candidates", TOOLS, {"k": 100_001}),
    ("too much diversity", POINTS, {"diversity": 1.5}),
    ("diversity without embeddings", TOOLS, {"diversity": 0.5}),
    ("an option that is no number", TOOLS, {"max_uncertainty": "0.1"}),
]
REFUSED += [
    (f"no time: {text}", [{"id": "a", "created_at": text}], {})
    for text in (
        "yesterday",
        "",
        "2023",
        "2023-05",
        "2023-02-29",
        "2023-W53",
        "2023-05-08T",
        "2023-05-08 ",
        "2023-05-08T24:00",
        "2023-05-08T12:30.5",
        "2023-05-08T12:30:00.",
        "2023-05-08T12:+01:00",
        "2023-05-08T12+01:60",
        "2023-05-08T12:30z",
        "20230508123",
        "1683554160",
        "٢٠٢٣-05-08",
    )
]


def rounded(values: Vector) -> Vector:
    """Numbers with nine decimal places."""
    return {name: round(value, 9) if isinstance(value, float) else value for name, value in values.items()}


def candidate_vectors() -> list[Vector]:
    """Every case with its answer."""
    found = []
    for explain, candidates, query in CASES:
        expect = answer(candidates, query)
        scores = expect["scores"]
        # The order must not hang on the last bit: scores that are not equal are well apart.
        apart = [abs(a - b) for a in scores for b in scores if a != b]
        assert min(apart, default=1.0) > 1e-5, explain
        expect["features"] = [
            rounded({name: value for name, value in row.items() if value}) for row in expect["features"]
        ]
        expect["scores"] = [round(score, 9) for score in scores]
        expect["decisions"] = [rounded(decision) for decision in expect["decisions"]]
        found.append({"explain": explain, "candidates": candidates, "query": query, "expect": expect})
    for explain, candidates, query in REFUSED:
        try:
            answer(candidates, query)
            raise AssertionError(f"not refused: {explain}")
        except Refusal as refusal:
            found.append(
                {"explain": explain, "candidates": candidates, "query": query, "expect": {"error": refusal.kind}}
            )
    return found
