"""What stands in the folder of a reader before each block of a how-to page, and which blocks are not run."""

from document_runner import SMALL
from how_to_things import Thing, bids, decathlon, each_case, image, nnunet, run, series, table

ANEW = "."
"""As a name: whatever earlier blocks left is not there."""
OPTIONS = SMALL | {"phantom prostate": {"--train": "2", "--test": "2", "--spacing": "4 4 4", "--workers": "1"}}
SHIPPED = {f"{role}.nii.gz": image(role) for role in ("t1", "t2", "flair")} | {"swi.nii.gz": image("ge")}
DICOM = {role.upper(): series(role) for role in ("t2w", "adc", "hbv")}
TABLE = {"cases.csv": table("t1", "ct", "mask")}
CT = {ANEW: None, "run": run("ct"), "t1.nii.gz": image("t1"), **TABLE}
FOLDS = {ANEW: None, **{f"fold{n}": run(f"ct seed {n}") for n in range(3)}, **TABLE}
LESIONS = {ANEW: None, "run": run("lesions"), "cases.csv": table("flair", "t2", "label", "mask"), **SHIPPED}
PROSTATES = {"cases.csv": table("t2w", "adc", "hbv", "label", "lesion")}
DETECTORS = {ANEW: None, **{f"fold{n}": run(f"detector seed {n}") for n in range(3)}, **PROSTATES}
BEFORE: dict[str, dict[int, dict[str, Thing | None]]] = {
    "use-a-shipped-model": {1: SHIPPED},
    "predict-a-cohort": {
        1: CT,
        2: {**CT, "run": run("ct of two"), "flair.nii.gz": image("flair")},
        3: {ANEW: None, "run": run("detector"), **DICOM},
        4: CT,
        6: {**LESIONS, "dataset": bids(t1="T1w", t2="T2w", flair="FLAIR")},
        7: LESIONS,
        8: FOLDS,
        9: FOLDS,
        10: {**CT, "translator": run("translator"), "run": run("cvae"), "cases.csv": table("t1", "flair", "mask")},
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
        6: DETECTORS,
        7: {**DETECTORS, "run": run("detector"), "t2w.nii.gz": image("t2w"), "adc.nii.gz": image("adc")},
    },
    "many-plausible-results": {1: TABLE},
    "translate-without-pairs": {1: {"cases.csv": table("t1", "flair", "mask")}},
}
"""By page and by number of a shell block, from 1: what stands under each name."""
