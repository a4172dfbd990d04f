"""Every mutation still fits the tree, and the check itself works; ``make mutations`` shows that each is noticed."""

import pytest

from faults import mutations
from faults.mutations import MUTATIONS, Mutation, failures, main, mutate
from faults.named import ROOT, exists


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda each: each.name)
def test_the_text_and_the_tests_of_a_mutation_are_there(mutation):
    assert (ROOT / mutation.file).read_text().count(mutation.old) == 1, "give the mutation its new text"
    assert mutation.tests
    assert [test for test in mutation.tests if not exists(test)] == []


def test_names_are_told_apart():
    assert len({each.name for each in MUTATIONS}) == len(MUTATIONS)


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A tree of one function and one test that a mutation can break, in place of medgen."""
    (tmp_path / "medgen").mkdir()
    (tmp_path / "medgen/__init__.py").write_text("def double(x):\n    return 2 * x  # twice\n")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/test_it.py").write_text(
        "import medgen\n\ndef test_double():\n    assert medgen.double(3) == 6\n\ndef test_nothing():\n    pass\n"
    )
    (tmp_path / "pyproject.toml").write_text("")
    monkeypatch.setattr(mutations, "ROOT", tmp_path)
    return tmp_path


def mutation(new, *tests):
    return Mutation("thrice", "medgen/__init__.py", "2 * x", new, tests or ("tests/test_it.py",))


def test_a_mutation_that_is_noticed(tree, monkeypatch, capsys):
    monkeypatch.setattr(mutations, "MUTATIONS", (mutation("3 * x"),))
    assert main([]) == 0
    said = capsys.readouterr().out
    assert "noticed   thrice\n            tests/test_it.py::test_double\n1 of 1 mutations noticed" in said
    assert "2 * x" in (tree / "medgen/__init__.py").read_text()  # the tree itself is left alone


def test_a_mutation_that_is_not_noticed_is_a_failure(tree, monkeypatch, capsys):
    monkeypatch.setattr(mutations, "MUTATIONS", (mutation("3 * x"),))
    monkeypatch.setattr(mutations, "failures", lambda root, tests: [])
    assert main([]) == 1
    assert "SURVIVED  thrice" in capsys.readouterr().out


def test_tests_that_cannot_be_run_notice_nothing(tree):
    assert failures(tree, ("tests/test_it.py::test_gone",)) is None


def test_a_text_that_is_gone_is_an_error(tree):
    with pytest.raises(ValueError, match="thrice: its text occurs 0 times"):
        mutate(tree, mutation("3 * x")._replace(old="4 * x"))
