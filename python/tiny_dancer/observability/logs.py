"""One JSON line per request, and the process's own messages as JSON lines.

Nothing here raises into the thread that keeps the accounts: a line that cannot be written is counted, and lost.
"""

from __future__ import annotations

import logging
import os
import select
import stat
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tiny_dancer.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tiny_dancer.types import RequestRecord

_logger = logging.getLogger(__name__)
_ENCODER = msgspec.json.Encoder()
# POSIX keeps a write of up to PIPE_BUF bytes to a pipe together; a longer one may be mixed with other processes'.
_TOGETHER = select.PIPE_BUF
_PATIENCE = 1.0  # seconds a batch waits for a slow reader


class RequestLog:
    """Writes requests down, one JSON object a line, with the fields of :class:`~tiny_dancer.types.RequestRecord`.

    A file is appended to, readable for its owner only, and opened anew once it has been moved or removed, so that
    it can be rotated. Several processes may share one: a batch is one write. To pipes and sockets it is several
    small ones that do not mix with those of other processes, and a reader that is too slow loses lines rather than
    stop the gateway. Use it from one thread.
    """

    def __init__(
        self, target: str, *, folder: Path | None = None, on_loss: Callable[[int], None] | None = None
    ) -> None:
        """Opens the log.

        Args:
            target: ``stdout``, ``stderr``, ``off`` or a file.
            folder: where a relative file starts; None: the working directory.
            on_loss: is told how many lines were lost: the disk is full, the reader gone or too slow.

        Raises:
            ConfigError: it cannot be opened.
        """
        self._on_loss = on_loss
        self._path: Path | None = None
        self._descriptor = -1
        self._regular = False
        self._off = target == "off"
        self._torn = False
        self._failing = False
        try:
            if target in ("stdout", "stderr"):
                self._use_stream(target)
            elif not self._off:
                self._path = (folder or Path()) / target
                self._open(self._path)
        except OSError as error:
            remedy = f"give a file that can be written, stdout, stderr or off ({error.strerror or error})"
            raise ConfigError("log.requests", target, remedy) from error

    def write(self, records: Sequence[RequestRecord]) -> None:
        """Appends a line for each. Never raises: what could not be written is lost."""
        if self._off or not records:
            return
        try:
            data, lost = _ENCODER.encode_lines(records), 0
        except ValueError:
            data, lost = _encode_each(records)
        start, problem = 0, ""
        try:
            if self._path is not None:
                self._follow(self._path)
            if self._torn:
                data = b"\n" + data
            deadline = time.monotonic() + _PATIENCE
            while start < len(data):
                if self._regular:
                    end = len(data)
                elif self._writable(deadline):
                    end = _line_end(data, start)
                else:
                    problem = "its reader is too slow"
                    break
                start += os.write(self._descriptor, memoryview(data)[start:end])
        except OSError as error:
            problem = error.strerror or str(error)
        if start:
            self._torn = data[start - 1 : start] != b"\n"
        if problem and not self._failing:
            _logger.error("request log: lines are lost", extra={"reason": problem})
        self._failing = bool(problem)
        lost = min(lost + data.count(b"\n", start), len(records))
        if lost and self._on_loss is not None:
            self._on_loss(lost)

    def close(self) -> None:
        """Closes the log; the standard streams themselves stay open."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1
        self._off = True

    def _use_stream(self, name: str) -> None:
        # Python leaves the stream None where the process was started without it. Its number may then be a file's
        # that was opened since: the database.
        if getattr(sys, f"__{name}__") is None:
            raise OSError(f"this process has no {name}")
        self._use(os.dup(1 if name == "stdout" else 2))

    def _open(self, path: Path) -> None:
        # Not blocking: a named pipe that nobody reads is refused instead of waited for.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
        self._use(os.open(path, flags, 0o600))

    def _use(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._regular = stat.S_ISREG(os.fstat(descriptor).st_mode)

    def _follow(self, path: Path) -> None:
        """Opens the file anew where its name stands for another one now, or for none."""
        if self._descriptor >= 0:
            with suppress(FileNotFoundError):
                if os.path.samestat(path.stat(), os.fstat(self._descriptor)):
                    return
            os.close(self._descriptor)
            self._descriptor = -1
        self._open(path)
        self._torn = False

    def _writable(self, deadline: float) -> bool:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        return bool(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))


def configure(*, json: bool = True, level: int = logging.INFO) -> None:
    """Has every logger of the process write to standard error, for programs; a library leaves logging alone.

    What a caller passes as ``extra`` becomes fields of the line.

    Args:
        json: one JSON object a line (``time``, ``level``, ``logger``, ``message``, ``error``); else plain text.
        level: of the least important message written.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter() if json else _TextFormatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=level, handlers=[handler], force=True)


_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}


def _extra(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        milliseconds = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{record.msecs:03.0f}Z"
        line: dict[str, object] = {
            "time": milliseconds,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "process": record.process,
            **_extra(record),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return msgspec.json.encode(_clean(line), enc_hook=str).decode()


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{name}={value}" for name, value in _extra(record).items())
        return f"{super().format(record)} {fields}".rstrip()


def _clean(value: object) -> object:
    """Without what JSON in UTF-8 cannot say: lone surrogates, which stand for undecodable bytes of file names."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {str(_clean(key)): _clean(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_clean(item) for item in value]
    return value


def _encode_each(records: Sequence[RequestRecord]) -> tuple[bytes, int]:
    """The lines of those records that can be encoded, and how many cannot."""
    lines = []
    for record in records:
        with suppress(ValueError):
            lines.append(_ENCODER.encode(record) + b"\n")
    return b"".join(lines), len(records) - len(lines)


def _line_end(data: bytes, start: int) -> int:
    """Where the last line ends that can be written together with the first one from here."""
    end = data.rfind(b"\n", start, start + _TOGETHER)
    return (data.find(b"\n", start) if end < 0 else end) + 1
