"""The size that a packed DICOM frame itself states: its decoder believes that one, whatever the DICOM header says."""

from __future__ import annotations

import struct

_JPEG, _JPEG_2000 = b"\xff\xd8", b"\xff\x4f\xff\x51"
_LONGEST_WRAPPER = 4096  # bytes of JP2 boxes, which DICOM forbids and some writers leave, before a codestream
_FRAME_HEADERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15 of JPEG, SOF55 of JPEG-LS
_FILL = 0xFF


def coded_size(stream: bytes) -> tuple[int, int] | None:
    """(columns, rows) of a JPEG, JPEG-LS or JPEG 2000 codestream; None where it states none (as RLE) or is damaged.

    The segments are those of ISO/IEC 10918-1 (B.2.2), 14495-1 (C.2.2) and 15444-1 (A.5.1).

    Args:
        stream: one frame.
    """
    try:
        if stream.startswith(_JPEG):
            return _jpeg_size(stream)
        if (begin := stream.find(_JPEG_2000, 0, _LONGEST_WRAPPER)) >= 0:
            right, bottom, left, top = struct.unpack_from(">4I", stream, begin + 8)
            return right - left, bottom - top
    except (struct.error, IndexError):
        pass
    return None


def _jpeg_size(stream: bytes) -> tuple[int, int] | None:
    place = len(_JPEG)
    while stream[place] == 0xFF:
        marker = stream[place + 1]
        if marker in _FRAME_HEADERS:
            rows, columns = struct.unpack_from(">2H", stream, place + 5)
            return (columns, rows) if rows else None  # 0: only the end of the frame tells
        place += 1 if marker == _FILL else 2 + struct.unpack_from(">H", stream, place + 2)[0]
    return None
