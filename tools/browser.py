"""A headless Chromium, driven by its own protocol over two pipes: for tests of pages, and pictures of them.

Nothing is installed for it but the browser. https://chromedevtools.github.io/devtools-protocol/ lists the methods.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import tempfile
import time
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome")
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-default-apps", "--disable-extensions",
    "--hide-scrollbars", "--force-color-profile=srgb", "--remote-debugging-pipe",
)  # fmt: skip
PATIENCE = 60.0
_KEYS = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32, "ArrowLeft": 37, "ArrowRight": 39}


def find_browser() -> str | None:
    """The browser of this machine; None where there is none."""
    named = os.environ.get("TINY_DANCER_BROWSER")
    return named or next((found for name in NAMES if (found := shutil.which(name))), None)


class PageError(Exception):
    """The page, or the browser, did not do what it was told to."""


class Browser:
    """One browser with one page.

    Attributes:
        requests: addresses the page asked for.
        problems: what it wrote to its console as warning or error, and exceptions nobody caught.
    """

    def __init__(self, executable: str) -> None:
        """Starts it with a profile of its own, which is removed in the end."""
        self._profile = tempfile.TemporaryDirectory(prefix="tiny-dancer-browser-", ignore_cleanup_errors=True)
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()
        # The protocol is on descriptors 3 and 4: moved up first, so that neither stands where the other goes.
        theirs = [fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, 10) for each in (to_browser, from_browser)]
        quiet = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in range(3)]
        moved = [(os.POSIX_SPAWN_DUP2, each, number) for number, each in enumerate(theirs, 3)]
        self._process = os.posix_spawn(
            executable,
            [executable, *_FLAGS, f"--user-data-dir={self._profile.name}", "about:blank"],
            os.environ,
            file_actions=[*quiet, *moved],
        )
        for each in (to_browser, from_browser, *theirs):
            os.close(each)
        self._buffer = b""
        self._number = 0
        self._session: str | None = None
        self._events: list[dict[str, Any]] = []
        self.requests: list[str] = []
        self.problems: list[str] = []
        target = next(each for each in self.do("Target.getTargets")["targetInfos"] if each["type"] == "page")
        self._session = self.do("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.do(f"{domain}.enable")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._session = None
        with contextlib.suppress(PageError):
            self.do("Browser.close")
        end = time.monotonic() + PATIENCE
        while not os.waitpid(self._process, os.WNOHANG)[0]:
            if time.monotonic() > end:
                os.kill(self._process, signal.SIGKILL)
            time.sleep(0.02)
        os.close(self._write)
        os.close(self._read)
        self._profile.cleanup()

    def do(self, method: str, **parameters: Any) -> dict[str, Any]:
        """What a method of the protocol answers.

        Raises:
            PageError: the browser refuses, is gone, or does not answer.
        """
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        try:
            os.write(self._write, json.dumps(message).encode() + b"\0")
        except OSError as error:
            raise PageError(f"the browser is gone: {error}") from None
        end = time.monotonic() + PATIENCE
        while True:
            found = self._receive(end, method)
            if found.get("id") == self._number:
                if "error" in found:
                    raise PageError(f"{method}: {found['error']['message']}")
                answer: dict[str, Any] = found["result"]
                return answer

    def _receive(self, end: float, what: str) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            if not select.select([self._read], [], [], max(end - time.monotonic(), 0))[0]:
                raise PageError(f"{what}: no answer in {PATIENCE:g} s")
            some = os.read(self._read, 1 << 20)
            if not some:
                raise PageError(f"{what}: the browser has ended")
            self._buffer += some
        line, _, self._buffer = self._buffer.partition(b"\0")
        found: dict[str, Any] = json.loads(line)
        self._note(found.get("method"), found.get("params", {}))
        return found

    def _note(self, event: str | None, what: dict[str, Any]) -> None:
        if event == "Network.requestWillBeSent":
            self.requests.append(what["request"]["url"])
        elif event == "Runtime.exceptionThrown":
            details = what["exceptionDetails"]
            self.problems.append(details.get("exception", {}).get("description") or details["text"])
        elif event == "Runtime.consoleAPICalled" and what["type"] in ("error", "warning", "assert"):
            self.problems.append(" ".join(str(each.get("value")) for each in what["args"]))
        elif event == "Log.entryAdded" and what["entry"]["level"] in ("error", "warning"):
            self.problems.append(f"{what['entry']['text']} {what['entry'].get('url', '')}")

    def go(self, url: str) -> None:
        """Opens a page, and waits until it is loaded."""
        found = self.do("Page.navigate", url=url)
        if found.get("errorText"):
            raise PageError(f"{url}: {found['errorText']}")
        self.until("document.readyState === 'complete'")

    def value(self, expression: str) -> Any:
        """What an expression is, in the page; a promise is waited for.

        Raises:
            PageError: it throws.
        """
        found = self.do("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            details = found["exceptionDetails"]
            raise PageError(details.get("exception", {}).get("description") or details["text"])
        return found["result"].get("value")

    def until(self, expression: str, seconds: float = PATIENCE) -> Any:
        """Waits until an expression is true in the page.

        Raises:
            PageError: it is not in time.
        """
        end = time.monotonic() + seconds
        while True:
            try:
                if found := self.value(expression):
                    return found
            except PageError as error:
                # A page that is being left has no context for a moment.
                if "context" not in str(error) and "navigat" not in str(error):
                    raise
            if time.monotonic() > end:
                raise PageError(f"not in {seconds:g} s: {expression}")
            time.sleep(0.02)

    def size(self, width: int, height: int = 900, scale: float = 1.0) -> None:
        """Of the window, in CSS pixels."""
        self.do(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=False
        )

    def media(self, **features: str) -> None:
        """What the page is told of its user: ``prefers_color_scheme="dark"``."""
        named = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.do("Emulation.setEmulatedMedia", features=named)

    def press(self, key: str) -> None:
        """A key, down and up."""
        text = {"Enter": "\r", " ": " "}.get(key)
        more = {"key": key, "windowsVirtualKeyCode": _KEYS[key], "code": "Space" if key == " " else key}
        self.do(
            "Input.dispatchKeyEvent",
            type="keyDown" if text else "rawKeyDown",
            **more,
            **({"text": text} if text else {}),
        )
        self.do("Input.dispatchKeyEvent", type="keyUp", **more)

    def type(self, text: str) -> None:
        """Types into what has the focus."""
        self.do("Input.insertText", text=text)

    def picture(self, *, whole: bool = False, kind: str = "png", quality: int | None = None) -> bytes:
        """What the window shows, or the whole page, as ``png``, ``webp`` or ``jpeg``."""
        more: dict[str, Any] = {} if quality is None else {"quality": quality}
        if whole:
            size = self.do("Page.getLayoutMetrics")["cssContentSize"]
            more["clip"] = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
            more["captureBeyondViewport"] = True
        return base64.b64decode(self.do("Page.captureScreenshot", format=kind, **more)["data"])


def write(path: Path, picture: bytes) -> None:
    """Writes a picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(picture)
