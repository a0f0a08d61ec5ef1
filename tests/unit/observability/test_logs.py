"""Every request leaves one line that programs can read, and a log that cannot be written stops nothing."""

from __future__ import annotations

import json
import os
import select
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.observability.records import RECORDS, record

from tiny_dancer.errors import ConfigError
from tiny_dancer.observability import logs
from tiny_dancer.observability.logs import RequestLog

if TYPE_CHECKING:
    from tiny_dancer.types import RequestRecord

ROOT = Path(__file__).resolve().parents[3]


class Loss(list[int]):
    """Called with the lines that were lost."""

    def __call__(self, lines: int) -> None:
        self.append(lines)


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def run(program: str, **options: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        timeout=120,
        **options,  # type: ignore[call-overload]
    )


@given(st.lists(RECORDS, max_size=10))
def test_a_line_holds_the_record(records: list[RequestRecord]) -> None:
    reader, writer = os.pipe()
    try:
        log = RequestLog(f"/dev/fd/{writer}")
        for half in (records[:5], records[5:]):
            log.write(half)
        log.close()
        os.close(writer)
        with os.fdopen(reader, "rb", closefd=False) as found:
            decoded = [json.loads(line) for line in found]
    finally:
        os.close(reader)
    assert decoded == [json.loads(msgspec.json.encode(one)) for one in records]


def test_prompts_are_only_there_where_they_are_kept(tmp_path: Path) -> None:
    log = RequestLog("requests.log", folder=tmp_path)
    log.write([record(query_hash="abc"), record(query_text="two\nlines ☃")])
    plain, kept = lines(tmp_path / "requests.log")
    assert (plain["query_hash"], plain["query_text"]) == ("abc", None)
    assert kept["query_text"] == "two\nlines ☃"
    assert stat.S_IMODE((tmp_path / "requests.log").stat().st_mode) == 0o600
    log.close()


def test_a_line_says_which_artifact_and_variant_decided(tmp_path: Path) -> None:
    log = RequestLog("requests.log", folder=tmp_path)
    log.write([record(artifact_version="1.2.3", variant="challenger"), record()])
    log.close()
    decided, plain = lines(tmp_path / "requests.log")
    assert (decided["artifact_version"], decided["variant"]) == ("1.2.3", "challenger")
    assert (plain["artifact_version"], plain["variant"]) == ("", "")


def test_a_rotated_file_is_left(tmp_path: Path) -> None:
    path = tmp_path / "requests.log"
    log = RequestLog(str(path))
    log.write([record(id="before")])
    path.rename(tmp_path / "requests.log.1")
    log.write([record(id="moved")])
    path.unlink()
    log.write([record(id="removed")])
    assert [line["id"] for line in lines(path)] == ["removed"]
    os.truncate(path, 0)
    log.write([record(id="truncated")])
    assert [line["id"] for line in lines(path)] == ["truncated"]
    assert [line["id"] for line in lines(tmp_path / "requests.log.1")] == ["before"]
    log.close()


def test_a_folder_that_is_gone_for_a_while(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder, loss = tmp_path / "logs", Loss()
    folder.mkdir()
    log = RequestLog("requests.log", folder=folder, on_loss=loss)
    (folder / "requests.log").unlink()
    folder.rmdir()
    for _ in range(3):
        log.write([record(), record()])
    assert loss == [2, 2, 2]
    assert len(caplog.records) == 1  # said once, not for every batch
    folder.mkdir()
    log.write([record(id="again")])
    assert [line["id"] for line in lines(folder / "requests.log")] == ["again"]
    log.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_counted() -> None:
    loss = Loss()
    log = RequestLog("/dev/full", on_loss=loss)
    log.write([record()] * 50)
    assert loss == [50]
    log.close()


def test_a_line_cut_by_a_full_disk_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "requests.log"
    program = f"""
import resource
from tests.unit.observability.records import record
from tiny_dancer.observability.logs import RequestLog

loss = []
log = RequestLog({str(path)!r}, on_loss=loss.append)
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
log.write([record(id=str(n)) for n in range(10)])
log.write([record(id="lost")])
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
log.write([record(id="whole")])
print(loss)
"""
    finished = run(program)
    assert finished.returncode == 0, finished.stderr
    *early, torn, last = path.read_text().splitlines()
    assert [json.loads(line)["id"] for line in early] == [str(n) for n in range(len(early))]
    with pytest.raises(json.JSONDecodeError):
        json.loads(torn)
    assert json.loads(last)["id"] == "whole"
    assert json.loads(finished.stdout) == [10 - len(early), 1]


def test_a_reader_that_went_away_is_counted() -> None:
    reader, writer = os.pipe()
    loss = Loss()
    log = RequestLog(f"/dev/fd/{writer}", on_loss=loss)
    os.close(reader)
    log.write([record()] * 3)
    assert loss == [3]
    log.close()
    os.close(writer)


def test_a_slow_reader_loses_lines_and_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_PATIENCE", 0.0)
    reader, writer = os.pipe()
    loss = Loss()
    log = RequestLog(f"/dev/fd/{writer}", on_loss=loss)
    written = 10_000
    log.write([record(id=str(n)) for n in range(written)])
    assert 0 < sum(loss) < written
    found = os.read(reader, 1 << 24).splitlines()
    assert [json.loads(line)["id"] for line in found] == [str(n) for n in range(written - sum(loss))]
    log.write([record(id="again")])
    assert json.loads(os.read(reader, 1 << 16))["id"] == "again"
    log.close()
    for descriptor in (reader, writer):
        os.close(descriptor)


def test_lines_of_several_processes_are_not_mixed() -> None:
    program = """
import sys
from tests.unit.observability.records import record
from tiny_dancer.observability.logs import RequestLog

log = RequestLog("stdout", on_loss=lambda lines: sys.exit(f"{lines} lost"))
for batch in range(40):
    log.write([record(id=f"{sys.argv[1]}-{batch}-{n}", reason="x" * n) for n in range(50)])
"""
    reader, writer = os.pipe()
    processes = [
        subprocess.Popen([sys.executable, "-c", program, name], cwd=ROOT, stdout=writer)
        for name in ("a", "b", "c")
    ]
    os.close(writer)
    with os.fdopen(reader, "rb") as found:
        ids = [json.loads(line)["id"] for line in found]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    for name in ("a", "b", "c"):
        mine = [identity for identity in ids if identity.startswith(name)]
        assert mine == [f"{name}-{batch}-{n}" for batch in range(40) for n in range(50)]


def test_a_line_longer_than_a_pipe_takes_at_once_arrives_whole() -> None:
    reader, writer = os.pipe()
    log = RequestLog(f"/dev/fd/{writer}")
    log.write([record(id="1"), record(query_text="x" * 3 * select.PIPE_BUF), record(id="3")])
    found = os.read(reader, 1 << 16).splitlines()
    assert [len(json.loads(line)["query_text"] or "") for line in found] == [0, 3 * select.PIPE_BUF, 0]
    log.close()
    for descriptor in (reader, writer):
        os.close(descriptor)


def test_what_is_no_text_costs_only_its_own_line(tmp_path: Path) -> None:
    loss = Loss()
    log = RequestLog("requests.log", folder=tmp_path, on_loss=loss)
    log.write([record(id="1"), record(asked="\ud800"), record(id="3")])
    assert [line["id"] for line in lines(tmp_path / "requests.log")] == ["1", "3"]
    assert loss == [1]
    log.close()


def test_standard_streams_and_off(capfd: pytest.CaptureFixture[str]) -> None:
    for target in ("stdout", "stderr", "off"):
        log = RequestLog(target)
        log.write([record(id=target)])
        log.close()
        log.write([record(id="closed")])
    out, err = capfd.readouterr()
    assert [json.loads(line)["id"] for line in out.splitlines()] == ["stdout"]
    assert [json.loads(line)["id"] for line in err.splitlines()] == ["stderr"]


def test_a_log_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "unread")
    for target in (".", "missing/requests.log", "unread"):
        with pytest.raises(ConfigError, match=r"log\.requests: .*; give a file"):
            RequestLog(target, folder=tmp_path)


def test_a_process_without_standard_output_writes_to_no_other_file(tmp_path: Path) -> None:
    program = f"""
import os
os.close(1)
os.execv({sys.executable!r}, [{sys.executable!r}, "-c", '''
from tests.unit.observability.records import record
from tiny_dancer.errors import ConfigError
from tiny_dancer.observability.logs import RequestLog
with open({str(tmp_path / "database")!r}, "wb"):
    try:
        RequestLog("stdout").write([record()])
    except ConfigError:
        raise SystemExit(7)
'''])
"""
    assert run(program).returncode == 7
    assert (tmp_path / "database").read_bytes() == b""


MESSAGES = """
import logging
from pathlib import Path
from tiny_dancer.observability import logs

logs.configure(json={json})
logger = logging.getLogger("tiny_dancer.gateway")
logger.info("gateway serves on %s", "127.0.0.1:8000", extra={{"models": ("a", "b"), "folder": Path("x"), "n": 3}})
logger.debug("unseen")
logger.warning("odd \\ud800 text", extra={{"name_of": "\\ud800", "set": {{"\\ud800"}}}})
try:
    raise ValueError("first line\\nsecond line")
except ValueError:
    logging.getLogger("elsewhere").exception("failed")
"""


def test_messages_are_json_lines() -> None:
    finished = run(MESSAGES.format(json=True))
    started, odd, failed = [json.loads(line) for line in finished.stderr.splitlines()]
    assert started.pop("time").endswith("Z")
    assert isinstance(started.pop("process"), int)
    assert started == {
        "level": "info",
        "logger": "tiny_dancer.gateway",
        "message": "gateway serves on 127.0.0.1:8000",
        "models": ["a", "b"],
        "folder": "x",
        "n": 3,
    }
    assert (odd["level"], odd["message"], odd["set"]) == ("warning", "odd \\ud800 text", ["\\ud800"])
    assert (failed["logger"], failed["level"], failed["message"]) == ("elsewhere", "error", "failed")
    assert "ValueError: first line\nsecond line" in failed["error"]
    assert finished.stdout == b""


def test_messages_as_text() -> None:
    first, *_ = run(MESSAGES.format(json=False)).stderr.decode().splitlines()
    assert first.endswith("INFO gateway serves on 127.0.0.1:8000 models=('a', 'b') folder=x n=3")
