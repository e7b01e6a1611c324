"""``gatebus route`` where there is more to decide than a route: images of a batch, a text."""

from __future__ import annotations

import uuid

from gates.gate.record import Gate
from gates.text_picture import text_jpeg
from tests.service.processes import LIMIT, Answer, Gatebus, Studio, refused


def test_images_of_a_batch_are_chosen(studio: Studio, gatebus: Gatebus) -> None:
    waiter = studio.store.gates.open(Gate(id=uuid.uuid4().hex, width=8, height=6, batch=4), b"\xff\xd8preview")
    assert "images 0 to 3" in refused(gatebus("route", waiter.gate.id, "1", "--chosen", "0,4"), 2)
    for wrong in ("a", "1,0", "1,1", "-1"):
        assert "chosen must be" in refused(gatebus("route", waiter.gate.id, "1", "--chosen", wrong), 2)
    answer = gatebus("route", waiter.gate.id, "1", "--chosen", "0, 2", "--text", "sharp")
    assert answer == Answer(0, f"{waiter.gate.id} takes route 1\n", "")
    decision = waiter.wait(LIMIT)
    assert decision is not None
    assert (decision.chosen, decision.text) == ("0,2", "sharp")


def test_a_text_goes_on_edited_emptied_or_as_it_is(studio: Studio, gatebus: Gatebus) -> None:
    for given, passed in ((("--text", "a dog"), "a dog"), (("--text", ""), ""), ((), "a cat")):
        gate = Gate(id=uuid.uuid4().hex, kind="text", text="a cat", routes=1, labels=("pass",))
        waiter = studio.store.gates.open(gate, text_jpeg("a cat"))
        assert "a cat" in gatebus("show", gate.id).out
        assert " text " in gatebus("gates").out
        assert gatebus("route", gate.id, "1", *given).code == 0
        decision = waiter.wait(LIMIT)
        assert decision is not None
        assert decision.text == passed
