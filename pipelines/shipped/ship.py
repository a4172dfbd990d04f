"""Put a trained run into the package, where its name takes the place of a run folder.

    python pipelines/shipped/ship.py runs/head_ct/run head-ct --scores runs/head_ct/scores.json

The weights are rounded: kernels to eight bits a number, the rest to half precision. ``README.md``
has the commands that train each model.
"""

from __future__ import annotations

import argparse
import shutil
from dataclasses import replace
from pathlib import Path

import medgen.shipped
from medgen.files import sha256, write_json
from medgen.inference.boosting import FILE
from medgen.report.card import as_markdown, read_card, write_scores
from medgen.training.checkpoint import save_weights
from medgen.training.model_folder import model_folder, read_weights
from medgen.training.packed import packed

SUMMARIES = {
    "head-ct": "a T1 of the head to CT in HU; learnt from phantoms in T1 contrasts of many scanners",
    "head-tissues": "grey and white matter, fluid, bone, soft tissue and air in an MR of the head in any contrast, "
    "with or without the skull; learnt from phantoms",
    "contusions": "contusions in T2, FLAIR and gradient echo or SWI of a brain without its skull; learnt from phantoms",
    "prostate": "zones and suspicious lesions of a prostate in T2W, ADC and high-b DWI; learnt from phantoms",
}
LIMIT_MB = 10.0
"""Of all models together."""


def main() -> None:
    """Round, copy and describe one model."""
    options = _arguments()
    parts, content = read_weights(Path(options.run))
    folder = Path(medgen.shipped.__file__).parent / options.name
    folder.mkdir(exist_ok=True)
    weights = {f"stage{n}.{name}": tensor for n, part in enumerate(parts) for name, tensor in part.items()}
    save_weights(folder / medgen.shipped.WEIGHTS, packed(weights))
    content["provenance"] = {**(content.get("provenance") or {}), "licence": "Apache-2.0"}
    content |= {"summary": SUMMARIES[options.name], "weights_sha256": sha256(folder / medgen.shipped.WEIGHTS)}
    write_json(folder / "model.json", content)
    if (context := model_folder(Path(options.run)) / FILE).is_file():
        shutil.copyfile(context, folder / FILE)
    card = replace(read_card(folder), scores=read_card(options.run, options.scores).scores)
    write_scores(card, folder)
    (folder / "CARD.md").write_text(as_markdown(card), encoding="utf-8")
    total = sum(each.megabytes for each in medgen.shipped.available())
    print(f"{folder.name}: {(folder / medgen.shipped.WEIGHTS).stat().st_size / 1e6:.1f} MB; all models {total:.1f} MB")
    if total > LIMIT_MB:
        raise SystemExit(f"the models have {total:.1f} MB, at most {LIMIT_MB:g} are taken")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="run folder")
    parser.add_argument("name", choices=SUMMARIES, help="of the model")
    parser.add_argument(
        "--scores", nargs="*", default=[], help="files of 'medgen evaluate' for the card; by default those of the run"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
