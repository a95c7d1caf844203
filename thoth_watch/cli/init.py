"""`init`: write a commented config.yaml for this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from thoth_watch.domain.errors import ConfigError, RetryLater

if TYPE_CHECKING:
    from thoth_watch.infrastructure.models import Machine

TEMPLATE = """\
# written by `thoth-watch init`; `thoth-watch check` shows the value in effect for each key and where it comes from

inbox:
  path: {inbox}                  # folder for new recordings; nothing in it is renamed, deleted or moved
  settle_s: 2                    # seconds that a file must stay unchanged before it is read

engine:
  engine_type: {engine}          # standard (float32, any machine), accelerated (low latency) or batch (throughput)
  model: {model}                 # {about}
  device: auto                   # auto, cpu, cuda, cuda:1, mps
  language: {language}           # null (detected for each file), a code such as fr, or a name such as french

transcript:
  formats: {formats}             # any of txt, srt, vtt, tsv, json; or all
  output_dir: source             # source (next to the recording), or a folder that mirrors the inbox's subfolders

ledger:
  url: sqlite:///{ledger}        # database for the state of every file and run
"""


@click.command(
    epilog="""\b
Examples:
  thoth-watch init
  thoth-watch init --inbox ~/recordings --model small --yes
  sudo thoth-watch init --output /etc/thoth-watch/config.yaml --inbox /srv/thoth-watch"""
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("config.yaml"),
    show_default=True,
    help="File to write; an existing file is never replaced.",
)
@click.option("--inbox", help="Folder to watch; prompted for if omitted.")
@click.option("--model", help="Model: builtin, a short name, a Hugging Face id, or a local folder.")
@click.option(
    "--language",
    help="Language code or English name of the language; detected for each file by default.",
)
@click.option(
    "--formats",
    default="txt, json",
    show_default=True,
    help="Transcript formats, separated by commas, or all.",
)
@click.option("-y", "--yes", is_flag=True, help="Accept all suggested values without prompting.")
def init(
    *,
    output: Path,
    inbox: str | None,
    model: str | None,
    language: str | None,
    formats: str,
    yes: bool,
) -> None:
    """Write a commented config.yaml and create the inbox.

    The proposed model depends on GPU memory or, without a GPU, on main memory and the number of CPU
    cores.
    """
    from thoth_watch.bootstrap import build_settings, this_machine

    if output.exists():
        raise ConfigError(
            f"{output}: already exists; move it away or choose another path with --output"
        )
    machine = this_machine()
    about = _explain_proposal(machine)
    inbox = inbox or (
        "./inbox" if yes else click.prompt("Folder to watch", default="./inbox", err=True)
    )
    if model is None:
        click.echo(about, err=True)
        model = _propose_model(machine)
        model = model if yes else click.prompt("Model", default=model, err=True)
    ledger = (
        "/var/lib/thoth-watch/thoth-watch.db" if _is_system_config(output) else "thoth-watch.db"
    )
    text = TEMPLATE.format(
        inbox=_yaml(inbox),
        engine="batch" if machine.gpu_memory_gib else "accelerated",
        model=_yaml(model),
        about=_describe_model(model),
        language=_yaml(language) if language else "null",
        formats="all" if formats.strip() == "all" else f"[{formats}]",
        ledger=ledger,
    )
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with output.open("x", encoding="utf-8") as file:
            file.write(_align_comments(text))
        try:
            settings = build_settings(output, {}, required=True)
        except ConfigError:
            output.unlink()  # an option is invalid: leave nothing behind
            raise
        settings.inboxes[0].path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RetryLater(
            f"{error.filename}: {error.strerror}; choose another path, or run as root (sudo)"
        ) from error
    click.echo(f"wrote {output}; the inbox for recordings is {settings.inboxes[0].path}")
    option = "" if output == Path("config.yaml") else f" -c {output}"
    click.echo(f"next: thoth-watch check{option}, then thoth-watch run{option}")


def _propose_model(machine: Machine) -> str:
    from thoth_watch.infrastructure.models import recommend_model

    return recommend_model(machine).name


def _explain_proposal(machine: Machine) -> str:
    """Return a sentence with the proposed model, the reason, its size and its cache folder."""
    from thoth_watch.infrastructure.models import cache_folder, is_cached, recommend_model

    best = recommend_model(machine)
    memory, cores = f"{machine.memory_gib:.0f} GiB of memory", f"{machine.cores} cores"
    gpu = f"a GPU with {machine.gpu_memory_gib:.0f} GiB" if machine.gpu_memory_gib else "no GPU"
    state = "already downloaded" if is_cached(best.hub_id) else f"{best.download_mb} MB to download"
    return (
        f"This machine has {gpu}, {memory} and {cores}. Proposed model: {best.name} ({best.remark};"
        f" {state}; cache folder {cache_folder()})."
    )


def _describe_model(model: str) -> str:
    from thoth_watch.infrastructure.models import MODELS

    for known in MODELS:
        if model in (known.name, known.hub_id):
            return f"{known.hub_id}, {known.download_mb} MB, {known.remark}"
    return "builtin (for demonstration only), a Hugging Face id, or ./a/folder"


def _is_system_config(output: Path) -> bool:
    return output.absolute().is_relative_to("/etc")


def _yaml(text: str) -> str:
    """Return a string as a YAML scalar, quoted if necessary."""
    import yaml

    dumped: str = yaml.safe_dump(text, allow_unicode=True, width=10_000)
    return dumped.removesuffix("\n").removesuffix("\n...").strip()


def _align_comments(text: str) -> str:
    """Align the comments after values in one column, except after long values."""
    lines = []
    for line in text.splitlines():
        value, separator, comment = line.partition("  #")
        lines.append(f"{value.rstrip():<32} #{comment}" if separator and value.strip() else line)
    return "\n".join(lines) + "\n"
