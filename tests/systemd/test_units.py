from __future__ import annotations

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest

from thoth_watch.domain.errors import EXIT_CONFIG, EXIT_SOME_FAILED, EXIT_TRY_LATER, EXIT_USAGE

UNITS = Path(__file__).parents[2] / "systemd"
NAMES = ["thoth-watch.service", "thoth-watch-once.service", "thoth-watch-once.timer"]


def unit(name: str) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(strict=False, delimiters=("=",), interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(UNITS / name)
    return parser


def verify(folder: Path, name: str, *, typo: tuple[str, str] = ("", "")) -> str:
    """What systemd-analyze says of the units, with a program that exists in the place of ours."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    for each in NAMES:
        text = (UNITS / each).read_text().replace("/usr/bin/thoth-watch", "/bin/true")
        assert typo[0] in text or each != name
        (folder / each).write_text(text.replace(*typo) if each == name and typo[0] else text)
    command = ["systemd-analyze", "verify", "--man=no", str(folder / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.stderr + (f"exit {done.returncode}" if done.returncode else "")


@pytest.mark.parametrize("name", NAMES)
def test_a_unit_has_nothing_that_systemd_complains_of(name: str, tmp_path: Path) -> None:
    assert verify(tmp_path, name) == ""


@pytest.mark.parametrize(
    ("name", "typo"),
    [
        ("thoth-watch.service", ("Restart=on-failure", "Restart=on-failures")),
        ("thoth-watch-once.service", ("ProtectSystem=", "ProtctSystem=")),
        ("thoth-watch-once.timer", ("*:0/10", "*:0/ten")),
    ],
)
def test_a_typo_in_a_unit_is_found(name: str, typo: tuple[str, str], tmp_path: Path) -> None:
    assert verify(tmp_path, name, typo=typo) != ""


def test_units_start_the_installed_program_with_the_configuration_of_etc() -> None:
    daemon, once = unit(NAMES[0])["Service"], unit(NAMES[1])["Service"]
    where = "-c /etc/thoth-watch/config.yaml"
    assert daemon["ExecStart"] == f"/usr/bin/thoth-watch run {where}"
    assert once["ExecStart"] == f"/usr/bin/thoth-watch once {where}"
    assert unit(NAMES[2])["Timer"]["Unit"] == NAMES[1]


def test_the_daemon_is_not_restarted_for_what_only_a_person_can_mend() -> None:
    codes = unit(NAMES[0])["Service"]["RestartPreventExitStatus"].split()
    assert codes == [str(EXIT_USAGE), str(EXIT_CONFIG)]


def test_a_drain_that_must_wait_is_no_failure_and_one_that_lost_a_file_is() -> None:
    codes = unit(NAMES[1])["Service"]["SuccessExitStatus"].split()
    assert codes == [str(EXIT_TRY_LATER)]
    assert str(EXIT_SOME_FAILED) not in codes


def test_daemon_and_drain_share_user_ledger_and_protection() -> None:
    daemon, once = unit(NAMES[0])["Service"], unit(NAMES[1])["Service"]
    own = {"Type", "ExecStart", "Restart", "RestartSec", "RestartPreventExitStatus"}
    own |= {"SuccessExitStatus", "TimeoutStartSec"}
    assert {k: v for k, v in daemon.items() if k not in own} == {
        k: v for k, v in once.items() if k not in own
    }


def test_the_environment_of_the_units_is_one_that_the_settings_know(tmp_path: Path) -> None:
    from thoth_watch.infrastructure.settings import load

    for name in NAMES[:2]:
        said = [
            line.removeprefix("Environment=").replace("%S", "/var/lib").replace("%C", "/var/cache")
            for line in (UNITS / name).read_text().splitlines()
            if line.startswith("Environment=")
        ]
        settings = load(None, {}, dict(item.split("=", 1) for item in said))
        assert settings.ledger_url == "sqlite:////var/lib/thoth-watch/thoth-watch.db"
