"""A row of a plan that trains on another case table, and is tested on the same cases."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from two_domains import RECIPE, write_domains
from without_processes import runs_in_this_process

from medgen.benchmark import Plan, run_benchmark
from medgen.benchmark.plan import choose_regimes, load_plan
from medgen.benchmark.runs import plan_runs
from medgen.cases import read_cases
from medgen.errors import InputError, UsageError
from medgen.phantom.workers import RANDOMISED_TABLE
from medgen.recipe.settings import load_recipe

OWN = "cases_own.csv"


@pytest.fixture(scope="module")
def domains(tmp_path_factory):
    """Two tables: in the second, source1 stands for both source training cases, once with the shifted contrast."""
    path = write_domains(tmp_path_factory.mktemp("domains"))
    rows = path.read_text().splitlines()
    header = rows[0].split(",")
    swapped = dict(zip(header, rows[2].split(","), strict=True)) | {
        "case": "copy",
        "swi": "source1_ge.nii.gz",
        "ge": "",
    }
    assert rows[1].startswith("source0,train,")
    rows[1] = ",".join(swapped[column] for column in header)
    (path.parent / OWN).write_text("\n".join(rows) + "\n")
    return path


def plan(**own):
    rows = {"source_only": {}, "other": {"like": "source_only", "title": "train on others", "cases": OWN} | own}
    return Plan.model_validate({"regimes": rows, "references": ["source_only"]})


def planned(table, out, **own):
    return plan_runs(load_recipe(RECIPE), read_cases(table), choose_regimes(plan=plan(**own)), out, seeds=1)


def test_the_row_trains_on_its_table_and_is_tested_on_the_same_cases(domains, tmp_path):
    usual, other = planned(domains, tmp_path)
    assert [case.name for case in usual.training] == ["source0", "source1", "source2"]
    assert [case.name for case in other.training] == ["copy", "source1", "source2"]
    assert other.tested == usual.tested
    assert {domain: len(cases) for domain, cases in other.tested.items()} == {"target": 2, "source": 2}
    assert {name for name in usual.hashes if usual.hashes[name] != other.hashes[name]} == {"settings", "train"}
    other.write()
    assert "target" not in (other.folder / "cases.csv").read_text()


def test_the_results_name_the_table_and_a_changed_one_is_another_run(domains, tmp_path):
    with runs_in_this_process():
        found = run_benchmark(RECIPE, domains, tmp_path / "out", plan=plan(), regimes=["other"], seeds=1, device="cpu")
    found.require_complete()
    assert found.rows[0].target.cases == ("target3", "target4")
    facts = json.loads((tmp_path / "out" / "benchmark.json").read_text())["regimes"]["other"]
    assert (facts["cases"]["name"], len(facts["cases"]["sha256"])) == (OWN, 64)
    assert f"train on others: training cases of {OWN}" in (tmp_path / "out" / "benchmark.md").read_text()
    assert planned(domains, tmp_path / "out")[1].done
    (run,) = plan_runs(
        load_recipe(RECIPE), read_cases(domains), choose_regimes(["other"], plan(cases=None)), tmp_path / "out", seeds=1
    )
    with pytest.raises(UsageError, match="with another recipe or other cases"):
        run.require_same()


def test_a_missing_table_is_told(domains, tmp_path):
    with pytest.raises(InputError, match="the case table of the regime 'other' does not exist") as told:
        planned(domains, tmp_path, cases="cases_none.csv")
    assert told.value.where == domains.parent / "cases_none.csv"
    with pytest.raises(UsageError, match="cannot name a file"):
        planned(domains, tmp_path, cases="../cases.csv")


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("target3,", "target9,", "'target3' is missing"),
        ("target4,test,", "target4,train,", "'target4' has another split"),
        ("source4,test,", "source4,train,", "'source4' has another split"),
        ("target4,test,target,", "target4,test,source,", "'target4' has another domain"),
        ("target4_label", "target3_label", "'target4' has another image for label"),
        ("target3_t1.nii.gz", "", "'target3' has another image for t1"),
    ],
)
def test_other_test_cases_are_refused(domains, tmp_path, before, after, said):
    text = (domains.parent / OWN).read_text()
    assert before in text
    wrong = domains.parent / "cases_wrong.csv"
    wrong.write_text(text.replace(before, after))
    with pytest.raises(InputError, match=f"does not have the test cases of cases.csv: {said}") as told:
        planned(domains, tmp_path, cases=wrong.name)
    assert told.value.where == wrong


def test_the_same_image_elsewhere_is_the_same(domains, tmp_path):
    moved = domains.parent / "moved.nii.gz"
    moved.write_bytes((domains.parent / "target3_t1.nii.gz").read_bytes())
    (domains.parent / "cases_moved.csv").write_text(
        (domains.parent / OWN).read_text().replace("target3_t1.nii.gz", moved.name)
    )
    assert planned(domains, tmp_path, cases="cases_moved.csv")[1].training


def test_folds_divide_the_patients_of_the_table_of_the_benchmark(tmp_path):
    """A copy of a target patient who is tested is not trained on; its name says nothing."""
    path = write_domains(tmp_path, splits=("train", "train", "train", "val"))
    rows = path.read_text().replace("case,split,", "case,split,patient,").splitlines()
    rows[1:] = [_with_patient(row) for row in rows[1:]]
    path.write_text("\n".join(rows) + "\n")
    copied = next(row for row in rows if row.startswith("target0,"))
    (tmp_path / OWN).write_text("\n".join([*rows, copied.replace("target0,", "again,", 1)]) + "\n")
    runs = plan_runs(
        load_recipe(RECIPE), read_cases(path), choose_regimes(plan=plan(like="both")), tmp_path / "out",
        seeds=1, folds=3,
    )  # fmt: skip
    for run in (run for run in runs if run.regime.name == "other"):
        trained, tested = ({case.name for case in cases} for cases in (run.training, run.tested["target"]))
        assert ("again" in trained) == ("target0" in trained) == ("target0" not in tested)


def _with_patient(row):
    name, split, rest = row.split(",", 2)
    return ",".join([name, split, name, rest])


def test_the_study_of_lesions_has_domain_randomisation_as_a_row():
    """Its table is the one that the phantom writes, and nothing of the budget differs from training on S."""
    rows = load_plan(Path(__file__).parents[2] / "pipelines" / "lesion_adaptation" / "rows.yaml")
    usual, own = choose_regimes(["source_only", "domain_randomisation"], rows)
    assert own.cases == RANDOMISED_TABLE
    assert usual.cases is None
    assert replace(own, name=usual.name, title=usual.title, seeds=usual.seeds, cases=None) == usual
