"""One run in a folder at a time."""

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from medgen.errors import UsageError
from medgen.files import folder_lock, lock

HOLD = """
import sys, time
from medgen.files import folder_lock
with folder_lock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def hold(folder: Path) -> subprocess.Popen:
    process = subprocess.Popen([sys.executable, "-c", HOLD, folder], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def test_second_run_is_refused_and_told_who_holds_the_folder(tmp_path: Path) -> None:
    holder = hold(tmp_path)
    try:
        with pytest.raises(UsageError, match="another run") as caught, folder_lock(tmp_path):
            pass
        assert socket.gethostname() in caught.value.what
        assert f"process {holder.pid}" in caught.value.what
        assert "since 20" in caught.value.what
        assert caught.value.where == tmp_path
    finally:
        holder.kill()
        holder.wait()


def test_same_process_cannot_take_it_twice(tmp_path: Path) -> None:
    with folder_lock(tmp_path), pytest.raises(UsageError, match=f"process {os.getpid()}"), folder_lock(tmp_path):
        pass


def test_killed_holder_is_replaced_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    holder = hold(tmp_path)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with caplog.at_level(logging.WARNING), folder_lock(tmp_path):
        assert json.loads((tmp_path / ".lock.json").read_text())["pid"] == os.getpid()
    assert f"process {holder.pid}" in caplog.text
    assert not (tmp_path / ".lock.json").exists()


@pytest.mark.parametrize(("silent", "refused"), [(10, True), (1000, False)])
def test_holder_on_another_machine_counts_while_its_heart_beats(tmp_path: Path, silent: int, refused: bool) -> None:
    owner = tmp_path / ".lock.json"
    owner.write_text(json.dumps({"host": "another", "pid": 7, "started": "2026-01-01T00:00:00+00:00"}))
    os.utime(owner, (time.time() - silent,) * 2)
    if refused:
        with pytest.raises(UsageError, match="host another, process 7"), folder_lock(tmp_path):
            pass
        assert owner.exists()
    else:
        with folder_lock(tmp_path):
            pass


def test_heart_beats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "HEARTBEAT_SECONDS", 0.01)
    with folder_lock(tmp_path):
        os.utime(tmp_path / ".lock.json", (0, 0))
        deadline = time.monotonic() + 5
        while (tmp_path / ".lock.json").stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert (tmp_path / ".lock.json").stat().st_mtime > 0


def test_folder_is_made_and_released_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), folder_lock(tmp_path / "new"):
        raise RuntimeError
    with folder_lock(tmp_path / "new"):
        pass
