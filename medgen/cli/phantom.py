"""``medgen phantom head``, ``adaptation``, ``tissues`` and ``prostate``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from cyclopts import App, Parameter

from medgen.cli.parameters import DEFAULTS

app = App(
    name="phantom",
    help="Make images of virtual patients with known anatomy, CT and lesions.",
    sort_key=2,
    default_parameter=DEFAULTS,
)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Making:
    """Options of both head phantoms.

    Args:
        seed: random seed of the patients.
        spacing: voxel size in mm.
        overwrite: replace an existing phantom in the output folder.
        workers: number of parallel processes; by default the number of cores.
    """

    seed: int = 0
    spacing: float = 2.0
    overwrite: bool = False
    workers: int | None = None


_USUAL = Making()


@app.command
def head(
    out: Path,
    /,
    *,
    subjects: int,
    domain: Literal["source", "target"] = "source",
    misalignment: float = 0.0,
    lesions: bool = False,
    stripped: bool = False,
    varied: bool = False,
    making: Making = _USUAL,
) -> None:
    """Make head phantoms: MR contrasts, CT in HU and a body mask.

    The same seed gives the same images, voxel for voxel.

    For example:

        medgen phantom head phantom --subjects 8 --seed 0 --spacing 2

    Args:
        out: output folder; 'cases.csv' in it lists the images.
        subjects: number of virtual patients.
        domain: the scanner: 'source', or 'target' with shifted contrast.
        misalignment: registration error in mm between CT and MR of training and validation cases; test cases have
            none.
        lesions: add contusions with a label map, and other lesions without a label.
        stripped: remove everything but the brain; the mask is then the brain.
        varied: every patient lies in another MR scanner: contrast, noise, bias and sharpness at random, to train a
            model for foreign images.
        making: seed, voxel size and processes.
    """
    from medgen.phantom import make_head_phantom

    choice = {"domain": domain, "misalignment": misalignment, "lesions": lesions}
    _make(make_head_phantom, out, making, subjects=subjects, **choice, stripped=stripped, varied=varied)


@app.command
def adaptation(
    out: Path,
    /,
    *,
    source: int = 20,
    target: int = 20,
    test: int = 24,
    source_test: int = 12,
    validation: tuple[int, int] = (4, 4),
    pair: str = "long_echo",
    randomised: int = 0,
    making: Making = _USUAL,
) -> None:
    """Make head phantoms with lesions on two scanners, for domain adaptation.

    The same seed gives the same images, voxel for voxel.

    For example:

        medgen phantom adaptation lesions --source 20 --target 20 --test 24 --seed 0
        medgen phantom adaptation lesions --randomised 5

    With --randomised N, each source training patient is also scanned N times
    by scanners whose contrast, resolution, bias field and noise are drawn at
    random. A network that trains on these copies ('cases_randomised.csv')
    has seen many scanners and no image of the target: domain randomisation,
    the baseline that every adaptation should beat. All other files stay the
    same.

    Args:
        out: output folder; 'cases.csv' in it lists the images of both scanners.
        source: number of training patients on the source scanner.
        target: number of training patients on the target scanner.
        test: number of test patients on the target scanner.
        source_test: number of test patients on the source scanner.
        validation: number of validation patients on the source and on the target scanner.
        pair: which two scanners, and which disease: long_echo, long_filter, short_filter or first;
            docs/explanation/phantom.md tells them apart.
        randomised: number of copies of each source training patient, each by a scanner drawn at random.
        making: seed, voxel size and processes.
    """
    from medgen.phantom import make_adaptation_phantom

    counts = {"source": source, "target": target, "test": test, "source_test": source_test, "validation": validation}
    _make(make_adaptation_phantom, out, making, pair=pair, randomised=randomised, **counts)


@app.command
def tissues(
    out: Path,
    /,
    *,
    subjects: int,
    scans: int = 4,
    seed: int = 0,
    spacing: float = 1.5,
    overwrite: bool = False,
    workers: int | None = None,
) -> None:
    """Make head phantoms with tissue labels, in scans of any contrast.

    Each virtual patient is scanned several times; contrast, resolution, noise
    and non-uniformity are drawn at random, half of the scans have no skull.
    A network that learns from them is meant to find tissues in any contrast.

    The same seed gives the same images, voxel for voxel.

    For example:

        medgen phantom tissues heads --subjects 60 --scans 4 --seed 0

    Args:
        out: output folder; 'cases.csv' in it lists the scans with their labels: 1 grey matter, 2 white matter, 3
            fluid, 4 bone, 5 soft tissue, 6 air in the head.
        subjects: number of virtual patients.
        scans: number of scans of each.
        seed: random seed of patients, contrasts and noise.
        spacing: voxel size in mm.
        overwrite: replace an existing phantom in the output folder.
        workers: number of parallel processes; by default the number of cores.
    """
    from medgen.phantom import make_tissue_phantom

    making = Making(seed=seed, spacing=spacing, overwrite=overwrite, workers=workers)
    _make(make_tissue_phantom, out, making, subjects=subjects, scans=scans)


def _make(make: Callable[..., Path], out: Path, making: Making, **choice: Any) -> None:
    from medgen.cli.output import say
    from medgen.cli.progress import progress_display

    with progress_display() as progress:
        table = make(out, **choice, **asdict(making), progress=progress)
    say(str(table))


@app.command
def prostate(
    out: Path,
    /,
    *,
    subjects: int | None = None,
    train: int | None = None,
    validation: int | None = None,
    test: int | None = None,
    seed: int = 0,
    positive: float = 0.5,
    spacing: tuple[float, float, float] = (0.5, 0.5, 3.0),
    native_diffusion: bool = False,
    contrast: float = 1.0,
    overwrite: bool = False,
    workers: int | None = None,
) -> None:
    """Make prostate phantoms: T2W, ADC, high b, zones, tumours by ISUP grade.

    Some of the patients have cancer, the others have none (--positive).

    The same seed gives the same images, voxel for voxel.

    For example:

        medgen phantom prostate patients --train 64 --test 60 --seed 0

    Args:
        out: output folder; 'cases.csv' in it lists the images.
        subjects: number of patients, to be split into training, validation and test; or use the next three options.
        train: number of training patients; 64 by default.
        validation: number of validation patients; none by default.
        test: number of test patients; 60 by default.
        seed: random seed of the patients.
        positive: fraction of each split with an aggressive tumour (ISUP grade 2 or more).
        spacing: voxel size of T2W in mm along X, Y and Z.
        native_diffusion: keep ADC and high b on their acquired voxels of 2 x 2 x 3 mm.
        contrast: factor on the density of tumours, 0 to 1.5; a lower one is harder to see.
        overwrite: replace an existing phantom in the output folder.
        workers: number of parallel processes; by default the number of cores.
    """
    from medgen.cli.output import say
    from medgen.cli.progress import progress_display
    from medgen.errors import UsageError
    from medgen.phantom import default_splits, make_prostate_phantom

    if subjects is None:
        counts = (64 if train is None else train, validation or 0, 60 if test is None else test)
    elif (train, validation, test) == (None, None, None):
        counts = default_splits(subjects)
    else:
        raise UsageError(
            "--subjects cannot be combined with --train, --validation or --test",
            fix="give either --subjects, or the number of patients of each split",
        )
    with progress_display() as progress:
        table = make_prostate_phantom(
            out,
            train=counts[0],
            validation=counts[1],
            test=counts[2],
            seed=seed,
            positive=positive,
            spacing=spacing,
            native_diffusion=native_diffusion,
            contrast=contrast,
            overwrite=overwrite,
            workers=workers,
            progress=progress,
        )
    say(str(table))
