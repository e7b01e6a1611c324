"""The screen of one gate as a test uses it."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from PIL import Image

from tests.page.broker_page import BrokerPage


class Screen:
    """The screen of a gate."""

    def __init__(self, tab: BrokerPage) -> None:
        self.tab, self.page = tab, tab.page

    def open(self, waiter: Any, **settings: Any) -> Screen:
        """Shows that gate, with those settings of the browser."""
        if settings:
            self.tab.goto("#/buses")
            self.tab.set(**settings)
            self.tab.reload()
        self.tab.goto(f"#/gates/{waiter.gate.id}")
        return self.shows(waiter)

    def shows(self, waiter: Any, frame: int = 0, how: str = "") -> Screen:
        """Waits until the gate's image is seen; ``how``: ``whole`` or ``preview``."""
        self.page.wait_for_selector(f'.gs-look[data-drawn^="{waiter.gate.id} {frame} {how}"]')
        return self

    def until_scale(self, condition: Callable[[float], bool]) -> float:
        self.tab.until(lambda: condition(self.scale), "another zoom")
        return self.scale

    @property
    def scale(self) -> float:
        return float(self.page.locator(".gs-look").get_attribute("data-scale") or 0)

    @property
    def state(self) -> str:
        return str(self.page.locator(".gs").get_attribute("data-state"))

    @property
    def spoken(self) -> str:
        return str(self.page.locator(".gs-spoken").text_content())

    def settle(self) -> None:
        """Until a gate that has just come can be decided."""
        self.page.wait_for_timeout(320)

    def key(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def colour(self, x: float, y: float) -> tuple[int, ...]:
        """Of what is seen of the image's place, at those parts of its width and height."""
        box = self.page.locator(".gs-canvas").bounding_box()
        clip = {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"], "width": 2, "height": 2}
        return Image.open(io.BytesIO(self.page.screenshot(clip=clip))).convert("RGB").getpixel((0, 0))
