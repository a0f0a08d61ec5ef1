from __future__ import annotations

import dataclasses
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tiny_dancer import _core
from tiny_dancer.errors import DataError
from tiny_dancer.training.data import read_feature_spec, read_outcomes, write_featurised
from tiny_dancer.types import FeatureTable, Outcomes

FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)
SPEC = '{"version": 1}'


def same(one: Outcomes, other: Outcomes) -> bool:
    """Whether two tables are equal bit for bit, texts aside."""
    for field in ("sample_id", "task", "models"):
        assert getattr(one, field) == getattr(other, field)
    fields = ("quality", "cost", "latency", "weight", "group")
    arrays = [(getattr(one, field), getattr(other, field)) for field in fields]
    arrays += [
        (getattr(one.features, field.name), getattr(other.features, field.name))
        for field in dataclasses.fields(FeatureTable)
        if field.name != "spec"
    ]
    for left, right in arrays:
        if left is None or right is None:
            assert left is None
            assert right is None
        else:
            assert left.dtype == right.dtype
            assert left.shape == right.shape
            assert left.tobytes() == right.tobytes()
    return True


@st.composite
def tables(draw) -> Outcomes:
    rows, models, cues = draw(st.integers(1, 6)), draw(st.integers(1, 3)), draw(st.integers(1, 5))
    sets = [sorted(draw(st.sets(st.integers(0, (1 << 18) - 1), max_size=20))) for _ in range(rows)]
    random = np.random.default_rng(draw(st.integers(0, 1000)))
    features = FeatureTable(
        ngram_offsets=np.concatenate(([0], np.cumsum([len(row) for row in sets]))).astype(np.int64),
        ngrams=np.array([number for row in sets for number in row], np.uint32),
        cues=np.array(
            draw(st.lists(FINITE, min_size=rows * cues, max_size=rows * cues)),
            np.float32,
        ).reshape(rows, cues),
        embedding=random.integers(-128, 128, (rows, 256)).astype(np.int8),
        tokens=random.integers(0, 1 << 31, rows).astype(np.int32),
    )

    def figures(most: float) -> np.ndarray:
        values = random.random((rows, models)) * most
        values[random.random((rows, models)) < 0.3] = np.nan
        values[0] = most
        return values

    return Outcomes(
        sample_id=tuple(f"id-{row}" for row in range(rows)),
        task=tuple(draw(st.lists(st.sampled_from(["", "math", "código"]), min_size=rows, max_size=rows))),
        models=tuple(f"model-{model}.5/x" for model in range(models)),
        quality=figures(1.0),
        cost=figures(9.0) if draw(st.booleans()) else None,
        latency=figures(9.0) if draw(st.booleans()) else None,
        weight=random.random(rows) + 0.01,
        group=random.integers(-5, 1 << 40, rows),
        features=features,
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=tables())
def test_a_round_trip_changes_no_bit(tmp_path, table):
    path = tmp_path / "f.parquet"
    write_featurised(table, path, feature_spec=SPEC)
    assert same(table, read_outcomes([path]))
    assert read_feature_spec(path) == SPEC


def test_no_text_is_written(tmp_path, make_outcomes):
    table = make_outcomes(
        [[1, 0], [0, 1]],
        ["the secret prompt", "another confidential request"],
        tools=("[]", None),
        messages=(None, '[{"role": "user", "content": "classified"}]'),
    )
    path = tmp_path / "f.parquet"
    write_featurised(table, path, feature_spec=SPEC)
    names = pq.read_schema(path).names
    assert not {"prompt", "tools", "messages"} & set(names)
    data = path.read_bytes() + repr(pq.read_table(path).to_pydict()).encode()
    assert not any(word in data for word in (b"secret", b"confidential", b"classified"))
    assert read_outcomes([path]).prompt is None


def test_the_bundled_sample_fits_two_mebibytes(tmp_path):
    """1,300 rows whose hashed n-grams are as random as they can be, and 40 cues."""
    rows, random = 1300, np.random.default_rng(0)
    ngrams = [np.sort(random.choice(1 << 18, 800, replace=False)) for _ in range(rows)]
    features = FeatureTable(
        ngram_offsets=np.arange(rows + 1, dtype=np.int64) * 800,
        ngrams=np.concatenate(ngrams).astype(np.uint32),
        cues=random.random((rows, 40)).astype(np.float32),
        embedding=random.integers(-128, 128, (rows, 256)).astype(np.int8),
        tokens=random.integers(5, 2000, rows).astype(np.int32),
    )
    table = Outcomes(
        sample_id=tuple(f"mmlu-{row}" for row in random.permutation(rows)),
        task=("mmlu.subject",) * rows,
        models=("weak", "strong"),
        quality=random.integers(0, 2, (rows, 2)).astype(float),
        cost=None,
        latency=None,
        weight=np.ones(rows),
        group=random.integers(0, rows, rows),
        features=features,
    )
    path = tmp_path / "f.parquet"
    write_featurised(table, path, feature_spec=SPEC)
    assert path.stat().st_size <= 1.9e6
    assert same(table, read_outcomes([path]))


def test_featurised_and_plain_tables_join_when_the_plain_ones_are_featurised(
    tmp_path, write, make_outcomes, featurise
):
    path = tmp_path / "f.parquet"
    write_featurised(make_outcomes([[1, 0]], ["one"]), path, feature_spec=SPEC)
    plain = write({"sample_id": ["p"], "prompt": ["two words"], "a": [1.0]}, "plain.parquet")
    with pytest.raises(DataError, match=r"is featurised, plain.parquet is not; featurise the plain") as caught:
        read_outcomes([path, plain])
    assert caught.value.field == "features"
    table = read_outcomes([path, plain], featurise=featurise)
    assert table.sample_id == ("s0", "p")
    assert table.prompt is None
    expected = featurise(["one", "two words"])
    for field in dataclasses.fields(FeatureTable):
        np.testing.assert_array_equal(getattr(table.features, field.name), getattr(expected, field.name))


def test_other_specifications_are_refused(tmp_path, make_outcomes, refuse):
    one, two = tmp_path / "one.parquet", tmp_path / "two.parquet"
    write_featurised(make_outcomes([[1, 0]]), one, feature_spec=SPEC)
    write_featurised(make_outcomes([[1, 0]]), two, feature_spec='{"version": 2}')
    refuse([one, two], "features", "two.parquet", "otherwise than one.parquet", "featurise the table again")
    refuse([two], "features", '{"version": 2}', "featurise the table again", feature_spec=SPEC)
    assert len(read_outcomes([one], feature_spec=SPEC)) == 1


def test_plain_tables_have_no_specification(write):
    assert read_feature_spec(write({"prompt": ["p"], "a": [1.0]})) is None


def test_outcomes_without_features_or_to_another_format_are_refused(tmp_path, make_outcomes):
    with pytest.raises(DataError, match="featurise the outcomes"):
        write_featurised(make_outcomes([[1, 0]], features=None), tmp_path / "f.parquet", feature_spec=SPEC)
    with pytest.raises(DataError, match=r"\.parquet"):
        write_featurised(make_outcomes([[1, 0]]), tmp_path / "f.csv", feature_spec=SPEC)
    with pytest.raises(DataError, match="folder"):
        write_featurised(make_outcomes([[1, 0]]), tmp_path / "absent" / "f.parquet", feature_spec=SPEC)
    for name in ("weight", "a|b"):
        with pytest.raises(DataError, match="rename"):
            write_featurised(
                make_outcomes([[1, 0]], models=("a", name)), tmp_path / "f.parquet", feature_spec=SPEC
            )


@pytest.mark.parametrize("column", ["ngrams", "cues", "embedding", "tokens"])
def test_broken_features_are_refused(tmp_path, make_outcomes, refuse, column):
    path = tmp_path / "f.parquet"
    write_featurised(make_outcomes([[1, 0], [0, 1]]), path, feature_spec=SPEC)
    table = pq.read_table(path)
    name = f"features|{column}"
    place = table.schema.get_field_index(name)
    pq.write_table(table.remove_column(place), path)
    refuse([path], name, "no such column", "featurise the table again")
    pq.write_table(table.set_column(place, name, [["text", "text"]]), path)
    refuse([path], name, "broken", "featurise the table again")
    gap = table.column(name).combine_chunks().take(pa.array([0, None]))
    pq.write_table(table.set_column(place, name, gap), path)
    refuse([path], name, "broken")


def test_numbers_outside_their_space_are_refused(tmp_path, make_outcomes, refuse):
    path = tmp_path / "f.parquet"
    good = make_outcomes([[1, 0]], ["a few words"])
    features = good.features
    wrong = [
        ("features|ngrams", {"ngrams": features.ngrams + np.uint32(1 << 18)}),
        ("features|ngrams", {"ngrams": np.full_like(features.ngrams, 7)}),
        ("features|ngrams", {"ngrams": features.ngrams[::-1].copy()}),
        ("features|cues", {"cues": features.cues * np.float32(np.nan)}),
        ("features|tokens", {"tokens": features.tokens * -1}),
        ("features|embedding", {"embedding": features.embedding[:, :100]}),
    ]
    for column, change in wrong:
        broken = dataclasses.replace(good, features=dataclasses.replace(features, **change))
        write_featurised(broken, path, feature_spec=SPEC)
        refuse([path], column, "broken features in f.parquet")


def test_a_table_that_does_not_say_how_it_was_made_is_refused(tmp_path, make_outcomes, refuse):
    path = tmp_path / "f.parquet"
    write_featurised(make_outcomes([[1, 0]]), path, feature_spec=SPEC)
    pq.write_table(pq.read_table(path).replace_schema_metadata(None), path)
    refuse([path], "features", "does not say", "featurise the table again")


def test_tables_with_other_cues_do_not_join(tmp_path, make_outcomes, refuse):
    one, two = tmp_path / "one.parquet", tmp_path / "two.parquet"
    table = make_outcomes([[1, 0]])
    write_featurised(table, one, feature_spec=SPEC)
    wide = dataclasses.replace(table.features, cues=np.zeros((1, 9), np.float32))
    write_featurised(dataclasses.replace(table, sample_id=("z",), features=wide), two, feature_spec=SPEC)
    refuse([one, two], "features|cues", "3 cues in one.parquet, 9 in two.parquet")


def test_predicting_reads_features_without_labels(tmp_path, make_outcomes):
    path = tmp_path / "f.parquet"
    write_featurised(make_outcomes([[1, 0]]), path, feature_spec=SPEC)
    table = read_outcomes([path], require_quality=False)
    assert table.models == ()
    assert len(table.features) == 1


@pytest.mark.parametrize("changed", [{"spec": "1"}, {"spec": "2"}, {"cues": 5}])
def test_a_table_of_another_specification_is_refused(tmp_path, make_outcomes, refuse, changed):
    spec = json.dumps({**json.loads(_core.feature_spec()), **changed}, sort_keys=True)
    path = tmp_path / "before.parquet"
    features = _core.featurise(["Why does fog muffle a bell?"])
    write_featurised(make_outcomes([[1, 0]], features=features), path, feature_spec=spec)
    [(name, value)] = changed.items()
    refuse([path], "features", json.dumps({name: value})[1:-1], "featurise", feature_spec=_core.feature_spec())
