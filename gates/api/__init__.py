"""The HTTP API over a store, the same under ComfyUI and under the broker: one route table."""

from .editor import Folders
from .mount import TABLE, Api, mount, routes
from .route import Field, Route

__all__ = ["TABLE", "Api", "Field", "Folders", "Route", "mount", "routes"]
