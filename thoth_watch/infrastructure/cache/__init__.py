"""Transcript cache for machines that do not share a ledger."""

from thoth_watch.infrastructure.cache.redis_cache import RedisCache

__all__ = ["RedisCache"]
