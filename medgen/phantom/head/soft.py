"""Eyes, airways, muscles and the surface of face and neck, in millimetres of the MNI152 frame (RAS+).

Read like the tables of :mod:`medgen.phantom.head.skull`.
"""

from medgen.phantom.head.structure import Structure
from medgen.phantom.shapes import Capsule, Ellipsoid

# Air that is open to the outside, and what lines it.
PASSAGES: tuple[Structure, ...] = (
    Structure(
        "turbinates",
        (Ellipsoid((9, 44, -67), (3.6, 23, 5.5)), Ellipsoid((8.5, 42, -54), (3.0, 18, 4.5))),
        fill="mucosa",
        paired=True,
        blend=0,
        rough=0.8,
        vary=0.12,
    ),
    Structure(
        "nasal cavity",
        (Ellipsoid((6.8, 46, -60), (6.2, 38, 19)), Capsule((6, 82, -64), (7, 94, -76), 5, 4)),
        fill="air",
        paired=True,
        rim=0.7,
        rim_tissue="mucosa",
        rough=0.8,
    ),
    Structure(
        "pharynx",
        (
            Ellipsoid((0, 6, -64), (13, 8, 15)),
            Ellipsoid((0, -1, -90), (11, 6, 22)),
            Capsule((0, -6, -105), (0, -8, -130), 8, 8),
        ),
        fill="air",
        rim=0.8,
        rim_tissue="mucosa",
        rough=1.0,
        vary=0.10,
        blend=6,
    ),
    Structure(
        "mouth",
        (Ellipsoid((0, 44, -85), (21, 27, 2.6)),),
        fill="air",
        rough=1.2,
        vary=0.35,
        absent=0.3,
    ),
    Structure(
        "ear canal",
        (Capsule((52, -20, -37), (96, -24, -38), 3.2, 4.2), Ellipsoid((82, -20, -36), (6, 6, 8))),
        fill="air",
        paired=True,
        rough=0.5,
        blend=4,
    ),
)

# The eyes and what moves them, then the fat around.
ORBITS: tuple[Structure, ...] = (
    Structure("lens", (Ellipsoid((33, 70.5, -36), (4.6, 2.2, 4.6)),), fill="skin", paired=True, rough=0, shift=0),
    Structure(
        "eyeball",
        (Ellipsoid((33, 61.5, -36), (12.2, 12.2, 12.2)),),
        fill="csf",
        paired=True,
        rim=1.1,
        rim_tissue="muscle",
        rough=0,
        vary=0.02,
        shift=0,
    ),
    Structure(
        "optic nerve", (Capsule((32, 50, -36), (14, 20, -31), 2.2, 2.2),), fill="white", paired=True, rough=0.3, shift=0
    ),
    Structure(
        "eye muscles",
        (
            Capsule((45, 56, -37), (18, 25, -34), 2.0, 1.8),
            Capsule((21, 56, -36), (16, 25, -33), 2.0, 1.8),
            Capsule((33, 57, -24), (17, 25, -30), 1.8, 1.6),
            Capsule((33, 57, -48), (17, 25, -37), 1.9, 1.6),
        ),
        fill="muscle",
        paired=True,
        blend=0,
        rough=0.3,
        shift=0,
    ),
    Structure(
        "orbit",
        (Capsule((17, 27, -34), (34, 63, -37), 5, 18.5),),
        fill="fat",
        paired=True,
        rough=0.6,
        vary=0.03,
        shift=0,
        clear_brain=1.4,
        clear_skin=4.0,
    ),
)

MUSCLES: tuple[Structure, ...] = (
    Structure(
        "tongue",
        (Ellipsoid((0, 40, -103), (24, 34, 17)), Ellipsoid((0, 22, -112), (20, 22, 20))),
        fill="muscle",
        rough=0.8,
        amount=0.85,
    ),
    Structure(
        "masseter",
        (Ellipsoid((60, 16, -78), (7.5, 16, 25), -12),),
        fill="muscle",
        paired=True,
        vary=0.1,
        clear_skin=4.0,
    ),
    Structure(
        "temporalis",
        (Ellipsoid((66, 14, -16), (11, 33, 34)), Capsule((60, 22, -44), (52, 20, -62), 8, 6)),
        fill="muscle",
        paired=True,
        clear_skin=4.0,
    ),
    Structure(
        "pterygoids",
        (Ellipsoid((35, 8, -72), (9, 15, 18), -15), Ellipsoid((34, 12, -54), (14, 12, 7))),
        fill="muscle",
        paired=True,
        amount=0.95,
    ),
    Structure("prevertebral", (Ellipsoid((9, -15, -96), (9, 6.5, 36)),), fill="muscle", paired=True),
    Structure(
        "suboccipital",
        (Ellipsoid((20, -66, -88), (19, 17, 26)), Ellipsoid((16, -80, -98), (15, 14, 40))),
        fill="muscle",
        paired=True,
        blend=0,
        clear_skin=5.0,
    ),
    Structure(
        "trapezius", (Capsule((12, -104, -52), (30, -92, -125), 6, 9),), fill="muscle", paired=True, clear_skin=5.0
    ),
    Structure(
        "sternomastoid", (Capsule((62, -42, -58), (50, -14, -130), 9, 11),), fill="muscle", paired=True, clear_skin=4.5
    ),
    Structure(
        "parotid", (Ellipsoid((64, -6, -70), (8, 12, 19)),), fill="mucosa", paired=True, amount=0.45, clear_skin=3.0
    ),
    Structure("lips", (Ellipsoid((0, 84, -98), (24, 8, 11)),), fill="muscle", amount=0.8, clear_skin=2.5),
)

# The outer surface below the cranium, joined to it smoothly.
FACE: tuple[Structure, ...] = (
    Structure(
        "face",
        (
            Ellipsoid((0, 26, -52), (69, 52, 52)),
            Ellipsoid((0, 26, -98), (56, 60, 46)),
            Ellipsoid((0, 60, -70), (36, 27, 34)),
            Ellipsoid((0, 50, -22), (52, 35, 26)),
        ),
        blend=20,
        vary=0.02,
        shift=1.0,
    ),
    Structure(
        "cheeks",
        (Ellipsoid((40, 48, -60), (26, 28, 26)), Ellipsoid((42, 24, -98), (20, 34, 28))),
        paired=True,
        vary=0.05,
        shift=1.0,
        blend=10,
    ),
    Structure("neck", (Capsule((0, -30, -40), (0, -42, -140), 61, 60),), vary=0.05, shift=1.5),
    Structure(
        "nose",
        (
            Capsule((0, 78, -30), (0, 94, -64), 7, 10),
            Capsule((12, 84, -69), (0, 92, -67), 9, 9),
            Capsule((-12, 84, -69), (0, 92, -67), 9, 9),
            Ellipsoid((0, 80, -56), (17, 12, 22)),
        ),
        vary=0.08,
        shift=0.8,
        blend=10,
    ),
    Structure("mouth region", (Ellipsoid((0, 80, -97), (26, 14, 14)),), shift=1.0, blend=8),
)

HOLLOWS: tuple[Structure, ...] = (
    Structure("eye hollow", (Ellipsoid((34, 93, -37), (20, 17, 11)),), paired=True, vary=0.05, shift=0.5),
)

EARS: tuple[Structure, ...] = (
    Structure(
        "ear",
        (Ellipsoid((81, -28, -30), (4.5, 15, 29), 12, -14), Ellipsoid((76, -22, -36), (9, 9, 10))),
        paired=True,
        vary=0.1,
        shift=1.5,
        blend=5,
    ),
)
