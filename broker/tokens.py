"""The tokens that a settings file holds: made, listed, revoked, and followed by a broker that runs.

A token is shown once, when it is made; the file has its SHA-256 and is readable by its owner alone.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gates.errors import Conflict, GatebusError, InvalidInput, InvalidSetting, NotFound
from gates.filelock import locked, write_atomically
from gates.guard import Guard
from gates.setting_values import ROLES, Token
from gates.settings import Settings

MARK = "gb_"
"""What every token begins with, so that scanners for leaked secrets know one."""

LOOK_AGAIN = 1.0
"""Seconds between two looks of a running broker at its settings file."""

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")

log = logging.getLogger(__name__)


class TokenFile:
    """The ``tokens`` of one settings file; its other settings stay as they are."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def tokens(self) -> tuple[Token, ...]:
        """The tokens of the file, none when there is no file; raises InvalidSetting."""
        return _parse(self._content(), self.path)

    def create(self, role: str, name: str) -> tuple[str, Token]:
        """(the token, what is kept of it). Raises InvalidInput, or Conflict when the name is taken."""
        if role not in ROLES:
            raise InvalidInput(f"The role must be one of {', '.join(ROLES)}", accepted=list(ROLES))
        if not _NAME.fullmatch(name):
            raise InvalidInput("A token's name is 1 to 64 of A-Z a-z 0-9 _ . -", what="name")
        text = MARK + secrets.token_urlsafe(32)
        token = Token(role, name, hashlib.sha256(text.encode()).hexdigest())
        with self._edit() as held:
            if any(other.name == name for other in held):
                raise Conflict(f"There is a token of the name {name} already; revoke it first", name=name)
            held.append(token)
        return text, token

    def revoke(self, name: str) -> Token:
        """Removes the token of that name; raises NotFound."""
        with self._edit() as held:
            found = next((token for token in held if token.name == name), None)
            if found is None:
                raise NotFound(f"{self.path} has no token of the name {name[:80]!a}", name=name[:80])
            held[:] = [token for token in held if token.name != name]
        return found

    @contextmanager
    def _edit(self) -> Iterator[list[Token]]:
        """The tokens, to be changed in place; written when all is well."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # A lock beside it: the file itself is replaced by every write.
        with locked(self.path.with_name(f".{self.path.name}.lock")):
            content = self._content()
            held = list(_parse(content, self.path))
            yield held
            content["tokens"] = [entry(token) for token in held]
            text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
            write_atomically(self.path, text.encode(), mode=0o600)

    def _content(self) -> dict[str, Any]:
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (ValueError, OSError) as error:
            raise InvalidSetting(f"{self.path} can't be read as JSON: {error}", file=str(self.path)) from error
        if not isinstance(content, dict):
            raise InvalidSetting(f"{self.path} must hold one JSON object", file=str(self.path))
        return content


class Followed:
    """A guard that takes up the tokens of a file as they change; looked at from one thread."""

    def __init__(self, guard: Guard, read: Callable[[], Sequence[Token]], known: Sequence[Token]) -> None:
        """``read`` gives the tokens of now, ``known`` are those that the guard has; it may raise GatebusError."""
        self._guard = guard
        self._read = read
        self._known = tuple(known)
        self._fault = ""

    def look(self) -> None:
        """Hands the guard what has changed. A file that can't be read changes nothing, and is logged once."""
        try:
            tokens = tuple(self._read())
        except (GatebusError, OSError) as error:
            if str(error) != self._fault:
                self._fault = str(error)
                log.error("gatebus: the tokens stay as they were: %s", error)
            return
        self._fault = ""
        if tokens == self._known:
            return
        self._guard.accept(tokens)
        added = sorted({token.name for token in tokens} - {token.name for token in self._known})
        gone = sorted({token.name for token in self._known} - {token.name for token in tokens})
        self._known = tokens
        fields = {"accepted": len(tokens), "added": ",".join(added), "revoked": ",".join(gone)}
        log.info("tokens changed", extra={"fields": fields})


def entry(token: Token) -> str:
    """The token as settings hold it."""
    return f"{token.role}:{token.name}:{token.sha256}"


def _parse(content: dict[str, Any], path: Path) -> tuple[Token, ...]:
    parse = Settings.__dataclass_fields__["tokens"].metadata["parse"]
    try:
        tokens: tuple[Token, ...] = parse(content.get("tokens", []))
    except ValueError as error:
        raise InvalidSetting(f"tokens in {path} must be {error}", setting="tokens") from None
    return tokens
