"""A transcript cache on Redis with a short timeout; it is skipped for a minute after it was unreachable."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from thoth_watch.application.ports.ledger import StoredResult

log = logging.getLogger(__name__)

TIMEOUT_S = 0.25  # short compared with seconds of transcription
RETRY_AFTER_S = 60.0  # after it was unreachable
KEY_PREFIX = "thoth-watch:result:1"


class RedisCache:
    """A cache keyed by the recording's hash and the fingerprint of all options; entries expire."""

    def __init__(
        self,
        url: str,
        *,
        serialize: Callable[[StoredResult], str],
        deserialize: Callable[[str], StoredResult],
        lifetime_s: float,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Use the Redis server at `url`; serialize and deserialize convert a result to text and back.

        deserialize raises ValueError, KeyError, TypeError or AttributeError for invalid text.
        lifetime_s: seconds until an entry expires.
        """
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
        """Return a cached result; None if there is none, or it is invalid, or the cache is unreachable."""
        text = self._call(lambda: self._redis.get(_key(sha256, fingerprint)))
        if text is None:
            return None
        try:
            return self._deserialize(text)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning(
                "ignoring invalid cache entry; transcribing the recording",
                extra={"event": "cache_entry_invalid", "error": str(error)},
            )
            return None

    def store(self, sha256: str, fingerprint: str, result: StoredResult) -> None:
        """Store a result for the lifetime of an entry, if the cache is reachable."""
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
                "transcript cache unreachable; continuing without it for a minute",
                extra={"event": "cache_unreachable", "error": str(error)},
            )
            return None


def _key(sha256: str, fingerprint: str) -> str:
    return f"{KEY_PREFIX}:{sha256}:{fingerprint}"
