"""The bus picker at ``get_id`` and ``send_id``: fresh names with pictures, versions, any text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gates.bus.record import BusMeta
from tests.web.comfy_pages import ComfyPage

ROW = ".gatebus-bus-row"
XSS = "<img src=x onerror='window.caught=1'>"


def publish(comfy: ComfyPage, name: str, times: int = 1, label: str = "") -> list[int]:
    """Publishes pictures; returns their versions. Names are the mode's own, as a ComfyUI serves all tests."""
    image = np.zeros((1, 40, 60, 3), np.float32) + 0.5
    return [comfy.store.buses.publish(name, image, None, meta=BusMeta(label=label)).version for _ in range(times)]


@pytest.fixture
def names(comfy: ComfyPage) -> tuple[str, str]:
    """Two buses: one of four versions, then one of one version."""
    for head in comfy.store.buses.heads():
        comfy.store.buses.delete(head.name)
    publish(comfy, "faces", 4, XSS)
    publish(comfy, "hands")
    return "faces", "hands"


def open_picker(comfy: ComfyPage, node: str, widget: str) -> None:
    if comfy.vue:
        comfy.page.locator(f'[data-node-id="{node}"] input[aria-label={widget}]').click()
    else:
        x, y = comfy.node(
            node,
            f"""(() => {{
                const {{ ds, canvas }} = window.app.canvas, box = canvas.getBoundingClientRect();
                const widget = node.widgets.find((each) => each.name === {widget!r});
                return [box.left + (node.pos[0] + 150 + ds.offset[0]) * ds.scale,
                        box.top + (node.pos[1] + (widget.y ?? widget.last_y) + 10 + ds.offset[1]) * ds.scale];
            }})()""",
        )
        comfy.page.mouse.move(x, y)
        comfy.settle()
        comfy.page.mouse.down()
        comfy.page.mouse.up()
    comfy.page.wait_for_selector(".gatebus-bus")


def value(comfy: ComfyPage, node: str, widget: str) -> Any:
    return comfy.node(node, f"node.widgets.find((each) => each.name === {widget!r}).value")


def references(comfy: ComfyPage) -> list[str]:
    return [
        name.evaluate("(element) => element.firstChild.data") for name in comfy.page.locator(".gatebus-bus-name").all()
    ]


def add_gate(comfy: ComfyPage, **values: Any) -> str:
    node = comfy.add_node("ImageGate", values, (300, 120))
    comfy.page.wait_for_timeout(300)
    return node


def test_a_click_offers_what_is_published_and_a_row_picks_it(comfy: ComfyPage, names: tuple[str, str]) -> None:
    node = add_gate(comfy)
    open_picker(comfy, node, "get_id")
    comfy.page.wait_for_selector(ROW)
    assert references(comfy) == ["hands", "faces"], "the last published first"
    picture = comfy.page.locator(f"{ROW} img").first
    comfy.until(lambda: picture.evaluate("(image) => image.naturalWidth") > 0, "the thumbnail")
    assert "60 × 40" in (comfy.page.locator(ROW).first.text_content() or "")
    comfy.screenshot("picker")
    comfy.page.locator(ROW).last.click()
    assert value(comfy, node, "get_id") == "faces"
    assert comfy.page.locator(".gatebus-bus").count() == 0
    assert comfy.evaluate("() => window.caught") is None, "a label is text"


def test_a_version_is_picked_by_number_or_by_its_distance_from_the_newest(
    comfy: ComfyPage, names: tuple[str, str]
) -> None:
    node = add_gate(comfy)
    newest = comfy.store.buses.head("faces").version
    for pick, expected in (("row", f"faces@{newest - 1}"), ("button", "faces@-1")):
        open_picker(comfy, node, "get_id")
        if pick == "row":
            comfy.page.locator(ROW, has_text="faces").locator("button").click()
        # With a version chosen it opens at the versions.
        comfy.until(lambda: references(comfy)[:1] == [f"faces@{newest}"], "the versions")
        second = comfy.page.locator(ROW).nth(1)
        (second if pick == "row" else second.locator("button")).click(position={"x": 12, "y": 12})
        assert value(comfy, node, "get_id") == expected


def test_any_text_may_be_typed_and_the_list_follows_it(comfy: ComfyPage, names: tuple[str, str]) -> None:
    node = add_gate(comfy)
    keyboard = comfy.page.keyboard
    open_picker(comfy, node, "get_id")
    comfy.page.wait_for_selector(ROW)
    keyboard.type("han")
    comfy.until(lambda: references(comfy) == ["hands"], "the names that fit")
    keyboard.press("ControlOrMeta+a")
    keyboard.type("not_yet")
    comfy.until(lambda: "not_yet" in (comfy.page.locator(".gatebus-bus-status").text_content() or ""), "a hint")
    keyboard.press("Enter")
    assert value(comfy, node, "get_id") == "not_yet"
    assert comfy.page.locator(".gatebus-bus").count() == 0


def test_the_keyboard_alone_picks_a_version(comfy: ComfyPage, names: tuple[str, str]) -> None:
    node = add_gate(comfy)
    newest = comfy.store.buses.head("faces").version
    keyboard = comfy.page.keyboard
    open_picker(comfy, node, "get_id")
    comfy.page.wait_for_selector(ROW)
    keyboard.type("faces@")
    comfy.until(lambda: len(references(comfy)) == 4, "the versions")
    for _ in range(3):
        keyboard.press("ArrowDown")
    keyboard.press("Enter")
    assert value(comfy, node, "get_id") == f"faces@{newest - 2}"


def test_the_list_is_fresh_while_it_is_open(comfy: ComfyPage, names: tuple[str, str]) -> None:
    node = add_gate(comfy)
    open_picker(comfy, node, "send_id")
    comfy.page.wait_for_selector(ROW)
    publish(comfy, "born_later")
    comfy.until(lambda: references(comfy)[:1] == ["born_later"], "the new name", 5)
    assert comfy.page.locator(f"{ROW} button").count() == 0, "one publishes to a name, not to a version"
    comfy.page.locator(ROW).first.click()
    assert value(comfy, node, "send_id") == "born_later"


def test_escape_and_a_click_elsewhere_close_it_and_an_untouched_value_stays(
    comfy: ComfyPage, names: tuple[str, str]
) -> None:
    node = add_gate(comfy, get_id="faces@-1")
    open_picker(comfy, node, "get_id")
    comfy.page.wait_for_selector(ROW)
    comfy.page.keyboard.press("Escape")
    assert comfy.page.locator(".gatebus-bus").count() == 0
    open_picker(comfy, node, "get_id")
    comfy.page.mouse.click(1300, 450)
    comfy.until(lambda: comfy.page.locator(".gatebus-bus").count() == 0, "closed")
    assert value(comfy, node, "get_id") == "faces@-1"


def test_it_goes_with_its_node(comfy: ComfyPage, names: tuple[str, str]) -> None:
    node = add_gate(comfy)
    open_picker(comfy, node, "get_id")
    comfy.node(node, "(window.app.graph.remove(node), null)")
    comfy.until(lambda: comfy.page.locator(".gatebus-bus").count() == 0, "gone")


def test_saved_values_stand_where_they_stood(comfy: ComfyPage) -> None:
    add_gate(comfy, send_id="out", get_id="in@-1", note="n")
    (saved,) = comfy.workflow()["nodes"]
    assert saved["widgets_values"] == [2, "out", "in@-1", "", 0, 0, "n", "png", "default", 0]


def test_nothing_published_and_a_store_that_fails_are_said_in_words(comfy: ComfyPage) -> None:
    for head in comfy.store.buses.heads():
        comfy.store.buses.delete(head.name)
    node = add_gate(comfy)
    open_picker(comfy, node, "get_id")
    status = comfy.page.locator(".gatebus-bus-status")
    comfy.until(lambda: "Nothing is published" in (status.text_content() or ""), "the hint")
    comfy.page.keyboard.press("Escape")
    comfy.console.allow("buses")
    with comfy.offline():
        open_picker(comfy, node, "get_id")
        comfy.until(lambda: "can't be listed" in (status.text_content() or ""), "the reason")
