"""Files that several processes share: a lock that holds between them, and writes that are whole or not there."""

from __future__ import annotations

import errno
import logging
import os
import secrets
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import StoreUnavailable

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

POLL_FIRST = 0.0005
"""Seconds before the second look at a lock that another process holds; doubled up to POLL_LONGEST."""

POLL_LONGEST = 0.004

TURN = ".turn"
"""Ending of the file beside a lock whose holder is the next one to get the lock."""

REPLACE_TRIES = 500
"""Tries to replace a file that somebody reads; only Windows refuses that, for as long as it is open."""

log = logging.getLogger(__name__)

_BUSY = {errno.EAGAIN, errno.EACCES, errno.EWOULDBLOCK, errno.EDEADLK}

_threads: dict[str, tuple[threading.Lock, int]] = {}
"""Path -> the lock between this process's threads and how many hold or want it."""
_threads_guard = threading.Lock()


@contextmanager
def locked(path: Path, timeout: float = 10.0) -> Iterator[None]:
    """Holds the lock that ``path`` stands for, exclusively between processes and between threads.

    The file, one beside it (``.turn``) and the folder are made when they are missing; the holder
    may delete them. Processes get it about in turn. Not reentrant. The lock of a process that
    dies is free at once. Raises StoreUnavailable when ``timeout`` seconds pass, or when the file
    system knows no locks.
    """
    deadline = time.monotonic() + timeout
    # On NFS flock is a POSIX lock, which does not hold between threads of one process.
    with _between_threads(path, deadline):
        try:
            file = _acquire(path, deadline)
        except OSError as error:
            if isinstance(error, StoreUnavailable):
                raise
            raise StoreUnavailable(f"{path} can't be locked: {error.strerror or error}", path=str(path)) from error
        try:
            yield
        finally:
            _let_go(file)


def write_atomically(path: Path, data: bytes | bytearray | memoryview, mode: int = 0o666) -> None:
    """Makes ``data`` the file's content, whole and on the disk, or leaves the file as it was.

    ``mode`` is what its owner and others may do, less what the process's umask takes away.
    Raises StoreUnavailable with the reason (disk full, read-only, no folder); no temporary file
    stays behind unless the process is killed (it is then named ``.HEX.tmp``).
    """
    temporary = path.parent / f".{secrets.token_hex(8)}.tmp"
    try:
        try:
            with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, mode), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            _replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
    except OSError as error:
        raise StoreUnavailable(f"{path} can't be written: {error.strerror or error}", path=str(path)) from error
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Puts a folder's own entries (new, renamed and removed names) on the disk; nothing to do on Windows.

    A failure is logged and no error: the names are there, but may not outlive a power cut.
    """
    if sys.platform == "win32":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        # Some network file systems can't sync a folder; their renames are as durable as they get.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            log.error("gatebus: the names in %s can't be synced: %s", folder, error)


_BINARY = getattr(os, "O_BINARY", 0)


@contextmanager
def _between_threads(path: Path, deadline: float) -> Iterator[None]:
    key = os.path.abspath(path)
    with _threads_guard:
        lock, users = _threads.get(key, (threading.Lock(), 0))
        _threads[key] = (lock, users + 1)
    try:
        if not lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise _timed_out(path)
        try:
            yield
        finally:
            lock.release()
    finally:
        with _threads_guard:
            lock, users = _threads[key]
            if users == 1:
                del _threads[key]
            else:
                _threads[key] = (lock, users - 1)


def _acquire(path: Path, deadline: float) -> int:
    # Who just let go would be back before the next look of those who wait, and they would never get
    # their turn. So one of them holds the turn, and looks more often.
    turn = _take(path.with_name(path.name + TURN), deadline, POLL_LONGEST)
    try:
        return _take(path, deadline, POLL_FIRST)
    finally:
        _let_go(turn)


def _take(path: Path, deadline: float, longest: float) -> int:
    pause = POLL_FIRST
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT | _BINARY, 0o666)
        try:
            # A holder may have deleted the file meanwhile: a lock on what has no name locks nobody out.
            if _try_lock(file) and _is_at(path, file):
                return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)
        if time.monotonic() + pause > deadline:
            raise _timed_out(path)
        time.sleep(pause)
        pause = min(2 * pause, longest)


def _is_at(path: Path, file: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(file))
    except FileNotFoundError:
        return False


def _try_lock(file: int) -> bool:
    try:
        if sys.platform == "win32":
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _BUSY:
            return False
        raise
    return True


def _let_go(file: int) -> None:
    # Explicit, because a forked child holds a copy of the descriptor that closing here does not close.
    if sys.platform == "win32":
        os.lseek(file, 0, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_UNLCK, 1)
    else:
        fcntl.flock(file, fcntl.LOCK_UN)
    os.close(file)


def _replace(temporary: Path, path: Path) -> None:
    for _ in range(REPLACE_TRIES if sys.platform == "win32" else 0):
        try:
            os.replace(temporary, path)
            return
        except PermissionError:
            time.sleep(POLL_LONGEST)
    os.replace(temporary, path)


def _timed_out(path: Path) -> StoreUnavailable:
    return StoreUnavailable(f"{path} is locked by another process or thread; try again", path=str(path))
