"""The buses on the page: seen as they change, looked at, uploaded, compared, downloaded, deleted and kept."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gates.bus.record import BusMeta
from gates.errors import BusNotFound
from gates.settings import Token
from tests.page.broker_page import BrokerPage, BrokerThread, picture

only_desktop = pytest.mark.parametrize("variant", ["desktop"], indirect=True)


def publish(page: BrokerPage, name: str, seed: str = "a", frames: int = 1, mask: bool = False, **meta: Any) -> None:
    images = np.stack([picture(f"{seed}{number}", 96, 64) for number in range(frames)])
    masks = np.zeros((frames, 64, 96), np.float32)
    masks[:, 16:48, 24:72] = 1
    page.store.buses.publish(name, images, masks if mask else None, meta=BusMeta(**meta))


def png(colour: tuple[int, int, int], size: tuple[int, int] = (40, 30)) -> bytes:
    target = io.BytesIO()
    Image.new("RGB", size, colour).save(target, "PNG")
    return target.getvalue()


def test_an_empty_farm_says_how_a_bus_comes_to_be(broker_page: BrokerPage) -> None:
    broker_page.goto("#/buses")
    broker_page.page.get_by_text("Nothing is published yet").wait_for()
    assert "send_id" in broker_page.page.inner_text(".gc-empty")
    broker_page.screenshot("buses-empty")


def test_the_grid_shows_each_bus_follows_what_is_published_and_is_filtered(broker_page: BrokerPage) -> None:
    publish(broker_page, "cp1", mask=True, workflow="flux.json", label="warm")
    publish(broker_page, "顔", seed="b")
    broker_page.goto("#/buses")
    page = broker_page.page
    cards = page.locator(".gc-card")
    broker_page.until(lambda: cards.count() == 2)
    cp1 = page.locator(".gc-card", has_text="cp1")
    text = cp1.inner_text()
    assert "warm" in text
    assert "flux.json" in text
    assert "96 × 64" in text
    assert "@1" in text
    assert "mask" in text
    broker_page.until(
        lambda: page.evaluate("[...document.querySelectorAll('.gc-card img')].every(i => i.naturalWidth)")
    )
    publish(broker_page, "cp1", seed="c")
    broker_page.until(lambda: "@2" in cp1.inner_text())
    assert "mask" not in cp1.inner_text()
    publish(broker_page, "later", seed="d")
    broker_page.until(lambda: cards.count() == 3)
    assert "later" in cards.first.inner_text()
    page.get_by_role("searchbox").fill("顔")
    broker_page.until(lambda: cards.count() == 1)
    page.get_by_role("searchbox").fill("nobody")
    page.get_by_text("Nothing matches").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.get_by_role("searchbox").fill("")
    broker_page.screenshot("buses")


def test_a_bus_shows_its_versions_frames_and_mask(broker_page: BrokerPage) -> None:
    for seed in "abc":
        publish(broker_page, "cp1", seed=seed, frames=2, mask=seed != "c", label=f"look {seed}")
    broker_page.goto("#/buses/cp1")
    page = broker_page.page
    broker_page.until(lambda: page.locator(".gc-versions li").count() == 3)
    assert "@3" in page.inner_text(".gc-version-button[aria-current]")
    assert page.get_by_role("button", name="Show the mask").count() == 0
    page.locator(".gc-version-button").nth(1).click()
    page.get_by_role("button", name="Show the mask").click()
    page.get_by_role("button", name="Next image").click()
    page.get_by_text("Image 2 of 2").wait_for()
    painted = "c => {const d = c.getContext('2d').getImageData(48, 32, 1, 1).data; return d[3]}"
    broker_page.until(lambda: page.locator("canvas.gc-mask").evaluate(painted) > 100)
    shown = page.locator("img.gc-image").get_attribute("src") or ""
    assert "version=2" in shown
    assert "frame=1" in shown
    # Somebody publishes: who looks at an older version goes on looking at it.
    publish(broker_page, "cp1", seed="d")
    broker_page.until(lambda: page.locator(".gc-versions li").count() == 4)
    assert "@2" in page.inner_text(".gc-version-button[aria-current]")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    broker_page.screenshot("bus")


@only_desktop
def test_keys_lead_through_versions_and_compare(broker_page: BrokerPage) -> None:
    for seed in "abc":
        publish(broker_page, "cp1", seed=seed)
    broker_page.goto("#/buses/cp1")
    page = broker_page.page
    broker_page.until(lambda: page.locator(".gc-versions li").count() == 3)
    page.keyboard.press("ArrowDown")
    assert "@2" in page.inner_text(".gc-version-button[aria-current]")
    page.keyboard.press("c")
    page.locator(".gc-wipe").wait_for()
    assert page.locator("figcaption").all_inner_texts() == ["cp1@2", "cp1@1"]
    page.get_by_role("slider").focus()
    before = page.locator(".gc-above").evaluate("e => e.style.clipPath")
    page.keyboard.press("ArrowRight")
    assert page.locator(".gc-above").evaluate("e => e.style.clipPath") != before
    page.get_by_role("button", name="Side by side").click()
    assert page.locator(".gc-shown figure").count() == 2
    assert page.locator(".gc-wipe").count() == 0
    page.get_by_role("combobox", name="Compare with").select_option("3")
    assert page.locator("figcaption").all_inner_texts() == ["cp1@3", "cp1@2"]
    broker_page.screenshot("bus-compared")


def test_an_uploaded_image_is_a_new_version_with_its_label(broker_page: BrokerPage, tmp_path: Path) -> None:
    publish(broker_page, "cp1")
    file = tmp_path / "sunset.png"
    file.write_bytes(png((10, 200, 30)))
    broker_page.goto("#/buses/cp1")
    page = broker_page.page
    page.get_by_label("Label of the next upload").fill("by hand")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Upload a version").click()
    chooser.value.set_files(file)
    broker_page.until(lambda: broker_page.store.buses.head("cp1").version == 2)
    head = broker_page.store.buses.head("cp1")
    assert (head.width, head.height, head.meta.label) == (40, 30, "by hand")
    broker_page.until(lambda: "@2" in page.inner_text(".gc-version-button[aria-current]"))
    assert page.get_by_label("Label of the next upload").input_value() == ""


@only_desktop
def test_images_are_published_by_dropping_and_pasting_and_other_files_are_told_of(broker_page: BrokerPage) -> None:
    broker_page.console.allow("404")
    broker_page.goto("#/buses/fresh")
    page = broker_page.page
    page.get_by_text("Nothing is published as “fresh”").wait_for()
    transfer = """([bytes, name, type]) => {
        const t = new DataTransfer();
        t.items.add(new File([new Uint8Array(bytes)], name, {type}));
        return t;
    }"""
    dropped = page.evaluate_handle(transfer, [list(png((1, 2, 3))), "night.png", "image/png"])
    page.dispatch_event(".gc-view", "drop", {"dataTransfer": dropped})
    broker_page.until(lambda: broker_page.store.buses.heads())
    assert broker_page.store.buses.head("fresh").meta.label == "night"
    pasted = page.evaluate_handle(transfer, [list(png((3, 2, 1))), "image.png", "image/png"])
    page.evaluate("t => document.dispatchEvent(new ClipboardEvent('paste', {clipboardData: t, bubbles: true}))", pasted)
    broker_page.until(lambda: broker_page.store.buses.head("fresh").version == 2)
    text = page.evaluate_handle(transfer, [[1, 2], "notes.txt", "text/plain"])
    page.dispatch_event(".gc-view", "drop", {"dataTransfer": text})
    page.get_by_text("Files left out, as they are no images: 1").wait_for()


@only_desktop
def test_a_download_is_the_stored_png_under_its_reference(broker_page: BrokerPage) -> None:
    publish(broker_page, "cp1", mask=True)
    broker_page.goto("#/buses/cp1")
    page = broker_page.page
    for button, name, data in (
        ("Download image", "cp1@1.png", broker_page.store.buses.frame("cp1", 0)),
        ("Download mask", "cp1@1-mask.png", broker_page.store.buses.mask_frame("cp1", 0)),
    ):
        with page.expect_download() as got:
            page.get_by_role("button", name=button).click()
        assert got.value.suggested_filename == name
        assert hashlib.sha256(Path(got.value.path()).read_bytes()).digest() == hashlib.sha256(data).digest()


def test_a_deletion_is_held_and_can_be_undone(broker_page: BrokerPage) -> None:
    for seed in "ab":
        publish(broker_page, "cp1", seed=seed)
    broker_page.goto("#/buses/cp1")
    page = broker_page.page
    page.get_by_role("button", name="Delete @2").click()
    page.get_by_text("cp1@2 is deleted in 8 seconds").wait_for()
    broker_page.until(lambda: page.locator(".gc-versions li").count() == 1)
    broker_page.screenshot("bus-deletion")
    page.get_by_role("button", name="Undo").click()
    broker_page.until(lambda: page.locator(".gc-versions li").count() == 2)
    page.get_by_role("button", name="Delete the bus").click()
    page.get_by_text("cp1 is deleted in 8 seconds").wait_for()
    page.get_by_text("Nothing is published yet").wait_for()
    page.get_by_role("button", name="Undo").click()
    page.locator(".gc-card", has_text="cp1").wait_for()
    assert [head.version for head in broker_page.store.buses.versions("cp1")] == [2, 1]


@only_desktop
def test_a_held_deletion_is_sent_in_the_end_and_takes_only_what_was_seen(broker_page: BrokerPage) -> None:
    for seed in "ab":
        publish(broker_page, "cp1", seed=seed)
    publish(broker_page, "cp2")
    broker_page.goto("#/buses/cp1")
    page = broker_page.page
    page.get_by_role("button", name="Delete the bus").click()
    page.get_by_text("cp1 is deleted").wait_for()
    publish(broker_page, "cp1", seed="unseen")
    broker_page.until(lambda: [head.version for head in broker_page.store.buses.versions("cp1")] == [3])
    broker_page.until(lambda: page.locator(".gc-card").count() == 2)


@only_desktop
def test_who_leaves_the_page_has_deleted(broker_page: BrokerPage) -> None:
    publish(broker_page, "cp1")
    broker_page.goto("#/buses/cp1")
    broker_page.page.get_by_role("button", name="Delete the bus").click()
    broker_page.page.get_by_text("cp1 is deleted").wait_for()
    # The browser asks for an icon of what is no page of ours.
    broker_page.console.allow("404")
    broker_page.page.goto(f"{broker_page.url}/web/page/icon.svg")

    def gone() -> bool:
        try:
            broker_page.store.buses.head("cp1")
        except BusNotFound:
            return True
        return False

    broker_page.until(gone)


@only_desktop
def test_a_token_without_the_right_is_told_so_at_once(broker_page: BrokerPage, broker: BrokerThread) -> None:
    publish(broker_page, "cp1")
    broker.stop()
    broker.start(tokens=(Token("decide", "bo", hashlib.sha256(b"secret").hexdigest()),))
    page = broker_page.page
    page.add_init_script("localStorage['gatebus.token'] = 'secret'")
    broker_page.goto("#/buses/cp1")
    page.get_by_role("button", name="Delete the bus").click()
    page.get_by_text("This needs the role admin").wait_for()
    assert "decide" in page.inner_text(".gp-toasts")
    broker_page.until(lambda: page.evaluate("document.querySelector('img.gc-image')?.naturalWidth"))
