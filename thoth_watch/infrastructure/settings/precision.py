"""Which of the keys that ask for a precision is obeyed."""

from __future__ import annotations

from dataclasses import dataclass

from thoth_watch.infrastructure.settings.document import Location, dotted
from thoth_watch.infrastructure.settings.layers import Rank, Request, Said
from thoth_watch.infrastructure.settings.schema import Document
from thoth_watch.infrastructure.settings.values import MIXED_PRECISION

_PRECISION: Location = ("engine", "precision")
_MIXED_PRECISION: Location = ("performance", "mixed_precision")
_ENABLED: Location = ("engine", "enable_mixed_precision")


@dataclass(frozen=True, slots=True)
class AskedPrecision:
    """The precision that holds, whether another than float32 may be used, and who said so."""

    precision: str
    is_mixed: bool
    said: Said


def strongest_precision(document: Document, request: Request) -> AskedPrecision:
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
    for rank in sorted(Rank, reverse=True):
        said = [at for at in asked if request.said_at(at).rank is rank]
        speaking = [at for at in said if asked[at] is not None]
        for other in speaking[1:]:
            if asked[other] != asked[speaking[0]]:
                request.refuse(
                    other,
                    f"asks for {asked[other]}, but {dotted(speaking[0])} for "
                    f"{asked[speaking[0]]}; keep one",
                )
        if speaking:
            precision = str(asked[speaking[0]])
            is_mixed = engine.enable_mixed_precision or _ENABLED not in speaking
            return AskedPrecision(precision, is_mixed, request.said_at(speaking[0]))
        if _PRECISION in said:
            break
    return AskedPrecision("auto", is_mixed=True, said=request.said_at(_PRECISION))
