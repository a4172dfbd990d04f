"""Cohorts of the prostate phantom: their table, their shares, what is refused, and the command."""

import json
from pathlib import Path

import pytest

from medgen.cases import read_cases
from medgen.cli import main
from medgen.errors import UsageError
from medgen.phantom import make_prostate_phantom
from medgen.phantom.prostate.cohort import _is_positive
from medgen.volume import read_volume

SMALL = {"train": 2, "validation": 0, "test": 1, "spacing": (3.0, 3.0, 3.0), "seed": 5}


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    return make_prostate_phantom(tmp_path_factory.mktemp("prostate"), workers=1, **SMALL).parent


def test_cohort_table(cohort):
    table = read_cases(cohort / "cases.csv")
    assert [(case.name, case.split) for case in table.cases] == [
        ("prostate_train_000", "train"), ("prostate_train_001", "train"), ("prostate_test_000", "test"),
    ]  # fmt: skip
    assert set(table.roles) == {"t2w", "adc", "hbv", "label", "lesion", "mask"}
    labels = []
    for case in table.cases:
        volumes = {role: read_volume(path) for role, path in case.images.items()}
        assert {volume.data.shape for volume in volumes.values()} == {(1, 32, 32, 19)}
        assert len({volume.affine.tobytes() for volume in volumes.values()}) == 1
        labels.append(volumes["label"].data[0])
    assert [3 in label for label in labels] == [_is_positive(0, 0.5), _is_positive(1, 0.5), _is_positive(0, 0.5)]
    assert sum(3 in label for label in labels[:2]) == 1
    assert (labels[0] > 0).sum() != (labels[2] > 0).sum()  # nobody twice
    settings = json.loads((cohort / "phantom.json").read_text())
    assert settings["cases"] == {"train": 2, "val": 0, "test": 1}
    assert settings["anatomy"] == "prostate"


def test_cohort_does_not_depend_on_workers_or_size_and_reports_progress(cohort, tmp_path):
    steps = []
    other = SMALL | {"train": 1}
    make_prostate_phantom(tmp_path, workers=2, progress=lambda done, total, _: steps.append((done, total)), **other)
    for name in ("prostate_train_000", "prostate_test_000"):
        assert content(tmp_path / name) == content(cohort / name)
    assert steps == [(0, 2), (1, 2), (2, 2)]


@pytest.mark.parametrize("share", [0.0, 0.25, 0.3, 0.5, 0.9, 1.0])
def test_every_first_part_of_a_split_has_its_share(share):
    ill = [_is_positive(number, share) for number in range(64)]
    for count in range(1, 65):
        assert abs(sum(ill[:count]) - share * count) <= 0.5 + 1e-6
    assert sum(ill[:60]) == round(60 * share)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"train": -1}, "-1 train"),
        ({"train": 0, "test": 0}, "0 train, 0 val, 0 test"),
        ({"test": 1000}, "1000 test"),
        ({"positive": 1.2}, "1.2"),
        ({"spacing": (0.1, 0.5, 3.0)}, "0.1 x 0.5 x 3.0"),
        ({"contrast": 2.0}, "contrast of tumours is 2"),
    ],
)
def test_wrong_prostate_arguments_are_refused(tmp_path, arguments, message):
    with pytest.raises(UsageError, match=message):
        make_prostate_phantom(tmp_path / "out", **(SMALL | arguments))
    assert not (tmp_path / "out").exists()


def test_a_filled_folder_is_refused(cohort):
    with pytest.raises(UsageError, match="already holds"):
        make_prostate_phantom(cohort, **SMALL)


def test_the_command(capsys, tmp_path):
    def run(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main(["phantom", "prostate", *words])
        return int(end.value.code or 0), *capsys.readouterr()

    words = ("--subjects", "1", "--spacing", "3", "3", "3", "--native-diffusion", "--workers", "1", "--seed", "7")
    code, out, err = run(str(tmp_path / "one"), *words)
    assert (code, out) == (0, f"{tmp_path / 'one' / 'cases.csv'}\n"), err
    settings = json.loads((tmp_path / "one" / "phantom.json").read_text())
    assert settings["cases"] == {"train": 1, "val": 0, "test": 0}
    assert (settings["native_diffusion"], settings["seed"]) == (True, 7)
    code, _, err = run(str(tmp_path / "two"), "--subjects", "3", "--test", "2")
    assert (code, "give either --subjects" in err) == (2, True)
    code, _, err = run(str(tmp_path / "two"), "--train", "0", "--test", "0")
    assert (code, "0 train, 0 val, 0 test" in err) == (2, True)
