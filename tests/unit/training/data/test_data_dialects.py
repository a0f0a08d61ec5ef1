"""Tables as people have them: every dialect of CSV, Excel's files, tables in memory, and what is no table."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
import warnings
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tiny_dancer.errors import DataError, MissingExtraError
from tiny_dancer.training.data import DataWarning, read_outcomes
from tiny_dancer.training.data.columns import parse_numbers, spelt_numbers

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tiny_dancer.types import Outcomes

NAN = float("nan")
ROWS: list[list[Any]] = [
    ["first", "Wie heißt es?", 1.0, 0.25],
    ["second", 'say "this; or that", please\nnow\t!', None, 0.5],
]
NAMES = ["sample_id", "prompt", "a", "b"]


def same(table: Outcomes) -> None:
    assert table.sample_id == ("first", "second")
    assert table.prompt == (ROWS[0][1], ROWS[1][1])
    assert table.models == ("a", "b")
    np.testing.assert_array_equal(table.quality, [[1.0, 0.25], [NAN, 0.5]])


def written(delimiter: str, *, comma: bool = False, quoting: int = csv.QUOTE_MINIMAL, line: str = "\r\n") -> str:
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter, quoting=quoting, lineterminator=line)  # type: ignore[arg-type]
    writer.writerow(NAMES)
    for row in ROWS:
        cells = ["" if value is None else str(value) for value in row]
        writer.writerow([*cells[:2], *(cell.replace(".", ",") if comma else cell for cell in cells[2:])])
    return file.getvalue()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".csv.gz"])
def test_delimiters_and_encodings(tmp_path: Path, encoding: str, delimiter: str, suffix: str) -> None:
    path = tmp_path / f"table{suffix}"
    data = written(delimiter).encode(encoding)
    path.write_bytes(gzip.compress(data) if suffix.endswith(".gz") else data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same(read_outcomes(path))


@pytest.mark.parametrize("delimiter", [";", "\t"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
@pytest.mark.parametrize("line", ["\n", "\r\n"])
def test_decimal_commas_where_they_do_not_separate(
    tmp_path: Path, delimiter: str, quoting: int, line: str
) -> None:
    path = tmp_path / "excel.csv"
    path.write_bytes(written(delimiter, comma=True, quoting=quoting, line=line).encode("utf-8-sig"))
    same(read_outcomes(path))


def test_a_column_with_commas_and_points_is_refused(tmp_path: Path, refuse: Callable[..., DataError]) -> None:
    path = tmp_path / "table.csv"
    path.write_text("prompt;a\nx;0,5\ny;0.5\n")
    refuse([path], "a", "'0,5'", "row row-0")
    path.write_text('prompt,a\nx,"0,5"\ny,"1,0"\n')
    refuse([path], "a", "'0,5'", "row row-0", "write quality as a number")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "^"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_excel_says_its_delimiter_in_a_line_of_its_own(tmp_path: Path, delimiter: str, encoding: str) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(f"sep={delimiter}\r\n{written(delimiter)}".encode(encoding))
    same(read_outcomes(path))


def test_excel_spells_truth_in_capitals_and_leaves_empty_rows(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(b"prompt;a;b\r\none;TRUE;FALSE\r\ntwo;FALSE;0,5\r\n;;\r\n;;\r\n")
    table = read_outcomes(path)
    assert table.prompt == ("one", "two")
    np.testing.assert_array_equal(table.quality, [[1, 0], [0, 0.5]])


@pytest.mark.parametrize("text", ["Où est le café à côté?", "Grüße, Straße", "it’s “good” – 5 €", "¿Qué año?"])
def test_windows_1252_is_read_with_a_warning(tmp_path: Path, text: str) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(f'prompt,a,b\n"{text}",1,0\nplain,0,1\n'.encode("cp1252"))
    with pytest.warns(DataWarning, match="Windows-1252"):
        table = read_outcomes(path)
    assert table.prompt == (text, "plain")


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Привет, мир", "cp1251"),
        ("Καλημέρα", "cp1253"),
        ("こんにちは", "shift-jis"),
        ("你好世界", "gb18030"),
        ("žluťoučký kůň", "cp1250"),
        ("źdźbło łąka", "cp1250"),
    ],
)
def test_what_may_be_another_encoding_is_not_guessed(
    tmp_path: Path, refuse: Callable[..., DataError], text: str, encoding: str
) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(b"prompt,a,b\nplain,0,1\n" + f'"{text}",1,0\n'.encode(encoding))
    refuse([path], "prompt", "row row-1", "UTF-8")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le"])
def test_json_lines_in_other_encodings(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "table.jsonl"
    records = [dict(zip(NAMES, row, strict=True)) for row in ROWS]
    path.write_bytes("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode(encoding))
    same(read_outcomes(path))


def test_a_json_list_of_objects(tmp_path: Path, refuse: Callable[..., DataError]) -> None:
    path = tmp_path / "table.json"
    records = [dict(zip(NAMES, row, strict=True)) for row in ROWS]
    path.write_text(json.dumps(records, indent=1))
    same(read_outcomes(path))
    path.write_text("\n".join(map(json.dumps, records)))
    same(read_outcomes(path))
    path.write_text(json.dumps([*records, 5]))
    refuse([path], "table.json item 3", "int")
    path.write_text(json.dumps(records)[:-5])
    refuse([path], "table.json", "JSON list")


# xlsx


@pytest.fixture
def workbook(tmp_path: Path) -> Callable[..., Path]:
    openpyxl = pytest.importorskip("openpyxl")

    def save(*sheets: list[list[Any]], name: str = "table.xlsx") -> Path:
        book = openpyxl.Workbook()
        book.remove(book.active)
        for rows in sheets:
            sheet = book.create_sheet()
            for row in rows:
                sheet.append(row)
        book.save(tmp_path / name)
        return tmp_path / name

    return save


def test_a_workbook_is_a_table(workbook: Callable[..., Path]) -> None:
    same(read_outcomes(workbook([NAMES, *ROWS, [None] * 4], [])))
    table = read_outcomes(
        workbook([["prompt", "a", "b", "when"], ["p", True, 1, date(2026, 1, 2)], ["q", False, 0.5, None]]),
        models=["a", "b"],
    )
    np.testing.assert_array_equal(table.quality, [[1, 1], [0, 0.5]])


def test_workbooks_that_are_no_table(
    workbook: Callable[..., Path], tmp_path: Path, refuse: Callable[..., DataError]
) -> None:
    refuse([workbook([NAMES, *ROWS], [["more"], ["cells"]])], "table", "2 sheets", "keep the one sheet")
    refuse([workbook([])], "table", "no sheet with cells")
    refuse([workbook([["prompt", "a", "a"], ["p", 1, 0]])], "a", "more than one column")
    refuse([workbook([["prompt", "a"], ["p", 0.5], ["q", "#N/A"]])], "a", "#N/A", "row row-1")
    path = workbook([NAMES, *ROWS])
    path.write_bytes(path.read_bytes()[:-200])
    refuse([path], "table", "no sound xlsx")
    path.write_bytes(b"prompt,a\np,1\n")
    refuse([path], "table", "no sound xlsx")


def test_a_workbook_without_its_extra_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "table.xlsx"
    path.write_bytes(b"anything")
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(MissingExtraError) as caught:
        read_outcomes(path)
    assert "tiny-dancer[xlsx]" in str(caught.value)


# Tables in memory


class Stream:
    """What polars and others are to us: something that has an Arrow stream, and nothing else."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.table.__arrow_c_stream__(requested_schema)


class Interchange:
    """An object of the older interchange protocol."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __dataframe__(self, nan_as_null: bool = False, allow_copy: bool = True) -> object:
        return self.table.__dataframe__(nan_as_null, allow_copy)


def tables() -> list[Any]:
    columns = {name: [row[place] for row in ROWS] for place, name in enumerate(NAMES)}
    frame = pd.DataFrame(columns)
    plain = pa.table(columns)
    views = pa.table(
        {
            name: plain[name].cast(pa.string_view()) if place < 2 else plain[name]
            for place, name in enumerate(NAMES)
        }
    )
    codes = pa.array(["first", "second"]).dictionary_encode()
    coded = pa.DictionaryArray.from_arrays(codes.indices, codes.dictionary.cast(pa.string_view()))
    shifted = pd.DataFrame(columns, index=pd.Index([7, 9], name="number"))
    categories = frame.astype({"sample_id": "category"})
    return [
        frame,
        shifted,
        categories,
        plain,
        plain.to_batches()[0],
        Stream(views),
        Stream(views.set_column(0, "sample_id", coded)),
        Stream(plain),
        Interchange(plain),
    ]


@pytest.mark.parametrize("place", range(9))
def test_tables_in_memory(place: int) -> None:
    table = tables()[place]
    models = ["a", "b"] if place == 1 else None  # its index is a column of numbers
    same(read_outcomes(table, models=models))
    same(read_outcomes([table], models=models))


def test_files_and_tables_in_memory_are_joined(write: Callable[..., Path]) -> None:
    frame = pd.DataFrame({"sample_id": ["x"], "prompt": ["one"], "a": [1.0]})
    table = read_outcomes([frame, write({"sample_id": ["y"], "prompt": ["two"], "a": [0.5]})])
    assert table.sample_id == ("x", "y")


def test_what_is_no_table_is_refused(refuse: Callable[..., DataError]) -> None:
    refuse([5], "table", "int", "DataFrame")
    refuse([{"prompt": ["p"], "a": [1]}], "table", "dict", "DataFrame")
    refuse([pd.DataFrame({"prompt": ["p", 5], "a": [1, 0]})], "table", "one type")
    refuse([pd.DataFrame([["p", 1, 0]], columns=["prompt", "a", "a"])], "table", "Duplicate", "a name of its own")
    refuse([pa.Table.from_arrays([pa.array(["p"])] * 2, ["prompt", "prompt"])], "prompt", "more than one column")
    refuse([pd.DataFrame({"text": ["p"], "a": [1]})], "prompt", "'text'", "the DataFrame")


# What every cell means


cell = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True).map(repr),
    st.integers(-(10**9), 10**9).map(str),
    st.sampled_from(
        ["", " ", "nan", "NA", "None", "true", " FALSE ", "+1", "1.", ".5", "1_0", "0x1", "1e400", "-", "."]
    ),
    st.sampled_from(["1,5", "٣", "½", "1 ", "\t2", "Infinity", "-inf", "1e", "e5", "--1", "\u00a01", "1\n"]),
    st.text(max_size=6).filter(lambda text: "\x00" not in text),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(st.none(), cell), max_size=12))
def test_columns_of_numbers_are_read_as_one_by_one(cells: list[str | None]) -> None:
    column = pa.array(
        [None if text is None else text.encode("utf-8", "surrogatepass") for text in cells], pa.binary()
    )
    try:
        column.cast(pa.string())
    except pa.ArrowInvalid:
        return
    expected, found = parse_numbers(cells), spelt_numbers(column, decimal_comma=False)
    np.testing.assert_array_equal(found.values, expected.values)
    assert found.bad == expected.bad


dialects = st.tuples(
    st.sampled_from([",", ";", "\t"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)
words = st.text(st.characters(codec="utf-8", exclude_characters="\r\x00"), min_size=1, max_size=20).filter(
    str.strip
)
score = st.one_of(st.none(), st.floats(0, 1))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(words, score, score), min_size=1, max_size=6), dialect=dialects)
def test_csv_round_trips_in_every_dialect(
    tmp_path: Path, rows: list[tuple[str, float | None, float | None]], dialect: tuple[str, str, Any, str, bool]
) -> None:
    delimiter, encoding, quoting, line, comma = dialect
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter, quoting=quoting, lineterminator=line)
    writer.writerow(["prompt", "gpt-4", "claude-3"])
    for prompt, *scores in rows:
        spelt = ["" if value is None else repr(value) for value in scores]
        writer.writerow(
            [prompt, *(each.replace(".", ",") if comma and delimiter != "," else each for each in spelt)]
        )
    path = tmp_path / "table.csv"
    path.write_bytes(file.getvalue().encode(encoding))
    expected = [[NAN if value is None else value for value in scores] for _, *scores in rows]
    if np.isnan(expected).all():
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        table = read_outcomes(path, models=["gpt-4", "claude-3"])
    assert table.prompt == tuple(prompt for prompt, *_ in rows)
    np.testing.assert_array_equal(table.quality, expected)


# Names as people write them


def test_blanks_around_names_are_no_part_of_them(tmp_path: Path, workbook: Callable[..., Path]) -> None:
    header = [" prompt", " gpt-4 ", "gpt-4 | total_cost", " group", " weight"]
    cells: list[list[Any]] = [["p", 0.5, 0.25, "g", 2], ["q", 1, 0.5, "g", 1]]
    path = tmp_path / "padded.csv"
    path.write_text("\n".join(",".join(map(str, row)) for row in [header, *cells]))
    frame = pd.DataFrame(cells, columns=header)
    for table in (path, workbook([header, *cells]), frame):
        found = read_outcomes(table)
        assert found.models == ("gpt-4",)
        assert found.cost is not None
        np.testing.assert_array_equal(found.cost, [[0.25], [0.5]])
        np.testing.assert_array_equal(found.weight, [2, 1])
        assert found.group[0] == found.group[1]


def test_names_that_are_one_without_their_blanks_are_refused(refuse: Callable[..., DataError]) -> None:
    refuse([pd.DataFrame([["p", 1, 0]], columns=["prompt", "a", "a "])], "a", "more than one column")


def test_blanks_around_the_models_of_a_long_table_are_no_part_of_them() -> None:
    cells = [["p", "a", 1.0], ["p", " b", 0.0], ["q", "a ", 0.5], ["q", "b", 1.0]]
    found = read_outcomes(pd.DataFrame(cells, columns=["prompt", "model", "score"]))
    assert found.models == ("a", "b")
    np.testing.assert_array_equal(found.quality, [[1, 0], [0.5, 1]])


@pytest.mark.filterwarnings("error")
def test_a_call_without_a_score_does_not_count_beside_one_that_has_one() -> None:
    columns = ["prompt", "model", "score", "cost", "latency_s"]
    cells = [
        ["p", "a", None, 0.0, 9.0],
        ["p", "a", 1.0, 0.5, 1.0],
        ["p", "b", 0.0, 0.25, 2.0],
        ["q", "a", None, 0.75, 3.0],
        ["q", "b", 1.0, 0.25, 2.0],
    ]
    found = read_outcomes(pd.DataFrame(cells, columns=columns))
    np.testing.assert_array_equal(found.quality, [[1, 0], [np.nan, 1]])
    np.testing.assert_array_equal(found.cost, [[0.5, 0.25], [0.75, 0.25]])
    np.testing.assert_array_equal(found.latency, [[1, 2], [3, 2]])


# Several tables of one name


def test_tables_of_one_name_are_joined(tmp_path: Path) -> None:
    paths = []
    for folder in ("monday", "tuesday"):
        (tmp_path / folder).mkdir()
        paths.append(tmp_path / folder / "outcomes.csv")
        paths[-1].write_text(f"prompt,a\n{folder} one,1\n{folder} two,0\n")
    frames = [pd.read_csv(path) for path in paths]
    long = pd.DataFrame({"prompt": ["x", "y"], "model": ["a", "a"], "score": [1.0, 0.0]})
    for tables in (paths, frames, [long, *frames]):
        found = read_outcomes(tables)
        assert len(set(found.sample_id)) == 2 * len(tables)


def test_the_same_table_twice_is_refused(tmp_path: Path, refuse: Callable[..., DataError]) -> None:
    path = tmp_path / "outcomes.csv"
    path.write_text("prompt,a\np,1\n")
    refuse([path, tmp_path / "." / "outcomes.csv"], "sample_id", "is twice in")
    frame = pd.read_csv(path)
    refuse([frame, frame], "sample_id", "is twice in")
