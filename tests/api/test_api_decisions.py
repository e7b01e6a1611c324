"""The decision log over HTTP: what stands in it, its pages, exports, and taking a decision back."""

from __future__ import annotations

import asyncio
import csv
import hashlib
import io
import json
import zipfile
from typing import Any

import numpy as np
from PIL import Image

from gates.decisions.record import Entry
from gates.gate.record import make_decision


async def applied(host: Any, waiter: Any, route: int = 1, **more: Any) -> Any:
    """Decides over HTTP and acknowledges; the decided gate."""
    gate = await host.post(f"/gatebus/gates/{waiter.gate.id}/route", {"route": route, **more})
    await asyncio.get_running_loop().run_in_executor(None, lambda: (waiter.wait(10), waiter.apply()))
    return gate


async def log(host: Any, query: str = "") -> Any:
    return (await host.json(f"/gatebus/decisions{query}"))["decisions"]


async def test_a_decision_is_logged_with_who_when_where_which_image_and_how_it_ended(host: Any) -> None:
    waiter = host.open_gate(title="portrait", workflow="wf", labels=("keep", "redo"), note="eyes?", frames=1)
    png = await (await host.get(f"/gatebus/gates/{waiter.gate.id}/image")).read()
    gate = await applied(host, waiter, 2, by="ann", text="sharper", decision_id="d1")
    (row,) = await log(host)
    assert {name: row[name] for name in ("kind", "gate", "decision", "route", "label", "by", "text")} == {
        "kind": "route", "gate": waiter.gate.id, "decision": "d1", "route": 2, "label": "redo", "by": "ann",
        "text": "sharper",
    }  # fmt: skip
    assert row["where"] == "127.0.0.1 via studio"
    assert (row["at"], row["opened"]) == (gate["decision"]["at"], gate["opened"])
    assert (row["title"], row["workflow"], row["note"], row["instance"]) == ("portrait", "wf", "eyes?", "studio")
    assert (row["width"], row["height"], row["batch"]) == (8, 6, 1)
    assert row["digest"] == hashlib.sha256(png).hexdigest()
    assert row["outcome"] == "applied"
    assert row["ended"] >= row["at"]


async def test_an_image_that_came_after_the_decision_or_the_end_is_told_by_the_row_all_the_same(host: Any) -> None:
    from gates import codec

    image = codec.encode(np.zeros((2, 6, 8, 3), np.float32), "png")
    digest = hashlib.sha256(b"".join(bytes(part) for part in image.parts)).hexdigest()
    decided, ended = host.open_gate(stored=False), host.open_gate(stored=False)
    await host.post(f"/gatebus/gates/{decided.gate.id}/route", {"route": 1})
    await asyncio.to_thread(lambda: (decided.wait(10), decided.store_image(image), decided.apply()))
    await applied(host, ended)
    await asyncio.to_thread(ended.store_image, image)
    assert [row["digest"] for row in await log(host)] == [digest, digest]
    lines = (await (await host.get("/gatebus/decisions/export")).text()).splitlines()
    assert [json.loads(line)["digest"] for line in lines] == [digest, digest]
    kinds = [row["kind"] for row in await log(host, "?kind=all&order=oldest")]
    assert kinds == ["route", "end", "route", "end", "image"]


async def test_pages_follow_each_other_without_gap_and_repeat_in_both_orders(host: Any) -> None:
    for number in range(7):
        await applied(host, host.open_gate(title=str(number), frames=1))
    for order, expected in (("newest", "6543210"), ("oldest", "0123456")):
        seen, cursor = "", ""
        while True:
            page = await host.json(f"/gatebus/decisions?limit=3&order={order}&cursor={cursor}")
            assert len(page["decisions"]) <= 3
            assert {row["outcome"] for row in page["decisions"]} == {"applied"}
            seen += "".join(row["title"] for row in page["decisions"])
            cursor = page["cursor"]
            if not cursor:
                break
        assert seen == expected


async def test_filters_take_what_they_name(host: Any) -> None:
    first, second = host.open_gate(workflow="a", labels=("keep", "")), host.open_gate(workflow="b")
    await applied(host, first, 1, by="ann")
    await host.post(f"/gatebus/gates/{second.gate.id}/cancel", {"by": "bob"})
    for query, expected in (
        ("by=ann", [first]), ("by=bob", [second]), ("workflow=a", [first]), ("route=1", [first]),
        ("label=keep", [first]),
        ("kind=cancel", [second]), (f"gate={first.gate.id}", [first]), ("instance=studio", [second, first]),
        ("instance=other", []), ("since=99999999999999", []), ("until=1", []), ("since=1", [second, first]),
    ):  # fmt: skip
        assert [row["gate"] for row in await log(host, f"?{query}")] == [waiter.gate.id for waiter in expected], query
    for bad in ("gate=x", "cursor=x", "kind=x", "limit=0", "route=11"):
        assert (await host.get(f"/gatebus/decisions?{bad}")).status == 400, bad


async def test_csv_is_what_rfc_4180_says_and_no_cell_is_a_formula(host: Any) -> None:
    texts = ["=1+1", "+1", "-1", "@sum", 'say "hi", then\nleave', "日本", "\tx"]
    for text in texts:
        await applied(host, host.open_gate(title=text, frames=1), text=text, by="ann")
    answer = await host.get("/gatebus/decisions/export?format=csv&order=oldest")
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert "attachment" in answer.headers["Content-Disposition"]
    content = await answer.read()
    assert content.startswith(b"time,seconds,id,kind,at,gate,")
    assert content.count(b"\r\n") == len(texts) + 1
    rows = list(csv.DictReader(io.StringIO(content.decode(), newline="")))
    assert [row["text"] for row in rows] == ["'=1+1", "'+1", "'-1", "'@sum", texts[4], "日本", "'\tx"]
    assert not [cell for row in rows for cell in row.values() if cell[:1] in ("=", "+", "-", "@")]


async def test_a_take_back_is_logged_and_the_decision_s_row_says_so(host: Any) -> None:
    waiter = host.open_gate(frames=1)
    path = f"/gatebus/gates/{waiter.gate.id}"
    await host.post(f"{path}/route", {"route": 1, "by": "ann", "decision_id": "d1"})
    again = await host.post(f"{path}/take-back", {"decision_id": "d1", "by": "ann"})
    assert (again["status"], again["decision"]) == ("waiting", None)
    assert (await host.post(f"{path}/take-back", {"decision_id": "d1"}))["status"] == "waiting"
    assert (await host.post(f"{path}/route", {"route": 1, "decision_id": "d1"}, 409))["error"]["type"] == "taken_back"
    assert [row["outcome"] for row in await log(host)] == ["taken back"]
    await applied(host, waiter, 2, decision_id="d2")
    assert [(row["decision"], row["outcome"]) for row in await log(host)] == [("d2", "applied"), ("d1", "taken back")]
    (entry,) = await log(host, "?kind=take-back")
    assert (entry["decision"], entry["by"], entry["where"]) == ("d1", "ann", "127.0.0.1 via studio")
    late = await host.post(f"{path}/take-back", {"decision_id": "d2"}, 409)
    assert late["error"]["type"] == "gate_closed"


async def test_the_images_of_a_route_come_as_a_zip_with_caption_mask_and_row(host: Any) -> None:
    kept, painted, other = (host.open_gate(title=f"t{n}", labels=("keep", "bin")) for n in range(3))
    mask = io.BytesIO()
    Image.new("L", (8, 6), 255).save(mask, "PNG")
    await host.send("PUT", f"/gatebus/gates/{painted.gate.id}/mask", mask.getvalue())
    for waiter, route, text in ((kept, 1, "a cat"), (painted, 1, ""), (other, 2, "")):
        await host.post(f"/gatebus/gates/{waiter.gate.id}/route", {"route": route, "text": text})
    answer = await host.get("/gatebus/decisions/images?route=1")
    with zipfile.ZipFile(io.BytesIO(await answer.read())) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    images = sorted(name for name in files if name.endswith(("000.png", "001.png")))
    assert len(images) == 4
    assert len([name for name in files if name.endswith(".mask.png")]) == 2
    captions = {name.split("_")[1]: files[name].decode() for name in files if name.endswith(".txt")}
    assert captions == {kept.gate.id[:12]: "a cat", painted.gate.id[:12]: "keep"}
    for name in images:
        row = json.loads(files[name.replace(".png", ".json")])
        png = await (await host.get(f"/gatebus/gates/{row['gate']}/image?frame={int(name[-7:-4])}")).read()
        assert files[name] == png


async def test_an_image_that_is_gone_is_named_in_the_zip(host: Any) -> None:
    await host.post(f"/gatebus/gates/{host.open_gate(stored=False).gate.id}/route", {"route": 1})
    answer = await host.get("/gatebus/decisions/images")
    with zipfile.ZipFile(io.BytesIO(await answer.read())) as archive:
        assert archive.namelist() == ["missing.txt"]
        assert "not stored" in archive.read("missing.txt").decode()


def test_an_entry_is_read_back_as_it_was_written() -> None:
    entry = Entry(id="1-2", kind="route", at=3, gate="g", route=2, text="x", width=4)
    assert Entry.from_fields(entry.to_json()) == entry
    assert Entry.from_fields({**entry.to_json(), "of a newer version": "x"}) == entry
    assert make_decision("route", 1, where="here").where == "here"
