"""How volumes, models and scores show themselves in a notebook: tables and slices as HTML, no voxels as text."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_HEIGHT = 192
"""Pixels of the tallest of the three planes."""
_PERCENTILES = (1.0, 99.0)


def table(rows: Sequence[Sequence[str]], heading: Sequence[str] = ()) -> str:
    """An HTML table; every cell is escaped.

    >>> table([("a", "<b>")])
    '<table><tbody><tr><td>a</td><td>&lt;b&gt;</td></tr></tbody></table>'
    """
    head = f"<thead>{_row(heading, 'th')}</thead>" if heading else ""
    return f"<table>{head}<tbody>{''.join(_row(row, 'td') for row in rows)}</tbody></table>"


def three_planes(data: NDArray[Any], spacing: Sequence[float]) -> str:
    """An ``<img>`` with the sagittal, coronal and axial slice through the middle, in their true proportions.

    Grey levels go from the first to the 99th percentile; right is right, front and top are up.

    Args:
        data: (X, Y, Z), real numbers, axes towards right, front and top.
        spacing: mm along each axis.
    """
    from PIL import Image

    values = np.asarray(data, dtype=np.float32)
    known = values[np.isfinite(values)]
    low, high = np.percentile(known, _PERCENTILES) if known.size else (0.0, 0.0)
    if low == high and known.size:
        low, high = known.min(), known.max()
    scaled = (np.nan_to_num(values, nan=low) - low) / max(float(high - low), 1e-12)
    grey = (255 * scaled.clip(0, 1)).astype(np.uint8)
    scale = _HEIGHT / max(side * step for side, step in zip(grey.shape[1:], spacing[1:], strict=True))
    planes = []
    for axis in range(3):
        across, up = (other for other in range(3) if other != axis)
        plane = grey.take(grey.shape[axis] // 2, axis=axis).T[::-1]
        size = [max(1, round(grey.shape[other] * spacing[other] * scale)) for other in (across, up)]
        planes.append(Image.fromarray(np.ascontiguousarray(plane)).resize((size[0], size[1])))
    picture = Image.new("L", (sum(each.width for each in planes), max(each.height for each in planes)))
    left = 0
    for each in planes:
        picture.paste(each, (left, (picture.height - each.height) // 2))
        left += each.width
    packed = io.BytesIO()
    picture.save(packed, "PNG")
    content = base64.b64encode(packed.getvalue()).decode()
    return f'<img alt="sagittal, coronal and axial slice" src="data:image/png;base64,{content}">'


def _row(cells: Sequence[str], kind: str) -> str:
    return f"<tr>{''.join(f'<{kind}>{html.escape(cell)}</{kind}>' for cell in cells)}</tr>"
