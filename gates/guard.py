"""Who may talk to the HTTP API: checks on the headers alone, before a body is read.

ComfyUI's own origin check lets a rebound DNS name, ``Origin: null`` and foreign origins on a
LAN address through, so every route of ours is behind this one:

- Host names this machine (or an allowed name), else WrongHost: stops DNS rebinding.
- Origin and Sec-Fetch-Site, when a browser sends them, name our own page, else Forbidden.
- What changes state comes in a form that no HTML form and no other site's page can send
  unasked; the kept multipart routes, which a form can imitate, need proof of our own page.
- A bearer token, when tokens are configured, gives the role and the name; guessing is slowed down.
- One caller changes only so much in a second.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import math
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass

from .errors import Forbidden, InvalidInput, TooMany, Unauthorized, WrongHost
from .limits import Guesses, Rate
from .peer import Headers, Peer, Proxies
from .setting_values import Token
from .settings import Settings

RANKS = {"view": 1, "decide": 2, "admin": 3}
"""Each role may do what the ones before it may. ``instance`` is not among them: it only registers instances."""

CONTENT_TYPES = {
    "json": ("application/json",),
    "image": ("image/png", "image/jpeg", "image/webp", "application/octet-stream"),
    "archive": ("application/zip", "application/x-zip-compressed", "application/octet-stream"),
    "form": ("multipart/form-data",),
}
"""Kind of body -> the content types that it may be declared as."""

_HOST = re.compile(r"(\[[0-9a-fA-F:.]{2,45}\]|[^\[\]:/@\s]{1,253})(?::([0-9]{1,5}))?")
_ORIGIN = re.compile(r"(https?)://([^/@\s]{1,262})", re.IGNORECASE)
_DEFAULT_PORTS = {"http": "80", "https": "443"}


@dataclass(frozen=True)
class Caller:
    """Who sent it: the token's name and role; ("", "admin") when no tokens are configured."""

    name: str
    role: str
    remote: str = ""
    """The address that it came from, "" when it is not known."""


class Guard:
    """The checks for one set of settings; thread-safe."""

    def __init__(self, settings: Settings) -> None:
        name = socket.gethostname().lower()
        short = name.split(".")[0]
        own = {"localhost", name, short, f"{short}.local"}
        self._hosts = own | set(settings.allowed_hosts)
        self._origins = set(settings.allowed_hosts)
        self._proxies = Proxies(settings.trusted_proxies)
        self._guesses = Guesses()
        self._changes = Rate(settings.rate_limit, 2 * settings.rate_limit) if settings.rate_limit else None
        self._tokens: list[tuple[Token, bytes]] = []
        self._asks = False
        self.accept(settings.tokens)

    @property
    def asks(self) -> bool:
        """Whether a token is asked for."""
        return self._asks

    def accept(self, tokens: Iterable[Token]) -> None:
        """From now on these tokens count. One that ever asked for a token goes on asking, also when none is left."""
        self._tokens = [(token, bytes.fromhex(token.sha256)) for token in tokens]
        self._asks = self._asks or bool(self._tokens)

    def peer(self, headers: Headers, remote: str | None, secure: bool = False) -> Peer:
        """Who stands behind a connection from ``remote``, by the word of the proxies that are trusted."""
        return self._proxies.peer(remote, secure, headers)

    def check(
        self,
        headers: Headers,
        role: str,
        body: str = "",
        changes: bool = False,
        *,
        remote: str | None = None,
        secure: bool = False,
    ) -> Caller:
        """Lets it pass and says who it is, or raises.

        ``role`` is what the route needs, ``body`` the kind that it takes (a key of
        CONTENT_TYPES, "" for none), ``changes`` whether it changes anything, ``remote`` the
        address of the connection, ``secure`` whether it is TLS of our own. Raises WrongHost,
        Forbidden, Unauthorized, TooMany, or InvalidInput for a body of another type.
        """
        peer = self.peer(headers, remote, secure)
        host = self._check_host(_single(headers, "Host"))
        if peer.host is not None:
            # Both must be ours: a page under a rebound name can send this header, but not another Host.
            host = self._check_host(peer.host)
        own_page = self._check_origin(host, peer.scheme, _single(headers, "Origin"), _single(headers, "Sec-Fetch-Site"))
        caller = self._identify(_single(headers, "Authorization"), peer)
        if RANKS.get(caller.role, 0) < RANKS[role]:
            raise Forbidden(f"This needs the role {role}; the token's role is {caller.role}", role=role)
        if changes:
            _check_body_headers(headers, body)
            if body == "form" and not own_page and _from_browser(headers):
                raise Forbidden("A form is accepted from this server's own page only")
            wait = self._changes.take(f"token {caller.name}" if caller.name else peer.place) if self._changes else 0.0
            if wait:
                raise _too_many("More changes a second than GATEBUS_RATE_LIMIT allows", wait)
        return caller

    def _check_host(self, header: str | None) -> tuple[str, str]:
        """(host, port) of the Host header, when this server answers for it."""
        match = _HOST.fullmatch((header or "").lower())
        if match is None:
            raise WrongHost("The Host header is missing or malformed")
        host, port = match[1].removesuffix("."), match[2] or ""
        if not (_is_address(host) or host in self._hosts or f"{host}:{port}" in self._hosts):
            raise WrongHost(
                f"This server does not answer for the host {host!a}. If it is yours, add it to GATEBUS_ALLOWED_HOSTS.",
                host=host,
            )
        return host, port

    def _check_origin(self, host: tuple[str, str], scheme: str, origin: str | None, site: str | None) -> bool:
        """Whether headers of a browser prove our own (or an allowed) page; raises Forbidden for another's."""
        allowed = False
        if origin is not None:
            match = _ORIGIN.fullmatch(origin)
            place = _HOST.fullmatch(match[2].lower()) if match else None
            if match is None or place is None:
                raise Forbidden("The Origin header is null or malformed: another site's page sent this")
            default = _DEFAULT_PORTS[match[1].lower()]
            name, port = place[1].removesuffix("."), place[2] or default
            allowed = name in self._origins or f"{name}:{port}" in self._origins
            same = (name, port) == (host[0], host[1] or default) and scheme in ("", match[1].lower())
            if not allowed and not same:
                raise Forbidden(f"A page of {origin[:300]!a} may not use this server", origin=origin[:300])
        if site is not None and site not in ("same-origin", "none") and not (site == "same-site" and allowed):
            raise Forbidden("Another site's page sent this (Sec-Fetch-Site)")
        return origin is not None or site == "same-origin"

    def _identify(self, authorization: str | None, peer: Peer) -> Caller:
        if not self._asks:
            return Caller("", "admin", peer.address)
        scheme, _, given = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not given.strip():
            raise Unauthorized("A bearer token is needed: Authorization: Bearer TOKEN")
        # Headers may carry any byte; aiohttp keeps those that are no UTF-8 as lone surrogates.
        digest = hashlib.sha256(given.strip().encode("utf-8", "surrogateescape")).digest()
        wait = self._guesses.wait(peer.place, digest)
        if wait:
            raise _too_many("Too many wrong tokens came from this address", wait)
        found: Caller | None = None
        for token, accepted in self._tokens:
            # All are compared, so that the time tells nothing.
            if hmac.compare_digest(digest, accepted) and found is None:
                found = Caller(token.name, token.role, peer.address)
        self._guesses.tried(peer.place, digest, wrong=found is None)
        if found is None:
            raise Unauthorized("The bearer token is not known here")
        return found


def _too_many(what: str, wait: float) -> TooMany:
    seconds = math.ceil(wait)
    return TooMany(f"{what}; try again in {seconds} s", retry_after=seconds)


def _single(headers: Headers, name: str) -> str | None:
    """The header's value; raises InvalidInput when it is sent twice (two readers could read two different ones)."""
    values = headers.getall(name, ())
    if len(values) > 1:
        raise InvalidInput(f"The header {name} was sent {len(values)} times", header=name)
    return values[0] if values else None


def _check_body_headers(headers: Headers, body: str) -> None:
    if headers.getall("Content-Encoding", ()):
        raise InvalidInput("Content-Encoding is not accepted: send the bytes as they are", header="Content-Encoding")
    content_type = (_single(headers, "Content-Type") or "").partition(";")[0].strip().lower()
    accepted = CONTENT_TYPES.get(body, ())
    if body and content_type not in accepted:
        raise InvalidInput(
            f"The Content-Type {content_type[:80]!a} is not accepted here; accepted: {', '.join(accepted)}",
            accepted=list(accepted),
        )
    if not body and content_type and content_type not in CONTENT_TYPES["json"]:
        raise InvalidInput("This takes no body", accepted=[])


def _from_browser(headers: Headers) -> bool:
    """Whether a browser may have sent it: it marks what it sends, other clients do not."""
    if any(headers.getall(name, ()) for name in ("Origin", "Referer", "Cookie")):
        return True
    return any(name.lower().startswith("sec-") for name in headers)


def _is_address(host: str) -> bool:
    """Whether it is a plain IP address; a rebound name can't be one."""
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True
