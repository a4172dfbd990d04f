"""A real DICOM archive on this machine: Orthanc in a temporary folder, with what it needs to be asked and stopped."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

PROGRAM = shutil.which("Orthanc")
STORESCU = shutil.which("storescu")
DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
_SENDER, _ARCHIVE = "SENDER", "ARCHIVE"


class Orthanc:
    """A running archive.

    Attributes:
        http: its address for REST and DICOMweb.
        port: of DICOM.
    """

    def __init__(self, http: int, port: int) -> None:
        self.http, self.port = f"http://127.0.0.1:{http}", port

    def ask(self, path: str, body: bytes | None = None, **headers: str) -> bytes:
        """The answer to a GET; with a body, to a POST."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.http + path, body, named)
        with _OPENER.open(request, timeout=30) as answer:
            return answer.read()

    def json(self, path: str) -> Any:
        return json.loads(self.ask(path))

    def send(self, *paths: Path) -> None:
        """C-STORE, each object as it is."""
        words = [STORESCU, "-R", "-aet", _SENDER, "-aec", _ARCHIVE, "127.0.0.1", str(self.port), *map(str, paths)]
        subprocess.run(words, check=True, capture_output=True, timeout=60)

    def post(self, *paths: Path) -> None:
        """STOW-RS, all in one request."""
        edge = uuid4().hex
        parts = [b"Content-Type: application/dicom\r\n\r\n" + path.read_bytes() for path in paths]
        body = b"".join(f"--{edge}\r\n".encode() + part + b"\r\n" for part in parts) + f"--{edge}--\r\n".encode()
        kind = f'multipart/related; type="application/dicom"; boundary={edge}'
        self.ask("/dicom-web/studies", body, Content_Type=kind, Accept="application/dicom+json")

    def objects(self) -> dict[str, bytes]:
        """All that it holds as files, by SOPInstanceUID."""
        listed = self.json("/instances?expand")
        return {each["MainDicomTags"]["SOPInstanceUID"]: self.ask(f"/instances/{each['ID']}/file") for each in listed}


_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""A proxy that the machine names is not for this machine."""


@contextmanager
def running(folder: Path) -> Iterator[Orthanc]:
    """Start an archive that stores in ``folder``, for this machine alone; it ends with the block, or with the test run.

    Args:
        folder: is made.
    """
    folder.mkdir()
    for attempt in range(3):  # another process may take a free port first
        http, port = _free_ports()
        settings = {
            "StorageDirectory": str(folder / "store"), "IndexDirectory": str(folder / "store"),
            "HttpPort": http, "RemoteAccessAllowed": False, "AuthenticationEnabled": False,
            "DicomPort": port, "DicomAet": _ARCHIVE, "DicomAlwaysAllowStore": False, "DicomCheckModalityHost": True,
            "DicomModalities": {"sender": [_SENDER, "127.0.0.1", 104]},
            "Plugins": [str(DICOMWEB)] if DICOMWEB.exists() else [],
        }  # fmt: skip
        (folder / "orthanc.json").write_text(json.dumps(settings))
        log = folder / f"log{attempt}.txt"
        with log.open("wb") as out:
            process = subprocess.Popen([*_dies_with_us(), str(PROGRAM), str(folder / "orthanc.json")],
                                       stdout=out, stderr=out, stdin=subprocess.DEVNULL)  # fmt: skip
        try:
            archive = Orthanc(http, port)
            if _answers(archive, process):
                yield archive
                return
        finally:
            process.kill()  # asked to end it takes three seconds, and nothing in its folder is needed
            process.wait(timeout=30)
    raise RuntimeError(f"Orthanc does not start: {log.read_text(errors='replace')[-2000:]}")


def _dies_with_us() -> list[str]:
    """What ends the archive where no block can: a killed test run."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL"] if setpriv else []


def _answers(archive: Orthanc, process: subprocess.Popen[bytes]) -> bool:
    end = time.monotonic() + 30
    while time.monotonic() < end and process.poll() is None:
        try:
            return bool(archive.json("/system")["DicomAet"] == _ARCHIVE)
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    return False


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        for each in (one, other):
            each.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]
