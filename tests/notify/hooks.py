"""A server that stands for the services outside: it records what arrives, and behaves as the path says."""

from __future__ import annotations

import email
import email.policy
import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass
class Arrived:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def query(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}

    @property
    def parts(self) -> dict[str, tuple[str, bytes]]:
        """name -> (file name or "", content) of a multipart form."""
        head = f"Content-Type: {self.headers['content-type']}\r\n\r\n".encode()
        parsed = email.message_from_bytes(head + self.body, policy=email.policy.HTTP)
        found = {}
        for part in parsed.iter_parts():  # type: ignore[attr-defined]
            name = part.get_param("name", header="content-disposition")
            found[name] = (part.get_filename() or "", part.get_payload(decode=True))
        return found


@dataclass
class Hooks:
    """Paths begin with what happens: ``/ok``, ``/hang``, ``/flaky`` (503 three times, then 200), ``/moved``
    (a redirect to /stolen), ``/trickle`` (a byte now and then), ``/big`` (300 MB), ``/gone`` (404 that repeats the
    path), ``/no-pictures`` (413 for anything but text and JSON), ``/later`` (429 once)."""

    arrived: list[Arrived] = field(default_factory=list)
    sent_back: int = 0
    """Bytes that the last /big got rid of."""

    def __post_init__(self) -> None:
        self.free = threading.Event()
        """When set, ``/hang`` answers."""
        hooks = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if self.headers.get("Transfer-Encoding") == "chunked":
                    while size := int(self.rfile.readline().strip(), 16):
                        body += self.rfile.read(size)
                        self.rfile.readline()
                    self.rfile.readline()
                arrived = Arrived(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
                hooks.arrived.append(arrived)
                try:
                    self.behave(arrived)
                except OSError:
                    self.close_connection = True

            def do_GET(self) -> None:
                hooks.arrived.append(Arrived(self.path, dict(self.headers), b""))
                self.answer(200)

            def behave(self, arrived: Arrived) -> None:
                kind = urlsplit(self.path).path.split("/")[1]
                times = len(hooks.at(f"/{kind}"))
                if kind == "hang":
                    hooks.free.wait(60)
                    self.answer(200)
                elif kind == "flaky":
                    self.answer(200 if times > 3 else 503)
                elif kind == "later":
                    self.answer(200 if times > 1 else 429, b'{"retry_after": 0.4}')
                elif kind == "moved":
                    self.answer(307, Location="/stolen")
                elif kind == "gone":
                    self.answer(404, f"there is no {self.path}".encode())
                elif kind == "no-pictures":
                    text = arrived.headers["content-type"].startswith(("text/", "application/json"))
                    self.answer(200 if text else 413)
                elif kind == "trickle":
                    self.begin(1000)
                    for _ in range(1000):
                        self.wfile.write(b"x")
                        time.sleep(0.05)
                elif kind == "big":
                    self.begin(300_000_000)
                    hooks.sent_back = 0
                    for _ in range(3000):
                        self.wfile.write(b"x" * 100_000)
                        hooks.sent_back += 100_000
                else:
                    self.answer(200, b'{"ok": true}')

            def begin(self, length: int) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(length))
                self.end_headers()

            def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def at(self, path: str) -> list[Arrived]:
        """What arrived below that path."""
        return [arrived for arrived in list(self.arrived) if arrived.path.startswith(path)]

    def told(self, path: str = "/ok", event: str = "opened") -> list[str]:
        """The gates that signed webhooks told of, in order."""
        return [gate["id"] for arrived in self.at(path) for gate in arrived.json["gates"] if gate["event"] == event]

    def close(self) -> None:
        self.free.set()
        self.server.shutdown()
        self.server.server_close()
