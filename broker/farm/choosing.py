"""Which instance a job goes to: the least busy one that can run it, with a reason for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..comfyui.node_info import NodeInfo
from ..jobs.record import Job, Place, Reason

GIB = 2**30

UNSEEN = "it does not announce itself in this store, so its gates would not be seen here"

NAMED = 3
"""Missing nodes or models that a reason names."""


@dataclass(frozen=True)
class Capabilities:
    """What an instance can run."""

    nodes: frozenset[str]
    choices: Mapping[str, frozenset[str]]
    """``CLASS.INPUT`` -> what may be chosen there, for every input that is a list; slashes as on Linux."""

    @classmethod
    def of_object_info(cls, info: Mapping[str, Any]) -> Capabilities:
        """Of the answer of ``/object_info``."""
        choices: dict[str, frozenset[str]] = {}
        for name, node in info.items():
            for each in NodeInfo.of(name, node).inputs.values() if isinstance(node, dict) else ():
                if each.choices is not None:
                    choices[f"{name}.{each.name}"] = frozenset(_plain(str(choice)) for choice in each.choices)
        return cls(frozenset(info), choices)

    def lacks_model(self, model: str) -> bool:
        """Whether the file of ``CLASS.INPUT=FILE`` is no choice there; where there is no list, nobody knows."""
        place, _, name = model.partition("=")
        return _plain(name) not in self.choices.get(place, (_plain(name),))


def _plain(name: str) -> str:
    """A file's name with the slashes of one system: instances on Windows list others."""
    return name.replace("\\", "/")


@dataclass(frozen=True)
class Candidate:
    """An instance as the farm sees it now."""

    id: str
    name: str
    url: str
    place: Place = Place()
    unusable: str = ""
    """Why nothing goes there now, "" when it answers."""
    capabilities: Capabilities | None = None
    queue: int = 0
    """Prompts that run or wait there, whoever sent them."""
    vram_free: int = 0
    """Bytes."""
    limit: int = 2
    """Jobs of the farm at a time."""
    announced: bool = True
    """Whether it announces itself in this store now, where its gates then are, too."""

    @property
    def busy(self) -> int:
        """Prompts before a new one; what was just claimed is not in its queue yet."""
        return max(self.queue, self.place.held)


def choose(job: Job, candidates: Sequence[Candidate]) -> tuple[Candidate | None, tuple[Reason, ...]]:
    """The instance for the job, None when there is none now; and why, or why not, for each one."""
    against = {each.id: _against(job, each) for each in candidates}
    if job.gates and any(_shows_gates(job, each) for each in candidates):
        # There, nobody here would see that it waits; when there is no other place, people may look there.
        against.update({each.id: UNSEEN for each in candidates if not each.announced and not against[each.id]})
    able = [each for each in candidates if not against[each.id]]
    fresh = [each for each in able if each.id not in job.avoid]
    for each in able if fresh else ():
        if each.id in job.avoid:
            against[each.id] = "it failed there before, and others can run it"
    chosen = min(fresh or able, key=lambda each: (each.busy, -each.vram_free, each.name, each.id), default=None)
    reasons = []
    for each in candidates:
        text = against[each.id]
        if each is chosen:
            text = f"the least busy of {len(fresh or able)} that can run it ({_load(each)})"
        elif not text and chosen is not None:
            text = (
                f"busier than {chosen.name} ({_load(each)})"
                if each.busy > chosen.busy
                else f"no better ({_load(each)})"
            )
        reasons.append(Reason(each.id, each.name, each is chosen, text))
    return chosen, tuple(reasons)


def can_run(job: Job, candidates: Sequence[Candidate]) -> bool:
    """Whether an instance has what the job needs and answers, busy or paused as it may be.

    A job with gates asks for one of this store: elsewhere nobody would know them.
    """
    return any(
        not each.unusable and not _lacking(job, each) and (each.announced or not job.gates) for each in candidates
    )


def _against(job: Job, candidate: Candidate) -> str:
    """Why the job can't go there now, "" when it can."""
    if candidate.unusable:
        return candidate.unusable
    if candidate.place.state:
        by = candidate.place.by if candidate.place.by != "-" else ""
        return candidate.place.state + (f" by {by}" if by else "")
    if lacking := _lacking(job, candidate):
        return lacking
    if candidate.place.held >= candidate.limit:
        return f"has {candidate.place.held} jobs of {candidate.limit}"
    return ""


def _shows_gates(job: Job, candidate: Candidate) -> bool:
    """Whether the gates of the job would be seen here, for all that is known."""
    return candidate.announced and (candidate.capabilities is None or not _lacking(job, candidate))


def _lacking(job: Job, candidate: Candidate) -> str:
    """What the job needs and the candidate has not, "" for nothing."""
    has = candidate.capabilities
    if has is None:
        return "its nodes are not known yet"
    return _named("node", [each for each in job.nodes if each not in has.nodes]) or _named(
        "model", [each.partition("=")[2] for each in job.models if has.lacks_model(each)]
    )


def _named(what: str, missing: Sequence[str]) -> str:
    if not missing:
        return ""
    more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
    return f"lacks the {what}{'s' if len(missing) > 1 else ''} {', '.join(missing[:NAMED])}{more}"


def _load(candidate: Candidate) -> str:
    free = f", {candidate.vram_free / GIB:.1f} GiB free" if candidate.vram_free else ""
    return f"{candidate.busy} in its queue{free}"
