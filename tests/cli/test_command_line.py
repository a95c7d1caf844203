"""Commands that need no engine."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from thoth_watch.cli import COMMANDS
from thoth_watch.domain import errors

ROOT = Path(__file__).parents[2]


def test_help_imports_no_heavy_library():
    code = (
        "import sys; sys.argv = ['thoth-watch', '--help']\n"
        "from thoth_watch.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'sqlalchemy', 'yaml', 'numpy', 'transformers', 'pydantic', 'rich', 'matplotlib'}\n"
        "print('LOADED', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.endswith("LOADED []\n")
    for command in COMMANDS:
        assert f"\n  {command} " in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_examples(command: str, run):
    done = run(command, "--help")

    assert done.returncode == 0
    assert f"thoth-watch {command}" in done.stdout.partition("Examples:")[2]


NO_CONFIGURATION = {
    "transcribe",
    "service",
    "init",
    "model",
}  # or only their subcommands do


@pytest.mark.parametrize("command", [c for c in COMMANDS if c not in NO_CONFIGURATION])
def test_every_command_accepts_a_configuration_file(command: str, run, tmp_path: Path):
    (tmp_path / "x.yaml").write_text("engine: {presicion: fp16}\n")

    subcommand = {"db": ["check"]}.get(command, [])
    options = {"retry": ["--all"], "metrics": ["-o", "x"]}.get(command, [])
    done = run(command, *subcommand, "-c", "x.yaml", *options)

    assert done.returncode == errors.EXIT_CONFIG
    assert "x.yaml:1" in done.stderr
    assert "precision" in done.stderr
    assert list(tmp_path.iterdir()) == [tmp_path / "x.yaml"]


def test_without_a_configuration_the_error_suggests_an_option(run):
    done = run("run")

    assert done.returncode == errors.EXIT_CONFIG
    assert "-c FILE" in done.stderr


def test_an_unknown_option_is_a_usage_error(run):
    assert run("run", "--fast").returncode == errors.EXIT_USAGE
    assert run("retry", THOTH_WATCH_CONFIG="x").returncode == errors.EXIT_USAGE


def test_a_ledger_that_does_not_exist_yet_means_retry_later(run, tmp_path: Path):
    (tmp_path / "config.yaml").write_text("inbox: {path: .}\n")

    done = run("runs")

    assert done.returncode == errors.EXIT_RETRY_LATER
    assert "does not exist yet" in done.stderr


def test_check_prints_where_each_value_comes_from(run, tmp_path: Path):
    (tmp_path / "inbox").mkdir()
    (tmp_path / "config.yaml").write_text("batch:\n  max_files: 3\n")

    done = run(
        "check",
        "--json",
        "--no-engine",
        "--device",
        "cpu",
        THOTH_WATCH_ENGINE_BATCH_SIZE="4",
    )

    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    sources = {row["key"]: (row["value"], row["source"]) for row in document["settings"]}
    assert sources["batch.max_files"][0] == 3
    assert "config.yaml:2" in sources["batch.max_files"][1]
    assert sources["engine.device"] == ("cpu", "flag")
    assert sources["engine.batch_size"][0] == 4
    assert "THOTH_WATCH_ENGINE_BATCH_SIZE" in sources["engine.batch_size"][1]
    assert sources["audio.sample_rate"] == (16000, "default")
    assert "demonstration" in document["note"]


def test_the_readme_lists_every_command_and_exit_code():
    readme = (ROOT / "README.md").read_text()

    for command in COMMANDS:
        assert f"thoth-watch {command}" in readme
    codes = {value for name, value in vars(errors).items() if name.startswith("EXIT_")}
    line = next(line for line in readme.splitlines() if line.startswith("Exit codes:"))
    paragraph = readme[readme.index(line) :].partition("\n\n")[0]
    assert {
        int(code) for code in re.findall(r"(?:^|[:·] )(\d+) ", paragraph.replace("\n", " "))
    } == codes


def test_the_readme_lists_every_state():
    from thoth_watch.domain.states import State

    readme = (ROOT / "README.md").read_text()
    assert all(str(state) in readme for state in State)


@pytest.mark.parametrize(
    ("line", "completion"), [("thoth-watch fi", "files"), ("thoth-watch files --b", "--by")]
)
def test_a_shell_can_complete_commands_and_options(line: str, completion: str):
    environment = {
        **os.environ,
        "_THOTH_WATCH_COMPLETE": "bash_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split()) - 1),
    }
    command = [sys.executable, "-c", "from thoth_watch.cli import main; main()"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert f"plain,{completion}" in done.stdout.splitlines()
