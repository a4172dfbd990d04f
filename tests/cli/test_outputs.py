"""Where a result cannot be written, that is said before the work is done."""

import pytest

from medgen.cli import main


def worked(*_, **__):
    raise AssertionError("the work was begun")


@pytest.mark.parametrize(
    ("command", "work"),
    [
        ("evaluate synthesis . cases.csv -o OUT", "medgen.evaluation.evaluate"),
        ("evaluate segmentation . cases.csv -o OUT", "medgen.evaluation.evaluate"),
        ("evaluate detection . cases.csv -o OUT", "medgen.evaluation.evaluate"),
        ("report . -o OUT", "medgen.report.figures.draw_figures"),
        ("latent encode run -i cases.csv -o OUT", "medgen.inference.encoding.open_model"),
        ("latent traverse run -o OUT", "medgen.inference.traversal.open_model"),
        ("latent interpolate run -i cases.csv --from a --to b -o OUT", "medgen.inference.traversal.open_model"),
        ("latent map run codes.csv -o OUT", "medgen.inference.code_map.open_model"),
        ("latent reconstruct run -i cases.csv -o OUT", "medgen.evaluation.reconstruction.open_model"),
        ("latent probe codes.csv --table cases.csv -o OUT", "medgen.evaluation.factor_probes.probe_codes"),
        ("sample run -o OUT", "medgen.inference.generation.open_model"),
        ("reader-study make real made -o OUT", "medgen.reader.making.sides"),
        ("fix volume.nii -o OUT", "medgen.volume.repair_volume"),
        ("benchmark recipe.yaml --cases cases.csv --out OUT", "medgen.benchmark.plan_runs"),
        ("prepare recipe.yaml --cases cases.csv --store OUT", "medgen.run.experiment.build_store"),
    ],
)
def test_an_output_that_cannot_be_written(capsys, monkeypatch, tmp_path, command, work):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "image.nii").touch()
    (tmp_path / "scores.json").write_text('{"task": "synthesis", "cases": [], "summary": {}}')
    (tmp_path / "cases.csv").write_text("case,split,t1,ct,label\na,train,image.nii,image.nii,image.nii\n")
    (tmp_path / "recipe.yaml").write_text(
        "{method: segmentation, config: {network: unet}, patches: {size: [48, 48, 48]}, "
        "data: {inputs: [t1], labels: label, classes: {lesion: [1]}}}"
    )
    monkeypatch.setattr(work, worked)
    output = {"latent": "file/map.png" if " map " in command else "file/codes.csv", "fix": "file/out.nii.gz"}.get(
        command.split()[0], "file/out"
    )
    with pytest.raises(SystemExit) as end:
        main(command.replace("OUT", output).split())
    assert end.value.code == 7, capsys.readouterr().err


EARLIER = "error: the output exists, and is no earlier result\n"
INPUT = "error: the output is an input of the command\n"
EXISTS = "error: the output exists\n"
HELD = "error: the folder already holds cases.csv\n"
REPLACED = "error: the benchmark would replace this file\n  in: benchmark.csv\n"
BOTH = "error: the scores and the answers would be one file\n"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("evaluate synthesis . cases.csv -o cases.csv", EARLIER),
        ("evaluate segmentation . cases.csv -o codes.json", EARLIER),
        ("evaluate detection . cases.csv -o array.json", EARLIER),
        ("evaluate likelihood run -i cases.csv -o cases.csv", EARLIER),
        ("evaluate samples . cases.csv --features run -o codes.csv", EARLIER),
        ("latent probe codes.csv --table cases.csv -o cases.csv", EARLIER),
        ("latent probe codes.csv --table cases.csv -o codes.csv", EARLIER),
        ("latent probe codes.csv --table cases.csv -o codes.json", EARLIER),
        ("latent probe codes.csv --table cases.csv -o scores.json", EARLIER),
        ("latent encode run -i cases.csv -o cases.csv --overwrite", INPUT),
        ("latent encode run -i cases.json -o cases.csv --overwrite", INPUT),
        ("latent encode run -i cases.csv -o link.csv --overwrite", INPUT),
        ("latent map run codes.csv --table table.png --colour t1 -o table.png --overwrite", INPUT),
        ("report .", EARLIER),
        ("report . -o scores.json", EARLIER),
        ("report . -o cases.csv", EARLIER),
        ("reader-study score study -o cases.csv", EARLIER),
        ("reader-study score study -o new.csv --answers codes.csv", EARLIER),
        ("reader-study score study -o new.csv --answers ./new.csv", BOTH),
        ("cases from-nnunet .", EXISTS),
        ("cases from-msd .", EXISTS),
        ("cases from-bids . -o link.csv", EXISTS),
        ("cases from-picai . -o codes.csv", EXISTS),
        ("cases from-samples . --label t1", EXISTS),
        ("benchmark recipe.yaml --cases cases.csv --out .", REPLACED),
        ("phantom head . --subjects 1", HELD),
        ("phantom adaptation . --source 1", HELD),
        ("phantom prostate . --subjects 1", HELD),
    ],
)
def test_no_input_and_no_other_file_is_replaced(capsys, monkeypatch, tmp_path, command, said):
    """Whether it is written is decided before the work: neither codes.csv nor the run exists."""
    monkeypatch.chdir(tmp_path)
    for name, text in {
        "cases.csv": "case,split,t1\na,train,image.nii\n",
        "cases.json": "case,split,t1\na,train,image.nii\n",
        "table.png": "case,t1\na,1\n",
        "codes.csv": "case,patch\n",
        "codes.json": '{"code_shape": [4], "codes_sha256": "0"}',
        "array.json": "[1]",
        "scores.json": '{"task": "synthesis", "summary": {}}',
        "report.html": "<title>medgen report</title>",
        "recipe.yaml": "{method: segmentation, data: {inputs: [t1], labels: label}}",
        "benchmark.csv": "regime,dice",
    }.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "link.csv").symlink_to("cases.csv")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(SystemExit) as end:
        main(command.split())
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith(said)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


FOLDERS = {
    "drawn": ("samples.json", "sample_0000_t1.nii.gz"),
    "made": ("scores.json", "a_original_0000_t1.nii.gz"),
    "way": ("interpolation.json", "interpolation_0000_t1.nii.gz"),
    "walk": ("traversal.json", "traversal_1.npz", "traversal_2.png"),
    "series": ("CT_0001.dcm",),
    "run/model": ("model.json",),
    "run": ("run.json",),
}


@pytest.mark.parametrize(
    "command",
    [
        "sample run -o drawn --neighbours cases.csv",
        "latent reconstruct run -i cases.csv -o made",
        "latent interpolate run -i cases.csv --from a --to b -o way",
        "latent traverse run -o walk --codes walk/traversal_1.npz",
        "latent traverse run -o walk --codes codes.csv --factor age --table walk/traversal_2.png",
        "latent encode run -i cases.csv -o image.csv",
        "latent encode run -i cases.csv -o run/model/model.csv",
        "latent encode run -i cases.csv -o run/run.npz",
        "fix image.nii.gz -o image.nii.gz",
        "fix link.nii.gz -o image.nii.gz",
        "dicom write series -o series --source image.nii.gz --as ct",
        "dicom write series/CT_0001.dcm -o series --source image.nii.gz --as ct",
    ],
)
def test_overwrite_is_not_about_what_the_command_reads(capsys, monkeypatch, tmp_path, command):
    """The table names a file of each folder, as the table of 'medgen cases from-samples' does."""
    monkeypatch.chdir(tmp_path)
    files = [f"{folder}/{name}" for folder, names in FOLDERS.items() for name in names]
    for name in (*files, "image.nii.gz", "image.csv", "codes.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "link.nii.gz").symlink_to("image.nii.gz")
    rows = [f"case{number},train,{name}" for number, name in enumerate((*files, "image.csv"))]
    (tmp_path / "cases.csv").write_text("\n".join(["case,split,odd", *rows]))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(SystemExit) as end:
        main([*command.split(), "--overwrite"])
    said = capsys.readouterr().err
    assert end.value.code == 2, said
    assert said.startswith(("error: the output is an input", "error: the output holds an input")), said
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("layout", "options", "output"),
    [
        ("from-bids", [], "data/sub-01/anat/sub-01_T1w.nii.gz"),
        ("from-bids", [], "link.nii.gz"),
        ("from-nnunet", [], "data/imagesTr/a_0000.nii.gz"),
        ("from-nnunet", [], "data/dataset.json"),
        ("from-msd", [], "data/dataset.json"),
        ("from-msd", ["--split-into", "volumes"], "data/imagesTr/a_0000.nii.gz"),
        ("from-picai", [], "data/1/1_2_t2w.mha"),
        ("from-picai", ["--labels", "labels"], "labels/1_2.nii.gz"),
    ],
)
def test_a_table_never_replaces_a_file_of_the_dataset(capsys, monkeypatch, tmp_path, layout, options, output):
    """Also with --overwrite, which is about an earlier table."""
    monkeypatch.chdir(tmp_path)
    description = '{"channel_names": {"0": "T1"}, "labels": {"tumour": 1}, "file_ending": ".nii.gz"}'
    files = {name: name.encode() for name in (
        "data/sub-01/anat/sub-01_T1w.nii.gz", "data/imagesTr/a_0000.nii.gz", "data/1/1_2_t2w.mha", "labels/1_2.nii.gz",
    )} | {"data/dataset.json": description.encode()}  # fmt: skip
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    (tmp_path / "link.nii.gz").hardlink_to(tmp_path / "data/sub-01/anat/sub-01_T1w.nii.gz")
    with pytest.raises(SystemExit) as ended:
        main(["cases", layout, "data", *options, "-o", output, "--overwrite"])
    assert ended.value.code == 2
    assert "the output is an input of the command" in capsys.readouterr().err
    assert {name: (tmp_path / name).read_bytes() for name in files} == files


AWAY = "error: the output is a link to a missing file\n"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("report . -o link", AWAY),
        ("evaluate synthesis . cases.csv -o link", AWAY),
        ("latent encode run -i cases.csv -o link.csv", AWAY),
        ("latent encode run -i cases.csv -o link.csv --overwrite", AWAY),
        ("reader-study score study -o link.csv", AWAY),
        ("cases from-nnunet . -o link.csv", AWAY),
        ("phantom head held --subjects 1", HELD),
        ("benchmark recipe.yaml --cases cases.csv --out held", REPLACED.replace("benchmark.csv", "held/benchmark.csv")),
    ],
)
def test_a_link_to_a_disk_that_is_away_is_not_replaced(capsys, monkeypatch, tmp_path, command, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "held").mkdir()
    links = [tmp_path / name for name in ("link", "link.csv", "held/cases.csv", "held/benchmark.csv")]
    for link in links:
        link.symlink_to("/away/file")
    (tmp_path / "cases.csv").write_text("case,split,t1\na,train,image.nii\n")
    (tmp_path / "recipe.yaml").write_text("{method: segmentation, data: {inputs: [t1], labels: label}}")
    with pytest.raises(SystemExit) as end:
        main(command.split())
    assert capsys.readouterr().err.startswith(said)
    assert end.value.code == 2
    assert all(link.is_symlink() for link in links)


@pytest.mark.parametrize("name", ["cases.csv", "phantom.json", "factors.csv"])
def test_a_phantom_replaces_no_table(tmp_path, name):
    from medgen.errors import UsageError
    from medgen.phantom.workers import require_free

    (tmp_path / name).touch()
    with pytest.raises(UsageError, match=f"already holds {name}"):
        require_free(tmp_path, overwrite=False)
    require_free(tmp_path, overwrite=True)


def test_an_earlier_result_is_replaced(tmp_path):
    from medgen.benchmark.rendering import require_own_results
    from medgen.evaluation.scores import Scores, require_scores

    path = Scores("synthesis", (), {}).write(tmp_path / "scores.json")
    require_scores(path)
    (tmp_path / "benchmark.json").write_text('{"verdict": null, "rows": []}')
    (tmp_path / "benchmark.md").touch()
    require_own_results(tmp_path)


def test_a_prediction_that_cannot_be_written(tmp_path):
    from medgen.errors import StorageError
    from medgen.inference.writing import files_of, require_writable

    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="a file, not a folder"):
        require_writable(files_of(tmp_path / "file" / "ct.nii.gz", ["ct"]), overwrite=False)
