"""A broker's part of a farm as a process of its own, to be killed: ``farm_broker.py STORE LEASE URL…``.

STORE is the URL of a Redis, or a folder in which the jobs of one machine lie.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from broker.farm import carrier  # noqa: E402
from broker.farm.dispatcher import Dispatcher  # noqa: E402
from broker.farm.mounting import carry  # noqa: E402
from broker.jobs.local import LocalJobs  # noqa: E402
from broker.jobs.record import Limits  # noqa: E402
from broker.jobs.redis import open_redis_jobs  # noqa: E402
from broker.jobs.store import JobStore  # noqa: E402
from gates.settings import Settings  # noqa: E402
from gates.store import open_store  # noqa: E402


def main(where: str, lease: str, *listed: str) -> None:
    from farm_world import quick_client

    carrier.REPORT, carrier.AGAIN, carrier.REFUSED_FOR = 0.2, 0.2, 0.5
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    settings = Settings(store_url=where if "://" in where else "")
    limits = Limits(lease=float(lease))
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(settings, Path(folder), Path(folder))
        jobs: JobStore = (
            open_redis_jobs(settings, limits) if settings.store_url else LocalJobs(Path(where, "jobs"), limits)
        )
        dispatcher = Dispatcher(store, jobs, lease=float(lease), listed=listed, client_of=quick_client)
        asyncio.run(carry(store, jobs, dispatcher))


if __name__ == "__main__":
    main(*sys.argv[1:])
