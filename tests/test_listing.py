"""Lists of gates: which pass a filter, what the menus count, and pages that miss and repeat nothing."""

from __future__ import annotations

import random
import uuid
from typing import Any

import pytest

from gates.errors import InvalidInput
from gates.gate.listing import FACETS, Wanted, page
from gates.gate.record import LIVE, Gate

NOW = 1_700_000_000_000


def gate(**values: Any) -> Gate:
    return Gate(id=uuid.uuid4().hex, **{"opened": NOW, **values})


ALL = [
    gate(title="Straße", workflow="faces", instance="one", send_id="cp1", status="waiting", opened=NOW - 90_000),
    gate(note="HANDS look wrong", workflow="faces", instance="two", get_id="cp1", status="orphaned"),
    gate(labels=("keep", "ΣΊΣΥΦΟΣ"), workflow="hands", instance="two", send_id="cp2", status="decided"),
    gate(title="done", workflow="hands", instance="one", status="applied", opened=NOW - 10_000),
]


@pytest.mark.parametrize(
    ("wanted", "passed"),
    [
        ({}, [0, 1, 2]),
        ({"status": "all"}, [0, 1, 2, 3]),
        ({"status": "orphaned"}, [1]),
        ({"status": "applied"}, [3]),
        ({"workflow": "faces"}, [0, 1]),
        ({"workflow": "face"}, []),
        ({"instance": "two"}, [1, 2]),
        ({"bus": "cp1"}, [0, 1]),
        ({"bus": "cp1", "instance": "two"}, [1]),
        ({"text": "STRASSE"}, [0]),
        ({"text": "sísyphos"}, []),
        ({"text": "σίσυφοσ"}, [2]),
        ({"text": " wrong  hands "}, [1]),
        ({"text": "hands", "status": "all"}, [1, 2, 3]),
        ({"text": ALL[2].id[:8].upper()}, [2]),
        ({"older": 90}, [0]),
        ({"older": 91}, []),
        ({"newer": 10, "status": "all"}, [1, 2, 3]),
        ({"older": 5, "newer": 60, "status": "all"}, [3]),
    ],
)
def test_a_filter_passes_what_meets_every_condition(wanted: dict[str, Any], passed: list[int]) -> None:
    asked = Wanted(**wanted)
    assert asked.choose(ALL, NOW) == [ALL[place] for place in passed]
    assert asked.count(ALL, NOW)[0] == asked.choose(ALL, NOW)


RUNS = [
    gate(status="waiting", workflow_id="w1"),
    gate(status="parked", workflow_id="w1"),
    gate(status="decided", run="pending"),
    gate(status="decided", run="failed", workflow_id="w2"),
    gate(status="applied", run="running", workflow_id="w1"),
    gate(status="applied", run="failed"),
    gate(status="applied", run="done"),
]


@pytest.mark.parametrize(
    ("wanted", "passed"),
    [
        ({"status": "parked"}, [1]),
        ({"run": "open"}, [2, 3, 4, 5]),
        ({"run": "failed"}, [3, 5]),
        ({"run": "failed", "status": "decided"}, [3]),
        ({"run": "failed", "status": "all"}, [3, 5]),
        ({"run": "done"}, [6]),
        ({"workflow_id": "w1"}, [0, 1]),
        ({"workflow_id": "w1", "status": "all"}, [0, 1, 4]),
        ({"workflow_id": "w2", "run": "open"}, [3]),
    ],
)
def test_what_parked_and_what_runs_on_from_it_is_found(wanted: dict[str, Any], passed: list[int]) -> None:
    asked = Wanted(**wanted)
    assert asked.choose(RUNS, NOW) == [RUNS[place] for place in passed]
    assert asked.count(RUNS, NOW)[0] == asked.choose(RUNS, NOW)
    # Only what is read can pass.
    assert not asked.live or all(RUNS[place].status in LIVE for place in passed)


def test_a_menu_counts_what_its_own_condition_leaves_out() -> None:
    _, facets = Wanted(workflow="faces", instance="two").count(ALL, NOW)
    assert facets == {
        "status": {"orphaned": 1},
        "instance": {"one": 1, "two": 1},
        "workflow": {"faces": 1, "hands": 1},
        "bus": {"cp1": 1},
    }


def test_what_a_menu_counts_is_what_the_list_then_shows() -> None:
    dice = random.Random(4)
    many = [
        gate(
            status=dice.choice(("waiting", "orphaned", "decided", "parked", "applied")),
            workflow=dice.choice(("a", "b", "")),
            instance=dice.choice(("x", "y")),
            send_id=dice.choice(("", "p", "q")),
            get_id=dice.choice(("", "p")),
        )
        for _ in range(300)
    ]
    for _ in range(50):
        chosen = {"workflow": dice.choice(("", "a")), "instance": dice.choice(("", "x")), "bus": dice.choice(("", "p"))}
        _, facets = Wanted(**chosen).count(many, NOW)
        for name in FACETS:
            for value, count in facets[name].items():
                if name == "status" and value == "applied":
                    continue
                assert len(Wanted(**{**chosen, name: value}).choose(many, NOW)) == count


@pytest.mark.parametrize("newest", [False, True])
def test_pages_meet_each_gate_once_that_is_there_all_the_while(newest: bool) -> None:
    dice = random.Random(7)
    for _ in range(20):
        # Many opened in the same millisecond: the id then tells which comes first.
        live = [gate(opened=NOW + dice.randrange(40)) for _ in range(200)]
        stay, gone = set(live[:150]), live[150:]
        met: list[Gate] = []
        cursor = "0"
        while cursor:
            live.sort(key=lambda each: (each.opened, each.id))
            part = page(live, 17, "" if cursor == "0" else cursor, newest)
            assert part.total == len(live)
            assert len(part.gates) <= 17
            met += part.gates
            cursor = part.next
            for _ in range(min(5, len(gone))):
                live.remove(gone.pop(dice.randrange(len(gone))))
            live += [gate(opened=NOW + dice.randrange(60)) for _ in range(4)]
        assert len(met) == len({each.id for each in met})
        assert stay <= set(met)
        assert met == sorted(met, key=lambda each: (each.opened, each.id), reverse=newest)


def test_the_last_page_has_no_cursor_and_an_empty_list_no_page() -> None:
    live = sorted(ALL, key=lambda each: (each.opened, each.id))
    assert page(live, 4).next == ""
    assert page(live, 3).next
    assert page(live, 3, page(live, 3).next).gates == live[3:]
    assert (page([], 5).gates, page([], 5).total, page([], 5).next) == ([], 0, "")


@pytest.mark.parametrize("cursor", ["x", "1", "-" * 40, f"1-{'g' * 32}", f"１-{'a' * 32}", f"1-{'a' * 32}\n"])
def test_a_cursor_that_is_none_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidInput, match="cursor"):
        page(ALL, 1, cursor)
