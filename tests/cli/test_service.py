"""`service install` and `service uninstall` with a scratch root folder."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest

from thoth_watch.domain import errors

UNITS = Path("etc/systemd/system")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    folder = tmp_path / "a folder"
    (folder / "in box").mkdir(parents=True)
    path = folder / "config.yaml"
    path.write_text(
        "inbox: {path: ./in box, after: /srv/old}\ntranscript: {output_dir: '/srv/100%'}\nledger: {url: sqlite:///l.db}\n"
    )
    return path


def lines_of(path: Path) -> list[str]:
    return path.read_text().splitlines()


def test_units_for_a_package_have_the_paths_of_the_package(run, tmp_path: Path):
    done = run("service", "install", "--system", "--destdir", "root", "--program", "/usr/bin/tw")

    assert done.returncode == 0, done.stderr
    unit = lines_of(tmp_path / "root" / UNITS / "thoth-watch.service")
    assert "ExecStart=/usr/bin/tw run -c /etc/thoth-watch/config.yaml" in unit
    for written in re.findall(r"^wrote (.*)$", done.stdout, re.MULTILINE):
        assert Path(written).is_file()
        assert Path(written).is_relative_to(tmp_path / "root")
    if shutil.which("systemd-analyze"):
        assert "verified by systemd" in done.stdout


def test_the_service_may_write_to_the_configured_folders(run, tmp_path: Path, config: Path):
    done = run("service", "install", "--system", "--destdir", "root", "-c", str(config), "--gpu")

    assert done.returncode == 0, done.stderr
    units = tmp_path / "root" / UNITS
    program = Path(sys.executable).with_name("thoth-watch")
    assert f'ExecStart={program} run -c "{config}"' in lines_of(units / "thoth-watch.service")
    paths = lines_of(units / "thoth-watch.service.d/paths.conf")
    assert f'ReadWritePaths="-{config.parent / "in box"}"' in paths
    assert "ReadWritePaths=-/srv/100%%" in paths
    assert "ReadWritePaths=-/srv/old" in paths
    assert f'ReadWritePaths="-{config.parent}"' in paths, "the ledger's folder"
    assert f'Environment="THOTH_WATCH_LEDGER_URL=sqlite:///{config.parent}/l.db"' in paths
    assert (units / "thoth-watch-once.service.d/gpu.conf").exists()
    assert not (units / "thoth-watch.service.d/downloads.conf").exists()


@pytest.mark.parametrize("scope", ["--user", "--system"])
def test_a_configuration_with_hooks_gets_a_hooks_unit(
    run, tmp_path: Path, config: Path, scope: str
):
    plain = run("service", "install", scope, "--destdir", "plain", "-c", str(config))
    with config.open("a") as file:
        file.write("hooks: {webhook: 'https://example.org/'}\n")
    done = run("service", "install", scope, "--destdir", "root", "-c", str(config))

    assert (plain.returncode, done.returncode) == (0, 0), done.stderr
    assert not list((tmp_path / "plain").rglob("*hooks*"))
    (unit,) = (tmp_path / "root").rglob("thoth-watch-hooks.service")
    assert any(f'hooks -c "{config}"' in line for line in lines_of(unit))
    assert "enable --now thoth-watch-hooks" in done.stdout
    assert run("service", "uninstall", scope, "--destdir", "root").returncode == 0
    assert not list((tmp_path / "root").rglob("*hooks*"))


def test_an_instance_has_its_own_daemon(run, tmp_path: Path, config: Path):
    options = ("--destdir", "root", "-c", str(config), "--instance", "talks", "--downloads")
    done = run("service", "install", "--system", *options)

    assert done.returncode == 0, done.stderr
    own = tmp_path / "root" / UNITS / "thoth-watch@talks.service.d"
    assert any(line.endswith(f'run -c "{config}"') for line in lines_of(own / "paths.conf"))
    assert "PrivateNetwork=no" in lines_of(own / "downloads.conf")
    assert "enable --now thoth-watch@talks" in done.stdout


def test_uninstall_takes_back_all_that_install_wrote_and_nothing_else(
    run, tmp_path: Path, config: Path
):
    run("service", "install", "--system", "--destdir", "root", "-c", str(config), "--gpu")
    foreign = tmp_path / "root" / UNITS / "thoth-watch.service.d/mine.conf"
    foreign.write_text("[Service]\nNice=19\n")

    done = run("service", "uninstall", "--system", "--destdir", "root")

    assert done.returncode == 0, done.stderr
    assert [path for path in (tmp_path / "root").rglob("*") if path.is_file()] == [foreign]
    assert config.exists()
    second = run("service", "uninstall", "--system", "--destdir", "root")
    assert "nothing written by" in second.stdout


def test_a_unit_that_install_did_not_write_is_kept(run, tmp_path: Path):
    foreign = tmp_path / "root" / UNITS / "thoth-watch.service"
    foreign.parent.mkdir(parents=True)
    foreign.write_text("[Service]\nExecStart=/bin/true\n")

    done = run("service", "install", "--system", "--destdir", "root")

    assert done.returncode == errors.EXIT_CONFIG
    assert str(foreign) in done.stderr
    assert "move it aside" in done.stderr
    assert [path for path in (tmp_path / "root").rglob("*") if path.is_file()] == [foreign]


def test_a_user_without_root_gets_user_units(run, tmp_path: Path, config: Path):
    home = str(tmp_path / "settings")
    done = run("service", "install", "--user", "-c", str(config), XDG_CONFIG_HOME=home)

    assert done.returncode == 0, done.stderr
    unit = lines_of(Path(home) / "systemd/user/thoth-watch.service")
    assert not any(line.startswith("User=") for line in unit)
    assert "systemctl --user enable --now thoth-watch " in done.stdout
    assert run("service", "uninstall", "--user", XDG_CONFIG_HOME=home).returncode == 0
    assert not any(path.is_file() for path in Path(home).rglob("*"))


def test_errors_name_the_missing_option_or_file(run, tmp_path: Path):
    assert "--user" in run("service", "install").stderr
    done = run("service", "install", "--user", XDG_CONFIG_HOME=str(tmp_path))
    assert done.returncode == errors.EXIT_CONFIG
    assert f"thoth-watch init --output {tmp_path}/thoth-watch/config.yaml" in done.stderr
