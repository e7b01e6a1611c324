"""The client of a ComfyUI when something goes wrong: on the wire, at the server, in what it answers."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from comfy_server import ComfyServer

from broker.comfyui.client import ComfyClient
from broker.comfyui.connection import Limits
from broker.comfyui.errors import (
    AnswerTooLarge,
    ComfyRefused,
    ComfyUnexpected,
    ComfyUnreachable,
    PromptInvalid,
    SubmitUnknown,
)
from gates.errors import InvalidInput
from tests.farm.client_world import QUICK, SHORT, busy, client_of, saved, steps, until


@pytest.fixture(params=[False, True], ids=["without jobs", "with jobs"])
async def server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ComfyServer]:
    async with ComfyServer(tmp_path, jobs=request.param).serving() as server:
        yield server


@pytest.fixture
async def client(server: ComfyServer) -> AsyncIterator[ComfyClient]:
    async with client_of(server) as client:
        yield client


# -- the outcome of a submission is not known ---------------------------------------------
async def test_a_prompt_that_was_taken_before_the_connection_broke_is_found_and_not_sent_again(
    server: ComfyServer, client: ComfyClient
) -> None:
    server.faults.add("/prompt", "drop_after", method="POST")
    submission = await client.submit(saved())
    assert server.faults.count("POST", "/prompt") == 1
    assert (await client.wait(submission.prompt_id)).state == "done"
    assert server.prompts.executed == [submission.prompt_id]


async def test_a_prompt_that_was_not_taken_is_sent_again(server: ComfyServer, client: ComfyClient) -> None:
    server.faults.add("/prompt", "drop_before", method="POST", times=2)
    submission = await client.submit(saved())
    assert server.faults.count("POST", "/prompt") == 3
    assert (await client.wait(submission.prompt_id)).state == "done"
    assert server.prompts.executed == [submission.prompt_id]


async def test_a_prompt_that_arrives_after_it_was_looked_for_leaves_no_second_copy(
    server: ComfyServer, client: ComfyClient
) -> None:
    await client.submit(busy(4.0))
    # The answer comes too late for the client, the prompt later than both its looks.
    client._connection.limits = Limits(connect=1, timeout=0.3, patience=10)
    await client.close()
    server.faults.add("/prompt", "hang", 2.0, method="POST")
    prompt_id = str(uuid.uuid4())
    assert (await client.submit(saved(), prompt_id=prompt_id)).resent
    assert (await client.wait(prompt_id)).state == "done"
    assert server.faults.count("POST", "/prompt") == 3
    assert server.prompts.executed[1:] == [prompt_id]
    assert server.prompts.queue == []


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_what_a_proxy_answers_instead_is_unknown_too(
    server: ComfyServer, client: ComfyClient, status: int
) -> None:
    server.faults.add("/prompt", "status", status, method="POST")
    submission = await client.submit(saved())
    assert (await client.wait(submission.prompt_id)).state == "done"
    assert server.prompts.executed == [submission.prompt_id]


async def test_a_crash_of_the_server_at_the_prompt_is_not_repeated(server: ComfyServer, client: ComfyClient) -> None:
    server.faults.add("/prompt", "status", 500, method="POST", times=9)
    with pytest.raises(ComfyUnexpected):
        await client.submit(saved())
    assert server.faults.count("POST", "/prompt") == 1


async def test_when_nobody_can_tell_the_error_carries_the_id_and_says_so(
    server: ComfyServer, client: ComfyClient
) -> None:
    client._connection.limits = Limits(connect=1, timeout=0.5, patience=1.0)
    server.faults.add("/prompt", "drop_after", method="POST", times=99)
    for path in ("/queue", "/jobs", "/history"):
        server.faults.add(path, "status", 503, times=999)
    prompt_id = str(uuid.uuid4())
    with pytest.raises(SubmitUnknown) as caught:
        await client.submit(saved(), prompt_id=prompt_id)
    assert caught.value.prompt_id == prompt_id
    assert server.faults.count("POST", "/prompt") == 1
    server.faults.coming.clear()
    assert (await client.wait(prompt_id)).state == "done"


async def test_a_server_that_is_not_there_yet_is_waited_for_and_nothing_is_sent_twice(tmp_path: Path) -> None:
    server = ComfyServer(tmp_path)
    await server.start()
    await server.stop()
    async with client_of(server, limits=Limits(connect=0.3, timeout=1, patience=10)) as client:
        submitting = asyncio.create_task(client.submit(saved()))
        await asyncio.sleep(0.8)
        async with server.serving():
            submission = await submitting
            assert (await client.wait(submission.prompt_id)).state == "done"
            assert server.prompts.executed == [submission.prompt_id]


async def test_a_server_that_is_not_there_is_unreachable(tmp_path: Path) -> None:
    server = ComfyServer(tmp_path)
    await server.start()
    await server.stop()
    async with client_of(server, limits=Limits(connect=0.2, timeout=1, patience=0.5), away=0.5) as client:
        for call in (client.submit(saved()), client.queue(), client.wait(str(uuid.uuid4())), client.system_stats()):
            with pytest.raises(ComfyUnreachable) as caught:
                await call
            assert not isinstance(caught.value, SubmitUnknown)


async def test_a_refusal_is_not_repeated(server: ComfyServer, client: ComfyClient) -> None:
    with pytest.raises(PromptInvalid):
        await client.submit({"1": saved()["1"]})
    assert server.faults.count("POST", "/prompt") == 1


# -- repeats ------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["drop_before", "drop_after", "cut"])
async def test_what_only_looks_is_repeated(server: ComfyServer, client: ComfyClient, kind: str) -> None:
    server.faults.add("/system_stats", kind, times=2)
    assert (await client.system_stats()).os == "posix"
    # The HTTP library repeats what a kept connection that broke had carried.
    assert server.faults.count("GET", "/system_stats") >= 3


async def test_an_interrupt_is_not_repeated(server: ComfyServer, client: ComfyClient) -> None:
    submission = await client.submit(busy())
    await until(lambda: server.prompts.running, "it runs")
    server.faults.add("/interrupt", "drop_after", times=9)
    with pytest.raises(ComfyUnreachable):
        await client.interrupt(submission.prompt_id)
    assert server.faults.count("POST", "/interrupt") == 1
    assert (await client.wait(submission.prompt_id)).state == "cancelled"


async def test_repeats_end_with_the_patience(server: ComfyServer) -> None:
    server.faults.add("/system_stats", "status", 503, times=999)
    async with client_of(server, limits=Limits(patience=0.6)) as client:
        with pytest.raises(ComfyUnreachable):
            await client.system_stats()
        begun = server.faults.count("GET", "/system_stats")
        assert begun > 1
        await asyncio.sleep(0.5)
        assert server.faults.count("GET", "/system_stats") == begun


# -- the stream is decoration -------------------------------------------------------------
async def test_without_a_stream_everything_ends_as_it_does_with_one(server: ComfyServer) -> None:
    server.faults.add("/ws", "status", 404, times=9999)
    async with client_of(server, limits=Limits(connect=0.2, timeout=1, patience=5)) as client:
        done = await client.wait((await client.submit(saved())).prompt_id)
        assert done.state == "done"
        submission = await client.submit(busy())
        await client.cancel(submission.prompt_id)
        assert (await client.wait(submission.prompt_id)).state == "cancelled"


async def test_a_socket_that_hears_nothing_loses_nothing(server: ComfyServer, client: ComfyClient) -> None:
    await client.wait((await client.submit(saved())).prompt_id)
    server.sockets.mute = True
    assert (await client.wait((await client.submit(steps(3, seed=9))).prompt_id)).state == "done"


async def test_a_stream_whose_id_the_server_forgot_is_made_anew(server: ComfyServer, client: ComfyClient) -> None:
    submission = await client.submit(steps(400, 0.01))
    waiting = asyncio.create_task(client.wait(submission.prompt_id, silence=3.0))
    await until(lambda: server.prompts.running, "it runs")
    # What an earlier socket of the same id does that ends late.
    server.sockets.by_id.clear()
    server.sockets.flags.clear()
    await until(lambda: server.sockets.by_id, "the client came again")
    told = [progress async for progress in client.progress(submission.prompt_id)]
    assert any(progress.value > 100 for progress in told)
    assert (await waiting).state == "done"
    assert server.faults.count("GET", "/ws") == 2


async def test_a_message_that_is_too_large_ends_the_stream_which_is_made_anew(server: ComfyServer) -> None:
    limits = Limits(connect=2, timeout=2, patience=5, message_bytes=64 * 1024)
    async with client_of(server, limits=limits) as client:
        submission = await client.submit(steps(60, 0.02))
        await until(lambda: server.prompts.running, "it runs")
        await server.sockets.shout(bytes(100_000))
        told = [progress async for progress in client.progress(submission.prompt_id)]
        assert told[-1].state == "done"
        assert server.faults.count("GET", "/ws") >= 2


@pytest.mark.parametrize(
    "message", [b"", b"\0", b"\0\0\0\4\0\0\1\0{", b"\0\0\0\4\0\0\0\2{}x", b"\0\0\0\3\xff\xff\xff\xff"]
)
async def test_a_message_of_no_known_shape_is_passed_over(
    server: ComfyServer, client: ComfyClient, message: bytes
) -> None:
    submission = await client.submit(steps(30, 0.01))
    await until(lambda: server.prompts.running, "it runs")
    await server.sockets.shout(message)
    for socket in list(server.sockets.by_id.values()):
        for text in (
            "",
            "[]",
            "{}",
            '{"type": 1}',
            '{"type": "progress_state", "data": {"prompt_id": "x", "nodes": 3}}',
        ):
            await socket.send_str(text)
        for data in ({"nodes": [1]}, {"nodes": {"2": 4}}, {}):
            told = {"prompt_id": submission.prompt_id, **data}
            await socket.send_json({"type": "progress_state", "data": told})
            await socket.send_json({"type": "execution_cached", "data": {**told, "nodes": None}})
            await socket.send_json({"type": "progress", "data": {**told, "value": "x"}})
    assert (await client.wait(submission.prompt_id)).state == "done"
    assert server.faults.count("GET", "/ws") == 1


async def test_messages_of_others_are_not_taken_for_ours(server: ComfyServer, client: ComfyClient) -> None:
    submission = await client.submit(busy())
    for socket in list(server.sockets.by_id.values()):
        other = {"prompt_id": str(uuid.uuid4())}
        await socket.send_json({"type": "execution_success", "data": other})
        await socket.send_json({"type": "executing", "data": {**other, "node": None}})
    await asyncio.sleep(0.3)
    assert (await client.find(submission.prompt_id)).state == "running"
    await client.cancel(submission.prompt_id)
    told = [event async for event in client.events(submission.prompt_id)]
    assert {event.prompt_id for event in told} == {submission.prompt_id}


async def test_an_end_that_the_stream_only_claims_is_none(server: ComfyServer, client: ComfyClient) -> None:
    submission = await client.submit(busy(1.0))
    for socket in list(server.sockets.by_id.values()):
        own = {"prompt_id": submission.prompt_id}
        await socket.send_json({"type": "execution_error", "data": own})
        await socket.send_json({"type": "executing", "data": {**own, "node": None}})
    assert (await client.wait(submission.prompt_id)).state == "done"


# -- away ---------------------------------------------------------------------------------
async def test_a_server_that_is_away_for_a_while_is_waited_for(server: ComfyServer, client: ComfyClient) -> None:
    submission = await client.submit(busy(0.5))
    waiting = asyncio.create_task(client.wait(submission.prompt_id))
    for path in ("/queue", "/jobs", submission.prompt_id, "/ws"):
        server.faults.add(path, "status", 502, times=20)
    server.sockets.cut()
    assert (await waiting).state == "done"


async def test_a_server_that_stays_away_is_unreachable(server: ComfyServer) -> None:
    async with client_of(server, away=0.6) as client:
        submission = await client.submit(busy())
        waiting = asyncio.create_task(client.wait(submission.prompt_id, silence=None))
        await until(lambda: server.prompts.running, "it runs")
        await server.stop()
        with pytest.raises(ComfyUnreachable):
            await waiting
        await server.start()


async def test_a_restarted_server_may_be_another_core(tmp_path: Path) -> None:
    for jobs in (True, False):
        server = ComfyServer(tmp_path, jobs=jobs)
        async with server.serving(), client_of(server) as client:
            await client.wait((await client.submit(saved())).prompt_id)
            server.jobs = server.prompts.strict = not jobs
            await server.restart()
            submission = await client.submit(saved())
            assert (await client.wait(submission.prompt_id)).state == "done"
            submission = await client.submit(busy())
            assert await client.cancel(submission.prompt_id)
            assert (await client.wait(submission.prompt_id)).state == "cancelled"


# -- bounds -------------------------------------------------------------------------------
async def test_a_body_without_an_end_is_not_read_to_the_end(server: ComfyServer) -> None:
    server.faults.add("/system_stats", "endless", times=9)
    limits = Limits(connect=2, timeout=5, patience=0.1, json_bytes=4 * 1024 * 1024)
    async with client_of(server, limits=limits) as client:
        with pytest.raises(AnswerTooLarge):
            await client.system_stats()
    assert server.faults.count("GET", "/system_stats") == 1


async def test_a_body_that_trickles_is_given_up(server: ComfyServer) -> None:
    server.faults.add("/object_info", "trickle", 0.05, times=99)
    async with client_of(server, limits=Limits(connect=1, timeout=0.4, patience=0.1)) as client:
        begun = time.monotonic()
        with pytest.raises(ComfyUnreachable):
            await client.object_info()
        assert time.monotonic() - begun < 20


async def test_what_is_no_json_is_no_comfyui(server: ComfyServer, client: ComfyClient) -> None:
    for path in ("/system_stats", "/models", "/object_info"):
        server.faults.add(path, "garbage")
    for call in (client.system_stats(), client.models(), client.object_info()):
        with pytest.raises(ComfyUnexpected):
            await call


# -- addresses and credentials ------------------------------------------------------------
async def test_token_headers_and_sub_path_go_everywhere(tmp_path: Path) -> None:
    server = ComfyServer(tmp_path, prefix="/gpu/one", token="secret")
    async with server.serving():
        for url in (server.url, server.url + "/"):
            async with ComfyClient(url, "secret", pace=QUICK, limits=SHORT) as client:
                outcome = await client.wait((await client.submit(steps())).prompt_id)
                assert (await client.download(outcome.files[0])).width == 32
                assert server.sockets.by_id
        async with ComfyClient(server.url, headers={"Authorization": "Bearer secret"}) as client:
            assert await client.models()
        async with client_of(server, token="wrong", limits=Limits(connect=0.2, patience=1)) as client:
            for call in (client.submit(saved()), client.queue(), client.wait(str(uuid.uuid4())), client.models()):
                with pytest.raises(ComfyRefused):
                    await call


async def test_no_redirect_is_followed(server: ComfyServer, tmp_path: Path) -> None:
    other = ComfyServer(tmp_path / "other")
    async with other.serving(), client_of(server, token="secret", limits=Limits(connect=0.2)) as client:
        for path in ("/ws", "/models", "/prompt"):
            server.faults.add(path, "redirect", other.url + path, times=99)
        with pytest.raises(ComfyRefused, match="redirect"):
            await client.models()
        with pytest.raises(ComfyRefused, match="redirect"):
            await client.submit(saved())
        await until(lambda: server.faults.count("GET", "/ws") > 1, "the stream was tried")
        assert other.faults.exchanges == []


@pytest.mark.parametrize("url", ["", "x", "ftp://x", "http://", "file:///x", "http://x/?a=1", "http://x/#a", "//x"])
async def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput):
        ComfyClient(url)


async def test_a_password_in_the_address_is_not_shown() -> None:
    async with ComfyClient("http://me:secret@127.0.0.1:1/x", limits=Limits(connect=0.2, patience=0)) as client:
        assert client.url == "http://127.0.0.1:1/x"
        with pytest.raises(ComfyUnreachable) as caught:
            await client.models()
        assert "secret" not in str(caught.value)


async def test_over_tls_with_a_certificate_of_ones_own(tmp_path: Path) -> None:
    certificate, key = certify(tmp_path)
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(certificate, key)
    async with ComfyServer(tmp_path).serving(serving) as server:
        trusted = ssl.create_default_context(cafile=str(certificate))
        async with client_of(server, tls=trusted) as client:
            assert (await client.wait((await client.submit(steps())).prompt_id)).state == "done"
            assert server.sockets.by_id
        async with client_of(server, limits=Limits(connect=0.3, patience=30)) as client:
            begun = time.monotonic()
            with pytest.raises(ComfyUnreachable, match=r"(?i)certificate"):
                await client.models()
            assert time.monotonic() - begun < 10


def certify(folder: Path) -> tuple[Path, Path]:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    return certificate, key
