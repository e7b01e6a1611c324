"""Every Redis key and channel, in one place.

Control keys carry one hash tag, ``{namespace}``, so that a step over a gate, its indexes and
the event is one script on one cluster slot. Bytes carry tags of their own and spread over the
cluster. A channel has the name of the key that it speaks of. Only checked names and ids of our
own enter a key (``names.py``): in a cluster the first ``{...}`` decides the slot.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Keys:
    """The keys of one namespace."""

    namespace: str = "gatebus"

    # -- control: one slot ----------------------------------------------------------------
    def gate(self, gate_id: str) -> str:
        """Hash: the gate's record and its decision."""
        return f"{{{self.namespace}}}:gate:{gate_id}"

    @property
    def gates(self) -> str:
        """Sorted set: gate id by the time it opened (ms). Also the channel that wakes waiters."""
        return f"{{{self.namespace}}}:gates"

    @property
    def leases(self) -> str:
        """Sorted set: gate id by the end of its owner's lease (ms)."""
        return f"{{{self.namespace}}}:gates:lease"

    @property
    def deadlines(self) -> str:
        """Sorted set: gate id by its deadline (ms)."""
        return f"{{{self.namespace}}}:gates:deadline"

    @property
    def ended(self) -> str:
        """Sorted set: gate id by the time it ended (ms); trimmed when the records expire."""
        return f"{{{self.namespace}}}:gates:ended"

    @property
    def leaving(self) -> str:
        """Sorted set: ended gate id by the time it ended (ms), until its record and bytes have been given an expiry."""
        return f"{{{self.namespace}}}:gates:leaving"

    @property
    def parked(self) -> str:
        """Sorted set: parked gate id that waits for a decision by the time it parked (ms)."""
        return f"{self.gates}:parked"

    @property
    def runs(self) -> str:
        """Sorted set: the lead whose run has not ended by the time of the next look (ms)."""
        return f"{self.gates}:runs"

    @property
    def run_counter(self) -> str:
        """String: the last number given to a run."""
        return f"{self.runs}:counter"

    @property
    def prompts(self) -> str:
        """Hash: lead id -> the prompt whose end it waits for: the one in which it parked, or its run."""
        return f"{self.gates}:prompts"

    def family(self, root: str) -> str:
        """Sorted set: ids of the gates of that prompt and of what was continued from it.

        By +inf, or the time (ms) at which the record was given an expiry. Who sends a prompt may
        choose its id: it stands behind the namespace's braces, where no other ones decide the slot.
        """
        return f"{self.gates}:family:{root}"

    @property
    def decisions(self) -> str:
        """Stream: the decision log. Written by the scripts that decide."""
        return f"{{{self.namespace}}}:decisions"

    @property
    def brought(self) -> str:
        """Sorted set: lines of other logs that were brought to the decision log, by the time (ms)."""
        return f"{{{self.namespace}}}:decisions:brought"

    def instance(self, instance_id: str) -> str:
        """Hash: what a ComfyUI process tells of itself; expires some time after its lease is over."""
        return f"{{{self.namespace}}}:instance:{instance_id}"

    @property
    def instances(self) -> str:
        """Sorted set: instance id by the end of its lease (ms)."""
        return f"{{{self.namespace}}}:instances"

    @property
    def events(self) -> str:
        """Stream, capped: what changed. Also the channel that wakes event readers."""
        return f"{{{self.namespace}}}:events"

    @property
    def epoch(self) -> str:
        """String: random, made when found missing; a new value says that the data set was lost."""
        return f"{{{self.namespace}}}:epoch"

    @property
    def buses(self) -> str:
        """Sorted set: bus name by its last publish (ms). An index; the bus key is the truth."""
        return f"{{{self.namespace}}}:buses"

    @property
    def pools(self) -> str:
        """Hash: pool id -> name. An index; the pool key is the truth."""
        return f"{{{self.namespace}}}:pools"

    @property
    def notify_cursor(self) -> str:
        """String: the place in the events up to which people outside have been told."""
        return f"{{{self.namespace}}}:notify:cursor"

    def notify_turn(self, target: str) -> str:
        """String: the broker whose turn it is to write to the target; expires when the next message may go."""
        return f"{{{self.namespace}}}:notify:{target}:turn"

    def notified(self, target: str, event: str, gate_id: str) -> str:
        """String: who is telling the target of that gate (a lease), ``done`` when it was told; expires."""
        return f"{{{self.namespace}}}:notify:{target}:{event}:{gate_id}"

    # -- jobs of the farm: in the control slot, but for their bytes ------------------------
    def job(self, job_id: str) -> str:
        """Hash: a job's record; expires some time after its end."""
        return f"{{{self.namespace}}}:job:{job_id}"

    @property
    def jobs(self) -> str:
        """Sorted set: job id by the time it was submitted (ms), of all that are remembered."""
        return f"{{{self.namespace}}}:jobs"

    @property
    def jobs_queue(self) -> str:
        """Sorted set: the jobs that wait, by priority and turn."""
        return f"{{{self.namespace}}}:jobs:queue"

    @property
    def jobs_leases(self) -> str:
        """Sorted set: job id by the end of its broker's lease (ms)."""
        return f"{{{self.namespace}}}:jobs:lease"

    @property
    def jobs_ended(self) -> str:
        """Sorted set: job id by the time it ended (ms); trimmed when the records expire."""
        return f"{{{self.namespace}}}:jobs:ended"

    @property
    def jobs_ends(self) -> str:
        """Hash: ended job id -> the state in which it ended, ``=STATE`` -> how many did; trimmed with jobs_ended."""
        return f"{{{self.namespace}}}:jobs:ends"

    @property
    def jobs_waiting(self) -> str:
        """Hash: submitter -> its jobs that wait."""
        return f"{{{self.namespace}}}:jobs:waiting"

    @property
    def jobs_held(self) -> str:
        """Hash: instance -> jobs that brokers hold there."""
        return f"{{{self.namespace}}}:jobs:held"

    @property
    def jobs_places(self) -> str:
        """Hash: instance -> ``paused`` or ``draining``, and by whom."""
        return f"{{{self.namespace}}}:jobs:places"

    @property
    def jobs_turns(self) -> str:
        """Hash: the turn that is served of each priority, and the last one of each submitter in it."""
        return f"{{{self.namespace}}}:jobs:turns"

    @property
    def jobs_strays(self) -> str:
        """Hash: prompt id -> a copy that may still run at an instance that went away (JSON)."""
        return f"{{{self.namespace}}}:jobs:strays"

    def job_result(self, digest: str) -> str:
        """String: the job that has the result of all jobs with that digest; expires."""
        return f"{{{self.namespace}}}:result:{digest}"

    def job_blob(self, digest: str) -> str:
        """String: the bytes of that SHA-256, of a prompt, an input or an output; expires."""
        return f"{self.namespace}:blob:{{{digest}}}"

    # -- a gate's bytes: one slot per gate ------------------------------------------------
    def gate_image(self, gate_id: str, part: int) -> str:
        """String: part ``part`` (from 0) of the waiting image batch, as the codec cut it."""
        return f"{self.namespace}:gate:{{{gate_id}}}:image:{part}"

    def gate_mask(self, gate_id: str, token: str) -> str:
        """String: a mask PNG painted at the gate; the gate's field ``mask`` names the one that counts."""
        return f"{self.namespace}:gate:{{{gate_id}}}:mask:{token}"

    def gate_continuation(self, gate_id: str) -> str:
        """String: what it takes to run on from the gate."""
        return f"{self.namespace}:gate:{{{gate_id}}}:continuation"

    def gate_preview(self, gate_id: str) -> str:
        """String: a JPEG of at most 1024 px."""
        return f"{self.namespace}:gate:{{{gate_id}}}:preview"

    # -- a bus: one slot per bus ----------------------------------------------------------
    def bus(self, name: str) -> str:
        """Hash: the head of the newest version."""
        return f"{self.namespace}:bus:{{{name}}}"

    def bus_versions(self, name: str) -> str:
        """Sorted set: version number by its time of publish (ms)."""
        return f"{self.bus(name)}:versions"

    def bus_version(self, name: str, version: int) -> str:
        """Hash: the head of one version."""
        return f"{self.bus(name)}:{version}"

    def bus_counter(self, name: str) -> str:
        """String: the last version number given out; outlives the bus, so that no number is used twice."""
        return f"{self.bus(name)}:counter"

    def bus_part(self, name: str, version: int, plane: str, part: int) -> str:
        """String: part ``part`` (from 0) of the version's ``plane`` (``image`` or ``mask``)."""
        return f"{self.bus(name)}:{version}:{plane}:{part}"

    # -- a pool: one slot per pool --------------------------------------------------------
    def pool(self, pool_id: str) -> str:
        """Hash: name, active, next_seq, rev. Also the channel that tells of its edits."""
        return f"{self.namespace}:pool:{{{pool_id}}}"

    def pool_slots(self, pool_id: str) -> str:
        """Hash: slot file -> JSON (mask, label, added)."""
        return f"{self.pool(pool_id)}:slots"

    def pool_order(self, pool_id: str) -> str:
        """Sorted set: slot file by rank."""
        return f"{self.pool(pool_id)}:order"

    def pool_files(self, pool_id: str) -> str:
        """Hash: file name -> PNG bytes, of images and masks."""
        return f"{self.pool(pool_id)}:files"

    def pool_trash(self, pool_id: str) -> str:
        """Hash: removed slot's file -> JSON (the slot, its left neighbour, when); its bytes stay in the files."""
        return f"{self.pool(pool_id)}:trash"

    def pool_trashed(self, pool_id: str) -> str:
        """Sorted set: removed slot's file by the time of its removal (ms)."""
        return f"{self.pool(pool_id)}:trashed"

    def pool_edits(self, pool_id: str) -> str:
        """Hash: operation id -> the names that it gave (JSON); an edit in it is not applied again."""
        return f"{self.pool(pool_id)}:edits"

    def pool_edit_ids(self, pool_id: str) -> str:
        """List: the operation ids, oldest first; bounds the hash."""
        return f"{self.pool(pool_id)}:edits:ids"

    def pool_reserved(self, pool_id: str) -> str:
        """Sorted set: file names of adds under way by the time they began (ms)."""
        return f"{self.pool(pool_id)}:reserved"
