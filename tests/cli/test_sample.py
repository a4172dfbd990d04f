"""``medgen sample`` and ``medgen latent encode`` from the command line: output, exit codes, three lines."""

import json
from pathlib import Path

import numpy as np
import pytest
from toy_samplers import MEANS, NOISE, save_toy

from medgen.cli import main
from medgen.volume import Volume, write_volume


def run_command(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exit_:
        main([str(word) for word in words])
    out, err = capsys.readouterr()
    return int(exit_.value.code or 0), out, err


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return save_toy(tmp_path / "run", NOISE)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    image = np.zeros((1, 12, 12, 12), np.float32)
    image[:, 3:9, 3:9, 3:9] = np.linspace(400, 800, 6)
    write_volume(Volume(image, np.diag([2.0, 2.0, 2.0, 1.0])), tmp_path / "a.nii.gz", kind="scalar")
    (tmp_path / "cases.csv").write_text("case,split,t1\na,test,a.nii.gz\n")
    return tmp_path / "cases.csv"


def sample(capsys: pytest.CaptureFixture[str], run: Path, out: Path, *words: object) -> tuple[int, str, str]:
    return run_command(capsys, "sample", run, "-o", out, "--device", "cpu", "--allow-module", NOISE, *words)


class TestSample:
    def test_the_folder_is_the_result(self, capsys, run, tmp_path):
        code, out, err = sample(capsys, run, tmp_path / "out", "--count", 3, "--seed", 2, "--temperature", 0.5)
        assert (code, out) == (0, f"{tmp_path / 'out'}\n")
        assert "3/3  samples" in err
        content = json.loads((tmp_path / "out" / "samples.json").read_text())
        assert (content["count"], content["seed"], content["temperature"]) == (3, 2, 0.5)

    @pytest.mark.parametrize(
        "words",
        [("--count", 0), ("--seed", -1), ("--temperature", 0), ("--temperature", "nan"), ("--device", "cuda:99")],
    )
    def test_what_is_out_of_range_exits_2(self, capsys, run, tmp_path, words):
        code, out, err = sample(capsys, run, tmp_path / "out", *words)
        assert (code, out) == (2, "")
        assert "  do: " in err
        assert len(err.splitlines()) <= 3
        assert not (tmp_path / "out").exists()

    def test_a_folder_that_is_not_empty_exits_2(self, capsys, run, tmp_path):
        assert sample(capsys, run, tmp_path / "out", "--count", 1)[0] == 0
        code, _, err = sample(capsys, run, tmp_path / "out", "--count", 1)
        assert code == 2
        assert "--overwrite" in err
        assert sample(capsys, run, tmp_path / "out", "--count", 1, "--overwrite")[0] == 0

    def test_a_model_that_does_not_sample_exits_2(self, capsys, tmp_path):
        run = save_toy(tmp_path / "run", MEANS)
        code, _, err = run_command(
            capsys, "sample", run, "-o", tmp_path / "out", "--device", "cpu", "--allow-module", MEANS
        )
        assert code == 2
        assert len(err.splitlines()) == 3
        assert "can: encode" in err

    @pytest.mark.parametrize("fault", ["nan", "missing", "not allowed"])
    def test_a_model_at_fault_exits_6(self, capsys, tmp_path, fault):
        run = save_toy(tmp_path / "run", NOISE, config={"fails_from": -100.0} if fault == "nan" else {})
        allowed = ["--allow-module", NOISE] if fault != "not allowed" else []
        given = tmp_path / "nothing" if fault == "missing" else run
        code, _, err = run_command(capsys, "sample", given, "-o", tmp_path / "out", "--device", "cpu", *allowed)
        assert code == 6
        assert "error: " in err
        assert not (tmp_path / "out").exists()

    def test_an_output_that_cannot_be_made_exits_7(self, capsys, run, tmp_path):
        (tmp_path / "file").write_text("")
        assert sample(capsys, run, tmp_path / "file" / "out")[0] == 7


class TestLatentEncode:
    def encode(self, capsys, run, table, out, *words):
        given = ("-i", table, "-o", out, "--device", "cpu", "--allow-module", MEANS)
        return run_command(capsys, "latent", "encode", run, *given, *words)

    def test_the_file_is_the_result(self, capsys, table, tmp_path):
        run = save_toy(tmp_path / "run", MEANS)
        code, out, err = self.encode(capsys, run, table, tmp_path / "codes.csv", "--patches", 2, "--split", "test")
        assert (code, out) == (0, f"{tmp_path / 'codes.csv'}\n")
        assert "1/1  cases" in err
        assert len((tmp_path / "codes.csv").read_text().splitlines()) == 3

    @pytest.mark.parametrize("words", [("--patches", 0), ("--seed", -1)])
    def test_what_is_out_of_range_exits_2(self, capsys, table, tmp_path, words):
        code, _, err = self.encode(capsys, save_toy(tmp_path / "run", MEANS), table, tmp_path / "codes.csv", *words)
        assert code == 2
        assert "  do: " in err

    def test_a_case_that_fails_exits_4(self, capsys, table, tmp_path):
        (tmp_path / "a.nii.gz").write_bytes(b"no image")
        assert self.encode(capsys, save_toy(tmp_path / "run", MEANS), table, tmp_path / "codes.csv")[0] == 4

    def test_a_table_that_is_wrong_exits_3(self, capsys, tmp_path):
        (tmp_path / "cases.csv").write_text("case\n")
        run = save_toy(tmp_path / "run", MEANS)
        assert self.encode(capsys, run, tmp_path / "cases.csv", tmp_path / "codes.csv")[0] == 3


class TestCasesFromSamples:
    def test_a_table_to_train_a_segmenter_on(self, capsys, tmp_path):
        run = save_toy(tmp_path / "run", NOISE, inputs=("t1", "mass"), intensity={"mass": {"window": [0, 1]}})
        assert sample(capsys, run, tmp_path / "samples", "--count", 5)[0] == 0
        table = tmp_path / "synthetic.csv"
        code, out, err = run_command(
            capsys, "cases", "from-samples", tmp_path / "samples", "--label", "mass", "-o", table
        )
        assert (code, out) == (0, f"{table}\n")
        assert "spacing of each image, so that of a sample is unknown" in err
        assert f"5 synthetic cases; then run: medgen check {table}" in err
        assert table.read_text().splitlines()[0] == "case,split,t1,mass"

    def test_a_role_without_labels_exits_3(self, capsys, run, tmp_path):
        assert sample(capsys, run, tmp_path / "samples", "--count", 2)[0] == 0
        table = tmp_path / "synthetic.csv"
        code, out, err = run_command(
            capsys, "cases", "from-samples", tmp_path / "samples", "--label", "t1", "-o", table
        )
        assert (code, out, len(err.splitlines())) == (3, "", 3)
        assert not table.exists()
