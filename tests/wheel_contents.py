"""What is in a wheel: ``python -m tests.wheel_contents WHEEL``, which ``make wheel`` does with what it has built."""

import email
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
WORDS = {
    "METADATA": (
        "Name: medgen\n",
        "License-Expression: Apache-2.0\n",
        "License-File: LICENSE\n",
        "Requires-Python: <3.15,>=3.11\n",
    ),
    "WHEEL": ("Root-Is-Purelib: true\n", "Tag: py3-none-any\n"),
    "entry_points.txt": ("medgen = medgen.cli:main\n",),
}
MOST_MB = 15


def faults(wheel: Path) -> list[str]:
    """One sentence for each thing that the wheel lacks or has too many; none if it is as it should be."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
        texts = {name.split("/", 1)[1]: archive.read(name).decode() for name in names if ".dist-info/" in name}
    package = {name for name in names if ".dist-info/" not in name}
    source = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "medgen").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    found = [f"it lacks {name}" for name in sorted(source - package)]
    found += [f"it should not have {name}" for name in sorted(package - source)]
    for name, words in WORDS.items():
        found += [f"{name} lacks {each.strip()!r}" for each in words if each not in texts.get(name, "")]
    if "licenses/LICENSE" not in texts:
        found.append("it lacks the licence")
    version = email.message_from_string(texts.get("METADATA", ""))["Version"]
    if version in (None, "0.0") or f"medgen-{version}-" not in wheel.name:
        found.append(f"its version is {version}, and its name {wheel.name}")
    if wheel.stat().st_size > MOST_MB * 1e6:
        found.append(f"it has more than {MOST_MB} MB")
    return found


if __name__ == "__main__":
    found = faults(Path(sys.argv[1]))
    print("\n".join(f"{sys.argv[1]}: {each}" for each in found) or f"{sys.argv[1]}: as it should be")
    sys.exit(bool(found))
