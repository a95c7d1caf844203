from __future__ import annotations

import pytest

SERVER = "ledger: {url: 'postgresql+psycopg://me:secret@host/thoth'}\n"
CELERY = "dispatch: {kind: celery, broker: 'redis://:hidden@broker/3'}\n"


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Modules of extras that seem installed; initially all of them."""
    modules = {"psycopg", "celery", "redis"}
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name in modules or None)
    return modules


def test_the_dispatch_settings_of_celery_are_complete(read, installed) -> None:
    settings = read(SERVER + CELERY.replace("celery,", "celery, lease_s: 30, max_attempts: 5,"))
    dispatch = settings.dispatch
    assert dispatch.is_celery
    assert (dispatch.window_per_worker, dispatch.lease_s, dispatch.max_attempts) == (2, 30.0, 5)
    assert dispatch.broker == "redis://:hidden@broker/3"
    assert settings.origins["dispatch.broker"].value == "redis://:***@broker/3"


def test_celery_with_sqlite_is_refused_with_the_fix(config_error, installed) -> None:
    text = config_error(CELERY)
    assert text.startswith("config.yaml:1: dispatch.kind: celery workers need a ledger")
    assert "set ledger.url to postgresql+psycopg://USER@HOST/NAME" in text


def test_celery_without_a_broker_is_refused(config_error, installed) -> None:
    assert "dispatch.broker: missing, but dispatch.kind: celery needs it" in config_error(
        SERVER + "dispatch: {kind: celery}\n"
    )


@pytest.mark.parametrize("broker", ["kafka://host", "redis:/host", "''", "5"])
def test_an_invalid_broker_is_refused(config_error, installed, broker: str) -> None:
    text = config_error(f"dispatch: {{broker: {broker}}}")
    assert "dispatch.broker: found" in text
    assert "redis://HOST/0 or amqp://USER@HOST//" in text or "allowed: text" in text


@pytest.mark.parametrize(
    ("module", "text", "message"),
    [
        ("psycopg", SERVER, "ledger.url: needs the postgres extra"),
        ("celery", SERVER + CELERY, "dispatch.kind: needs the celery extra"),
        ("redis", "cache: {url: 'redis://host/1'}", "cache.url: needs the redis extra"),
    ],
)
def test_a_missing_extra_is_reported_with_the_command_that_installs_it(
    config_error, installed: set[str], module: str, text: str, message: str
) -> None:
    installed.remove(module)
    error = config_error(text)
    assert message in error
    extra = message.split()[-2]
    assert error.endswith(f"which is not installed; run pip install 'thoth-watch[{extra}]'")
