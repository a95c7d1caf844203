"""How many windows share a forward pass: as asked, fewer where memory runs out, more again with care."""

from __future__ import annotations

PATIENCE = 32  # full passes that go well before a larger one is tried

_TOO_MANY: dict[
    tuple[str, str], int
] = {}  # by model and device: what this process knows not to fit


class BatchSize:
    """The size of the next forward pass, at most what was asked for."""

    def __init__(self, asked: int, *, remembered_as: tuple[str, str] | None = None) -> None:
        """remembered_as: model and device, where another engine of this process begins with what was learnt."""
        self._key = remembered_as
        known = asked + 1 if remembered_as is None else _TOO_MANY.get(remembered_as, asked + 1)
        self._too_many = min(asked + 1, known)
        self._good = self._well = 0
        self.now = asked if self._too_many > asked else max(1, self._too_many // 2)

    def failed(self, n_windows: int) -> None:
        """A pass of so many windows, two or more, was too large: half of it, or what has gone well."""
        self._too_many = min(self._too_many, n_windows)
        if self._key is not None:
            _TOO_MANY[self._key] = self._too_many
        if self._good >= n_windows:  # there is less memory than there was
            self._good = 0
        self.now = min(self.now, max((n_windows + 1) // 2, self._good))
        self._well = 0

    def went_well(self, n_windows: int) -> None:
        """A pass went well. After enough full ones the next is halfway to what was too large."""
        if n_windows < self.now:
            return
        self._good, self._well = max(self._good, n_windows), self._well + 1
        if self._well >= PATIENCE:
            self.now += (self._too_many - self.now) // 2
            self._well = 0
