"""The reference matches the code: every command, key, exit code, table and column."""

from __future__ import annotations

import importlib.util
import re
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from thoth_watch.domain import errors
from thoth_watch.infrastructure.settings import environment_names

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_reference", DOCS / "make_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_reference"] = module
    spec.loader.exec_module(module)
    return module


def test_the_pages_are_up_to_date(reference: ModuleType):
    for name, content in reference.pages().items():
        written = (DOCS / "reference" / name).read_text()
        assert written == content, f"docs/reference/{name} is out of date; run `make reference`"


def test_every_command_and_option_is_in_the_reference(reference: ModuleType):
    page = (DOCS / "reference/commands.md").read_text()
    for name, command, ctx in reference.commands():
        section = page.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        assert section, name
        for option in command.get_params(ctx):
            if option.param_type_name == "option":
                assert any(flag in section for flag in option.opts), f"{name} {option.opts}"


def test_every_key_and_its_environment_variable_is_in_the_reference():
    page = (DOCS / "reference/configuration.md").read_text()
    for name, key in environment_names().items():
        assert f"`{name}`" in page
        assert f"`{key.partition('.')[2]}`" in page or f"## {key}" in page


def test_every_exit_code_is_in_the_reference():
    codes = {value for name, value in vars(errors).items() if name.startswith("EXIT_")}
    page = (DOCS / "reference/exit-codes.md").read_text()
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)} == codes


def test_every_table_and_column_has_a_description_and_every_description_a_column(
    reference: ModuleType,
):
    descriptions = tomllib.loads((DOCS / "columns.toml").read_text())
    assert {table: set(names) - {""} for table, names in descriptions.items()} == {
        table: set(names) for table, names in reference.columns().items()
    }


@pytest.mark.filterwarnings("ignore:.*make_default_short_help:DeprecationWarning")  # click-man's
def test_every_command_has_a_man_page(reference: ModuleType, tmp_path: Path):
    reference.write_man_pages(tmp_path)
    names = {name.replace(" ", "-") for name, _, _ in reference.commands()}
    assert {page.stem for page in tmp_path.iterdir()} == names
    assert ".TH" in (tmp_path / "thoth-watch-runs-show.1").read_text()
