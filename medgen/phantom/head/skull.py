"""Bones of the head and the air inside them, in millimetres of the MNI152 frame (RAS+).

A table is read from top to bottom: where structures overlap, the earlier one wins. Positions and sizes follow common
anatomical proportions around the MNI152 brain; they are drawn anew for every subject and every side.
"""

from medgen.phantom.head.structure import Structure
from medgen.phantom.shapes import Capsule, Ellipsoid

# In front of the brain's fluid: bone that stands up between the lobes, and calcifications.
WITHIN_SKULL: tuple[Structure, ...] = (
    Structure(
        "petrous bone",
        (Capsule((56, -30, -45), (17, -7, -37), 11, 5),),
        paired=True,
        rim=6.0,
        rough=1.8,
        within_skull=True,
    ),
    Structure(
        "sphenoid ridge",
        (Capsule((12, 10, -24), (50, 12, -16), 3.0, 2.5), Capsule((11, 8, -26), (12, -2, -22), 3, 2)),
        paired=True,
        rim=2.0,
        rough=0.8,
        within_skull=True,
    ),
    Structure(
        "crista galli",
        (Ellipsoid((0, 60, -22), (2.2, 11, 9)),),
        rim=3.0,
        within_skull=True,
    ),
    Structure(
        "pineal calcification",
        (Ellipsoid((0, -28, 2), (2.4, 2.8, 2.2)),),
        fill="cortical",
        amount=0.30,
        absent=0.3,
        vary=0.25,
        within_skull=True,
    ),
)

# Closed air spaces of the skull.
SINUSES: tuple[Structure, ...] = (
    Structure("middle ear", (Ellipsoid((47, -19, -37), (4, 5, 7)),), fill="air", paired=True, rough=1.0),
    Structure(
        "frontal sinus",
        (Ellipsoid((10, 79, -14), (10, 8, 12)), Ellipsoid((20, 76, -9), (8, 7, 7))),
        fill="air",
        paired=True,
        rim=0.5,
        rim_tissue="mucosa",
        rough=1.2,
        vary=0.22,
        shift=2.0,
        absent=0.12,
        clear_brain=1.6,
        clear_skin=8.0,
        blend=5,
    ),
    Structure(
        "sphenoid sinus",
        (Ellipsoid((8, 17, -39), (7.5, 12, 9)),),
        fill="air",
        paired=True,
        rim=0.5,
        rim_tissue="mucosa",
        rough=1.0,
        vary=0.2,
        shift=1.5,
        absent=0.05,
    ),
    Structure(
        "ethmoid cells",
        (Ellipsoid((8.5, 46, -40), (7, 20, 10)),),
        fill="cells",
        paired=True,
        rough=0.8,
        vary=0.1,
        clear_brain=1.2,
    ),
    Structure(
        "maxillary sinus",
        (Ellipsoid((30, 48, -64), (13.5, 16, 16)), Ellipsoid((27, 50, -74), (10, 13, 9))),
        fill="air",
        paired=True,
        rim=0.9,
        rim_tissue="mucosa",
        rough=1.3,
        vary=0.12,
        shift=1.5,
        blend=8,
        clear_skin=8.0,
    ),
    Structure(
        "mastoid cells",
        (Ellipsoid((58, -38, -48), (8.5, 12, 15), 12), Ellipsoid((52, -26, -36), (8, 8, 6))),
        fill="cells",
        paired=True,
        rough=1.5,
        vary=0.18,
        shift=1.5,
        blend=5,
        clear_brain=2.5,
        clear_skin=5.0,
    ),
)

BONES: tuple[Structure, ...] = (
    Structure(
        "upper teeth",
        tuple(
            Ellipsoid(p, (4.2, 4.2, 6.5))
            for p in (
                (4, 79, -95),
                (12, 77, -95),
                (19, 71, -95),
                (24, 63, -95),
                (27, 54, -95),
                (28, 45, -95),
                (28, 36, -95),
            )
        ),
        fill="tooth",
        paired=True,
        blend=0,
        rough=0.4,
        shift=0.3,
    ),
    Structure(
        "lower teeth",
        tuple(
            Ellipsoid(p, (3.6, 3.8, 6.5))
            for p in (
                (3, 76, -109),
                (10, 74, -109),
                (17, 69, -109),
                (22, 61, -109),
                (25, 52, -109),
                (26, 43, -109),
                (26, 34, -109),
            )
        ),
        fill="tooth",
        paired=True,
        blend=0,
        rough=0.4,
        shift=0.3,
    ),
    Structure("maxillary walls", fill="cortical", paired=True, like="maxillary sinus", grow=1.7, rough=1.3),
    Structure("orbital walls", fill="cortical", paired=True, like="orbit", grow=1.6, rough=0.6, clear_skin=7.0),
    Structure("sphenoid walls", fill="bone", paired=True, rim=1.5, like="sphenoid sinus", grow=3.5, rough=1.0),
    Structure("frontal walls", fill="cortical", paired=True, like="frontal sinus", grow=2.0, rough=1.2, clear_skin=5.0),
    Structure("nasal septum", (Ellipsoid((0.6, 46, -56), (1.1, 32, 24)),), fill="cortical", amount=0.55, rough=0.8),
    Structure("nasal bones", (Capsule((2.5, 84, -26), (4, 93, -46), 2.6, 1.6),), fill="cortical", paired=True),
    Structure(
        "alveolar arch",
        (
            Capsule((0, 76, -86), (15, 72, -86), 7, 7),
            Capsule((15, 72, -86), (26, 56, -86), 7, 6.5),
            Capsule((26, 56, -86), (29, 34, -86), 6.5, 6),
        ),
        paired=True,
        rim=1.3,
        rough=0.8,
        shift=0.3,
    ),
    Structure("hard palate", (Ellipsoid((0, 44, -79), (24, 30, 2.6)),), rim=1.0, rough=0.6),
    Structure(
        "zygoma",
        (
            Capsule((42, 68, -48), (54, 52, -54), 5.5, 5.5),
            Capsule((54, 52, -54), (50, 60, -28), 4.5, 4),
            Capsule((54, 52, -54), (67, 22, -50), 4.0, 2.8),
            Capsule((67, 22, -50), (64, -10, -44), 2.6, 3.2),
            Capsule((44, 66, -52), (34, 68, -58), 4.5, 3.5),
        ),
        paired=True,
        rim=1.6,
        rough=0.5,
        clear_skin=3.5,
    ),
    Structure(
        "orbital rim",
        (
            Capsule((18, 78, -22), (36, 78, -16), 4, 4),
            Capsule((36, 78, -16), (52, 66, -26), 4, 4),
            Capsule((18, 78, -22), (17, 74, -46), 3, 2.5),
        ),
        paired=True,
        rim=1.8,
        rough=0.6,
        clear_skin=4.0,
    ),
    Structure(
        "pterygoid plates",
        (Capsule((15, 10, -48), (19, 6, -78), 2.6, 1.6), Capsule((15, 10, -48), (12, 6, -78), 2.4, 1.5)),
        fill="cortical",
        paired=True,
        blend=0,
    ),
    Structure("sphenoid body", (Ellipsoid((0, 10, -42), (20, 15, 13)),), rim=1.8, rough=1.2),
    Structure("greater wing", (Capsule((20, 14, -42), (54, 14, -34), 6, 5),), paired=True, rim=1.8, rough=1.5),
    Structure(
        "clivus",
        (Capsule((0, -4, -40), (0, -24, -64), 8, 5.5), Capsule((8, -10, -46), (9, -26, -66), 7, 5)),
        paired=True,
        rim=1.6,
        rough=1.0,
    ),
    Structure(
        "mastoid process", (Ellipsoid((58, -36, -50), (12, 16, 20), 12),), paired=True, rim=2.2, rough=1.5, vary=0.08
    ),
    Structure("styloid", (Capsule((46, -16, -52), (42, -8, -82), 2.0, 1.2),), fill="cortical", paired=True, vary=0.15),
    Structure(
        "mandible",
        (
            Capsule((53, -3, -51), (52, -3, -62), 5.5, 4.5),
            Capsule((52, -3, -62), (50, 2, -100), 4.5, 5.5),
            Capsule((51, 8, -70), (49, 20, -62), 3.5, 2.2),
            Capsule((51, 8, -75), (48, 12, -104), 4.0, 5.5),
            Capsule((49, 6, -106), (26, 60, -118), 7.5, 8.0),
            Capsule((26, 60, -118), (0, 76, -122), 8.0, 9.0),
        ),
        paired=True,
        rim=2.2,
        rough=0.6,
        blend=4,
        shift=1.0,
    ),
    Structure("occipital condyles", (Ellipsoid((19, -34, -69), (8, 12, 6), -10),), paired=True, rim=1.6, rough=0.6),
    Structure(
        "atlas",
        (
            Ellipsoid((22, -34, -81), (9, 9, 7)),
            Capsule((15, -24, -82), (0, -19, -82), 4.5, 4.5),
            Capsule((22, -36, -81), (40, -38, -81), 5, 4),
            Capsule((18, -48, -82), (0, -66, -82), 4, 4.5),
        ),
        paired=True,
        rim=1.4,
        rough=0.6,
    ),
    Structure(
        "axis",
        (
            Capsule((0, -28, -78), (0, -31, -98), 5.5, 7.5),
            Ellipsoid((8, -33, -99), (11, 9, 10)),
            Ellipsoid((21, -38, -96), (8, 9, 6)),
            Capsule((17, -48, -99), (0, -66, -101), 4, 5),
            Capsule((0, -66, -101), (3, -82, -106), 5, 5),
        ),
        paired=True,
        rim=1.3,
        rough=0.6,
    ),
    Structure(
        "third vertebra",
        (
            Ellipsoid((7, -36, -121), (12, 9, 8.5)),
            Ellipsoid((20, -42, -117), (7, 8, 6)),
            Capsule((16, -52, -120), (0, -68, -122), 4, 4),
        ),
        paired=True,
        rim=1.2,
        rough=0.6,
    ),
)
