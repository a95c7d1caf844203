from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from thoth_watch.domain.errors import EXIT_CONFIG, EXIT_RETRY_LATER, EXIT_SOME_FAILED, EXIT_USAGE
from thoth_watch.infrastructure.systemd import Installation
from thoth_watch.infrastructure.systemd.unit_rendering import GENERATED_MARKS

UNITS = Path(__file__).parents[2] / "systemd"
NAMES = [
    "thoth-watch.service",
    "thoth-watch-once.service",
    "thoth-watch-once.timer",
    "thoth-watch@.service",
    "thoth-watch-hooks.service",
    "thoth-watch-worker@.service",
]
FOR_USER = [f"user/{name}" for name in (*NAMES[:3], NAMES[4])]


def unit(name: str) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(strict=False, delimiters=("=",), interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(UNITS / name)
    return parser


def systemd_analyze(*arguments: str | Path) -> str:
    """Return its complaints on standard error, or its output if there are none."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    done = subprocess.run(
        ["systemd-analyze", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.stderr + (f"exit {done.returncode}" if done.returncode else "") or done.stdout


def copy_units(folder: Path, *names: str, typo: tuple[str, str] = ("", "")) -> None:
    """Copy units into a folder, with an existing program instead of thoth-watch."""
    for name in names:
        text = (UNITS / name).read_text()
        for program in ("/usr/bin/thoth-watch", "%h/.local/bin/thoth-watch"):
            text = text.replace(program, "/bin/true")
        assert typo[0] in text
        (folder / Path(name).name).write_text(text.replace(*typo) if typo[0] else text)


def verify(folder: Path, name: str) -> str:
    return systemd_analyze("verify", "--man=no", folder / Path(name).name)


@pytest.mark.parametrize("name", NAMES + FOR_USER)
def test_systemd_verifies_each_unit_without_complaints(name: str, tmp_path: Path) -> None:
    copy_units(tmp_path, *(FOR_USER if name in FOR_USER else NAMES))
    assert verify(tmp_path, name) == ""


@pytest.mark.parametrize(
    ("name", "typo"),
    [
        ("thoth-watch.service", ("Restart=on-failure", "Restart=on-failures")),
        ("thoth-watch-once.service", ("ProtectSystem=", "ProtctSystem=")),
        ("thoth-watch-once.timer", ("*:0/10", "*:0/ten")),
        ("thoth-watch@.service", ("PrivateUsers=yes", "PrivateUsers=perhaps")),
        ("user/thoth-watch.service", ("LockPersonality", "LokPersonality")),
    ],
)
def test_a_typo_in_a_unit_is_found(name: str, typo: tuple[str, str], tmp_path: Path) -> None:
    copy_units(tmp_path, *NAMES)
    copy_units(tmp_path, name, typo=typo)
    assert verify(tmp_path, name) != ""


@pytest.mark.parametrize(
    ("name", "drop_in", "at_most"),
    [
        ("thoth-watch.service", None, 0.6),
        ("thoth-watch-once.service", None, 0.6),
        ("thoth-watch@.service", None, 0.6),
        ("thoth-watch.service", "gpu.conf", 1.0),
        ("thoth-watch.service", "downloads.conf", 1.5),
        ("thoth-watch-hooks.service", None, 1.5),
        ("thoth-watch-worker@.service", None, 1.5),
    ],
)
def test_each_service_has_a_low_exposure_level(
    name: str, drop_in: str | None, at_most: float, tmp_path: Path
) -> None:
    copy_units(tmp_path, name)
    if drop_in is not None:
        (tmp_path / f"{name}.d").mkdir()
        shutil.copy(UNITS / "drop-ins" / drop_in, tmp_path / f"{name}.d")
    assert verify(tmp_path, name) == ""
    report = systemd_analyze("security", "--offline=true", tmp_path / name)
    found = re.search(r"Overall exposure level for \S+: (\d+\.\d)", report)
    assert found, report
    assert float(found[1]) <= at_most


def test_a_service_without_restrictions_has_a_high_exposure_level(tmp_path: Path) -> None:
    """Check the measure of the test above: a service without restrictions scores about 9."""
    (tmp_path / "bare.service").write_text("[Service]\nExecStart=/bin/true\n")
    report = systemd_analyze("security", "--offline=true", tmp_path / "bare.service")
    assert float(re.findall(r": (\d+\.\d)", report)[-1]) > 8


@pytest.mark.parametrize(
    ("program", "name"),
    [("systemd-sysusers", "thoth-watch.sysusers"), ("systemd-tmpfiles", "thoth-watch.tmpfiles")],
)
def test_the_snippets_create_the_user_and_the_folders(
    program: str, name: str, tmp_path: Path
) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    (tmp_path / "etc").mkdir()
    users = UNITS / "thoth-watch.sysusers"
    subprocess.run(["systemd-sysusers", f"--root={tmp_path}", users], check=True, timeout=60)
    assert "thoth-watch:" in (tmp_path / "etc/passwd").read_text()
    if program == "systemd-tmpfiles":
        if os.geteuid() != 0:
            pytest.skip("changing the owner of folders needs root")
        command = ["systemd-tmpfiles", "--create", f"--root={tmp_path}", UNITS / name]
        subprocess.run(command, check=True, timeout=60)
        assert (tmp_path / "srv/thoth-watch").stat().st_mode & 0o7777 == 0o2770


def test_units_start_the_installed_program_with_the_configuration_of_etc() -> None:
    daemon, once = unit(NAMES[0])["Service"], unit(NAMES[1])["Service"]
    option = "-c /etc/thoth-watch/config.yaml"
    assert daemon["ExecStart"] == f"/usr/bin/thoth-watch run {option}"
    assert once["ExecStart"] == f"/usr/bin/thoth-watch once {option}"
    assert unit(NAMES[2])["Timer"]["Unit"] == NAMES[1]


def test_the_daemon_is_not_restarted_after_permanent_errors() -> None:
    codes = unit(NAMES[0])["Service"]["RestartPreventExitStatus"].split()
    assert codes == [str(EXIT_USAGE), str(EXIT_CONFIG)]


def test_the_daemon_notifies_readiness_and_has_a_watchdog() -> None:
    for name in ("thoth-watch.service", "thoth-watch@.service", "user/thoth-watch.service"):
        service = unit(name)["Service"]
        assert (service["Type"], service["NotifyAccess"]) == ("notify", "main")
        assert service["WatchdogSec"]
        assert "-HUP" in service["ExecReload"]


def test_a_drain_that_must_retry_later_succeeds_and_one_with_failed_files_fails() -> None:
    codes = unit(NAMES[1])["Service"]["SuccessExitStatus"].split()
    assert codes == [str(EXIT_RETRY_LATER)]
    assert str(EXIT_SOME_FAILED) not in codes


def test_daemon_and_drain_share_user_ledger_and_protection() -> None:
    daemon, once = unit(NAMES[0])["Service"], unit(NAMES[1])["Service"]
    specific = {"Type", "ExecStart", "Restart", "RestartSec", "RestartPreventExitStatus"}
    specific |= {"SuccessExitStatus", "TimeoutStartSec", "NotifyAccess", "WatchdogSec"}
    specific |= {"ExecReload"}
    assert {k: v for k, v in daemon.items() if k not in specific} == {
        k: v for k, v in once.items() if k not in specific
    }


def test_instances_differ_from_the_daemon_only_in_their_configuration() -> None:
    daemon = (UNITS / "thoth-watch.service").read_text().partition("[Unit]")[2]
    template = (UNITS / "thoth-watch@.service").read_text().partition("[Unit]")[2]
    template = template.replace("%i.yaml", "config.yaml").replace("%i.db", "thoth-watch.db")
    assert template.replace(" (%i)", "") == daemon


def test_only_the_main_process_of_a_worker_gets_sigterm_with_time_to_stop() -> None:
    daemon, worker = unit("thoth-watch@.service")["Service"], unit(NAMES[5])["Service"]
    assert worker["ExecStart"].startswith("/usr/bin/thoth-watch worker --name gpu%i -c ")
    assert (worker["KillMode"], worker["TimeoutStopSec"]) == ("mixed", "15min")
    for key in ("User", "Group", "StateDirectory", "RestartPreventExitStatus", "ReadWritePaths"):
        assert worker[key] == daemon[key]
    assert "CUDA_VISIBLE_DEVICES=%i" in (UNITS / NAMES[5]).read_text()


def test_the_hooks_unit_uses_the_daemons_ledger_and_waits_for_it() -> None:
    daemon, hooks = unit(NAMES[0])["Service"], unit(NAMES[4])["Service"]
    assert hooks["ExecStart"] == daemon["ExecStart"].replace(" run ", " hooks ")
    for key in ("User", "Group", "StateDirectory", "RestartPreventExitStatus", "ReadWritePaths"):
        assert hooks[key] == daemon[key]
    ledger = "Environment=THOTH_WATCH_LEDGER_URL="
    lines = [(UNITS / name).read_text().splitlines() for name in (NAMES[0], NAMES[4])]
    daemon_ledger, hooks_ledger = (
        [line for line in unit_lines if line.startswith(ledger)] for unit_lines in lines
    )
    assert daemon_ledger == hooks_ledger
    assert unit(NAMES[4])["Unit"]["StartLimitIntervalSec"] == "0"


def test_the_settings_accept_the_environment_of_the_units(tmp_path: Path) -> None:
    from thoth_watch.infrastructure.settings import load

    for name in NAMES[:2]:
        environment = [
            item.replace("%S", "/var/lib").replace("%C", "/var/cache")
            for line in (UNITS / name).read_text().splitlines()
            if line.startswith("Environment=")
            for item in line.removeprefix("Environment=").split()
        ]
        settings = load(None, {}, dict(item.split("=", 1) for item in environment))
        assert settings.ledger_url == "sqlite:////var/lib/thoth-watch/thoth-watch.db"


@pytest.mark.parametrize("mark", GENERATED_MARKS)
def test_units_of_earlier_versions_are_removed_too(mark: str, tmp_path: Path) -> None:
    path = tmp_path / "systemd/user/thoth-watch.service"
    path.parent.mkdir(parents=True)
    path.write_text(mark + "[Service]\n")
    assert Installation(tmp_path, for_user=True, is_live=False).remove() == [path]
    assert not path.exists()
