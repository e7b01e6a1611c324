"""Settings: ``GATEBUS_*`` variables over one JSON file over the defaults.

The file is ``settings.json`` in ComfyUI's system user directory (``user/__gatebus/``), which no
HTTP route serves; it holds the field names below as keys, e.g. ``{"store_url": "redis://..."}``.
A variable is the field's name in capitals behind ``GATEBUS_``: ``GATEBUS_STORE_URL``.
"""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from . import setting_values as values
from .errors import InvalidSetting
from .peer import Network
from .setting_values import Token

PREFIX = "GATEBUS_"
MIB = 1024 * 1024


def _setting(default: Any, parse: Callable[[Any], Any], doc: str) -> Any:
    """A field with its parser (from a variable's text or the file's JSON value) and its description."""
    if isinstance(default, Callable):  # type: ignore[arg-type]
        return field(default_factory=default, metadata={"parse": parse, "doc": doc})
    return field(default=default, metadata={"parse": parse, "doc": doc})


def _secret_setting(default: Any, parse: Callable[[Any], Any], doc: str) -> Any:
    """As :func:`_setting`, for what must not be printed with the settings."""
    return field(default=default, repr=False, metadata={"parse": parse, "doc": doc})


def _host_name() -> str:
    """This machine's name, in the form that names take here."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", socket.gethostname()).strip("-")[:40]
    return plain or "comfyui"


@dataclass(frozen=True)
class Settings:
    """Every setting, checked. Build it with :meth:`load` or :meth:`from_env`; the defaults work on one machine."""

    store_url: str = _setting(
        "",
        values.store_url,
        "Where the shared state is: redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://"
        " (rediss+… with TLS). Empty: this machine only.",
    )
    namespace: str = _setting(
        "gatebus", values.namespace, "First word of every Redis key; farms that share a Redis differ in it."
    )
    instance: str = _setting(
        _host_name, values.name, "The name under which people see this process. Default: the host's name."
    )
    instance_url: str = _setting(
        "",
        values.page_url,
        "Address under which a browser opens this ComfyUI, e.g. http://studio:8188. Default: where it listens.",
    )
    disk_dir: Path | None = _setting(
        None,
        values.folder,
        "Folder that holds grid_pool/ and gate_bus/. Default: ComfyUI's input directory.",
    )
    state_dir: Path | None = _setting(
        None,
        values.folder,
        "Folder for the identity of this process, thumbnails and, without Redis, gates and the decision log."
        " Default: ComfyUI's user/__gatebus.",
    )
    lease: float = _setting(
        15.0, values.seconds(1, 3600), "Seconds for which a waiting gate counts as alive without renewing."
    )
    tick: float = _setting(
        2.0, values.seconds(0.1, 60), "Seconds between two looks at a waiting gate when no wake-up comes."
    )
    keep_decided: float = _setting(
        604_800.0, values.seconds(60, 31_536_000), "Seconds for which a gate that ended is remembered."
    )
    keep_images: float = _setting(
        3600.0,
        values.seconds(0, 31_536_000),
        "Seconds for which the images of a gate that ended, and what a run goes on from, stay in the store; at most as"
        " long as it is remembered.",
    )
    decision_log: int = _setting(
        1_000_000, values.whole(0, 2**40), "Entries of the decision log that are kept, the newest; 0: all."
    )
    replicas: int = _setting(
        0, values.whole(0, 9), "Redis replicas that must confirm a decision before it is answered as made."
    )
    when_waiting: str = _setting(
        "hold",
        values.choice("hold", "park"),
        "What gates do that are left at default: hold keeps their prompt until the decision, park ends it and goes on"
        " from there.",
    )
    max_gates: int = _setting(1000, values.whole(1, 100_000), "Waiting gates of one process.")
    max_image_bytes: int = _setting(256 * MIB, values.whole(1024, 2**33), "Bytes of one encoded image from outside.")
    max_pixels: int = _setting(
        64_000_000, values.whole(1, 2**31), "Pixels of one image from outside, before it is decoded."
    )
    max_frames: int = _setting(1024, values.whole(1, 65_536), "Images in one batch.")
    max_slots: int = _setting(20_000, values.whole(1, 1_000_000), "Slots of one pool.")
    max_archive_bytes: int = _setting(
        4096 * MIB, values.whole(1024, 2**40), "Bytes of a pool's zip, packed and unpacked."
    )
    bus_versions: int = _setting(5, values.whole(1, 1000), "Versions of a bus that are kept.")
    version_grace: float = _setting(
        600.0, values.seconds(1, 604_800), "Seconds for which a dropped bus version can still be read."
    )
    compression: str = _setting(
        "stored",
        values.choice("stored", "fast", "small"),
        "PNG frames in the store: stored (fastest on a local network), fast (deflate level 1) or small (level 6).",
    )
    tokens: tuple[Token, ...] = _setting(
        (),
        values.tokens,
        "Accepted bearer tokens as role:name:sha256, with commas between. Empty: none is asked for.",
    )
    allowed_hosts: tuple[str, ...] = _setting(
        (),
        values.hosts,
        "Host names besides localhost, this machine's name and plain IP addresses, e.g. of a proxy.",
    )
    public_url: str = _setting(
        "",
        values.public_url,
        "Where people open the broker's page, e.g. https://gates.example.org/farm/. Messages link to it.",
    )
    notify: tuple[str, ...] = _secret_setting(
        (),
        values.targets,
        "Who is told of gates: webhook URLs with commas between, FORM+https://… with json, discord, slack, telegram or"
        " ntfy. Secret.",
    )
    notify_secret: str = _secret_setting(
        "", values.secret, "Signs what goes to json webhooks, e.g. `openssl rand -hex 32`."
    )
    notify_events: tuple[str, ...] = _setting(
        ("opened", "orphaned"),
        values.events,
        "What is told: opened, waiting (for GATEBUS_NOTIFY_AFTER seconds), orphaned, deadline (it decided), failed"
        " (the run that went on from it).",
    )
    notify_after: float = _setting(
        600.0,
        values.seconds(1, 604_800),
        "Seconds after which a gate that nobody decided is told of again, as waiting.",
    )
    notify_every: float = _setting(
        30.0,
        values.seconds(0.1, 86_400),
        "Seconds from one message to a target to the next; what happens between is gathered.",
    )
    trusted_proxies: tuple[Network, ...] = _setting(
        (),
        values.networks,
        "Addresses or networks of proxies whose X-Forwarded-For, -Proto and -Host count. Empty: nobody's.",
    )
    rate_limit: int = _setting(
        500, values.whole(0, 1_000_000), "Changing calls a second of one caller (token, else address); 0: any number."
    )

    comfyui_url: str = _setting(
        "",
        values.page_url,
        "The ComfyUI that `gatebus edit` and `gatebus templates` speak to. Default: http://127.0.0.1:8188.",
    )
    comfyui_token: str = _secret_setting(
        "", values.secret, "Bearer token for it, where a proxy before it asks for one. Secret."
    )
    comfyui_urls: tuple[str, ...] = _setting(
        (),
        values.page_urls,
        "Addresses of ComfyUIs of the farm that do not announce themselves, with commas between.",
    )
    jobs_per_instance: int = _setting(
        2, values.whole(1, 100), "Jobs that one instance has at a time: one runs, the others wait there already."
    )
    max_jobs: int = _setting(10_000, values.whole(1, 1_000_000), "Jobs that wait; more are answered with 503.")
    max_jobs_each: int = _setting(
        2000, values.whole(1, 1_000_000), "Jobs of one submitter that wait; more are answered with 429."
    )
    keep_results: float = _setting(
        604_800.0, values.seconds(3600, 31_536_000), "Seconds for which the inputs and results of jobs are kept."
    )
    templates_dir: Path | None = _setting(
        None,
        values.folder,
        "Folder of one's own workflow templates. Default: ~/.local/share/gatebus/templates.",
    )
    backup_dir: Path | None = _setting(
        None,
        values.folder,
        "Folder for the former versions of workflow templates. Default: .backups beside them.",
    )
    output_dir: Path | None = _setting(
        None,
        values.folder,
        "Folder for edited images (default: where the command is called); of a broker, for jobs that name one in it.",
    )
    log_level: str = _setting(
        "",
        values.log_level,
        "What the broker logs: debug, info, warning or error. Default: info, of `gatebus up` warning.",
    )

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """The settings of the ``GATEBUS_*`` variables alone; raises InvalidSetting."""
        return cls.load(None, environ)

    @classmethod
    def load(cls, file: Path | None, environ: Mapping[str, str] | None = None) -> Settings:
        """The settings of the file (when it exists) and of the variables, which win.

        Raises InvalidSetting, which names the variable or key, what is accepted, and never a
        value (it may be a secret). An unknown key or ``GATEBUS_*`` variable is refused: it is a
        misspelt one.
        """
        environ = os.environ if environ is None else environ
        known = {f.name: f for f in fields(cls)}
        given: dict[str, tuple[str, Any]] = {}
        for key, value in _read(file).items():
            given[key] = (f"{key} in {file}", value)
        for variable, value in environ.items():
            if variable.startswith(PREFIX):
                given[variable[len(PREFIX) :].lower()] = (variable, value)
        checked = {}
        for key, (where, value) in given.items():
            if key not in known:
                raise InvalidSetting(f"{where} is no setting; there are: {', '.join(sorted(known))}", setting=key)
            try:
                checked[key] = known[key].metadata["parse"](value)
            except ValueError as error:
                raise InvalidSetting(f"{where} must be {error}", setting=key) from None
        settings = cls(**checked)
        if settings.lease < 3 * settings.tick:
            raise InvalidSetting("GATEBUS_LEASE must be at least three times GATEBUS_TICK", setting="lease")
        return settings

    @property
    def safe_url(self) -> str:
        """The store URL without user, password and query, for messages and logs."""
        parts = urlsplit(self.store_url)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))

    @classmethod
    def describe(cls) -> list[tuple[str, str, str]]:
        """(variable, default, description) of every setting, for the docs and ``gatebus doctor``."""
        return [
            (
                PREFIX + f.name.upper(),
                "" if callable(f.default_factory) or f.default in (None, ()) else _shown(f.default),
                f.metadata["doc"],
            )
            for f in fields(cls)
        ]


def _shown(default: Any) -> str:
    return ",".join(default) if isinstance(default, tuple) else str(default)


def _read(file: Path | None) -> dict[str, Any]:
    if file is None or not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise InvalidSetting(f"{file} can't be read as JSON: {error}", file=str(file)) from error
    if not isinstance(content, dict):
        raise InvalidSetting(f"{file} must hold one JSON object", file=str(file))
    return content
