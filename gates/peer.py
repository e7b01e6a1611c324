"""Who stands at the other end of a connection, also behind a proxy that is trusted to tell.

Only X-Forwarded-For, -Proto and -Host are read, and only from an address that the settings name:
anyone else may write them as he likes. The header ``Forwarded`` is not read, because a proxy
that sets the one lets the other through as its client wrote it.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from multidict import CIMultiDict, CIMultiDictProxy

Headers = CIMultiDict[str] | CIMultiDictProxy[str]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

MAX_HOPS = 20
"""Entries of one header that are looked at, from its end."""


@dataclass(frozen=True)
class Peer:
    """Who sent it, as far as that is known."""

    address: str = ""
    """The client's IP address; "" when it came over no IP."""
    scheme: str = ""
    """``http`` or ``https``; "" when a proxy that says nothing may have taken the TLS off."""
    host: str | None = None
    """The host that the client named, where a trusted proxy tells it in X-Forwarded-Host."""

    @property
    def place(self) -> str:
        """What counts as one place: the address; of IPv6 the /64, which one machine has to itself."""
        address = _parse(self.address)
        if isinstance(address, ipaddress.IPv6Address):
            return str(ipaddress.ip_network((address, 64), strict=False))
        return self.address


class Proxies:
    """The proxies that are trusted."""

    def __init__(self, trusted: tuple[Network, ...]) -> None:
        self._trusted = trusted

    def peer(self, remote: str | None, secure: bool, headers: Headers) -> Peer:
        """The peer of a connection from ``remote`` (``secure``: over TLS of our own) with these headers."""
        own = _parse(remote or "")
        address = str(own) if own is not None else ""
        scheme = "https" if secure else ""
        if own is None or not self._trusts(own):
            return Peer(address, scheme)
        hops = 0
        for entry in reversed(_entries(headers, "X-Forwarded-For")):
            hops += 1
            told = _parse(entry)
            if told is None:
                break
            address = str(told)
            if not self._trusts(told):
                break
        forwarded = _at(_entries(headers, "X-Forwarded-Proto"), hops).lower()
        host = _at(_entries(headers, "X-Forwarded-Host"), hops)
        return Peer(address, forwarded if forwarded in ("http", "https") else scheme, host or None)

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)


def _entries(headers: Headers, name: str) -> list[str]:
    """The entries of the header over all its lines, the nearest proxy's last."""
    return [entry.strip() for line in headers.getall(name, ()) for entry in line.split(",")][-MAX_HOPS:]


def _at(entries: list[str], hops: int) -> str:
    """The entry written by the outermost of ``hops`` trusted proxies; what stands before it came from outside."""
    return entries[max(0, len(entries) - max(hops, 1))] if entries else ""


def _parse(text: str) -> Address | None:
    """The IP address of ``1.2.3.4``, ``1.2.3.4:80``, ``::1`` or ``[::1]:80``; None when it is none."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    # A socket for both families shows an IPv4 client in this form.
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
