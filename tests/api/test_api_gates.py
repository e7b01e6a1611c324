"""Gates over HTTP: what a page, a script or another machine sees and decides."""

from __future__ import annotations

import asyncio
import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gates import codec

UNKNOWN = "0" * 32


async def test_a_waiting_gate_is_listed_and_shown(host: Any) -> None:
    waiter = host.open_gate(title="pick one", workflow="faces", labels=("keep", "drop"))
    listed = await host.json("/gatebus/gates")
    shown = await host.json(f"/gatebus/gates/{waiter.gate.id}")
    assert [gate["id"] for gate in listed["gates"]] == [waiter.gate.id]
    assert (listed["total"], listed["unavailable"]) == (1, "")
    assert shown["title"] == "pick one"
    assert shown["labels"] == ["keep", "drop"]
    assert (shown["width"], shown["height"], shown["batch"]) == (8, 6, 2)
    assert (shown["status"], shown["decision"]) == ("waiting", None)


async def test_the_list_is_filtered_and_limited(host: Any) -> None:
    faces = [host.open_gate(workflow="faces").gate.id for _ in range(3)]
    other = host.open_gate(workflow="hands")
    listed = await host.json("/gatebus/gates?workflow=faces&limit=2")
    assert (len(listed["gates"]), listed["total"]) == (2, 3)
    assert {gate["id"] for gate in listed["gates"]} < set(faces)
    assert (await host.json("/gatebus/gates?instance=nobody"))["gates"] == []
    await host.post(f"/gatebus/gates/{other.gate.id}/route", {"route": 1})
    assert [gate["id"] for gate in (await host.json("/gatebus/gates?status=decided"))["gates"]] == [other.gate.id]
    assert (await host.json("/gatebus/gates?status=no", 400))["error"]["type"] == "invalid_input"
    assert (await host.json("/gatebus/gates?limit=0", 400))["error"]["type"] == "invalid_input"
    assert (await host.json("/gatebus/gates?limit=５", 400))["error"]["type"] == "invalid_input"
    assert (await host.json("/gatebus/gates?statsu=all", 400))["error"]["details"]["what"] == "statsu"


async def test_what_ended_is_in_the_list_of_all_only(host: Any) -> None:
    waiter = host.open_gate()
    await host.post(f"/gatebus/gates/{waiter.gate.id}/cancel")
    waiter.wait(5)
    waiter.apply()
    assert (await host.json("/gatebus/gates"))["gates"] == []
    listed = await host.json("/gatebus/gates?status=all")
    assert [(gate["id"], gate["status"]) for gate in listed["gates"]] == [(waiter.gate.id, "cancelled")]


async def test_a_route_reaches_the_waiter(host: Any) -> None:
    waiter = host.open_gate()
    answer = await host.post(f"/gatebus/gates/{waiter.gate.id}/route", {"route": 2, "text": "nice", "by": "ann"})
    assert answer["status"] == "decided"
    decision = waiter.wait(5)
    assert (decision.kind, decision.route, decision.text, decision.by) == ("route", 2, "nice", "ann")


async def test_the_first_decision_wins_and_the_second_is_told_which(host: Any) -> None:
    gate_id = host.open_gate().gate.id
    await host.post(f"/gatebus/gates/{gate_id}/route", {"route": 1, "by": "ann"})
    refused = await host.post(f"/gatebus/gates/{gate_id}/route", {"route": 2, "by": "bob"}, status=409)
    assert refused["error"]["type"] == "already_decided"
    assert refused["error"]["details"]["decision"]["route"] == 1
    assert refused["error"]["details"]["decision"]["by"] == "ann"


async def test_a_repeat_of_a_decision_is_a_success(host: Any) -> None:
    gate_id = host.open_gate().gate.id
    body = {"route": 2, "decision_id": "me:1"}
    first = await host.post(f"/gatebus/gates/{gate_id}/route", body)
    again = await host.post(f"/gatebus/gates/{gate_id}/route", body)
    # Not the whole gate: its image may have been stored in between.
    assert first["decision"] == again["decision"]
    assert again["decision"]["id"] == "me:1"


async def test_of_many_decisions_at_a_time_one_stands(host: Any) -> None:
    for _ in range(10):
        gate_id = host.open_gate(routes=10, stored=False).gate.id

        async def decide(route: int, gate_id: str = gate_id) -> int:
            path = f"/gatebus/gates/{gate_id}/route"
            return (await host.client.post(path, json={"route": route, "by": str(route)})).status

        statuses = await asyncio.gather(*(decide(route) for route in range(1, 11)))
        assert sorted(statuses) == [200] + [409] * 9
        stands = (await host.json(f"/gatebus/gates/{gate_id}"))["decision"]
        assert statuses[stands["route"] - 1] == 200
        assert stands["by"] == str(stands["route"])


@pytest.mark.parametrize("number", [b"2", b"2.0", b"20e-1"])
async def test_a_whole_number_is_one_however_json_writes_it(local: Any, number: bytes) -> None:
    gate_id = local.open_gate().gate.id
    gate = await local.send(
        "POST", f"/gatebus/gates/{gate_id}/route", b'{"route": ' + number + b"}", content_type="application/json"
    )
    assert gate["decision"]["route"] == 2


@pytest.mark.parametrize(
    "body",
    [
        {"route": 3},
        {"route": 0},
        {"route": 11},
        {"route": -1},
        {"route": True},
        {"route": 1.5},
        {"route": "1"},
        {"route": None},
        {},
        {"route": 1, "text": 5},
        {"route": 1, "text": "\ud800"},
        {"route": 1, "by": "a\0b"},
        {"route": 1, "decision_id": "a b"},
        {"route": 1, "rout": 2},
    ],
)
async def test_a_decision_that_is_none_is_refused(local: Any, body: dict[str, Any]) -> None:
    gate_id = local.open_gate().gate.id
    refused = await local.post(f"/gatebus/gates/{gate_id}/route", body, status=400)
    assert refused["error"]["type"] in ("invalid_input", "invalid_name")
    assert (await local.json(f"/gatebus/gates/{gate_id}"))["status"] == "waiting"


async def test_a_text_may_be_long_but_not_too_long(local: Any) -> None:
    gate_id = local.open_gate().gate.id
    await local.post(f"/gatebus/gates/{gate_id}/route", {"route": 1, "text": "é" * 16_385}, status=413)
    answer = await local.post(f"/gatebus/gates/{gate_id}/route", {"route": 1, "text": "é" * 16_384})
    assert len(answer["decision"]["text"]) == 16_384


async def test_a_cancel_reaches_the_waiter_without_a_body_of_fields(host: Any) -> None:
    waiter = host.open_gate()
    await host.post(f"/gatebus/gates/{waiter.gate.id}/cancel")
    assert waiter.wait(5).kind == "cancel"


async def test_an_unknown_gate_is_not_found(host: Any) -> None:
    for method, path in [("GET", ""), ("GET", "/preview"), ("GET", "/image"), ("GET", "/mask"), ("DELETE", "/mask")]:
        answer = await host.client.request(method, f"/gatebus/gates/{UNKNOWN}{path}")
        assert (answer.status, (await answer.json())["error"]["type"]) == (404, "gate_not_found")
    refused = await host.post(f"/gatebus/gates/{UNKNOWN}/route", {"route": 1}, status=404)
    assert refused["error"]["type"] == "gate_not_found"


async def test_the_preview_is_a_jpeg_that_is_sent_once(host: Any) -> None:
    gate_id = host.open_gate(2048, 1024, frames=1).gate.id
    first = await host.get(f"/gatebus/gates/{gate_id}/preview")
    picture = Image.open(io.BytesIO(await first.read()))
    assert (first.content_type, picture.format, picture.size) == ("image/jpeg", "JPEG", (1024, 512))
    again = await host.get(f"/gatebus/gates/{gate_id}/preview", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status, await again.read()) == (304, b"")


async def test_every_frame_of_the_whole_image_is_a_png(host: Any) -> None:
    waiter = host.open_gate(stored=False)
    path = f"/gatebus/gates/{waiter.gate.id}/image"
    assert (await host.json(path, 404))["error"]["type"] == "gate_not_found"
    batch = np.random.default_rng(1).random((2, 6, 8, 3), np.float32)
    waiter.store_image(codec.encode(batch, "png"))
    for frame in range(2):
        answer = await host.get(f"{path}?frame={frame}")
        pixels = codec.decode_png(await answer.read())
        assert answer.content_type == "image/png"
        assert np.array_equal(pixels, np.rint(batch[frame] * 255).astype(np.uint8))
        held = {"If-None-Match": answer.headers["ETag"]}
        assert (await host.get(f"{path}?frame={frame}", headers=held)).status == 304
    assert (await host.get(f"{path}?frame=2")).status == 404
    assert (await host.get(f"{path}?frame=-1")).status == 400


async def test_a_painted_mask_goes_with_the_decision(host: Any, image: Any) -> None:
    waiter = host.open_gate()
    path = f"/gatebus/gates/{waiter.gate.id}/mask"
    assert (await host.get(path)).status == 404
    painted = np.zeros((6, 8), np.uint8)
    painted[2:4, 1:3] = 255
    assert (await host.send("PUT", path, codec.encode_png(painted)))["mask"]
    answer = await host.get(path)
    assert np.array_equal(codec.decode_png(await answer.read())[..., 0], painted)
    assert (await host.get(path, headers={"If-None-Match": answer.headers["ETag"]})).status == 304
    assert (await host.send("PUT", path, image(7, 6), status=422))["error"]["type"] == "invalid_image"
    await host.post(f"/gatebus/gates/{waiter.gate.id}/route", {"route": 1})
    assert waiter.wait(5).mask
    assert np.array_equal(codec.decode_png(waiter.mask())[..., 0], painted)
    assert (await host.send("PUT", path, codec.encode_png(painted), status=409))["error"]["type"] == "already_decided"
    assert (await host.delete(path, 409))["error"]["type"] == "already_decided"


async def test_a_mask_that_is_cleared_is_gone(host: Any, image: Any) -> None:
    waiter = host.open_gate()
    path = f"/gatebus/gates/{waiter.gate.id}/mask"
    await host.send("PUT", path, image())
    assert (await host.delete(path))["mask"] == ""
    assert (await host.get(path)).status == 404
    await host.post(f"/gatebus/gates/{waiter.gate.id}/route", {"route": 1})
    assert waiter.wait(5).mask == ""


async def test_a_gate_of_a_text_takes_no_mask(local: Any, image: Any) -> None:
    gate_id = local.open_gate(stored=False).gate.id
    text = local.store.gates.open(replace(local.store.gates.get(gate_id), id="f" * 32, width=0, height=0), b"")
    local.waiters.append(text)
    assert (await local.send("PUT", f"/gatebus/gates/{'f' * 32}/mask", image(), status=400))["error"]


@pytest.mark.redis
async def test_while_redis_is_away_the_own_gates_are_listed_with_the_reason(host_at: Any, own_redis: Any) -> None:
    host = await host_at(replace((await host_at()).store.settings, store_url=own_redis.url))
    waiter = host.open_gate(stored=False)
    own_redis.kill()
    listed = await host.json("/gatebus/gates")
    assert [gate["id"] for gate in listed["gates"]] == [waiter.gate.id]
    assert "does not answer" in listed["unavailable"]


@pytest.mark.redis
async def test_a_decision_that_redis_does_not_confirm_may_be_repeated_by_its_id(
    host_at: Any, own_redis: Any, eventually: Any
) -> None:
    settings = replace((await host_at()).store.settings, store_url=own_redis.url)
    host, other = await host_at(settings), await host_at(settings, host_folder(own_redis, "other"))
    waiter = host.open_gate(stored=False)
    path = f"/gatebus/gates/{waiter.gate.id}/route"
    own_redis.freeze()
    unknown = (await other.post(path, {"route": 2, "text": "late"}, status=503))["error"]
    assert unknown["type"] == "store_unavailable"
    assert unknown["details"]["outcome"] == "unknown"
    own_redis.thaw()
    body = {"route": 2, "text": "late", "decision_id": unknown["details"]["decision_id"]}

    async def repeated() -> bool:
        return (await other.client.post(path, json=body)).status == 200

    await eventually(repeated)
    decision = await asyncio.get_running_loop().run_in_executor(None, waiter.wait, 10)
    assert (decision.id, decision.route) == (body["decision_id"], 2)


def host_folder(server: Any, name: str) -> Any:
    return server.folder.parent / name


async def test_each_image_of_a_batch_has_a_small_picture_once_it_is_stored(host: Any) -> None:
    waiter = host.open_gate(stored=False)
    path = f"/gatebus/gates/{waiter.gate.id}/thumbnail"
    assert (await host.json(f"{path}?frame=0", 404))["error"]["type"] == "gate_not_found"
    image = np.stack([np.zeros((300, 400, 3)), np.ones((300, 400, 3))]).astype(np.float32)
    waiter.store_image(codec.encode(image, "png"))
    small = []
    for frame in range(2):
        answer = await host.get(f"{path}?frame={frame}&size=64")
        assert (answer.status, answer.content_type) == (200, "image/webp")
        picture = Image.open(io.BytesIO(await answer.read()))
        assert picture.size == (64, 48)
        small.append(picture.convert("RGB").getpixel((30, 20)))
    assert small[0][0] < 10
    assert small[1][0] > 245
    assert (await host.json(f"{path}?frame=2", 404))["error"]["type"] == "gate_not_found"
