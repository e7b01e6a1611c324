"""The pools on the page: the node's own grid over the whole page, and what is done with a whole pool."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from gates import codec
from gates.errors import PoolNotFound
from tests.page.broker_page import BrokerPage, picture

only_desktop = pytest.mark.parametrize("variant", ["desktop"], indirect=True)


def fill(page: BrokerPage, pool_id: str, count: int, name: str = "") -> None:
    images = [codec.encode_png((picture(f"{pool_id}{n}", 64, 64) * 255).astype(np.uint8)) for n in range(count)]
    page.store.pools.add(pool_id, [(data, f"look {number}") for number, data in enumerate(images)])
    if name:
        page.store.pools.rename(pool_id, name)


def test_the_list_shows_each_pool_and_follows_it(broker_page: BrokerPage) -> None:
    broker_page.goto("#/pools")
    page = broker_page.page
    page.get_by_text("There is no pool yet").wait_for()
    fill(broker_page, "faces", 3, "Faces")
    card = page.locator(".gc-card")
    broker_page.until(lambda: card.count() == 1 and "3 images" in card.inner_text())
    assert "Faces" in card.inner_text()
    broker_page.until(lambda: page.evaluate("document.querySelector('.gc-card img').naturalWidth"))
    fill(broker_page, "hands", 1)
    broker_page.until(lambda: card.count() == 2)
    page.get_by_role("searchbox").fill("face")
    broker_page.until(lambda: card.count() == 1)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    broker_page.screenshot("pools")


def test_a_pool_is_the_nodes_grid_and_edits_there_are_edits(broker_page: BrokerPage, tmp_path: Path) -> None:
    fill(broker_page, "faces", 5, "Faces")
    broker_page.goto("#/pools")
    page = broker_page.page
    page.locator(".gc-card", has_text="Faces").click()
    cells = page.locator(".gb-cell")
    broker_page.until(lambda: cells.count() == 5)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    # The grid has the page's height, whatever it holds.
    assert page.locator(".gb-pool").evaluate("e => e.getBoundingClientRect().height") > 400
    broker_page.screenshot("pool")
    file = tmp_path / "new.png"
    file.write_bytes(codec.encode_png((picture("new", 64, 64) * 255).astype(np.uint8)))
    with page.expect_file_chooser() as chooser:
        broker_page.press(".gb-pool-upload")
    chooser.value.set_files(file)
    broker_page.until(lambda: len(broker_page.store.pools.get("faces").slots) == 6)
    assert broker_page.store.pools.get("faces").slots[5].label == "new"
    broker_page.until(lambda: cells.count() == 6)
    broker_page.press(".gb-cell >> nth=2")
    broker_page.press(".gb-pool-remove")
    broker_page.until(lambda: len(broker_page.store.pools.get("faces").slots) == 5)
    page.get_by_role("button", name="Undo").click()
    broker_page.until(lambda: len(broker_page.store.pools.get("faces").slots) == 6)


def test_a_pool_is_made_named_copied_and_deleted_with_a_way_back(broker_page: BrokerPage) -> None:
    broker_page.goto("#/pools")
    page = broker_page.page
    page.get_by_role("button", name="New pool").click()
    page.get_by_role("textbox", name="Name of the pool").fill("Hands")
    page.get_by_role("button", name="OK").click()
    page.get_by_text("Drop, paste or upload images").wait_for()
    pool_id = next(info.pool_id for info in broker_page.store.pools.infos())
    assert broker_page.store.pools.get(pool_id).name == "Hands"
    fill(broker_page, pool_id, 2)
    broker_page.until(lambda: page.locator(".gb-cell").count() == 2)

    broker_page.press(".gb-pool-more")
    page.get_by_role("menuitem", name="Rename…").click()
    page.get_by_role("textbox", name="Name of the pool").fill("Left hands")
    page.get_by_role("button", name="OK").click()
    broker_page.until(lambda: broker_page.store.pools.get(pool_id).name == "Left hands")

    broker_page.goto("#/pools")
    page.get_by_role("button", name="Menu of Left hands").click()
    broker_page.screenshot("pools-menu")
    page.get_by_role("menuitem", name="Duplicate…").click()
    page.get_by_role("button", name="OK").click()
    broker_page.until(lambda: page.locator(".gc-card").count() == 2)
    assert {info.name for info in broker_page.store.pools.infos()} == {"Left hands", "Left hands 2"}

    page.get_by_role("button", name="Menu of Left hands 2").click()
    page.get_by_role("menuitem", name="Delete…").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete…").click()
    page.get_by_text("Left hands 2 is deleted in 8 seconds").wait_for()
    broker_page.until(lambda: page.locator(".gc-card").count() == 1)
    page.get_by_role("button", name="Undo").click()
    broker_page.until(lambda: page.locator(".gc-card").count() == 2)


@only_desktop
def test_a_held_deletion_of_a_pool_is_sent_in_the_end_unless_it_was_edited(broker_page: BrokerPage) -> None:
    fill(broker_page, "old", 0)
    fill(broker_page, "edited", 0)
    broker_page.goto("#/pools")
    page = broker_page.page
    for name in ("old", "edited"):
        page.get_by_role("button", name=f"Menu of {name}").click()
        page.get_by_role("menuitem", name="Delete…").click()
        page.get_by_text(f"{name} is deleted in 8 seconds").wait_for()
    fill(broker_page, "edited", 1)

    def gone() -> bool:
        try:
            broker_page.store.pools.get("old")
        except PoolNotFound:
            return True
        return False

    broker_page.until(gone)
    page.get_by_text("Not deleted: edited").wait_for()
    assert len(broker_page.store.pools.get("edited").slots) == 1
    broker_page.until(lambda: page.locator(".gc-card").count() == 1)


@only_desktop
def test_a_pool_travels_as_a_zip(broker_page: BrokerPage, tmp_path: Path) -> None:
    fill(broker_page, "faces", 2, "Faces")
    broker_page.goto("#/pools/faces")
    page = broker_page.page
    broker_page.until(lambda: page.locator(".gb-cell").count() == 2)
    page.locator(".gb-pool-more").click()
    with page.expect_download() as got:
        page.get_by_role("menuitem", name="Export as zip").click()
    assert got.value.suggested_filename == "faces.zip"
    path = tmp_path / "Faces again.zip"
    got.value.save_as(path)
    assert len(zipfile.ZipFile(io.BytesIO(path.read_bytes())).namelist()) == 3
    broker_page.goto("#/pools")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Import a zip…").click()
    chooser.value.set_files(path)
    page.get_by_text("Imported as a new pool; images: 2").wait_for()
    broker_page.until(lambda: page.locator(".gb-cell").count() == 2)
    assert {info.name for info in broker_page.store.pools.infos()} == {"Faces", "Faces again"}


@only_desktop
def test_a_mask_is_painted_on_a_slot(broker_page: BrokerPage) -> None:
    fill(broker_page, "faces", 2, "Faces")
    broker_page.goto("#/pools/faces")
    page = broker_page.page
    broker_page.until(lambda: page.locator(".gb-cell").count() == 2)
    page.locator(".gb-cell").first.click()
    page.keyboard.press("e")
    dialog = page.locator(".gatebus-painter-dialog")
    dialog.wait_for()
    page.wait_for_timeout(300)
    page.keyboard.press("x")
    page.keyboard.press("Control+s")
    broker_page.until(lambda: broker_page.store.pools.get("faces").slots[0].mask)
    dialog.wait_for(state="detached")
