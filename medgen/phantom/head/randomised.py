"""Domain randomisation: a scanner of which everything is drawn at random, for training without any target image.

The idea is that of SynthSeg (Billot et al., Medical Image Analysis 86:102789, 2023): a network that has seen every
contrast, resolution, non-uniformity and noise has no contrast to rely on. There, intensities of tissues are drawn;
here, the settings of sequences, so that what they do to blood and near air spaces remains physics.

====================  ===============================================================================
what                  range
====================  ===============================================================================
T1                    MPRAGE, spoiled gradient echo or spin echo, as in :mod:`medgen.phantom.head.varied`
T2                    repetition 2500 to 9000 ms, echo 60 to 150 ms
PD                    repetition 2000 to 6000 ms, echo 8 to 35 ms
FLAIR                 repetition 5000 to 12,000 ms, echo 70 to 160 ms, inversion 0.85 to 1.15 of the null of fluid
shifted channel       gradient echo or susceptibility-weighted image, equally often; echo 5 to 60 ms, repetition
                      25 to 1000 ms, flip angle 5 to 60 degrees; of the latter, phase filter of 8 to 100 mm
voxel, each sequence  edge 0.8 to 5 mm, in one of two one axis up to 5 times as thick, 5 mm at most
noise                 0.5 to 8 % of white matter
non-uniformity        5 to 60 %
====================  ===============================================================================

All draws are independent and, except for T1, uniform in the logarithm; an echo comes before 0.9 of its repetition. Echo
and filter of the shifted channel have the whole range that a :class:`~medgen.phantom.head.pairs.Pair` may have, so the
target of every pair **lies inside**, and half of the scanners have its kind of contrast. The ranges were written down
once, before any network was trained on them, and are tuned to no pair; but whoever wrote them knew that targets are
susceptibility-weighted. A network that learns from these scanners is told more than source images tell, though it sees
no image of the target.

Artefacts are those of susceptibility: signal loss near air and blood by echo and voxel, and what the filter leaves of
the phase. Motion, ghosts and Gibbs ringing are not in the phantom, and field strength is always 3 T.
"""

from __future__ import annotations

from dataclasses import replace

from medgen.cases import SOURCE
from medgen.phantom.head.acquisition import Scanner, make_scanner
from medgen.phantom.head.pairs import ECHO_MS, HIGH_PASS_MM, SHIFTED
from medgen.phantom.head.sequences import PROTOCOLS, GradientEcho, Protocol, SpinEcho
from medgen.phantom.head.varied import BIAS, NOISE, draw_log_uniform, draw_t1, draw_voxel
from medgen.phantom.randomness import Stream

SPIN_ECHOES = {
    "t2": ((2500.0, 9000.0), (60.0, 150.0)),
    "pd": ((2000.0, 6000.0), (8.0, 35.0)),
    "flair": ((5000.0, 12000.0), (70.0, 160.0)),
}
"""Repetition and echo in ms."""
INVERSION = (0.85, 1.15)
"""Of FLAIR, as a multiple of the time that nulls fluid."""
REPETITION_MS, FLIP = (25.0, 1000.0), (5.0, 60.0)
"""Of the shifted channel; flip angle in degrees."""
_SOONEST = 0.9
"""The latest echo as a share of the repetition."""


def random_scanner(stream: Stream) -> Scanner:
    """A scanner with everything of the MR drawn at random; the table above has the ranges.

    Args:
        stream: of this scanner; the same stream gives the same scanner.

    Returns:
        A scanner with the protocols t1, t2, pd, flair and one of ge and swi. Gains and CT are as in any scanner.
    """
    generator = stream.generator("randomised")
    noise, bias = (draw_log_uniform(generator, *limits) for limits in (NOISE, BIAS))
    shifted = SHIFTED if generator.random() < 0.5 else "ge"
    protocols = {name: _protocol(name, stream) for name in (*SPIN_ECHOES, "t1", shifted)}
    ordered = {name: protocols[name] for name in PROTOCOLS if name in protocols}
    return replace(make_scanner(SOURCE, stream), noise=noise, bias=bias, protocols=ordered)


def _protocol(name: str, stream: Stream) -> Protocol:
    generator = stream.generator(f"sequence {name}")
    protocol = replace(PROTOCOLS[name], voxel=draw_voxel(generator, thickest=5.0))
    if name == "t1":
        return replace(protocol, sequence=draw_t1(generator))
    if name in SPIN_ECHOES:
        repetition, echo = (draw_log_uniform(generator, *limits) for limits in SPIN_ECHOES[name])
        null = draw_log_uniform(generator, *INVERSION)
        return replace(protocol, sequence=SpinEcho(repetition, echo, invert=name == "flair", null=null))
    repetition, flip = (draw_log_uniform(generator, *limits) for limits in (REPETITION_MS, FLIP))
    echo = draw_log_uniform(generator, ECHO_MS[0], min(ECHO_MS[1], _SOONEST * repetition))
    high_pass = draw_log_uniform(generator, *HIGH_PASS_MM)
    return replace(protocol, sequence=GradientEcho(repetition, echo, flip), high_pass=high_pass)
