"""Hands finished work to a thread that writes it, all that has come together at once, while others go on."""

from __future__ import annotations

from collections.abc import Callable
from queue import Queue
from threading import Thread
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")

QUEUE_SIZE = 64  # then whoever hands over waits


class WriteBehind(Generic[T]):
    """A writer that takes what has come since its last turn: one item when they come slowly, many in a flood.

    Leaving the `with` waits until all is written. What the writer raises ends it, and is raised to whoever
    hands over next, or at the end.
    """

    def __init__(self, write: Callable[[list[T]], None], *, is_synchronous: bool = False) -> None:
        """at_once: whoever hands over waits until it is written, and a kill costs no finished work."""
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
        """Hand something over to be written."""
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
            if self._error is None:  # else they are only taken away
                try:
                    some = [item for item in items if item is not None]
                    if some:
                        self._write(some)
                except BaseException as error:  # noqa: BLE001 - raised in the thread that hands over
                    self._error = error
