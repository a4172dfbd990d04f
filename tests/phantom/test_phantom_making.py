"""What all phantoms share: numbers that cannot be, and a phantom that is replaced and interrupted."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from medgen.errors import UsageError
from medgen.phantom import make_adaptation_phantom, make_head_phantom, make_prostate_phantom
from medgen.phantom.workers import side_by_side

TABLES = ("cases.csv", "factors.csv", "phantom.json", "cases_randomised.csv")


@dataclass(frozen=True)
class Job:
    out: Path
    number: int


def test_a_phantom_whose_replacement_is_interrupted_is_none(tmp_path):
    def make(job: Job) -> None:
        if job.number:
            raise KeyboardInterrupt

    for name in (*TABLES, "mine.csv"):
        (tmp_path / name).write_text("of the phantom before")
    with pytest.raises(KeyboardInterrupt):
        side_by_side([Job(tmp_path, 0), Job(tmp_path, 1)], make, 1, None)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.csv"]


@pytest.mark.parametrize(
    "make",
    [
        lambda out, **more: make_adaptation_phantom(out, spacing=8, **more),
        lambda out, **more: make_head_phantom(out, subjects=1, spacing=8, **more),
        lambda out, **more: make_prostate_phantom(out, train=1, test=0, **more),
    ],
)
@pytest.mark.parametrize(("numbers", "words"), [({"seed": -1}, "the seed is -1"), ({"workers": 0}, "0 workers")])
def test_a_seed_below_0_and_no_worker_are_refused(tmp_path, make, numbers, words):
    with pytest.raises(UsageError, match=words):
        make(tmp_path / "out", **numbers)
    assert not (tmp_path / "out").exists()
