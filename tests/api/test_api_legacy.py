"""The kept routes: the wire format of the pack that came before, by index, with multipart uploads."""

from __future__ import annotations

from typing import Any

import numpy as np
from aiohttp import FormData

from gates import codec


def form(**parts: Any) -> FormData:
    data = FormData()
    for name, value in parts.items():
        if isinstance(value, bytes):
            data.add_field(name, value, filename=f"{name}.png", content_type="image/png")
        else:
            data.add_field(name, str(value))
    return data


async def add(host: Any, data: bytes, **parts: Any) -> Any:
    fields = {"pool_id": "p1", "ts": 1_700_000_000_000, **parts}
    answer = await host.client.post("/grid_pool/add", data=form(**fields, image=data))
    assert answer.status == 200, await answer.text()
    return await answer.json()


async def test_images_are_added_listed_and_answered_in_the_old_form(host: Any, image: Any) -> None:
    assert await host.json("/grid_pool/list?pool_id=p1") == {"active": 0, "slots": [], "next_seq": 1}
    await add(host, image())
    answer = await add(host, image(kind="JPEG"))
    assert [slot["image"] for slot in answer["slots"]] == ["img_0001.png", "img_0002.png"]
    assert set(answer["slots"][0]) == {"image", "mask", "label", "added"}
    assert (answer["slots"][0]["mask"], answer["active"], answer["next_seq"]) == (None, 0, 3)
    assert await host.json("/grid_pool/list?pool_id=p1&r=0.123") == answer


async def test_slots_are_edited_by_index(host: Any, image: Any) -> None:
    for number in range(3):
        await add(host, image(colour=(number, 0, 0)))
    assert (await host.post("/grid_pool/active", {"pool_id": "p1", "index": 1}))["active"] == 1
    labelled = await host.post("/grid_pool/label", {"pool_id": "p1", "index": 2, "label": "back"})
    assert [slot["label"] for slot in labelled["slots"]] == ["", "", "back"]
    ordered = await host.post("/grid_pool/reorder", {"pool_id": "p1", "order": [2, 0, 1]})
    assert [slot["image"] for slot in ordered["slots"]] == ["img_0003.png", "img_0001.png", "img_0002.png"]
    assert ordered["active"] == 2
    removed = await host.post("/grid_pool/remove", {"pool_id": "p1", "index": 0})
    assert [slot["image"] for slot in removed["slots"]] == ["img_0001.png", "img_0002.png"]
    assert removed["active"] == 1


async def test_an_index_that_is_not_there_changes_nothing(host: Any, image: Any) -> None:
    before = await add(host, image())
    for path, body in [
        ("remove", {"index": 5}),
        ("remove", {"index": -1}),
        ("label", {"index": 5, "label": "x"}),
        ("reorder", {"order": [0, 1]}),
        ("reorder", {"order": [0, 0]}),
    ]:
        assert await host.post(f"/grid_pool/{path}", {"pool_id": "p1", **body}) == before
    assert (await host.post("/grid_pool/active", {"pool_id": "p1", "index": 99}))["active"] == 0
    assert (await host.post("/grid_pool/remove", {"pool_id": "empty", "index": 0}))["slots"] == []


async def test_a_mask_is_set_by_index(host: Any, image: Any) -> None:
    await add(host, image())
    painted = np.zeros((6, 8), np.uint8)
    painted[0] = 255
    data = form(pool_id="p1", index=0, mask=codec.encode_png(painted))
    answer = await (await host.client.post("/grid_pool/set_mask", data=data)).json()
    assert answer["slots"][0]["mask"] == "img_0001.mask.png"
    stored = await host.get("/gatebus/pools/p1/slots/img_0001.png/mask")
    assert np.array_equal(codec.decode_png(await stored.read())[..., 0], painted)


async def test_without_a_pool_id_the_pool_is_default(host: Any, image: Any) -> None:
    answer = await host.client.post("/grid_pool/add", data=form(image=image()))
    assert answer.status == 200
    assert len((await host.json("/grid_pool/list"))["slots"]) == 1
    assert len((await host.json("/gatebus/pools/default"))["slots"]) == 1


async def test_a_form_without_an_image_is_refused(local: Any) -> None:
    for data in (form(pool_id="p1"), form(pool_id="p1", image=b"")):
        answer = await local.client.post("/grid_pool/add", data=data)
        assert (answer.status, (await answer.json())["error"]["type"]) == (400, "invalid_input")


async def test_the_names_of_the_buses_are_listed(host: Any, image: Any) -> None:
    assert await host.json("/datasete_gate/bus/list") == {"ids": []}
    for name in ("b", "a"):
        await host.send("PUT", f"/gatebus/buses/{name}", image())
    assert await host.json("/datasete_gate/bus/list") == {"ids": ["a", "b"]}
