from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from thoth_watch.domain.errors import EXIT_CONFIG, EXIT_RETRY_LATER, EXIT_SOME_FAILED, EXIT_USAGE

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
    """What it prints on standard output; fails on anything that it has to complain of."""
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


def put(folder: Path, *names: str, typo: tuple[str, str] = ("", "")) -> None:
    """Units as they stand, but with a program that exists in the place of ours."""
    for name in names:
        text = (UNITS / name).read_text()
        for program in ("/usr/bin/thoth-watch", "%h/.local/bin/thoth-watch"):
            text = text.replace(program, "/bin/true")
        assert typo[0] in text
        (folder / Path(name).name).write_text(text.replace(*typo) if typo[0] else text)


def verify(folder: Path, name: str) -> str:
    return systemd_analyze("verify", "--man=no", folder / Path(name).name)


@pytest.mark.parametrize("name", NAMES + FOR_USER)
def test_a_unit_has_nothing_that_systemd_complains_of(name: str, tmp_path: Path) -> None:
    put(tmp_path, *(FOR_USER if name in FOR_USER else NAMES))
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
    put(tmp_path, *NAMES)
    put(tmp_path, name, typo=typo)
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
def test_a_service_can_do_little_harm(
    name: str, drop_in: str | None, at_most: float, tmp_path: Path
) -> None:
    put(tmp_path, name)
    if drop_in is not None:
        (tmp_path / f"{name}.d").mkdir()
        shutil.copy(UNITS / "drop-ins" / drop_in, tmp_path / f"{name}.d")
    assert verify(tmp_path, name) == ""
    said = systemd_analyze("security", "--offline=true", tmp_path / name)
    found = re.search(r"Overall exposure level for \S+: (\d+\.\d)", said)
    assert found, said
    assert float(found[1]) <= at_most


def test_a_drop_in_opens_no_more_than_it_says(tmp_path: Path) -> None:
    """Guards the figures above: without the box a service scores about 9."""
    (tmp_path / "bare.service").write_text("[Service]\nExecStart=/bin/true\n")
    said = systemd_analyze("security", "--offline=true", tmp_path / "bare.service")
    assert float(re.findall(r": (\d+\.\d)", said)[-1]) > 8


@pytest.mark.parametrize(
    ("program", "name"),
    [("systemd-sysusers", "thoth-watch.sysusers"), ("systemd-tmpfiles", "thoth-watch.tmpfiles")],
)
def test_user_and_folders_are_made_as_the_snippets_say(
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
            pytest.skip("giving folders away needs root")
        command = ["systemd-tmpfiles", "--create", f"--root={tmp_path}", UNITS / name]
        subprocess.run(command, check=True, timeout=60)
        assert (tmp_path / "srv/thoth-watch").stat().st_mode & 0o7777 == 0o2770


def test_units_start_the_installed_program_with_the_configuration_of_etc() -> None:
    daemon, once = unit(NAMES[0])["Service"], unit(NAMES[1])["Service"]
    where = "-c /etc/thoth-watch/config.yaml"
    assert daemon["ExecStart"] == f"/usr/bin/thoth-watch run {where}"
    assert once["ExecStart"] == f"/usr/bin/thoth-watch once {where}"
    assert unit(NAMES[2])["Timer"]["Unit"] == NAMES[1]


def test_the_daemon_is_not_restarted_for_what_only_a_person_can_mend() -> None:
    codes = unit(NAMES[0])["Service"]["RestartPreventExitStatus"].split()
    assert codes == [str(EXIT_USAGE), str(EXIT_CONFIG)]


def test_the_daemon_says_when_it_is_ready_and_that_it_still_works() -> None:
    for name in ("thoth-watch.service", "thoth-watch@.service", "user/thoth-watch.service"):
        said = unit(name)["Service"]
        assert (said["Type"], said["NotifyAccess"]) == ("notify", "main")
        assert said["WatchdogSec"]
        assert "-HUP" in said["ExecReload"]


def test_a_drain_that_must_wait_is_no_failure_and_one_that_lost_a_file_is() -> None:
    codes = unit(NAMES[1])["Service"]["SuccessExitStatus"].split()
    assert codes == [str(EXIT_RETRY_LATER)]
    assert str(EXIT_SOME_FAILED) not in codes


def test_daemon_and_drain_share_user_ledger_and_protection() -> None:
    daemon, once = unit(NAMES[0])["Service"], unit(NAMES[1])["Service"]
    own = {"Type", "ExecStart", "Restart", "RestartSec", "RestartPreventExitStatus"}
    own |= {"SuccessExitStatus", "TimeoutStartSec", "NotifyAccess", "WatchdogSec", "ExecReload"}
    assert {k: v for k, v in daemon.items() if k not in own} == {
        k: v for k, v in once.items() if k not in own
    }


def test_all_daemons_differ_in_nothing_but_their_configuration() -> None:
    one = (UNITS / "thoth-watch.service").read_text().partition("[Unit]")[2]
    many = (UNITS / "thoth-watch@.service").read_text().partition("[Unit]")[2]
    many = many.replace("%i.yaml", "config.yaml").replace("%i.db", "thoth-watch.db")
    assert many.replace(" (%i)", "") == one


def test_a_worker_is_told_alone_to_stop_and_has_time_for_it() -> None:
    daemon, worker = unit("thoth-watch@.service")["Service"], unit(NAMES[5])["Service"]
    assert worker["ExecStart"].startswith("/usr/bin/thoth-watch worker --name gpu%i -c ")
    assert (worker["KillMode"], worker["TimeoutStopSec"]) == ("mixed", "15min")
    for key in ("User", "Group", "StateDirectory", "RestartPreventExitStatus", "ReadWritePaths"):
        assert worker[key] == daemon[key]
    assert "CUDA_VISIBLE_DEVICES=%i" in (UNITS / NAMES[5]).read_text()


def test_who_tells_the_hooks_finds_the_daemons_ledger_and_waits_for_one() -> None:
    daemon, hooks = unit(NAMES[0])["Service"], unit(NAMES[4])["Service"]
    assert hooks["ExecStart"] == daemon["ExecStart"].replace(" run ", " hooks ")
    for key in ("User", "Group", "StateDirectory", "RestartPreventExitStatus", "ReadWritePaths"):
        assert hooks[key] == daemon[key]
    ledger = "Environment=THOTH_WATCH_LEDGER_URL="
    lines = [(UNITS / name).read_text().splitlines() for name in (NAMES[0], NAMES[4])]
    of_daemon, of_hooks = ([x for x in some if x.startswith(ledger)] for some in lines)
    assert of_daemon == of_hooks
    assert unit(NAMES[4])["Unit"]["StartLimitIntervalSec"] == "0"


def test_the_environment_of_the_units_is_one_that_the_settings_know(tmp_path: Path) -> None:
    from thoth_watch.infrastructure.settings import load

    for name in NAMES[:2]:
        said = [
            item.replace("%S", "/var/lib").replace("%C", "/var/cache")
            for line in (UNITS / name).read_text().splitlines()
            if line.startswith("Environment=")
            for item in line.removeprefix("Environment=").split()
        ]
        settings = load(None, {}, dict(item.split("=", 1) for item in said))
        assert settings.ledger_url == "sqlite:////var/lib/thoth-watch/thoth-watch.db"
