"""The architecture page names modules that exist, and each term is found in its module."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "thoth_watch"
PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
TERMS = re.findall(r"^\| ([^|`]+) \| `([\w/]+\.py)` \|$", PAGE, re.MULTILINE)


def named_modules() -> set[str]:
    """Return every Python path that the page names in backticks."""
    return set(re.findall(r"`([\w/]+\.py)`", PAGE))


def names_and_docstrings(module: Path) -> str:
    """Return a module's path and all of its docstrings as one line of plain words."""
    nodes = (ast.Module, ast.ClassDef, ast.FunctionDef)
    tree = ast.parse(module.read_text(encoding="utf-8"))
    docstrings = [
        ast.get_docstring(node) or "" for node in ast.walk(tree) if isinstance(node, nodes)
    ]
    return plain_words(" ".join([module.stem, *docstrings]))


def plain_words(text: str) -> str:
    """Return the text in lower case, with everything except letters and digits as single spaces."""
    return " ".join(re.findall(r"[a-z0-9]+", text.lower()))


def test_the_table_of_terms_is_complete():
    assert len(TERMS) >= 50
    assert len({term for term, _ in TERMS}) == len(TERMS)


@pytest.mark.parametrize(("term", "module"), TERMS, ids=[term for term, _ in TERMS])
def test_a_term_occurs_in_the_name_or_a_docstring_of_its_module(term: str, module: str):
    words = plain_words(re.sub(r"\(.*\)", "", term))
    assert words in names_and_docstrings(PACKAGE / module)


def test_every_module_that_the_page_names_exists():
    files = [path.relative_to(ROOT).as_posix() for path in ROOT.glob("t*/**/*.py")]
    missing = [
        module
        for module in sorted(named_modules())
        if not any(f"/{file}".endswith(f"/{module}") for file in files)
    ]
    assert len(named_modules()) > 50
    assert missing == []
