"""Mutation check: break one promise at a time in a copy of medgen, and show the test that notices.

    python -m tests.faults.mutations [WORD ...]     all mutations, or those whose name contains one of the words

Each mutation is one exact substitution of text. It is applied to a temporary copy of the tree, the few tests that ought
to notice are run, and those that fail are printed. Exit 1 if no test notices a mutation: a test is missing. Exit 2 if a
text is no longer there, or the tests fail without a mutation. Not part of the quick tests, where ``test_mutations.py``
checks the texts alone.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("medgen", "tests", "pyproject.toml")
SECONDS = 1200
"""Limit of one run of pytest."""

SHOWN = 3


class Mutation(NamedTuple):
    """What is broken, and where.

    Attributes:
        name: the fault in the words of a user.
        file: below the root of the tree.
        old: occurs once in the file.
        new: takes its place.
        tests: as pytest names them; at least one must fail.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


MUTATIONS = (
    Mutation(
        "a file is written in place, not renamed",
        "medgen/files/writing.py",
        "            temporary.replace(path)\n",
        "            path.write_bytes(temporary.read_bytes())\n",
        ("tests/faults/test_storage.py", "tests/test_files.py::test_contents_are_synced_before_the_rename"),
    ),
    Mutation(
        "a file is renamed before its contents are on the disk",
        "medgen/files/writing.py",
        "                os.fsync(file.fileno())\n",
        "                pass\n",
        ("tests/test_files.py::test_contents_are_synced_before_the_rename",),
    ),
    Mutation(
        "a checkpoint may run code",
        "medgen/training/checkpoint.py",
        'torch.load(path, map_location="cpu", weights_only=True)',
        'torch.load(path, map_location="cpu", weights_only=False)',
        ("tests/training/test_checkpoint.py::test_a_payload_is_refused_and_there_is_no_second_try",),
    ),
    Mutation(
        "what the safe reader refuses is read by the unsafe one",
        "medgen/training/checkpoint.py",
        "    except Exception as error:  # torch raises many kinds",
        '    except __import__("pickle").UnpicklingError:\n        return torch.load(path, weights_only=False)\n'
        "    except Exception as error:  # torch raises many kinds",
        ("tests/training/test_checkpoint.py::test_a_payload_is_refused_and_there_is_no_second_try",),
    ),
    Mutation(
        "a checkpoint is used without a look at its hash",
        "medgen/training/checkpoint.py",
        "if path.is_file() and sha256(path) == entry.sha256:",
        "if path.is_file():",
        ("tests/training/test_checkpoint.py::test_a_damaged_newest_gives_the_one_before",),
    ),
    Mutation(
        "the weights of a model are used without a look at their hash",
        "medgen/training/checkpoint.py",
        "if digest is not None and sha256(path) != digest:",
        "if False:",
        ("tests/training/test_checkpoint.py::test_a_flipped_bit_in_the_weights_is_noticed",),
    ),
    Mutation(
        "weights that are not finite become a model",
        "medgen/training/checkpoint.py",
        "    _require_finite(weights.items(), path)\n",
        "",
        ("tests/training/test_watch.py::test_what_is_not_finite_is_never_written",),
    ),
    Mutation(
        "two cases have a confidence interval",
        "medgen/metrics/resampling.py",
        "FEWEST = 6\n",
        "FEWEST = 2\n",
        ("tests/metrics/test_statistics.py::test_fewer_than_six_cases_have_no_interval_and_no_test",),
    ),
    Mutation(
        "a name in a model leads out of the output folder",
        "medgen/names.py",
        "or not name.isprintable() or _NOT_IN_NAMES & set(name):",
        "or not name.isprintable():",
        (
            "tests/inference/test_hostile_models.py::test_a_role_that_leads_outside_writes_nothing",
            "tests/inference/test_hostile_models.py::test_no_name_leads_out_of_a_folder",
        ),
    ),
    Mutation(
        "a resumed run has forgotten the state of its optimisers",
        "medgen/run/fitting.py",
        '            optimizer.load_state_dict(state["optimizers"][name])\n',
        "            pass\n",
        ("tests/run/test_experiment.py::test_twenty_steps_are_ten_and_resume_and_ten",),
    ),
    Mutation(
        "the generator of the patches has a state",
        "medgen/sampling/patches.py",
        "return np.random.Generator(np.random.Philox(key=np.array([self.seed, n], np.uint64)))",
        'return self.__dict__.setdefault("generator", np.random.default_rng(self.seed))',
        ("tests/sampling/test_patches.py::test_a_patch_depends_on_seed_and_number_only",),
    ),
    Mutation(
        "labels of the target domain are opened",
        "medgen/sampling/streams.py",
        "(roles.labels, any(stream.sees_labels for stream in streams))",
        "(roles.labels, True)",
        ("tests/sampling/test_adaptation_labels.py::test_labels_of_the_target_are_not_even_opened",),
    ),
    Mutation(
        "patches of the target domain are placed by its labels",
        "medgen/sampling/streams.py",
        'config if stream.sees_labels or config.sampling != "balanced" else uniform',
        "config",
        (
            "tests/sampling/test_streams.py::test_balanced_sampling_of_a_stream_that_may_not_see_labels_is_uniform",
            "tests/sampling/test_domains.py::test_target_patches_are_uniform_in_the_mask_whatever_the_recipe_says",
        ),
    ),
    Mutation(
        "a loss also changes the networks of the other optimisers",
        "medgen/training/loop.py",
        "torch.autograd.backward(total, inputs=owned, retain_graph=keep_graph)",
        "torch.autograd.backward(total, retain_graph=keep_graph)",
        ("tests/training/test_training.py::test_two_steps_by_hand", "tests/training/test_joint_steps.py"),
    ),
    Mutation(
        "a step is taken on a gradient that is not finite",
        "medgen/training/loop.py",
        "if not engine.everywhere(finite and all_finite):",
        "if False:",
        ("tests/training/test_training.py::test_a_step_that_is_not_finite_is_skipped_and_said",),
    ),
    Mutation(
        "an axis is flipped on reading",
        "medgen/volume/nifti.py",
        'return raw.reshape(shape, order="F"), notes',
        'return raw.reshape(shape, order="F")[::-1], notes',
        ("tests/volume/test_grids.py::test_every_orientation_keeps_its_grid_and_a_marker_its_place",),
    ),
    Mutation(
        "an axis of every tile is flipped on stitching",
        "medgen/inference/tiles.py",
        "kept = values[:, spans[0].kept, spans[1].kept, spans[2].kept]",
        "kept = values[:, spans[0].kept, spans[1].kept, spans[2].kept].flip(1)",
        ("tests/inference/test_tiles.py",),
    ),
    Mutation(
        "resampling moves the image by half a voxel",
        "medgen/preparation/resampling.py",
        "matrix[axis, axis] * np.arange(new_shape[axis]) + matrix[axis, 3]",
        "matrix[axis, axis] * (np.arange(new_shape[axis]) + 0.5) + matrix[axis, 3]",
        ("tests/preparation/test_resampling.py",),
    ),
    Mutation(
        "sform and qform that disagree are not refused",
        "medgen/volume/nifti.py",
        "    if geometry is None and not agree:\n",
        "    if False:\n",
        ("tests/volume/test_grids.py::test_disagreeing_forms_need_a_choice",),
    ),
    Mutation(
        "two images on different grids are used together",
        "medgen/volume/grid.py",
        "    if distance > tolerance * smallest:\n",
        "    if False:\n",
        ("tests/volume/test_grids.py::test_grids_are_compared_in_millimetres_at_the_corners",),
    ),
    Mutation(
        "the checksum at the end of a packed file is not read",
        "medgen/volume/nifti.py",
        "            while stream.tell() <= promised and stream.read(BLOCK):\n                pass\n",
        "",
        ("tests/volume/test_damaged_files.py",),
    ),
    Mutation(
        "HU beyond int16 wrap around",
        "medgen/volume/writing.py",
        'np.clip(values, limits.min, limits.max) if kind == "hu" else values',
        "values",
        ("tests/volume/test_writing.py::test_hounsfield_are_rounded_and_clipped",),
    ),
    Mutation(
        "a case without a number is dropped from a mean uncounted",
        "medgen/metrics/statistics.py",
        '"n_failed": int(np.isnan(numbers).sum()),',
        '"n_failed": 0,',
        ("tests/metrics/test_statistics.py",),
    ),
    Mutation(
        "a structure that is missed leaves the mean of the precision",
        "medgen/metrics/overlap.py",
        "    return 0.0 if truth.any() else math.nan\n",
        "    return math.nan\n",
        ("tests/metrics/test_overlap.py::test_a_missed_structure_scores_nothing_everywhere",),
    ),
    Mutation(
        "a structure that is missed has no surface distance",
        "medgen/metrics/surface.py",
        "    return math.hypot(*(size * step for size, step in zip(truth.shape, spacing, strict=True))), 0.0\n",
        "    return math.nan, 0.0\n",
        ("tests/metrics/test_surface.py::test_empty_masks",),
    ),
    Mutation(
        "a class that is neither there nor predicted counts as 0",
        "medgen/evaluation/class_table.py",
        "numbers = [values.get(index, ABSENT).get(self.metric, math.nan) for index in self.indices]",
        "numbers = [values.get(index, {}).get(self.metric, 0.0) for index in self.indices]",
        ("tests/evaluation/test_evaluation_of_segmentation.py",),
    ),
    Mutation(
        "a lesion is found by any voxel that touches it",
        "medgen/metrics/lesions.py",
        "one_to_one(overlapping(true, predicted, overlap))",
        "one_to_one(overlapping(true, predicted, 0.0))",
        ("tests/metrics/test_lesions.py",),
    ),
    Mutation(
        "one prediction finds every lesion it lies on",
        "medgen/metrics/lesions.py",
        "one_to_one(overlapping(true, predicted, overlap))",
        "overlapping(true, predicted, overlap)",
        ("tests/metrics/test_lesions.py",),
    ),
    Mutation(
        "the prepared images of a file that has changed are used again",
        "medgen/preparation/building.py",
        "files = {role: image_digest(path) for role, path in _paths(case, preparation).items()}",
        "files = {role: path.name for role, path in _paths(case, preparation).items()}",
        ("tests/preparation/test_store.py::test_changed_bytes_under_the_same_name_are_another_key",),
    ),
    Mutation(
        "one case that fails ends the cohort",
        "medgen/inference/one_case.py",
        "    except Exception as error:  # whatever is wrong with one case, the others must finish\n",
        "    except ZeroDivisionError as error:\n",
        ("tests/inference/test_cohort.py",),
    ),
    Mutation(
        "the reason of a failed case names the folder of the patient",
        "medgen/inference/one_case.py",
        "reason = reason_of(error, case.images)",
        "reason = str(error)",
        ("tests/inference/test_cohort.py::TestCohort::test_nothing_tells_where_the_patient_was",),
    ),
    Mutation(
        "a file that exists is overwritten unasked",
        "medgen/files/outputs.py",
        "    if Path(path).exists() and not overwrite:\n",
        "    if False:\n",
        ("tests/volume/test_writing.py::test_output_that_exists_is_kept_unless_told",),
    ),
    Mutation(
        "a model chooses which module is imported",
        "medgen/methods/catalogue.py",
        "        if name not in allow_modules:\n",
        "        if False:\n",
        ("tests/methods/test_method.py::test_a_foreign_module_is_not_imported_unless_allowed",),
    ),
    Mutation(
        "a traceback names the folders of this machine",
        "medgen/cli/failures.py",
        "    return _ABSOLUTE_PATH.sub(_shorten, text)\n",
        "    return text\n",
        ("tests/cli/test_cli.py",),
    ),
)


def mutate(root: Path, mutation: Mutation) -> str:
    """Apply one mutation below ``root``; the text of the file before it.

    Raises:
        ValueError: the text to be replaced does not occur exactly once.
    """
    path = root / mutation.file
    before = path.read_text()
    if (count := before.count(mutation.old)) != 1:
        raise ValueError(f"{mutation.name}: its text occurs {count} times in {mutation.file}:\n{mutation.old}")
    path.write_text(before.replace(mutation.old, mutation.new))
    return before


def failures(root: Path, tests: tuple[str, ...]) -> list[str] | None:
    """The tests that fail in the tree at ``root``, none if all pass; None if pytest could not run them."""
    pytest = [sys.executable, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=no", "-rfE"]
    given = {"cwd": root, "env": _environment(root), "timeout": SECONDS}
    try:
        run = subprocess.run([*pytest, *tests], capture_output=True, text=True, check=False, **given)
    except subprocess.TimeoutExpired:
        sys.stderr.write(f"the tests did not end in {SECONDS} s\n")
        return None
    found = re.findall(r"^(?:FAILED|ERROR) (tests/\S+\.py(?:::[^\s\[]+)+)", run.stdout, re.MULTILINE)
    if run.returncode == 0:
        return []
    if run.returncode != 1 or not found:
        sys.stderr.write(run.stdout + run.stderr)
        return None
    return list(dict.fromkeys(found))


def _environment(root: Path) -> dict[str, str]:
    alone = {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return {**os.environ, **alone}


def copy_tree(root: Path) -> None:
    """Copy what the tests need, and make sure that they would import the copy."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, root / name)
    code = "import medgen; print(medgen.__file__)"
    run = [sys.executable, "-B", "-c", code]
    found = subprocess.run(run, cwd=root, env=_environment(root), capture_output=True, text=True, check=True).stdout
    if not Path(found.strip()).is_relative_to(root):
        raise SystemExit(f"the tests would import {found.strip()}, not the copy")


def main(words: list[str]) -> int:
    """Check every mutation whose name contains one of the words; the exit code."""
    chosen = [each for each in MUTATIONS if not words or any(word in each.name for word in words)]
    survived, began = [], time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        copy_tree(root)
        tests = tuple(dict.fromkeys(test for each in chosen for test in each.tests))
        if (broken := failures(root, tests)) != []:
            print("the tests fail without a mutation:", *(broken or ()), sep="\n  ")
            return 2
        for each in chosen:
            before = mutate(root, each)
            noticed = failures(root, each.tests)
            (root / each.file).write_text(before)
            if noticed is None:
                print(f"ERROR     {each.name}: the tests could not be run")
                return 2
            if not noticed:
                survived.append(each.name)
            shown = noticed[:SHOWN] + [f"and {len(noticed) - SHOWN} more tests"] * (len(noticed) > SHOWN)
            print(f"{'noticed ' if noticed else 'SURVIVED'}  {each.name}", *shown, sep="\n            ", flush=True)
    print(f"{len(chosen) - len(survived)} of {len(chosen)} mutations noticed in {time.monotonic() - began:.0f} s")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
