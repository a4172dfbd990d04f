"""Nearest training patches: which they are, what copies look like, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mean_model import head, save
from test_encoding import SIZE, WINDOW, write_table
from toy_samplers import JUDGE, MEANS, NOISE, save_toy

from medgen.errors import InputError, MedgenError, UsageError
from medgen.inference.generation import draw as draw_samples
from medgen.inference.generation import sample
from medgen.inference.neighbours import find_neighbours, real_patches
from medgen.inference.opened import open_model
from medgen.inference.references import reference_patches
from medgen.inference.sample_writing import Drawing
from medgen.metrics.memorisation import nearer


def flat(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1).astype(float)


def draw(run: Path, out: Path, table: Path, **options) -> dict:
    given = {"device": "cpu", "allow_modules": [NOISE, JUDGE, MEANS], "count": 3, "neighbours": table}
    sample(run, out, **{**given, **options})
    return json.loads((out / "neighbours.json").read_text())


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return save_toy(tmp_path / "run", NOISE, size=SIZE, intensity=WINDOW)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write_table(tmp_path)


class TestFinding:
    training = np.random.default_rng(3).normal(size=(20, 1, 6, 5))

    def test_by_hand(self) -> None:
        """Numbers on a line: 2.2 is 0.2 from 2, then 0.8 from 3 and 1.2 from 1."""
        near = find_neighbours(np.full((1, 1, 1), 2.2), np.arange(5.0).reshape(5, 1, 1), measure=flat)
        assert near.index.tolist() == [[2, 3, 1]]
        np.testing.assert_allclose(near.distance, [[0.2, 0.8, 1.2]])

    def test_a_copy_is_at_distance_0_also_where_it_is_mirrored(self) -> None:
        copies = np.stack([self.training[7], self.training[4, :, ::-1], self.training[9, :, ::-1, ::-1]])
        near = find_neighbours(copies, self.training, flips=[(), (0,), (1,), (0, 1)], measure=flat)
        assert (near.index[:, 0].tolist(), near.flip[:, 0].tolist()) == ([7, 4, 9], [0, 1, 3])
        assert near.distance[:, 0].tolist() == [0, 0, 0]
        assert (near.distance[:, 1] > 1).all()
        unflipped = find_neighbours(copies, self.training, measure=flat)
        assert (unflipped.distance[1:, 0] > 1).all()

    def test_a_copy_is_found_among_images_that_are_nearly_empty(self) -> None:
        """Empty images are 0.01 from each other; the copy is 0.1 from its own, which is 9 from the others."""
        noise = np.random.default_rng(4).normal(size=(90, 40))
        training = np.concatenate([0.001 * noise[:40], noise[40:80]])
        held_out, copy = 0.001 * noise[80:], training[70:71] + 0.02
        near, usual = (find_neighbours(each, training, measure=flat) for each in (copy, held_out))
        assert near.distance[0, 0] > usual.distance[:, 0].min()
        assert near.relative[0] < 0.1 < 0.5 < usual.relative.min()
        assert nearer(near, usual).tolist() == [True]
        assert nearer(usual, usual).tolist() == [False] * 10

    def test_fewer_patches_than_are_asked_for(self) -> None:
        assert find_neighbours(self.training[:2], self.training[:2], measure=flat).index.shape == (2, 2)


class TestFiles:
    def test_a_copied_patient_is_named_and_flagged(
        self, run: Path, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        save(0.7 * head(), table.parent / "c.nii.gz")  # the held-out patient looks like none of the others
        model = open_model(run, "cpu", [NOISE])
        copied = reference_patches(model, table, split="train", count=40)
        number = next(n for n, case in enumerate(copied.cases) if case == "b" and copied.images[n].std() > 0)
        image = torch.from_numpy(copied.images[number].copy())[None]
        monkeypatch.setattr("toy_samplers.noise.Noise.decode", lambda self, code: image)
        content = draw(run, tmp_path / "out", table)
        row = content["samples"][0]
        assert (row["nearest"][0]["case"], row["nearest"][0]["distance"]) == ("b", 0)
        assert row["nearest"][0]["place_mm"] == pytest.approx(copied.places[number].tolist(), abs=1e-3)
        assert content["held_out"]["split"] == "test"
        assert content["held_out"]["least_relative"] > 0
        assert content["expected"] == pytest.approx(min(3, 6 / (content["held_out"]["patches"] + 1)))
        assert [each["nearer_than_any_held_out"] for each in content["samples"]] == [True] * 3
        assert "patients" in content["holds"]
        listed = json.loads((tmp_path / "out" / "samples.json").read_text())["neighbours"]
        assert (listed["list"], listed["picture"], listed["holds"]) == (
            "neighbours.json",
            "neighbours.png",
            content["holds"],
        )

    def test_distances_are_root_mean_squares(self, run: Path, table: Path, tmp_path: Path) -> None:
        """Of the difference to a training patch or to its mirror image, as the recipe of the toy flips x."""
        shown = draw(run, tmp_path / "out", table)["samples"][2]["nearest"]
        model = open_model(run, "cpu", [NOISE])
        training = real_patches(model, table, None).training.images
        assert (training.reshape(len(training), -1).std(axis=1) > 0).all(), "air equals air"
        image = list(draw_samples(model, Drawing(3, 0, 1.0)))[2]
        both = [((image - each) ** 2).mean(axis=(1, 2, 3, 4)) for each in (training, training[:, :, ::-1])]
        expected = np.sort(np.sqrt(np.minimum(*both)))[:3]
        assert [each["distance"] for each in shown] == pytest.approx(expected.tolist(), rel=1e-5)

    def test_a_network_says_what_is_near(self, run: Path, table: Path, tmp_path: Path) -> None:
        network = save_toy(tmp_path / "network", JUDGE, size=SIZE[:2], intensity=WINDOW)
        slices = save_toy(tmp_path / "slices", NOISE, size=SIZE[:2], intensity=WINDOW)
        content = draw(slices, tmp_path / "out", table, features=network, count=7)
        assert content["distance"]["of"] == "features"
        assert content["distance"]["network"]["method"] == JUDGE
        assert content["mirrored_too"] == ["x"]
        assert content["copies"].keys() in ({"statistic", "p"}, {"reason"})

    def test_the_picture_shows_those_nearest_to_a_patient_and_real_patches_for_scale(
        self, run: Path, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list = []
        monkeypatch.setattr("medgen.inference.neighbours.write_neighbour_sheet", lambda *given, **_: seen.extend(given))
        content = draw(run, tmp_path / "out", table, count=15)
        _, rows, scale = seen
        nearest = sorted(content["samples"], key=lambda row: row["relative"])[:12]
        assert [row.captions[0] for row in rows] == [f"sample {n}" for n in sorted(row["sample"] for row in nearest)]
        assert [row.captions[0] for row in scale] == ["held out, nearest", "held out, median"]
        assert {len(row.view.pictures) for row in (*rows, *scale)} == {4}

    def test_without_held_out_patients_nothing_is_flagged(self, run: Path, tmp_path: Path) -> None:
        table = write_table(tmp_path)
        table.write_text(table.read_text().replace(",test,", ",train,"))
        content = draw(run, tmp_path / "out", table)
        assert content["held_out"] is None
        assert "no case of split 'test' or 'val'" in content["copies"]["reason"]
        assert {each["nearer_than_any_held_out"] for each in content["samples"]} == {None}

    def test_few_samples_have_no_test_and_a_reason(self, run: Path, table: Path, tmp_path: Path) -> None:
        assert "reason" in draw(run, tmp_path / "out", table, count=1)["copies"]

    def test_the_samples_are_those_of_a_plain_draw(self, run: Path, table: Path, tmp_path: Path) -> None:
        draw(run, tmp_path / "out", table)
        sample(run, tmp_path / "plain", count=3, device="cpu", allow_modules=[NOISE])
        for path in (tmp_path / "plain").glob("sample_*"):
            assert path.read_bytes() == (tmp_path / "out" / path.name).read_bytes()


class TestRefusals:
    def refused(self, kind: type[MedgenError], said: str, run: Path, table: Path, tmp_path: Path, **options) -> None:
        with pytest.raises(kind, match=said) as caught:
            draw(run, tmp_path / "out", table, **options)
        assert caught.value.fix
        assert not (tmp_path / "out").exists()

    def test_a_table_without_training_cases(self, run: Path, table: Path, tmp_path: Path) -> None:
        table.write_text(table.read_text().replace(",train,", ",test,"))
        self.refused(InputError, "no case has split 'train'", run, table, tmp_path)

    def test_a_table_of_other_roles(self, run: Path, table: Path, tmp_path: Path) -> None:
        table.write_text(table.read_text().replace("t1", "flair", 1))
        self.refused(InputError, "t1", run, table, tmp_path)

    def test_a_network_of_other_images(self, run: Path, table: Path, tmp_path: Path) -> None:
        network = save_toy(tmp_path / "network", JUDGE, size=(4, 6), intensity=WINDOW)
        self.refused(InputError, "the images are 3D", run, table, tmp_path, features=network)

    def test_a_network_without_features(self, run: Path, table: Path, tmp_path: Path) -> None:
        self.refused(UsageError, "cannot compute features", run, table, tmp_path, features=run)

    def test_a_missing_table(self, run: Path, tmp_path: Path) -> None:
        self.refused(InputError, "there is no case table", run, tmp_path / "nothing.csv", tmp_path)


def test_patches_of_a_split_are_bounded(run: Path, table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medgen.inference.neighbours._BYTES", 0)
    real = real_patches(open_model(run, "cpu", [NOISE]), table, None)
    assert (real.split, 0 < len(real.training) <= 64) == ("test", True)
