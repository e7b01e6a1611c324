"""The route table: whole, declared, and the same wherever it is mounted."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web

from gates.api import TABLE, Api, mount, routes
from gates.errors import InvalidSetting
from gates.guard import CONTENT_TYPES, RANKS
from gates.settings import Settings
from gates.store import open_store


def test_every_route_is_declared_in_full() -> None:
    assert len({(route.method, route.path) for route in TABLE}) == len(TABLE)
    for route in TABLE:
        assert route.about.endswith((".", ")")), route.path
        assert route.role in RANKS
        assert route.body in ("", *CONTENT_TYPES)
        assert not (route.fields and route.body not in ("json", "form")), route.path
        for field in (*route.query, *route.fields):
            assert field.about, (route.path, field.name)
            assert not (field.required and field.default is not None)


def test_what_changes_something_needs_more_than_the_role_view_and_what_deletes_for_good_needs_admin() -> None:
    for route in TABLE:
        assert (route.role == "view") == (route.method == "GET"), route.path
    admin = {(route.method, route.path) for route in TABLE if route.role == "admin"}
    assert admin == {
        ("DELETE", "/gatebus/buses/{name}"),
        ("DELETE", "/gatebus/pools/{pool_id}"),
        ("POST", "/gatebus/pools/{pool_id}/import"),
    }


async def test_on_comfyui_s_route_table_the_routes_stand_also_below_api(tmp_path: Any, aiohttp_client: Any) -> None:
    """ComfyUI registers what is on its table a second time, as ``server.py`` of 0.3.60 to 0.28 does."""
    store = open_store(Settings(), tmp_path / "input", tmp_path / "state")
    table = web.RouteTableDef()
    api = mount(table, lambda: store, tmp_path / "state")
    prefixed = web.RouteTableDef()
    for route in table:
        assert isinstance(route, web.RouteDef)
        prefixed.route(route.method, "/api" + route.path)(route.handler, **route.kwargs)
    app = web.Application()
    app.add_routes(prefixed)
    app.add_routes(table)
    client = await aiohttp_client(app)
    for prefix in ("", "/api"):
        assert (await client.get(f"{prefix}/gatebus/gates")).status == 200
        assert (await client.get(f"{prefix}/grid_pool/list")).status == 200
        assert (await client.get(f"{prefix}/gatebus/status", headers={"Host": "evil.test"})).status == 421
    await api.close()
    store.close()


async def test_the_store_is_opened_once_with_the_first_call(tmp_path: Any, aiohttp_client: Any) -> None:
    opened = []

    def open_it() -> Any:
        opened.append(open_store(Settings(), tmp_path / "input", tmp_path / "state"))
        return opened[-1]

    app = web.Application()
    mount(app, open_it, tmp_path / "state")
    client = await aiohttp_client(app)
    assert not opened
    for _ in range(3):
        assert (await client.get("/gatebus/status")).status == 200
    assert len(opened) == 1
    opened[0].close()


async def test_a_wrong_setting_is_told_to_the_log_not_to_the_asker(aiohttp_client: Any, caplog: Any) -> None:
    def fail() -> Any:
        raise InvalidSetting("GATEBUS_TOKENS must be something else")

    app = web.Application()
    mount(app, fail)
    client = await aiohttp_client(app)
    answer = await client.get("/gatebus/gates")
    assert (answer.status, (await answer.json())["error"]["type"]) == (503, "store_unavailable")
    assert "GATEBUS_TOKENS" not in await answer.text()
    assert "GATEBUS_TOKENS" in caplog.text


def test_a_table_is_bound_without_opening_anything() -> None:
    bound = routes(lambda: pytest.fail("nothing is asked yet"))
    assert [(route.method, route.path) for route in bound] == [(route.method, route.path) for route in TABLE]
    assert all(callable(route.handler) for route in bound)
    assert isinstance(Api(lambda: pytest.fail("nor here")), Api)
