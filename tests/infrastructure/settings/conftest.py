from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from thoth_watch.domain.errors import ConfigError
from thoth_watch.infrastructure.settings import Settings, load


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Settings]:
    """Return a function that loads a configuration from text, with environment and flags by keyword."""

    def read_(text: str, *, environ: dict | None = None, flags: dict | None = None) -> Settings:
        path = tmp_path / "config.yaml"
        path.write_text(text)
        return load(path, flags or {}, environ or {})

    return read_


@pytest.fixture
def config_error(read: Callable[..., Settings], tmp_path: Path) -> Callable[..., str]:
    """Return a function that returns the ConfigError of a configuration, without the folder name."""

    def config_error_(text: str, **layers: dict) -> str:
        with pytest.raises(ConfigError) as error:
            read(text, **layers)
        return str(error.value).replace(f"{tmp_path}/", "")

    return config_error_
