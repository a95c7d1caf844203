"""Transcripts shared by machines that share no ledger."""

from thoth_watch.infrastructure.cache.redis_cache import RedisCache

__all__ = ["RedisCache"]
