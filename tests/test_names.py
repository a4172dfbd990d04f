"""Names from tables and models in pictures."""

import numpy as np
import pytest

from medgen.inference.code_map import _axis, _coloured
from medgen.inference.contact_sheet import dark_figure, draw_tile, write_text
from medgen.names import literal


@pytest.mark.parametrize("name", [r"$\frac{a$", "$a$", r"a\$b", "$", "plain"])
def test_dollars_in_a_picture_are_no_formula(name):
    """Of the case, of the run, and of the value that colours a map."""
    figure = dark_figure(3.0, 3.0)
    write_text(figure, 0.1, 0.3, name, size=8, colour="white")
    draw_tile(figure, np.zeros((4, 4)), (0.5, 0.5, 1.0, 1.0), name)
    places = np.array([[0.0, 0.0], [1.0, 1.0]])
    _coloured(_axis(figure, places, ("", "", "")), places, np.array(["p1", "p2"]), {"p1": name, "p2": name}, "site")
    figure.canvas.draw()
    (entry,) = figure.axes[-1].get_legend().get_texts()
    for text, given in ((figure.texts[0], name), (figure.axes[0].texts[0], name), (entry, literal(name))):
        assert text.get_text() == given
        assert text._preprocess_math(given) == (name, False)  # what is drawn, and whether it is a formula
