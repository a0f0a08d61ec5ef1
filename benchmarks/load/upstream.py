"""An upstream that costs as little as it can: fixed answers, no parsing but for where a request ends.

    python benchmarks/load/upstream.py PORT [MILLISECONDS PROMPT_TOKENS]

A whole answer comes after so many milliseconds, and says that the prompt had so many tokens: at once, and 30.
A request that says ``"stream":true`` gets 32 chunks at once; with ``"delay_ms":N`` as well, one every N
milliseconds; with ``"hold":true``, one and then nothing.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import msgspec
import uvloop

TEXT = (
    "Paris has been the capital of France for most of its history , since the kings of the tenth century "
    "made it their seat on the river Seine and it grew with them"
)
DELAY, PROMPT = (int(sys.argv[2]) / 1000, int(sys.argv[3])) if len(sys.argv) > 3 else (0.0, 30)
FRAME = {"id": "chatcmpl-1", "created": 1_700_000_000, "model": "stub"}
USAGE = {"usage": {"prompt_tokens": PROMPT, "completion_tokens": 32, "total_tokens": PROMPT + 32}}


def whole() -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}
    body = msgspec.json.encode({**FRAME, "object": "chat.completion", "choices": [choice], **USAGE})
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
    return head + body


def event(choices: list[object], **more: object) -> bytes:
    chunk = {**FRAME, "object": "chat.completion.chunk", "choices": choices, **more}
    return b"data: %b\n\n" % msgspec.json.encode(chunk)


def chunks() -> list[bytes]:
    """32 with a word each; the last one ends the stream."""
    events = [
        event([{"index": 0, "delta": {"content": f"{word} "}, "finish_reason": None}])
        for word in TEXT.split()[:32]
    ]
    events[-1] += event([], **USAGE) + b"data: [DONE]\n\n"
    return [b"%x\r\n%b\r\n" % (len(each), each) for each in events]


WHOLE = whole()
CHUNKS = chunks()
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"
AT_ONCE = STREAM_HEAD + b"".join(CHUNKS) + END


class Connection(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end].lower()
            start = head.find(b"content-length:") + 15
            length = int(head[start : (head + b"\r").find(b"\r", start)]) if start > 14 else 0
            if len(self.buffer) < end + 4 + length:
                return
            body = self.buffer[end + 4 : end + 4 + length]
            self.buffer = self.buffer[end + 4 + length :]
            self.answer(body)

    def answer(self, body: bytes) -> None:
        if b'"stream":true' not in body:
            if DELAY:
                asyncio.get_running_loop().call_later(DELAY, self.transport.write, WHOLE)
            else:
                self.transport.write(WHOLE)
        elif b'"hold":true' in body:
            self.transport.write(STREAM_HEAD + CHUNKS[0])
        elif (place := body.find(b'"delay_ms":')) >= 0:
            digits = body[place + 11 : place + 16].split(b",")[0].split(b"}")[0]
            self.transport.write(STREAM_HEAD + CHUNKS[0])
            self.next(1, int(digits) / 1000)
        else:
            self.transport.write(AT_ONCE)

    def next(self, number: int, delay: float) -> None:
        asyncio.get_running_loop().call_later(delay, self.send, number, delay)

    def send(self, number: int, delay: float) -> None:
        if self.transport.is_closing():
            return
        self.transport.write(CHUNKS[number])
        if number + 1 < len(CHUNKS):
            self.next(number + 1, delay)
        else:
            self.transport.write(END)


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(
        Connection, "127.0.0.1", int(sys.argv[1]), backlog=4096
    )
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
