"""Copies of the source's training patients by scanners drawn at random."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from medgen.cases import read_cases
from medgen.cases.phantoms import is_phantom
from medgen.cli import main
from medgen.errors import UsageError
from medgen.phantom import make_adaptation_phantom
from medgen.phantom.head import randomised
from medgen.phantom.head.pairs import ECHO_MS, HIGH_PASS_MM
from medgen.phantom.head.randomised import random_scanner
from medgen.phantom.head.sequences import fluid_null
from medgen.phantom.head.tissues import INDEX, nominal_tissues
from medgen.phantom.head.varied import BIAS, NOISE, SHARPNESS_MM
from medgen.phantom.randomness import SCANNER, Stream
from medgen.volume import read_volume

GROUPS = {"source": 2, "target": 1, "test": 1, "source_test": 1, "validation": (1, 0), "seed": 3, "spacing": 6}
COPIES = 3


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> tuple[Path, Path]:
    """The same phantom without and with copies."""
    plain, more = tmp_path_factory.mktemp("plain"), tmp_path_factory.mktemp("more")
    make_adaptation_phantom(plain, workers=1, **GROUPS)
    make_adaptation_phantom(more, workers=1, randomised=COPIES, **GROUPS)
    return plain, more


def scanners(count=200):
    return [random_scanner(Stream(0, SCANNER, 10_000 + number)) for number in range(count)]


def test_the_same_stream_is_the_same_scanner_and_another_is_another():
    first, again, other = (random_scanner(Stream(seed, SCANNER, 10_000)) for seed in (0, 0, 1))
    assert first == again
    assert (first.noise, first.bias, first.gains) != (other.noise, other.bias, other.gains)
    assert all(first.protocols[name] != other.protocols[name] for name in ("t1", "t2", "pd", "flair"))


def test_every_scanner_is_within_the_ranges_and_they_are_filled():
    drawn = {}

    def within(what, value, low, high):
        assert low <= value <= high, what
        drawn.setdefault(what, (low, high, []))[2].append(value)

    for scanner in scanners():
        within("noise", scanner.noise, *NOISE)
        within("bias", scanner.bias, *BIAS)
        assert list(scanner.protocols) in (["t1", "t2", "pd", "flair", "ge"], ["t1", "t2", "pd", "flair", "swi"])
        for name, protocol in scanner.protocols.items():
            sequence = protocol.sequence
            assert sequence.echo < sequence.repetition
            for edge in protocol.voxel:
                within(f"{name} voxel", edge, *SHARPNESS_MM)
            if name in randomised.SPIN_ECHOES:
                repetition, echo = randomised.SPIN_ECHOES[name]
                within(f"{name} repetition", sequence.repetition, *repetition)
                within(f"{name} echo", sequence.echo, *echo)
                assert sequence.invert == (name == "flair")
            if name == "flair":
                within("inversion", sequence.null, *randomised.INVERSION)
            if name in ("ge", "swi"):
                assert protocol.susceptible == {"ge": "magnitude", "swi": "phase"}[name]
                within(f"{name} repetition", sequence.repetition, *randomised.REPETITION_MS)
                within(f"{name} flip", sequence.flip, *randomised.FLIP)
                within(f"{name} echo", sequence.echo, *ECHO_MS)
            if name == "swi":
                within("high_pass", protocol.high_pass, *HIGH_PASS_MM)
    for what, (low, high, values) in drawn.items():
        assert max(values) / min(values) > 0.8 * high / low, what
    assert 70 < len(drawn["high_pass"][2]) < 130  # of 200 scanners


def test_what_a_role_means_holds_in_every_scanner():
    """However it is drawn: fluid and oedema are bright in T2, fluid is dark in FLAIR, blood is dark in GE."""
    tissues = nominal_tissues()
    for scanner in scanners():
        signals = {name: each.sequence.signal(tissues) for name, each in scanner.protocols.items()}
        look = {name: {kind: values[place] for kind, place in INDEX.items()} for name, values in signals.items()}
        assert look["t1"]["white"] > look["t1"]["grey"] > look["t1"]["csf"]
        assert look["t2"]["oedema"] > look["t2"]["grey"] > look["t2"]["white"]
        assert look["t2"]["csf"] > look["t2"]["white"]
        assert look["flair"]["oedema"] > look["flair"]["white"] > look["flair"]["csf"]
        shifted = look["swi" if "swi" in look else "ge"]
        assert shifted["white"] > shifted["blood"]
        assert shifted["oedema"] > shifted["blood"]


def test_the_null_of_fluid_can_be_missed():
    fluid = INDEX["csf"]
    signals = [
        randomised.SpinEcho(9000, 110, invert=True, null=null).signal(nominal_tissues())[fluid]
        for null in (0.85, 1.0, 1.15)
    ]
    assert signals[1] == pytest.approx(0, abs=1e-9)
    assert min(signals[0], signals[2]) > 0.01
    assert fluid_null(9000) == pytest.approx(2481, abs=1)


def test_every_other_file_is_the_same_to_the_byte(folders):
    plain, more = folders
    names = {path.relative_to(plain) for path in plain.rglob("*") if path.is_file()}
    assert len(names) > 40
    for name in names:
        assert (more / name).read_bytes() == (plain / name).read_bytes(), name
    others = {path.relative_to(more).parts[0] for path in more.rglob("*") if path.is_file()}
    assert others - {name.parts[0] for name in names} == {"randomised", "cases_randomised.csv"}


def test_the_table_has_copies_in_place_of_the_training_cases_of_the_source(folders):
    usual, own = (read_cases(folders[1] / name) for name in ("cases.csv", "cases_randomised.csv"))
    trained = own.select(split="train", domain="source")
    assert [(case.name, case.patient) for case in trained] == [
        (f"source_train_{person:03d}_random_{copy:02d}", f"source_train_{person:03d}")
        for person in range(2) for copy in range(COPIES)
    ]  # fmt: skip
    others = [case for case in usual.cases if (case.split, case.domain) != ("train", "source")]
    assert list(own.cases[len(trained) :]) == others
    kinds = {"ge" if "ge" in case.images else "swi" for case in trained}
    assert kinds == {"ge", "swi"}
    assert all(("ge" in case.images) != ("swi" in case.images) for case in trained)


def test_a_copy_is_the_same_person_in_another_scanner(folders):
    more = folders[1]
    originals = {case.name: case for case in read_cases(more / "cases.csv").cases}
    seen = []
    for case in read_cases(more / "cases_randomised.csv").select(split="train", domain="source"):
        original = originals[case.patient]
        for role in ("label", "mask"):
            assert case.images[role].read_bytes() == original.images[role].read_bytes()
        assert read_volume(case.images["label"]).data.any()
        mask = read_volume(case.images["mask"]).data[0] > 0
        for role in ("t1", "t2", "pd", "flair"):
            image = read_volume(case.images[role]).data[0]
            assert not image[~mask].any()
            seen.append((case.patient, role, image[mask].astype(float)))
            seen.append((case.patient, role, read_volume(original.images[role]).data[0][mask].astype(float)))
        assert is_phantom(case, ("t1", "label"))
    for place, (person, role, image) in enumerate(seen):
        for other_person, other_role, other in seen[:place]:
            if (person, role) == (other_person, other_role) and not np.array_equal(image, other):
                assert abs(np.corrcoef(image, other)[0, 1]) < 0.999
    of_first = [image for person, role, image in seen if (person, role) == ("source_train_000", "t2")]
    assert len({image.tobytes() for image in of_first}) == COPIES + 1


def test_noise_and_bias_of_a_copy_are_those_of_its_scanner(folders):
    with (folders[1] / "randomised" / "factors.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        person, copy = int(row["case"][13:16]), int(row["case"][-2:])
        scanner = random_scanner(Stream(3, SCANNER, 10_000 + 1000 * copy + person))
        assert (float(row["noise"]), float(row["bias"])) == pytest.approx((scanner.noise, scanner.bias), rel=1e-5)
    assert len({row["noise"] for row in rows}) == 2 * COPIES
    assert json.loads((folders[1] / "randomised" / "phantom.json").read_text())["cases"] == {"source_train": 6}


def test_more_copies_and_patients_keep_those_there_were(folders, tmp_path):
    fewer = {"source": 1, "target": 0, "test": 0, "source_test": 0, "validation": (0, 0), "seed": 3, "spacing": 6}
    make_adaptation_phantom(tmp_path, workers=1, randomised=1, **fewer)
    name = "source_train_000_random_00"
    for path in (tmp_path / "randomised" / name).iterdir():
        assert path.read_bytes() == (folders[1] / "randomised" / name / path.name).read_bytes()


def test_the_command_makes_them_and_its_help_says_what_for(tmp_path, capsys):
    few = "--source 1 --target 0 --test 0 --source-test 0 --validation 0 0 --spacing 8 --workers 1"
    with pytest.raises(SystemExit) as end:
        main(["phantom", "adaptation", str(tmp_path / "out"), *few.split(), "--randomised", "2"])
    assert not end.value.code
    assert len(read_cases(tmp_path / "out" / "cases_randomised.csv").cases) == 2
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["phantom", "adaptation", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "domain randomisation" in said
    assert "no image of the target" in said


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"randomised": -1}, "-1 random copies"),
        ({"randomised": 101}, "101 random copies"),
        ({"randomised": 1, "source": 0}, "no source training case"),
    ],
)
def test_copies_that_cannot_be_are_refused(tmp_path, wrong, said):
    with pytest.raises(UsageError, match=said):
        make_adaptation_phantom(tmp_path / "out", **GROUPS | wrong)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("again", [{"overwrite": True}, {"randomised": 1}])
def test_copies_of_other_people_do_not_stay_beside_a_new_phantom(tmp_path, again):
    (tmp_path / "cases_randomised.csv").write_text("case,split,t1\n")
    with pytest.raises(UsageError, match="table of random copies"):
        make_adaptation_phantom(tmp_path, **GROUPS | again)
