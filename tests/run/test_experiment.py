"""Runs: resume bit for bit, pre-emption, the cascade, and what a run folder holds (RELIABILITY T1-T9)."""

import json
import os
import signal
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tiny
import torch
import yaml

from medgen.cli.failures import exit_code_of
from medgen.errors import InputError, ModelError, Preempted, StorageError, UsageError
from medgen.files import folder_lock
from medgen.inference.loading import load_model
from medgen.methods._paired import reconstruction
from medgen.preparation import StoredCase
from medgen.recipe.check import check_recipe
from medgen.recipe.settings import load_recipe, save_recipe
from medgen.run import experiment, fitting, start
from medgen.run.cascade import deal_folds
from medgen.run.experiment import prepare, train
from medgen.sampling.patches import PatchSource
from medgen.training.checkpoint import load_checkpoint, load_weights
from medgen.training.model_folder import load_stages

pytestmark = pytest.mark.usefixtures("few_trees")


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    return tiny.write_cases(tmp_path_factory.mktemp("cases"))


def weights(run):
    return load_weights(run / "model" / "weights.safetensors")


def assert_equal_runs(one, two):
    first, second = weights(one), weights(two)
    assert first.keys() == second.keys()
    different = [name for name in first if not torch.equal(first[name], second[name])]
    assert not different


@pytest.fixture(scope="module")
def reference(cases, tmp_path_factory):
    """Twenty steps without a break."""
    return train(tiny.RECIPE, cases, tmp_path_factory.mktemp("reference") / "run", device="cpu")


def interrupted(cases, run, after, **changes):
    """Stop a run as a scheduler would, after a number of steps."""

    def progress(done, total, what):
        if "stage" in what and done == after:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Preempted) as stop:
        train(tiny.recipe(**changes), cases, run, device="cpu", progress=progress)
    assert stop.value.exit_code == 75


def test_twenty_steps_are_ten_and_resume_and_ten(cases, reference, tmp_path):
    interrupted(cases, tmp_path / "run", after=10)
    train(tiny.RECIPE, cases, tmp_path / "run", resume=True, device="cpu")
    assert_equal_runs(reference, tmp_path / "run")
    assert metrics(reference) == metrics(tmp_path / "run")


def test_ctrl_c_saves_the_step_and_exits_130(cases, reference, tmp_path, caplog):
    def progress(done, total, what):
        if "stage" in what and done == 7:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    code = exit_code_of(lambda: train(tiny.RECIPE, cases, tmp_path / "run", device="cpu", progress=progress))
    assert code == 130
    assert signal.getsignal(signal.SIGINT) is before
    assert "SIGINT at step 7 of 20 (stage0); the state is saved" in caplog.text
    assert "--resume" in caplog.text
    assert load_checkpoint(tmp_path / "run" / "checkpoints" / "stage0")["step"] == 7
    train(tiny.RECIPE, cases, tmp_path / "run", resume=True, device="cpu")
    assert_equal_runs(reference, tmp_path / "run")


def test_a_second_ctrl_c_does_not_wait(cases, tmp_path):
    def progress(done, total, what):
        if "stage" in what and done == 2:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(tiny.RECIPE, cases, tmp_path / "run", device="cpu", progress=progress)
    assert load_checkpoint(tmp_path / "run" / "checkpoints" / "stage0") is None


def test_ctrl_c_while_cases_are_prepared_is_not_put_off(cases, tmp_path):
    def progress(done, total, what):
        if "looking at" in what:
            os.kill(os.getpid(), signal.SIGINT)

    seen = []
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        with pytest.raises(KeyboardInterrupt):
            train(
                tiny.RECIPE, cases, tmp_path / "run", device="cpu", progress=lambda *a: (seen.append(a), progress(*a))
            )
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(seen) == 1


def test_resume_in_the_middle_of_an_interval_and_with_workers(cases, reference, tmp_path):
    interrupted(cases, tmp_path / "run", after=7, schedule={"workers": 2})
    train(tiny.recipe(schedule={"workers": 1}), cases, tmp_path / "run", resume=True, device="cpu")
    assert_equal_runs(reference, tmp_path / "run")


def metrics(run):
    """The log without repetition: part, step and losses."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_same_seed_same_weights_other_seed_others(cases, reference, tmp_path):
    other = train(tiny.recipe(seed=4), cases, tmp_path / "other", device="cpu")
    assert any(not torch.equal(weights(reference)[name], weights(other)[name]) for name in weights(other))
    assert_equal_runs(reference, train(tiny.RECIPE, cases, tmp_path / "again", device="cpu"))


def test_run_folder(cases, reference):
    facts = json.loads((reference / "run.json").read_text())
    assert facts["device"] == "cpu"
    assert facts["seed"] == 3
    assert set(facts["files"]) == {f"case{n}/{role}" for n in range(4) for role in ("t1", "ct", "mask")}
    text = "".join(path.read_text() for path in reference.rglob("*.json") if "store" not in path.parts)
    assert str(cases.parent) not in text  # no absolute path
    assert yaml.safe_load((reference / "recipe.yaml").read_text())["schedule"]["batch"] == 2
    steps = [record for record in metrics(reference) if "validation" in record]
    assert [record["step"] for record in steps] == [9, 19]


def test_what_preparation_decided_is_said(tmp_path, caplog):
    table = tiny.write_cases(tmp_path / "cases", val=0, test=0)
    image = nib.load(table.parent / "case1_t1.nii.gz")
    data = image.get_fdata()
    image.header.set_xyzt_units("unknown")
    nib.save(nib.Nifti1Image(data, image.affine, image.header), table.parent / "case1_t1.nii.gz")
    with caplog.at_level("INFO", "medgen.run.experiment"):
        run = train(tiny.recipe(schedule={"steps": 1}), table, tmp_path / "run", device="cpu")
    notes = json.loads((run / "run.json").read_text())["preparation_notes"]
    assert notes == {"case1": ["t1: no unit of length in the header, millimetres taken"]}
    assert [record.message for record in caplog.records if "no unit of length" in record.message] == [
        "case case1: t1: no unit of length in the header, millimetres taken"
    ]


def test_a_skipped_step_is_logged_as_json_with_its_patches(cases, tmp_path, monkeypatch):
    steps = iter(range(4))

    def poisoned(*args):
        factor = float("nan") if next(steps) == 2 else 1.0
        return {name: factor * loss for name, loss in reconstruction(*args).items()}

    monkeypatch.setattr("medgen.methods.supervised.reconstruction", poisoned)
    recipe = tiny.recipe(method="supervised", schedule={"steps": 4})
    run = train(recipe, cases, tmp_path / "run", device="cpu")
    lines = (run / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line, parse_constant=pytest.fail) for line in lines]
    skipped = [record for record in records if record.get("skipped")]
    assert [record["step"] for record in skipped] == [2]
    assert skipped[0]["losses"]["generator/l1"] is None
    patches = load_recipe(run / "recipe.yaml").patches  # with what the method's defaults add
    source = PatchSource(prepare(recipe, cases, run / "store").select(split="train"), patches, seed=3000)
    expected = [source.describe(n) for n in (4, 5)]  # two patches a step
    assert skipped[0]["patches"] == [[case, list(centre)] for case, centre in expected]


def test_time_counts_all_sessions(cases, tmp_path):
    recipe = tiny.recipe(schedule={"steps": 1})
    run = train(recipe, cases, tmp_path / "run", device="cpu")
    path = run / "checkpoints" / "stage0" / "done.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "seconds": 1000.04}))
    train(recipe, cases, run, resume=True, device="cpu")
    facts = json.loads((run / "run.json").read_text())
    assert facts["training_seconds"] == 1000.0
    assert facts["seconds"] < 100


def test_the_kept_weights_are_those_of_the_best_validation(reference):
    done = json.loads((reference / "checkpoints" / "stage0" / "done.json").read_text())
    values = {r["step"] + 1: r["validation"]["mae"] for r in metrics(reference) if "validation" in r}
    assert done["best_step"] == min(values, key=values.__getitem__)
    assert done["best_value"] == pytest.approx(min(values.values()))


def test_cascade_trains_on_out_of_fold_context_and_predict_runs_all_of_it(cases, tmp_path):
    recipe = tiny.recipe(
        config={"stages": 2, "context_folds": 3, "context": "none"},
        schedule={"steps": 4, "averaging": None, "precision": "32"},
    )
    run = train(recipe, cases, tmp_path / "run", device="cpu")
    parts = {path.parent.name for path in run.rglob("done.json")}
    assert parts == {"stage0", "stage0-fold0", "stage0-fold1", "stage0-fold2", "stage1"}
    stages, _ = load_stages(run)
    assert [stage.shape.inputs for stage in stages] == [1, 2]
    # the context of a training subject comes from the network of its fold, not from the one that has seen it
    context = np.load(run / "contexts" / "stage0" / "case1.npy")
    by_fold = _estimate(recipe, cases, run, tmp_path, "stage0-fold1", "case1")
    by_all = _estimate(recipe, cases, run, tmp_path, "stage0", "case1")
    assert np.array_equal(context, by_fold)
    assert not np.allclose(context, by_all)
    assert (context != -1).sum() > (stored_mask(recipe, cases, run, "case1") > 0).sum()  # not cut by the mask
    volume = load_model(run, device="cpu").predict(cases.parent / "case4_t1.nii.gz")
    assert volume.shape == (20, 20, 20)


def stored_mask(recipe, cases, run, case):
    return np.asarray(next(c for c in prepare(recipe, cases, run / "store").cases if c.name == case).mask)


def _estimate(recipe, cases, run, folder, part, case):
    from medgen.inference.stages import predict_prepared
    from medgen.methods.base import Shape
    from medgen.methods.catalogue import create

    stored = next(c for c in prepare(recipe, cases, run / "store").cases if c.name == case)
    method = create(recipe["method"], recipe["config"], Shape(1, 1))
    method.load_state_dict(load_weights(run / "checkpoints" / part / "final.safetensors"))
    method.to(memory_format=torch.channels_last_3d).eval()
    settings = load_recipe(recipe)
    return predict_prepared(
        [method], stored.image, stored.body, settings=settings.inference, patch=settings.patches.size
    )


def test_interrupted_cascade_goes_on_to_the_same_weights(cases, tmp_path):
    changes = {"config": {"stages": 2, "context_folds": 2}, "schedule": {"steps": 4, "save_every": 2}}
    whole = train(tiny.recipe(**changes), cases, tmp_path / "whole", device="cpu")
    part = "stage0-fold1"

    def progress(done, total, what):
        if part in what and done == 3:
            os.kill(os.getpid(), signal.SIGUSR1)

    with pytest.raises(Preempted):
        train(tiny.recipe(**changes), cases, tmp_path / "run", device="cpu", progress=progress)
    before = (tmp_path / "run/checkpoints/stage0/done.json").stat().st_mtime_ns
    train(tiny.recipe(**changes), cases, tmp_path / "run", resume=True, device="cpu")
    assert (tmp_path / "run/checkpoints/stage0/done.json").stat().st_mtime_ns == before
    assert_equal_runs(whole, tmp_path / "run")


def test_minutes_are_a_limit(cases, tmp_path):
    with pytest.raises(Preempted, match="the limit in minutes"):
        train(tiny.RECIPE, cases, tmp_path / "run", device="cpu", max_minutes=0)


def test_subjects_are_dealt_to_folds_with_all_their_studies():
    """Else the network whose estimate is called out of fold has seen the patient on another day."""

    def study(name, patient=None):
        return StoredCase(name, "train", None, Path(name), (1, 1, 1), (1, 1, 1), (0,), (), frozenset(), patient)

    cases = [study("a1", "a"), study("b"), study("a2", "a"), study("c"), study("d")]
    folds = [[case.name for case in fold] for fold in deal_folds(cases, 3)]
    assert folds == [["a1", "a2", "d"], ["b"], ["c"]]


def test_a_second_run_in_the_folder_is_refused(cases, reference):
    with pytest.raises(UsageError, match="there is a run in this folder already"):
        train(tiny.RECIPE, cases, reference, device="cpu")


WRONG = {
    "method": "vae",
    "config": {"likelihood": "bernoulli"},
    "data": {"inputs": ["ct"], "mask": "mask"},
    "preparation": {"spacing": None, "intensity": {"ct": "zscore"}},
    "patches": {"size": [16, 16, 16]},
    "schedule": {"steps": 2, "batch": 2, "precision": "32"},
}
"""No image in standard deviations has a Bernoulli likelihood, which the network says of the first batch."""
RIGHT = {**WRONG, "preparation": {"spacing": None, "intensity": {"ct": {"window": [-1000, 1000]}}}}


@pytest.fixture(scope="module")
def origin(cases, tmp_path_factory):
    return train(RIGHT, cases, tmp_path_factory.mktemp("origin") / "run", device="cpu")


def refused(cases, run, **options):
    with pytest.raises(InputError, match="the Bernoulli likelihood needs images in"):
        train(WRONG, cases, run, device="cpu", **options)
    return run


def test_a_recipe_that_its_first_batch_refused_does_not_block_its_folder(cases, origin, tmp_path):
    run = refused(cases, tmp_path / "run")
    for file in ("cases.json", "checkpoints/init_from.json"):
        (run / file).write_text("{}")  # as of a run of other cases that began from another
    left = []  # when the preparation begins: a run that is interrupted in it would go on with these

    def progress(*_):
        names = ("cases.json", "checkpoints/init_from.json", "checkpoints/model.json")
        left.append([name for name in names if (run / name).exists()])

    train(RIGHT, cases, run, device="cpu", progress=progress)
    assert left[0] == []
    assert_equal_runs(run, origin)
    with pytest.raises(UsageError, match="there is a run in this folder already"):
        train(WRONG, cases, run, device="cpu")


def test_without_a_step_a_resumed_run_begins_anew_with_another_recipe(cases, origin, tmp_path, caplog):
    """A script that adds --resume wherever there is a recipe.yaml cannot leave it out; what it began from stays."""
    run = refused(cases, tmp_path / "run", init_from=origin)
    (run / "cases.json").write_text('{"gone": ["train", null, "0"]}')
    train(RIGHT, cases, run, resume=True, device="cpu")
    assert "the run begins anew: no step was trained, and the recipe differs in: preparation.intensity" in caplog.text
    begun = json.loads((origin / "run.json").read_text())["model_sha256"]
    assert json.loads((run / "run.json").read_text())["init_from"]["weights_sha256"] == begun
    with pytest.raises(UsageError, match="the recipe differs from the run's in: preparation"):
        train(WRONG, cases, run, resume=True, device="cpu")


def test_without_a_step_a_resumed_run_begins_anew_with_other_cases(cases, tmp_path, caplog):
    run = refused(cases, tmp_path / "run")
    trees = run / "checkpoints/neighbourhood/context.safetensors"
    trees.parent.mkdir()
    trees.write_text("of the cases before")
    other = cases.with_name("fewer.csv")
    heading, _, *rows = cases.read_text().splitlines()
    fewer = "\n".join([heading, *rows]) + "\n"
    for text in (fewer, fewer.replace("case1_ct", "case2_ct")):  # the table tells, the images alone
        other.write_text(text)
        caplog.clear()
        with pytest.raises(InputError, match="the Bernoulli likelihood needs images in"):
            train(WRONG, other, run, resume=True, device="cpu")
        assert "the run begins anew: no step was trained, and the cases differ" in caplog.text
    assert not trees.exists()
    other.unlink()


def test_a_recipe_that_a_killed_run_kept_half_is_not_resumed(cases, tmp_path):
    """It may lack what it was to start from."""
    run = refused(cases, tmp_path / "run")
    save_recipe(load_recipe(RIGHT), run / "recipe.yaml")
    with pytest.raises(UsageError, match="leave --resume out: no step was trained yet"):
        train(RIGHT, cases, run, resume=True, device="cpu")
    train(RIGHT, cases, run, device="cpu")


@pytest.mark.parametrize("fault", ["copy_origin", "keep_recipe", "save_recipe"])
def test_a_run_is_taken_over_whole_or_not_at_all(cases, origin, tmp_path, monkeypatch, fault):
    """The recipe may be the only copy of the user, who trains with the one in the run."""
    run = refused(cases, tmp_path / "run")
    names = ("recipe.yaml", "cases.json", "checkpoints/recipe.json")
    before = {name: (run / name).read_bytes() for name in names}

    def full(*_):
        raise StorageError("no space left on the disk", where=run)

    with monkeypatch.context() as patch:
        patch.setattr(experiment, fault, full)
        with pytest.raises(StorageError):
            train(RIGHT, cases, run, device="cpu", init_from=origin)
    kept = names[:1] if fault == "save_recipe" else names
    assert {name: (run / name).read_bytes() for name in kept} == {name: before[name] for name in kept}
    with pytest.raises(InputError, match="the Bernoulli likelihood needs images in"):
        train(run / "recipe.yaml", cases, run, device="cpu")
    assert not [*run.glob("checkpoints/init_from.*")]


def test_a_removal_that_fails_is_told(cases, tmp_path):
    run = refused(cases, tmp_path / "run")
    (run / "checkpoints/neighbourhood/context.safetensors").mkdir(parents=True)
    before = (run / "recipe.yaml").read_bytes()
    with pytest.raises(StorageError):
        train(RIGHT, cases, run, device="cpu")
    assert (run / "recipe.yaml").read_bytes() == before


@pytest.mark.parametrize("left", [".partial-a.json", "init_from.safetensors", "init_from.json"])
def test_a_run_that_was_killed_before_it_kept_its_recipe_does_not_block_its_folder(cases, tmp_path, left):
    for name in (".lock", f"checkpoints/{left}"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{")
    train(RIGHT, cases, tmp_path, device="cpu")
    assert not (tmp_path / "checkpoints" / left).exists()


def test_files_of_the_user_in_a_run_without_a_step_stay(cases, tmp_path):
    run = refused(cases, tmp_path / "run")
    notes = [run / "contexts" / name for name in ("notes.txt", "mine/a.npy", "neighbourhood/notes.txt")]
    old = run / "contexts/voxelwise-out-of-fold/a.npy"
    for file in (*notes, old, run / "run.json"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("of the user")
    with pytest.raises(UsageError, match="the run would replace this file"):
        train(RIGHT, cases, run, device="cpu")
    assert old.exists()
    (run / "run.json").unlink()
    train(RIGHT, cases, run, device="cpu")
    assert not old.exists()
    assert all(file.read_text() == "of the user" for file in notes)


@pytest.mark.parametrize("link", ["contexts", "contexts/neighbourhood"])
@pytest.mark.parametrize("began", [True, False])
def test_a_link_in_the_place_of_contexts_is_not_followed(cases, tmp_path, link, began):
    run = refused(cases, tmp_path / "run") if began else tmp_path / "run"
    mine = tmp_path / "mine/neighbourhood/a.npy"
    mine.parent.mkdir(parents=True)
    mine.write_text("of the user")
    (run / link).parent.mkdir(parents=True, exist_ok=True)
    (run / link).symlink_to(tmp_path / "mine" / link.removeprefix("contexts").strip("/"))
    with pytest.raises(UsageError, match="this is a link, and the run would write where it leads"):
        train(RIGHT, cases, run, device="cpu")
    assert mine.read_text() == "of the user"


def test_trees_of_a_run_without_a_step_are_fitted_anew(cases, tmp_path, monkeypatch):
    """They are of the recipe that failed, here for lack of memory."""
    schedule = {"steps": 1, "validate_every": 1}
    with monkeypatch.context() as patch:
        patch.setattr(fitting, "_records", lambda *_: (_ for _ in ()).throw(MemoryError()))
        with pytest.raises(MemoryError):
            train(tiny.recipe(schedule=schedule), cases, tmp_path / "run", device="cpu")
    trees = tmp_path / "run/checkpoints/neighbourhood/context.safetensors"
    before = trees.read_bytes()
    train(tiny.recipe(schedule=schedule, seed=4), cases, tmp_path / "run", device="cpu")
    assert trees.read_bytes() != before


@pytest.mark.parametrize(
    "kept",
    ["metrics.jsonl", "checkpoints/stage0/step-00000005.pt", "contexts/stage0/a.npy", "model/model.json"],
)
def test_what_was_trained_blocks_its_folder(cases, tmp_path, kept):
    file = refused(cases, tmp_path / "run") / kept
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("{}")
    with pytest.raises(UsageError, match="there is a run in this folder already"):
        train(WRONG, cases, tmp_path / "run", device="cpu")
    assert file.read_text() == "{}"


def test_a_recipe_of_ones_own_in_the_folder_is_not_replaced(cases, tmp_path):
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(tiny.RECIPE))
    with pytest.raises(UsageError, match="there is a run in this folder already"):
        train(tmp_path / "recipe.yaml", cases, tmp_path, device="cpu")


@pytest.mark.parametrize("link", [False, True])
@pytest.mark.parametrize("name", ["cases.json", "metrics.jsonl", "run.json"])
def test_another_file_of_the_name_is_not_replaced(cases, tmp_path, name, link):
    if link:  # to a disk that is away
        (tmp_path / name).symlink_to(tmp_path.with_name("away"))
    else:
        (tmp_path / name).write_text("of the user")
    with pytest.raises(UsageError, match="the run would replace this file"):
        train(tiny.RECIPE, cases, tmp_path, device="cpu")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_resume_of_nothing(cases, tmp_path):
    with pytest.raises(UsageError, match="no run to resume"):
        train(tiny.RECIPE, cases, tmp_path / "run", resume=True, device="cpu")


def test_resume_with_another_recipe(cases, reference):
    with pytest.raises(UsageError, match=r"differs from the run's in: schedule\.steps"):
        train(tiny.recipe(schedule={"steps": 30}), cases, reference, resume=True, device="cpu")


def test_a_recipe_that_was_edited_in_the_run_is_refused_by_name(cases, tmp_path):
    """With recipe.yaml changed like one's own recipe, weights of one network would be loaded into another."""
    schedule = {"steps": 2, "validate_every": 2}
    run = train(tiny.recipe(schedule=schedule), cases, tmp_path / "run", device="cpu")
    edited = tiny.recipe(schedule=schedule, config={"width": 0.25})
    completed, _, _ = check_recipe(load_recipe(edited))
    save_recipe(completed, run / "recipe.yaml")
    with pytest.raises(UsageError, match=r"differs from the run's in: config\.width") as error:
        train(edited, cases, run, resume=True, device="cpu")
    assert error.value.where == run / "checkpoints" / "recipe.json"
    (run / "checkpoints" / "recipe.json").unlink()  # as of a run of an earlier version
    with pytest.raises(ModelError, match="do not fit the networks of this recipe"):
        train(edited, cases, run, resume=True, device="cpu")
    (run / "recipe.yaml").unlink()
    with pytest.raises(UsageError, match="'checkpoints' of a run without its recipe"):
        train(edited, cases, run, device="cpu")


def test_auto_context_needs_two_subjects(tmp_path):
    table = tiny.write_cases(tmp_path, train=1, val=0, test=0)
    with pytest.raises(UsageError, match="at least 2 training subjects"):
        train(tiny.recipe(config={"stages": 2}), table, tmp_path / "run", device="cpu")


def test_nothing_to_train_on(tmp_path):
    table = tiny.write_cases(tmp_path, train=0, val=1)
    with pytest.raises(InputError, match="no case has split 'train'"):
        train(tiny.RECIPE, table, tmp_path / "run", device="cpu")


def test_an_unreadable_output_folder_is_found_at_the_start(cases, tmp_path):
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(StorageError, match="a file, not a folder") as error:
            train(tiny.RECIPE, cases, out, device="cpu")
        assert error.value.where == tmp_path / "file"


def test_a_living_run_is_not_touched(cases, tmp_path):
    recipe = tiny.recipe(schedule={"steps": 1, "validate_every": 1})
    run = train(recipe, cases, tmp_path / "run", device="cpu")
    half = run / "checkpoints" / ".partial-x"
    half.write_bytes(b"half a checkpoint")
    before = (run / "recipe.yaml").stat().st_ino
    with folder_lock(run), pytest.raises(UsageError, match="another run is using"):
        train(recipe, cases, run, resume=True, device="cpu")
    assert half.read_bytes() == b"half a checkpoint"
    assert (run / "recipe.yaml").stat().st_ino == before


def test_a_finished_part_whose_weights_are_damaged_is_trained_again(cases, tmp_path, caplog):
    recipe = tiny.recipe(schedule={"steps": 2, "validate_every": 2})
    run = train(recipe, cases, tmp_path / "run", device="cpu")
    before = weights(run)
    path = run / "checkpoints" / "stage0" / "final.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    train(recipe, cases, run, resume=True, device="cpu")
    assert "stage0 are damaged" in caplog.text
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights(run).items())


def test_a_role_that_the_recipe_does_not_use_may_be_missing(tmp_path):
    table = tiny.write_cases(tmp_path / "cases", val=0, test=0)
    header, *rows = table.read_text().splitlines()
    table.write_text("\n".join([f"{header},t2", *(f"{row},not_there.nii.gz" for row in rows)]) + "\n")
    run = train(tiny.recipe(schedule={"steps": 1}), table, tmp_path / "run", device="cpu")
    files = json.loads((run / "run.json").read_text())["files"]
    assert set(files) == {f"case{n}/{role}" for n in range(3) for role in ("t1", "ct", "mask")}


def test_patches_smaller_than_the_method_can_take(cases, tmp_path):
    with pytest.raises(UsageError, match="at least 16"):
        train(tiny.recipe(patches={"size": [8, 16, 16]}), cases, tmp_path / "run", device="cpu")


def test_tensorboard_mirrors_the_log(cases, tmp_path):
    pytest.importorskip("tensorboard")
    run = train(tiny.recipe(schedule={"steps": 2, "tensorboard": True}), cases, tmp_path / "run", device="cpu")
    assert list((run / "tensorboard").glob("events.*"))


def test_a_run_keeps_the_precision_that_it_began_with(cases, tmp_path, monkeypatch):
    """On a node that would choose otherwise it goes on as before; its recipe and run.json say what it is."""
    recipe = tiny.recipe(schedule={"steps": 2, "save_every": 1, "precision": "auto"})
    monkeypatch.setattr(start, "best_precision", lambda device: "32")
    run = train(recipe, cases, tmp_path / "run", device="cpu")
    assert load_recipe(run / "recipe.yaml").schedule.precision == "32"
    monkeypatch.setattr(start, "best_precision", lambda device: "bf16")
    train(recipe, cases, run, device="cpu", resume=True)
    assert json.loads((run / "run.json").read_text())["precision"] == "32"
    other = train(recipe, cases, tmp_path / "other", device="cpu")
    assert json.loads((other / "run.json").read_text())["precision"] == "bf16"


def test_the_recipe_of_a_run_names_every_setting_of_its_method(cases, tmp_path):
    run = train(tiny.recipe(schedule={"steps": 1}), cases, tmp_path / "run", device="cpu")
    config = load_recipe(run / "recipe.yaml").config
    assert config["adversarial_weight"] == 0.01
    assert config["width"] == 0.125


def test_a_run_goes_on_with_its_own_cases_alone(cases, tmp_path):
    recipe = tiny.recipe(schedule={"steps": 2, "validate_every": 2})
    run = train(recipe, cases, tmp_path / "run", device="cpu")
    kept = {name: (run / name).read_bytes() for name in ("run.json", "cases.json", "model/weights.safetensors")}
    rows = cases.read_text().splitlines()
    other = cases.with_name("other.csv")

    def refused(lines, *words):
        other.write_text("\n".join(lines) + "\n")
        with pytest.raises(UsageError, match="the cases differ from the run's") as error:
            train(recipe, other, run, resume=True, device="cpu")
        assert all(word in error.value.what for word in words)
        assert {name: (run / name).read_bytes() for name in kept} == kept

    swapped = [row.replace(",train,", ",val,") if row.startswith("case0,") else row for row in rows]
    refused(swapped, "case0 was train and is val")
    refused([row for row in rows if not row.startswith("case1,")], "case1 is gone")
    refused([*rows, rows[1].replace("case0,", "twin,")], "twin is new")
    images = [row.replace("case1_t1", "case0_t1") if row.startswith("case1,") else row for row in rows]
    refused(images, "case1 has other images")
    other.unlink()
    train(recipe, cases, run, resume=True, device="cpu")
