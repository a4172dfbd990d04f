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


def test_a_prediction_that_cannot_be_written(tmp_path):
    from medgen.errors import StorageError
    from medgen.inference.writing import files_of, require_writable

    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="a file, not a folder"):
        require_writable(files_of(tmp_path / "file" / "ct.nii.gz", ["ct"]), overwrite=False)
