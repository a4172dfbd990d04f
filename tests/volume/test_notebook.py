"""What a notebook shows: facts and slices, in their place, and no voxel as text."""

import base64
import gzip
import io
import sys
from html.parser import HTMLParser

import nibabel as nib
import numpy as np
import pytest
import tiny
from PIL import Image

from medgen.errors import UsageError
from medgen.evaluation.scores import Scores
from medgen.inference.loading import load_model
from medgen.run.experiment import train
from medgen.volume import Volume
from medgen.volume.notebook import three_planes
from medgen.volume.viewing import packed


class Cells(HTMLParser):
    """Texts of the cells, and the pictures."""

    def __init__(self, text):
        super().__init__()
        self.cells, self.pictures, self._open = [], [], []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag, attrs):
        if tag == "img":
            packed = dict(attrs)["src"].removeprefix("data:image/png;base64,")
            self.pictures.append(np.asarray(Image.open(io.BytesIO(base64.b64decode(packed)))))
        else:
            self._open.append(tag)
            if tag in ("td", "th"):
                self.cells.append("")

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] in ("td", "th"):
            self.cells[-1] += data


def test_a_volume_shows_facts_and_three_planes():
    volume = Volume(
        np.random.default_rng(0).normal(size=(1, 10, 20, 30)), np.diag([2.0, 2, 1, 1]), source="/a/b/t1.nii.gz"
    )
    shown = Cells(volume._repr_html_())
    assert shown.cells[1::2] == ["10 x 20 x 30", "2 x 2 x 1 mm", "RAS", "float64", "t1.nii.gz"]
    (picture,) = shown.pictures
    # sagittal 40 x 30 mm, coronal 20 x 30, axial 20 x 40, all at 192 pixels for 40 mm
    assert picture.shape == (192, 192 + 96 + 96)
    assert "/a/b" not in volume._repr_html_()
    assert repr(volume) == "Volume(10 x 20 x 30, 2 x 2 x 1 mm, RAS, float64, t1.nii.gz)"


def test_right_front_and_top_are_where_they_are_whatever_the_order_of_the_axes():
    data = np.zeros((20, 20, 20))
    data[15:, :, :] = 1.0  # the patient's right half, in R
    data[:, 15:, :] += 2.0  # front
    data[:, :, 15:] += 4.0  # top
    straight = Volume(data[None], np.eye(4))
    affine = np.array([[0, 0, -1.0, 19], [1, 0, 0, 0], [0, -1, 0, 19], [0, 0, 0, 1]])  # stored as A, I, L
    turned = Volume(data.transpose(1, 2, 0)[None, :, ::-1, ::-1], affine)
    first, second = (Cells(each._repr_html_()).pictures[0] for each in (straight, turned))
    assert np.array_equal(first, second)
    sagittal, coronal, axial = (first[:, start : start + 192].astype(int) for start in (0, 192, 384))
    assert axial[:40].mean() > axial[-40:].mean()  # front is up
    assert axial[:, -40:].mean() > axial[:, :40].mean()  # right is right
    assert coronal[:40].mean() > coronal[-40:].mean()  # top is up
    assert sagittal[:, -40:].mean() > sagittal[:, :40].mean()  # front is right


@pytest.mark.parametrize("data", [np.zeros((4, 4, 4)), np.full((4, 4, 4), np.nan), np.ones((4, 4, 4), np.uint8)])
def test_what_has_no_contrast_is_shown_too(data):
    assert three_planes(data, (1, 1, 1)).startswith("<img")


def test_a_role_or_a_note_cannot_be_markup():
    volume = Volume(np.zeros((1, 2, 2, 2)), np.eye(4), notes=("<script>alert(1)</script>",))
    assert "<script>" not in volume._repr_html_()


def test_a_model_says_what_it_is(tmp_path):
    recipe = {**tiny.recipe(schedule={"steps": 1}), "method": "supervised"}
    recipe["config"] = {"generator": "unet", "width": 0.125, "context": "none"}
    run = train(recipe, tiny.write_cases(tmp_path, train=1, val=0, test=0), tmp_path / "run", device="cpu")
    model = load_model(run, device="cpu")
    cells = Cells(model._repr_html_()).cells
    facts = dict(zip(cells[::2], cells[1::2], strict=True))
    assert (facts["method"], facts["reads"], facts["makes"]) == ("supervised", "t1", "ct")
    assert facts["use"] == "research only, not for clinical use"
    assert repr(model).startswith("LoadedModel(method: supervised; reads: t1; makes: ct")


def test_scores_show_their_table():
    summary = {"mae": {"mean": 61.2, "sd": 3.0, "ci95": [58.0, 64.0], "n": 9, "n_failed": 1, "n_infinite": 0}}
    scores = Scores("synthesis", (), summary, failed=({"case": "p1", "reason": "no file"},), notes=("a note",))
    cells = Cells(scores._repr_html_()).cells
    assert cells[:6] == ["metric", "mean", "sd", "95 % interval", "n", "failed"]
    assert cells[6:12] == ["mae (HU)", "61.2", "3.0", "58.0 to 64.0", "9", "1"]
    assert cells[12:] == ["a note", "p1 has no score: no file"]


def test_a_viewer_holds_the_volume_and_its_overlays():
    ipyniivue = pytest.importorskip("ipyniivue")
    data = np.arange(60, dtype=np.float32).reshape(1, 3, 4, 5)
    scan, labels = Volume(data, np.diag([1, 2, 3, 1.0])), Volume(data > 30, np.eye(4))
    widget = scan.view(labels, scan, opacity=0.3)
    assert isinstance(widget, ipyniivue.NiiVue)
    bottom, *over = widget.volumes
    assert [(layer.colormap, layer.opacity) for layer in over] == [("actc", 0.3), ("warm", 0.3)]
    assert bottom.colormap == "gray"
    with pytest.raises(UsageError, match="opacity"):
        scan.view(opacity=2)


def test_what_a_viewer_gets_is_the_volume():
    data = np.linspace(-5, 5, 60, dtype=np.float32).reshape(1, 3, 4, 5)
    image = nib.Nifti1Image.from_bytes(gzip.decompress(packed(data[0], np.diag([1, 2, 3, 1.0]))))
    np.testing.assert_array_equal(image.get_fdata(dtype=np.float32), data[0])
    np.testing.assert_array_equal(image.affine, np.diag([1, 2, 3, 1.0]))


def test_without_the_package_a_viewer_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ipyniivue", None)
    with pytest.raises(UsageError, match="ipyniivue"):
        Volume(np.zeros((1, 2, 2, 2), np.float32), np.eye(4)).view()
