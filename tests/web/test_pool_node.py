"""The Image Pool node as a person uses it: its grid in the real page, its store looked at directly."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from PIL import Image

from gates.pool.manifest import Manifest
from tests.web.comfy_pages import ComfyPage

XSS = '<img src=x onerror="window.caught=1">'
PICTURE = ".gb-cell[aria-posinset='{}'] .gb-cell-picture"

PASTE = """async (name) => {
    const canvas = new OffscreenCanvas(40, 30);
    canvas.getContext("2d").fillRect(0, 0, 20, 20);
    const data = new DataTransfer();
    data.items.add(new File([await canvas.convertToBlob()], name, {type: "image/png"}));
    (document.activeElement ?? document.body).dispatchEvent(
        new ClipboardEvent("paste", {bubbles: true, cancelable: true, clipboardData: data}));
}"""

DROP = """async ([selector, names]) => {
    const canvas = new OffscreenCanvas(40, 30);
    const context = canvas.getContext("2d");
    const data = new DataTransfer();
    for (const name of names) {
        context.fillStyle = `rgb(${names.indexOf(name) * 40} 90 20)`;
        context.fillRect(0, 0, 40, 30);
        const type = name.endsWith(".png") ? "image/png" : "text/plain";
        data.items.add(new File([await canvas.convertToBlob()], name, {type}));
    }
    const target = document.querySelector(selector);
    const box = target.getBoundingClientRect();
    const more = {bubbles: true, cancelable: true, dataTransfer: data, clientX: box.left + 3, clientY: box.top + 20};
    for (const kind of ["dragover", "drop"]) target.dispatchEvent(new DragEvent(kind, more));
}"""


def png(number: int, size: int = 64, noise: bool = False) -> bytes:
    """A picture unlike the others."""
    rng = np.random.default_rng(number)
    pixels = np.full((size, size, 3), rng.integers(0, 255, 3), np.uint8)
    if noise:
        pixels = rng.integers(0, 255, (size, size, 3), np.uint8)
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, "PNG", compress_level=1)
    return target.getvalue()


class PoolPage:
    """A node in the page, and its pool in the store."""

    def __init__(self, comfy: ComfyPage, count: int = 0, pool_id: str = "", size: tuple[int, int] = (520, 640)) -> None:
        self.comfy, self.page, self.store = comfy, comfy.page, comfy.bed.store
        self.id = pool_id or f"pool-{uuid4().hex[:8]}"
        if count:
            self.store.pools.add(self.id, [(png(number), f"n{number}") for number in range(count)])
        self.node = comfy.add_node("GridImagePool", {"pool_id": self.id}, (60, 60))
        comfy.node(self.node, f"(node.setSize([{size[0]}, {size[1]}]), node.setDirtyCanvas(true, true))")
        if count:
            self.page.wait_for_selector(".gb-cell img[src]")

    @property
    def manifest(self) -> Manifest:
        return self.store.pools.get(self.id)

    def labels(self) -> list[str]:
        return [slot.label for slot in self.manifest.slots]

    def click(self, index: int, *modifiers: Any) -> None:
        self.page.locator(PICTURE.format(index + 1)).first.click(modifiers=list(modifiers))

    def selected(self) -> list[str]:
        self.comfy.settle()
        marks = self.page.locator(".gb-cell[aria-selected='true'] .gb-cell-index").all_inner_texts()
        return sorted(marks, key=int)

    def choose(self, entry: str) -> None:
        self.page.locator(".gb-pool-more").first.click()
        self.page.locator(".gb-popup-entry", has_text=entry).click()

    def until(self, condition: Callable[[], Any], what: str = "") -> None:
        self.comfy.until(condition, what)


def test_click_ctrl_shift_and_keys_select_and_activate(comfy: ComfyPage) -> None:
    pool = PoolPage(comfy, 12)
    pool.click(2)
    assert pool.selected() == ["2"]
    pool.click(5, "Shift")
    assert pool.selected() == ["2", "3", "4", "5"]
    pool.click(3, "Control")
    assert pool.selected() == ["2", "4", "5"]
    pool.page.keyboard.press("Home")
    pool.page.keyboard.press("ArrowRight")
    assert pool.selected() == ["1"]
    pool.page.keyboard.press("Enter")
    pool.until(lambda: pool.manifest.active == "img_0002.png")
    pool.page.locator(PICTURE.format(4)).dblclick()
    pool.until(lambda: pool.manifest.active == "img_0004.png")
    assert pool.page.locator(".gb-cell-active .gb-cell-index").all_inner_texts() == ["3"]
    pool.page.keyboard.press("Control+a")
    assert len(pool.selected()) == 12


def test_a_removal_can_be_undone_and_the_node_stays(comfy: ComfyPage) -> None:
    pool = PoolPage(comfy, 6)
    pool.click(1)
    pool.click(3, "Shift")
    pool.page.keyboard.press("Delete")
    pool.until(lambda: pool.labels() == ["n0", "n4", "n5"])
    assert pool.selected() == ["1"], "what took their place"
    pool.page.locator(".gb-bar-button", has_text="Undo").click()
    pool.until(lambda: pool.labels() == [f"n{number}" for number in range(6)])
    pool.until(lambda: pool.selected() == ["1", "2", "3"])
    pool.page.keyboard.press("Delete")
    pool.until(lambda: len(pool.labels()) == 3)
    pool.page.keyboard.press("u")
    pool.until(lambda: len(pool.labels()) == 6)
    assert str(comfy.node(pool.node)) == pool.node


def test_a_label_is_edited_in_its_place_and_shown_as_text(comfy: ComfyPage) -> None:
    pool = PoolPage(comfy, 3)
    pool.click(1)
    pool.page.keyboard.press("F2")
    pool.page.keyboard.press("Control+a")
    pool.page.keyboard.type(XSS)
    pool.page.keyboard.press("Enter")
    pool.until(lambda: pool.labels() == ["n0", XSS, "n2"])
    assert XSS in pool.page.locator(".gb-cell-label").all_inner_texts()
    pool.page.locator(".gb-cell[aria-posinset='1'] .gb-cell-label").click()
    pool.page.keyboard.type("dropped")
    pool.page.keyboard.press("Escape")
    comfy.settle()
    assert pool.labels()[0] == "n0"
    assert comfy.evaluate("() => window.caught") is None
    assert str(comfy.node(pool.node)) == pool.node, "Escape and the digits typed did nothing to the graph"


def test_images_are_dragged_to_another_place(comfy: ComfyPage) -> None:
    pool = PoolPage(comfy, 6)
    before = comfy.node(pool.node, "[...node.pos]")
    start = pool.page.locator(PICTURE.format(1)).bounding_box()
    end = pool.page.locator(PICTURE.format(3)).bounding_box()
    assert start is not None
    assert end is not None
    pool.page.mouse.move(start["x"] + 40, start["y"] + 40)
    pool.page.mouse.down()
    pool.page.mouse.move(start["x"] + 60, start["y"] + 45, steps=3)
    pool.page.mouse.move(end["x"] + end["width"] - 4, end["y"] + 40, steps=5)
    pool.page.mouse.up()
    pool.until(lambda: pool.labels() == ["n1", "n2", "n0", "n3", "n4", "n5"])
    assert comfy.node(pool.node, "[...node.pos]") == before, "the node was not dragged"


def test_drop_paste_and_upload_fill_it_and_no_other_node_appears(comfy: ComfyPage, tmp_path: Path) -> None:
    pool = PoolPage(comfy, 2)
    comfy.console.allow("invalid_image|422")
    comfy.evaluate(DROP, [".gb-cell[aria-posinset='2']", ["red.png", "green.png", "notes.txt"]])
    pool.until(lambda: pool.labels() == ["n0", "red", "green", "n1"])
    pool.click(0)
    comfy.evaluate(PASTE, "first.png")
    pool.until(lambda: pool.labels()[-1] == "first")
    comfy.evaluate("() => document.activeElement.blur()")
    comfy.select(pool.node)
    comfy.evaluate(PASTE, "second.png")
    pool.until(lambda: pool.labels()[-1] == "second")
    for number in (10, 9):
        (tmp_path / f"up{number}.png").write_bytes(png(number))
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pool.page.expect_file_chooser() as chooser:
        pool.page.locator(".gb-pool-upload").click()
    chooser.value.set_files([tmp_path / name for name in ("up10.png", "broken.png", "up9.png")])
    pool.until(lambda: pool.labels()[-2:] == ["up10", "up9"])
    pool.page.get_by_text("broken.png").first.wait_for()
    assert len(comfy.workflow()["nodes"]) == 1


def test_uploads_can_be_cancelled(comfy: ComfyPage, tmp_path: Path) -> None:
    pool = PoolPage(comfy)
    files = []
    for number in range(40):
        files.append(tmp_path / f"{number}.png")
        files[-1].write_bytes(png(number, 512, noise=True))
    with pool.page.expect_file_chooser() as chooser:
        pool.page.locator(".gb-pool-upload").click()
    chooser.value.set_files(files)
    pool.page.wait_for_selector(".gb-cell")
    pool.page.locator(".gb-bar-button", has_text="Cancel").click()
    pool.page.wait_for_selector(".gb-bar-button:has-text('Cancel')", state="hidden")
    count = len(pool.labels())
    pool.page.wait_for_timeout(500)
    assert 1 <= len(pool.labels()) <= min(count + 1, 39)


def test_another_tabs_edit_appears(comfy: ComfyPage, new_tab: Callable[[], ComfyPage]) -> None:
    pool = PoolPage(comfy, 4)
    other = PoolPage(new_tab(), 0, pool.id)
    other.page.wait_for_selector(PICTURE.format(4))
    other.click(2)
    other.page.keyboard.press("Delete")
    pool.page.wait_for_selector(PICTURE.format(4), state="detached", timeout=5000)
    pool.store.pools.label(pool.id, "img_0001.png", "from afar")
    for each in (pool, other):
        each.page.wait_for_selector(".gb-cell-label:text-is('from afar')", timeout=5000)


def test_a_copy_shares_the_pool_until_it_is_detached(comfy: ComfyPage) -> None:
    pool = PoolPage(comfy, 3)
    comfy.select(pool.node)
    comfy.evaluate("""() => {
        const canvas = window.app.canvas;
        canvas.copyToClipboard();
        canvas.graph_mouse = [700, 60];
        canvas.pasteFromClipboard();
    }""")
    pool.page.wait_for_function("() => document.querySelectorAll('.gb-pool').length === 2")
    pool.until(lambda: pool.page.locator(".gb-pool-shared:visible").all_inner_texts() == ["shared ×2"] * 2)
    ids = """() => (window.app.rootGraph ?? window.app.graph).nodes.map(
        (node) => node.widgets.find((widget) => widget.name === "pool_id").value)"""
    assert comfy.evaluate(ids) == [pool.id] * 2
    pool.choose("Detach")
    pool.until(lambda: len(set(comfy.evaluate(ids))) == 2)
    pool.until(lambda: pool.page.locator(".gb-pool-shared:visible").count() == 0)
    fresh = next(each for each in comfy.evaluate(ids) if each != pool.id)
    assert [slot.label for slot in pool.store.pools.get(fresh).slots] == pool.labels()


def test_a_new_node_has_an_id_of_its_own_that_is_saved_and_hidden(comfy: ComfyPage) -> None:
    first, second = (comfy.add_node("GridImagePool", {}, (60 + 500 * number, 60)) for number in range(2))
    value = "node.widgets.find((w) => w.name === 'pool_id').value"
    ids = [comfy.node(each, value) for each in (first, second)]
    assert len(set(ids)) == 2
    assert all(re.fullmatch("pool_[0-9a-f]{8}", each) for each in ids)
    workflow = comfy.workflow()
    assert sorted(node["widgets_values"][1] for node in workflow["nodes"]) == sorted(ids)
    comfy.load_workflow(workflow)
    assert sorted(comfy.node(each, value) for each in (first, second)) == sorted(ids)
    assert comfy.page.locator(".gb-pool").count() == 2


def test_rename_sort_export_and_import(comfy: ComfyPage) -> None:
    pool = PoolPage(comfy, 3)
    pool.store.pools.label(pool.id, "img_0001.png", "z10")
    pool.store.pools.label(pool.id, "img_0002.png", "Z9")
    pool.page.wait_for_selector(".gb-cell-label:text-is('Z9')")
    pool.choose("Sort by label")
    pool.until(lambda: pool.labels() == ["n2", "Z9", "z10"])
    pool.choose("Rename")
    pool.page.get_by_role("dialog").get_by_role("textbox").fill(XSS)
    pool.page.keyboard.press("Enter")
    pool.until(lambda: pool.manifest.name == XSS)
    pool.page.wait_for_function("(name) => document.querySelector('.gb-pool-name').textContent === name", arg=XSS)
    with pool.page.expect_download() as download:
        pool.choose("Export")
    with pool.page.expect_file_chooser() as chooser:
        pool.choose("Import")
    chooser.value.set_files(str(download.value.path()))
    value = "node.widgets.find((w) => w.name === 'pool_id').value"
    pool.until(lambda: comfy.node(pool.node, value) != pool.id, "the node shows the imported pool")
    imported = pool.store.pools.get(comfy.node(pool.node, value))
    assert [slot.label for slot in imported.slots] == ["n2", "Z9", "z10"]
    assert imported.pool_id != pool.id


def test_space_shows_a_large_preview_that_takes_nothing(comfy: ComfyPage) -> None:
    pool = PoolPage(comfy, 4)
    pool.click(0)
    pool.page.keyboard.press("Space")
    pool.page.wait_for_selector(".gb-zoom")
    assert comfy.evaluate("() => getComputedStyle(document.querySelector('.gb-zoom')).pointerEvents") == "none"
    pool.page.keyboard.press("ArrowRight")
    pool.page.wait_for_selector(".gb-zoom-caption:text-is('1 · n1')")
    pool.page.keyboard.press("Escape")
    assert pool.page.locator(".gb-zoom").count() == 0
    assert pool.selected() == ["1"]


def test_nothing_is_left_when_the_node_goes(comfy: ComfyPage) -> None:
    pool = PoolPage(comfy, 4)
    pool.click(0)
    pool.page.keyboard.press("Space")
    comfy.clear()
    comfy.settle()
    assert pool.page.locator(".gb-pool, .gb-zoom").count() == 0
    looks = comfy.traffic.count(f"pools/{pool.id}\\?")
    pool.store.pools.label(pool.id, "img_0001.png", "later")
    pool.page.wait_for_timeout(600)
    assert comfy.traffic.count(f"pools/{pool.id}\\?") == looks, "a node that is gone follows nothing"


@pytest.mark.parametrize("count", [200, 10_000])
def test_only_what_is_seen_is_drawn_and_loaded_and_a_click_loads_nothing(comfy: ComfyPage, count: int) -> None:
    pool_id = f"many-{uuid4().hex[:8]}"
    if count == 200:
        images = [(png(number, 1024), f"n{number}") for number in range(count)]
    else:
        # Few distinct pictures: what counts here is the number of slots.
        distinct = [png(number) for number in range(50)]
        images = [(distinct[number % 50], f"n{number}") for number in range(count)]
    comfy.bed.store.pools.add(pool_id, images)
    pool = PoolPage(comfy, 0, pool_id, (640, 640))
    seen = """() => {
        const pictures = [...document.querySelectorAll(".gb-cell img")];
        return pictures.length > 0 && pictures.every((picture) => picture.naturalWidth);
    }"""
    loads = -1
    # The node takes its size a few frames after it was added; then there are more cells to fill.
    while loads != comfy.traffic.count("/thumbnail|/image"):
        loads = comfy.traffic.count("/thumbnail|/image")
        pool.page.wait_for_timeout(700)
        pool.page.wait_for_function(seen)
    assert pool.page.locator(".gb-cell").count() < 80
    assert loads < 80
    for index in (1, 3, 6):
        pool.click(index)
    pool.page.locator(PICTURE.format(3)).dblclick()
    pool.until(lambda: pool.manifest.active == "img_0003.png")
    assert comfy.traffic.count("/thumbnail|/image") == loads
    pool.page.keyboard.press("End")
    pool.page.wait_for_selector(PICTURE.format(count))
    assert pool.page.locator(".gb-cell").count() < 80
    if count == 200:
        for top in range(0, 9000, 300):
            comfy.evaluate("(top) => { document.querySelector('.gb-grid').scrollTop = top; }", top)
            pool.page.wait_for_timeout(120)
        assert comfy.traffic.bytes(f"pools/{pool_id}") < 3 * 2**20
