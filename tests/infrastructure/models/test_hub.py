"""Whether the hub answers is asked once, where its library would ask for half a minute."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from huggingface_hub import constants

from thoth_watch.domain.errors import EngineUnavailable
from thoth_watch.infrastructure.models import check_hub, pull


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A hub that answers; the environment speaks neither of a proxy nor of being offline."""
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
    """Let the hub be a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        number = server.getsockname()[1]
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{number}")


def test_a_hub_that_answers_is_all_that_is_required(hub: socket.socket):
    check_hub("openai/whisper-small")

    knocked, (address, _) = hub.accept()
    knocked.close()
    assert address == "127.0.0.1"


def test_a_hub_that_does_not_answer_is_named_with_the_way_out(
    hub: socket.socket, monkeypatch: pytest.MonkeyPatch
):
    close_hub(monkeypatch)

    with pytest.raises(EngineUnavailable) as caught:
        pull("openai/whisper-small", revision=None)

    said = str(caught.value)
    assert "openai/whisper-small: is not on this machine" in said
    assert "127.0.0.1: Connection refused" in said
    assert "thoth-watch model list" in said


@pytest.mark.parametrize("how", ["offline", "proxy"])
def test_what_cannot_be_told_by_knocking_is_left_to_the_library(
    hub: socket.socket, how: str, monkeypatch: pytest.MonkeyPatch
):
    if how == "offline":
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    else:
        monkeypatch.setenv("https_proxy", "http://proxy.example:3128")

    check_hub("openai/whisper-small")

    hub.settimeout(0)
    with pytest.raises(BlockingIOError):  # nobody has knocked
        hub.accept()
    close_hub(monkeypatch)
    check_hub("openai/whisper-small")  # nor would anybody find the door locked
