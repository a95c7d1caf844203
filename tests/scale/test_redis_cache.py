"""The transcript cache with a Redis server and without one."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from tests.contracts.test_ledger_contract import RESULT
from tests.fakes import FakeClock
from tests.servers import Redis, free_port, require, wait_until
from thoth_watch.infrastructure.ledger.database.transcript_json import (
    result_from_json,
    result_to_json,
)

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


def test_a_transcript_is_found_by_content_and_fingerprint(redis: Redis, open_cache) -> None:
    open_cache(redis.url).store("s1", "f1", RESULT)
    other = open_cache(redis.url)  # as on another machine
    assert other.find("s1", "f1") == RESULT
    assert other.find("s1", "f2") is None
    assert other.find("s2", "f1") is None


def test_entries_expire(redis: Redis, open_cache) -> None:
    cache = open_cache(redis.url, lifetime_s=2.0)
    cache.store("s3", "f1", RESULT)
    assert cache.find("s3", "f1") == RESULT
    wait_until(lambda: cache.find("s3", "f1") is None, lambda: "the entry did not expire")


@pytest.mark.parametrize("text", ["", "nonsense", "[]", "{}", '{"transcript": 1}', '{"a": null}'])
def test_an_invalid_entry_is_ignored(redis: Redis, open_cache, text: str) -> None:
    import redis as client

    cache = open_cache(redis.url)
    cache.store("s4", "f1", RESULT)
    server = client.Redis.from_url(redis.url)
    (key,) = server.keys("*s4*")
    server.set(key, text)
    assert cache.find("s4", "f1") is None


def test_an_unreachable_cache_is_tried_once_a_minute(open_cache) -> None:
    clock = FakeClock()
    cache = open_cache(f"redis://127.0.0.1:{free_port()}/0", clock=clock)
    requested = []
    get = cache._redis.get
    cache._redis.get = lambda key: requested.append(key) or get(key)
    for _ in range(100):
        assert cache.find("s", "f") is None
        cache.store("s", "f", RESULT)
    assert len(requested) == 1
    clock.advance(60.0)
    assert cache.find("s", "f") is None
    assert len(requested) == 2


def test_a_server_that_never_answers_is_not_waited_for(open_cache) -> None:
    """Without a timeout this test would never end."""
    with socket.create_server(("127.0.0.1", 0)) as silent_server:
        cache = open_cache(f"redis://127.0.0.1:{silent_server.getsockname()[1]}/0")
        assert cache.find("s", "f") is None
        cache.store("s", "f", RESULT)
