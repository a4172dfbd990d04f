"""``--json``: one JSON document on stdout, whatever the command, also when it fails."""

import json
import logging

import pytest
import tiny

from medgen.cli import main
from medgen.methods.catalogue import list_methods


def run(capsys, *words):
    with pytest.raises(SystemExit) as exit_:
        main([str(word) for word in words])
    out, err = capsys.readouterr()
    return exit_.value.code or 0, json.loads(out), err


def test_plain_values_are_the_whole_answer(capsys):
    code, answer, err = run(capsys, "models", "--json")
    assert (code, err) == (0, "")
    assert answer == json.loads(json.dumps(list_methods()))


def test_a_command_that_only_writes_files_says_which(capsys, tmp_path):
    tiny.write_cases(tmp_path, train=1, val=0, test=0)
    code, answer, _ = run(capsys, "fix", tmp_path / "case0_t1.nii.gz", "-o", tmp_path / "copy.nii.gz", "--json")
    assert code == 0
    assert answer == {"lines": [str(tmp_path / name) for name in ("copy.nii.gz", "copy.fix.json")], "tables": []}


def test_a_plan_has_numbers(capsys, tmp_path):
    table = tiny.write_cases(tmp_path)
    code, recipe, _ = run(capsys, "recipe", "supervised", "--json", "-o", tmp_path / "recipe.yaml")
    assert (code, recipe["lines"]) == (0, [f"written: {tmp_path / 'recipe.yaml'}"])
    words = ("train", tmp_path / "recipe.yaml", "--cases", table, "--out", tmp_path / "run", "--dry-run", "--json")
    code, plan, _ = run(capsys, *words, "--set", "patches.size=[16,16,16]", "--set", "config.width=0.125")
    assert code == 0
    assert (plan["method"], plan["steps"], plan["patch"]) == ("supervised", 20000, [16, 16, 16])
    assert not (tmp_path / "run").exists()


def test_faults_come_with_the_error_that_they_are(capsys, tmp_path):
    table = tiny.write_cases(tmp_path)
    (tmp_path / "case1_ct.nii.gz").unlink()
    code, answer, err = run(capsys, "check", table, "--json")
    assert code == answer["error"]["exit_code"] == 3
    assert [(fault["case"], fault["role"]) for fault in answer["answer"]] == [("case1", "ct")]
    assert answer["error"]["what"] in err


@pytest.mark.parametrize(
    "words", [("trian", "--json"), ("--json", "train"), ("predict", "away", "-i", "x", "-o", "y.nii", "--json")]
)
def test_every_error_is_in_the_document(capsys, words):
    code, answer, err = run(capsys, *words)
    assert set(answer["error"]) == {"what", "where", "fix", "exit_code"}
    assert answer["error"]["exit_code"] == code > 1
    assert f"error: {answer['error']['what']}" in err
    assert answer["lines"] == answer["tables"] == []


def test_a_bug_is_one_in_json_too(capsys, monkeypatch):
    monkeypatch.setattr("medgen.methods.catalogue.list_methods", lambda: 1 / 0)
    code, answer, _ = run(capsys, "models", "--json")
    assert code == answer["error"]["exit_code"] == 1
    assert "ZeroDivisionError" in answer["error"]["what"]


def test_scores_are_those_of_the_file(capsys, tmp_path):
    table = tiny.write_cases(tmp_path, train=1, val=0, test=1)
    (tmp_path / "made").mkdir()
    (tmp_path / "made/case1").mkdir()
    (tmp_path / "case1_ct.nii.gz").rename(tmp_path / "made/case1/case1_ct.nii.gz")
    (tmp_path / "case1_ct.nii.gz").write_bytes((tmp_path / "made/case1/case1_ct.nii.gz").read_bytes())
    words = ("evaluate", "synthesis", tmp_path / "made", table, "-o", tmp_path / "scores.json", "--json")
    code, answer, _ = run(capsys, *words)
    assert code == 0
    assert answer == json.loads((tmp_path / "scores.json").read_text())
    assert answer["summary"]["mae"]["mean"] == 0


def test_the_next_command_speaks_as_before(capsys):
    run(capsys, "models", "--json")
    with pytest.raises(SystemExit):
        main(["models"])
    assert capsys.readouterr().out.startswith("name\tlearns from\tsummary\n")
    assert not logging.getLogger("medgen").handlers


def test_help_and_version_are_text_still(capsys):
    for words in (["--version", "--json"], ["recipe", "--help", "--json"]):
        with pytest.raises(SystemExit):
            main(words)
        assert "{" not in capsys.readouterr().out
