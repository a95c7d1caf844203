"""Which of the keys that ask for a precision is obeyed."""

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
    """The precision that holds, whether another than float32 may be used, and who said so."""

    precision: str
    is_mixed: bool
    key_source: KeySource


def resolve_precision(document: Document, merged: MergedSettings) -> RequestedPrecision:
    """What the strongest source asks for; two keys of one source that disagree are a problem.

    `precision: auto` takes back what weaker sources ask; null and `enable_mixed_precision: true`
    ask for nothing.
    """
    engine, word = document.engine, document.performance.mixed_precision
    asked: dict[Location, str | None] = {
        _PRECISION: None if engine.precision == "auto" else engine.precision,
        _MIXED_PRECISION: None if word is None else MIXED_PRECISION[word],
        _ENABLED: None if engine.enable_mixed_precision else "float32",
    }
    for precedence in sorted(Precedence, reverse=True):
        given = [at for at in asked if merged.source_of(at).precedence is precedence]
        speaking = [at for at in given if asked[at] is not None]
        for other in speaking[1:]:
            if asked[other] != asked[speaking[0]]:
                merged.add_problem(
                    other,
                    f"asks for {asked[other]}, but {dotted_key(speaking[0])} for "
                    f"{asked[speaking[0]]}; keep one",
                )
        if speaking:
            precision = str(asked[speaking[0]])
            is_mixed = engine.enable_mixed_precision or _ENABLED not in speaking
            return RequestedPrecision(precision, is_mixed, merged.source_of(speaking[0]))
        if _PRECISION in given:
            break
    return RequestedPrecision("auto", is_mixed=True, key_source=merged.source_of(_PRECISION))
