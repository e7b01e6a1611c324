"""The OpenAPI document tells the truth: a fuzzer sends what it allows and what it forbids, to a real broker."""

from __future__ import annotations

import asyncio
import io
import threading
import uuid
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import schemathesis
from aiohttp import web
from hypothesis import HealthCheck, settings, strategies
from openapi_spec_validator import validate
from PIL import Image
from schemathesis.specs.openapi.checks import allow_header_conformance, ignored_auth, unsupported_method

from broker.app import make_app
from broker.openapi import SERVICE, describe
from broker.server import LINE_LIMIT
from gates import codec
from gates.api import TABLE
from gates.errors import GatebusError
from gates.gate.record import Gate, make_decision
from gates.names import check_name
from gates.settings import Settings
from gates.store import Store, open_store

ROUTES = 10
SIZE = (8, 6)


def is_name(text: str) -> bool:
    with suppress(GatebusError):
        return check_name(text) == text
    return False


def picture(kind: str, mode: str, size: tuple[int, int] = SIZE) -> bytes:
    target = io.BytesIO()
    Image.new(mode, size, 0).save(target, kind)
    return target.getvalue()


def archive(count: int) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as zipped:
        for number in range(count):
            zipped.writestr(f"{number}.png", picture("PNG", "RGB"))
    return target.getvalue()


NAMES = strategies.text(
    strategies.characters(categories=["Lu", "Ll", "Lo", "Nd"], include_characters="_-."), min_size=1, max_size=64
).filter(is_name)
schemathesis.openapi.format("gatebus-name", NAMES)
for kind in ("PNG", "JPEG", "WEBP"):
    schemathesis.openapi.media_type(
        f"image/{kind.lower()}",
        strategies.builds(picture, strategies.just(kind), strategies.sampled_from(["L", "RGB"])),
    )
for media_type in ("application/zip", "application/x-zip-compressed"):
    schemathesis.openapi.media_type(media_type, strategies.builds(archive, strategies.integers(1, 3)))


class Farm:
    """A broker on a port, over a Redis that holds some of everything."""

    def __init__(self, redis_url: str, folder: Path) -> None:
        self.store: Store = open_store(replace(Settings(), store_url=redis_url), folder / "disk", folder / "state")
        self.app = make_app(self.store, folder / "state")
        self.url = ""
        batch = np.zeros((2, SIZE[1], SIZE[0], 3), np.float32)
        preview, image = codec.preview_jpeg(batch), codec.encode(batch, "png")
        for title in ("waits", "decided", "waits too"):
            gate = Gate(uuid.uuid4().hex, width=SIZE[0], height=SIZE[1], batch=2, routes=ROUTES, title=title)
            waiter = self.store.gates.open(gate, preview)
            waiter.store_image(image)
            if title == "decided":
                self.store.gates.decide(gate.id, make_decision("route", 1))
        self.store.buses.publish("cp1", batch, batch[..., 0])
        self.store.pools.add("faces", [(picture("PNG", "RGB"), "one"), (picture("PNG", "L"), "two")])

    @contextmanager
    def serve(self) -> Iterator[None]:
        loop = asyncio.new_event_loop()
        runner = web.AppRunner(self.app, max_line_size=LINE_LIMIT)
        thread = threading.Thread(target=loop.run_forever, daemon=True)

        async def start() -> None:
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"

        thread.start()
        asyncio.run_coroutine_threadsafe(start(), loop).result(30)
        yield
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
        self.store.close()


@pytest.fixture(scope="module")
def farm(shared_redis: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    farm = Farm(shared_redis.url, tmp_path_factory.mktemp("openapi"))
    with farm.serve():
        yield farm


def test_the_served_document_is_valid_and_holds_every_route(farm: Farm) -> None:
    document = httpx.get(f"{farm.url}/openapi.json").json()
    assert document == DOCUMENT
    validate(document)
    described = {
        (method.upper(), path) for path, item in document["paths"].items() for method in item if path not in SERVICE
    }
    assert described == {(route.method, route.path) for route in TABLE}
    names = [
        each["operationId"] for item in document["paths"].values() for each in item.values() if "operationId" in each
    ]
    assert len(set(names)) == len(names)


DOCUMENT = describe(TABLE)

schema = schemathesis.openapi.from_dict(
    DOCUMENT,
    config=schemathesis.Config.from_dict(
        {
            "checks": {
                # A text that is too long and pixels that do not fit are beyond what a schema can say.
                "negative_data_rejection": {"expected-statuses": ["400", "403", "404", "405", "409", "413", "422"]},
                "positive_data_acceptance": {"expected-statuses": ["2xx", "304", "404", "409", "413", "422"]},
            }
        }
    ),
).exclude(path="/gatebus/events")


@schema.parametrize()
@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
def test_every_route_answers_as_the_document_says(case: schemathesis.Case, farm: Farm) -> None:
    # No tokens are configured here. A slot's path is also the shape of other paths with fewer methods.
    excluded = [ignored_auth, unsupported_method, allow_header_conformance]
    case.call_and_validate(base_url=farm.url, excluded_checks=excluded)
