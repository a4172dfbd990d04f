"""A model for thick slices reads axial ones: an image that is stacked another way is refused before the network."""

from pathlib import Path

import numpy as np
import pytest
import torch
from known_classes import Known, KnownConfig, describe_classes, make_segmenter, patient, save_patient

from medgen.cases import Case
from medgen.errors import InputError
from medgen.inference.cohort import predict_cohort
from medgen.inference.model import LoadedModel
from medgen.inference.options import ReadOptions
from medgen.inference.reading import require_axial
from medgen.methods.base import Shape, Window
from medgen.methods.catalogue import create
from medgen.volume import Volume


class Thick(Known):
    @property
    def window(self) -> Window:
        return Window(margin=2, minimum=(5, 5, 1))


def thick() -> LoadedModel:
    stage = Thick(KnownConfig(), Shape(2, 3)).eval()
    return LoadedModel([stage], describe_classes(), torch.device("cpu"))


def oriented(spacing: tuple[float, float, float], order: tuple[int, int, int]) -> np.ndarray:
    """Voxel edges in mm along the patient's X, Y, Z, stored in another order of axes, the first one flipped."""
    affine = np.eye(4)
    affine[:3, :3] = np.diag(spacing)[:, order] * [-1, 1, 1]
    return affine


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
@pytest.mark.parametrize(
    ("spacing", "message"),
    [
        ((3.6, 0.5, 0.5), r"is sagittal: its slices are 3\.6 mm thick along X"),
        ((0.5, 3.0, 0.4), r"is coronal: its slices are 3 mm thick along Y"),
        ((0.5, 0.5, 3.0), ""),
        ((1.5, 1.0, 1.0), ""),  # not clearly thicker
        ((3.0, 0.5, 3.0), ""),  # nor is one direction that of the slices
    ],
)
def test_the_direction_is_that_of_the_patient(spacing, message, order) -> None:
    volume = Volume(np.zeros((1, 4, 5, 6), np.float32), oriented(spacing, order))
    if not message:
        require_axial(volume, ReadOptions())
        return
    with pytest.raises(InputError, match=message) as caught:
        require_axial(volume, ReadOptions())
    assert "axial series" in caught.value.fix


def test_the_file_is_named_and_the_cohort_goes_on(tmp_path: Path) -> None:
    axial = save_patient(tmp_path / "a", affine=oriented((1.0, 1.0, 3.0), (0, 1, 2)))
    sagittal = save_patient(tmp_path / "s", affine=oriented((3.0, 1.0, 1.0), (0, 1, 2)))
    assert thick().predict(axial).data.any()
    with pytest.raises(InputError, match="is sagittal") as caught:
        thick().predict(sagittal)
    assert "flair.nii.gz" in str(caught.value.where)
    cases = [Case("s", "test", None, sagittal), Case("a", "test", None, axial)]
    result = predict_cohort(thick(), cases, tmp_path / "out")
    assert [case.status for case in result.cases] == ["failed", "done"]
    assert make_segmenter().predict(sagittal).data.any()  # thin slices have no direction


def test_further_inputs_may_lie_as_they_like(tmp_path: Path) -> None:
    """They are resampled onto the first."""
    images = save_patient(tmp_path, affine=oriented((1.0, 1.0, 3.0), (0, 1, 2)))
    other = oriented((3.0, 1.0, 1.0), (0, 1, 2))
    images["t2"] = save_patient(tmp_path / "other", {"t2": patient((8, 23, 51))["t2"]}, affine=other)["t2"]
    assert any("t2" in note for note in thick().predict(images).notes)


@pytest.mark.parametrize(("slices", "reads"), [("thin", False), ("thick", True), ("thicker", True), ("apart", True)])
def test_which_networks_read_slices(slices: str, reads: bool) -> None:
    config = {"network": "unet", "slices": slices, "width": 0.1}
    stage = create("segmentation", config, Shape(2, 3)).eval()
    assert LoadedModel([stage], describe_classes(), torch.device("cpu")).reads_slices is reads
