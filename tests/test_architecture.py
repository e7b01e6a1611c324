"""The arrows of the design: who may import whom, and what each side can do without."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gates.keys import Keys
from gates.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
COMFYUI = {"server", "folder_paths", "comfy", "nodes", "execution", "comfy_execution", "comfy_api"}
WITH_TORCH = {"gates/tensors.py"}


def modules(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(level, dotted name) of every import of the file, also of those inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.level, node.module or ""


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", modules("gates"), ids=name)
def test_gates_imports_itself_relatively_never_the_broker_and_comfyui_through_one_door(path: Path) -> None:
    tops = {module.partition(".")[0] for level, module in imports(path) if level == 0}
    assert not tops & {"gates", "broker"}
    if name(path) != "gates/comfy.py":
        assert not tops & COMFYUI
    if name(path) not in WITH_TORCH and not name(path).startswith(("gates/nodes/", "gates/comfy.py")):
        assert "torch" not in tops


@pytest.mark.parametrize("path", modules("broker"), ids=name)
def test_the_broker_imports_of_gates_what_needs_no_torch_and_no_comfyui(path: Path) -> None:
    names = {module for level, module in imports(path) if level == 0}
    assert not {module for module in names if module.startswith(("gates.nodes", "gates.tensors", "gates.comfy"))}
    assert not {module.partition(".")[0] for module in names} & (COMFYUI | {"torch"})


@pytest.mark.parametrize("path", [*modules("gates"), *modules("broker")], ids=name)
def test_nothing_reads_pickles(path: Path) -> None:
    tops = {module.partition(".")[0] for level, module in imports(path) if level == 0}
    assert not tops & {"pickle", "shelve", "marshal", "dill"}
    text = path.read_text(encoding="utf-8")
    assert "torch.load" not in text
    assert "allow_pickle=True" not in text


def test_the_store_and_the_broker_work_without_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None; import gates.store, gates.api; from broker.cli import cli;"
        " assert len(list(cli.commands.values())) > 15"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize("folder", ["gatebus", "main", "comfyui-gate-bus", "gate bus.v2"])
def test_the_pack_imports_in_a_folder_of_any_name_and_does_nothing_outside_comfyui(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir()
    for entry in ("__init__.py", "gates", "web"):
        (tmp_path / folder / entry).symlink_to(ROOT / entry)
    code = (
        "import importlib.util, sys; path = sys.argv[1]; "
        "spec = importlib.util.spec_from_file_location(path.replace('.', '_x_'), path + '/__init__.py', "
        "submodule_search_locations=[path]); module = importlib.util.module_from_spec(spec); "
        "sys.modules[spec.name] = module; spec.loader.exec_module(module); print(sorted(vars(module)))"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / folder)], cwd=tmp_path, check=True)


def test_every_setting_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [variable for variable, _, _ in Settings.describe() if f"`{variable}`" not in readme] == []


def test_control_keys_share_one_slot_and_bytes_carry_tags_of_their_own() -> None:
    from redis.crc import key_slot

    keys = Keys("farm")
    control = [keys.gate("a" * 32), keys.gates, keys.leases, keys.deadlines, keys.ended, keys.events, keys.epoch]
    control += [keys.buses, keys.pools, keys.instance("a" * 32), keys.instances]
    control += [keys.decisions, keys.brought, keys.leaving]
    assert len({key_slot(key.encode()) for key in control}) == 1
    for family in (
        [keys.gate_image("a" * 32, 0), keys.gate_mask("a" * 32, "t"), keys.gate_preview("a" * 32)],
        [keys.bus("cp1"), keys.bus_versions("cp1"), keys.bus_version("cp1", 1), keys.bus_part("cp1", 1, "image", 0)],
        [keys.pool("p"), keys.pool_slots("p"), keys.pool_order("p"), keys.pool_files("p")],
    ):
        assert len({key_slot(key.encode()) for key in family}) == 1
