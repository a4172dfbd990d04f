"""Files appear whole or not at all; a full disk and a closed folder are said in words."""

import errno
import json
import os
import stat
from pathlib import Path

import numpy as np
import pytest

from medgen.errors import StorageError
from medgen.files import atomic_path, sha256, storage_errors, write_json


def test_a_file_appears_at_the_end(tmp_path):
    path = tmp_path / "new" / "a.nii.gz"
    with atomic_path(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.name.endswith(".nii.gz")
        temporary.write_bytes(b"half")
        assert not path.exists()
        temporary.write_bytes(b"whole")
    assert path.read_bytes() == b"whole"
    assert [each.name for each in path.parent.iterdir()] == ["a.nii.gz"]


@pytest.mark.parametrize("stop", [ValueError, KeyboardInterrupt])
def test_what_was_there_survives_a_failure(tmp_path, stop):
    path = tmp_path / "a.bin"
    path.write_bytes(b"before")

    def fail():
        with atomic_path(path) as temporary:
            temporary.write_bytes(b"half")
            raise stop

    with pytest.raises(stop):
        fail()
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_said_in_words(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"before")

    def fail():
        with atomic_path(path) as temporary:
            temporary.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StorageError, match="no space left on the disk") as error:
        fail()
    assert error.value.exit_code == 7
    assert error.value.where == path
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_a_closed_folder_is_said_in_words(tmp_path, monkeypatch, number):
    def refuse(*_args, **_kwargs):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("medgen.files.writing.tempfile.mkstemp", refuse)
    with pytest.raises(StorageError, match="no permission to write"), atomic_path(tmp_path / "a.bin"):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_write_permission(tmp_path):
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o500)
    with pytest.raises(StorageError), atomic_path(folder / "a.bin"):
        pass


def test_other_errors_pass_through(tmp_path):
    with pytest.raises(FileNotFoundError), storage_errors(tmp_path):
        (tmp_path / "nothing").read_bytes()


def test_a_file_in_the_place_of_a_folder_is_said_in_words(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "a.bin", tmp_path / "file" / "b" / "a.bin"):
        with pytest.raises(StorageError, match="a file, not a folder") as error, atomic_path(path):
            pass
        assert error.value.where == tmp_path / "file"


def test_a_folder_in_the_place_of_a_file_is_said_in_words(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError, match="a folder, not a file"), atomic_path(tmp_path / "folder") as temporary:
        temporary.write_text("x")
    assert [each.name for each in tmp_path.iterdir()] == ["folder"]


def test_a_folder_that_is_gone_is_said_in_words(tmp_path):
    path = tmp_path / "gone" / "a.txt"
    with pytest.raises(StorageError, match="the folder does not exist") as error, storage_errors(path):
        path.write_text("x")
    assert error.value.where == tmp_path / "gone"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="Linux")
@pytest.mark.parametrize("path", ["/proc/x.json", "/proc/x/y.json"])
def test_a_folder_that_takes_no_file_is_said_in_words(path):
    with pytest.raises(StorageError) as error:
        write_json(path, {})
    if os.geteuid() == 0:  # others have no permission, and are told so
        assert (error.value.what, error.value.where) == ("no file can be made in this folder", Path("/proc"))


def test_permissions_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        with atomic_path(tmp_path / "a") as temporary:
            assert stat.S_IMODE(temporary.stat().st_mode) == 0o600
            temporary.write_bytes(b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_contents_are_synced_before_the_rename(tmp_path, monkeypatch):
    """Renaming first would leave an empty file under the final name after a power cut."""
    order = []
    sync, rename = os.fsync, Path.replace
    monkeypatch.setattr("medgen.files.writing.os.fsync", lambda handle: (order.append("sync"), sync(handle)))
    monkeypatch.setattr(Path, "replace", lambda self, to: (order.append("rename"), rename(self, to))[1])
    with atomic_path(tmp_path / "a") as temporary:
        temporary.write_bytes(b"x")
    assert order[:2] == ["sync", "rename"]


def test_json_is_plain(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"a": np.float32(0.5), "b": float("nan"), 3: (np.int64(2), np.inf), "p": Path("x/y")})
    assert json.loads(path.read_text()) == {"a": 0.5, "b": None, "3": [2, None], "p": "x/y"}


def test_sha256_of_known_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")  # FIPS 180-4, first example
    assert sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
