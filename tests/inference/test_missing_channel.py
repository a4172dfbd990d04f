"""A patient without one of the images: refused by name, unless the model was trained to do without it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from known_classes import Known, KnownConfig, describe_classes, make_segmenter, patient, save_patient

from medgen.cases import Case
from medgen.errors import InputError, UsageError
from medgen.inference.channels import dropped_in_training
from medgen.inference.cohort import predict_cohort
from medgen.inference.model import LoadedModel
from medgen.inference.options import PredictOptions, ReadOptions
from medgen.inference.sources import Image, by_role
from medgen.methods.base import Shape

LESION = patient()["flair"] == 900


def trained(share: float = 0.2, *, weights: str = "0", place: str = "config") -> LoadedModel:
    """A model that was trained without t2 in a share of its patches."""
    config = {"perturbation": {"channel_dropout": {"1": share}}}
    patches = {"recipe": {"patches": {"augmentation": {"channel_dropout": {"t2": share}}}}}
    description = describe_classes() | ({"config": config} if place == "config" else patches)
    description["weights_sha256"] = weights * 64
    return LoadedModel([Known(KnownConfig(), Shape(2, 3)).eval()], description, torch.device("cpu"))


class TestRefused:
    @pytest.mark.parametrize("allowed", [False, True])
    def test_named(self, tmp_path: Path, allowed: bool) -> None:
        images = save_patient(tmp_path)
        del images["t2"]
        model = make_segmenter()
        with pytest.raises(InputError, match="case 'a' has no image for t2") as caught:
            model.predict(Case("a", "test", None, images), allow_missing_channel=allowed)
        assert ("channel dropout of t2" in caught.value.fix) is allowed
        with pytest.raises(UsageError, match="given for: flair; there is none for t2; the model reads: flair, t2"):
            model.predict(images, allow_missing_channel=allowed)
        with pytest.raises(UsageError) as caught:
            model.predict(images, allow_missing_channel=allowed)
        assert caught.value.fix.startswith("give -i t2=FILE")
        assert "--allow-missing-channel" not in caught.value.fix

    def test_of_several_the_fix_says_which_can_be_spared(self) -> None:
        given: dict[str, Image] = {"t2w": "t2w.nii.gz"}
        with pytest.raises(UsageError) as caught:
            by_role(given, ("t2w", "adc|dwi", "hbv"), dropped={"hbv": 0.1})
        assert caught.value.fix == "give -i adc=FILE -i hbv=FILE; --allow-missing-channel does without hbv alone"
        with pytest.raises(UsageError) as caught:
            by_role({**given, "adc": "adc.nii.gz", "t1": "t1.nii.gz"}, ("t2w", "adc|dwi"))
        assert caught.value.fix == "name each once"

    def test_a_model_that_could_says_how(self, tmp_path: Path) -> None:
        images = save_patient(tmp_path)
        del images["t2"]
        for source, error in ((images, UsageError), (Case("a", "test", None, images), InputError)):
            with pytest.raises(error) as caught:
                trained().predict(source)
            assert "--allow-missing-channel" in caught.value.fix
            assert ("-i t2=FILE" in caught.value.fix) is (error is UsageError)

    def test_the_first_is_always_needed(self, tmp_path: Path) -> None:
        images = save_patient(tmp_path)
        del images["flair"]
        with pytest.raises(UsageError, match="none for flair"):
            trained().predict(images, allow_missing_channel=True)

    def test_one_value_throughout(self, tmp_path: Path) -> None:
        images = patient()
        images["t2"][:] = 0
        for model, allowed in ((make_segmenter(), True), (trained(), False)):
            with pytest.raises(InputError, match="'t2' is empty"):
                model.predict(save_patient(tmp_path, images), allow_missing_channel=allowed)


class TestAllowed:
    @pytest.mark.parametrize("place", ["config", "recipe"])
    @pytest.mark.parametrize("empty", [False, True])
    def test_the_channel_is_zero(self, tmp_path: Path, place: str, empty: bool) -> None:
        """With t2 at 0 all of the lesion is core, of which the real t2 makes half a rim."""
        images = patient()
        images["t2"][:] = 7.0
        paths = save_patient(tmp_path, images)
        if not empty:
            del paths["t2"]
        label = trained(place=place).predict(paths, allow_missing_channel=True)
        np.testing.assert_array_equal(label.data[0], LESION)
        assert "t2: no image, the channel is 0 throughout, as in 20% of the training patches" in label.notes
        assert not any("unlike" in note for note in label.notes)

    def test_an_image_that_is_there_is_used(self, tmp_path: Path) -> None:
        images = save_patient(tmp_path)
        with_it = trained().predict(images, allow_missing_channel=True)
        np.testing.assert_array_equal(with_it.data, make_segmenter().predict(images).data)
        assert not any("no image" in note for note in with_it.notes)

    def test_reported_for_the_case(self, tmp_path: Path) -> None:
        images = save_patient(tmp_path / "in")
        whole = Case("whole", "test", None, images)
        part = Case("part", "test", None, {"flair": images["flair"]})
        options = PredictOptions(ReadOptions(allow_missing_channel=True))
        result = predict_cohort(trained(), [whole, part], tmp_path / "out", options)
        assert not result.failed
        report = json.loads((tmp_path / "out" / "prediction.json").read_text())
        assert report["read_options"]["allow_missing_channel"] is True
        assert [any("t2: no image" in note for note in case["notes"]) for case in report["cases"]] == [False, True]

    def test_every_member_of_an_ensemble_must_allow_it(self, tmp_path: Path) -> None:
        images = save_patient(tmp_path)
        del images["t2"]
        both = trained().joined([trained(0.1, weights="1")])
        assert both.dropped == {"t2": 0.1}
        both.predict(images, allow_missing_channel=True)
        one = trained().joined([trained(0.0, weights="1")])
        with pytest.raises(UsageError, match="none for t2"):
            one.predict(images, allow_missing_channel=True)


class TestWhichOnes:
    ROLES = ("t2w", "adc|diffusion", "hbv")

    def dropped(self, table: dict, **preparation: object) -> dict[str, float]:
        description = {
            "config": {"deep": [], "inner": {"channel_dropout": table}},
            "preparation": {"config": preparation},
        }
        return dropped_in_training(description, self.ROLES)

    def test_by_number_or_role(self) -> None:
        assert self.dropped({"1": 0.1, "hbv": 0.3}) == {"adc|diffusion": 0.1, "hbv": 0.3}
        assert self.dropped({"diffusion": 0.1, "2": 0.0, "7": 0.5, "dwi": 0.5}) == {"adc|diffusion": 0.1}

    def test_never_the_first_nor_what_a_residual_needs(self) -> None:
        assert self.dropped({"0": 0.1, "1": 0.1, "2": 0.1}, residual={"hbv": ["adc|diffusion"]}) == {"hbv": 0.1}
