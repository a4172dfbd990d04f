"""What ``medgen completion`` prints makes a shell complete."""

import shutil
import subprocess

import pytest

from medgen.cli import main


def script(capsys, shell):
    with pytest.raises(SystemExit) as exit_:
        main(["completion", shell])
    assert not exit_.value.code
    return capsys.readouterr().out


@pytest.mark.skipif(not shutil.which("bash"), reason="there is no bash")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("pre", ["predict", "prepare"]),
        ("phantom a", ["adaptation"]),
        ("train recipe.yaml --max", ["--max-minutes"]),
    ],
)
def test_bash_completes_commands_and_options(capsys, tmp_path, words, expected):
    path = tmp_path / "medgen"
    path.write_text(script(capsys, "bash"))
    asked = f'COMP_WORDS=(medgen {words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _medgen; echo "${{COMPREPLY[@]}}"'
    found = subprocess.run(["bash", "-c", f'source "{path}"; {asked}'], capture_output=True, text=True, check=True)
    assert sorted(found.stdout.split()) == expected


@pytest.mark.parametrize(("shell", "mark"), [("zsh", "#compdef medgen"), ("fish", "complete -c medgen")])
def test_other_shells_get_their_own(capsys, shell, mark):
    assert mark in script(capsys, shell)
