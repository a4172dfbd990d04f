"""Imports point one way only, and nothing unsafe is called."""

import ast
from pathlib import Path

import pytest

import medgen

PACKAGE = Path(medgen.__file__).parent
LAYERS = [
    "errors files config",
    "volume cases batches losses metrics optimizers dicom",
    "networks phantom preparation augmentation patches transfer domains baselines checks inference.settings",
    "method",
    "recipe planning",
    "methods training engine checkpoint stopping runlog session",
    "inference experiment references evaluation comparison cascade fitting facts validation health",
    "benchmark report bundle",
    "demo",
    "cli __main__",
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names.split()}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def level(module: str) -> int:
    """The layer of a module below medgen: that of its longest prefix in the table."""
    parts = module.split(".")
    known = [".".join(parts[:n]) for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in LEVEL]
    assert known, f"give {module} a place in LAYERS"
    return LEVEL[known[0]]


def imports(path: Path) -> set[str]:
    """Modules of medgen that a file imports anywhere, without the leading ``medgen.``."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: import by full name"
            whole = node.module == "medgen"
            found |= {f"medgen.{alias.name}" for alias in node.names} if whole else {str(node.module)}
    inside = {name.removeprefix("medgen.") for name in found if name.startswith("medgen.")}
    return {name for name in inside if name.split(".")[0] not in {"__version__"}}


@pytest.mark.parametrize("path", FILES, ids=dotted)
def test_imports_point_down(path):
    for name in imports(path):
        assert level(name) <= level(dotted(path)), f"{dotted(path)} must not import {name}"


def test_no_method_imports_another_and_training_names_none():
    methods = {path.stem for path in (PACKAGE / "methods").glob("[!_]*.py")}
    for name in methods:
        others = {f"methods.{other}" for other in methods - {name}}
        assert not others & imports(PACKAGE / "methods" / f"{name}.py")
    for path in (PACKAGE / f"{name}.py" for name in ("training", "engine", "fitting", "cascade", "experiment")):
        words = {node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)}
        assert not methods & words
        assert not any(name.startswith("methods") for name in imports(path))


def test_a_module_without_a_place_is_found():
    with pytest.raises(AssertionError, match="give nowhere a place"):
        level("nowhere")
    assert level("inference.settings") < level("inference.tiles")


FORBIDDEN = ("eval", "exec", "pickle.load", "pickle.loads", "yaml.load", "torch.hub.load", "os.system", "breakpoint")


@pytest.mark.parametrize("path", FILES, ids=dotted)
def test_nothing_runs_code_out_of_a_file(path):
    assert unsafe_calls(path.read_text()) == []


def test_unsafe_calls_are_found():
    bad = ["torch.load(p)", "torch.load(p, weights_only=False)", "np.load(p, allow_pickle=True)", "pickle.load(f)"]
    for line in [*bad, "yaml.load(f)", "eval(x)"]:
        assert unsafe_calls(line) == [line]
    for line in ("torch.load(p, weights_only=True)", "np.load(p)", "yaml.safe_load(f)", "module.eval()"):
        assert unsafe_calls(line) == []


def unsafe_calls(text: str) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        loads_pickle = name == "torch.load" and given.get("weights_only") != "True"
        if name in FORBIDDEN or loads_pickle or given.get("allow_pickle") == "True":
            found.append(ast.unparse(node))
    return found
