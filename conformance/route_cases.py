"""Which routes, requests and options the vectors of routes ask for."""

from __future__ import annotations

import random
from typing import Any

from reference.errors import Refusal
from reference.routes import Head, Routes
from reference.spelling import Speller
from reference.text import character_ngrams, normalise, tokenise, word_ngrams
from reference.word_pieces import DIMENSIONS, Encoder

Vector = dict[str, Any]

AXES: list[dict[str, Any]] = [
    {"name": "refund", "target": {"agent": "billing"}, "priority": 1},
    {"name": "status", "target": "orders"},
    {"name": "human", "priority": 5, "threshold": 0.2},
    {
        "name": "night",
        "conditions": {"time": {"from": "22:00", "to": "06:00", "zone": "Europe/Berlin", "days": ["fri"]}},
    },
    {
        "name": "vip",
        "conditions": {"all": [{"tier": ["pro", "team"]}, {"not": {"tags": ["blocked"]}}]},
        "priority": 2,
    },
    {
        "name": "limited",
        "conditions": {"any": [{"rate": {"requests": 2, "seconds": 60}}, {"keywords": ["urgent"]}]},
    },
    {"name": "sale", "conditions": {"period": {"after": "2026-11-27", "before": "2026-12-01T00:00:00+01:00"}}},
]
FRIDAY_NIGHT = 1_767_394_800.0  # 2026-01-02T23:00:00Z
SALE = 1_795_910_400.0  # 2026-11-29
BERLIN = {"Europe/Berlin": 3600.0}


def toy(scale: float = 8.0) -> Vector:
    """Routes by prototypes of another encoder: the axes, the first route with a second one."""
    size = len(AXES)
    rows = [[[127 if at == route else 0 for at in range(size)]] for route in range(size)]
    rows[0].append([90, 0, 0, 0, 0, 0, -40])
    header = {
        "format": "1.1.0",
        "kind": "routes",
        "version": "2.0.0",
        "routes": AXES,
        "spec": "3",
        "encoder": {"name": "toy", "dimension": size},
        "model": {"kind": "prototypes", "scale": scale},
    }
    return {"header": header, "prototypes": rows}


TEXTS = [
    "I want my money back for order 12",
    "where is my parcel?",
    "please let me talk to a person",
    "Überweise 3,50 € an Anna",
]


def headed(checksum: str) -> Vector:
    """Routes by a head over the texts' own n-grams and the shipped encoder, with scope and prediction sets."""
    dice = random.Random(7)
    names = ["refund", "status", "human"]
    outputs = len(names) + 1
    ngrams: dict[str, dict[str, int]] = {}
    for text in TEXTS[:3]:
        characters = normalise(text)
        for index in sorted(word_ngrams(tokenise(characters)) | character_ngrams(characters)):
            ngrams[str(index)] = {
                str(at): dice.randint(-127, 127) for at in sorted(dice.sample(range(outputs), 2))
            }
    header = {
        "format": "1.1.0",
        "kind": "routes",
        "version": "1.0.0",
        "routes": [{"name": name} for name in names],
        "spec": "3",
        "encoder": {"name": "tiny-dancer", "dimension": DIMENSIONS, "checksum": checksum},
        "model": {"kind": "head", "prototypes": 1.5, "none": True},
        "temperature": 0.8,
        "calibrated": True,
        "scope": {
            "weights": [0.3, 0.2, 0.1, 0.5, 0.4, 0.6, 0.7],
            "bias": -0.5,
            "false_alarms": 0.05,
            "thresholds": [[0.01, 0.3], [0.05, 0.55], [0.2, 0.9]],
        },
        "conformal": {"score": "aps", "alpha": 0.1, "rows": 50, "threshold": 0.7},
    }
    return {
        "header": header,
        "prototypes": [[[dice.randint(-127, 127) for _ in range(DIMENSIONS)]] for _ in names],
        "head": {
            "bias": [round(dice.uniform(-1, 1), 3) for _ in range(outputs)],
            "embedding": [[dice.randint(-127, 127) for _ in range(DIMENSIONS)] for _ in range(outputs)],
            "embedding_scale": [0.02, 0.01, 0.015, 0.01],
            "ngrams": ngrams,
            "ngram_scale": [0.01, 0.005],
        },
    }


WORDS = {
    "money": 20,
    "back": 24,
    "order": 16,
    "parcel": 18,
    "parcels": 18,
    "please": 12,
    "person": 22,
    "überweise": 30,
    "isn't": 30,
    "zqxordish": 30,
    "zqxordisk": 30,
}
"""With levels. The two that nobody knows elsewhere are as frequent as each other."""


def spelled(checksum: str) -> Vector:
    """The same, which reads unknown words as known ones."""
    made = headed(checksum)
    made["header"]["spelling"] = {"letters": "abcdefghijklmnopqrstuvwxyz'ü"}
    return {**made, "words": WORDS}


SLIPS = [
    ("letters swapped", "I want my mnoey bakc for odrer 12"),
    ("a letter left out, one too many, another one", "where is my parcl? pleasse talk to a persom"),
    ("a pair that the head knows", "where is my partel"),
    ("level: the first one", "zqxordis zqxordich"),
    ("two edits are one too many", "prsoon mnyoe"),
    ("words of the encoder are known, and read as", "the custmer bougth a parcel"),
    ("two letters are too few", "mx odrer"),
    (
        "next to digits and symbols nothing is read",
        "odrer12 my_odrer odrer.txt /odrer odrer@ but (odrer), odrer. Odrer",
    ),
    ("other letters", "Uberweise 3,50 € an Anna"),
    ("apostrophes", "isnt it anna's odrer? isn't'"),
    ("case and width", "ＯＤＲＥＲ Odrer ODRER"),
    ("sixty-four and no more", "odrer " * 64 + "mnoey " * 2),
]


CASES: list[tuple[str, str, Vector, Vector]] = [
    ("the nearest axis", "toy", {"vector": [0.2, 0.9, 0, 0, 0, 0, 0]}, {"exclude": ["night", "sale"]}),
    ("level: the first one declared", "toy", {"vector": [0, 1, 1, 0, 0, 0, 0]}, {"allowed": ["status", "refund"]}),
    (
        "priority among routes that overlap",
        "toy",
        {"vector": [0.9, 0.9, 0.88, 0, 0, 0, 0]},
        {"exclude": ["night", "sale"]},
    ),
    (
        "priority is not asked of the improbable",
        "toy",
        {"vector": [0, 1, 0.5, 0, 0, 0, 0]},
        {"exclude": ["night", "sale"]},
    ),
    (
        "nobody is sure enough",
        "toy",
        {"vector": [1, 1, 0, 0, 0, 0, 0]},
        {"exclude": ["night", "sale"], "least_confidence": 0.9},
    ),
    ("nobody may be given", "toy", {"vector": [1, 0, 0, 0, 0, 0, 0]}, {"allowed": ["vip"]}),
    (
        "the zero vector is like none",
        "toy",
        {"vector": [0, 0, 0, 0, 0, 0, 0]},
        {"exclude": ["night", "sale"], "limit": 9},
    ),
    (
        "a range over midnight, by the clock of its zone",
        "toy",
        {"vector": [0, 0, 0, 1, 0, 0, 0]},
        {"context": {"now": FRIDAY_NIGHT, "offsets": BERLIN}},
    ),
    (
        "its small hours are of the day it began",
        "toy",
        {"vector": [0, 0, 0, 1, 0, 0, 0]},
        {"context": {"now": FRIDAY_NIGHT + 5 * 3600, "offsets": BERLIN}},
    ),
    (
        "and not of the next",
        "toy",
        {"vector": [0, 0, 0, 1, 0, 0, 0]},
        {"context": {"now": FRIDAY_NIGHT - 24 * 3600, "offsets": BERLIN}},
    ),
    (
        "a user's tier",
        "toy",
        {"vector": [0, 0, 0, 0, 1, 0, 0]},
        {"exclude": ["night", "sale"], "context": {"tier": "team", "tags": ["beta"]}},
    ),
    (
        "a tag that bars",
        "toy",
        {"vector": [0, 0, 0, 0, 1, 0, 0]},
        {"exclude": ["night", "sale"], "context": {"tier": "team", "tags": ["blocked"]}},
    ),
    (
        "a rate that is used up",
        "toy",
        {"vector": [0, 0, 0, 0, 0, 1, 0]},
        {"exclude": ["night", "sale"], "context": {"used": {"limited": 2}}},
    ),
    (
        "but for the word",
        "toy",
        {"vector": [0, 0, 0, 0, 0, 1, 0], "text": "it is URGENT!"},
        {"exclude": ["night", "sale"], "context": {"used": {"limited": 2}}},
    ),
    (
        "the word in another one does not count",
        "toy",
        {"vector": [0, 0, 0, 0, 0, 1, 0], "text": "how urgently"},
        {"exclude": ["night", "sale"], "context": {"used": {"limited": 2}}},
    ),
    (
        "within a period",
        "toy",
        {"vector": [0, 0, 0, 0, 0, 0, 1]},
        {"exclude": ["night"], "context": {"now": SALE}},
    ),
    (
        "after it",
        "toy",
        {"vector": [0, 0, 0, 0, 0, 0, 1]},
        {"exclude": ["night"], "context": {"now": SALE + 2 * 86_400}},
    ),
    ("a time that is missing", "toy", {"vector": [1, 0, 0, 0, 0, 0, 0]}, {}),
    ("a zone whose offset is missing", "toy", {"vector": [1, 0, 0, 0, 0, 0, 0]}, {"context": {"now": 0.0}}),
    ("no vector", "toy", {"text": "hello"}, {"exclude": ["night", "sale"]}),
    ("a vector of another length", "toy", {"vector": [1, 0]}, {"exclude": ["night", "sale"]}),
    ("a route nobody knows", "toy", {"vector": [1, 0, 0, 0, 0, 0, 0]}, {"allowed": ["nobody"]}),
    (
        "a share beyond 1",
        "toy",
        {"vector": [1, 0, 0, 0, 0, 0, 0]},
        {"exclude": ["night", "sale"], "least_confidence": 2},
    ),
    *((f"a text: {text}", "headed", {"text": text}, {"prediction_set": True}) for text in TEXTS),
    ("no false alarms: in scope", "headed", {"text": TEXTS[3]}, {"false_alarms": 0.0}),
    ("many false alarms: out of scope", "headed", {"text": TEXTS[3]}, {"false_alarms": 1.0}),
    ("between two points of the curve", "headed", {"text": TEXTS[1]}, {"false_alarms": 0.1}),
    *((explain, "spelled", {"text": text}, {}) for explain, text in SLIPS),
    ("white space", "headed", {"text": " \n"}, {}),
    ("a vector where the engine encodes", "headed", {"text": "x", "vector": [1.0]}, {}),
]


def loaded(artifact: Vector, encoder: Encoder) -> Routes:
    """The reference's routes of an artifact as the vectors write it."""
    given = artifact.get("head")
    head = None
    if given is not None:
        ngrams = {
            int(index): {int(output): weight for output, weight in weights.items()}
            for index, weights in given["ngrams"].items()
        }
        head = Head(
            given["bias"], given["embedding"], given["embedding_scale"], ngrams, tuple(given["ngram_scale"])
        )
    words = artifact.get("words")
    speller = None
    if words is not None and head is not None:
        speller = Speller(artifact["header"]["spelling"]["letters"], words, encoder, head.ngrams.keys())
    return Routes(artifact["header"], artifact["prototypes"], head, encoder, speller)


def rounded(value: Any) -> Any:
    """Nine digits of every number."""
    if isinstance(value, float):
        return float(f"{value:.9g}")
    if isinstance(value, list):
        return [rounded(each) for each in value]
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in value.items()}
    return value


def route_vectors(encoder: Encoder) -> Vector:
    """All vectors, with the artifacts they ask."""
    artifacts = {"toy": toy(), "headed": headed(encoder.checksum), "spelled": spelled(encoder.checksum)}
    found = []
    for explain, name, request, options in CASES:
        if "vector" in request and name == "toy":
            request = {**request, "encoder": "toy"}
        vector: Vector = {"explain": explain, "artifact": name, "request": request, "options": options}
        try:
            vector["expect"] = rounded(loaded(artifacts[name], encoder).answer(request, options))
        except Refusal as refusal:
            vector["error"] = refusal.kind
        found.append(vector)
    return {"artifacts": artifacts, "vectors": found}
