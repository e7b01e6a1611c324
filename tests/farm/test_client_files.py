"""The client of a ComfyUI: what it uploads, downloads and writes."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path

import pytest
from comfy_server import ComfyServer
from PIL import Image

from broker.comfyui.client import ComfyClient
from broker.comfyui.connection import Limits
from broker.comfyui.downloads import Download, check_file_name
from broker.comfyui.errors import AnswerTooLarge, ComfyRefused, ComfyUnexpected, DownloadBroken, NoSuchFile
from broker.comfyui.outputs import OutputFile
from gates.errors import InvalidImage, InvalidInput
from tests.farm.client_world import SHORT, client_of, node, png, saved


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ComfyServer]:
    async with ComfyServer(tmp_path / "server").serving() as server:
        yield server


@pytest.fixture
async def client(server: ComfyServer) -> AsyncIterator[ComfyClient]:
    async with client_of(server) as client:
        yield client


async def result(client: ComfyClient) -> OutputFile:
    return (await client.wait((await client.submit(saved())).prompt_id)).files[0]


def put(server: ComfyServer, name: str, data: bytes) -> OutputFile:
    (server.folders["output"] / name).write_bytes(data)
    return OutputFile("1", "images", name)


# -- uploads ------------------------------------------------------------------------------
async def test_an_image_is_sent_once_under_a_name_of_its_content(server: ComfyServer, client: ComfyClient) -> None:
    data = png()
    upload = await client.upload_image(data)
    assert upload.name == f"{hashlib.sha256(data).hexdigest()[:32]}.png"
    assert (upload.width, upload.height, upload.reference) == (32, 16, f"gatebus/{upload.name}")
    assert await client.upload_image(data) == upload
    async with client_of(server) as other:
        assert await other.upload_image(data) == upload
    assert server.faults.count("POST", "/upload/image") == 1
    assert (server.folders["input"] / upload.reference).read_bytes() == data


async def test_the_name_that_the_server_gives_is_the_one_that_counts(server: ComfyServer, client: ComfyClient) -> None:
    data = png()
    first = await client.upload_image(data)
    (server.folders["input"] / first.reference).write_bytes(b"half an uplo")
    second = await client.upload_image(data)
    assert second.name == f"{first.name[:-4]} (1).png"
    outcome = await client.wait((await client.submit(loaded(second.reference))).prompt_id)
    assert outcome.state == "done"


async def test_an_upload_that_was_cut_is_repeated(server: ComfyServer, client: ComfyClient) -> None:
    server.faults.add("/upload/image", "drop_before")
    server.faults.add("/upload/image", "drop_after")
    upload = await client.upload_image(png())
    assert (server.folders["input"] / upload.reference).read_bytes() == png()
    assert len(list((server.folders["input"] / "gatebus").iterdir())) == 1


async def test_jpeg_webp_paths_and_the_temp_folder(server: ComfyServer, client: ComfyClient, tmp_path: Path) -> None:
    for form, ending in (("JPEG", "jpg"), ("WEBP", "webp")):
        buffer = BytesIO()
        Image.new("RGB", (8, 8)).save(buffer, form)
        assert (await client.upload_image(buffer.getvalue())).name.endswith(f".{ending}")
    (tmp_path / "a.png").write_bytes(png())
    upload = await client.upload_image(tmp_path / "a.png", subfolder="", folder="temp")
    assert upload.reference == f"{upload.name} [temp]"
    assert (await client.wait((await client.submit(loaded(upload.reference))).prompt_id)).state == "done"


def loaded(reference: str) -> dict[str, dict[str, object]]:
    return {"1": node("LoadImage", image=reference), "2": node("ProbeMask", mask=["1", 1])}


@pytest.mark.parametrize("data", [b"", b"x", b"<svg/>", png()[:-20], b"GIF89a"])
async def test_what_is_no_image_is_not_sent(server: ComfyServer, client: ComfyClient, data: bytes) -> None:
    with pytest.raises(InvalidImage):
        await client.upload_image(data)
    assert server.faults.exchanges == []


@pytest.mark.parametrize(
    "wrong", [{"subfolder": "../x"}, {"subfolder": "/x"}, {"subfolder": "a//b"}, {"folder": "output"}]
)
async def test_an_upload_goes_nowhere_else(client: ComfyClient, wrong: dict[str, str]) -> None:
    with pytest.raises(InvalidInput):
        await client.upload_image(png(), **wrong)  # type: ignore[arg-type]


async def test_a_server_that_tells_a_wrong_name_is_not_believed(server: ComfyServer, client: ComfyClient) -> None:
    server.faults.add("/upload/image", "garbage")
    with pytest.raises(ComfyUnexpected):
        await client.upload_image(png())


@pytest.mark.parametrize("mask", [png(mode="L", colour=255), png(mode="RGBA", colour=(0, 0, 0, 0))])
async def test_a_mask_is_painted_where_it_is_white_or_transparent(
    server: ComfyServer, client: ComfyClient, mask: bytes
) -> None:
    original = await client.upload_image(png())
    masked = await client.upload_mask(mask, original)
    assert await client.upload_mask(mask, original) == masked
    assert server.faults.count("POST", "/upload/mask") == 1
    prompt_id = (await client.submit(loaded(masked.reference))).prompt_id
    await client.wait(prompt_id)
    assert server.prompts.history[prompt_id]["outputs"]["2"]["means"] == [[1.0]]
    with Image.open(server.folders["input"] / masked.reference) as image:
        assert image.getpixel((0, 0)) == (1, 2, 3, 0)


async def test_a_mask_of_another_size_or_of_an_original_that_is_gone_is_refused(
    server: ComfyServer, client: ComfyClient
) -> None:
    original = await client.upload_image(png())
    with pytest.raises(InvalidImage):
        await client.upload_mask(png(8, 8, 255, "L"), original)
    (server.folders["input"] / original.reference).unlink()
    with pytest.raises(ComfyRefused, match="upload it again"):
        await client.upload_mask(png(mode="L", colour=255), original)


# -- downloads ----------------------------------------------------------------------------
async def test_a_download_is_the_file_and_is_written_in_one_step(client: ComfyClient, tmp_path: Path) -> None:
    download = await client.download(await result(client))
    assert (download.width, download.height) == (32, 16)
    assert download.digest == hashlib.sha256(download.data).hexdigest()
    target = tmp_path / "new" / "folder"
    path = download.save(target)
    assert path == target / download.name
    assert path.read_bytes() == download.data
    assert download.save(target) == path
    path.write_bytes(b"another")
    assert download.save(target).name == f"{path.stem} (1).png"
    assert path.read_bytes() == b"another"
    assert sorted(file.name for file in target.iterdir()) == sorted([path.name, f"{path.stem} (1).png"])


@pytest.mark.parametrize("kind", ["cut", "drop_before"])
async def test_a_download_that_was_cut_is_repeated(server: ComfyServer, client: ComfyClient, kind: str) -> None:
    output = await result(client)
    server.faults.add("/view", kind, times=2)
    assert (await client.download(output)).width == 32


@pytest.mark.parametrize("spoil", ["short", "flipped", "other", "empty"])
async def test_an_image_that_is_not_whole_is_refused(server: ComfyServer, client: ComfyClient, spoil: str) -> None:
    data = bytearray(png(64, 64))
    data[60] ^= 255
    spoilt = {"short": png()[:-15], "flipped": bytes(data), "other": b"<html>", "empty": b""}[spoil]
    with pytest.raises(DownloadBroken):
        await client.download(put(server, "x.png", spoilt))


async def test_a_jpeg_named_png_is_not_the_image_that_its_name_says(server: ComfyServer, client: ComfyClient) -> None:
    buffer = BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG")
    with pytest.raises(DownloadBroken):
        await client.download(put(server, "x.png", buffer.getvalue()))
    assert (await client.download(put(server, "x.JPG", buffer.getvalue()))).width == 8


async def test_other_files_come_as_they_are(server: ComfyServer, client: ComfyClient) -> None:
    assert (await client.download(put(server, "x.mp4", b"film"))).data == b"film"


async def test_too_many_bytes_or_pixels_are_refused(server: ComfyServer) -> None:
    limits = Limits(connect=2, timeout=2, patience=0.2, file_bytes=1000, pixels=100)
    async with client_of(server, limits=limits) as client:
        with pytest.raises(AnswerTooLarge, match="bytes"):
            await client.download(put(server, "x.bin", bytes(1001)))
        with pytest.raises(AnswerTooLarge, match="pixels"):
            await client.download(put(server, "x.png", png(11, 10)))
        server.faults.add("/view", "endless", times=9)
        with pytest.raises(AnswerTooLarge, match="bytes"):
            await client.download(OutputFile("1", "images", "x.png"))


async def test_a_file_that_is_gone_is_not_found(server: ComfyServer, client: ComfyClient) -> None:
    outcome = await client.wait(
        (await client.submit({"1": saved()["1"], "2": node("PreviewImage", images=["1", 0])})).prompt_id
    )
    assert outcome.files[0].folder == "temp"
    await server.restart()
    with pytest.raises(NoSuchFile):
        await client.download(outcome.files[0])
    with pytest.raises(NoSuchFile):
        await client.download(OutputFile("1", "images", "../../etc/passwd"))


OUTWARDS = ["../x.png", "/etc/x", "a/b.png", "a\\b.png", "C:x.png", "", ".", "..", ".x", "x\0.png"]
ELSEWHERE = ["nul", "CON.png", "com1.txt", "a:b", "a*b", "x" * 201, "x\n.png", "x. ", "x.", "x "]


@pytest.mark.parametrize("name", OUTWARDS + ELSEWHERE)
def test_a_name_leads_out_of_no_folder_and_is_one_on_every_system(name: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        Download(OutputFile("1", "images", name), b"x", "").save(tmp_path / "out")
    if name:
        with pytest.raises(InvalidInput):
            Download(OutputFile("1", "images", "x.png"), b"x", "").save(tmp_path / "out", name)
    assert list(tmp_path.glob("**/*.*")) == []


@pytest.mark.parametrize("name", ["x.png", "ComfyUI_00001_.png", "a (1).png", "Bild ü 画.webp", "console.png"])
def test_a_plain_name_is_kept(name: str) -> None:
    assert check_file_name(name) == name


async def test_a_download_is_given_up_when_it_only_trickles(server: ComfyServer) -> None:
    limits = Limits(connect=1, timeout=0.3, patience=0.1)
    server.faults.add("/view", "trickle", 0.02, times=99)
    async with client_of(server, limits=limits) as client:
        with pytest.raises(ConnectionError):
            await client.download(put(server, "x.bin", bytes(3000)))
    assert SHORT.timeout > limits.timeout
