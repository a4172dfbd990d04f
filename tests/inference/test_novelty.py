"""The novelty score: its parts by hand, what is stored, and what is refused."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from mean_model import head, save
from toy_samplers import LIKELY, MEANS, NOISE, save_toy

from medgen.errors import CasesFailed, InputError, ModelError, PathError, UsageError
from medgen.inference.novelty import load_novelty, novelty_file
from medgen.inference.novelty_fitting import fit_novelty, novelty_of
from medgen.inference.oddness import CaseScores, PatchScores, score_patch
from medgen.inference.opened import Opened, open_model
from medgen.inference.placed_patches import Places
from medgen.metrics.complexity import compressed_bits
from medgen.preparation import Preparation

SIZE = (4, 6, 2)
WINDOW = {"t1": {"window": [0, 1000]}}


def write_table(folder: Path, train: int = 3, val: int = 4) -> Path:
    """Heads of 500 and a bit more each."""
    rows = ["case,split,t1"]
    for number in range(train + val):
        save(head(value=500.0 + 20 * (number % 4)), folder / f"{number}.nii.gz")
        rows.append(f"secret{number},{'train' if number < train else 'val'},{number}.nii.gz")
    (folder / "cases.csv").write_text("\n".join(rows) + "\n")
    return folder / "cases.csv"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write_table(tmp_path)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return save_toy(tmp_path / "run", LIKELY, size=SIZE, intensity=WINDOW)


def fit(run: Path, table: Path, **options) -> Path:
    return fit_novelty(run, table, device="cpu", allow_modules=[LIKELY, MEANS, NOISE], **options)


def opened(run: Path) -> Opened:
    return open_model(run, "cpu", [LIKELY, MEANS, NOISE])


def case(log_likelihood: float, error: float = 1.0, code: float = 0.0, bits: float = 2.0) -> CaseScores:
    """One patch of 10 voxels."""
    return CaseScores("", (PatchScores(log_likelihood, bits, error, np.array([code])),), 10)


class TestScores:
    def test_of_a_patch_by_hand(self, run: Path) -> None:
        """Half of the voxels are 0.5, half 1.5: mean 1, error 0.25; -log p = log(2 pi) / 2 + (0.25 + 2.25) / 4."""
        patch = np.full((1, *SIZE), 0.5, np.float32)
        patch[0, :2] = 1.5
        found = score_patch(opened(run), patch)
        nats = 48 * (0.5 * math.log(2 * math.pi) + 0.625)
        assert found.log_likelihood == pytest.approx(-nats, rel=1e-6)
        assert found.error == pytest.approx(0.25)
        assert found.code == pytest.approx([1.0])
        assert found.bits == compressed_bits(patch)
        scores = CaseScores("", (found,), 48).plain()
        assert scores["likelihood"] == pytest.approx(nats / 48)
        # 256 levels of 1/32: a voxel of density p has the probability p / 32
        assert scores["complexity"] == pytest.approx(nats / 48 / math.log(2) + 5 - found.bits)

    def test_the_same_at_every_call(self, run: Path) -> None:
        patch = np.random.default_rng(0).normal(size=(1, *SIZE)).astype(np.float32)
        first, second = (score_patch(opened(run), patch) for _ in range(2))
        assert first[:3] == second[:3]
        assert first.code == second.code

    def test_of_a_long_code_the_mean_square_alone(self, tmp_path: Path) -> None:
        """300 numbers of 0.5, 1, 1.5, ...: mean square 0.25 x (301 x 601) / 6."""
        run = save_toy(tmp_path / "run", MEANS, size=(4, 4, 4), config={"length": 300})
        found = score_patch(opened(run), np.full((1, 4, 4, 4), 0.5, np.float32))
        assert found.code == pytest.approx([0.25 * 301 * 601 / 6])
        assert found.error is None  # a code longer than the image reconstructs everything
        assert found.log_likelihood is None

    @pytest.mark.parametrize("shape", [(1, 4, 6), (2, *SIZE), (1, 4, 6, 3)])
    def test_another_shape(self, run: Path, shape: tuple[int, ...]) -> None:
        with pytest.raises(UsageError, match=r"trained on 1 x 4 x 6 x 2") as caught:
            score_patch(opened(run), np.zeros(shape, np.float32))
        assert caught.value.fix

    def test_not_finite(self, tmp_path: Path) -> None:
        run = save_toy(tmp_path / "run", LIKELY, size=SIZE)
        with pytest.raises(ModelError, match="not finite"):
            score_patch(opened(run), np.full((1, *SIZE), np.inf, np.float32).clip(max=3e38))


class TestJudgement:
    def reference(self):
        """Likelihoods -1, -2, -3, -4 a voxel in validation; training cases vary less."""
        held_out = [case(-10.0 * n) for n in (1, 2, 3, 4)]
        return novelty_of([case(-10.0, code=0.1 * n) for n in range(3)], held_out, Places(1, 0), ORIGIN)

    def test_by_hand(self) -> None:
        """Mean 2.5, sd sqrt(5 / 3): 5 nats a voxel are 1.94 of it; none of four held-out cases has as much: 1 in 5."""
        judged = self.reference().judge(case(-50.0))
        assert judged.scores["likelihood"] == pytest.approx(5.0)
        assert judged.deviations["likelihood"] == pytest.approx(2.5 / math.sqrt(5 / 3))
        assert judged.tails["likelihood"] == pytest.approx(1 / 5)
        assert self.reference().judge(case(-30.0)).tails["likelihood"] == pytest.approx(3 / 5)

    def test_too_likely_is_odd_as_well(self) -> None:
        found = self.reference()
        assert found.judge(case(50.0)).scores["combined"] == pytest.approx(7.5 / math.sqrt(5 / 3))
        assert found.judge(case(50.0)).tails["likelihood"] == 1.0  # of one side alone

    def test_the_limit(self) -> None:
        """Of four cases and four scores: t(3) at 1 - 0.01 / 8 is 9.4, times sqrt(1.25)."""
        from scipy.stats import t

        found = self.reference()
        assert found.limit == pytest.approx(t.ppf(1 - 0.01 / 8, 3) * math.sqrt(1.25))
        assert found.warning(found.judge(case(-20.0)), ["t1"], "vae") == ""
        text = found.warning(found.judge(case(-500.0)), ["t1"], "vae")
        assert "the image given for 't1' is unlike" in text
        assert "likelihood +36.8" in text
        assert f"at most {found.limit:.1f} expected" in text

    def test_each_validation_case_is_judged_by_the_others(self) -> None:
        """Of 1, 2, 3, 4 the last is (4 - 2) / 1 from the others; codes of training cases give no larger spread."""
        assert self.reference().combined[-1] == pytest.approx(2.0)

    def test_distance_of_codes(self) -> None:
        """Training codes of variance v: of a code c from their mean, c^2 / v."""
        training = [case(-1.0, code=each) for each in (-1.0, 1.0, -1.0, 1.0)]
        found = novelty_of(training, [case(-1.0 * n, code=1.0) for n in (1, 2, 3)], Places(1, 0), ORIGIN)
        assert found.judge(case(-2.0, code=3.0)).scores["latent"] == pytest.approx(9.0, rel=1e-3)


ORIGIN = {"weights_sha256": "0", "cases_sha256": "1"}


class TestFit:
    def test_stored_and_read_again(self, run: Path, table: Path) -> None:
        path = fit(run, table, patches=3)
        assert path == run / "model" / "novelty.json"
        found = load_novelty(opened(run))
        assert (found.patches, found.training_cases, len(found.combined)) == (3, 3, 4)
        assert set(found.scores) == {"likelihood", "complexity", "reconstruction", "latent"}
        assert found.model_dump(mode="json") == json.loads(path.read_text())
        assert fit(run / "model", table, patches=3, overwrite=True) == path

    def test_again_gives_the_same(self, run: Path, table: Path) -> None:
        first = fit(run, table, patches=2).read_text()
        assert fit(run, table, patches=2, overwrite=True).read_text() == first

    def test_no_name_of_a_case(self, run: Path, table: Path) -> None:
        assert "secret" not in fit(run, table, patches=2).read_text()

    def test_only_inputs_are_opened(self, tmp_path: Path) -> None:
        table = write_table(tmp_path)
        lines = table.read_text().splitlines()
        table.write_text("\n".join([f"{lines[0]},mask,label", *(f"{line},gone.nii,gone.nii" for line in lines[1:])]))
        run = save_toy(tmp_path / "masked", LIKELY, size=SIZE, intensity=WINDOW, mask="mask")
        assert fit(run, table, patches=2).is_file()

    def test_an_image_unlike_those_of_the_training_is_told(self, run: Path, table: Path, caplog, monkeypatch) -> None:
        monkeypatch.setattr(Preparation, "unlike_training", lambda self, prepared: ("it looks unlike any",))
        fit(run, table, patches=1)
        assert "case secret6: it looks unlike any" in caplog.messages

    @pytest.mark.parametrize(
        ("train", "val", "missing"), [(3, 0, "no cases of split 'val'"), (2, 3, "2 cases of split")]
    )
    def test_too_few_cases(self, run: Path, tmp_path: Path, train: int, val: int, missing: str) -> None:
        with pytest.raises(InputError, match=missing) as caught:
            fit(run, write_table(tmp_path, train, val))
        assert caught.value.fix

    def test_a_broken_case_writes_nothing(self, run: Path, table: Path) -> None:
        (table.parent / "5.nii.gz").write_bytes(b"")
        with pytest.raises(CasesFailed, match="1 of 7 cases failed: secret5"):
            fit(run, table, patches=1)
        assert not novelty_file(run).exists()

    def test_cases_of_the_training_are_not_held_out(self, run: Path, table: Path) -> None:
        (run / "cases.json").write_text(json.dumps({"secret4": ["train", None, "0"]}))
        with pytest.raises(InputError, match="trained on secret4"):
            fit(run, table)

    def test_a_folder_in_the_way_is_found_before_the_work(self, run: Path, table: Path) -> None:
        novelty_file(run).mkdir()
        with pytest.raises(PathError, match="this is a folder"):
            fit(run, table, overwrite=True)

    def test_what_is_there_stays(self, run: Path, table: Path) -> None:
        novelty_file(run).write_text("kept")
        with pytest.raises(UsageError, match="already"):
            fit(run, table)
        assert novelty_file(run).read_text() == "kept"

    def test_neither_likelihood_nor_codes(self, table: Path, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="cannot tell how usual"):
            fit(save_toy(tmp_path / "noise", NOISE, size=SIZE, intensity=WINDOW), table)

    @pytest.mark.parametrize("options", [{"patches": 0}, {"seed": -1}, {"seed": 2**64}])
    def test_out_of_range(self, run: Path, table: Path, options: dict) -> None:
        with pytest.raises(UsageError, match="must be between"):
            fit(run, table, **options)


class TestLoad:
    def test_not_fitted(self, run: Path) -> None:
        with pytest.raises(UsageError, match="no novelty score") as caught:
            load_novelty(opened(run))
        assert "medgen novelty fit" in caught.value.fix

    def test_other_weights(self, run: Path, table: Path, tmp_path: Path) -> None:
        path = fit(run, table, patches=1)
        other = save_toy(tmp_path / "other", LIKELY, size=SIZE, intensity=WINDOW, config={"scale": 2.0})
        novelty_file(other).write_bytes(path.read_bytes())
        with pytest.raises(ModelError, match="fitted to other weights") as caught:
            load_novelty(opened(other))
        assert "--overwrite" in caught.value.fix

    @pytest.mark.parametrize("key", ["limit", "scores", "weights_sha256", "codes"])
    def test_damaged(self, run: Path, table: Path, key: str) -> None:
        path = fit(run, table, patches=1)
        content = json.loads(path.read_text())
        path.write_text(json.dumps({**content, key: {"": 0}}))
        with pytest.raises(ModelError, match="damaged"):
            load_novelty(opened(run))
        path.write_text(path.read_text()[:100])
        with pytest.raises(ModelError, match="damaged"):
            load_novelty(opened(run))

    @pytest.mark.parametrize(
        ("place", "value"),
        [
            (("scores", "latent"), None),
            (("codes", "mean"), []),
            (("codes", "whitening"), [[]]),
            (("codes",), None),
            (("patches",), 0),
            (("seed",), -1),
            (("combined",), []),
            (("limit",), -1.0),
            (("scores", "latent", "values"), []),
            (("scores", "latent", "spread"), 0.0),
        ],
    )
    def test_wrong_content(self, run: Path, table: Path, place: tuple[str, ...], value: object) -> None:
        path = fit(run, table, patches=1)
        content = json.loads(path.read_text())
        part = content
        for key in place[:-1]:
            part = part[key]
        part[place[-1]] = value
        if place == ("scores", "latent"):
            del part["latent"]
        path.write_text(json.dumps(content))
        with pytest.raises(ModelError, match="damaged") as caught:
            load_novelty(opened(run))
        assert caught.value.where == path
