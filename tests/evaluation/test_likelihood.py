"""Cases scored by a generative model: rows by hand, areas under ROC curves, and what is refused."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from toy_samplers import LIKELY, NOISE, save_toy

from medgen.cli import main
from medgen.errors import InputError, UsageError
from medgen.evaluation.likelihood import evaluate_likelihood
from medgen.inference.novelty_fitting import fit_novelty
from medgen.volume import Volume, write_volume

VALUES = {"a": 550.0, "b": 600.0, "c": 900.0, "d": 1000.0}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return save_toy(tmp_path / "run", LIKELY, size=(4, 4, 4), intensity={"t1": {"window": [0, 1000]}})


def block(folder: Path, name: str, value: float) -> str:
    """A block in air, large enough that the patch in its middle holds nothing else."""
    image = np.zeros((1, 16, 16, 16), np.float32)
    image[:, 2:14, 2:14, 2:14] = value
    write_volume(Volume(image, np.diag([2.0, 2.0, 2.0, 1.0])), folder / f"{name}.nii.gz", kind="scalar")
    return f"{name}.nii.gz"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rows = [
        f"{name},test,{'target' if value > 800 else 'source'},{block(tmp_path, name, value)},{int(value > 800)}"
        for name, value in VALUES.items()
    ]
    rows += [f"k{n},{'train' if n < 3 else 'val'},source,{block(tmp_path, f'k{n}', 500 + 20 * n)}," for n in range(6)]
    (tmp_path / "cases.csv").write_text("\n".join(["case,split,domain,t1,odd", *rows]) + "\n")
    return tmp_path / "cases.csv"


def scores(run: Path, table: Path, **options):
    return evaluate_likelihood(run, table, device="cpu", allow_modules=[LIKELY, NOISE], **options)


def test_without_a_fit(run: Path, table: Path) -> None:
    """All patches in the block: 550 becomes 0.1 of [-1, 1]. Patches at its edge hold air too."""
    found = scores(run, table, patches=1)
    assert [row["case"] for row in found.cases] == [*"abcd"]
    row = found.cases[0]
    assert row["bits_per_voxel"] == pytest.approx(-row["log_likelihood"] / 64 / math.log(2))
    assert row["likelihood"] == pytest.approx(-row["log_likelihood"] / 64)
    assert (found.details["bound"], found.task) == (False, "likelihood")
    assert "combined" not in row
    assert any("no novelty score" in note for note in found.notes)
    assert any("exact log-likelihood" in note for note in found.notes)


@pytest.mark.parametrize("column", ["odd", "domain"])
def test_areas_and_alarms(run: Path, table: Path, column: str, tmp_path: Path) -> None:
    fit_novelty(run, table, patches=8, device="cpu", allow_modules=[LIKELY])
    found = scores(run, table, odd=column)
    assert [row["odd"] for row in found.cases] == [False, False, True, True]
    assert found.settings["patches"] == 8
    combined = [row["combined"] for row in found.cases]
    odd, usual = combined[2:], combined[:2]
    expected = sum((o > u) + 0.5 * (o == u) for o in odd for u in usual) / 4
    assert found.details["auroc"]["combined"]["auroc"] == expected
    assert set(found.details["auroc"]) == {"likelihood", "complexity", "reconstruction", "latent", "combined"}
    limit = found.details["limit"]
    assert found.details["alarms"] == [r["case"] for r in found.cases if r["combined"] > limit]
    assert all(0 < row["tail_combined"] <= 1 for row in found.cases)
    assert scores(run, table, odd=column).cases == found.cases
    content = json.loads(found.write(tmp_path / "scores.json").read_text())
    assert content["auroc"]["combined"]["n_odd"] == 2


def test_other_patches_than_in_the_fit(run: Path, table: Path) -> None:
    """The limit is of the mean of so many patches, and a table of other means would have no right one."""
    fit_novelty(run, table, patches=2, device="cpu", allow_modules=[LIKELY])
    with pytest.raises(UsageError, match="fitted with 2 patches of each case, and --patches is 3") as caught:
        scores(run, table, patches=3)
    assert "--overwrite --patches 3" in caught.value.fix
    assert scores(run, table, patches=2).cases == scores(run, table).cases


def test_a_number_out_of_range(run: Path, table: Path) -> None:
    with pytest.raises(UsageError, match="must be between 1 and 10000, got 0"):
        scores(run, table, patches=0)


def test_an_empty_cell_is_not_known(run: Path, table: Path) -> None:
    found = scores(run, table, odd="odd", split="all", patches=1)
    assert [row["odd"] for row in found.cases][4:] == [None] * 6
    assert found.details["auroc"]["likelihood"]["n_usual"] == 2


def test_other_words_and_columns(run: Path, table: Path) -> None:
    with pytest.raises(InputError, match="no case has a value in the column 'strange'"):
        scores(run, table, odd="strange")
    table.write_text(table.read_text().replace("a.nii.gz,0", "a.nii.gz,perhaps"))
    with pytest.raises(InputError, match="'perhaps' for case 'a'"):
        scores(run, table, odd="odd")


def test_neither_likelihood_nor_codes(table: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot tell how usual"):
        scores(save_toy(tmp_path / "noise", NOISE), table)


def test_no_such_case(run: Path, table: Path) -> None:
    table.write_text(table.read_text().replace(",test,", ",train,"))
    assert len(scores(run, table, patches=1).cases) == 10  # without test cases, all
    with pytest.raises(InputError, match="no case has split 'test'"):
        scores(run, table, split="test")


def command(capsys, *words: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exit_:
        main([str(word) for word in words])
    out, err = capsys.readouterr()
    return int(exit_.value.code or 0), out, err


def test_from_the_command_line(run: Path, table: Path, tmp_path: Path, capsys) -> None:
    common = ["-i", table, "--device", "cpu", "--allow-module", LIKELY]
    code, out, _ = command(capsys, "novelty", "fit", run, *common, "--patches", 2)
    assert (code, out.strip()) == (0, str(run / "model" / "novelty.json"))
    (tmp_path / "b.nii.gz").write_bytes(b"")
    code, out, err = command(capsys, "evaluate", "likelihood", run, *common, "--odd", "odd", "-o", tmp_path / "s.json")
    assert code == 4
    assert "1 of 4 cases failed; b:" in err
    assert "AUROC" in out
    content = json.loads((tmp_path / "s.json").read_text())
    assert [row["case"] for row in content["failed"]] == ["b"]
    assert content["summary"]["likelihood"]["n_failed"] == 1
    code, _, err = command(capsys, "novelty", "fit", run, *common)
    assert (code, len(err.strip().splitlines())) == (2, 3)
