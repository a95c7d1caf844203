from __future__ import annotations

import pytest

SERVER = "ledger: {url: 'postgresql+psycopg://me:secret@host/thoth'}\n"
CELERY = "dispatch: {kind: celery, broker: 'redis://:hidden@broker/3'}\n"


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Modules of the extras that seem to be there; all of them at first."""
    there = {"psycopg", "celery", "redis"}
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name in there or None)
    return there


def test_workers_elsewhere_are_described_whole(read, installed) -> None:
    settings = read(SERVER + CELERY.replace("celery,", "celery, lease_s: 30, max_attempts: 5,"))
    dispatch = settings.dispatch
    assert dispatch.is_celery
    assert (dispatch.window_per_worker, dispatch.lease_s, dispatch.max_attempts) == (2, 30.0, 5)
    assert dispatch.broker == "redis://:hidden@broker/3"
    assert settings.origins["dispatch.broker"].value == "redis://:***@broker/3"


def test_celery_on_sqlite_is_refused_with_the_way_out(config_error, installed) -> None:
    text = config_error(CELERY)
    assert text.startswith("config.yaml:1: dispatch.kind: celery's workers share a ledger")
    assert "set ledger.url to postgresql+psycopg://USER@HOST/NAME" in text


def test_celery_without_a_broker_is_refused(config_error, installed) -> None:
    assert "dispatch.broker: celery needs one" in config_error(
        SERVER + "dispatch: {kind: celery}\n"
    )


@pytest.mark.parametrize("broker", ["kafka://host", "redis:/host", "''", "5"])
def test_what_is_no_broker_is_refused(config_error, installed, broker: str) -> None:
    text = config_error(f"dispatch: {{broker: {broker}}}")
    assert "dispatch.broker: found" in text
    assert "redis://HOST/0 or amqp://USER@HOST//" in text or "allowed: text" in text


@pytest.mark.parametrize(
    ("module", "text", "says"),
    [
        ("psycopg", SERVER, "ledger.url: needs the extra postgres"),
        ("celery", SERVER + CELERY, "dispatch.kind: needs the extra celery"),
        ("redis", "cache: {url: 'redis://host/1'}", "cache.url: needs the extra redis"),
    ],
)
def test_an_extra_that_is_missing_is_named_with_the_command_that_installs_it(
    config_error, installed: set[str], module: str, text: str, says: str
) -> None:
    installed.remove(module)
    found = config_error(text)
    assert says in found
    extra = says.rpartition(" ")[2]
    assert found.endswith(f"which is not installed; pip install 'thoth-watch[{extra}]'")
