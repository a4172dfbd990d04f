"""Imports point one way only, and nothing unsafe is called."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

import medgen
from medgen.methods.catalogue import method_names

PACKAGE = Path(medgen.__file__).parent
LAYERS = [
    "errors types",
    "files config names shipped",
    "volume",
    "cases dicom",
    "losses metrics networks checks",
    "phantom preparation",
    "sampling",
    "methods",
    "recipe",
    "training",
    "inference",
    "evaluation",
    "baselines",
    "run",
    "report",
    "export",
    "reader",
    "live",
    "monai torchio",
    "benchmark",
    "demo",
    "cli",
    "__main__",
]
"""A file imports from its own folder and from layers above its own in this list, never sideways and never back."""
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names.split()}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")
LOOSE = {"__init__", "__main__", "config", "demo", "errors", "names", "types"}


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def room(module: str) -> str:
    """The folder, or the loose file, that a module below medgen belongs to."""
    name = module.split(".")[0]
    assert name in LEVEL, f"give {name} a place in LAYERS"
    return name


def imports(path: Path) -> set[str]:
    """Modules of medgen that a file imports anywhere, for types too, without the leading ``medgen.``."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: import by full name"
            # A name may be a module: medgen.phantom.head.skull of "from medgen.phantom.head import skull".
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    inside = {name.removeprefix("medgen.") for name in found if name.startswith("medgen.")}
    return {name for name in inside if name in MODULES}


MODULES = {dotted(path) for path in FILES}
GRAPH = {dotted(path): imports(path) for path in FILES}


@pytest.mark.parametrize("module", GRAPH)
def test_imports_point_down(module):
    for name in GRAPH[module]:
        assert room(name) == room(module) or LEVEL[room(name)] < LEVEL[room(module)], f"{module} imports {name}"


def test_files_do_not_import_in_circles():
    assert circles(GRAPH) == []


def test_a_circle_is_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == [["b", "c"]]


def test_few_files_lie_loose():
    assert {path.stem for path in PACKAGE.glob("*.py")} == LOOSE


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that reach each other."""
    reached = {name: set(found) for name, found in graph.items()}
    for middle in graph:
        for found in reached.values():
            if middle in found:
                found |= reached[middle]
    groups = {tuple(sorted(b for b in found if name in reached[b])) for name, found in reached.items() if name in found}
    return [list(group) for group in sorted(groups)]


def test_no_method_imports_another_and_training_names_none():
    methods = set(method_names())
    for name in methods:
        assert not {f"methods.{other}" for other in methods - {name}} & GRAPH[f"methods.{name}"]
    for path in (path for path in FILES if room(dotted(path)) in ("training", "run")):
        words = {node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)}
        assert not methods & words
        assert not {f"methods.{name}" for name in methods} & imports(path)


def test_a_module_without_a_place_is_found():
    with pytest.raises(AssertionError, match="give nowhere a place"):
        room("nowhere.inside")


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


SERVER = {"starlette", "uvicorn"}
"""Of the extra ``reader``: serve_reader_study asks for both before it does anything."""


def test_a_plain_install_has_all_that_is_imported():
    """No command works for hours and then lacks a package: what an extra brings is asked for at the start."""
    names = {"yaml": "pyyaml", "skimage": "scikit-image", "sklearn": "scikit-learn", "SimpleITK": "simpleitk"}
    names["PIL"] = "pillow"
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]
    core = {re.split(r"[<>=;\[ ]", line)[0] for line in project["dependencies"]}
    tops = set()
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            found = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            found += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            roots = {name.partition(".")[0] for name in found}
            tops |= roots - SERVER - {"zuko", "highdicom", "pandas", "onnx", "onnxruntime", "ipyniivue", "torchio"}
            assert path.name == "log.py" or "torch.utils.tensorboard" not in found, path
            assert room(dotted(path)) == "reader" or not roots & SERVER, path
            # Where both are imported, the extra is asked for first.
            assert path.name == "vector_flow.py" or "zuko" not in roots, path
            assert dotted(path) == "evaluation.scores" or "pandas" not in roots, path
            assert dotted(path) == "inference.portable" or not roots & {"onnx", "onnxruntime"}, path
            assert dotted(path) == "dicom.highdicom" or "highdicom" not in roots, path
            assert room(dotted(path)) == "torchio" or "torchio" not in roots, path
    foreign = {names.get(top, top.replace("_", "-")) for top in tops - sys.stdlib_module_names - {"medgen"}}
    assert foreign <= core
