"""Settings that all tests share."""

from __future__ import annotations

from hypothesis import settings

# machines are shared: no deadline; the same examples every time
settings.register_profile("thoth", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("thoth")
