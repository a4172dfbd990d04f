"""The cascade over several processes: every context is written, whoever looks first."""

from types import SimpleNamespace

import numpy as np
import pytest

from medgen.run import cascade
from medgen.run.session import Part

CASES = tuple(SimpleNamespace(name=f"case{n}", patient=None) for n in range(5))


class Together:
    """One of two processes; ``others`` is what the other one answers."""

    def __init__(self, rank, others=True):
        self.rank, self.world, self.others, self.asked = rank, 2, others, []

    def everywhere(self, flag):
        self.asked.append(flag)
        return flag and self.others

    def barrier(self):
        pass


def session(folder, engine):
    return SimpleNamespace(engine=engine, progress=None, recipe=None, folder=folder)


@pytest.fixture
def written(monkeypatch):
    """The cases that were estimated, in order."""
    names = []

    def estimate(network, case, *_):
        names.append(case.name)
        return np.zeros((1, 2, 2, 2), np.float32)

    monkeypatch.setattr(cascade, "estimate", estimate)
    return names


def test_a_process_that_is_late_leaves_out_no_case(tmp_path, written):
    for rank in (0, 1):  # the second one looks at the disk when the first has written all of its share
        cascade._write_estimates(session(tmp_path, Together(rank)), None, CASES, None, tmp_path)
    assert sorted(written) == [case.name for case in CASES]
    assert sorted(path.stem for path in tmp_path.glob("*.npy")) == [case.name for case in CASES]


def test_what_is_there_is_not_written_again(tmp_path, written):
    (tmp_path / "case2.npy").write_bytes(b"there")
    cascade._write_estimates(session(tmp_path, Together(0)), None, CASES, None, tmp_path)
    assert written == ["case0", "case4"]
    assert (tmp_path / "case2.npy").read_bytes() == b"there"


@pytest.mark.parametrize(("others", "fitted"), [(True, []), (False, ["stage0-fold0", "stage0-fold1"])])
def test_a_fold_is_left_out_only_where_all_processes_agree(tmp_path, written, monkeypatch, others, fitted):
    """The other process may have looked before the files were there: it waits for us in the training of the fold."""
    folder = tmp_path / "contexts" / "stage0"
    folder.mkdir(parents=True)
    for case in CASES:
        (folder / f"{case.name}.npy").touch()
    parts = []
    monkeypatch.setattr(cascade, "fit", lambda _, part: parts.append(part.name))
    cascade._contexts(session(tmp_path, Together(0, others)), Part("stage0", 0, CASES), None, 2)
    assert parts == fitted
