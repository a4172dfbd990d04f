"""A MONAI bundle says what MONAI's schema asks for, MONAI runs it, and medgen never evaluates its configurations."""

import json
import shutil

import jsonschema
import nibabel
import numpy as np
import pytest
from small_models import save_image, save_small

from medgen import export_model, predict
from medgen.cli import main
from medgen.errors import ModelError, UsageError
from medgen.report.card import as_markdown, read_card

TENSOR = {
    "type": "object",
    "required": ["type", "format", "num_channels", "spatial_shape", "dtype", "value_range"],
    "properties": {
        **{key: {"type": "string"} for key in ("type", "format", "dtype")},
        "num_channels": {"type": "integer"},
        "spatial_shape": {"type": "array", "items": {"type": ["string", "integer"]}},
        "value_range": {"type": "array", "items": {"type": "number"}},
        "is_patch_data": {"type": "boolean"},
        "channel_def": {"type": "object"},
    },
}
TENSORS = {"type": "object", "minProperties": 1, "additionalProperties": TENSOR}
TEXTS = ["schema", "version", "monai_version", "pytorch_version", "numpy_version", "task", "description", "authors"]
TEXTS += ["copyright", "data_source", "intended_use"]
TABLES = ["changelog", "required_packages_version", "eval_metrics"]
ASKED = {
    "type": "object",
    "required": [*TEXTS[:9], "required_packages_version", "network_data_format"],
    "properties": {
        **{key: {"type": "string"} for key in TEXTS},
        **{key: {"type": "object"} for key in TABLES},
        "network_data_format": {
            "type": "object",
            "required": ["inputs", "outputs"],
            "properties": {"inputs": TENSORS, "outputs": TENSORS},
        },
    },
}
"""What meta_schema_20240725.json asks for, in our words: the schema itself is downloaded by MONAI, not by a test."""
UNET = {"generator": "unet", "width": 0.125, "context": "none"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return save_small(tmp_path_factory.mktemp("bundle") / "run", UNET, flips=["x"])


@pytest.fixture(scope="module")
def bundle(run):
    (folder,) = export_model(run, run.parent / "bundle")
    return folder


@pytest.fixture(scope="module")
def expected(run):
    source = save_image(run.parent / "t1.nii.gz")
    return nibabel.load(predict(run, source, run.parent / "ct.nii.gz", device="cpu")).get_fdata()


def test_the_current_folder_is_refused_before_the_model_is_read(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["export", "no_run", "-o", "."])
    assert ended.value.code == 2
    assert "this is the current folder, and cannot be replaced" in capsys.readouterr().err


def test_it_has_the_files_of_a_bundle_and_what_the_schema_asks_for(bundle):
    metadata = json.loads((bundle / "configs/metadata.json").read_text())
    jsonschema.validate(metadata, ASKED)
    assert metadata["required_packages_version"].keys() == {"medgen"}
    made = metadata["network_data_format"]["outputs"]["pred"]
    assert (made["num_channels"], made["value_range"], made["channel_def"]) == (1, [-1, 1], {"0": "ct"})
    assert "Not for clinical use" in metadata["intended_use"]
    assert "monai.bundle run" in (bundle / "docs/README.md").read_text()
    assert "not stated" in (bundle / "LICENSE").read_text()
    assert (bundle / "models/model.pt").is_file()
    listed = json.loads((bundle / "export.json").read_text())["files"]
    there = {each.relative_to(bundle).as_posix() for each in bundle.rglob("*") if each.is_file()}
    assert there == {*listed, "export.json"}


def test_the_card_of_a_bundle_has_the_scores_of_the_run(run, tmp_path):
    made = shutil.copytree(run, tmp_path / "run")
    summary = {"mae": {"mean": 70.0, "sd": 3.0, "ci95": [68.0, 72.0], "n": 9}}
    scores = {"task": "synthesis", "cases": [{"case": "Ada", "mae": 70}], "summary": summary}
    (made / "scores.json").write_text(json.dumps(scores))
    (folder,) = export_model(made, tmp_path / "bundle")
    line = "| mae | 70 HU | [68, 72] | 9 |"
    assert line in (folder / "docs/README.md").read_text()
    assert line in as_markdown(read_card(folder))
    assert line in as_markdown(read_card(folder / "model"))
    assert all(b"Ada" not in file.read_bytes() for file in folder.rglob("*") if file.is_file())


def test_monai_gives_what_medgen_predict_gives(bundle, expected, tmp_path):
    from monai.bundle import run as run_bundle

    found = tmp_path / "ct.nii.gz"
    source = str(bundle.parent / "t1.nii.gz")
    config = str(bundle / "configs/inference.json")
    run_bundle(config_file=config, bundle_root=str(bundle), inputs=source, output=str(found), device="cpu")
    assert np.ptp(expected) > 100
    np.testing.assert_allclose(nibabel.load(found).get_fdata(), expected, atol=1e-4)


def test_monai_can_build_the_network_and_read_its_weights(bundle):
    import torch
    from monai.bundle import ConfigParser

    parser = ConfigParser(ConfigParser.load_config_file(str(bundle / "configs/inference.json")))
    parser["bundle_root"] = str(bundle)
    network = parser.get_parsed_content("network_def")
    weights = torch.load(bundle / "models/model.pt", weights_only=True)
    assert weights.keys() == network.state_dict().keys()
    assert network(torch.zeros(1, 1, 16, 16, 16)).shape == (1, 1, 16, 16, 16)


def test_medgen_never_evaluates_a_configuration(bundle, expected, tmp_path):
    from monai.bundle import ConfigParser

    copy, mark = shutil.copytree(bundle, tmp_path / "copy"), tmp_path / "mark"
    harmless = f"$__import__('pathlib').Path({str(mark)!r}).touch()"
    for name in ("inference.json", "metadata.json"):
        file = copy / "configs" / name
        content = {key: harmless for key in json.loads(file.read_text())}
        file.write_text(json.dumps(content))
    found = predict(copy, bundle.parent / "t1.nii.gz", tmp_path / "ct.nii.gz", device="cpu")
    assert not mark.exists()
    np.testing.assert_array_equal(nibabel.load(found).get_fdata(), expected)
    ConfigParser(content).get_parsed_content("version")  # the control: MONAI does
    assert mark.exists()


def test_a_bundle_of_others_is_refused(bundle, tmp_path):
    copy = shutil.copytree(bundle, tmp_path / "copy")
    shutil.rmtree(copy / "model")
    with pytest.raises(ModelError, match="no model here"):
        predict(copy, bundle.parent / "t1.nii.gz", tmp_path / "ct.nii.gz", device="cpu")


def test_only_an_earlier_export_is_replaced(run, bundle, capsys):
    with pytest.raises(UsageError, match="holds an export already"):
        export_model(run, bundle)
    with pytest.raises(SystemExit) as exit_:
        main(["export", str(run), "-o", str(bundle), "--overwrite"])
    assert not exit_.value.code
    assert str(bundle) in capsys.readouterr().out
    mine = bundle / "notes.txt"
    mine.write_text("mine")
    with pytest.raises(UsageError, match=r"notes\.txt"):
        export_model(run, bundle, overwrite=True)
    with pytest.raises(UsageError, match="did not write"):
        export_model(run, run, overwrite=True)
    mine.unlink()


@pytest.mark.parametrize("name", ["model/model.json", "docs/README.md", "LICENSE"])
def test_a_file_that_was_edited_in_a_bundle_is_not_replaced(run, bundle, tmp_path, name):
    copy = shutil.copytree(bundle, tmp_path / "copy")
    (copy / name).write_text("mine")
    with pytest.raises(UsageError, match=f"'{name}' in the folder was changed since 'medgen export' wrote it"):
        export_model(run, copy, overwrite=True)
    assert (copy / name).read_text() == "mine"
    (copy / name).unlink()
    (copy / name).symlink_to(bundle / name)
    with pytest.raises(UsageError, match="was changed"):
        export_model(run, copy, overwrite=True)
    (copy / name).unlink()  # what is gone is made again
    export_model(run, copy, overwrite=True)
    assert (copy / name).read_bytes() == (bundle / name).read_bytes()


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", ["x", "x/y", "x.onnx", "x.pt2", "", "slicer"])
def test_nothing_is_written_into_what_is_exported(run, bundle, tmp_path, name, overwrite):
    copy = shutil.copytree(bundle, tmp_path / "copy")
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    kind = "slicer" if name == "slicer" else None
    for source in (copy, copy / "model"):
        with pytest.raises(UsageError, match="the model folder holds the model alone"):
            export_model(source, copy / "model" / name, kind, overwrite=overwrite)
        for inside in (copy / name, copy / "docs" / name):
            with pytest.raises(UsageError, match="lies in the export that the model is taken from"):
                export_model(source, inside, kind, overwrite=overwrite)
    with pytest.raises(UsageError, match="the model folder holds the model alone"):
        export_model(run, run / "model" / name, kind, overwrite=overwrite)
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before


def test_a_run_may_hold_its_exports(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    assert export_model(copy, copy / "bundle") == [copy / "bundle"]
    assert export_model(copy, copy / "bundle", overwrite=True) == [copy / "bundle"]


@pytest.mark.parametrize(("name", "kind"), [("network", "onnx"), ("network.onnx", "torch"), ("b.pt2", "bundle")])
def test_a_name_must_fit_the_kind(run, name, kind):
    with pytest.raises(UsageError, match="is written to"):
        export_model(run, run.parent / name, kind)
