"""Under which addresses other machines may reach this one, as far as it knows."""

from __future__ import annotations

import ipaddress
import socket

_ANYWHERE = (("192.0.2.1", socket.AF_INET), ("2001:db8::1", socket.AF_INET6))
"""Addresses for documentation: which of ours leads there is asked of the routing table, nothing is sent."""


def own_addresses() -> list[str]:
    """This machine's addresses towards others, IPv4 first; empty when there is no network."""
    found = []
    for there, family in _ANYWHERE:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((there, 9))
                address = str(probe.getsockname()[0])
        except OSError:
            continue
        if not ipaddress.ip_address(address.partition("%")[0]).is_loopback:
            found.append(address)
    return found


def reached_at(host: str) -> list[str]:
    """The addresses at which others reach what listens on ``host``: itself, or for "every address" those of ours."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return [] if host == "localhost" else [host]
    if address.is_loopback:
        return []
    if not address.is_unspecified:
        return [host]
    found = own_addresses()
    return [other for other in found if ":" not in other] if address.version == 4 else found


def in_url(host: str) -> str:
    """The host as a URL writes it: IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host
