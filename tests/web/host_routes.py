"""What the frontend asks of a ComfyUI besides running prompts: settings, user data, files, translations."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from aiohttp import web
from PIL import Image

from .host_nodes import Folders, node_info

CHECKOUT = Path(__file__).resolve().parents[2]
PACK = "comfyui-gatebus"
"""The name of the pack's folder in ``custom_nodes``."""

WEB = CHECKOUT / "web" / "comfyui"


class Answers:
    """The handlers and what they remember; :attr:`table` is to be mounted, also under ``/api``."""

    def __init__(self, folders: Folders, classes: dict[str, Any], frontend: Path, version: str) -> None:
        self.settings: dict[str, Any] = {}
        """The frontend's settings, as it stores them."""
        self.userdata: dict[str, bytes] = {}
        """Path -> content of the user's files, e.g. saved workflows."""
        self._folders = folders
        self._classes = classes
        self._frontend = frontend
        self._version = version
        self.table = web.RouteTableDef()
        constant: dict[str, Any] = {
            "/users": {"storage": "server", "migrated": True},
            "/embeddings": [],
            "/models": [],
            "/models/{folder}": [],
            "/experiment/models": [],
            "/experiment/models/{folder}": [],
            "/features": {"supports_preview_metadata": True, "max_upload_size": 100 * 1024 * 1024},
            "/global_subgraphs": {},
            "/internal/logs": "",
            "/internal/logs/raw": {"entries": [], "size": {"cols": 80, "rows": 24}},
            "/internal/folder_paths": {},
            "/node_replacements": {},
            "/assets": {"assets": [], "total": 0, "has_more": False},
        }
        for path, answer in constant.items():
            self.table.get(path)(_always(answer))
        for method, path, handler in (
            ("GET", "/settings", self._get_settings),
            ("POST", "/settings", self._set_settings),
            ("GET", "/settings/{id}", self._get_setting),
            ("POST", "/settings/{id}", self._set_setting),
            ("GET", "/userdata", self._list_userdata),
            ("GET", "/v2/userdata", self._list_userdata),
            ("GET", "/userdata/{file}", self._get_userdata),
            ("POST", "/userdata/{file}", self._put_userdata),
            ("DELETE", "/userdata/{file}", self._delete_userdata),
            ("POST", "/userdata/{file}/move/{to}", self._move_userdata),
            ("GET", "/object_info", self._object_info),
            ("GET", "/object_info/{name}", self._object_info),
            ("GET", "/extensions", self._extensions),
            ("GET", "/i18n", self._translations),
            ("GET", "/workflow_templates", self._templates),
            ("GET", "/system_stats", self._stats),
            ("GET", "/view", self._view),
            ("POST", "/upload/image", self._upload),
            ("POST", "/upload/mask", self._upload_mask),
            ("PATCH", "/internal/logs/subscribe", _always({})),
        ):
            self.table.route(method, path)(handler)

    async def _get_settings(self, http: web.Request) -> web.Response:
        return web.json_response(self.settings)

    async def _set_settings(self, http: web.Request) -> web.Response:
        self.settings.update(await http.json())
        return web.Response()

    async def _get_setting(self, http: web.Request) -> web.Response:
        return web.json_response(self.settings.get(http.match_info["id"]))

    async def _set_setting(self, http: web.Request) -> web.Response:
        self.settings[http.match_info["id"]] = await http.json()
        return web.Response()

    async def _list_userdata(self, http: web.Request) -> web.Response:
        folder = http.query.get("dir", http.query.get("path", "")).strip("/") + "/"
        names = sorted(name[len(folder) :] for name in self.userdata if name.startswith(folder))
        if http.query.get("full_info") == "true" or "/v2/" in http.path:
            return web.json_response([self._info(folder + name, name) for name in names])
        return web.json_response(names)

    async def _get_userdata(self, http: web.Request) -> web.Response:
        name = http.match_info["file"]
        if name not in self.userdata:
            return web.Response(status=404)
        return web.Response(body=self.userdata[name], content_type="application/json")

    async def _put_userdata(self, http: web.Request) -> web.Response:
        name = http.match_info["file"]
        if http.query.get("overwrite") == "false" and name in self.userdata:
            return web.Response(status=409)
        self.userdata[name] = await http.read()
        return web.json_response(self._info(name, name) if http.query.get("full_info") == "true" else name)

    async def _delete_userdata(self, http: web.Request) -> web.Response:
        gone = self.userdata.pop(http.match_info["file"], None)
        return web.Response(status=204 if gone is not None else 404)

    async def _move_userdata(self, http: web.Request) -> web.Response:
        name, to = http.match_info["file"], http.match_info["to"]
        self.userdata[to] = self.userdata.pop(name)
        return web.json_response(self._info(to, to))

    def _info(self, name: str, shown: str) -> dict[str, Any]:
        now = time.time()
        return {"path": shown, "size": len(self.userdata[name]), "modified": now, "created": now}

    async def _object_info(self, http: web.Request) -> web.Response:
        wanted = http.match_info.get("name")
        return web.json_response(
            {name: node_info(name, of) for name, of in self._classes.items() if wanted in (None, name)}
        )

    async def _extensions(self, http: web.Request) -> web.Response:
        core = [f"/{path.relative_to(self._frontend).as_posix()}" for path in self._frontend.glob("extensions/**/*.js")]
        # As ComfyUI: every .js below WEB_DIRECTORY is loaded by the page.
        ours = [f"/extensions/{PACK}/{path.relative_to(WEB).as_posix()}" for path in sorted(WEB.rglob("*.js"))]
        return web.json_response(core + ours)

    async def _translations(self, http: web.Request) -> web.Response:
        # ComfyUI reads locales/ of the pack's folder, not of its web directory.
        found: dict[str, dict[str, Any]] = {}
        for path in sorted((CHECKOUT / "locales").glob("*/*.json")):
            content = json.loads(path.read_text(encoding="utf-8"))
            language = found.setdefault(path.parent.name, {})
            language.update(content if path.stem == "main" else {path.stem: content})
        return web.json_response(found)

    async def _templates(self, http: web.Request) -> web.Response:
        return web.json_response({PACK: [path.stem for path in (CHECKOUT / "example_workflows").glob("*.json")]})

    async def _stats(self, http: web.Request) -> web.Response:
        system = {
            "os": "posix",
            "ram_total": 2**34,
            "ram_free": 2**33,
            "comfyui_version": "0.3.64",
            "required_frontend_version": self._version,
            "python_version": "3",
            "pytorch_version": "2",
            "embedded_python": False,
            "argv": ["main.py"],
        }
        device = {"name": "cpu", "type": "cpu", "index": 0, "vram_total": 2**34, "vram_free": 2**33}
        return web.json_response(
            {"system": system, "devices": [{**device, "torch_vram_total": 2**34, "torch_vram_free": 2**33}]}
        )

    async def _view(self, http: web.Request) -> web.StreamResponse:
        path = self._folders.file(
            http.query["filename"], http.query.get("subfolder", ""), http.query.get("type", "output")
        )
        return web.Response(status=404) if path is None else web.FileResponse(path)

    async def _upload(self, http: web.Request) -> web.Response:
        form = await http.post()
        return self._stored(form, form["image"].file.read())  # type: ignore[union-attr]

    def _stored(self, form: Any, data: bytes) -> web.Response:
        kind, subfolder = form.get("type", "input"), form.get("subfolder", "")
        folder = self._folders.of(kind) / subfolder
        folder.mkdir(parents=True, exist_ok=True)
        first = Path(form["image"].filename)
        name, number = first.name, 1
        while (folder / name).exists() and form.get("overwrite") not in ("true", "1"):
            name, number = f"{first.stem} ({number}){first.suffix}", number + 1
        (folder / name).write_bytes(data)
        return web.json_response({"name": name, "subfolder": subfolder, "type": kind})

    async def _upload_mask(self, http: web.Request) -> web.Response:
        """The original's colours with the upload's alpha."""
        form = await http.post()
        of = json.loads(str(form["original_ref"]))
        path = self._folders.file(of["filename"], of.get("subfolder", ""), of.get("type", "output"))
        if path is None:
            return web.Response(status=400)
        with Image.open(path) as original, Image.open(form["image"].file) as mask:  # type: ignore[union-attr]
            merged = original.convert("RGBA")
            merged.putalpha(mask.convert("RGBA").getchannel("A"))
        answer = self._stored(form, b"")
        stored = json.loads(answer.text or "")
        merged.save(self._folders.of(stored["type"]) / stored["subfolder"] / stored["name"], "PNG")
        return answer


def _always(answer: Any) -> Any:
    async def handle(http: web.Request) -> web.Response:
        return web.json_response(answer)

    return handle
