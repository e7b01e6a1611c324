"""The address under which a browser opens a ComfyUI, as far as a process can know its own."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

from ..settings import Settings

_NOWHERE = "192.0.2.1"
"""An address for documentation, which nobody has: asked which way leads there, a machine names its main address."""


def address(settings: Settings, scheme: str, hosts: Sequence[str], port: int) -> tuple[str, str]:
    """(URL, reach) of a server that listens on ``hosts``; see ``Instance.reach``. Sends nothing."""
    if settings.instance_url:
        return settings.instance_url.rstrip("/"), "setting"
    open_to_all = [host for host in hosts if _is(host, "is_unspecified")]
    others = [host for host in hosts if host not in open_to_all and not _is(host, "is_loopback")]
    if others:
        # It listens on this very address.
        return _url(scheme, others[0], port), "guess"
    if open_to_all:
        towards = urlsplit(settings.store_url).hostname or ""
        for target in (towards, _NOWHERE):
            own = _own_address(target) if target else ""
            if own and not _is(own, "is_loopback"):
                return _url(scheme, own, port), "guess"
    return _url(scheme, next((host for host in hosts if host not in open_to_all), "127.0.0.1"), port), "loopback"


def _url(scheme: str, host: str, port: int) -> str:
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _is(host: str, what: str) -> bool:
    if host == "localhost":
        return what == "is_loopback"
    try:
        return bool(getattr(ipaddress.ip_address(host), what))
    except ValueError:
        return False


def _own_address(target: str) -> str:
    """This machine's address on the way to the target, "" when there is no way. A datagram socket sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((target, 9))
        except OSError:
            return ""
        return str(probe.getsockname()[0])
