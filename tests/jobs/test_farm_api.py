"""The farm over HTTP and by command: a broker's whole application over a real store and stand-ins of ComfyUI."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from click.testing import CliRunner
from comfy_server import ComfyServer
from farm_world import graph, png, servers
from openapi_spec_validator import validate
from redis_server import RedisServer

from broker.app import make_app
from broker.cli import cli
from broker.commands import jobs as commands
from broker.farm.roster import listed_id
from broker.jobs.opening import open_jobs
from gates.settings import Settings, Token
from gates.store import open_store

Broker = TestClient[Any, Any]


@pytest.fixture(params=["local", "redis"])
async def broker(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[Broker, list[ComfyServer]]]:
    async with servers(tmp_path, 2) as both:
        url = request.getfixturevalue("redis_server").url if request.param == "redis" else ""
        urls = tuple(server.url for server in both)
        settings = Settings(store_url=url, comfyui_urls=urls, tick=0.3, lease=2, max_jobs_each=3)
        store = open_store(settings, tmp_path / "disk", tmp_path / "state")
        jobs = open_jobs(store, tmp_path / "state")
        client: Broker = TestClient(TestServer(make_app(store, tmp_path / "state", jobs=jobs)))
        await client.start_server()
        yield client, both
        await client.close()
        jobs.close()
        store.close()


async def ended(client: Broker, job_id: str) -> dict[str, Any]:
    for _ in range(400):
        answer = await client.get(f"/gatebus/jobs/{job_id}")
        job: dict[str, Any] = await answer.json()
        if job["state"] in ("done", "failed", "cancelled", "lost"):
            return job
        await asyncio.sleep(0.05)
    raise AssertionError(job)


async def post(client: Broker, path: str, body: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
    answer = await client.post(path, json=body or {})
    return answer.status, await answer.json()


async def test_an_image_is_sent_and_a_job_submitted_and_its_output_fetched(
    broker: tuple[Broker, list[ComfyServer]],
) -> None:
    client, _ = broker
    image = png(120)
    digest = hashlib.sha256(image).hexdigest()
    headers = {"Content-Type": "image/png"}
    sent = await client.put(f"/gatebus/jobs/inputs/{digest}", data=image, headers=headers)
    assert (sent.status, await sent.json()) == (200, {"digest": digest, "bytes": len(image)})
    prompt = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "x.png"}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
    }
    body = {"prompt": prompt, "inputs": [{"node": "1", "input": "image", "digest": digest}], "id": uuid.uuid4().hex}
    status, job = await post(client, "/gatebus/jobs", body)
    assert (status, job["id"], job["state"]) == (200, body["id"], "queued")
    assert (await post(client, "/gatebus/jobs", body))[1]["id"] == job["id"]
    done = await ended(client, job["id"])
    assert done["state"] == "done", done
    output = await client.get(f"/gatebus/jobs/{job['id']}/outputs/0")
    data = await output.read()
    assert (output.status, output.content_type) == (200, "image/png")
    assert hashlib.sha256(data).hexdigest() == done["outputs"][0]["digest"]
    again = await client.get(f"/gatebus/jobs/{job['id']}/outputs/0", headers={"If-None-Match": output.headers["ETag"]})
    assert again.status == 304
    assert (await client.get(f"/gatebus/jobs/{job['id']}/outputs/1")).status == 404
    listed = await (await client.get("/gatebus/jobs", params={"state": "done"})).json()
    assert [each["id"] for each in listed["jobs"]] == [job["id"]]
    assert listed["counts"]["ended"] == 1


async def test_what_is_no_job_is_refused_and_leaves_nothing(broker: tuple[Broker, list[ComfyServer]]) -> None:
    client, _ = broker
    one = graph()
    file = {"node": "1", "input": "seed", "digest": "0" * 64}
    for body, status in (
        ({}, 400),
        ({"prompt": []}, 400),
        ({"prompt": {}}, 400),
        ({"prompt": {"nodes": [], "links": []}}, 400),
        ({"prompt": {"1": {"class_type": 3}}}, 400),
        ({"prompt": one, "priority": 1000}, 400),
        ({"prompt": one, "folder": "../x"}, 400),
        ({"prompt": one, "folder": "x"}, 400),
        ({"prompt": one, "id": "x"}, 400),
        ({"prompt": one, "inputs": [file]}, 404),
        ({"prompt": one, "inputs": [{**file, "node": "99"}]}, 400),
        ({"prompt": one, "inputs": [{"node": "1"}]}, 400),
        ({"prompt": one, "colour": 1}, 400),
    ):
        assert (await post(client, "/gatebus/jobs", body))[0] == status, body
    wrong = await client.put(f"/gatebus/jobs/inputs/{'0' * 64}", data=png(1), headers={"Content-Type": "image/png"})
    assert wrong.status == 400
    text = b"no image"
    place = f"/gatebus/jobs/inputs/{hashlib.sha256(text).hexdigest()}"
    assert (await client.put(place, data=text, headers={"Content-Type": "image/png"})).status == 422
    assert (await client.get(f"/gatebus/jobs/{'0' * 32}")).status == 404
    assert (await client.get("/gatebus/jobs/xyz")).status == 400
    assert (await (await client.get("/gatebus/jobs")).json())["jobs"] == []


async def test_instances_are_paused_and_resumed_and_a_submitter_with_too_many_jobs_is_told(
    broker: tuple[Broker, list[ComfyServer]],
) -> None:
    client, both = broker
    ids = [listed_id(server.url) for server in both]
    for each in ids:
        status, place = await post(client, f"/gatebus/instances/{each}/pause", {"by": "ann"})
        assert (status, place["state"], place["by"]) == (200, "paused", "ann")
    jobs = [(await post(client, "/gatebus/jobs", {"prompt": graph(), "submitter": "eve"}))[1] for _ in range(3)]
    answer = await client.post("/gatebus/jobs", json={"prompt": graph(), "submitter": "eve"})
    assert answer.status == 429
    assert int(answer.headers["Retry-After"]) > 0
    assert (await post(client, f"/gatebus/jobs/{jobs[0]['id']}/cancel", {"by": "eve"}))[1]["state"] == "cancelled"
    for each in ids:
        assert (await post(client, f"/gatebus/instances/{each}/resume"))[1]["state"] == ""
    assert [(await ended(client, job["id"]))["state"] for job in jobs[1:]] == ["done", "done"]
    assert (await post(client, f"/gatebus/jobs/{jobs[1]['id']}/cancel"))[0] == 409
    assert (await post(client, f"/gatebus/instances/{ids[0]}/drain"))[1]["state"] == "draining"


async def test_a_job_that_waits_is_given_another_priority_and_one_that_has_gone_is_not(
    broker: tuple[Broker, list[ComfyServer]],
) -> None:
    client, both = broker
    for server in both:
        await post(client, f"/gatebus/instances/{listed_id(server.url)}/pause", {"by": "ann"})
    _, job = await post(client, "/gatebus/jobs", {"prompt": graph()})
    path = f"/gatebus/jobs/{job['id']}/priority"
    status, shown = await post(client, path, {"priority": 10})
    assert (status, shown["priority"], shown["state"]) == (200, 10, "queued")
    for body in ({}, {"priority": 101}, {"priority": "high"}):
        assert (await post(client, path, body))[0] == 400, body
    assert (await post(client, f"/gatebus/jobs/{'0' * 32}/priority", {"priority": 1}))[0] == 404
    for server in both:
        await post(client, f"/gatebus/instances/{listed_id(server.url)}/resume")
    assert (await ended(client, job["id"]))["state"] == "done"
    status, refused = await post(client, path, {"priority": 0})
    assert (status, refused["error"]["type"]) == (409, "job_ended")


async def test_what_the_farm_has_at_each_instance_is_told_and_pictures_are_made_small(
    broker: tuple[Broker, list[ComfyServer]],
) -> None:
    client, both = broker
    ids = [listed_id(server.url) for server in both]
    await post(client, f"/gatebus/instances/{ids[0]}/drain", {"by": "ann"})
    told = await (await client.get("/gatebus/jobs/places")).json()
    assert told["places"] == [{"instance": ids[0], "state": "draining", "by": "ann", "held": 0}]
    assert [(each["id"], each["url"]) for each in told["listed"]] == [
        (each, server.url) for each, server in zip(ids, both, strict=True)
    ]
    job = await ended(client, (await post(client, "/gatebus/jobs", {"prompt": graph()}))[1]["id"])
    assert (job["state"], job["instance"]) == ("done", ids[1])
    for instance, count in ((ids[1], 1), (ids[0], 0)):
        page = await (await client.get("/gatebus/jobs", params={"instance": instance, "state": "done"})).json()
        assert len(page["jobs"]) == count
    assert page["counts"]["done"] == 1
    place = f"/gatebus/jobs/{job['id']}/outputs/0/thumbnail"
    small = await client.get(place, params={"size": 64})
    assert (small.status, small.content_type) == (200, "image/webp")
    assert (await client.get(place, params={"size": 63})).status == 400
    assert (await client.get(f"/gatebus/jobs/{job['id']}/outputs/9/thumbnail")).status == 404


async def test_the_document_of_the_api_holds_the_farm(broker: tuple[Broker, list[ComfyServer]]) -> None:
    client, _ = broker
    document = await (await client.get("/openapi.json")).json()
    validate(document)
    assert document["paths"]["/gatebus/jobs"]["post"]["tags"] == ["jobs"]
    assert "/gatebus/instances/{instance_id}/drain" in document["paths"]


async def test_tokens_say_who_may_submit_and_whose_a_job_is(tmp_path: Path, redis_server: RedisServer) -> None:
    tokens = tuple(Token(role, role, hashlib.sha256(role.encode()).hexdigest()) for role in ("view", "decide", "admin"))
    settings = Settings(store_url=redis_server.url, tokens=tokens)
    store = open_store(settings, tmp_path / "disk", tmp_path / "state")
    jobs = open_jobs(store, tmp_path)
    async with TestClient(TestServer(make_app(store, tmp_path / "state", jobs=jobs))) as client:

        async def status(role: str, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
            answer = await client.post(path, json=body, headers={"Authorization": f"Bearer {role}"} if role else {})
            return answer.status, await answer.json()

        assert (await status("", "/gatebus/jobs", {"prompt": graph()}))[0] == 401
        assert (await status("view", "/gatebus/jobs", {"prompt": graph()}))[0] == 403
        code, job = await status("decide", "/gatebus/jobs", {"prompt": graph(), "submitter": "somebody else"})
        assert (code, job["submitter"]) == (200, "decide")
        assert (await status("decide", f"/gatebus/instances/{'0' * 32}/pause", {}))[0] == 403
        assert (await status("admin", f"/gatebus/instances/{'0' * 32}/pause", {}))[0] == 200
    jobs.close()
    store.close()


async def test_commands_submit_wait_show_and_cancel(
    broker: tuple[Broker, list[ComfyServer]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: Any
) -> None:
    _, both = broker
    if "redis" in request.node.name:
        monkeypatch.setenv("GATEBUS_STORE_URL", request.getfixturevalue("redis_server").url)
    monkeypatch.setenv("GATEBUS_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("GATEBUS_COMFYUI_URLS", ",".join(server.url for server in both))
    prompt = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "x.png"}, "_meta": {"title": "photo"}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "made"}},
    }
    file = tmp_path / "edit.json"
    file.write_text(json.dumps(prompt))
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.png").write_bytes(png(number * 50))

    async def run(*words: str, code: int = 0) -> str:
        result = await asyncio.to_thread(CliRunner().invoke, cli, list(words))
        assert result.exit_code == code, result.output
        return result.output

    out = tmp_path / "out"
    told = await run("submit", str(file), "--each", f"photo={folder}", "--output", str(out), "--priority", "high")
    assert told.count(" done at ") == 3
    assert sorted(path.name[:2] for path in out.iterdir()) == ["0-", "1-", "2-"]
    listed = json.loads(await run("jobs", "--json"))
    assert {job["priority"] for job in listed["jobs"]} == {10}
    assert "chosen" in await run("job", listed["jobs"][0]["id"][:8])
    assert "3 done" in await run("jobs")
    for server in both:
        await run("instances", "pause", server.url)
    job_id = (await run("submit", str(file), "--image", f"1={folder / '0.png'}")).strip()
    told = json.loads(await run("job", job_id, "--priority", "high", "--json"))
    assert (told["id"], told["priority"], told["state"]) == (job_id, 10, "queued")
    assert "priority       -7" in await run("job", job_id[:8], "--priority", "-7")
    await run("job", job_id, "--priority", "urgent", code=2)
    assert "job has ended" in await run("job", listed["jobs"][0]["id"], "--priority", "low", code=4)
    assert "is cancelled" in await run("cancel", job_id)
    assert "job has ended" in await run("cancel", listed["jobs"][0]["id"], code=4)
    assert "Neither a gate nor a job" in await run("cancel", "0" * 32, code=3)
    assert "nodes of the prompt are called" in await run(
        "submit", str(file), "--image", f"none={folder / '0.png'}", code=2
    )


def test_who_waits_where_no_broker_runs_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEBUS_STATE_DIR", str(tmp_path))
    monkeypatch.setattr(commands, "UNSEEN_FOR", 0.2)
    file = tmp_path / "prompt.json"
    file.write_text(json.dumps(graph()))
    jobs = open_jobs(open_store(Settings(state_dir=tmp_path), tmp_path / "disk", tmp_path), tmp_path)

    def cancel() -> None:
        end = time.monotonic() + 20
        while not jobs.page(1)[0] and time.monotonic() < end:
            time.sleep(0.05)
        time.sleep(1.5)
        jobs.cancel(jobs.page(1)[0][0].id)

    canceller = threading.Thread(target=cancel)
    canceller.start()
    result = CliRunner().invoke(cli, ["submit", str(file), "--wait"])
    canceller.join()
    jobs.close()
    assert result.exit_code == 1
    assert "no broker has looked at the jobs yet" in result.output
    assert " cancelled" in result.output
