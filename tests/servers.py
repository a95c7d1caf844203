"""Temporary PostgreSQL, Redis and RabbitMQ servers for tests, from Debian's binaries, on loopback."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

TIMEOUT_S = 120.0  # a broker in Erlang starts slowly on a busy machine
BINARY_FOLDERS = (*Path("/usr/lib/postgresql").glob("*/bin"), Path("/usr/lib/rabbitmq/bin"))


def require(*, binaries: tuple[str, ...] = (), modules: tuple[str, ...] = ()) -> None:
    """Skip the test with a reason if something is missing; with CI=true fail instead."""
    missing = [name for name in binaries if find_binary(name) is None]
    missing += [name for name in modules if importlib.util.find_spec(name) is None]
    if not missing:
        return
    text = f"needs {', '.join(missing)} (make test-deps, make test-scale)"
    if os.environ.get("CI") == "true":
        pytest.fail(text)
    pytest.skip(text)


def find_binary(name: str) -> str | None:
    """Return the path of a server's program; Debian installs some of them outside of PATH."""
    path = os.pathsep.join([*map(str, sorted(BINARY_FOLDERS, reverse=True)), os.environ["PATH"]])
    return shutil.which(name, path=path)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A server in its own folder, run by an unprivileged user; it keeps its port over restarts."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.port = free_port()
        # not in pytest's folder, which the unprivileged user cannot enter
        self.folder = Path(tempfile.mkdtemp(prefix=f"thoth-{name}-"))
        self.user: dict[str, Any] = {}
        if os.geteuid() == 0:  # these servers refuse to run as root
            self.user = {"user": "nobody", "group": "nogroup", "extra_groups": []}
            shutil.chown(self.folder, "nobody", "nogroup")
        self.process: subprocess.Popen[bytes] | None = None

    def launch(self, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start one of the server's programs; its output goes to log.txt, for messages of failed tests."""
        with (self.folder / "log.txt").open("ab") as log:
            return subprocess.Popen(
                arguments,
                cwd=self.folder,
                env={**os.environ, "HOME": str(self.folder), "LC_ALL": "C.UTF-8", **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self.user,
            )

    def command(self) -> tuple[list[str], dict[str, str]]:
        """Return the command that starts the server, and the environment that it needs."""
        raise NotImplementedError

    def is_up(self) -> bool:
        """Return True if the server answers."""
        raise NotImplementedError

    def start(self) -> None:
        """Start the server and wait until it answers."""
        arguments, environment = self.command()
        self.process = self.launch(*arguments, **environment)
        wait_until(self.is_up, lambda: f"{self.name}: {(self.folder / 'log.txt').read_text()}")

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End the server and all processes that it started."""
        if self.process is None:
            return
        with suppress(ProcessLookupError):
            self.process.send_signal(number)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process = None

    def restart(self) -> None:
        """Restart the server, as a package update does; durable data remains."""
        self.stop()
        self.start()

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def wait_until(
    condition: Callable[[], bool],
    failure_message: Callable[[], str],
    *,
    timeout_s: float = TIMEOUT_S,
) -> None:
    """Poll the condition; fail with the message after `timeout_s`."""
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            pytest.fail(failure_message())
        time.sleep(0.05)


class Postgres(Server):
    """A PostgreSQL cluster; each test gets its own database."""

    def __init__(self) -> None:
        super().__init__("postgres")
        self._count = 0
        initdb = self.launch(
            str(find_binary("initdb")), "-D", "data", "-U", "thoth", "--auth=trust", "-E", "UTF8"
        )
        assert initdb.wait(TIMEOUT_S) == 0, (self.folder / "log.txt").read_text()

    def command(self) -> tuple[list[str], dict[str, str]]:
        settings = {"listen_addresses": "127.0.0.1", "fsync": "off", "max_connections": "200"}
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        program = str(find_binary("postgres"))
        arguments = ["-D", "data", "-p", str(self.port), "-k", str(self.folder), *options]
        return [program, *arguments], {}

    def stop(self, number: int = signal.SIGINT) -> None:
        """Stop in PostgreSQL's fast mode, which ends open sessions."""
        super().stop(number)

    def is_up(self) -> bool:
        command = [str(find_binary("pg_isready")), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(command, check=False).returncode == 0

    def new_database(self, *, like: str = "template1") -> str:
        """Create a database, empty or a copy of the one with the URL `like`, and return its URL."""
        import psycopg

        self._count += 1
        name, template = f"thoth{self._count}", like.rpartition("/")[2]
        address = f"postgresql://thoth@127.0.0.1:{self.port}/postgres"
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return f"postgresql+psycopg://thoth@127.0.0.1:{self.port}/{name}"


class Redis(Server):
    """A Redis server with an append-only file, as a broker needs it."""

    def __init__(self) -> None:
        super().__init__("redis")

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> tuple[list[str], dict[str, str]]:
        settings = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        settings += ["--appendonly", "yes", "--maxmemory-policy", "noeviction"]
        return [str(find_binary("redis-server")), *settings], {}

    def is_up(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as line:
            line.sendall(b"PING\r\n")
            return line.recv(5) == b"+PONG"
        return False


class RabbitMQ(Server):
    """A RabbitMQ node with its own port mapper, which ends with the node."""

    def __init__(self) -> None:
        super().__init__("rabbitmq")
        self._mapper_port = free_port()
        self._mapper = self.launch(
            str(find_binary("epmd")), "-port", str(self._mapper_port), "-address", "127.0.0.1"
        )

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def command(self) -> tuple[list[str], dict[str, str]]:
        folder = str(self.folder)
        # not the configuration of a node that the machine may already run
        config = self.folder / "rabbitmq.conf"
        config.write_text(f"listeners.tcp.1 = 127.0.0.1:{self.port}\n")
        return [str(find_binary("rabbitmq-server"))], {
            "RABBITMQ_CONFIG_FILE": str(config),
            "RABBITMQ_CONF_ENV_FILE": f"{folder}/none",
            "ERL_EPMD_PORT": str(self._mapper_port),
            "RABBITMQ_NODENAME": f"thoth{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_BASE": folder,
            "RABBITMQ_MNESIA_BASE": f"{folder}/data",
            "RABBITMQ_LOG_BASE": f"{folder}/log",
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": f"{folder}/pid",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/plugins",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1",
        }

    def is_up(self) -> bool:
        """Return True if the server answers an AMQP protocol header."""
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as line:
            line.settimeout(5)
            line.sendall(b"AMQP\x00\x00\x09\x01")
            return line.recv(1) == b"\x01"
        return False

    def close(self) -> None:
        self.stop()
        self._mapper.kill()
        self._mapper.wait()
        super().close()


@contextmanager
def running(make: Callable[[], Server]) -> Iterator[Any]:
    """Run a server until the end of the block."""
    server = make()
    try:
        server.start()
        yield server
    finally:
        server.close()
