"""Converts pydantic's errors into messages: the value found, the allowed values, and a suggestion."""

from __future__ import annotations

import re

from pydantic_core import ErrorDetails

from thoth_watch.infrastructure.settings.document import Location
from thoth_watch.infrastructure.settings.layers import key_types
from thoth_watch.infrastructure.settings.schema import Document, RuleSection, sections
from thoth_watch.infrastructure.settings.validators import did_you_mean

_A_MAPPING = "a mapping of `key: value`"
_ALLOWED = {
    "bool_type": "true or false",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "list_type": "a list, such as [a, b]",
    "model_type": _A_MAPPING,
    "dict_type": _A_MAPPING,
    "model_attributes_type": _A_MAPPING,
    "finite_number": "a finite number",
}
_PLAIN = re.compile(r"[\d.]+|true|false|yes|no|on|off", re.IGNORECASE)  # valid without quotes
_BOUNDS = {"ge": "from", "gt": "above", "le": "up to", "lt": "below"}


def explain_error(detail: ErrorDetails) -> str:
    """Return the message for one of pydantic's errors."""
    at, kind = detail["loc"], detail["type"]
    if kind == "extra_forbidden":
        return "unknown key" + _suggest_key(at)
    if kind == "missing":
        return "missing; this key is required"
    found = f"found {_show(detail['input'], at)}"
    context = detail.get("ctx", {})
    if kind == "value_error":
        return f"{found}; {context['error']}"
    if kind in _ALLOWED:
        quoted = isinstance(detail["input"], str) and bool(_PLAIN.fullmatch(detail["input"]))
        return f"{found}; allowed: {_ALLOWED[kind]}{', without quotes' if quoted else ''}"
    bounds = " ".join(f"{word} {context[key]:g}" for key, word in _BOUNDS.items() if key in context)
    return f"{found}; allowed: a number {bounds}" if bounds else f"{found}; {detail['msg']}"


def mask_password(url: str) -> str:
    """Return the URL with its password masked, for display."""
    return re.sub(r"(://[^/@:]*):[^/]*@", r"\1:***@", url)


def _suggest_key(at: Location) -> str:
    """Return a suggestion for an unknown key: from its section first, then from all sections."""
    name = str(at[-1])
    if len(at) == 1:
        siblings = list(Document.model_fields)
    elif at[0] == "rules":
        siblings = list(RuleSection.model_fields)
    else:
        section = "inbox" if at[0] == "inboxes" else str(at[0])
        siblings = list(sections()[section].model_fields)
    hint = did_you_mean(name, siblings)
    if hint:
        return hint
    elsewhere = [key for key in key_types() if key.rpartition(".")[2] == name]
    if elsewhere:
        return f"; did you mean {elsewhere[0]}?"
    return f"; allowed: {', '.join(siblings)}"


def _show(value: object, at: Location) -> str:
    if value is None:
        return "no value"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return f"the list {value!r}" if len(repr(value)) <= 60 else "a list"
    text = repr(
        mask_password(value) if isinstance(value, str) and at[-1] in ("url", "broker") else value
    )
    return text if len(text) <= 60 else text[:57] + "..."
