"""The gate in a real ComfyUI without Redis: routes, masks, branches, lists, queues, cancels."""

from __future__ import annotations

import asyncio
import io
import json
import uuid
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from tests.comfyui.graphs import ROUTE_1, gate_graph, node, noise, renamed
from tests.comfyui.process import ComfyUI


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def outputs(history: dict[str, Any]) -> set[str]:
    assert history["status"]["status_str"] == "success", history["status"]
    return set(history["outputs"])


def messages(history: dict[str, Any]) -> set[str]:
    return {kind for kind, _ in history["status"]["messages"]}


async def test_the_route_decided_over_http_runs_and_no_other(alone: ComfyUI):
    async with alone.client() as client:
        for route, ran, blocked in ((1, "3", "4"), (2, "4", "3")):
            prompt = await client.queue(gate_graph())
            (gate,) = await client.gates(prompt)
            status, answer = await client.route(gate["id"], route, by="a test")
            assert status == 200, answer
            assert ran in outputs(await client.ended(prompt))
            assert blocked not in outputs(await client.ended(prompt))
            _, record = await client.ask("GET", f"/gatebus/gates/{gate['id']}")
            assert (record["status"], record["decision"]["route"], record["decision"]["by"]) == (
                "applied",
                route,
                "a test",
            )


async def test_the_saved_png_is_the_routed_image(alone: ComfyUI):
    async with alone.client() as client:
        graph = gate_graph(noise(seed=7))
        graph["6"] = node("SaveImage", images=["1", 0], filename_prefix="test/before-the-gate")
        prompt = await client.queue(graph)
        (gate,) = await client.gates(prompt)
        await client.route(gate["id"], 1)
        history = await client.ended(prompt)
        assert np.array_equal(pixels(await client.image(history, "3")), pixels(await client.image(history, "6")))


async def test_a_gate_tells_where_it_waits_and_any_tab_finds_it(alone: ComfyUI):
    async with alone.client() as client:
        graph = gate_graph(labels="keep\nretry", note="look at the hands")
        graph["2"]["_meta"]["title"] = "Good enough?"
        workflow = {"id": "0c8e", "extra": {"name": "portraits"}}
        prompt = await client.queue(graph, extra_data={"extra_pnginfo": {"workflow": workflow}})
        _, event = await client.event("gatebus.gate", prompt_id=prompt)
        assert set(event) == {"gate_id", "prompt_id", "node_id", "display_node", "list_index"}
        async with alone.client() as reloaded:
            (gate,) = await reloaded.gates(prompt)
            assert gate["id"] == event["gate_id"]
            assert (gate["node_id"], gate["title"], gate["workflow"]) == ("2", "Good enough?", "portraits")
            assert (gate["labels"], gate["note"], gate["routes"]) == (["keep", "retry"], "look at the hands", 2)
            assert (gate["width"], gate["height"], gate["batch"]) == (64, 48, 1)
            assert gate["client_id"] == client.id
            status, preview = await reloaded.ask("GET", f"/gatebus/gates/{gate['id']}/preview")
            assert status == 200
            assert pixels(preview).shape == (48, 64, 3)
            await reloaded.route(gate["id"], 2)
        await client.ended(prompt)


async def test_a_decision_that_names_no_route_is_refused_where_it_is_made(alone: ComfyUI):
    async with alone.client() as client:
        prompt = await client.queue(gate_graph())
        (gate,) = await client.gates(prompt)
        for wrong in (0, 3, 11, -1, "2", 1.5, None, True):
            status, answer = await client.route(gate["id"], wrong)
            assert status == 400, (wrong, answer)
            assert "oute" in answer["error"]["message"]
        status, _ = await client.route("f" * 32, 1)
        assert status == 404
        assert (await client.gates(prompt))[0]["status"] == "waiting"
        await client.route(gate["id"], 1)
        status, answer = await client.route(gate["id"], 2)
        assert status == 409
        assert answer["error"]["details"]["decision"]["route"] == 1
        await client.ended(prompt)


async def test_ids_of_subgraphs_work(alone: ComfyUI):
    async with alone.client() as client:
        graph = renamed(gate_graph(), lambda key: f"12:{key}")
        prompt = await client.queue(graph)
        (gate,) = await client.gates(prompt)
        assert gate["node_id"] == "12:2"
        await client.route(gate["id"], 1)
        assert "12:3" in outputs(await client.ended(prompt))


async def test_a_gate_in_a_node_that_expands_works_and_names_the_node_that_the_page_shows(alone: ComfyUI):
    async with alone.client() as client:
        graph = {
            "1": noise(seed=3),
            "8": node("ProbeExpand", image=["1", 0]),
            "9": node("PreviewImage", images=["8", 0]),
        }
        prompt = await client.queue(graph)
        (gate,) = await client.gates(prompt)
        _, event = await client.event("gatebus.gate", prompt_id=prompt)
        assert event["display_node"] == "8"
        assert gate["node_id"] == event["node_id"] != "8"
        await client.route(gate["id"], 1)
        assert "9" in outputs(await client.ended(prompt))


async def test_each_item_of_a_list_has_its_gate(alone: ComfyUI):
    async with alone.client() as client:
        graph = gate_graph(noise(seed=4, batch=3))
        graph["7"] = node("RebatchImages", images=["1", 0], batch_size=1)
        graph["2"]["inputs"]["image"] = ["7", 0]
        prompt = await client.queue(graph)
        gates = sorted(await client.gates(prompt, count=3), key=lambda gate: gate["list_index"])
        assert [gate["list_index"] for gate in gates] == [0, 1, 2]
        for gate, route in zip(gates, (1, 2, 1), strict=True):
            assert (await client.route(gate["id"], route))[0] == 200
        history = await client.ended(prompt)
        assert outputs(history) >= {"3", "4"}
        assert len(history["outputs"]["3"]["images"]) == 2
        assert len(history["outputs"]["4"]["images"]) == 1


async def test_two_gates_wait_at_once_while_another_branch_runs(alone: ComfyUI):
    async with alone.client() as client:
        graph = gate_graph()
        graph["12"] = node("ImageGate", routes=2, image=["1", 0])
        graph["13"] = node("PreviewImage", images=["12", ROUTE_1])
        graph["20"] = noise(seed=int(uuid.uuid4().int % 2**31))
        graph["21"] = node("ProbeBusy", image=["20", 0], seconds=0.3)
        graph["22"] = node("PreviewImage", images=["21", 0])
        prompt = await client.queue(graph)
        gates = {gate["node_id"]: gate for gate in await client.gates(prompt, count=2)}
        await client.event("executed", prompt_id=prompt, node="22")
        assert len(await client.gates(prompt, count=2)) == 2
        await client.route(gates["12"]["id"], 1)
        await client.event("executed", prompt_id=prompt, node="13")
        assert [gate["node_id"] for gate in await client.gates(prompt)] == ["2"]
        await client.route(gates["2"]["id"], 2)
        assert outputs(await client.ended(prompt)) >= {"4", "13", "22"}


async def test_two_queued_prompts_ask_one_after_the_other_each_anew(alone: ComfyUI):
    async with alone.client() as client:
        graph = gate_graph()
        first, second = await client.queue(graph), await client.queue(graph)
        (gate,) = await client.gates(first)
        assert (await client.route(gate["id"], 1))[0] == 200
        (later,) = await client.gates(second)
        assert later["id"] != gate["id"]
        assert "3" in outputs(await client.ended(first))
        await client.route(later["id"], 2)
        assert "4" in outputs(await client.ended(second))


async def test_an_old_decision_is_never_replayed_even_from_the_graph_in_a_saved_png(alone: ComfyUI):
    async with alone.client() as client:
        prompt = await client.queue(gate_graph())
        (gate,) = await client.gates(prompt)
        await client.route(gate["id"], 1)
        history = await client.ended(prompt)
        saved = Image.open(io.BytesIO(await client.image(history, "3")))
        assert isinstance(saved, PngImageFile)
        # ComfyUI writes its fingerprint into the graph that it saves, and a browser makes null of NaN.
        again = json.loads(saved.text["prompt"].replace("NaN", "null"))
        assert again["2"]["is_changed"] == [None]
        for _ in range(3):
            prompt = await client.queue(again)
            (gate,) = await client.gates(prompt)
            await client.route(gate["id"], 2)
            assert "4" in outputs(await client.ended(prompt))


async def test_a_batch_of_eight_passes_as_one(alone: ComfyUI):
    async with alone.client() as client:
        prompt = await client.queue(gate_graph(noise(seed=8, batch=8)))
        (gate,) = await client.gates(prompt)
        assert gate["batch"] == 8
        await client.route(gate["id"], 1)
        history = await client.ended(prompt)
        assert len(history["outputs"]["3"]["images"]) == 8
        assert history["outputs"]["5"]["shape"] == [[8, 48, 64]]


async def test_the_mask_is_painted_else_wired_else_zeros_and_fits_the_batch(alone: ComfyUI):
    async with alone.client() as client:
        for painted, wired, mean in ((True, True, 0.25), (False, True, 1.0), (True, False, 0.25), (False, False, 0.0)):
            graph = gate_graph(noise(seed=9, batch=2))
            if wired:
                graph["7"] = node("SolidMask", value=1.0, width=16, height=16)
                graph["2"]["inputs"]["mask"] = ["7", 0]
            prompt = await client.queue(graph)
            (gate,) = await client.gates(prompt)
            if painted:
                quarter = np.zeros((48, 64), np.uint8)
                quarter[:24, :32] = 255
                body = io.BytesIO()
                Image.fromarray(quarter).save(body, "PNG")
                status, answer = await client.ask("PUT", f"/gatebus/gates/{gate['id']}/mask", data=body.getvalue())
                assert status == 200, answer
            await client.route(gate["id"], 1)
            told = (await client.ended(prompt))["outputs"]["5"]
            assert told["shape"] == [[2, 48, 64]]
            assert np.allclose(told["means"][0], [mean, mean]), (painted, wired)


async def test_a_cancel_ends_its_own_prompt_only_and_busy_nodes_with_it(alone: ComfyUI):
    async with alone.client() as client:
        graph = gate_graph()
        graph["20"] = node("ProbeBusy", image=["1", 0], seconds=60.0)
        graph["22"] = node("PreviewImage", images=["20", 0])
        cancelled, next_one = await client.queue(graph), await client.queue(gate_graph())
        (gate,) = await client.gates(cancelled)
        await client.event("executing", prompt_id=cancelled, node="20")
        status, answer = await client.ask("POST", f"/gatebus/gates/{gate['id']}/cancel", json={})
        assert status == 200, answer
        history = await client.ended(cancelled, limit=20)
        assert "execution_interrupted" in messages(history)
        (waiting,) = await client.gates(next_one)
        await client.route(waiting["id"], 1)
        assert "3" in outputs(await client.ended(next_one))
        _, record = await client.ask("GET", f"/gatebus/gates/{gate['id']}")
        assert record["status"] == "cancelled"


async def test_a_cancelled_item_of_a_list_ends_its_prompt_whichever_it_is(alone: ComfyUI):
    async with alone.client() as client:
        for cancelled in range(3):
            graph = gate_graph(noise(seed=5, batch=3))
            graph["7"] = node("RebatchImages", images=["1", 0], batch_size=1)
            graph["2"]["inputs"]["image"] = ["7", 0]
            prompt = await client.queue(graph)
            gates = await client.gates(prompt, count=3)
            await client.ask("POST", f"/gatebus/gates/{gates[cancelled]['id']}/cancel", json={})
            assert "execution_interrupted" in messages(await client.ended(prompt, limit=10))
            _, answer = await client.ask("GET", "/gatebus/gates")
            assert not [gate for gate in answer["gates"] if gate["prompt_id"] == prompt]


async def test_the_failure_of_another_node_withdraws_the_gate_and_leaves_comfyui_well(alone: ComfyUI):
    async with alone.client() as client:
        graph = gate_graph()
        graph["20"] = node("ProbeFail", image=["1", 0])
        prompt = await client.queue(graph)
        (gate,) = await client.gates(prompt)
        assert "execution_error" in messages(await client.ended(prompt))
        _, record = await client.ask("GET", f"/gatebus/gates/{gate['id']}")
        assert record["status"] == "cancelled"
        after = await client.queue(gate_graph())
        (gate,) = await client.gates(after)
        await client.route(gate["id"], 1)
        assert "3" in outputs(await client.ended(after))


async def test_a_deadline_takes_its_route_or_stops_the_prompt(alone: ComfyUI):
    async with alone.client() as client:
        prompt = await client.queue(gate_graph(timeout=0.5, timeout_route=2))
        assert "4" in outputs(await client.ended(prompt))
        prompt = await client.queue(gate_graph(timeout=0.5))
        assert "execution_interrupted" in messages(await client.ended(prompt))
        _, answer = await client.ask("GET", "/gatebus/gates", params={"status": "all"})
        ends = [gate["status"] for gate in answer["gates"] if gate["prompt_id"] == prompt]
        assert ends == ["expired"]


async def test_nothing_to_ask_is_silent_and_blocks_every_route(alone: ComfyUI):
    async with alone.client() as client:
        for gate in ({"get_id": ""}, {"get_id": f"never-{uuid.uuid4().hex}"}):
            prompt = await client.queue(gate_graph(**gate))
            history = await client.ended(prompt)
            assert outputs(history) == {"5"}
            assert history["outputs"]["5"]["shape"] == [[1, 64, 64]]
            assert history["outputs"]["5"]["means"] == [[0.0]]
            assert not [type_ for _, type_, data in client.events if type_ == "gatebus.gate"]


async def test_bad_inputs_are_refused_when_queued(alone: ComfyUI):
    async with alone.client() as client:
        for wrong, said in (
            ({"send_id": "../etc"}, "send_id"),
            ({"send_id": "a{b}"}, "send_id"),
            ({"get_id": "con.txt", "image": ["1", 0]}, "bus name"),
            ({"get_id": "cp1@0", "image": ["1", 0]}, "version"),
            ({"timeout_route": 3}, "timeout_route"),
            ({"routes": 11}, "routes"),
            ({"routes": 0}, "routes"),
            ({"timeout": -1.0}, "timeout"),
            ({"resume": "not-an-id", "image": ["1", 0]}, "gate id"),
            ({"format": "gif"}, "format"),
        ):
            graph = gate_graph(**wrong)
            graph["1"] = noise(seed=1)
            status, answer = await client.ask("POST", "/prompt", json={"prompt": graph, "client_id": client.id})
            assert status == 400, wrong
            assert said in json.dumps(answer["node_errors"]["2"]), answer


async def test_the_tenth_of_ten_routes_can_be_taken(alone: ComfyUI):
    async with alone.client() as client:
        graph = gate_graph(routes=10)
        graph["30"] = node("PreviewImage", images=["2", 10])
        prompt = await client.queue(graph)
        (gate,) = await client.gates(prompt)
        await client.route(gate["id"], 10)
        assert outputs(await client.ended(prompt)) == {"5", "30"}


async def test_fifty_prompts_in_a_row_leave_no_gate_behind(alone: ComfyUI):
    async with alone.client() as client:
        prompts = [await client.queue(gate_graph()) for _ in range(50)]
        for number, prompt in enumerate(prompts):
            (gate,) = await client.gates(prompt)
            await client.route(gate["id"], 1 + number % 2)
        for number, prompt in enumerate(prompts):
            assert ("3", "4")[number % 2] in outputs(await client.ended(prompt))
        _, answer = await client.ask("GET", "/gatebus/gates")
        assert answer["gates"] == []


async def test_a_gate_decided_many_times_at_once_is_decided_once(alone: ComfyUI):
    async with alone.client() as client:
        for _ in range(5):
            prompt = await client.queue(gate_graph())
            (gate,) = await client.gates(prompt)
            answers = await asyncio.gather(*(client.route(gate["id"], 1 + number % 2) for number in range(10)))
            won = {answer["decision"]["route"] for status, answer in answers if status == 200}
            assert len(won) == 1
            assert ("3" in outputs(await client.ended(prompt))) == (won == {1})
