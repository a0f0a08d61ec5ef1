from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.disguises import CHARACTERS, DISGUISES, FORM

from tiny_dancer import routing
from tiny_dancer.errors import DataError, OptionError
from tiny_dancer.evaluation.disguise import Texts, squeezed, undisguised
from tiny_dancer.evaluation.groups import assign_groups, joined_groups, kinship
from tiny_dancer.evaluation.split import grouped_folds

VOCABULARY = [a + b + c for a in ("ka", "lo", "mi", "nu", "re") for b in ("ta", "so", "vi", "du") for c in "nrstk"]


def sentences(count: int, words: int, seed: int = 0) -> list[str]:
    """Sentences of random words; two of them share next to nothing but single words."""
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(VOCABULARY, words)) + f" {seed}q{row}" for row in range(count)]


def together(labels, rows) -> bool:
    return len({int(labels[row]) for row in rows}) == 1


def test_unlike_rows_are_groups_of_their_own(featurise):
    assert list(assign_groups(featurise(sentences(200, 30)))) == list(range(200))


def test_duplicates_are_found_whatever_their_case_and_spacing(featurise):
    texts = sentences(50, 20)
    texts += [texts[3].upper(), texts[3].replace(" ", "   "), texts[7]]
    labels = assign_groups(featurise(texts))
    assert together(labels, [3, 50, 51])
    assert together(labels, [7, 52])
    assert labels.max() == 49


def test_near_duplicates_are_found_by_jaccard_similarity(featurise):
    texts = sentences(300, 40)
    changed = [text.replace(text.split()[9], "zzz", 1) for text in texts[:60]]
    halves = [(texts[100 + row].split()[:20], texts[200 + row].split()[20:]) for row in range(100)]
    half = [" ".join(start + end) for start, end in halves]
    features = featurise(texts + changed + half)
    labels = kinship(features).near
    rows = [set(row.tolist()) for row in np.split(features.ngrams, features.ngram_offsets[1:-1])]
    for row in range(60):
        assert len(rows[row] & rows[300 + row]) / len(rows[row] | rows[300 + row]) >= 0.8
        assert together(labels, [row, 300 + row])
    assert (Counter(labels.tolist())[int(labels[100])], Counter(labels.tolist())[int(labels[360])]) == (1, 1)


def test_rows_that_share_a_passage_are_joined(featurise):
    passages = sentences(40, 120, seed=1)
    questions = sentences(200, 25, seed=2)
    texts = [f"{passages[row // 5]} {question}" for row, question in enumerate(questions)]
    texts += sentences(200, 100, seed=3)
    labels = assign_groups(featurise(texts))
    for passage in range(40):
        assert together(labels, range(passage * 5, passage * 5 + 5))
    assert len(set(labels.tolist())) == 40 + 200


@pytest.mark.parametrize("rows", [20, 400])
def test_a_template_shared_by_all_joins_nobody(featurise, rows):
    prompt = sentences(1, 400, seed=4)[0]
    texts = [f"{prompt} {question}" for question in sentences(rows, 12, seed=5)]
    assert list(assign_groups(featurise(texts))) == list(range(rows))


def test_duplicates_within_a_template_are_still_found(featurise):
    prompt = sentences(1, 300, seed=6)[0]
    questions = sentences(100, 80, seed=7)
    questions += [question.replace(question.split()[3], "zzz", 1) for question in questions[:10]]
    labels = assign_groups(featurise([f"{prompt} {question}" for question in questions]))
    for row in range(10):
        assert together(labels, [row, 100 + row])
    assert labels.max() == 99


@pytest.mark.parametrize("kind", DISGUISES)
def test_copies_in_disguise_are_kin_and_nobody_else_is(kind):
    texts = [
        f"{text[0].upper()}{text[1:]}; what is {row * 37}?" for row, text in enumerate(sentences(200, 25, seed=8))
    ]
    texts += [DISGUISES[kind](text) for text in texts[:60]]
    labels = assign_groups(routing.featurise(texts), texts=Texts(texts))
    assert all(together(labels, [row, 200 + row]) for row in range(60))
    # Letters alone, and a page that 60 rows share, make a few more of them alike.
    assert labels.max() >= 180


@pytest.mark.parametrize("kind", ["cyrillic", "zero-width space", "page in front"])
def test_copies_in_chats_are_kin(kind):
    texts = sentences(40, 20, seed=9)
    said = texts + [DISGUISES[kind](text) for text in texts]
    chats = [
        json.dumps([{"role": "user", "content": text}], ensure_ascii=row % 2 == 0) for row, text in enumerate(said)
    ]
    prompts = [""] * len(said)
    labels = assign_groups(routing.featurise(prompts, chats), texts=Texts(prompts, chats))
    assert all(together(labels, [row, 40 + row]) for row in range(40))
    assert labels.max() == 39


def test_forty_copies_with_a_page_each_are_one_with_the_original():
    prompts = sentences(10, 20, seed=10)
    pages = sentences(400, 150, seed=11)
    texts = prompts + [f"{page}\n\n{prompts[row % 10]}" for row, page in enumerate(pages)]
    labels = assign_groups(routing.featurise(texts), texts=Texts(texts))
    assert all(together(labels, [row, *range(10 + row, 410, 10)]) for row in range(10))
    assert labels.max() == 9


@settings(max_examples=60, deadline=None)
@given(
    text=st.lists(st.sampled_from(VOCABULARY), min_size=4, max_size=30).map(" ".join),
    kinds=st.lists(st.sampled_from(sorted(CHARACTERS)), min_size=1, max_size=3),
    form=st.sampled_from(sorted(FORM)),
)
def test_disguises_one_on_another_say_the_same(text, kinds, form):
    disguised = FORM[form](text)
    for kind in kinds:
        disguised = CHARACTERS[kind](disguised)
    assert squeezed(disguised) == squeezed(text)


@given(st.text())
def test_what_is_bare_stays_as_it_is(text):
    bare = undisguised(text)
    assert undisguised(bare) == bare
    assert not any(each in bare for each in "\u200b\u00ad\u0301\ufeff")


def test_the_same_words_in_another_order_are_kin():
    random = np.random.default_rng(4)
    texts = sentences(60, 20, seed=3)
    shuffled = [" ".join(random.permutation(text.split())) for text in texts]
    few = ["dogs chase cats", "cats chase dogs"]
    other = ["What is 12 plus 40 and then times 9 ?", "What is 12 plus 40 and then divided by 9 ?"]
    texts += [*shuffled, *few, *other]
    labels = assign_groups(routing.featurise(texts), texts=Texts(texts))
    assert all(together(labels, [row, row + 60]) for row in range(60))
    assert len(set(labels.tolist())) == 64


@pytest.mark.parametrize(
    ("templates", "words"), [(1, 12), (2, 12), (2, 3), (20, 12)], ids=["one", "two", "two, short", "twenty"]
)
def test_templates_join_nobody_with_texts_either(templates, words):
    shared = sentences(templates, 300, seed=12)
    questions = sentences(800, words, seed=13)
    texts = [f"{shared[row % templates]}\n{question}" for row, question in enumerate(questions)]
    texts += shared if templates < 5 else []
    labels = assign_groups(routing.featurise(texts), texts=Texts(texts))
    assert labels.max() >= 0.99 * len(texts) - 1


def test_prompts_that_say_little_are_not_kin_of_all_that_hold_them():
    texts = [*sentences(300, 4, seed=14), *sentences(300, 400, seed=15), "Continue.", "Yes", "What is it?"]
    labels = assign_groups(routing.featurise(texts), texts=Texts(texts))
    assert labels.max() == len(texts) - 1


def test_given_groups_are_joined_and_never_split(featurise):
    texts = sentences(6, 20)
    texts[5] = texts[0]
    labels = assign_groups(featurise(texts), np.array([9, 9, 4, 5, 4, 7]))
    assert list(labels) == [0, 0, 1, 2, 1, 0]


def test_rows_without_ngrams_are_alone(featurise):
    assert list(assign_groups(featurise(["", "", "a word", ""]))) == [0, 1, 2, 3]
    assert list(assign_groups(featurise([""]))) == [0]


def test_the_order_of_rows_does_not_matter(featurise):
    texts = sentences(100, 30)
    texts += [text + " more" for text in texts[:30]]
    order = np.random.default_rng(0).permutation(len(texts))
    labels = assign_groups(featurise(texts))
    shuffled = assign_groups(featurise([texts[row] for row in order]))
    back = np.empty(130, int)
    back[order] = shuffled
    np.testing.assert_array_equal(labels[:, None] == labels, back[:, None] == back)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=30))
def test_joined_groups_split_neither(pairs):
    one, other = np.array(pairs).T
    labels = joined_groups(one, other)
    for grouping in (one, other):
        for label in set(grouping.tolist()):
            assert together(labels, np.flatnonzero(grouping == label))
    assert list(dict.fromkeys(labels.tolist())) == list(range(labels.max() + 1))


@settings(max_examples=60, deadline=None)
@given(
    group=st.lists(st.integers(-3, 20), min_size=1, max_size=80),
    n_folds=st.integers(2, 6),
    seed=st.integers(0, 1 << 32),
)
def test_folds_keep_groups_whole_and_balanced(group, n_folds, seed):
    labels = np.array(group)
    sizes = Counter(group)
    if len(sizes) < n_folds:
        with pytest.raises(DataError, match="folds"):
            grouped_folds(labels, n_folds, seed)
        return
    folds = grouped_folds(labels, n_folds, seed)
    assert all(together(folds, np.flatnonzero(labels == label)) for label in sizes)
    counts = np.bincount(folds, minlength=n_folds)
    assert len(counts) == n_folds
    assert counts.min() > 0
    assert counts.max() - counts.min() <= max(sizes.values())
    np.testing.assert_array_equal(folds, grouped_folds(labels, n_folds, seed))


def test_another_seed_gives_other_folds():
    group = np.arange(100)
    assert (grouped_folds(group, 5, 0) != grouped_folds(group, 5, 1)).any()


def test_one_fold_is_no_split():
    with pytest.raises(OptionError, match="n_folds"):
        grouped_folds(np.arange(10), 1, 0)
