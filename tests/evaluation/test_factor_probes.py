"""Probes of a table of factors: what codes know, beside pixels and the network without training."""

import json
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from toy_samplers import LINEAR, save_toy

from medgen.cli import main
from medgen.errors import InputError, UsageError
from medgen.evaluation.factor_probes import KEYS, images_of, probe_codes, probe_table, untrained
from medgen.inference.code_table import read_codes
from medgen.inference.encoding import encode, encoded
from medgen.inference.opened import open_model
from medgen.methods.base import Shape
from medgen.methods.catalogue import create

HERE = {"device": "cpu", "allow_modules": [LINEAR]}
CASES = 16
AFFINE = np.array([[-1.5, 0, 0, 20], [0, 2, 0, -30], [0, 0, 2.5, 5], [0, 0, 0, 1.0]])


def save(image: np.ndarray, path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(image, AFFINE), path)


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    """Bodies whose third quarter has the factor as its value, and nothing else of it; codes of two patches each."""
    folder = tmp_path_factory.mktemp("study")
    generator = np.random.default_rng(0)
    run = save_toy(folder / "run", LINEAR, size=(16, 12), sampling="centred", intensity={"t1": {"window": [-2, 2]}})
    rows, factors = ["case,split,t1"], ["case,split,age,old,word,note"]
    for number in range(CASES):
        values = generator.uniform(-1, 1, 4)
        image = np.repeat(values, 4)[:, None, None] + generator.normal(0, 0.2, (16, 12, 5))
        save(image.astype(np.float32), folder / f"{number}.nii.gz")
        rows.append(f"case{number},train,{number}.nii.gz")
        age = "" if number == 3 else f"{50 + 20 * values[2]:.3f}"
        factors.append(f"case{number},train,{age},{'yes' if values[2] > 0 else 'no'},same,note {number}")
    (folder / "cases.csv").write_text("\n".join(rows) + "\n")
    (folder / "factors.csv").write_text("\n".join(factors) + "\n")
    encode(run, folder / "cases.csv", folder / "codes.npz", patches=2, **HERE)
    return folder


def test_a_planted_factor_is_found_beside_the_baselines(study: Path) -> None:
    probes = probe_codes(
        study / "codes.npz", study / "factors.csv", run=study / "run", cases=study / "cases.csv", **HERE
    )
    age, old = probes.factors
    assert (age.factor, age.patches, age.cases) == ("age", 2 * (CASES - 1), CASES - 1), "an empty cell is left out"
    assert age.scores["codes"].value > 0.95
    assert (old.factor, old.scores["codes"].name) == ("old", "auroc")
    assert old.scores["codes"].value > 0.9
    assert list(age.scores) == ["codes", "pixels", "untrained"]
    content = json.loads(json.dumps(probes.as_dict(), default=list))
    assert content["factors"][0]["codes"]["metric"] == "r2"
    heading, first, _ = probe_table(probes)
    assert heading == ("factor", "metric", "codes", "pixels", "untrained", "patches", "cases")
    assert first[:2] == ("age", "r2")


def test_pixels_are_those_that_were_encoded(study: Path) -> None:
    model, codes = open_model(study / "run", "cpu", [LINEAR]), read_codes(study / "codes.npz")
    images = images_of(codes, model, study / "cases.csv")
    np.testing.assert_array_equal(np.stack([encoded(model, image) for image in images]), codes.code)


@pytest.mark.parametrize("name", ["realnvp", "vae"])
def test_without_training_keeps_no_parameter_and_no_statistic(study: Path, name: str) -> None:
    """Nor one that no layer can reset: masked weights, scales of flows, means of normalisations."""
    method = create(name, {"width": 0.125}, Shape(1, 1, (16, 16))).eval()
    for tensor in (*method.parameters(), *method.buffers()):
        tensor.data.fill_(7)
    model = replace(open_model(study / "run", "cpu", [LINEAR]), method=method)
    state = torch.get_rng_state()
    one, again, other = (untrained(model, seed).method for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert not one.training
    assert not [key for key, tensor in one.state_dict().items() if (tensor == 7).any()]
    assert all((tensor == 7).all() for tensor in method.state_dict().values()), "the model itself stays"
    weights = [torch.cat([each.flatten() for each in method.parameters()]) for method in (one, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_column_patient_keeps_the_studies_of_a_person_together(study: Path, tmp_path: Path) -> None:
    rows = (study / "factors.csv").read_text().splitlines()
    (tmp_path / "f.csv").write_text("\n".join(["patient," + rows[0], *("one," + row for row in rows[1:])]) + "\n")
    with pytest.raises(InputError, match="age: there is only 1 patient, and a probe needs 2"):
        probe_codes(study / "codes.npz", tmp_path / "f.csv", factors=["age"])


@pytest.mark.parametrize("cell", ["inf", "nan", "1e300"])
def test_a_number_that_cannot_be_probed_is_told(study: Path, tmp_path: Path, cell: str) -> None:
    rows = (study / "factors.csv").read_text().replace("case3,train,,", f"case3,train,{cell},")
    (tmp_path / "f.csv").write_text(rows)
    age, old = probe_codes(study / "codes.npz", tmp_path / "f.csv").factors
    assert age.as_dict()["reason"] == f"case 'case3' has {cell}, and numbers are finite and at most 1e+100 in size"
    assert old.scores


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("case,age\ncase0,inf\ncase1,2\ncase2,3\n", "no factor can be probed (age: case 'case0' has inf"),
        ("case,age\ncase0,1\n", "no factor can be probed (age: the factor is the same throughout)"),
        ("case,word\ncase0,x\n", "no factor can be probed (no column has numbers or two classes)"),
    ],
)
def test_where_nothing_is_probed_nothing_is_written(study: Path, tmp_path: Path, capsys, text: str, said: str) -> None:
    (tmp_path / "f.csv").write_text(text)
    earlier = json.dumps(dict.fromkeys(KEYS))
    (tmp_path / "p.json").write_text(earlier)
    with pytest.raises(SystemExit) as end:
        main(f"latent probe {study}/codes.npz --table {tmp_path}/f.csv -o {tmp_path}/p.json".split())
    assert end.value.code == 3
    assert said in capsys.readouterr().err
    assert (tmp_path / "p.json").read_text() == earlier


def test_what_cannot_be_probed_has_a_reason(study: Path) -> None:
    probes = probe_codes(study / "codes.npz", study / "factors.csv", factors=["word", "note", "age"])
    word, note, age = (each.as_dict() for each in probes.factors)
    assert word["reason"] == "the factor is the same throughout"
    assert "16 classes" in note["reason"]
    assert "reason" not in age
    assert probe_table(probes)[1][:3] == ("word", "the factor is the same throughout", "–")


def test_the_command(study: Path, tmp_path: Path, capsys) -> None:
    words = f"latent probe {study}/codes.npz --table {study}/factors.csv --factor age -o {tmp_path}/p.json"
    with pytest.raises(SystemExit) as end:
        main(words.split())
    assert end.value.code == 0
    with pytest.raises(SystemExit) as end:
        main(words.split())
    assert end.value.code == 0, "the probes of before are replaced"
    told = json.loads((tmp_path / "p.json").read_text())
    assert told["factors"][0]["codes"]["value"] > 0.9
    low, high = told["factors"][0]["codes"]["ci95"]
    assert low <= told["factors"][0]["codes"]["value"] <= high
    assert "age\tr2\t" in capsys.readouterr().out


def test_refusals(study: Path, tmp_path: Path) -> None:
    codes = study / "codes.npz"
    for text, options, error, said in (
        ("case,age\ncase0,1\n", {"factors": ["weight"]}, UsageError, "no column 'weight'"),
        ("case,age\nsomebody,1\n", {}, InputError, "no code is of a case of this table"),
        ("name,age\ncase0,1\n", {}, InputError, "no column 'case'"),
        ("case,age\ncase0,1\ncase0,2\n", {}, InputError, "case 'case0' twice"),
        ("case,age,age\ncase0,1,2\n", {}, InputError, "the column 'age' stands twice"),
        ("case,age\ncase0,1,2\n", {}, InputError, "line 2 has 3 cells, the header has 2"),
        ("case,age,ml\ncase0,1\n", {}, InputError, "line 2 has 2 cells, the header has 3"),
        ("case,age\ncase0,1\n", {"seed": -1}, UsageError, "--seed must be between 0 and"),
        ("case,age\ncase0,1\n", {"seed": 2**32}, UsageError, "--seed must be between 0 and"),
        ("case,age\ncase0,1\n", {"run": study / "run"}, UsageError, "need both --run and --input"),
    ):
        (tmp_path / "f.csv").write_text(text)
        with pytest.raises(error, match=said) as caught:
            probe_codes(codes, tmp_path / "f.csv", **options)
        assert caught.value.fix
    (tmp_path / "cases.csv").write_text(f"case,split,t1\ncase0,train,{study}/0.nii.gz\n")
    with pytest.raises(InputError, match="the table has no case 'case1', and a code is of it"):
        probe_codes(codes, study / "factors.csv", run=study / "run", cases=tmp_path / "cases.csv", **HERE)
