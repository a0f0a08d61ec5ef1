"""Storage in this process's memory."""

from tiny_dancer.storage.memory.storage import MemoryStorage

__all__ = ["MemoryStorage"]
