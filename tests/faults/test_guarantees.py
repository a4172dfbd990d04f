"""The page of guarantees: each promise names its tests, and each of these tests exists."""

import re

import pytest

from faults.mutations import MUTATIONS
from faults.named import ROOT, exists

PAGE = ROOT / "docs/reference/guarantees.md"
TEST = re.compile(r"`(tests/[^`\s]+)`")


def promises() -> list[str]:
    """The items of the sections before the list of what is not tested."""
    text = PAGE.read_text().partition("## Not yet tested")[0]
    return [item.partition("\n\n")[0] for item in re.split(r"^\* ", text, flags=re.MULTILINE)[1:]]


def test_every_promise_has_a_test():
    assert len(promises()) > 50
    assert [item for item in promises() if "::" not in "".join(TEST.findall(item))] == []


@pytest.mark.parametrize("test", sorted(set(TEST.findall(PAGE.read_text()))))
def test_every_test_that_is_named_exists(test):
    assert exists(test)


def test_every_mutation_is_on_the_page():
    rows = re.findall(r"^\| ([^|`]+?) \| `", PAGE.read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(each.name for each in MUTATIONS), "run make mutations and bring the table up to date"


def test_names_that_do_not_exist_are_found():
    assert exists("tests/test_files.py::test_json_is_plain")
    assert exists("tests/inference/test_cohort.py::TestResume::test_another_model_is_refused")
    assert exists("tests/test_files.py")
    for gone in (
        "test_files.py::test_json",
        "test_gone.py::test_x",
        "inference/test_cohort.py::TestResume::test_table",
    ):
        assert not exists(f"tests/{gone}")
    assert not exists("tests/inference/test_cohort.py::cut")  # a function, but no test
    assert not exists("tests/tiny.py")


def test_the_page_can_be_found():
    assert "reference/guarantees.md" in (ROOT / "docs/index.md").read_text()
    assert "docs/reference/guarantees.md" in (ROOT / "README.md").read_text()
