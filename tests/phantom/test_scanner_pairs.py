"""Pairs of scanners: what differs between the domains, and what their patients have."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from medgen.cases import DOMAINS
from medgen.cli import main
from medgen.errors import UsageError
from medgen.phantom import make_adaptation_phantom
from medgen.phantom.deformation import SubjectMap
from medgen.phantom.head import template
from medgen.phantom.head.acquisition import make_scanner
from medgen.phantom.head.lesions import Disease, draw_findings
from medgen.phantom.head.pairs import PAIRS, SHIFTED, Pair
from medgen.phantom.head.sequences import PROTOCOLS
from medgen.phantom.head.tissues import INDEX, subject_tissues
from medgen.phantom.randomness import SCANNER, SUBJECT, Stream
from medgen.phantom.susceptibility import GYROMAGNETIC, phase_mask, shimmed

SEED = 5


@pytest.fixture(scope="module")
def findings():
    """A function from a disease to the findings of six people."""
    maps = template.load_template(6.0)
    people = [Stream(SEED, SUBJECT, index) for index in range(6)]
    mappings = [SubjectMap(person) for person in people]
    return lambda disease: [draw_findings(maps, *each, disease) for each in zip(mappings, people, strict=True)]


def test_the_first_pair_is_what_it_was(findings):
    source, target = (make_scanner(domain, Stream(SEED, SCANNER, 0)) for domain in DOMAINS)
    assert Pair().scanner(target, source) == target
    assert PAIRS["first"] == Pair()
    assert {len(each.distractors) for each in findings(Disease())} <= set(range(6, 11))


def test_the_help_names_every_pair(capsys):
    with pytest.raises(SystemExit):
        main(["phantom", "adaptation", "--help"])
    words = re.findall(r"\w+", capsys.readouterr().out)
    assert set(PAIRS) <= set(words)


def test_what_patients_have(findings):
    usual, few = findings(Disease()), findings(Disease(distractors=(1, 3)))
    assert {len(each.distractors) for each in few} == {1, 2, 3}
    assert [each.contusions for each in few] == [each.contusions for each in usual]
    more = findings(Disease(blood=1.5))
    for first, second in zip(usual, more, strict=True):
        expected = [min(1.0, 1.5 * lesion.amount) for lesion in first.contusions]
        assert [lesion.amount for lesion in second.contusions] == expected
        scar = [min(1.0, 1.5 * lesion.amount) for lesion in first.distractors]
        assert [lesion.amount for lesion in second.distractors] == scar  # a spin echo sees scar as it sees blood


def test_half_of_the_contusions_lie_far_from_the_skull_base(findings):
    places = {
        share: [lesion.shape.center for each in findings(Disease(convex=share)) for lesion in each.contusions]
        for share in (0.0, 0.5, 1.0)
    }
    heights = {share: np.array(found)[:, 2] for share, found in places.items()}
    high = {share: np.mean(found > 10) for share, found in heights.items()}
    assert high[0.0] < 0.45 < high[0.5] < 0.9 < high[1.0]


def test_lesions_without_blood_near_the_surface_lie_where_contusions_lie(findings):
    usual = findings(Disease())
    assert [each.distractors for each in findings(Disease(convex=0.0, shallow=0.5))] == [
        each.distractors for each in usual
    ]
    heights = {
        share: np.array([each.shape.center[2] for found in findings(Disease(convex=share, shallow=1.0))
                         for each in found.distractors])
        for share in (0.0, 1.0)
    }  # fmt: skip
    assert np.mean(heights[0.0] > 10) < 0.45
    assert np.mean(heights[1.0] > 10) > 0.95


def test_scanner_and_tissues_of_a_pair():
    source, target = (make_scanner(name, Stream(SEED, SCANNER, place)) for place, name in enumerate(DOMAINS))
    pair = Pair(high_pass=60, echo=30, oedema=150, alike=True)
    mine = pair.scanner(target, source)
    assert (mine.noise, mine.bias, mine.gains) == (source.noise, source.bias, target.gains)
    assert (mine.protocols[SHIFTED].high_pass, mine.protocols[SHIFTED].sequence.echo) == (60, 30)
    assert {name: each for name, each in mine.protocols.items() if name != SHIFTED} == {
        name: each for name, each in PROTOCOLS.items() if name != SHIFTED
    }
    usual = PROTOCOLS[SHIFTED].sequence.repetition
    repetitions = {echo: Pair(echo=echo).protocols()[SHIFTED].sequence.repetition for echo in (5, 20, 40, 60)}
    assert repetitions == {5: usual, 20: usual, 40: usual + 20, 60: usual + 40}
    assert all(echo < 0.9 * repetition for echo, repetition in repetitions.items())
    person = Stream(SEED, SUBJECT, 0)
    before, after = subject_tissues(person), pair.tissues(subject_tissues(person))
    for name, factor in (("oedema", 0.75), ("gliosis", 0.75), ("scar", 1), ("white", 1)):
        index = INDEX[name]
        assert after.t2[index] == pytest.approx(factor * before.t2[index])
        assert after.t2_star[index] == pytest.approx(factor * before.t2_star[index])


@pytest.mark.parametrize(
    "wrong",
    [
        {"oedema": 0}, {"high_pass": float("nan")}, {"echo": 500}, {"disease": Disease(blood=-1)},
        {"disease": Disease(convex=2)}, {"disease": Disease(shallow=-0.1)}, {"disease": Disease(distractors=(3, 1))},
        {"disease": Disease(distractors=(-1, 1))},
    ],
)  # fmt: skip
def test_what_no_scanner_has_is_refused(wrong):
    with pytest.raises(UsageError, match="of a pair of scanners is"):
        Pair(**wrong)


@pytest.mark.parametrize("spacing", [1.0, 2.0, 3.0])
def test_the_phase_filter_keeps_what_varies_over_less_than_its_cutoff(spacing):
    """A small wave of the field: over 24 mm nearly all of it passes a cut-off of 60 mm, over 96 mm little does."""
    echo, size = 20.0, round(192 / spacing)
    turn = GYROMAGNETIC * 3.0 * echo * 1e-3  # turns of the phase per ppm
    x = spacing * np.arange(size)
    kept = {}
    for wave in (24, 96):
        shift = np.broadcast_to((0.02 / turn * np.sin(2 * np.pi * x / wave))[:, None, None], (size, 4, 4))
        mask = phase_mask(np.array(shift), np.ones(shift.shape), spacing, echo, 60.0, power=1)
        kept[wave] = (1 - mask.min()) / (2 * 0.02)
    for wave, share in kept.items():
        assert share == pytest.approx(1 - np.exp(-((60 / wave) ** 2)), abs=0.02)


def test_the_phase_of_what_gives_no_signal_does_not_reach_the_tissue():
    random = np.random.default_rng(0)
    tissue = np.zeros((32, 32, 8), dtype=bool)
    tissue[8:24, 8:24] = True
    shift = np.where(tissue, 0.01 * random.standard_normal(tissue.shape), 0)
    wild = np.where(tissue, shift, 9.4 * random.standard_normal(tissue.shape))
    masks = [phase_mask(each, tissue.astype(float), 3.0, 20.0, 30.0)[tissue] for each in (shift, wild)]
    assert masks[0] == pytest.approx(masks[1])
    assert masks[0].min() < 0.9  # the phase of the tissue does


def test_the_shim_takes_the_low_orders_away_and_leaves_the_rest():
    x, y, z = 3.0 * np.indices((20, 22, 18)) - 30
    inside = x**2 + y**2 + (z - 5) ** 2 < 25**2
    low = 0.3 + 0.01 * x - 0.02 * z + 1e-4 * (x * y + y * z) - 2e-4 * (x**2 - y**2) + 1e-4 * (2 * z**2 - x**2 - y**2)
    assert abs(shimmed(low, 3.0, inside)).max() < 1e-9
    third = 1e-5 * (x**3 - 3 * x * y**2)
    left = shimmed(low + third, 3.0, inside)
    assert np.std(left[inside]) == pytest.approx(np.std(third[inside]), rel=0.4)
    assert np.std(left[inside]) < np.std((low + third)[inside])


def test_a_pair_by_name_and_by_value(tmp_path):
    groups = {"source": 0, "target": 1, "test": 0, "source_test": 0, "validation": (0, 0), "spacing": 8, "workers": 1}
    with pytest.raises(UsageError, match="no pair of scanners 'second'"):
        make_adaptation_phantom(tmp_path / "out", pair="second", **groups)
    assert not (tmp_path / "out").exists()
    pair = replace(PAIRS["first"], high_pass=60.0)
    make_adaptation_phantom(tmp_path / "out", pair=pair, **groups)
    settings = json.loads((tmp_path / "out" / "phantom.json").read_text())["pair"]
    assert (settings["high_pass"], settings["disease"]["distractors"]) == (60, [6, 10])
