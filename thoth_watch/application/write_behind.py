"""Passes finished work to a background thread that writes all queued items together."""

from __future__ import annotations

from collections.abc import Callable
from queue import Queue
from threading import Thread
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")

QUEUE_SIZE = 64  # when it is full, `put` blocks


class WriteBehind(Generic[T]):
    """A background writer. Each write takes all items that were queued since the last one.

    Leaving the `with` waits until everything is written. An error ends the writer and is raised by
    the next `put` or at the end of the `with`.
    """

    def __init__(self, write: Callable[[list[T]], None], *, is_synchronous: bool = False) -> None:
        """is_synchronous: `put` writes the item itself, so that a kill loses no finished work."""
        self._write = write
        self._is_synchronous = is_synchronous
        self._queue: Queue[T | None] = Queue(QUEUE_SIZE)
        self._error: BaseException | None = None
        self._thread = Thread(target=self._work, name="write-behind", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._queue.put(None)
        self._thread.join()
        if self._error is not None:
            raise self._error

    def put(self, item: T) -> None:
        """Queue an item to be written."""
        if self._error is not None:
            raise self._error
        if self._is_synchronous:
            self._write([item])
        else:
            self._queue.put(item)

    def _work(self) -> None:
        is_over = False
        while not is_over:
            items = [self._queue.get()]
            while not self._queue.empty():
                items.append(self._queue.get())
            is_over = items[-1] is None
            if self._error is None:  # after an error, items are discarded
                try:
                    batch = [item for item in items if item is not None]
                    if batch:
                        self._write(batch)
                except BaseException as error:  # noqa: BLE001 - raised by `put`
                    self._error = error
