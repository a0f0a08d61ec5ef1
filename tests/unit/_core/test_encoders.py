"""Two static encoders: one cuts and sums as the other, and no artifact takes the one for the other."""

import numpy as np
import pytest

from tiny_dancer import EncoderMissingError, _core


def test_both_have_the_same_pieces_and_rows_of_their_own() -> None:
    router, sentences = _core.encoder(), _core.sentence_encoder()
    assert router.checksum != sentences.checksum
    rows = [
        np.frombuffer(each.rows(), "i1").reshape(-1, _core.EMBEDDING_DIMENSIONS) for each in (router, sentences)
    ]
    assert rows[0].shape == rows[1].shape and (rows[0] != rows[1]).any(axis=1).mean() > 0.5


def test_texts_are_encoded_by_the_encoder_that_is_given() -> None:
    texts = ["Move 20 dollars to my savings.", "Where is the nearest bakery?", ""]
    default, given = _core.encode(texts), _core.encode(texts, _core.sentence_encoder())
    assert np.array_equal(default, _core.encode(texts, _core.encoder()))
    assert not np.allclose(default[0], given[0])
    assert np.allclose(np.linalg.norm(given, axis=1), [1, 1, 0], atol=1e-6)


def test_sentences_that_mean_the_same_are_nearer_than_by_the_encoder_of_request_routers() -> None:
    # Pairs with hardly a word in common, each beside all other seconds.
    pairs = [
        ("how do i reset my password", "i forgot the code i log in with"),
        ("what is the weather like in Oslo", "will it rain there tomorrow"),
        ("book me a table for two", "reserve seats at a restaurant tonight"),
        ("my card was stolen", "somebody took my wallet and uses my bank account"),
        ("translate this into French", "how do you say hello in Spanish"),
        ("play some jazz", "put on a song by the Beatles"),
    ]

    def lead(by: _core.Encoder) -> float:
        first, second = (_core.encode(list(side), by) for side in zip(*pairs, strict=True))
        scores = first @ second.T
        others = scores[~np.eye(len(pairs), dtype=bool)]
        return float((np.diag(scores).mean() - others.mean()) / others.std())

    assert lead(_core.sentence_encoder()) > lead(_core.encoder())


def test_a_router_refuses_the_encoder_of_sentences() -> None:
    with pytest.raises(EncoderMissingError, match="trained with encoder"):
        _core.Router(_core.data_file("default.safetensors"), _core.sentence_encoder())
