"""Which instance a job goes to, and what is said of each; what counts as a gate, and as identical."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
from farm_world import Farm, graph

from broker.farm.choosing import UNSEEN, Candidate, Capabilities, choose
from broker.farm.needs import GATE_NODES, result_digest
from broker.farm.submission import Submission
from broker.jobs.local import LocalJobs
from broker.jobs.record import Failure, Input, Job, Limits, Offer, Place
from gates.errors import InvalidInput

GATES = Capabilities(frozenset({"ImageGate", "SaveImage"}), {})
NONE = Capabilities(frozenset({"SaveImage"}), {})


def gate_job(**values: Any) -> Job:
    return Job("0" * 32, nodes=("ImageGate", "SaveImage"), gates=True, **values)


def test_gates_go_where_they_are_seen_even_when_there_is_no_place_there_now() -> None:
    here = Candidate("a", "here", "http://a", Place(held=2), capabilities=GATES)
    listed = Candidate("b", "listed", "http://b", capabilities=GATES, announced=False)
    chosen, reasons = choose(gate_job(), [here, listed])
    assert chosen is None
    assert [reason.text for reason in reasons] == ["has 2 jobs of 2", UNSEEN]
    lacking = Candidate("c", "bare", "http://c", capabilities=NONE)
    chosen, reasons = choose(gate_job(), [lacking, listed])
    assert chosen is listed
    assert reasons[0].text == "lacks the node ImageGate"
    unknown = Candidate("d", "begins", "http://d")
    chosen, reasons = choose(gate_job(), [unknown, listed])
    assert (chosen, reasons[1].text) == (None, UNSEEN)
    plain, _ = choose(Job("1" * 32, nodes=("SaveImage",)), [here, listed])
    assert plain is listed


def test_the_gates_are_the_nodes_that_wait() -> None:
    pytest.importorskip("torch")
    from gates.nodes import NODE_CLASS_MAPPINGS

    waiting = {
        name for name, node in NODE_CLASS_MAPPINGS.items() if inspect.iscoroutinefunction(getattr(node, node.FUNCTION))
    }
    assert waiting == GATE_NODES


def test_identical_are_the_same_nodes_inputs_and_files_and_no_remarks() -> None:
    prompt = graph(seed=1)
    same = {node: {**entry, "_meta": {"title": "x"}} for node, entry in prompt.items()}
    assert result_digest(prompt, ()) == result_digest(same, ())
    assert result_digest(prompt, ()) != result_digest(graph(seed=2), ())
    loading = {"1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}}}
    renamed = {"1": {"class_type": "LoadImage", "inputs": {"image": "b.png"}}}
    one, other = (Input("1", "image", digit * 64) for digit in "12")
    assert result_digest(loading, (one,)) == result_digest(renamed, (one,))
    assert result_digest(loading, (one,)) != result_digest(loading, (other,))
    assert result_digest(loading, ()) != result_digest(renamed, ())


def test_no_other_runs_results_answer_a_prompt_with_gates(tmp_path: Path) -> None:
    jobs = LocalJobs(tmp_path, Limits())
    prompt = {"1": {"class_type": "ImageGate", "inputs": {}}}
    with pytest.raises(InvalidInput, match="gates"):
        Submission(prompt, cache=True).submit(jobs)
    assert Submission(prompt).submit(jobs).gates
    jobs.close()


async def test_results_of_which_some_were_left_out_answer_no_other_job(farm: Farm) -> None:
    for error, cached in ((Failure("dropped", "ComfyUI left outputs out"), False), (None, True)):
        key = ("1" if cached else "0") * 64
        job = farm.submit(graph(), cache=key)
        claimed = farm.jobs.claim("broker", [Offer(job.id, "i", 9)])
        assert claimed is not None
        farm.jobs.finish(farm.jobs.send(claimed, "p"), "done", (), error)
        again = farm.submit(graph(), cache=key)
        assert bool(again.cached_from) == cached
        if not cached:
            farm.jobs.cancel(again.id)
