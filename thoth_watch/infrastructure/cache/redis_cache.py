"""A transcript cache on Redis: asked with little patience, and left alone for a while when it is away."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from thoth_watch.application.ports import StoredResult

log = logging.getLogger(__name__)

TIMEOUT_S = 0.25  # against seconds of computing
RETRY_AFTER_S = 60.0  # after it did not answer
KEY_PREFIX = "thoth-watch:result:1"


class RedisCache:
    """Keyed by the recording's bytes and all that decides the words; what is in it expires."""

    def __init__(
        self,
        url: str,
        *,
        serialize: Callable[[StoredResult], str],
        deserialize: Callable[[str], StoredResult],
        lifetime_s: float,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """to_text and from_text: a result as text and back; ValueError, KeyError and the like for nonsense."""
        self._redis = redis.Redis.from_url(
            url,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
        )
        self._serialize, self._deserialize = serialize, deserialize
        self._lifetime_s = lifetime_s
        self._monotonic_s = monotonic_s
        self._next_attempt_s = 0.0

    def find(self, sha256: str, fingerprint: str) -> StoredResult | None:
        """What another machine has put there; None also where the cache is away, or holds nonsense."""
        text = self._call(lambda: self._redis.get(_key(sha256, fingerprint)))
        if text is None:
            return None
        try:
            return self._deserialize(text)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning(
                "the cache holds what is no transcript",
                extra={"event": "cache_nonsense", "error": str(error)},
            )
            return None

    def store(self, sha256: str, fingerprint: str, result: StoredResult) -> None:
        """Put it there for its lifetime, if the cache answers."""
        text = self._serialize(result)
        lifetime_ms = max(1, round(self._lifetime_s * 1000))
        self._call(lambda: self._redis.set(_key(sha256, fingerprint), text, px=lifetime_ms))

    def _call(self, command: Callable[[], Any]) -> Any:
        now_s = self._monotonic_s()
        if now_s < self._next_attempt_s:
            return None
        try:
            return command()
        except (redis.RedisError, OSError, UnicodeError) as error:
            self._next_attempt_s = now_s + RETRY_AFTER_S
            log.warning(
                "the transcript cache does not answer and is left alone for a minute",
                extra={"event": "cache_away", "error": str(error)},
            )
            return None


def _key(sha256: str, fingerprint: str) -> str:
    return f"{KEY_PREFIX}:{sha256}:{fingerprint}"
