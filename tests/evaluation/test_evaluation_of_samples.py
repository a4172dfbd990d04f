"""Samples against real images: values back in normalised units, every metric or its reason, and what is refused."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_samplers import JUDGE, NOISE, save_toy

from medgen.cli import main
from medgen.errors import InputError, UsageError
from medgen.evaluation.sample_metrics import GROUPS, Judged, Pictures, judge
from medgen.evaluation.sample_sets import read_samples
from medgen.evaluation.samples import evaluate_samples, left_out, sample_table
from medgen.evaluation.scores import Scores
from medgen.inference.generation import draw, sample
from medgen.inference.opened import open_model
from medgen.inference.sample_writing import Drawing
from medgen.methods.base import Shape
from medgen.methods.catalogue import create
from medgen.training.model_folder import save_model
from medgen.volume import Volume, write_volume

ALLOWED = [JUDGE, NOISE]
WINDOW = {"t1": {"window": [0, 1000]}}
SIZE = (12, 12)


def ball(seed: int, level: float = 400.0) -> np.ndarray:
    """A head of noise in air, (1, 16, 16, 14)."""
    generator = np.random.default_rng(seed)
    axes = np.meshgrid(*[np.arange(side) - (side - 1) / 2 for side in (16, 16, 14)], indexing="ij")
    inside = sum(axis**2 for axis in axes) < 6.5**2
    values = np.where(inside, level + generator.normal(0, 60, inside.shape) + 20 * generator.normal(), 0)
    return values[None].astype(np.float32)


def save(folder: Path, name: str, image: np.ndarray, kind: str = "scalar") -> str:
    folder.mkdir(exist_ok=True)
    write_volume(Volume(image, np.diag([2.0, 2.0, 2.0, 1.0])), folder / f"{name}.nii.gz", kind=kind)
    return f"{name}.nii.gz"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten heads of each of two splits; those of the second scanner are brighter; the upper half is labelled."""
    place = tmp_path_factory.mktemp("cases")
    rows = []
    label = np.zeros((1, 16, 16, 14), np.uint8)
    label[..., 7:] = 3
    upper = save(place, "label", label, "label")
    for number in range(20):
        split, domain = ("train", "test")[number % 2], ("source", "target")[number // 10]
        image = ball(number, 400.0 if domain == "source" else 800.0)
        rows.append([f"p{number:02d}", split, domain, save(place, f"p{number:02d}", image), upper])
    with (place / "cases.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["case", "split", "domain", "t1", "label"], *rows])
    save_toy(place / "gan", JUDGE, size=SIZE, intensity=WINDOW, body_margin=0, config={"level": -0.2})
    sample(place / "gan", place / "samples", count=40, device="cpu", allow_modules=ALLOWED)
    return place


def judged(folder: Path, samples: Path | None = None, **options) -> Scores:
    given = {
        "features": folder / "gan",
        "device": "cpu",
        "allow_modules": ALLOWED,
        "store": folder / "store",
        **options,
    }
    return evaluate_samples(samples or folder / "samples", folder / "cases.csv", **given)


@pytest.fixture(scope="module")
def scores(folder: Path) -> Scores:
    return judged(folder, classes="domain", discriminator=folder / "gan")


class TestValues:
    @pytest.mark.parametrize("size", [(8, 6), (12, 12, 11)])
    @pytest.mark.parametrize("intensity", [{}, WINDOW, {"t1": {"window": [-1000, 1000]}}])
    def test_samples_come_back_in_normalised_units(self, tmp_path: Path, size: tuple, intensity: dict) -> None:
        """Also what lies outside a window, which no training image does; HU are written as whole numbers."""
        run = save_toy(tmp_path / "run", NOISE, size=size, intensity=intensity, config={"level": 1.5, "spread": 0.5})
        folder = sample(run, tmp_path / "samples", count=4, device="cpu", allow_modules=ALLOWED)
        model = open_model(run, "cpu", ALLOWED)
        found = read_samples(folder, model, count=3, seed=0)
        drawn = np.stack(list(draw(model, Drawing(3, 0, 1.0))))
        np.testing.assert_allclose(found.images, drawn, atol=1e-3 if intensity else 1e-6)
        assert drawn.max() > 1
        assert found.patches == model.patches
        assert found.preparation.as_dict()["config"] == model.known.preparation.as_dict()["config"]

    def test_no_number_of_the_training_set_leaves_with_samples(self, folder: Path) -> None:
        content = json.loads((folder / "samples" / "samples.json").read_text())
        assert sorted(content["preparation"]) == ["config", "quiet_air", "roles"]


class TestMetrics:
    def test_every_metric_has_a_number_beside_that_of_real_images(self, scores: Scores) -> None:
        assert list(scores.summary) == [name for names in GROUPS.values() for name in names]
        for name, values in scores.summary.items():
            assert np.isfinite(values["mean"]), name
            assert (values["n"], values["n_real"]) == (40, 40)
            assert np.isfinite(values["real"]) == (not name.startswith("memorisation"))

    def test_smooth_samples_are_farther_away_than_training_images(self, scores: Scores) -> None:
        for name in ("frechet_distance", "kernel_distance", "feature_distance", "mean_l1", "sd_l2"):
            assert scores.summary[name]["mean"] > 2 * abs(scores.summary[name]["real"]), name
        assert scores.summary["memorisation_statistic"]["mean"] > 2

    def test_the_file(self, folder: Path, scores: Scores, tmp_path: Path) -> None:
        content = json.loads(scores.write(tmp_path / "scores.json").read_text())
        assert (content["task"], content["cases"], content["research_use_only"]) == ("samples", [], True)
        assert content["features"]["method"] == content["discriminator"]["method"] == JUDGE
        assert len(content["features"]["weights_sha256"]) == 64
        assert content["samples"]["model"]["method"] == JUDGE
        assert content["samples"]["seed"] == 0
        assert content["classifier"]["classes"] == ["source", "target"]
        assert content["more"]["discriminator"]["layers"]
        assert content["settings"]["cases_sha256"]
        assert "phantoms" not in content
        assert str(folder) not in (tmp_path / "scores.json").read_text()

    def test_a_classifier_of_domains_is_tried_on_held_out_images(self, scores: Scores) -> None:
        """The second scanner is brighter by 400 of 60 noise, which the means over quarters show."""
        assert scores.details["classifier"]["balanced_accuracy"] > 0.8
        assert any("is right for" in note for note in scores.notes)
        assert 1 <= scores.summary["inception_score"]["mean"] <= 2
        assert scores.summary["inception_score"]["real"] > 1.3

    def test_labels_make_two_classes(self, folder: Path) -> None:
        found = judged(folder, classes="label", metrics=["inception"])
        assert found.details["classifier"]["classes"] == ["with label", "without label"]
        assert list(found.summary) == ["inception_score"]

    def test_it_is_the_same_again(self, folder: Path, scores: Scores) -> None:
        again = judged(folder, classes="domain", discriminator=folder / "gan")
        assert repr(again.summary) == repr(scores.summary)


def test_the_inception_score_of_real_images_is_of_those_that_no_classifier_has_learnt_from() -> None:
    """It is sure of the training images alone."""
    images, features = np.zeros((20, 1, 4, 4)), np.zeros((20, 2))
    unsure, sure = np.full((20, 2), 0.5), np.eye(2)[np.arange(20) % 2]
    held_out, training = (Pictures(images, features, (), table) for table in (unsure, sure))
    found = judge(held_out, held_out, training, asked=["inception"], absent={})
    assert found.summary["inception_score"]["real"] == pytest.approx(1)


class TestCopies:
    def test_copies_of_training_images_are_found_and_named(self, folder: Path, tmp_path: Path) -> None:
        """Whole volumes made elsewhere; three of eight are training patients with another name."""
        run = save_toy(tmp_path / "run", JUDGE, size=(16, 16, 14), sampling="centred", intensity=WINDOW, body_margin=0)
        for number in range(8):
            save(tmp_path / "made", f"made{number}", ball(2 * number if number < 3 else 100 + number))
        found = judged(folder, tmp_path / "made", features=run)
        copies = found.details["more"]["memorisation"]["suspicious"]
        assert {(each["sample"], each["case"]) for each in copies} >= {(f"made{n}", f"p{2 * n:02d}") for n in range(3)}
        assert found.details["samples"] == {"volumes": 8, "count": 8}
        assert any("8 volumes made elsewhere" in note for note in found.notes)

    def test_copies_of_mirrored_training_images_are_found_where_the_generator_flips(self) -> None:
        generator = np.random.default_rng(2)
        training, held_out, made = (generator.normal(size=(count, 1, 4, 4)) for count in (30, 10, 10))
        made[6] = training[11, :, ::-1]

        def seen(images: np.ndarray, *mirrored: np.ndarray) -> Pictures:
            return Pictures(images, images.reshape(-1, 16), mirrored=tuple(each.reshape(-1, 16) for each in mirrored))

        for known, copied in ((seen(training), False), (seen(training, training[:, :, ::-1]), True)):
            found = judge(seen(made), seen(held_out), known, asked=["memorisation"], absent={})
            assert ([6, 11] in found.details["memorisation"]["suspicious"]) == copied

    def test_the_flips_of_the_generator_come_with_its_samples(self, folder: Path, tmp_path: Path) -> None:
        """The recipe of the toy flips x."""
        model = open_model(folder / "gan", "cpu", ALLOWED)
        assert json.loads((folder / "samples" / "samples.json").read_text())["flips"] == ["x"]
        assert read_samples(folder / "samples", model, count=None, seed=0).flips == ("x",)
        from medgen.evaluation import samples as module

        known = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "judge", lambda made, real, training, **_: known.append(training) or Judged())
            judged(folder, count=6)
        assert [len(each) for each in known[0].mirrored] == [len(known[0])]

    def test_real_images_in_place_of_samples_look_real(self, folder: Path, tmp_path: Path) -> None:
        for number in range(20):
            save(tmp_path / "made", f"m{number}_t1", ball(500 + number, 400.0 if number < 10 else 800.0))
        found = judged(folder, tmp_path / "made", count=60)
        assert found.summary["precision"]["mean"] > 0.8
        assert found.summary["coverage"]["mean"] > 0.8
        assert found.summary["memorisation_p"]["mean"] > 1e-3


class TestTooFew:
    def test_what_few_samples_do_not_support_has_its_reason(self, folder: Path, tmp_path: Path) -> None:
        found = judged(folder, count=4)
        content = json.loads(found.write(tmp_path / "scores.json").read_text())
        frechet = content["summary"]["frechet_distance"]
        assert (frechet["mean"], frechet["n"], frechet["n_not_applicable"]) == (None, 0, 4)
        assert "needs at least 5 images of each kind, got 4" in frechet["reason"]
        assert "no classifier is named" in content["summary"]["inception_score"]["reason"]
        assert content["summary"]["kernel_distance"]["mean"] is not None
        rows = {row[0]: row for row in sample_table(found)}
        assert rows["frechet_distance"][1] == "–"
        nothing = {name for name, values in found.summary.items() if np.isnan(values["mean"])}
        assert {name for names in left_out(found).values() for name in names} == nothing

    def test_a_metric_that_is_asked_for_is_not_left_out(self, folder: Path) -> None:
        with pytest.raises(InputError, match="needs at least 5 images"):
            judged(folder, count=4, metrics=["frechet"])
        with pytest.raises(InputError, match="no discriminator is named"):
            judged(folder, metrics=["discriminator"])

    def test_real_images_are_not_counted_twice(self, folder: Path, tmp_path: Path) -> None:
        """Of whole volumes each case has one patch, whatever the number of samples."""
        run = save_toy(tmp_path / "run", JUDGE, size=(16, 16, 14), sampling="centred", intensity=WINDOW)
        made = sample(run, tmp_path / "made", count=12, device="cpu", allow_modules=ALLOWED)
        found = judged(folder, made, features=run)
        assert found.summary["precision"]["n_real"] == 10
        assert any("have 10 different patches, not 12" in note for note in found.notes)


class TestRefusals:
    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"split": "val"}, "no case has split 'val'"),
            ({"train_split": "test"}, "nothing is held out"),
            ({"count": 0}, "--count must be at least 1"),
            ({"count": 41}, "--count is 41, and there are 40 samples"),
            ({"metrics": ["fid"]}, "there is no metric 'fid'"),
            ({"classes": "mask"}, "some cases have no label map 'mask'"),
            ({"classes": "domain", "classifier": "gan"}, "two ways to one score"),
            ({"classifier": "gan"}, "the classifier is no segmentation"),
            ({"layer": 9}, "no layer 9"),
        ],
    )
    def test_options(self, folder: Path, options: dict, said: str) -> None:
        if "classifier" in options:
            options = options | {"classifier": folder / options["classifier"]}
        with pytest.raises((UsageError, InputError)) as caught:
            judged(folder, **options)
        assert said in caught.value.what
        assert caught.value.fix

    def test_one_domain_makes_no_classes(self, folder: Path) -> None:
        text = (folder / "cases.csv").read_text().replace("target", "source")
        (folder / "one.csv").write_text(text)
        with pytest.raises(InputError, match="all training patches are of one class of 'domain': source"):
            evaluate_samples(
                folder / "samples",
                folder / "one.csv",
                features=folder / "gan",
                classes="domain",
                device="cpu",
                allow_modules=ALLOWED,
                store=folder / "store",
            )

    @pytest.mark.parametrize(
        ("classes", "size", "said"),
        [
            (["lesion"], (16, 16, 16), "knows one class ('lesion'), and an inception score needs at least 2"),
            (["core", "oedema"], (16, 16, 16), "the images are 2D, and the classifier reads 3D images"),
        ],
    )
    def test_a_classifier_of_other_classes(
        self, folder: Path, tmp_path: Path, classes: list, size: tuple, said: str
    ) -> None:
        save_segmenter(tmp_path / "run", classes, size)
        with pytest.raises((UsageError, InputError)) as caught:
            judged(folder, classifier=tmp_path / "run")
        assert said in caught.value.what

    def test_features_of_another_kind_of_image(self, folder: Path, tmp_path: Path) -> None:
        run = save_toy(tmp_path / "run", JUDGE, size=(8, 8, 8), intensity=WINDOW)
        with pytest.raises(InputError, match="the images are 2D, and the feature network reads 3D images"):
            judged(folder, features=run)

    def test_what_is_no_folder_of_samples(self, folder: Path, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="there is no folder of samples"):
            judged(folder, tmp_path / "none")
        (tmp_path / "empty").mkdir()
        with pytest.raises(InputError, match="holds no samples") as caught:
            judged(folder, tmp_path / "empty")
        assert "<name>_t1.nii.gz" in caught.value.fix
        for content, said in (
            ("[", "damaged"),
            ("{}", "do not say how"),
            ('{"preparation": {}, "patches": 1}', "damaged"),
        ):
            (tmp_path / "empty" / "samples.json").write_text(content)
            with pytest.raises((InputError, UsageError), match=said):
                judged(folder, tmp_path / "empty")

    @pytest.mark.parametrize("change", [{"size": None}, {"size": 5}, {"roles": {}}, {"files": []}, {"roles": []}])
    def test_a_list_that_is_damaged(self, folder: Path, tmp_path: Path, change: dict) -> None:
        run = save_toy(tmp_path / "run", JUDGE, size=(8, 8, 8), intensity=WINDOW)
        made = sample(run, tmp_path / "made", count=2, device="cpu", allow_modules=ALLOWED)
        content = json.loads((made / "samples.json").read_text()) | change
        (made / "samples.json").write_text(json.dumps(content))
        with pytest.raises(InputError, match="list of samples is damaged"):
            judged(folder, made, features=run)

    def test_a_list_that_leads_out_of_its_folder(self, folder: Path, tmp_path: Path) -> None:
        run = save_toy(tmp_path / "run", JUDGE, size=(8, 8, 8), intensity=WINDOW)
        made = sample(run, tmp_path / "made", count=2, device="cpu", allow_modules=ALLOWED)
        content = json.loads((made / "samples.json").read_text())
        content["files"][1] = {"t1": "../p00.nii.gz"}
        (made / "samples.json").write_text(json.dumps(content))
        with pytest.raises(InputError, match="which is no file of the folder"):
            judged(folder, made, features=run)


def save_segmenter(run: Path, classes: list[str], size: tuple[int, ...]) -> Path:
    torch.manual_seed(0)
    made = create("segmentation", {"width": 0.25}, Shape(1, 1 + len(classes), size))
    preparation = {
        "roles": {"inputs": ["t1"], "labels": "label", "classes": {name: [n] for n, name in enumerate(classes, 1)}},
        "config": {"spacing": None, "intensity": WINDOW},
    }
    description = {
        "method": "segmentation",
        "task": "segmentation",
        "classes": classes,
        "preparation": preparation,
        "inference": {},
        "patches": list(size),
    }
    save_model(run / "model", [made], description)
    return run


def test_a_segmentation_is_classifier_and_features(folder: Path, tmp_path: Path) -> None:
    """Class probabilities of a segmentation of two classes, as means over the image, sum to 1."""
    run = save_segmenter(tmp_path / "run", ["core", "oedema"], (16, 16, 16))
    gan = save_toy(tmp_path / "gan", JUDGE, size=(16, 16, 16), intensity=WINDOW)
    made = sample(gan, tmp_path / "made", count=8, device="cpu", allow_modules=ALLOWED)
    found = judged(folder, made, features=run, classifier=run)
    assert found.details["classifier"]["classes"] == ["background", "core", "oedema"]
    assert 1 <= found.summary["inception_score"]["mean"] < 1.5
    assert found.details["features"]["features"] == 32
    assert any("the samples name no classes" in note for note in found.notes)
    content = json.loads((made / "samples.json").read_text())
    content["preparation"]["roles"] |= {"labels": "label", "classes": {"core": [1], "node": [2]}}
    (made / "samples.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="the classifier knows core, oedema, and the samples have core, node"):
        judged(folder, made, features=run, classifier=run)


def command(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(["evaluate", "samples", *[str(word) for word in words], "--device", "cpu", "--allow-module", JUDGE])
    out, err = capsys.readouterr()
    return int(caught.value.code or 0), out, err


def test_the_command(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = (folder / "samples", folder / "cases.csv", "--features", folder / "gan", "--store", folder / "store")
    code, out, err = command(capsys, *base, "-o", tmp_path / "s.json")
    assert code == 0
    lines = out.splitlines()
    assert lines[0].split("\t")[:4] == ["metric", "samples", "95 % interval", "real images"]
    assert lines[-1] == str(tmp_path / "s.json")
    assert "left out inception_score: no classifier is named" in err
    code, out, err = command(capsys, *base, "-o", tmp_path / "t.json", "--split", "val")
    assert (code, out) == (3, "")
    assert len(err.splitlines()[-3:]) == 3
    assert "  do: " in err
    assert not (tmp_path / "t.json").exists()
    assert command(capsys, *base, "-o", tmp_path / "t.json", "--metric", "fid")[0] == 2
