"""The page's frame: places, connection, who decides, settings, login, messages, keys."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from gates.settings import Token
from tests.page.broker_page import BrokerPage

desktop = pytest.mark.parametrize("variant", ["desktop"], indirect=True)

CONTRAST = """() => {
    // Every text that is seen, with the ratio of its colour to the first opaque ground behind it.
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const rgba = (colour) => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const light = ([r, g, b]) => [r, g, b].map((each) => each / 255)
        .map((each) => each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4)
        .reduce((sum, each, place) => sum + each * [0.2126, 0.7152, 0.0722][place], 0);
    const faults = [];
    for (const element of document.querySelectorAll("body *")) {
        const text = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
        if (!text || !element.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
        if (element.closest(".gi-gone, .gp-hidden, :disabled, noscript, option")) continue;
        let ground = [0, 0, 0, 0];
        for (let place = element; place && ground[3] < 250; place = place.parentElement)
            ground = rgba(getComputedStyle(place).backgroundColor);
        const [one, other] = [light(rgba(getComputedStyle(element).color)), light(ground)].sort((a, b) => b - a);
        const ratio = (one + 0.05) / (other + 0.05);
        if (ratio < 4.5) faults.push([element.className, element.textContent.trim().slice(0, 40), ratio.toFixed(2)]);
    }
    return faults;
}"""

NAMELESS = """() => [...document.querySelectorAll("button, a[href], input, select, textarea, [role=img]")]
    .filter((each) => each.checkVisibility())
    .filter((each) => !(each.getAttribute("aria-label") || each.textContent.trim() || each.labels?.length
        || each.getAttribute("title") || document.getElementById(each.getAttribute("aria-labelledby") ?? "")))
    .map((each) => each.outerHTML.slice(0, 200))"""

SMALL = """() => [...document.querySelectorAll("button, a[href], select, input:not([type=checkbox]), label")]
    .filter((each) => each.checkVisibility() && !each.closest(".gb-held") && !each.matches(".gp-skip"))
    .map((each) => [each.className || each.tagName, each.getBoundingClientRect()])
    .filter(([, box]) => box.width && (box.height < 43.5 || box.width < 40))
    .map(([name, box]) => [name, Math.round(box.width), Math.round(box.height)])"""


def banner(broker_page: BrokerPage) -> Any:
    return broker_page.page.locator(".gp-banner")


def test_the_page_opens_on_the_gates_that_wait_and_counts_them(broker_page: BrokerPage) -> None:
    broker_page.goto("")
    page = broker_page.page
    assert page.title() == "Gates · gatebus"
    broker_page.open_gate("portrait")
    page.get_by_text("portrait").first.wait_for()
    broker_page.until(lambda: page.title() == "(1) Gates · gatebus", "the count in the title")
    gates = page.get_by_role("navigation", name="Places").get_by_role("link", name="Gates")
    assert gates.get_attribute("aria-current") == "page"
    assert "1" in gates.inner_text()


def test_places_go_back_and_forward_and_an_unknown_one_is_told(broker_page: BrokerPage) -> None:
    broker_page.goto("#/gates")
    page = broker_page.page
    page.get_by_role("link", name="Pools").click()
    broker_page.sees("document.title.startsWith('Pools')")
    page.go_back()
    page.locator(".gi-inbox").wait_for()
    page.go_forward()
    broker_page.sees("document.title.startsWith('Pools')")
    broker_page.console.allow("nowhere")
    page.evaluate("location.hash = '#/nowhere'")
    page.get_by_text("There is no place called nowhere").first.wait_for()
    broker_page.screenshot("unknown-place")


def test_a_broker_that_stops_and_comes_back_is_never_silent(broker_page: BrokerPage) -> None:
    broker_page.open_gate("before")
    broker_page.goto("#/gates")
    assert banner(broker_page).is_hidden()
    broker_page.console.allow("Failed to load resource|ERR_CONNECTION_REFUSED|ERR_INCOMPLETE")
    broker_page.broker.stop()
    broker_page.page.get_by_text("The broker does not answer").wait_for()
    assert broker_page.page.locator(".gp-state").inner_text() == "Offline"
    # What was known is still shown.
    assert broker_page.page.get_by_text("before").first.is_visible()
    broker_page.screenshot("offline")
    broker_page.open_gate("meanwhile")
    broker_page.broker.start()
    broker_page.page.get_by_text("meanwhile").first.wait_for()
    banner(broker_page).wait_for(state="hidden")


def test_a_store_that_is_away_is_told_with_its_reason(broker_page: BrokerPage) -> None:
    broker_page.broker.stop()
    broker_page.broker.start(store_url="redis://127.0.0.1:1/0")
    broker_page.console.allow("503")
    broker_page.page.goto(f"{broker_page.url}/#/gates")
    broker_page.page.get_by_text("The shared store does not answer").wait_for()
    assert broker_page.page.locator(".gp-state").inner_text() == "Store away"
    broker_page.screenshot("store-away")


def test_a_token_is_asked_for_kept_and_forgotten(broker_page: BrokerPage) -> None:
    good, look = "a-token-to-decide-with", "a-token-to-look-with"
    hashed = [hashlib.sha256(token.encode()).hexdigest() for token in (good, look)]
    broker_page.broker.stop()
    broker_page.broker.start(tokens=(Token("decide", "bert", hashed[0]), Token("view", "vera", hashed[1])))
    waiter = broker_page.open_gate("portrait")
    broker_page.console.allow("401|403")
    page = broker_page.page
    page.goto(f"{broker_page.url}/#/gates")
    token = page.get_by_label("Token", exact=True)
    token.wait_for()
    assert page.locator(".gp-state").inner_text() == "Token needed"
    broker_page.screenshot("login")
    token.fill("wrong")
    token.press("Enter")
    page.get_by_text("The broker does not know this token").wait_for()
    token.fill(look)
    token.press("Enter")
    page.get_by_text("portrait").first.wait_for()
    page.get_by_text("View only").wait_for()
    broker_page.sees("document.querySelector('.gi-card img').naturalWidth > 0")
    broker_page.press(".gi-route")
    page.locator(".gi-word").get_by_text("Not accepted").wait_for()
    broker_page.screenshot("view-only")
    assert waiter.decision is None
    page.locator(".gi-word").get_by_role("button", name="Dismiss").click()
    page.locator(".gi-word").wait_for(state="hidden")
    page.get_by_role("button", name="Settings").click()
    page.get_by_role("button", name="Log out").click()
    token.wait_for()
    token.fill(good)
    token.press("Enter")
    page.get_by_text("portrait").first.wait_for()
    broker_page.press(".gi-route")
    assert broker_page.until(lambda: waiter.decision, "the decision").by == "bert"
    page.reload()
    broker_page.ready()
    assert token.is_hidden()


def test_the_name_is_asked_for_once_and_kept(broker_page: BrokerPage) -> None:
    broker_page.goto("#/gates")
    broker_page.page.evaluate("""localStorage.setItem("gatebus.settings", '{"hold": 0, "language": "en"}')""")
    broker_page.reload()
    dialog = broker_page.page.get_by_role("dialog", name="Who decides here?")
    dialog.get_by_role("textbox").fill("carla")
    broker_page.screenshot("name")
    dialog.get_by_role("button", name="OK").click()
    waiter = broker_page.open_gate("portrait")
    broker_page.press(".gi-route")
    assert broker_page.until(lambda: waiter.decision, "the decision").by == "carla"
    broker_page.reload()
    broker_page.page.get_by_text("carla").first.wait_for()
    assert dialog.is_hidden()


def test_settings_hold_at_once_and_after_a_reload(broker_page: BrokerPage) -> None:
    broker_page.goto("#/gates")
    page = broker_page.page
    page.get_by_role("button", name="Settings").click()
    broker_page.screenshot("settings")
    page.get_by_label("Colours").select_option("light" if broker_page.variant == "dark" else "dark")
    theme = "light" if broker_page.variant == "dark" else "dark"
    assert page.evaluate("document.documentElement.dataset.theme") == theme
    page.get_by_label("Send a decision").select_option("10")
    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="detached")
    broker_page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == theme
    page.get_by_role("button", name="Settings").click()
    assert page.get_by_label("Send a decision").input_value() == "10"
    page.get_by_label("Language").select_option("de")
    page.get_by_role("button", name="Einstellungen").wait_for()
    assert page.evaluate("document.documentElement.lang") == "de"
    broker_page.screenshot("german")


def test_keys_are_listed_lead_to_places_and_never_act_while_somebody_types(broker_page: BrokerPage) -> None:
    if broker_page.touch:
        pytest.skip("a phone has no keys")
    broker_page.open_gate("portrait")
    broker_page.goto("#/gates")
    page = broker_page.page
    page.keyboard.press("?")
    keys = page.get_by_role("dialog", name="Keys")
    assert "Send the gate, or all selected, to that route" in keys.inner_text()
    broker_page.screenshot("help")
    page.keyboard.press("Escape")
    keys.wait_for(state="detached")
    page.get_by_role("searchbox").focus()
    page.keyboard.type("1gp?")
    page.wait_for_timeout(200)
    assert page.get_by_role("searchbox").input_value() == "1gp?"
    assert broker_page.store.gates.records()[0].decision is None
    page.keyboard.press("Escape")
    page.locator("main").focus()
    page.keyboard.press("g")
    page.keyboard.press("p")
    broker_page.sees("location.hash == '#/pools'")


@pytest.mark.parametrize("size", ["small", "medium", "large"])
def test_everything_has_a_name_enough_contrast_and_room_for_a_finger(broker_page: BrokerPage, size: str) -> None:
    for number in range(6):
        broker_page.open_gate(f"gate{number}", note="a note", batch=2, stored=False)
    broker_page.goto("#/gates")
    broker_page.set(size=size)
    broker_page.reload()
    page = broker_page.page
    page.locator(".gi-card").first.wait_for()
    if broker_page.touch:
        broker_page.press(".gi-fold")
    page.locator(".gi-check").first.click()
    page.get_by_text("1 selected").wait_for()
    broker_page.screenshot(f"selected-{size}")
    assert page.evaluate(NAMELESS) == []
    assert page.evaluate(CONTRAST) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.get_by_role("main").count() == page.get_by_role("banner").count() == 1
    if broker_page.touch:
        assert page.evaluate(SMALL) == []


@desktop
def test_dialogs_and_login_have_names_and_contrast(broker_page: BrokerPage) -> None:
    broker_page.goto("#/gates")
    page = broker_page.page
    for theme in ("light", "dark"):
        broker_page.set(theme=theme)
        broker_page.reload()
        page.get_by_role("button", name="Settings").click()
        assert page.evaluate(NAMELESS) == []
        assert page.evaluate(CONTRAST) == []
        page.keyboard.press("Escape")
        page.keyboard.press("?")
        assert page.evaluate(CONTRAST) == []
        page.keyboard.press("Escape")


@desktop
def test_the_skip_link_leads_to_the_content_and_no_place_is_left(broker_page: BrokerPage) -> None:
    broker_page.goto("#/gates")
    broker_page.page.keyboard.press("Tab")
    assert broker_page.page.evaluate("document.activeElement.className") == "gp-skip"
    broker_page.page.keyboard.press("Enter")
    assert broker_page.page.evaluate("document.activeElement.id") == "main"
    assert broker_page.page.evaluate("location.hash") == "#/gates"
