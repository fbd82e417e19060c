"""Who may import whom: lower storeys never import higher ones, and heavy packages stay inside functions."""

import ast
import subprocess
import sys

import pytest
from conftest import ROOT

# A module imports only from strictly lower storeys, or from its own room (the same name after pysnnmed).
STOREYS = [
    "errors operators",
    "axes decomposition gradient_memory",
    "tensor surrogate kernels synops",
    "ops conv warp resample normalize encode decode",
    "neurons losses",
    "nn optim",
    "models convert",
    "metrics",
    "data viz",
    "deploy affine refine",
    "train",
    "registration segmentation",
    "evaluation",
    "cli testing",
]
STOREY = {room: i for i, rooms in enumerate(STOREYS) for room in rooms.split()}
ONLY_IN = {
    "nibabel": {"data"},
    "scipy": {"data", "metrics"},
    "PIL": {"data"},
    "matplotlib": {"viz"},
    "numba": set(),
    "nir": {"deploy"},
}
FORBIDDEN = {  # finer rules than the storeys
    "deploy": {"train"},
    "metrics": {"tensor", "ops", "nn"},
    "data": {"tensor", "ops", "nn"},
    "viz": {"tensor", "ops", "nn"},
}


def module_files():
    for file in sorted((ROOT / "pysnnmed").rglob("*.py")):
        parts = file.relative_to(ROOT).with_suffix("").parts
        yield file, parts


def imported(nodes, package):
    """Absolute dotted names of what these syntax nodes import."""
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            if node.module:
                base += node.module.split(".")
            if base == ["pysnnmed"]:
                yield from (f"pysnnmed.{alias.name}" for alias in node.names)
            else:
                yield ".".join(base)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def violations(tree, parts):
    room = parts[1] if len(parts) > 1 else ""
    package = parts[:-1]
    for name in imported(ast.walk(tree), package):
        head, _, rest = name.partition(".")
        other = rest.split(".")[0]
        between_rooms = head == "pysnnmed" and room in STOREY and other in STOREY and other != room
        if between_rooms and (STOREY[other] >= STOREY[room] or other in FORBIDDEN.get(room, ())):
            yield f"{'/'.join(parts)} imports pysnnmed.{other}"
        if head in ONLY_IN and room not in ONLY_IN[head]:
            yield f"{'/'.join(parts)} imports {head}"
    for name in imported(tree.body, package):
        if name.partition(".")[0] in ONLY_IN:
            yield f"{'/'.join(parts)} imports {name} at the top; import it inside the function that needs it"


@pytest.mark.parametrize(("file", "parts"), [pytest.param(*fp, id="/".join(fp[1])) for fp in module_files()])
def test_arrows_point_down(file, parts):
    assert not list(violations(ast.parse(file.read_text()), parts))


def test_a_planted_upward_import_is_found():
    assert list(violations(ast.parse("from .nn import Conv"), ("pysnnmed", "surrogate")))
    assert list(violations(ast.parse("import matplotlib"), ("pysnnmed", "data", "nifti")))


def test_every_room_has_a_storey():
    rooms = {parts[1] for _, parts in module_files()} - {"__init__", "__main__", "backends"}
    assert rooms <= set(STOREY)


def test_backends_import_nothing_of_pysnnmed():
    for file in (ROOT / "backends").rglob("*.py"):
        for name in imported(ast.walk(ast.parse(file.read_text())), ("backends",)):
            assert name.partition(".")[0] != "pysnnmed", file


def test_importing_the_package_imports_only_numpy():
    code = (
        "import sys, numpy; before = set(sys.modules); import pysnnmed; "
        "third = {m.partition('.')[0] for m in set(sys.modules) - before} - set(sys.stdlib_module_names); "
        "assert third <= {'pysnnmed', 'numpy'}, third"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
