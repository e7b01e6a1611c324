"""The HTTP API over a store, the same under ComfyUI and under the broker: one route table."""

from .editor import Folders
from .gates import DECISION
from .mount import CALLER, TABLE, Api, mount, routes
from .route import Field, Route

__all__ = ["CALLER", "DECISION", "TABLE", "Api", "Field", "Folders", "Route", "mount", "routes"]
