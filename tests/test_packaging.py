"""The wheel, its version and its images: what their files name is there. ``make plain`` builds it and runs it."""

import fnmatch
import importlib.metadata
import re
import tomllib
import zipfile

import pytest
import wheel_contents
import yaml
from documents import ROOT

import medgen

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
DOCKER = (ROOT / "Dockerfile").read_text()
APPTAINER = (ROOT / "apptainer.def").read_text()
CITED = yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"]


def test_the_version_is_that_of_the_installation(monkeypatch):
    assert medgen.__version__ == importlib.metadata.version("medgen")

    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.delitem(vars(medgen), "__version__")
    monkeypatch.setattr(importlib.metadata, "version", absent)
    assert medgen.__version__ == "0+unknown"
    monkeypatch.delitem(vars(medgen), "__version__")


def test_the_version_comes_from_tags_and_else_from_the_newest_release():
    assert PROJECT["project"]["dynamic"] == ["version"]
    assert PROJECT["tool"]["hatch"]["version"]["source"] == "vcs"
    assert PROJECT["tool"]["hatch"]["version"]["fallback-version"] == CITED
    assert any(each.startswith("hatch-vcs") for each in PROJECT["build-system"]["requires"])
    assert ".git_archival.txt export-subst" in (ROOT / ".gitattributes").read_text()
    # Without a tag the line is empty and the fallback counts; a line 'node:' would make it 0.0.
    assert re.fullmatch(r"describe-name: \S.*\n", (ROOT / ".git_archival.txt").read_text())


def test_python_is_the_same_everywhere():
    versions = re.findall(r"Python :: (3\.\d+)", " ".join(PROJECT["project"]["classifiers"]))
    assert versions == ["3.11", "3.12", "3.13", "3.14"]
    workflow = yaml.safe_load((ROOT / ".github/workflows/wheel.yml").read_text())
    assert workflow["jobs"]["demo"]["strategy"]["matrix"]["python"] == versions
    makefile = (ROOT / "Makefile").read_text()
    assert f"for version in {' '.join(versions)};" in makefile
    assert "(3, 11) <= sys.version_info[:2] <= (3, 14)" in makefile
    for recipe in (DOCKER, APPTAINER):
        assert re.search(r"PYTHON=(\S+)", recipe).group(1) in versions


@pytest.mark.parametrize("path", sorted((ROOT / ".github/workflows").glob("*.yml")), ids=lambda path: path.name)
def test_a_workflow_pins_its_actions_reads_only_and_makes_targets_that_exist(path):
    text = path.read_text()
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {"contents": "read"}
    assert "secrets" not in text
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    for step in steps:
        assert re.fullmatch(r"[\w-]+/[\w-]+@(v\d+|[0-9a-f]{40})", step["uses"]) if "uses" in step else step["run"]
    made = {target for step in steps for target in re.findall(r"make (\w+)", step.get("run", ""))}
    assert made
    assert made <= set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))


class TestImages:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    taken = [line.removeprefix("!") for line in ignored if line.startswith("!")]

    def test_what_they_copy_is_there_or_made_by_make_wheel(self):
        (copied,) = re.findall(r"^COPY (.*) \S+$", DOCKER, re.M)
        assert self.ignored[1] == "*"  # nothing else goes to the builder
        assert sorted(copied.split()) == sorted(self.taken)
        files = re.search(r"%files\n(.*?)\n\n", APPTAINER, re.S).group(1)
        assert [line.split()[0] for line in files.splitlines()] == ["constraints.txt", "dist"]
        assert (ROOT / "constraints.txt").is_file()
        assert "--wheel-dir dist ." in (ROOT / "Makefile").read_text()
        assert fnmatch.fnmatch("dist/medgen-0.1.1.dev2+g0a1b2c3-py3-none-any.whl", self.taken[0])

    def test_both_take_the_same_arguments_and_name_extras_that_exist(self):
        arguments = dict(re.findall(r"^ARG (\w+)=(\S+)$", DOCKER, re.M))
        assert arguments == dict(re.findall(r"^    (PYTHON|TORCH_INDEX|EXTRAS)=(\S+)$", APPTAINER, re.M))
        assert set(arguments["EXTRAS"].split(",")) <= set(PROJECT["project"]["optional-dependencies"])
        page = (ROOT / "docs/how-to/run-in-a-container.md").read_text()
        for name, value in arguments.items():
            assert re.search(rf"^\| `{name}` \| `?{re.escape(value)}`? \|", page, re.M)

    def test_every_installation_is_constrained_and_nobody_is_root(self):
        for recipe in (DOCKER, APPTAINER):
            installed = [line for line in recipe.splitlines() if "pip install" in line]
            assert len(installed) == 2
            assert all("-c /" in line and "constraints.txt" in line for line in installed)
        assert re.search(r"^USER [1-9]\d*$", DOCKER, re.M)
        assert 'ENTRYPOINT ["medgen"]' in DOCKER
        assert 'exec medgen "$@"' in APPTAINER


def test_a_wheel_that_lacks_a_file_is_found(tmp_path):
    """The checks of ``make wheel``, of a wheel that has almost nothing."""
    path = tmp_path / "medgen-0.2.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("medgen/__init__.py", "")
        archive.writestr("tests/test_it.py", "")
        archive.writestr("medgen-0.2.0.dist-info/METADATA", "Metadata-Version: 2.4\nName: medgen\nVersion: 0.0\n")
    found = wheel_contents.faults(path)
    assert "it lacks medgen/py.typed" in found
    assert "it should not have tests/test_it.py" in found
    assert "it should not have medgen/__init__.py" not in found
    assert any("version is 0.0" in each for each in found)
    assert any("Requires-Python" in each for each in found)
