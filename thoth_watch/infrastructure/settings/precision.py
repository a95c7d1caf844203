"""Resolves the requested precision from the three keys that can set it."""

from __future__ import annotations

from dataclasses import dataclass

from thoth_watch.infrastructure.settings.document import Location, dotted_key
from thoth_watch.infrastructure.settings.layers import KeySource, MergedSettings, Precedence
from thoth_watch.infrastructure.settings.schema import Document
from thoth_watch.infrastructure.settings.validators import MIXED_PRECISION

_PRECISION: Location = ("engine", "precision")
_MIXED_PRECISION: Location = ("performance", "mixed_precision")
_ENABLED: Location = ("engine", "enable_mixed_precision")


@dataclass(frozen=True, slots=True)
class RequestedPrecision:
    """The precision in effect, whether one other than float32 is allowed, and its source."""

    precision: str
    is_mixed: bool
    key_source: KeySource


def resolve_precision(document: Document, merged: MergedSettings) -> RequestedPrecision:
    """Return the request of the strongest source; two keys of one source that disagree are a problem.

    `precision: auto` overrides the requests of weaker sources; null and
    `enable_mixed_precision: true` request nothing.
    """
    engine, mixed = document.engine, document.performance.mixed_precision
    requested: dict[Location, str | None] = {
        _PRECISION: None if engine.precision == "auto" else engine.precision,
        _MIXED_PRECISION: None if mixed is None else MIXED_PRECISION[mixed],
        _ENABLED: None if engine.enable_mixed_precision else "float32",
    }
    for precedence in sorted(Precedence, reverse=True):
        given = [at for at in requested if merged.source_of(at).precedence is precedence]
        requesting = [at for at in given if requested[at] is not None]
        for other in requesting[1:]:
            if requested[other] != requested[requesting[0]]:
                merged.add_problem(
                    other,
                    f"requests {requested[other]}, but {dotted_key(requesting[0])} requests "
                    f"{requested[requesting[0]]}; keep one",
                )
        if requesting:
            precision = str(requested[requesting[0]])
            is_mixed = engine.enable_mixed_precision or _ENABLED not in requesting
            return RequestedPrecision(precision, is_mixed, merged.source_of(requesting[0]))
        if _PRECISION in given:
            break
    return RequestedPrecision("auto", is_mixed=True, key_source=merged.source_of(_PRECISION))
