"""A model folder from elsewhere can hold anything: it loads or is refused with exit 6, and names no file outside."""

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mean_model import head, make_model, save

from medgen.cases import Case, write_cases
from medgen.errors import InputError, ModelError, UsageError
from medgen.inference.cohort import predict
from medgen.inference.loading import load_model
from medgen.inference.opened import Opened
from medgen.inference.options import PredictOptions
from medgen.inference.report import write_report
from medgen.inference.sample_writing import Channel
from medgen.inference.writing import files_of, output_name, require_writable
from medgen.methods.base import Shape
from medgen.methods.catalogue import create
from medgen.names import clashing, file_name
from medgen.preparation import Preparation, Roles
from medgen.preparation.settings import require_class_names
from medgen.recipe.check import check_recipe
from medgen.recipe.settings import load_recipe
from medgen.training import model_folder
from medgen.training.model_folder import save_model

HOSTILE = [
    "../up", "x/../../..", "/etc/x", "..", ".", "", ".hidden", "-rf", " x", "x.", "a\\b", "C:x", "a\0b", "a\nb",
    "a\x1b[31mb", "a*b", "a\u202eb", "a\udce9b", "x" * 300, "\u00e9" * 100,
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_no_name_leads_out_of_a_folder(text: str, tmp_path: Path) -> None:
    for make in (
        lambda: file_name(text),
        lambda: output_name(Case(text, "test", None, {}), "ct"),
        lambda: output_name(Case("p1", "test", None, {}), text),
        lambda: files_of(tmp_path / "p1_ct.nii.gz", ["ct", text]).all,
        lambda: files_of(tmp_path / "p1_label.nii.gz", ["label"], probabilities=[text]).all,
        lambda: Channel(text, "").name,
    ):
        with pytest.raises(UsageError) as caught:
            make()
        assert str(caught.value).isascii()
        assert len(str(caught.value).splitlines()) <= 2
    with pytest.raises(ValueError, match="role"):
        Roles(inputs=("t1", text))
    with pytest.raises(ValueError, match="name"):
        require_class_names([text])
    with pytest.raises(InputError):
        write_cases([Case(text, "test", None, {"t1": tmp_path / "t1.nii.gz"})], tmp_path / "cases.csv")
    with pytest.raises(InputError, match="role"):
        write_cases([Case("p1", "test", None, {text: tmp_path / "t1.nii.gz"})], tmp_path / "cases.csv")


def test_honest_names_pass_and_two_that_a_disk_may_hold_for_one_do_not() -> None:
    assert [file_name(each) for each in ("t1", "white matter", "Läsion", "a.b-c_1+2")] == [
        "t1", "white matter", "Läsion", "a.b-c_1+2",
    ]  # fmt: skip
    assert file_name("La\u0308sion") == "L\u00e4sion"
    for twice in (["L\u00e4sion", "La\u0308sion"], ["a b", "a-b"], ["Core", "core"]):
        with pytest.raises(ValueError, match="one probability"):
            require_class_names(twice)
    assert clashing(["core", "rim"]) == ()


def build(folder: Path, *, role: str = "ct") -> Path:
    """A small model that can be predicted with."""
    content = {"method": "supervised", "config": {"width": 0.05}, "patches": {"size": [16, 16, 16]}}
    recipe, _, _ = check_recipe(load_recipe({**content, "data": {"inputs": ["t1", "ge|swi"], "target": "ct"}}))
    method = create("supervised", recipe.config, Shape(2, 1, (16, 16, 16)))
    preparation = {**Preparation(recipe.data, recipe.preparation).as_dict()}
    preparation["training"] = {"t1": {"mean": [0.0] * 10, "spread": [1.0] * 10}}
    description = {
        "method": "supervised",
        "task": "synthesis",
        "classes": [],
        "stages": 1,
        "preparation": preparation,
        "inference": recipe.inference.model_dump(mode="json"),
        "patches": [16, 16, 16],
        "recipe": recipe.model_dump(mode="json"),
    }
    save_model(folder / "model", [method], description)
    return folder


VALUES: list[Any] = [
    None, True, -1, 0, 3, 10**9, 10**30, -0.5, 1e308, float("nan"), float("inf"), "", "x", "../../../x", "a\0b",
    "x" * 5000, [], [1], ["a"], [[1, 2], [3]], {}, {"a": 1}, {"../x": [1]}, "zscore",
]  # fmt: skip


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if at:
        yield at
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield from places(value[key], (*at, key))


def mutated(content: dict[str, Any], draw: random.Random) -> tuple[dict[str, Any], str]:
    """One value of another kind or size, one missing, one more, or one twice."""
    content = copy.deepcopy(content)
    # A recipe is two thirds of the file, and little of it is read.
    at = draw.choice([each for each in places(content) if each[0] != "recipe" or draw.random() < 0.25])
    inside = content
    for key in at[:-1]:
        inside = inside[key]
    kind, value = draw.choice(["set", "set", "set", "set", "cut", "add", "twice"]), draw.choice(VALUES)
    if kind == "set":
        inside[at[-1]] = value
    elif kind == "cut":
        del inside[at[-1]]
    elif isinstance(inside, list):
        inside.extend(inside if kind == "twice" else [value])
    elif kind == "add":
        inside[draw.choice(["format", "task", "context", "classes", "stages", "of_tomorrow"])] = value
    else:
        inside[at[-1]] = [inside[at[-1]]]
    return content, f"{kind} {'.'.join(map(str, at))} {str(value)[:30]!a}"


def use(run: Path, out: Path) -> None:
    """All that is read of model.json before an image is."""
    model = load_model(run, device="cpu")
    assert all(file.parent == out for file in model.files(out / "p_ct.nii.gz", PredictOptions()).all)
    assert 0 <= len(model.dropped) <= 2
    write_report(out / "prediction.json", model, PredictOptions(), [])
    opened = Opened(model.stages[-1], model.description, model.known, model.device, "run", str(run))
    assert opened.patches.size == model.stages[-1].shape.size


@pytest.mark.parametrize("seed", range(3))
def test_a_mutated_description_loads_or_exits_6(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, draw = build(tmp_path / "run"), random.Random(seed)
    path = run / "model" / "model.json"
    content, weights = json.loads(path.read_text()), model_folder.load_weights(run / "model" / "weights.safetensors")
    monkeypatch.setattr(model_folder, "load_weights", lambda path, digest: weights)
    monkeypatch.setattr("os.fsync", lambda handle: None)
    (tmp_path / "out").mkdir()
    use(run, tmp_path / "out")
    refused, longest, wrong = 0, 0, []
    for _ in range(120):
        changed, what = mutated(content, draw)
        path.write_text(json.dumps(changed))
        try:
            use(run, tmp_path / "out")
        except ModelError as error:
            refused += 1
            longest = max(longest, len(str(error)))
        except Exception as error:
            wrong.append(f"{what}: {type(error).__name__} {error}")
    assert not wrong, "\n".join(wrong)
    assert longest < 1000
    assert 40 < refused < 115  # the mutations neither all pass nor all fail at one gate


@pytest.mark.parametrize("text", ["", "[", "3", "[]", '"format"', "[" * 100_000, "\ufeff{}", '{"format": [2]}'])
def test_no_description_at_all(text: str, tmp_path: Path) -> None:
    run = build(tmp_path)
    (run / "model" / "model.json").write_text(text, encoding="utf-8")
    with pytest.raises(ModelError):
        load_model(run, device="cpu")


def test_sizes_that_do_not_fit_the_weights_take_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = build(tmp_path)
    path = run / "model" / "model.json"
    content = json.loads(path.read_text())
    content["config"]["width"] = 500.0
    path.write_text(json.dumps(content))
    monkeypatch.setattr(model_folder, "_create", lambda *_: pytest.fail("the network was built"))
    with pytest.raises(ModelError, match="do not fit the network"):
        load_model(run, device="cpu")


def test_a_role_that_leads_outside_writes_nothing(tmp_path: Path) -> None:
    """What the issue saw: ``x/../../..`` as a role wrote beside the output folder, and over what was there."""
    run = build(tmp_path / "run")
    path = run / "model" / "model.json"
    content = json.loads(path.read_text())
    content["preparation"]["roles"]["target"] = "x/../../../precious"
    path.write_text(json.dumps(content))
    image = save(head(), tmp_path / "data" / "t1.nii.gz")
    write_cases([Case("p1", "test", None, {"t1": image, "ge": image})], tmp_path / "data" / "cases.csv")
    (tmp_path / "precious.nii.gz").write_bytes(b"mine")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ModelError, match="cannot be a role"):
        predict(run, tmp_path / "data" / "cases.csv", tmp_path / "deep" / "out", device="cpu", overwrite=True)
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "precious.nii.gz").read_bytes() == b"mine"


def test_two_results_of_one_name_are_refused(tmp_path: Path) -> None:
    files = files_of(tmp_path / "p_t1.nii.gz", make_model("t1", "T1").inputs)
    with pytest.raises(UsageError, match="two files would have the name"):
        require_writable(files, overwrite=True)
