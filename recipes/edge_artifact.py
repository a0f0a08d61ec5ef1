"""Trains the artifact that ships for where the static encoder is too large, and writes its model card.

Run: python recipes/edge_artifact.py (from the repository's root, with ../shared beside it; some minutes of
processor time). What is not said here is as in recipes/default_artifact.py: roles, tables, splits, certificate,
figures.

The encoder is 7.8 MB, and a page, a worker at the edge or a new connection to a database pays for it each time. Of
the default artifact, kinds read the embedding, and trees three cues that say how alike a question's options are.
Here:

* Kinds read words: a table of 4,096 weights, one for a hashed word or pair of words. Learned from some thousand
  prompts alone, such a table knows nothing of words it has not seen. So it is learned in the encoder's space:
  each place of the table stands for the mean of the encoder's rows for the words that fall there, ridge regression
  finds a direction among these as it does among embeddings, and a word's weight is its row along that direction.
  The encoder is needed here, and nowhere else.
* Trees are learned without those three cues; steps need neither.

Chosen on the rows trained on, with whole kinds left out and with groups left out, never on those held out: such a
table ordered kinds left out and groups left out about as the embedding does; cues alone, and a table of words
learned freely, did worse. 2,048 and 8,192 places, half and twice the ridge, 20 and 60 trees were as good.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from default_artifact import ROOT, Auxiliary, Recipe, Remainder, Steps, created, direction_of_gain, linear, make
from tiny_dancer import FeatureTable, _core
from tiny_dancer.training.backends.linear import FittedLinear, hashed_ngrams
from tiny_dancer.training.backends.quantise import quantise
from tiny_dancer.training.backends.trees import ExtraTrees

if TYPE_CHECKING:
    import numpy.typing as npt

    from tiny_dancer.training.backends import Backend, Targets

    Floats = npt.NDArray[np.float64]

PLACES = 4096
TREES = 40
REMEMBERED = 1200
"""Rows trained on that it remembers, of ten thousand: enough to say how much of a table it was trained on."""
RARE, RANK = 0.3, 1000
"""Words that no prompt has count as 0.3 occurrences, and less the further back in the encoder's vocabulary, which
runs from frequent to rare: 1,000 pieces on, half as much."""


@cache
def words() -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Pieces of the encoder's vocabulary that are whole words: their ids, and the hashes of their 1-grams."""
    data = _core.data_file("encoder.safetensors")
    end = 8 + int.from_bytes(data[:8], "little")
    first, last = json.loads(data[8:end])["vocabulary"]["data_offsets"]
    pieces = data[end + first : end + last].decode().split("\n")
    whole = [place for place, piece in enumerate(pieces) if piece and not piece.startswith(("##", "["))]
    features = _core.featurise([pieces[place] for place in whole])
    of_words = features.ngrams < _core.CHAR_BASE
    number = np.add.reduceat(of_words, features.ngram_offsets[:-1])
    single = np.flatnonzero(number == 1)
    return np.array(whole)[single], features.ngrams[features.ngram_offsets[:-1][single]].astype(np.int64)


def encoder_means(ngrams: npt.NDArray[np.uint32]) -> Floats:
    """Mean of the encoder's rows over the n-grams of each place, float64 [PLACES, 256].

    ``ngrams`` are those of all prompts. What is no word of the vocabulary (most pairs of words) counts as 0.
    """
    ids, hashes = words()
    found, count = np.unique(ngrams[ngrams < _core.CHAR_BASE], return_counts=True)
    occurrences = dict(zip(found.tolist(), count.tolist(), strict=True))
    weight = np.array([occurrences.get(each, 0) for each in hashes.tolist()]) + RARE / (1 + ids / RANK)
    place = hashes & (PLACES - 1)
    sums = np.zeros((PLACES, _core.EMBEDDING_DIMENSIONS))
    np.add.at(sums, place, weight[:, None] * _core.token_rows()[ids])
    seen = 1 + np.bincount(found.astype(np.int64) & (PLACES - 1), count, minlength=PLACES)
    total = np.maximum(seen, np.bincount(place, weight, minlength=PLACES))
    return np.asarray(sums / total[:, None])


@dataclass(frozen=True, slots=True)
class WordKinds:
    """Ridge regression of the gain on words, by what the encoder says of them, and a few cues.

    Attributes:
        auxiliary: prompts with declared gains; they weigh as much as all tables.
        ridge: penalty per row, relative to the mean squared length of a row's words.
        cue_share: of that length for the cues.
    """

    auxiliary: Auxiliary
    name: str = "kinds_by_words"
    ridge: float = 0.01
    cue_share: float = 0.5

    def fit(self, features: FeatureTable, targets: Targets, seed: int) -> FittedLinear:
        """Solves the normal equations in the encoder's space; a place weighs what it has along the answer."""
        del seed
        both = (features, self.auxiliary.features)
        cues = np.vstack([each.cues for each in both]).astype(np.float64)
        means = encoder_means(np.concatenate([each.ngrams for each in both]))
        said = np.vstack([hashed_ngrams(each, PLACES, characters=False) @ means for each in both])
        of_cues, direction, intercept = direction_of_gain(
            targets, self.auxiliary, cues, said, None, ridge=self.ridge, cue_share=self.cue_share
        )
        without = linear(of_cues, np.zeros(_core.EMBEDDING_DIMENSIONS), intercept, targets, cues)
        basis = np.linalg.lstsq(targets.quality, targets.components, rcond=None)[0]
        shape = np.where(np.arange(2) == targets.best_constant, 0.5, -0.5) @ basis
        word, word_scale = quantise(np.outer(means @ direction, shape))
        return replace(without, word=word, word_scale=word_scale)


def without_encoder(other: Auxiliary) -> tuple[Backend, ...]:
    """Steps, kinds by words and cues, trees on what the kinds leave; no prompt is seen through the encoder."""
    kinds = WordKinds(replace(other, features=_core.without_encoder(other.features)))
    return Steps(), kinds, Remainder(kinds, ExtraTrees(trees=TREES))


EDGE = Recipe(
    artifact=ROOT / "python/tiny_dancer/data/edge.safetensors",
    card=ROOT / "docs/model-cards/edge.md",
    script="recipes/edge_artifact.py",
    title="the artifact without encoder",
    opening="""Routes between two roles, `weak` and `strong`, as [the default artifact](default.md) does, and needs
no static encoder (7.8 MB): for browsers, workers at the edge and databases.
`Router.load("edge", models={"weak": "…", "strong": "…"})`. Tokens are counted by words: of Russian, Korean,
Arabic or Hindi prompts a third of what is billed (ADR 0033), so leave room in costs and windows there.""",
    backends=without_encoder,
    encoder=False,
    remembered=REMEMBERED,
)

if __name__ == "__main__":
    make(EDGE, created("2026-12-01"))
