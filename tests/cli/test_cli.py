import errno
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from cli_commands import COMMANDS, lines_of, parse

import medgen
from medgen import errors
from medgen.cli import app, main
from medgen.cli.failures import as_user_error, without_folders
from medgen.cli.output import show_table
from medgen.cli.progress import PlainLines, progress_display


def run(capsys, *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exit_:
        main(words)
    out, err = capsys.readouterr()
    return int(exit_.value.code or 0), out, err


@pytest.mark.parametrize("command", COMMANDS)
def test_help_lists_every_option_and_its_examples_are_valid(capsys, command):
    code, out, err = run(capsys, *command.split(), "--help")
    assert (code, err) == (0, "")
    for option in COMMANDS[command].split():
        assert option in out
    examples = lines_of(out.split("For example:")[1])
    assert examples
    for example in examples:
        parse(example)


def test_root_help_lists_the_commands_in_the_order_of_work(capsys):
    code, out, _ = run(capsys)
    assert code == 0
    names = list(dict.fromkeys(command.split()[0] for command in COMMANDS))
    places = [out.index(f"│ {name} ") for name in names]
    assert places == sorted(places)
    assert "130 interrupted" in out
    for job in ("CT from MR", "prostate cancer in MR", "lesions on scanners without labels"):
        assert " ".join(job.split()) in " ".join(out.split())


def test_the_files_of_a_detector_are_named_in_the_help(capsys):
    _, out, _ = run(capsys, "predict", "--help")
    for name in ("p_label.nii.gz", "p_detection_map.nii.gz", "p_lesions.json"):
        assert name in out


def test_version(capsys):
    assert run(capsys, "--version") == (0, f"medgen {medgen.__version__}\n", "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trian"], 'Did you mean "train"'),
        (["train", "recipe.yaml"], "--cases"),
        (["train", "r.yaml", "--cases", "c.csv", "--out", "o", "--resum"], "Did you mean --resume"),
        (["train", "r.yaml", "--cases", "c.csv", "--out", "o", "--precision", "16"], '"bf16"'),
        (["predict", "run", "-o", "out"], "--input"),
        (["phantom", "head", "out", "--subjects", "many"], "many"),
        (["phantom", "head", "out", "--subjects", "1.5"], "--subjects: 1.5 is no whole number"),
        (["phantom", "adaptation", "out", "--seed", "1.5"], "--seed: 1.5 is no whole number"),
        (["phantom", "adaptation", "out", "--validation", "1.5", "2"], "1.5 is no whole number"),
        (["predict", "run", "-i", "x", "-o", "y", "--samples", "0.5"], "--samples: 0.5 is no whole number"),
        (["models", "extra"], "extra"),
    ],
)
def test_a_wrong_command_exits_2_and_names_the_help(capsys, words, said):
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "")
    assert said in err
    assert "--help" in err
    assert len(err.splitlines()) <= 3


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (errors.UsageError, 2),
        (errors.InputError, 3),
        (errors.CasesFailed, 4),
        (errors.MemoryExhausted, 5),
        (errors.ModelError, 6),
        (errors.StorageError, 7),
        (errors.Preempted, 75),
    ],
)
def test_each_error_has_three_lines_and_its_code(capsys, monkeypatch, kind, expected):
    _fail(monkeypatch, kind("what is wrong", where="a.nii.gz", fix="do this"))
    code, out, err = run(capsys, "models")
    assert (code, out) == (expected, "")
    assert err == "error: what is wrong\n  in: a.nii.gz\n  do: do this\n"


@pytest.mark.parametrize(
    ("error", "expected", "said"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (MemoryError(), 5, "out of memory"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), 5, "Tried to allocate 2 GiB"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes"), 5, "out of memory"),
        (OSError(errno.ENOSPC, "No space left on device", "x.npy"), 7, "no space left"),
        (PermissionError(errno.EACCES, "Permission denied", "x.npy"), 7, "no permission to write"),
        (RuntimeError("shapes differ"), 1, "this is a bug in medgen: RuntimeError: shapes differ"),
        (FileNotFoundError(errno.ENOENT, "No such file", "x"), 1, "this is a bug"),
    ],
)
def test_what_is_no_medgen_error_is_sorted_too(capsys, monkeypatch, error, expected, said):
    _fail(monkeypatch, error)
    code, _, err = run(capsys, "models")
    assert code == expected
    assert said in err
    assert "Traceback" not in err


def test_debug_shows_a_traceback_without_folders(capsys, monkeypatch):
    _fail(monkeypatch, ValueError(f"cannot read {Path.home()}/Ada Lovelace/t1.nii.gz"))
    code, _, err = run(capsys, "models", "--debug")
    assert code == 1
    assert 'File "medgen/cli/models.py", line' in err
    assert "Lovelace" not in err
    assert str(Path(medgen.__file__).parents[1]) not in err


@pytest.mark.parametrize("folder", ["Ada Lovelace", "Lovelace, Ada", 'Ada\'s: "head" (1815)', "Ada=1"])
def test_with_debug_no_message_has_a_folder(capsys, monkeypatch, tmp_path, folder):
    image = tmp_path / folder / "t1.nii.gz"
    _fail(
        monkeypatch,
        errors.InputError(f"'{image}' is cut", where=image, fix=f"copy it to {tmp_path}/{folder}/new again"),
    )
    assert str(image) in run(capsys, "models")[2]
    code, _, err = run(capsys, "models", "--debug")
    assert (code, "in: t1.nii.gz" in err, "'t1.nii.gz' is cut" in err) == (3, True, True)
    assert not any(name in err for name in ("Ada", "Lovelace", str(tmp_path), str(Path.home())))


def test_with_debug_folders_of_the_command_line_are_hidden(tmp_path):
    table = tmp_path / "Lovelace, Ada" / "head: (1815)" / "cases.csv"
    done = subprocess.run(
        [sys.executable, "-m", "medgen", "--debug", "check", str(table)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    assert "in: cases.csv" in done.stderr
    assert 'File "medgen/cli/check.py", line' in done.stderr
    printed = done.stdout + done.stderr
    assert not any(name in printed for name in ("Ada", "Lovelace", "1815", str(tmp_path), str(Path.home())))
    assert not re.search(r'File "/', printed)


def test_without_folders_keeps_what_is_no_path():
    assert without_folders("1/2 of 3/4 km/h <frozen importlib>") == "1/2 of 3/4 km/h <frozen importlib>"
    assert without_folders("'/a/b c/d.nii' and '/e/f.nii'") == "'d.nii' and 'f.nii'"


def test_models_as_json_and_as_lines(capsys):
    _, out, _ = run(capsys, "models", "--json")
    methods = {method["name"]: method for method in json.loads(out)}
    assert "stages" in methods["context_aware_gan"]["config"]
    _, out, _ = run(capsys, "models")
    assert out.splitlines()[0] == "name\tlearns from\tsummary"
    assert [line.split("\t")[0] for line in out.splitlines()[1:]] == sorted(methods)


def test_train_hands_everything_to_the_library(capsys, monkeypatch):
    seen = _record(monkeypatch, "medgen.run.experiment.train", Path("run"))
    words = "train r.yaml --cases c.csv --out run --set a.b=[1,2] --set seed=3 --max-minutes 5 --device cuda:1"
    code, out, _ = run(capsys, *words.split(), "--devices", "2", "--precision", "bf16", "--allow-module", "my.method")
    assert (code, out) == (0, "run\n")
    assert seen["args"] == (Path("r.yaml"), Path("c.csv"), Path("run"))
    wanted = {"overrides": ("a.b=[1,2]", "seed=3"), "max_minutes": 5.0, "device": "cuda:1", "devices": 2, "nodes": 1}
    wanted |= {"precision": "bf16", "allow_modules": ("my.method",), "resume": False, "store": None}
    assert {key: seen["kwargs"][key] for key in wanted} == wanted


def test_predict_takes_several_roles(capsys, monkeypatch):
    seen = _record(monkeypatch, "medgen.inference.cohort.predict", Path("ct.nii.gz"))
    words = "predict run -i t1=a.nii.gz -i flair=b.nii.gz -o ct.nii.gz --nan zero --geometry qform --frame 0"
    assert run(capsys, *words.split())[0] == 0
    assert seen["args"] == (Path("run"), ("t1=a.nii.gz", "flair=b.nii.gz"), Path("ct.nii.gz"))
    assert (seen["kwargs"]["nan"], seen["kwargs"]["geometry"], seen["kwargs"]["frame"]) == ("zero", "qform", 0)


def test_cases_pass_their_options_on(capsys, tmp_path):
    image = nibabel.Nifti1Image(np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2), np.eye(4))
    image.header.set_xyzt_units("mm")
    for name in ("task/a.nii.gz", "task/b.nii.gz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        nibabel.save(image, tmp_path / name)
    description = {"modality": {"0": "T2", "1": "ADC"}, "training": [{"image": f"{name}.nii.gz"} for name in "ab"]}
    (tmp_path / "task/dataset.json").write_text(json.dumps(description))
    words = ["cases", "from-msd", str(tmp_path / "task"), "-o", str(tmp_path / "cases.csv"), "--validation", "0"]
    code, _, err = run(capsys, *words)
    assert (code, "do: name a folder" in err, "--split-into" in err) == (3, True, True)
    code, _, err = run(capsys, *words, "--split-into", str(tmp_path / "split"))
    assert code == 0, err
    table = (tmp_path / "cases.csv").read_text()
    assert table.splitlines()[0] == "case,split,t2,adc"
    assert "a,train,split/a/a_t2.nii.gz,split/a/a_adc.nii.gz" in table
    (tmp_path / "cases.csv").write_text(table.replace("train", "test"))  # splits are changed by hand
    code, _, err = run(capsys, *words, "--split-into", str(tmp_path / "split"))
    assert (code, "the output exists" in err) == (2, True)
    assert (tmp_path / "cases.csv").read_text() != table
    code, _, err = run(capsys, *words, "--split-into", str(tmp_path / "split"), "--overwrite")
    assert (code, (tmp_path / "cases.csv").read_text()) == (0, table)
    for number in (1, 2):
        path = tmp_path / f"bids/sub-{number}/anat/sub-{number}_run-1_T1w.nii"
        path.parent.mkdir(parents=True)
        path.touch()
        path.with_name(path.name.replace("run-1", "run-2")).touch()
    words = ["cases", "from-bids", str(tmp_path / "bids"), "-o", str(tmp_path / "bids.csv")]
    code, _, err = run(capsys, *words)
    assert (code, "--prefer run-1" in err) == (3, True)
    assert run(capsys, *words, "--prefer", "run-2", "--validation", "0", "--test", "0")[0] == 0
    rows = (tmp_path / "bids.csv").read_text().splitlines()[1:]
    assert all(",train," in row and "run-2" in row for row in rows)
    code, _, err = run(capsys, *words, "--overwrite", "--prefer", "run-2", "--validation", "0.6", "--test", "0.6")
    assert (code, "--validation and --test" in err) == (2, True)


def test_phantom_check_and_evaluate_really_run(capsys, tmp_path):
    folder = tmp_path / "phantom"
    code, out, _ = run(capsys, "phantom", "head", str(folder), "--subjects", "1", "--spacing", "8", "--workers", "1")
    assert (code, out) == (0, f"{folder / 'cases.csv'}\n")
    code, out, _ = run(capsys, "check", str(folder / "cases.csv"))
    assert code == 0
    assert {line.split("\t")[2] for line in out.splitlines()[1:]} == {"split"}  # of one case
    code, out, _ = run(capsys, "check", str(folder))
    assert (code, len(out.splitlines())) == (0, 8)
    assert "head_000/head_000_ct.nii.gz\tNIfTI\t" in out
    scores = tmp_path / "scores.json"
    copies = tmp_path / "copies"
    copies.mkdir()
    shutil.copy(folder / "head_000" / "head_000_ct.nii.gz", copies)
    code, out, err = run(capsys, "evaluate", "synthesis", str(copies), str(folder / "cases.csv"), "-o", str(scores))
    assert code == 0, err
    assert json.loads(scores.read_text())["summary"]["mae"]["mean"] == 0
    assert "copy of its own reference" in json.loads(scores.read_text())["notes"][-1] + err
    assert out.splitlines()[1].startswith("mae (HU)\t0.0\t")


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("check folder", 3),
        ("check file", 3),
        ("check nothing", 3),
        ("check cases.csv --recipe folder", 2),
        ("check broken.csv", 3),
        ("prepare recipe.yaml --cases folder --store store", 3),
        ("prepare folder --cases cases.csv --store store", 2),
        ("prepare recipe.yaml --cases cases.csv --store file", 7),
        ("prepare recipe.yaml --cases broken.csv --store store", 3),
        ("evaluate synthesis copies cases.csv -o folder", 7),
        ("evaluate synthesis copies cases.csv -o file/scores.json", 7),
        ("evaluate synthesis nothing cases.csv -o scores.json", 3),
        ("evaluate synthesis . nothing -o scores.json", 3),
        ("evaluate synthesis . folder -o scores.json", 3),
        ("report . -o folder", 7),
        ("report . -o file/report.html", 7),
        ("report nothing", 3),
        ("report folder", 3),
        ("report . --cases folder", 3),
        ("predict folder -i cases.csv -o out", 6),
        ("predict nothing -i t1.nii -o ct.nii.gz", 6),
        ("predict file -i t1.nii -o ct.nii.gz", 6),
        ("cases from-nnunet nothing -o new.csv", 3),
        ("cases from-msd file -o new.csv", 3),
        ("cases from-bids nothing -o new.csv", 3),
        ("cases from-bids nothing -o folder", 7),
        ("phantom head file --subjects 1 --spacing 8", 7),
    ],
)
def test_a_wrong_path_is_no_bug(capsys, monkeypatch, patient, command, expected):
    monkeypatch.chdir(patient.folder)
    Path("folder").mkdir()
    Path("file").touch()
    Path("broken.csv").write_text("case,split,t1,t2,planning,region\np,train,folder,folder,folder,folder\n")
    Path("p_ct.nii").symlink_to("planning.nii")
    Path("copies").mkdir()
    shutil.copy("planning.nii", "copies/p_ct.nii")
    Path("cases.csv").write_text(
        "case,split,t1,t2,ct,planning,region\np,train,t1.nii,t2.nii,p_ct.nii,p_ct.nii,region.nii\n"
    )
    Path("recipe.yaml").write_text(json.dumps({"method": "supervised", **patient.recipe}))
    Path("run").mkdir()
    shutil.copy("recipe.yaml", "run")  # so that there is something to report
    code, _, err = run(capsys, *command.split())
    assert code == expected, err
    assert "this is a bug" not in err
    assert "  do: " in err


def test_check_shows_faults_and_exits_3(capsys, tmp_path):
    (tmp_path / "cases.csv").write_text("case,split,t1\np1,train,not_there.nii.gz\n")
    code, out, err = run(capsys, "check", str(tmp_path / "cases.csv"))
    assert code == 3
    row = next(line for line in out.splitlines() if line.startswith("error\tp1\tt1\t"))
    assert "there is no such file: not_there.nii.gz" in row
    assert err.splitlines()[-3].startswith("error: 1 error")


class _Patient:
    """One patient with two inputs, a CT and a region, and a recipe; a test spoils one of them."""

    shape = (12, 14, 10)

    def __init__(self, folder: Path) -> None:
        self.folder, self.recipe = folder, {"data": {"inputs": ["t1", "t2"], "target": "planning", "mask": "region"}}
        random = np.random.default_rng(0)
        tissue = np.full(self.shape, -1000.0)
        tissue[2:10, 2:12, 2:8] = 40
        self.put("t1", random.gamma(2, 100, self.shape))
        self.put("t2", random.gamma(2, 100, self.shape))
        self.put("planning", tissue)
        self.put("region", tissue > 0)
        (folder / "cases.csv").write_text(
            "case,split,t1,t2,planning,region\np,train,t1.nii,t2.nii,planning.nii,region.nii\n"
        )

    def put(self, role: str, data: np.ndarray, shift: float = 0.0, qform: float = 0.0) -> None:
        affine, other = np.diag([2.0, 2, 2, 1]), np.diag([2.0, 2, 2, 1])
        affine[0, 3], other[0, 3] = shift, shift + qform
        image = nibabel.Nifti1Image(data.astype(np.uint8 if data.dtype == bool else np.float32), affine)
        image.header.set_xyzt_units("mm")
        image.set_qform(other, 1)
        nibabel.save(image, self.folder / f"{role}.nii")

    def check(self, capsys, *options: str, **preparation: object) -> tuple[int, list[str]]:
        path = self.folder / "recipe.yaml"
        path.write_text(json.dumps({"method": "supervised", **self.recipe, "preparation": preparation}))
        code, out, _ = run(capsys, "check", str(self.folder / "cases.csv"), "--recipe", str(path), *options)
        rows = ["\t".join(line.split("\t")[:3:2]) for line in out.splitlines()[1:]]
        return code, [row for row in rows if row != "warning\tsplit"]  # one case alone: to train on, not to validate


@pytest.fixture
def patient(tmp_path):
    return _Patient(tmp_path)


def test_check_follows_the_recipe(capsys, patient):
    assert patient.check(capsys) == (0, [])
    images = {role: nibabel.load(patient.folder / f"{role}.nii").get_fdata() for role in ("t1", "planning", "region")}
    patient.put("planning", images["planning"] + 1024)  # is read as HU although the role is not called ct
    assert patient.check(capsys) == (3, ["error\tplanning"])
    assert patient.check(capsys, intensity={"planning": {"window": [0, 4000]}}) == (0, [])
    patient.put("planning", images["planning"], shift=4)
    assert patient.check(capsys) == (3, ["error\tplanning"])
    assert patient.check(capsys, resample_target=True) == (0, ["warning\tplanning"])
    patient.put("planning", images["planning"])
    holed = images["t1"].copy()
    holed[0, 0, 0] = np.nan
    patient.put("t1", holed)
    assert patient.check(capsys) == (3, ["error\tt1"])
    assert patient.check(capsys, nan="zero") == (0, ["warning\tt1"])
    patient.put("t1", images["t1"], qform=2)
    assert patient.check(capsys) == (3, ["error\tt1"])
    assert patient.check(capsys, geometry="sform") == (0, [])


def test_check_asks_of_a_case_what_its_method_needs(capsys, patient):
    """One side of an unpaired set is enough; a method for pairs wants both."""
    planning = nibabel.load(patient.folder / "planning.nii").get_fdata()
    (patient.folder / "planning.nii").unlink()
    table = patient.folder / "cases.csv"
    rows = table.read_text().splitlines()
    column = rows[0].split(",").index("planning")
    bare = [",".join("" if n == column else x for n, x in enumerate(row.split(","))) for row in rows[1:]]
    table.write_text("\n".join([rows[0], *bare]) + "\n")
    assert patient.check(capsys) == (3, ["error\tplanning"])
    patient.recipe["method"] = "cyclegan"
    assert patient.check(capsys) == (3, ["error\tsplit"])  # of no case is there the other side
    patient.put("planning", planning)
    with table.open("a") as file:
        file.write("q,train,,,planning.nii,region.nii\n")
    assert patient.check(capsys) == (0, [])


def test_check_finds_what_would_keep_a_training_from_beginning(capsys, patient):
    patient.recipe["config"] = {"stages": 2}
    assert patient.check(capsys) == (3, ["error\tsplit"])
    patient.recipe |= {"method": "entropy_minimisation", "config": {"network": "unet"}}
    patient.recipe["data"] = {"inputs": ["t1"], "labels": "region"}
    patient.recipe["patches"] = {"size": [48, 48, 48]}
    assert patient.check(capsys) == (3, ["error\tsplit"])


def test_check_looks_at_the_recipe_itself(capsys, patient):
    file = patient.folder / "recipe.yaml"
    file.write_text(json.dumps({"method": "supervised", **patient.recipe, "patches": {"size": [3, 3, 3]}}))
    code, _, err = run(capsys, "check", str(patient.folder / "cases.csv"), "--recipe", str(file))
    assert (code, "the patches are [3, 3, 3] voxels" in err) == (2, True)


def test_check_finds_the_mask_and_the_labels_by_the_names_of_the_recipe(capsys, patient):
    code, _, err = run(capsys, "check", str(patient.folder / "cases.csv"), "--classes", "1")
    assert (code, "no column 'label'" in err) == (2, True)
    code, _, err = run(capsys, "check", str(patient.folder / "cases.csv"), "--classes", "one")
    assert (code, "--classes 1,2" in err) == (2, True)
    segments = {"method": "segmentation", "config": {"network": "unet"}}
    patient.recipe |= {**segments, "data": {"inputs": ["t1"], "labels": "region"}}
    assert patient.check(capsys, "--classes", "1,2") == (0, [])
    assert patient.check(capsys, "--classes", "2") == (3, ["error\tregion"])
    patient.recipe |= {"data": {"inputs": ["t1"], "labels": "region", "mask": "region"}}
    (patient.folder / "region.nii").unlink()
    assert patient.check(capsys) == (3, ["error\tregion"])


def test_a_table_has_tabs_in_a_pipe_and_lines_on_a_terminal(capsys, monkeypatch):
    show_table(("a", "b"), [("1", "two\nlines")])
    assert capsys.readouterr().out == "a\tb\n1\ttwo lines\n"
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    show_table(("a", "b"), [("[bold]1", "2")])
    assert "│ [bold]1 │ 2 │" in terminal.getvalue()


def test_plain_progress_says_the_first_each_tenth_and_the_last():
    stream, now = io.StringIO(), [0.0]
    progress = PlainLines(stream, clock=lambda: now[0])
    for done in range(101):
        progress(done, 100, "steps")
        now[0] += 1.0
    shares = [int(line.split("%")[0]) for line in stream.getvalue().splitlines()]
    assert shares == [0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100]


def test_plain_progress_is_neither_hasty_nor_silent():
    stream, now = io.StringIO(), [0.0]
    progress = PlainLines(stream, clock=lambda: now[0])
    for done in range(11):  # ten steps in a second: only the first and the last
        progress(done, 10, "fast")
        now[0] += 0.1
    for done in range(4):  # a minute each of a thousand: every one, and a new phase begins
        progress(done, 1000, "slow")
        now[0] += 60
    assert [line.split()[-1] for line in stream.getvalue().splitlines()] == ["fast"] * 2 + ["slow"] * 4


def test_a_terminal_gets_a_bar_for_each_phase():
    terminal = _Terminal()
    with progress_display(terminal) as progress:
        progress(0, 2, "first [phase]")
        progress(2, 2, "first [phase]")
        progress(1, 3, "second")
    drawn = terminal.getvalue()
    assert "first [phase]" in drawn
    assert "2/2" in drawn
    assert "1/3" in drawn


def test_every_public_name_is_where_it_is_said_to_be():
    for name in medgen.__all__:
        assert getattr(medgen, name).__name__ == name
    assert set(medgen.__all__) <= set(dir(medgen))
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = medgen.trian


def test_no_command_lacks_a_test():
    def names(parent, prefix=()):
        for name in parent:
            if name.startswith("-"):
                continue
            inner = [key for key in parent[name] if not key.startswith("-")]
            yield from names(parent[name], (*prefix, name)) if inner else [" ".join((*prefix, name))]

    assert set(names(app)) == set(COMMANDS)


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _fail(monkeypatch, error: BaseException) -> None:
    def failing() -> None:
        raise error

    monkeypatch.setattr("medgen.methods.catalogue.list_methods", failing)


def _record(monkeypatch, target: str, result: object) -> dict:
    seen: dict = {}

    def recorder(*args, **kwargs):
        seen.update(args=args, kwargs=kwargs)
        return result

    monkeypatch.setattr(target, recorder)
    return seen


def test_what_the_library_decided_is_said_on_stderr_and_not_left_behind(capsys):
    import logging

    from medgen.cli.output import library_notes

    logger = logging.getLogger("medgen.inference.cohort")
    with library_notes():
        logger.info("the image looks unlike any the model was trained on")
        logger.warning("case p03 failed")
    logger.info("after")
    captured = capsys.readouterr()
    assert captured.err == "note: the image looks unlike any the model was trained on\nwarning: case p03 failed\n"
    assert captured.out == ""


def test_a_process_that_waited_for_another_is_no_bug():
    waited = RuntimeError("[pair.cc:553] Connection closed by peer [127.0.0.1]:37248. This is typically caused by ...")
    assert "another process of this run has failed" in str(as_user_error(waited))
    assert as_user_error(RuntimeError("anything else")) is None
