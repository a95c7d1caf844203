"""Generate docs/reference/ and man pages from the code: `python docs/make_reference.py [--man FOLDER]`.

A test fails if the pages differ from the code, or if a column has no description.
"""

from __future__ import annotations

import argparse
import inspect
import re
import sqlite3
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import click
from click_man.core import generate_man_page

from thoth_watch import __version__
from thoth_watch.cli import program
from thoth_watch.domain import errors
from thoth_watch.infrastructure.ledger import SqlLedger
from thoth_watch.infrastructure.settings import environment_names

DOCS = Path(__file__).parent
HEAD = "<!-- Generated from the code by docs/make_reference.py; run `make reference` to update. -->\n\n"


def commands() -> Iterator[tuple[str, click.Command, click.Context]]:
    """Yield every command and subcommand with its full name."""

    def walk(
        command: click.Command, ctx: click.Context
    ) -> Iterator[tuple[str, click.Command, click.Context]]:
        yield ctx.command_path, command, ctx
        if isinstance(command, click.Group):
            for name in command.list_commands(ctx):
                child = command.get_command(ctx, name)
                assert child is not None
                yield from walk(child, click.Context(child, info_name=name, parent=ctx))

    yield from walk(
        program, click.Context(program, info_name="thoth-watch", **program.context_settings)
    )


def commands_page() -> str:
    """Render every command with its options and examples."""
    parts = [
        HEAD,
        "# Commands\n\nOptions that openai/whisper also has can be spelled with `-` or `_`.\n",
    ]
    for name, command, ctx in commands():
        parts.append(f"\n## {name}\n\n{inspect.cleandoc(command.help or '')}\n")
        usage = " ".join([name, *command.collect_usage_pieces(ctx)])
        parts.append(f"\n    {usage}\n")
        rows = [
            record
            for option in command.get_params(ctx)
            if (record := option.get_help_record(ctx)) is not None
        ]
        if rows:
            parts.append("\n| option | description |\n|---|---|\n")
            parts += [
                f"| `{flag.replace('|', '/')}` | {_escape_cell(text)} |\n" for flag, text in rows
            ]
        hidden = [
            max(option.opts, key=len)
            for option in command.params
            if isinstance(option, click.Option) and option.hidden
        ]
        if hidden:
            named = ", ".join(f"`{flag.replace('-', '_').replace('__', '--')}`" for flag in hidden)
            parts.append(f"\nAccepted but ignored, with a note: {named}.\n")
        if command.epilog:
            lines = inspect.cleandoc(command.epilog.replace("\b\n", "")).splitlines()
            parts.append("\n" + "\n".join(f"    {line.strip()}" for line in lines) + "\n")
    return "".join(parts)


def configuration_page() -> str:
    """Render every key of config.yaml with its default, description and environment variable."""
    names = {key: name for name, key in environment_names().items()}
    text = (DOCS.parent / "config.yaml").read_text(encoding="utf-8")
    parts = [
        HEAD,
        (
            "# Configuration\n\nFlags override environment variables, which override `config.yaml`, which overrides the"
            " defaults.\n`THOTH_WATCH_CONFIG` is the path of the file. `ACCELERATE_MIXED_PRECISION` and"
            " `ACCELERATE_USE_CACHE` are read, too.\n"
        ),
    ]
    section = ""
    for line in text.splitlines():
        if match := re.match(r"^(\w+):(.*)", line):
            section = match[1]
            parts.append(f"\n## {section}\n\n")
            comment = match[2].partition("#")[2].strip()
            parts.append(f"{comment[:1].upper() + comment[1:]}.\n\n" if comment else "")
            if section in names:
                parts.append(f"Environment variable: `{names[section]}`.\n\n")
            else:
                parts.append(
                    "| key | default | description | environment variable |\n|---|---|---|---|\n"
                )
        elif match := re.match(r"^  (\w+): *(.*?) *# (.*)$", line):
            default = f"`{match[2]}`" if match[2] else "see config.yaml"
            environment = names[f"{section}.{match[1]}"]
            parts.append(
                f"| `{match[1]}` | {default} | {_escape_cell(match[3])} | `{environment}` |\n"
            )
        elif section == "rules" and line.startswith("#"):
            parts.append(f"    {line}\n")
    parts.append(
        "\n## inboxes\n\nUsed instead of `inbox`: a list of folders, each with the keys of `inbox`."
        f"\n\nEnvironment variable: `{names['inboxes']}`.\n"
    )
    return "".join(parts)


def exit_codes_page() -> str:
    """Render every exit code with its meaning."""
    source = inspect.getsource(errors)
    found = re.findall(r"^(EXIT_\w+) = (\d+)  # (.*)$", source, flags=re.MULTILINE)
    rows = "".join(f"| {code} | {meaning} |\n" for _, code, meaning in found)
    return f"{HEAD}# Exit codes\n\n| code | meaning |\n|---|---|\n{rows}"


def columns() -> dict[str, list[str]]:
    """Return the columns of every table and view, as created in SQLite."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "ledger.db")
        SqlLedger.open(f"sqlite:///{path}").close()
        with closing(sqlite3.connect(path)) as connection:
            names = [
                name
                for (name,) in connection.execute(
                    "SELECT name FROM sqlite_master WHERE type IN ('table', 'view')"
                    " AND name NOT LIKE 'sqlite_%' AND name <> 'alembic_version'"
                )
            ]
            return {
                name: [row[1] for row in connection.execute(f"PRAGMA table_info({name})")]
                for name in names
            }


def ledger_page() -> str:
    """Render every table, view and column."""
    descriptions = tomllib.loads((DOCS / "columns.toml").read_text(encoding="utf-8"))
    parts = [
        HEAD,
        (
            "# The ledger\n\nThe ledger is a SQLite file that any tool may read while the service is running;"
            " `thoth-watch db path` prints its location.\nTimes are text in UTC, such as"
            " `2026-11-23 13:37:31.000000Z`.\n"
        ),
    ]
    for table, names in columns().items():
        parts.append(
            f"\n## {table}\n\n{descriptions[table]['']}\n\n| column | description |\n|---|---|\n"
        )
        parts += [f"| `{name}` | {_escape_cell(descriptions[table][name])} |\n" for name in names]
    return "".join(parts)


def pages() -> dict[str, str]:
    """Return every page of the reference by file name."""
    return {
        "commands.md": commands_page(),
        "configuration.md": configuration_page(),
        "exit-codes.md": exit_codes_page(),
        "ledger.md": ledger_page(),
    }


def write_man_pages(folder: Path) -> None:
    """Write a man page (section 1) for every command."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, _, ctx in commands():
        page = folder / f"{name.replace(' ', '-')}.1"
        page.write_text(generate_man_page(ctx, __version__), encoding="utf-8")


def _escape_cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--man", type=Path, help="also write man pages to this folder")
    arguments = parser.parse_args()
    for file_name, content in pages().items():
        (DOCS / "reference" / file_name).write_text(content, encoding="utf-8")
    if arguments.man:
        write_man_pages(arguments.man)
