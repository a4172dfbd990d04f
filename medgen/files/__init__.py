"""Atomic writing of files, hashes of files and locks of folders."""

from medgen.files.inputs import image_digest, require_file, require_readable, sha256, unreadable
from medgen.files.lock import folder_lock
from medgen.files.outputs import (
    has_mark,
    require_apart,
    require_free,
    require_output,
    require_result,
    require_text_result,
    require_writable,
)
from medgen.files.writing import (
    PARTIAL,
    atomic_folder,
    atomic_path,
    plain,
    remove_partial_files,
    require_movable,
    storage_errors,
    write_json,
)

__all__ = [
    "PARTIAL",
    "atomic_folder",
    "atomic_path",
    "folder_lock",
    "has_mark",
    "image_digest",
    "plain",
    "remove_partial_files",
    "require_apart",
    "require_file",
    "require_free",
    "require_movable",
    "require_output",
    "require_readable",
    "require_result",
    "require_text_result",
    "require_writable",
    "sha256",
    "storage_errors",
    "unreadable",
    "write_json",
]
