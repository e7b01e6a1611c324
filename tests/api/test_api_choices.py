"""Decisions that say more than a route: the images of a batch that go on, and the text of a text gate."""

from __future__ import annotations

import io
import uuid
import zipfile
from typing import Any

import pytest

from gates.gate.record import Gate
from gates.text_picture import text_jpeg

ROUTE = "/gatebus/gates/{}/route"


async def test_chosen_images_come_with_the_decision_in_order(host: Any) -> None:
    waiter = host.open_gate(frames=4)
    answer = await host.post(ROUTE.format(waiter.gate.id), {"route": 1, "chosen": [2, 0]})
    assert answer["decision"]["chosen"] == "0,2"
    assert waiter.wait(5).chosen == "0,2"
    (row,) = (await host.json(f"/gatebus/decisions?gate={waiter.gate.id}"))["decisions"]
    assert row["chosen"] == "0,2"


@pytest.mark.parametrize("chosen", [[4], [0, 0], [-1], [1.5], ["0"], "0,1", None, [True], {"0": 1}], ids=str)
async def test_a_wrong_choice_decides_nothing(host: Any, chosen: Any) -> None:
    waiter = host.open_gate(frames=4)
    answer = await host.post(ROUTE.format(waiter.gate.id), {"route": 1, "chosen": chosen}, status=400)
    assert answer["error"]["type"] == "invalid_input"
    assert waiter.decision is None


async def test_another_choice_is_another_decision_and_all_may_be_left_out(host: Any) -> None:
    waiter = host.open_gate(frames=4)
    path = ROUTE.format(waiter.gate.id)
    await host.post(path, {"route": 1, "chosen": []})
    assert waiter.wait(5).chosen == ""
    await host.post(path, {"route": 1})
    await host.post(path, {"route": 1, "chosen": [0]}, status=409)


async def test_the_same_images_of_many_gates(host: Any) -> None:
    large, small = host.open_gate(frames=4), host.open_gate(frames=2)
    answer = await host.post(
        "/gatebus/gates/route", {"ids": [large.gate.id, small.gate.id], "route": 1, "chosen": [0, 3]}
    )
    assert [gate["decision"]["chosen"] for gate in answer["gates"]] == ["0,3"]
    assert [(each["id"], each["status"]) for each in answer["refused"]] == [(small.gate.id, 400)]


def open_text(host: Any, text: str) -> Any:
    gate = Gate(id=uuid.uuid4().hex, kind="text", text=text, routes=1)
    waiter = host.store.gates.open(gate, text_jpeg(text))
    host.waiters.append(waiter)
    return waiter


async def test_a_text_goes_on_edited_emptied_or_as_it_is(host: Any) -> None:
    for given, passed in (({"text": "a dog"}, "a dog"), ({"text": ""}, ""), ({}, "a cat")):
        waiter = open_text(host, "a cat")
        shown = await host.json(f"/gatebus/gates/{waiter.gate.id}")
        assert (shown["kind"], shown["text"]) == ("text", "a cat")
        answer = await host.post(ROUTE.format(waiter.gate.id), {"route": 1, **given})
        assert answer["decision"]["text"] == passed
        assert waiter.wait(5).text == passed


async def test_a_text_left_as_it_is_and_the_same_text_given_are_one_decision(host: Any) -> None:
    waiter = open_text(host, "a cat")
    await host.post(ROUTE.format(waiter.gate.id), {"route": 1})
    await host.post(ROUTE.format(waiter.gate.id), {"route": 1, "text": "a cat"})
    await host.post(ROUTE.format(waiter.gate.id), {"route": 1, "text": ""}, status=409)


async def test_many_texts_each_go_on_as_they_are(host: Any) -> None:
    waiters = [open_text(host, f"text {number}") for number in range(3)] + [host.open_gate()]
    answer = await host.post("/gatebus/gates/route", {"ids": [waiter.gate.id for waiter in waiters], "route": 1})
    assert [gate["decision"]["text"] for gate in answer["gates"]] == ["text 0", "text 1", "text 2", ""]


async def test_a_text_gate_takes_no_mask_and_no_choice(host: Any) -> None:
    waiter = open_text(host, "a cat")
    await host.post(ROUTE.format(waiter.gate.id), {"route": 1, "chosen": [0]}, status=400)
    answer = await host.client.put(f"/gatebus/gates/{waiter.gate.id}/mask", data=b"x")
    assert answer.status == 400
    assert waiter.decision is None


async def test_only_the_images_that_went_on_are_exported(host: Any) -> None:
    waiter = host.open_gate(frames=4)
    await host.post(ROUTE.format(waiter.gate.id), {"route": 1, "chosen": [1, 3]})
    answer = await host.get("/gatebus/decisions/images")
    names = zipfile.ZipFile(io.BytesIO(await answer.read())).namelist()
    assert [name[-8:] for name in names if name.endswith(".png")] == ["_001.png"[-8:], "_003.png"[-8:]]
