"""What stands in the folder of a reader before each block of a how-to page, and which blocks are not run."""

from document_runner import SMALL
from how_to_layouts import (
    answered_study,
    bids,
    both,
    decathlon,
    each_case,
    factors,
    method,
    nnunet,
    picai,
    predicted,
    sampled,
    series,
    sheared,
    some_odd,
    study,
    two_domains,
)
from how_to_things import Thing, image, piece, recipe, run, table, text

ANEW = "."
"""As a name: whatever earlier blocks left is not there."""
OPTIONS = SMALL | {
    "phantom head": SMALL["phantom head"] | {"--subjects": "3"},
    "phantom prostate": {"--train": "1", "--test": "1", "--spacing": "4 4 4", "--workers": "1"},
    "phantom adaptation": SMALL["phantom adaptation"] | {"--test": "1", "--source-test": "1", "--validation": "1 1"},
    "benchmark": {"--seeds": "1"},
    "reader-study make": {"--count": "4"},
}
SHIPPED = {f"{role}.nii.gz": image(role) for role in ("t1", "t2", "flair")} | {"swi.nii.gz": image("ge")}
DICOM = {role.upper(): series(role) for role in ("t2w", "adc", "hbv")}
PIECES = {name: piece("ge" if name == "swi.nii.gz" else name.partition(".")[0]) for name in SHIPPED}
TABLE = {"cases.csv": table("t1", "ct", "mask")}
TWO = {"cases.csv": table("t1", "ct", "mask", only="test")}
CT = {ANEW: None, "run": run("ct"), "t1.nii.gz": image("t1"), **TWO}
EXPORTED = {**CT, "run": run("ct to export")}
FOLDS = {"fold0": run("ct"), "fold1": run("ct seed 1"), "fold2": run("ct seed 2")}
LESIONS = {
    ANEW: None,
    "run": run("lesions"),
    "cases.csv": table("flair", "t2", "label", "mask", only="test"),
    **SHIPPED,
}
PROSTATES = {"cases.csv": table("t2w", "adc", "hbv", "label", "lesion")}
DETECTORS = {"fold0": run("detector"), "fold1": run("detector seed 1"), "fold2": run("detector seed 2")}
SLICES = {"cases.csv": table("t1", "label", "mask")}
GENERATOR = {"run": run("vae"), **SLICES}
BEFORE: dict[str, dict[int, dict[str, Thing | None]]] = {
    "use-a-shipped-model": {
        1: PIECES | {f"{role}.nii.gz": image(role) for role in ("t2w", "adc", "hbv")} | {"scan.nii.gz": image("t2")},
        2: {"t1.nii.gz": image("t1"), "flair.nii.gz": image("flair"), "cases.csv": table("t1", "flair", only="test")},
    },
    "predict-a-cohort": {
        1: CT,
        2: {**CT, "run": run("ct of two"), "flair.nii.gz": image("flair")},
        3: {ANEW: None, "run": run("detector"), **DICOM},
        4: CT,
        6: {**LESIONS, "dataset": bids(t1="T1w", t2="T2w", flair="FLAIR")},
        7: LESIONS,
        8: {ANEW: None, **FOLDS, **TWO},
        9: {ANEW: None, **FOLDS, **TWO},
        10: {**CT, "translator": run("translator"), "run": run("cvae"), "cases.csv": table("t1", "flair", only="test")},
        11: CT,
        12: CT,
    },
    "train-on-your-data": {
        1: {
            "Dataset001_Brain": nnunet("t1"),
            "Task01_BrainTumour": decathlon("t1", "flair"),
            "my_study": bids(t1="T1w", ct="ct"),
        },
        2: TABLE,
    },
    "segment-lesions": {
        1: {"cases.csv": table("t1", "flair", "label", "mask")},
        2: {
            ANEW: None,
            "Dataset001_Brain": nnunet("t1", "flair", label="pieces"),
            "predictions": each_case("{case}/{case}_label.nii.gz", "pieces"),
            "nnunet_output": each_case("{case}.nii.gz", "pieces"),
        },
    },
    "detect-prostate-cancer": {
        1: PROSTATES,
        3: {f"{role}.nii.gz": image(role) for role in ("t2w", "adc", "hbv")},
        6: {ANEW: None, **DETECTORS, "cases.csv": table("t2w", "adc", "hbv", only="test")},
        7: {ANEW: None, "run": run("detector"), "t2w.nii.gz": image("t2w"), "adc.nii.gz": image("adc")},
    },
    "dicom-in-dicom-out": {
        1: {"study.zip": study("t1", "t2w"), "download": study("t1", "t2w")},
        2: {ANEW: None, "run": run("ct"), "study": study("t1")},
        3: {
            **{ANEW: None, "run": run("detector"), **DICOM, "study": study("t2w", "adc", "hbv")},
            "cases.csv": text("case,split,t2w,adc,hbv\np1,test,T2W,ADC,HBV\n"),
        },
        4: {ANEW: None, "run": run("ct"), "study/T1": series("t1", heights=[*range(10), *range(11, 20)])},
    },
    "mend-a-refused-series": {
        1: {
            "HBV": series("hbv", heights=[*range(7), *range(8, 13)]),
            "CT": both(series("ct", step=(0, 0.7, 3)), series("ct", number=5)),
            "sheared.nii.gz": sheared("t1", qform=True),
            "label.nii.gz": sheared("label", qform=False),
        }
    },
    "use-a-model-elsewhere": {1: EXPORTED, 3: EXPORTED},
    "score-detected-lesions": {
        1: {
            "images": picai(labels=False),
            "picai_labels/csPCa_lesion_delineations/human_expert/resampled": picai(labels=True),
            "recipe.yaml": recipe("cancer"),
        },
        2: {ANEW: None, "run": run("detector"), **PROSTATES},
        3: {"adversarial": predicted, "cross_entropy": predicted},
    },
    "judge-samples": {
        1: {"gan": run("gan"), **SLICES},
        3: {ANEW: None, "segmenter": run("segmenter"), "run": run("gan of volumes"), "samples": sampled, **SLICES},
        4: {"encoder": run("encoder"), "volumes": each_case("{case}_t1.nii.gz", "t1")},
    },
    "warn-of-odd-images": {1: TABLE, 2: {"run": run("ct")}, 3: {"mixed.csv": some_odd}},
    "look-at-samples": {
        1: GENERATOR,
        4: {ANEW: None, **GENERATOR, "encoder": run("encoder")},
        5: {ANEW: None, **GENERATOR, "encoder": run("encoder"), "samples": sampled},
    },
    "read-latent-codes": {1: {"run": run("vae"), **SLICES, "factors.csv": factors}},
    "run-a-reader-study": {
        1: GENERATOR,
        2: {
            **{ANEW: None, **TABLE, "predictions": each_case("{case}/{case}_ct.nii.gz", "ct")},
            **dict.fromkeys(("real_t1", "generated_t1"), each_case("{case}_t1.nii.gz", "t1")),
        },
        4: {ANEW: None, "study": answered_study},
    },
    "start-from-another-run": {1: {"other": run("ct"), "recipe.yaml": recipe("ct"), **TABLE}},
    "add-a-method": {2: {ANEW: None, **SLICES, "my_lab/linear_code.py": method}},
    "predict-with-intervals": {
        1: {"cvae": run("cvae"), **TABLE},
        2: {f"fold{n}": run(f"ct seed {n}") for n in range(2)},
    },
    "run-a-benchmark": {1: {"cases.csv": two_domains}},
    "adapt-to-a-new-scanner": {3: SHIPPED},
    "many-plausible-results": {1: TABLE},
    "translate-without-pairs": {1: {"cases.csv": table("t1", "flair", "mask")}},
}
"""By page and by number of a shell block, from 1: what stands under each name."""

CONTAINER = "docker and apptainer build images and need the network; test_packaging.py tests what the recipes name"
NO_GPU = "the machine of the tests has no GPU, and no second machine"
PARSED: dict[tuple[str, int], str] = {
    ("dicom-in-dicom-out", 5): "needs an archive that listens; tests/dicom/test_real_server.py does all of it with one",
    ("dicom-in-dicom-out", 6): "dciodvfy is another program; tests/dicom run it where it is installed",
    ("run-a-reader-study", 3): "serves until it is ended; tests/cli/test_reader_study.py starts it and ends it",
    ("run-in-a-container", 1): CONTAINER,
    ("run-in-a-container", 2): CONTAINER,
    ("run-in-a-container", 3): CONTAINER,
    ("run-in-a-container", 4): CONTAINER,
    ("use-a-gpu-or-cluster", 1): NO_GPU,
    ("use-a-gpu-or-cluster", 2): NO_GPU,
    ("use-a-gpu-or-cluster", 3): NO_GPU,
    ("use-a-model-elsewhere", 2): "MONAI's command line needs fire, which medgen does not; tests/export/test_bundle.py",
}
"""Shell blocks, by page and number, that no test runs as they stand, and why."""
