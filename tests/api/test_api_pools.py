"""Pools over HTTP: the grid's every move, their bytes, and whole pools as zips."""

from __future__ import annotations

import asyncio
import io
import zipfile
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gates import codec

POOL = "/gatebus/pools/p1"


async def filled(host: Any, image: Any, count: int = 3) -> list[str]:
    for number in range(count):
        await host.send("POST", f"{POOL}/slots?label=n{number}", image(colour=(number, 0, 0)))
    return files(await host.json(POOL))


def files(manifest: Any) -> list[str]:
    return [slot["file"] for slot in manifest["slots"]]


async def test_an_added_image_is_a_slot_with_its_label(host: Any, image: Any) -> None:
    manifest = await host.send("POST", f"{POOL}/slots?label=front", image(12, 10))
    assert manifest["added"] == ["img_0001.png"]
    assert manifest["active"] == "img_0001.png"
    assert manifest["slots"][0]["label"] == "front"
    answer = await host.get(f"{POOL}/slots/img_0001.png/image")
    assert answer.content_type == "image/png"
    assert codec.decode_png(await answer.read()).shape == (10, 12, 3)
    assert {key: manifest[key] for key in manifest if key != "added"} == await host.json(POOL)


async def test_a_brief_answer_holds_the_touched_slots_only(host: Any, image: Any) -> None:
    await filled(host, image)
    answer = await host.send("POST", f"{POOL}/slots?brief=1&before=img_0001.png", image())
    assert (answer["count"], files(answer), answer["added"]) == (4, ["img_0004.png"], ["img_0004.png"])
    assert files(await host.json(POOL))[0] == "img_0004.png"
    assert (await host.post(f"{POOL}/slots/remove?brief=true", {"files": ["img_0002.png"]}))["count"] == 3


async def test_slots_are_removed_and_restored(host: Any, image: Any) -> None:
    one, two, three = await filled(host, image)
    await host.send("PUT", f"{POOL}/slots/{two}/mask", image())
    assert files(await host.post(f"{POOL}/slots/remove", {"files": [two, one]})) == [three]
    restored = await host.post(f"{POOL}/slots/restore", {"files": [two, one]})
    assert files(restored) == [one, two, three]
    assert [slot["label"] for slot in restored["slots"]] == ["n0", "n1", "n2"]
    assert (await host.get(f"{POOL}/slots/{two}/mask")).status == 200


async def test_slots_are_moved_and_ordered(host: Any, image: Any) -> None:
    one, two, three = await filled(host, image)
    assert files(await host.post(f"{POOL}/slots/move", {"files": [three], "before": one})) == [three, one, two]
    assert files(await host.post(f"{POOL}/slots/move", {"files": [three], "before": None})) == [one, two, three]
    manifest = await host.post(f"{POOL}/reorder", {"files": [two, three, one]})
    assert files(manifest) == [two, three, one]
    stale = {"files": [one, two, three], "rev": manifest["rev"] - 1}
    assert (await host.post(f"{POOL}/reorder", stale, status=409))["error"]["type"] == "conflict"
    assert (await host.post(f"{POOL}/reorder", {"files": [one, two]}, status=409))["error"]["type"] == "conflict"
    assert (await host.post(f"{POOL}/reorder", {"files": [one, one, two]}, status=400))["error"]
    assert files(await host.json(POOL)) == [two, three, one]


async def test_a_slot_is_activated_and_labelled(host: Any, image: Any) -> None:
    _, two, _ = await filled(host, image)
    assert (await host.post(f"{POOL}/activate", {"file": two}))["active"] == two
    answer = await host.client.patch(f"{POOL}/slots/{two}", json={"label": "<b>été</b>"})
    assert [slot["label"] for slot in (await answer.json())["slots"]] == ["n0", "<b>été</b>", "n2"]


async def test_a_mask_has_the_size_of_its_slot(host: Any, image: Any) -> None:
    one, *_ = await filled(host, image)
    path = f"{POOL}/slots/{one}/mask"
    assert (await host.get(path)).status == 404
    painted = np.zeros((6, 8), np.uint8)
    painted[1:3, 2:5] = 255
    manifest = await host.send("PUT", path, codec.encode_png(painted))
    assert manifest["slots"][0]["mask"]
    answer = await host.get(path)
    assert np.array_equal(codec.decode_png(await answer.read())[..., 0], painted)
    assert (await host.get(path, headers={"If-None-Match": answer.headers["ETag"]})).status == 304
    assert (await host.send("PUT", path, image(9, 9), status=422))["error"]["type"] == "invalid_image"
    assert (await host.delete(path))["slots"][0]["mask"] == ""
    assert (await host.get(path)).status == 404


async def test_a_mask_of_the_editor_is_what_it_made_transparent(host: Any, image: Any) -> None:
    one, *_ = await filled(host, image)
    pixels = np.full((6, 8, 4), 255, np.uint8)
    pixels[0, :, 3] = 0
    await host.send("PUT", f"{POOL}/slots/{one}/mask", codec.encode_png(pixels))
    painted = codec.decode_png(await (await host.get(f"{POOL}/slots/{one}/mask")).read())[..., 0]
    assert painted[0].min() == 255
    assert painted[1:].max() == 0


async def test_what_is_not_there_is_not_found(host: Any, image: Any) -> None:
    assert (await host.json(POOL, 404))["error"]["type"] == "pool_not_found"
    await filled(host, image, 1)
    for path in ("image", "mask", "thumbnail"):
        missing = await host.json(f"{POOL}/slots/img_0009.png/{path}", 404)
        assert missing["error"]["type"] == "slot_not_found"
    for verb in ("remove", "move", "restore"):
        refused = await host.post(f"{POOL}/slots/{verb}", {"files": ["img_0009.png"]}, status=404)
        assert refused["error"]["type"] == "slot_not_found", verb
    assert (await host.send("PUT", f"{POOL}/slots/img_0009.png/mask", image(), status=404))["error"]
    assert (await host.delete("/gatebus/pools/no", 404))["error"]["type"] == "pool_not_found"


async def test_a_pool_is_made_renamed_duplicated_rebuilt_and_deleted(host: Any, image: Any) -> None:
    made = await (await host.client.put(POOL, json={"name": "Faces"})).json()
    assert (made["name"], made["slots"], made["active"]) == ("Faces", [], "")
    order = await filled(host, image)
    renamed = await (await host.client.put(POOL, json={"name": "Heads"})).json()
    assert (renamed["name"], files(renamed)) == ("Heads", order)
    untouched = await (await host.client.put(POOL, json={})).json()
    assert untouched["name"] == "Heads"
    copy = await host.post(f"{POOL}/duplicate", {"new_id": "p2", "name": "Copy"})
    assert (copy["pool_id"], copy["name"], len(copy["slots"])) == ("p2", "Copy", 3)
    assert (await host.post(f"{POOL}/duplicate", {"new_id": "p2"}, status=409))["error"]["type"] == "conflict"
    assert files(await host.post(f"{POOL}/rebuild")) == order
    listed = (await host.json("/gatebus/pools"))["pools"]
    assert [(pool["pool_id"], pool["name"], pool["count"]) for pool in listed] == [
        ("p2", "Copy", 3),
        ("p1", "Heads", 3),
    ]
    await host.delete(POOL)
    assert [pool["pool_id"] for pool in (await host.json("/gatebus/pools"))["pools"]] == ["p2"]


async def test_an_exported_pool_can_be_imported(host: Any, image: Any) -> None:
    order = await filled(host, image)
    await host.send("PUT", f"{POOL}/slots/{order[1]}/mask", image())
    await host.post(f"{POOL}/activate", {"file": order[1]})
    answer = await host.get(f"{POOL}/export")
    packed = await answer.read()
    assert answer.content_type == "application/zip"
    assert answer.headers["Content-Length"] == str(len(packed))
    assert "attachment" in answer.headers["Content-Disposition"]
    made = await host.send("POST", "/gatebus/pools/p2/import?name=Back", packed, content_type="application/zip")
    assert (made["name"], files(made), made["active"]) == ("Back", order, order[1])
    for number, file in enumerate(order):
        data = await (await host.get(f"/gatebus/pools/p2/slots/{file}/image")).read()
        assert codec.decode_png(data)[0, 0, 0] == number
    assert (await host.get(f"/gatebus/pools/p2/slots/{order[1]}/mask")).status == 200
    again = await host.send("POST", "/gatebus/pools/p2/import", packed, 409, "application/zip")
    assert again["error"]["type"] == "conflict"
    assert (await host.json("/gatebus/pools/no/export", 404))["error"]["type"] == "pool_not_found"


async def test_a_zip_of_plain_images_becomes_a_pool(host: Any, image: Any) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a cat.jpg", image(kind="JPEG"))
        archive.writestr("a dog.webp", image(kind="WEBP"))
    made = await host.send("POST", "/gatebus/pools/p2/import", packed.getvalue(), content_type="application/zip")
    assert [slot["label"] for slot in made["slots"]] == ["a cat.jpg", "a dog.webp"]


async def test_what_is_no_zip_makes_no_pool(host: Any, image: Any) -> None:
    refused = await host.send("POST", "/gatebus/pools/p2/import", b"PK\3\4 no", 400, "application/zip")
    assert refused["error"]["type"] == "invalid_input"
    assert (await host.json("/gatebus/pools"))["pools"] == []


async def test_an_image_is_sent_again_only_when_it_is_another(host: Any, image: Any) -> None:
    one, two, _ = await filled(host, image)
    slots = {slot["file"]: slot for slot in (await host.json(POOL))["slots"]}
    for path in ("image", "thumbnail"):
        first = await host.get(f"{POOL}/slots/{one}/{path}")
        held = {"If-None-Match": first.headers["ETag"]}
        assert first.headers["Cache-Control"] == "private, no-cache"
        assert (await host.get(f"{POOL}/slots/{one}/{path}", headers=held)).status == 304
        assert (await host.get(f"{POOL}/slots/{two}/{path}", headers=held)).status == 200
        named = await host.get(f"{POOL}/slots/{one}/{path}?digest={slots[one]['digest']}")
        assert "immutable" in named.headers["Cache-Control"]
        assert await named.read() == await first.read()
        wrong = await host.get(f"{POOL}/slots/{one}/{path}?digest={slots[two]['digest']}")
        if path == "image":
            assert await wrong.read() == await first.read()
            assert "immutable" not in wrong.headers["Cache-Control"]
        assert (await host.get(f"{POOL}/slots/{one}/{path}?digest=zz")).status == 400


async def test_a_digest_that_is_not_the_slots_poisons_no_thumbnail(host: Any, image: Any) -> None:
    one, two, _ = await filled(host, image)
    await host.get(f"{POOL}/slots/{one}/thumbnail?digest={'0' * 64}")
    digest = {slot["file"]: slot["digest"] for slot in (await host.json(POOL))["slots"]}[two]
    await host.get(f"{POOL}/slots/{one}/thumbnail?digest={digest}")
    right = await (await host.get(f"{POOL}/slots/{two}/thumbnail?digest={digest}")).read()
    colour = np.asarray(Image.open(io.BytesIO(right)).convert("RGB"))[0, 0]
    assert abs(int(colour[0]) - 1) <= 2


async def test_many_uploads_at_a_time_are_all_kept(host: Any, image: Any) -> None:
    async def add(number: int) -> str:
        answer = await host.send("POST", f"{POOL}/slots?brief=1&label={number}", image(colour=(number, 0, 0)))
        return str(answer["added"][0])

    added = await asyncio.gather(*(add(number) for number in range(40)))
    manifest = await host.json(POOL)
    assert sorted(added) == sorted(files(manifest))
    assert len(set(added)) == 40
    labels = {slot["file"]: slot["label"] for slot in manifest["slots"]}
    assert [labels[file] for file in added] == [str(number) for number in range(40)]


@pytest.mark.parametrize("orientation", [1, 6])
async def test_the_camera_s_orientation_is_applied(local: Any, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    target = io.BytesIO()
    Image.new("RGB", (16, 8)).save(target, "JPEG", exif=exif)
    await local.send("POST", f"{POOL}/slots", target.getvalue(), content_type="image/jpeg")
    shape = codec.decode_png(await (await local.get(f"{POOL}/slots/img_0001.png/image")).read()).shape
    assert shape == ((8, 16, 3) if orientation == 1 else (16, 8, 3))


@pytest.mark.redis
async def test_while_redis_is_away_pools_and_buses_work_from_the_disk(
    host_at: Any, own_redis: Any, image: Any, eventually: Any
) -> None:
    host = await host_at(replace((await host_at()).store.settings, store_url=own_redis.url))
    own_redis.kill()
    await host.send("POST", f"{POOL}/slots?label=away", image())
    await host.send("PUT", "/gatebus/buses/cp1", image())
    listed = await host.json("/gatebus/buses")
    assert ([head["name"] for head in listed["buses"]], bool(listed["unavailable"])) == (["cp1"], True)
    assert [slot["label"] for slot in (await host.json(POOL))["slots"]] == ["away"]
    own_redis.start()

    async def back() -> bool:
        return (await host.json("/gatebus/pools"))["unavailable"] == ""

    await eventually(back)

    async def arrived() -> bool:
        client = own_redis.client()
        try:
            return bool(client.exists("gatebus:bus:{cp1}")) and client.hlen("gatebus:pool:{p1}:slots") == 1
        finally:
            client.close()

    await eventually(arrived)
    assert [slot["label"] for slot in (await host.json(POOL))["slots"]] == ["away"]


async def test_a_pool_that_nobody_has_filled_is_empty_for_who_asks_so_and_is_not_made(host: Any) -> None:
    shown = await host.json("/gatebus/pools/fresh?or_empty=1")
    assert (shown["pool_id"], shown["slots"], shown["rev"]) == ("fresh", [], 0)
    assert (await host.json("/gatebus/pools/fresh", 404))["error"]["type"] == "pool_not_found"
    assert (await host.json("/gatebus/pools"))["pools"] == []
