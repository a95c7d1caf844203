"""compose.yaml uses only commands, keys, services and extras that exist."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from thoth_watch.cli import COMMANDS
from thoth_watch.infrastructure.settings import environment_names, load

ROOT = Path(__file__).parents[2]


@pytest.fixture
def services() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]


def test_dispatcher_and_workers_share_a_valid_configuration(
    services: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: object())  # the image has the extras
    environment = services["dispatcher"]["environment"]
    assert services["worker"]["environment"] == environment
    assert set(environment) <= set(environment_names())
    settings = load(None, {}, environment)
    assert settings.dispatch.is_celery
    host = re.search(r"@(\w+)[:/]", settings.ledger_url)
    broker = re.search(r"@(\w+)[:/]", settings.dispatch.broker or "")
    assert host is not None
    assert broker is not None
    assert {host[1], broker[1]} < set(services)


def test_its_commands_and_extras_exist(services: dict[str, Any]) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    for name, service in services.items():
        if "build" in service:
            assert service["command"][0] in COMMANDS, name
            assert set(service["build"]["args"]["EXTRAS"].split(",")) <= set(extras)
    assert "ARG EXTRAS=" in (ROOT / "Containerfile").read_text()
