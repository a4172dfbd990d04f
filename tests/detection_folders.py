"""Folders of detection maps whose scores can be worked out by hand."""

import json

import numpy as np

from medgen.volume import Volume, write_volume

SHAPE = (12, 12, 6)
AFFINE = np.diag([0.5, 0.5, 3.0, 1.0])
TUMOUR = (slice(2, 6), slice(2, 6), slice(1, 3))  # 32 voxels
ELSEWHERE = (slice(8, 10), slice(8, 10), slice(3, 5))  # 8 voxels


def save(path, data, kind="scalar", affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.asarray(data, np.float32 if kind == "scalar" else np.uint8)
    return write_volume(Volume(data[None], affine), path, kind=kind, overwrite=True)


def volume(*places):
    """``(value, box)`` pairs on 0."""
    data = np.zeros(SHAPE)
    for value, box in places:
        data[box] = value
    return data


NOTHING = volume()
COHORT = {
    # truth (ISUP grade), detection map, label map (1 peripheral, 2 transition, 3 tumour)
    "hit": (volume((3, TUMOUR)), volume((0.9, TUMOUR)), volume((3, TUMOUR))),
    "half": (volume((2, TUMOUR)), volume((0.5, np.s_[2:4, 2:6, 1:3])), volume((3, np.s_[2:4, 2:6, 1:3]))),
    "missed": (volume((4, TUMOUR)), volume((0.7, ELSEWHERE)), volume((3, ELSEWHERE), (2, TUMOUR))),
    "healthy": (NOTHING, NOTHING, NOTHING),
    "indolent": (volume((1, TUMOUR)), volume((0.5, TUMOUR)), volume((3, TUMOUR))),
}


def cohort(folder, cases=COHORT, *, labels=True, flat=False, patients=None, mask=None):
    """Predictions as ``medgen predict`` writes them, and a table of the truth."""
    rows = ["case,split,lesion,mask,patient"]
    predictions = folder / "predictions"
    for case, (truth, found, label) in cases.items():
        save(folder / "truth" / f"{case}_lesion.nii.gz", truth, "label")
        if mask is not None:
            save(folder / "truth" / f"{case}_mask.nii.gz", mask, "label")
        place = predictions if flat else predictions / case
        if found is not None:
            save(place / f"{case}_detection_map.nii.gz", found)
            if labels:
                save(place / f"{case}_label.nii.gz", label, "label")
                (place / f"{case}_lesions.json").write_text('{"class": "tumour"}')
        region = f"truth/{case}_mask.nii.gz" if mask is not None else ""
        rows.append(f"{case},test,truth/{case}_lesion.nii.gz,{region},{(patients or {}).get(case, '')}")
    (folder / "cases.csv").write_text("\n".join(rows) + "\n")
    if labels:
        model = {"classes": ["peripheral zone", "transition zone", "tumour"], "target": "label"}
        (predictions / "prediction.json").write_text(json.dumps({"model": model}))
    return predictions, folder / "cases.csv"
