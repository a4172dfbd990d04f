"""The study of translation without pairs: who has which image, and the page."""

import csv
import json
from collections import Counter
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "pipelines" / "generation"


@pytest.fixture
def out(tmp_path, monkeypatch) -> Path:
    """Tables of eight people, who are there with lesions and without."""
    import translation

    for kind in ("lesions", "healthy"):
        (tmp_path / kind).mkdir()
        splits = ["train"] * 5 + ["val"] + ["test"] * 2
        rows = [f"head_{n},{split},t1.nii,t2.nii,flair.nii,ct.nii,mask.nii" for n, split in enumerate(splits)]
        (tmp_path / kind / "cases.csv").write_text("\n".join(["case,split,t1,t2,flair,ct,mask", *rows]) + "\n")
    monkeypatch.setattr(translation, "make_head_phantom", lambda *_, **__: pytest.fail("there are phantoms"))
    return tmp_path


def read(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.open()))


def test_no_training_case_of_an_unpaired_row_has_both_images(out):
    import translation

    for row in (row for part in translation.ROWS.values() for row in part):
        source, target = translation.PAIRS[row.task]
        training = [case for case in read(translation._table(row, out)) if case["split"] == "train"]
        both = [bool(case[source] and case[target]) for case in training]
        assert len(training) == 5
        assert all(both) if row.method != "cyclegan" else not any(both)


@pytest.mark.parametrize(("share", "ill"), [(0, 0), (50, 1), (100, 2)])
def test_of_an_audit_the_share_of_the_targets_has_lesions_and_half_of_the_sources(out, share, ill):
    import translation

    rows = read(translation._table(translation.Row(f"flair_{share}", "cyclegan", "t1_to_flair", share), out))
    training = [row for row in rows if row["split"] == "train"]
    kinds = Counter((role, "lesions" in row[role]) for row in training for role in ("t1", "flair") if row[role])
    assert kinds["flair", True] == ill
    assert kinds["flair", False] == 2 - ill
    assert kinds["t1", True] == 1
    tested = [row["case"] for row in rows if row["split"] == "test"]
    assert tested == ["head_6", "head_6_well", "head_7", "head_7_well"]


def test_the_page_says_what_is_there(tmp_path):
    import translation
    from translation_page import _audit, _errors

    facts = {"mae": {"cyclegan": 180.123, "constant": 226.6, "identity": 600.0}}
    lines = "\n".join(_errors({"ct_cyclegan": facts}, "MR to CT", "HU", ("ct_cyclegan", "ct_paired"), "mae"))
    assert "| CycleGAN, no pairs | 180 |" in lines
    assert "the input as it is" not in lines  # normalised values are no HU
    assert _audit({}) == []
    (tmp_path / "flair_0").mkdir()
    found = {"lesions": 21, "lost": 3, "contrast_kept": 0.8, "invented_in_patients": 1, "invented_in_the_healthy": 2}
    both = {name: {**found, "invented_ml": 0.5} for name in ("cyclegan", "identity")}
    row = {"mae": {"cyclegan": 5.0, "identity": 9.0}, "lesions": both}
    assert "| 0 % | 5 | 21 | 3 | 80 % | 1 | 2 | 0.5 |" in "\n".join(_audit({"flair_0": json.loads(json.dumps(row))}))
    assert translation.SUBJECTS == 24
