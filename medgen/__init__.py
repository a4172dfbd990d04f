"""medgen: generative models and domain adaptation for 3D medical images (research software).

Every command of the command line is one function of this package. The names below are imported when
they are first used, so that ``import medgen`` is quick and loads neither numpy nor torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medgen.baselines.beside import evaluate_with_baselines
    from medgen.benchmark import run_benchmark
    from medgen.cases import Case, CaseTable, from_bids, from_msd, from_nnunet, from_picai, read_cases, write_cases
    from medgen.checks import Described, Fault, check_cases, describe
    from medgen.demo import run_demo
    from medgen.dicom import read_source, write_contours, write_ct_series, write_parametric_maps, write_segmentations
    from medgen.dicom.studies import list_studies
    from medgen.evaluation import evaluate
    from medgen.evaluation.factor_probes import probe_codes
    from medgen.evaluation.reconstruction import reconstruct
    from medgen.evaluation.samples import evaluate_samples
    from medgen.export import export_model
    from medgen.inference.code_map import write_code_map
    from medgen.inference.cohort import predict
    from medgen.inference.encoding import encode
    from medgen.inference.generation import sample
    from medgen.inference.loading import load_model
    from medgen.inference.masks import make_mask, mask_cases
    from medgen.inference.synthetic_cases import cases_from_samples
    from medgen.inference.traversal import interpolate, traverse
    from medgen.live import watch_run
    from medgen.methods.catalogue import list_methods
    from medgen.phantom import (
        make_adaptation_phantom,
        make_head_phantom,
        make_prostate_phantom,
        make_tissue_phantom,
    )
    from medgen.reader import make_reader_study, score_reader_study, serve_reader_study
    from medgen.recipe.explained import explained_recipe, recipe_schema
    from medgen.report import write_report
    from medgen.report.card import read_card
    from medgen.run.experiment import prepare, train
    from medgen.run.start import plan
    from medgen.volume import Volume, read_volume, repair_volume, write_volume

    __version__: str

__all__ = [
    "Case",
    "CaseTable",
    "Described",
    "Fault",
    "Volume",
    "cases_from_samples",
    "check_cases",
    "describe",
    "encode",
    "evaluate",
    "evaluate_samples",
    "evaluate_with_baselines",
    "explained_recipe",
    "export_model",
    "from_bids",
    "from_msd",
    "from_nnunet",
    "from_picai",
    "interpolate",
    "list_methods",
    "list_studies",
    "load_model",
    "make_adaptation_phantom",
    "make_head_phantom",
    "make_mask",
    "make_prostate_phantom",
    "make_reader_study",
    "make_tissue_phantom",
    "mask_cases",
    "plan",
    "predict",
    "prepare",
    "probe_codes",
    "read_card",
    "read_cases",
    "read_source",
    "read_volume",
    "recipe_schema",
    "reconstruct",
    "repair_volume",
    "run_benchmark",
    "run_demo",
    "sample",
    "score_reader_study",
    "serve_reader_study",
    "train",
    "traverse",
    "watch_run",
    "write_cases",
    "write_code_map",
    "write_contours",
    "write_ct_series",
    "write_parametric_maps",
    "write_report",
    "write_segmentations",
    "write_volume",
]

_HOMES = {
    "medgen.baselines.beside": ("evaluate_with_baselines",),
    "medgen.benchmark": ("run_benchmark",),
    "medgen.cases": (
        "Case",
        "CaseTable",
        "from_bids",
        "from_msd",
        "from_nnunet",
        "from_picai",
        "read_cases",
        "write_cases",
    ),
    "medgen.checks": ("Described", "Fault", "check_cases", "describe"),
    "medgen.demo": ("run_demo",),
    "medgen.dicom": (
        "read_source",
        "write_contours",
        "write_ct_series",
        "write_parametric_maps",
        "write_segmentations",
    ),
    "medgen.dicom.studies": ("list_studies",),
    "medgen.evaluation": ("evaluate",),
    "medgen.evaluation.factor_probes": ("probe_codes",),
    "medgen.evaluation.reconstruction": ("reconstruct",),
    "medgen.evaluation.samples": ("evaluate_samples",),
    "medgen.export": ("export_model",),
    "medgen.run.experiment": ("prepare", "train"),
    "medgen.run.start": ("plan",),
    "medgen.inference.code_map": ("write_code_map",),
    "medgen.inference.cohort": ("predict",),
    "medgen.inference.encoding": ("encode",),
    "medgen.inference.generation": ("sample",),
    "medgen.inference.loading": ("load_model",),
    "medgen.inference.masks": ("make_mask", "mask_cases"),
    "medgen.inference.synthetic_cases": ("cases_from_samples",),
    "medgen.inference.traversal": ("interpolate", "traverse"),
    "medgen.live": ("watch_run",),
    "medgen.methods.catalogue": ("list_methods",),
    "medgen.phantom": (
        "make_adaptation_phantom",
        "make_head_phantom",
        "make_prostate_phantom",
        "make_tissue_phantom",
    ),
    "medgen.reader": ("make_reader_study", "score_reader_study", "serve_reader_study"),
    "medgen.recipe.explained": ("explained_recipe", "recipe_schema"),
    "medgen.report": ("write_report",),
    "medgen.report.card": ("read_card",),
    "medgen.volume": ("Volume", "read_volume", "repair_volume", "write_volume"),
}
_BRIDGES = ("monai", "torchio")
"""Packages that turn data of medgen into what another library knows, e.g. ``medgen.monai.dataset``."""
_MODULE_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a public name from its module the first time it is asked for."""
    if name == "__version__":
        globals()[name] = _installed_version()
        return globals()[name]
    if name in _BRIDGES:
        return import_module(f"medgen.{name}")
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'medgen' has no attribute '{name}'")
    value = getattr(import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def _installed_version() -> str:
    """What the installation says, which has it from the repository's tags; a bare source tree does not know."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("medgen")
    except PackageNotFoundError:
        return "0+unknown"


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_BRIDGES})
