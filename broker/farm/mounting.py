"""The farm as part of a broker's application: its routes, and the dispatcher while the application runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

from aiohttp import web

from gates.runs import Runs
from gates.store import Store

from ..cancelling import cancelled
from ..comfyui.client import ComfyClient
from ..jobs.store import JobStore
from .continuing import Continuing
from .dispatcher import Dispatcher, default_client

STOP_PATIENCE = 5.0
"""Seconds that the dispatcher may take to let go of what it holds."""

log = logging.getLogger(__name__)


def mount_farm(app: web.Application, store: Store, jobs: JobStore) -> None:
    """Has jobs dispatched while the application runs, to every instance that the store and the settings name."""
    settings = store.settings
    # The token is for those that the settings name: one that announces itself could be anybody's.
    named = {url.rstrip("/") for url in (*settings.comfyui_urls, settings.comfyui_url)}

    def client_of(url: str) -> ComfyClient:
        return default_client(url, settings.lease, settings.comfyui_token if url in named else "")

    async def run(_: web.Application) -> AsyncIterator[None]:
        dispatcher = Dispatcher(
            store,
            jobs,
            lease=settings.lease,
            listed=settings.comfyui_urls,
            limit=settings.jobs_per_instance,
            folder=settings.output_dir,
            client_of=client_of,
        )
        running = asyncio.create_task(carry(store, jobs, dispatcher))
        yield
        await cancelled([running], STOP_PATIENCE)

    app.cleanup_ctx.append(run)


async def carry(store: Store, jobs: JobStore, dispatcher: Dispatcher) -> None:
    """Dispatches jobs, and makes jobs of the runs that go on from decided gates, until it is cancelled."""
    runs = Runs(lambda: store, Continuing(store, jobs, dispatcher.can_run))
    try:
        await dispatcher.run()
    finally:
        await asyncio.to_thread(runs.close)
