import re
from dataclasses import replace
from pathlib import Path

import pytest
from two_domains import RECIPE

from medgen.benchmark import splits
from medgen.benchmark.plan import choose_regimes
from medgen.benchmark.regimes import REGIMES, derive_recipe
from medgen.benchmark.runs import plan_runs
from medgen.benchmark.splits import make_folds, split_hash, training_cases
from medgen.cases import Case, CaseTable, read_cases
from medgen.errors import InputError, UsageError
from medgen.recipe.settings import Recipe, load_recipe

BASE = load_recipe(RECIPE)


def table(*rows: str, folder: Path = Path("/data")) -> CaseTable:
    """Rows like ``s1 train source``; every case has all its images."""
    cases = []
    for row in rows:
        name, split, domain = row.split()
        roles = ("t1", "ge" if domain == "source" else "swi", "label", "mask")
        cases.append(Case(name, split, domain, {role: folder / f"{name}_{role}.nii.gz" for role in roles}))
    return CaseTable(folder / "cases.csv", tuple(cases))


WHOLE = table(
    *(f"s{n} {split} source" for n, split in enumerate(("train", "train", "val", "test"))),
    *(f"t{n} {split} target" for n, split in enumerate(("train", "train", "val", "test", "test"))),
)


def test_test_cases_make_one_fold():
    (fold,) = make_folds(WHOLE)
    assert [case.name for case in fold.target] == ["t3", "t4"]
    assert [case.name for case in fold.source] == ["s3"]
    with pytest.raises(UsageError, match="which are the only fold"):
        make_folds(WHOLE, 3)


def test_without_test_cases_every_target_case_is_tested_once_and_never_trained_on_then():
    cases = table("s0 train source", "s1 val source", *(f"t{n} train target" for n in range(7)), "t7 val target")
    folds = make_folds(cases, 3)
    tested = [case.name for fold in folds for case in fold.target]
    assert sorted(tested) == [f"t{n}" for n in range(7)]
    assert sorted(len(fold.target) for fold in folds) == [2, 2, 3]
    assert [[case.name for case in fold.source] for fold in folds] == [["s1"]] * 3
    for fold in folds:
        rows = training_cases(cases, REGIMES["adapted"], fold, BASE.data)
        names = {case.name for case in rows}
        assert not names & {case.name for case in fold.target}
        assert {"s0", "s1", "t7"} <= names
        assert len(names) == 10 - len(fold.target)
    assert make_folds(cases, 3) == folds
    assert len(make_folds(cases)) == 5


@pytest.mark.parametrize(
    ("patients", "folds", "kind", "said", "fix"),
    [
        (7, 8, UsageError, "7 target patients cannot be divided into 8 folds", "choose --folds from 2 to 7, or"),
        (2, 3, UsageError, "2 target patients cannot be divided into 3 folds", "choose --folds 2, or"),
        (3, None, UsageError, "3 target patients cannot be divided into 5 folds (the default)", "from 2 to 3, or"),
        (
            7,
            1,
            UsageError,
            "--folds must be at least 2, because no target case has the split 'test'; got 1",
            "from 2 to 7, or",
        ),
        (7, 0, UsageError, "--folds must be at least 2, because", "from 2 to 7, or"),
        (1, None, InputError, "there is only one target patient of split", "add target patients of split 'train'"),
        (0, 2, InputError, "no target case has the split 'train' or 'test'", "add target patients of split 'train'"),
    ],
)
def test_folds_that_cannot_be_are_told_with_advice_that_can_be_followed(patients, folds, kind, said, fix):
    cases = table("s0 train source", *(f"t{n} train target" for n in range(patients)), "t9 val target")
    with pytest.raises(kind) as caught:
        make_folds(cases, folds)
    assert caught.value.what.startswith(said)
    assert fix in caught.value.fix


def test_folds_are_not_advised_where_there_are_none_and_fewer_do_not_help():
    cases = table("s0 val source", "t0 train target", "t1 test target")
    with pytest.raises(UsageError, match="the table has 1 target case of split 'test'"):
        make_folds(cases, 2)
    with pytest.raises(InputError, match="no source case to train on") as caught:
        training_cases(cases, REGIMES["adapted"], make_folds(cases)[0], BASE.data)
    assert "fold" not in caught.value.fix
    twice = [  # the source study of the one source patient is held out with that patient's target study
        Case(f"{name}_{domain}", "train", domain, {"t1": Path("/a"), "swi": Path("/b")}, name)
        for name, domains in (("p0", ("source", "target")), ("p1", ("target",)))
        for domain in domains
    ]
    shared = CaseTable(Path("cases.csv"), tuple(twice))
    (fold,) = [fold for fold in make_folds(shared, 2) if fold.held_out == {"p0"}]
    with pytest.raises(InputError, match="no source case to train on") as caught:
        training_cases(shared, REGIMES["adapted"], fold, BASE.data)
    assert caught.value.fix == f"add source cases of patients who are not held out in fold {fold.number}"


def test_studies_of_a_patient_stay_in_one_fold_of_both_domains():
    cases = [
        Case(
            f"p{number}_{study}",
            "train",
            domain,
            {"t1": Path("/a"), "swi": Path("/b"), "label": Path("/c"), "mask": Path("/d")},
            f"p{number}",
        )
        for number in range(6)
        for study, domain in enumerate(("target", "target", "source"))
    ]
    cases = CaseTable(Path("cases.csv"), tuple(cases))
    folds = make_folds(cases, 3)
    for fold in folds:
        tested = {case.patient for case in fold.target}
        assert sorted(case.name for case in fold.target) == sorted(
            f"{name}_{study}" for name in tested for study in (0, 1)
        )
        trained = {case.patient for case in training_cases(cases, REGIMES["both"], fold, BASE.data)}
        assert trained == {f"p{number}" for number in range(6)} - tested
    assert sorted(case.name for fold in folds for case in fold.target) == sorted(
        case.name for case in cases.cases if case.domain == "target"
    )
    with pytest.raises(UsageError, match="6 target patients cannot"):
        make_folds(cases, 7)


def test_who_trains_in_each_regime_with_which_labels():
    found = {}
    for name, regime in REGIMES.items():
        rows = training_cases(WHOLE, regime, make_folds(WHOLE)[0], BASE.data)
        found[name] = {case.name: "label" in case.images for case in rows}
    source, target = dict.fromkeys(("s0", "s1", "s2"), True), dict.fromkeys(("t0", "t1", "t2"), True)
    assert found == {
        "source_only": source,
        "without_shifted": source,
        "adapted": source | dict.fromkeys(target, False),
        "target_only": target,
        "both": source | target,
        "both_separate": source | target,
    }


def test_labelled_target_cases_are_not_marked_as_unlabelled():
    fold = make_folds(WHOLE)[0]
    domains = {
        name: {case.domain for case in training_cases(WHOLE, REGIMES[name], fold, BASE.data)}
        for name in ("adapted", "target_only", "both")
    }
    assert domains == {"adapted": {"source", "target"}, "target_only": {None}, "both": {"source", None}}


def test_the_files_of_a_run_hold_no_label_that_it_must_not_see(tmp_path):
    for row in WHOLE.cases:
        for path in row.images.values():
            (tmp_path / path.name).write_text(path.name)
    cases = table(*(f"{case.name} {case.split} {case.domain}" for case in WHOLE.cases), folder=tmp_path)
    runs = plan_runs(BASE, cases, choose_regimes(), tmp_path / "out", seeds=2)
    assert [run.name for run in runs[:7]] == [*(f"{name}, seed 0" for name in REGIMES), "source_only, seed 1"]
    for run in runs:
        run.write()
        text = (run.folder / "cases.csv").read_text()
        tested = {case.name for cases in run.tested.values() for case in cases}
        assert tested == {"s3", "t3", "t4"}
        assert not any(name in text for name in tested)
        if run.regime.name == "adapted":
            assert "t0_swi" in text
            assert "t0_label" not in text
        if run.regime.name in ("source_only", "without_shifted", "adapted"):
            assert not any(f"{name}_label" in text for name in ("t0", "t1", "t2"))
        if run.regime.name == "without_shifted":
            assert "ge" not in text.splitlines()[0].split(",")
        assert read_cases(run.folder / "test_target.csv").select(split="test")
    assert len({run.hashes["settings"] for run in runs}) == len(runs)
    assert len({run.hashes["test_target"] for run in runs if run.regime.shifted == "kept"}) == 1


def lacking(name: str, *roles: str) -> CaseTable:
    """:data:`WHOLE` without some images of one case."""
    cases = [
        replace(case, images={role: path for role, path in case.images.items() if role not in roles})
        if case.name == name
        else case
        for case in WHOLE.cases
    ]
    return CaseTable(WHOLE.path, tuple(cases))


def test_a_missing_label_is_told_where_it_is_learnt_from():
    bare = lacking("t0", "label")
    fold = make_folds(bare)[0]
    assert len(training_cases(bare, REGIMES["adapted"], fold, BASE.data)) == 6
    said = r"training cases of the regime 'both' have no image for label in 1 of 6 \(t0\)"
    with pytest.raises(InputError, match=said) as caught:
        training_cases(bare, REGIMES["both"], fold, BASE.data)
    assert "--regimes" in caught.value.fix


@pytest.mark.parametrize("role", ["t1", "swi", "mask"])
def test_a_missing_image_is_told_where_it_is_learnt_from(role):
    bare = lacking("t2", role)
    fold = make_folds(bare)[0]
    assert len(training_cases(bare, REGIMES["source_only"], fold, BASE.data)) == 3
    named = "ge|swi" if role == "swi" else role
    with pytest.raises(InputError, match=rf"have no image for {re.escape(named)} in 1 of 6 \(t2\)"):
        training_cases(bare, REGIMES["adapted"], fold, BASE.data)


def test_a_role_that_no_case_has_is_told_before_anything_starts(tmp_path):
    """Each run would have failed by itself, one after the other."""
    base = load_recipe(RECIPE, ["data.inputs=[t9,ge|swi]", "data.mask=brain"])
    cases = table(*(f"{case.name} {case.split} {case.domain}" for case in WHOLE.cases), "s7 train source")
    with pytest.raises(InputError) as caught:
        plan_runs(base, cases, choose_regimes(["adapted"]), tmp_path, seeds=1)
    everyone = "s0, s1, s2, t0, t1 and 2 more"
    assert f"t9 in 7 of 7 ({everyone}); brain in 7 of 7 ({everyone})" in caught.value.what
    assert caught.value.where == cases.path
    assert caught.value.exit_code == 3


def test_a_case_to_be_tested_on_needs_a_label_and_the_inputs_of_the_regime_and_no_mask(tmp_path):
    roles = {name: derive(name).data for name in REGIMES}
    bare = lacking("t3", "swi", "mask").select(split="test", domain="target")
    assert len(splits.tested_cases(bare, roles["without_shifted"], WHOLE.path)) == 2
    assert len(splits.tested_cases(bare, roles["both_separate"], WHOLE.path)) == 2  # its channels may be missing
    with pytest.raises(InputError, match=r"test cases have no image for ge\|swi in 1 of 2 \(t3\)"):
        splits.tested_cases(bare, roles["source_only"], WHOLE.path)
    with pytest.raises(InputError, match=r"test cases have no image for label in 1 of 2 \(t4\)"):
        plan_runs(BASE, lacking("t4", "label"), choose_regimes(["adapted"]), tmp_path, seeds=1)


def derive(name: str) -> Recipe:
    return derive_recipe(BASE, REGIMES[name], shifted="ge|swi", seed=0)


def test_domains_are_needed():
    homeless = Case("x", "train", None, {"t1": Path("/a")})
    with pytest.raises(InputError, match="'x' has no domain"):
        make_folds(CaseTable(WHOLE.path, (*WHOLE.cases, homeless)))
    with pytest.raises(InputError, match="no case has the domain 'target'"):
        make_folds(CaseTable(WHOLE.path, WHOLE.cases[:4]))
    rows = tuple(case for case in WHOLE.cases if case.name not in ("t0", "t1"))
    with pytest.raises(InputError, match="no target case to train on"):
        training_cases(CaseTable(WHOLE.path, rows), REGIMES["adapted"], make_folds(WHOLE)[0], BASE.data)


def test_a_recipe_without_labels_is_refused(tmp_path):
    base = load_recipe({**RECIPE, "data": {"inputs": ["t1"], "target": "ct"}})
    with pytest.raises(UsageError, match="names no labels"):
        plan_runs(base, WHOLE, choose_regimes(), tmp_path, seeds=1)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(InputError, match="a file of case 's0' does not exist"):
        plan_runs(BASE, WHOLE, choose_regimes(["source_only"]), tmp_path, seeds=1)


@pytest.mark.parametrize(
    ("overrides", "regimes"),
    [(["config.bgin=0.2"], ["source_only"]), ([], ["source_only", "adapted"])],
)
def test_a_misspelt_setting_is_told_before_the_first_run(tmp_path, overrides, regimes):
    base = load_recipe(RECIPE, overrides)
    rows = choose_regimes(regimes, overrides=["adapted:config.bgin=0.2"] if "adapted" in regimes else [])
    with pytest.raises(UsageError, match="unknown key 'bgin'"):
        plan_runs(base, WHOLE, rows, tmp_path, seeds=1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("patches.size=[9,9,9]", r"the patches are \[9, 9, 9\] voxels"),
        ("config.perturbation.channels=[2]", r"config\.perturbation\.channels names channel 2"),
    ],
)
def test_what_the_last_regime_cannot_do_is_told_before_the_first_run(tmp_path, change, said):
    regimes = choose_regimes(["source_only", "mean_teacher"], overrides=[f"mean_teacher:{change}"])
    with pytest.raises(UsageError, match=said):
        plan_runs(BASE, WHOLE, regimes, tmp_path, seeds=1)


def test_hashes_tell_bytes_and_not_folders():
    one = Case("a", "train", "source", {"t1": Path("/x/t1.nii")})
    moved = Case("a", "train", "source", {"t1": Path("/y/t1.nii")})
    hashes = {Path("/x/t1.nii"): "11", Path("/y/t1.nii"): "11"}
    assert split_hash([one], hashes) == split_hash([moved], hashes)
    assert split_hash([one], hashes) != split_hash([one], {Path("/x/t1.nii"): "12"})
    other = Case("b", "train", "source", {"t1": Path("/x/t1.nii")})
    assert split_hash([one, other], hashes) == split_hash([other, one], hashes)
