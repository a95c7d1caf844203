"""Transcripts on a Redis server, and without one."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from tests.contracts.test_ledger_contract import RESULT
from tests.fakes import FakeClock
from tests.servers import Redis, free_port, require, wait_until
from thoth_watch.infrastructure.ledger.transcript_json import result_from_json, result_to_json

pytestmark = pytest.mark.scale


@pytest.fixture
def open_cache() -> Callable[..., object]:
    require(modules=("redis",))
    from thoth_watch.infrastructure.cache import RedisCache

    def open_(url: str, *, lifetime_s: float = 60.0, clock: FakeClock | None = None) -> RedisCache:
        return RedisCache(
            url,
            serialize=result_to_json,
            deserialize=result_from_json,
            lifetime_s=lifetime_s,
            monotonic_s=(clock or FakeClock()).monotonic_s,
        )

    return open_


def test_a_transcript_comes_back_whole_by_content_and_engine(redis: Redis, open_cache) -> None:
    open_cache(redis.url).store("s1", "f1", RESULT)
    other = open_cache(redis.url)  # another machine's
    assert other.find("s1", "f1") == RESULT
    assert other.find("s1", "f2") is None
    assert other.find("s2", "f1") is None


def test_what_is_in_it_expires(redis: Redis, open_cache) -> None:
    cache = open_cache(redis.url, lifetime_s=2.0)
    cache.store("s3", "f1", RESULT)
    assert cache.find("s3", "f1") == RESULT
    wait_until(lambda: cache.find("s3", "f1") is None, lambda: "it is there for ever")


@pytest.mark.parametrize("text", ["", "nonsense", "[]", "{}", '{"transcript": 1}', '{"a": null}'])
def test_nonsense_in_it_is_no_transcript(redis: Redis, open_cache, text: str) -> None:
    import redis as client

    cache = open_cache(redis.url)
    cache.store("s4", "f1", RESULT)
    server = client.Redis.from_url(redis.url)
    (key,) = server.keys("*s4*")
    server.set(key, text)
    assert cache.find("s4", "f1") is None


def test_one_that_is_away_is_asked_once_a_minute(open_cache) -> None:
    clock = FakeClock()
    cache = open_cache(f"redis://127.0.0.1:{free_port()}/0", clock=clock)
    asked = []
    ask = cache._redis.get
    cache._redis.get = lambda key: asked.append(key) or ask(key)
    for _ in range(100):
        assert cache.find("s", "f") is None
        cache.store("s", "f", RESULT)
    assert len(asked) == 1
    clock.advance(60.0)
    assert cache.find("s", "f") is None
    assert len(asked) == 2


def test_one_that_takes_questions_and_never_answers_is_not_waited_for(open_cache) -> None:
    """Without a time limit this would never end."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        cache = open_cache(f"redis://127.0.0.1:{deaf.getsockname()[1]}/0")
        assert cache.find("s", "f") is None
        cache.store("s", "f", RESULT)
