"""Tests of the hub probe: one connection attempt, where huggingface_hub would retry for 30 s."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from huggingface_hub import constants

from thoth_watch.domain.errors import EngineUnavailable
from thoth_watch.infrastructure.models import check_hub, pull


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A hub that accepts connections; the environment sets neither a proxy nor offline mode."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        number = server.getsockname()[1]
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{number}")
        server.settimeout(20)
        yield server


def close_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Point the hub at a port that refuses connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        number = server.getsockname()[1]
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{number}")


def test_the_check_passes_if_the_hub_accepts_a_connection(hub: socket.socket):
    check_hub("openai/whisper-small")

    connection, (address, _) = hub.accept()
    connection.close()
    assert address == "127.0.0.1"


def test_an_unreachable_hub_is_an_error_that_names_the_fix(
    hub: socket.socket, monkeypatch: pytest.MonkeyPatch
):
    close_hub(monkeypatch)

    with pytest.raises(EngineUnavailable) as caught:
        pull("openai/whisper-small", revision=None)

    message = str(caught.value)
    assert "openai/whisper-small: is not on this machine" in message
    assert "127.0.0.1: Connection refused" in message
    assert "thoth-watch model list" in message


@pytest.mark.parametrize("mode", ["offline", "proxy"])
def test_offline_or_behind_a_proxy_the_hub_is_not_probed(
    hub: socket.socket, mode: str, monkeypatch: pytest.MonkeyPatch
):
    if mode == "offline":
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    else:
        monkeypatch.setenv("https_proxy", "http://proxy.example:3128")

    check_hub("openai/whisper-small")

    hub.settimeout(0)
    with pytest.raises(BlockingIOError):  # no connection was attempted
        hub.accept()
    close_hub(monkeypatch)
    check_hub("openai/whisper-small")  # passes although the hub refuses connections
