"""What stands in the folder of a reader before each block of a how-to page, and which blocks are not run."""

from document_runner import SMALL
from how_to_things import Thing, image, run, series, table

ANEW = "."
"""As a name: whatever earlier blocks left is not there."""
OPTIONS = SMALL
SHIPPED = {f"{role}.nii.gz": image(role) for role in ("t1", "t2", "flair")} | {"swi.nii.gz": image("ge")}
TABLE = {"cases.csv": table("t1", "ct", "mask")}
BEFORE: dict[str, dict[int, dict[str, Thing]]] = {
    "use-a-shipped-model": {1: SHIPPED},
    "segment-lesions": {1: {"cases.csv": table("t1", "flair", "label", "mask")}},
    "many-plausible-results": {1: TABLE},
    "translate-without-pairs": {1: {"cases.csv": table("t1", "flair", "mask")}},
}
"""By page and by number of a shell block, from 1: what stands under each name."""
