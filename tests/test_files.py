"""Files appear whole or not at all; a full disk and a closed folder are said in words."""

import errno
import json
import os
import stat
from pathlib import Path

import numpy as np
import pytest

from medgen.errors import StorageError, UsageError
from medgen.files import atomic_folder, atomic_path, remove_partial_files, sha256, storage_errors, write_json


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


def filled(path, content):
    path.mkdir()
    (path / "file").write_text(content)
    return path


def replaced(path):
    with atomic_folder(path) as made:
        (made / "file").write_text("after")


def test_a_folder_takes_the_place_of_another(tmp_path):
    path = filled(tmp_path / "a", "before")
    replaced(path)
    assert [(each.name, (each / "file").read_text()) for each in tmp_path.iterdir()] == [("a", "after")]
    (tmp_path / "link").symlink_to(path)
    replaced(tmp_path / "link" / ".." / "a" / ".." / "b")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a", "b", "link"]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, MemoryError, PermissionError])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", [0, 1])
def test_a_folder_is_old_or_new_whatever_interrupts(tmp_path, monkeypatch, stop, when, number):
    """Also between the two renames, when neither is in its place."""
    path, rename, calls = filled(tmp_path / "a", "before"), Path.rename, []

    def interrupted(this, target):
        calls.append(this)
        if len(calls) == number + 1 and when == "before":
            raise stop
        found = rename(this, target)
        if len(calls) == number + 1 and when == "after":
            raise stop
        return found

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises((stop, OSError)):
        replaced(path)
    monkeypatch.undo()
    there = "after" if (number, when) == (1, "after") else "before"
    assert [(each.name, (each / "file").read_text()) for each in tmp_path.iterdir()] == [("a", there)]


def test_the_old_folder_of_a_killed_process_is_never_cleaned_up(tmp_path, monkeypatch):
    """A kill between the renames leaves it under a hidden name."""
    path, rename = filled(tmp_path / "a", "before"), Path.rename
    monkeypatch.setattr("medgen.files.writing._settle", lambda *_: None)

    def killed(this, target):
        rename(this, target)
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        replaced(path)
    monkeypatch.undo()
    remove_partial_files(tmp_path)
    assert [(each / "file").read_text() for each in tmp_path.iterdir()] == ["before"]


def test_what_another_process_puts_there_meanwhile_is_kept(tmp_path, monkeypatch):
    path, rename = filled(tmp_path / "a", "before"), Path.rename

    def overtaken(this, target):
        found = rename(this, target)
        if this == path:
            filled(path, "theirs")
        return found

    monkeypatch.setattr(Path, "rename", overtaken)
    with pytest.raises(OSError, match="not empty"):
        replaced(path)
    assert (path / "file").read_text() == "theirs"
    assert sorted((each / "file").read_text() for each in tmp_path.iterdir()) == ["before", "theirs"]


@pytest.mark.parametrize("name", [".", "..", "sub/..", "{whole}", "link"])
def test_the_current_folder_is_not_replaced(tmp_path, monkeypatch, name):
    here = tmp_path / "above" / "here"
    (here / "sub").mkdir(parents=True)
    (here / "link").symlink_to(here)
    monkeypatch.chdir(here)
    with pytest.raises(UsageError, match="the current folder, and cannot be replaced") as caught:
        replaced(name.format(whole=here))
    assert caught.value.fix == "name a folder in it"
    replaced("inside")
    assert sorted(each.name for each in here.iterdir()) == ["inside", "link", "sub"]


def test_a_folder_where_another_disk_begins_is_not_replaced(tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr("os.path.ismount", lambda path: path == tmp_path)
        with pytest.raises(UsageError, match="another disk begins"):
            replaced(tmp_path)

    def busy(*_):
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    path = filled(tmp_path / "a", "before")  # a part of this disk that is mounted once more
    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", busy)
        with pytest.raises(StorageError, match="another disk begins"):
            replaced(path)
    assert (path / "file").read_text() == "before"


def test_json_is_plain(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"a": np.float32(0.5), "b": float("nan"), 3: (np.int64(2), np.inf), "p": Path("x/y")})
    assert json.loads(path.read_text()) == {"a": 0.5, "b": None, "3": [2, None], "p": "x/y"}


def test_sha256_of_known_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")  # FIPS 180-4, first example
    assert sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
