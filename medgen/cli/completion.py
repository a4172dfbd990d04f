"""``medgen completion``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from cyclopts import App

from medgen.cli.parameters import TextOutput


def completion_of(app: App) -> Callable[..., None]:
    """The command that writes the completion of ``app``."""

    def completion(
        shell: Literal["bash", "zsh", "fish"], /, *, output: TextOutput = None, overwrite: bool = False
    ) -> None:
        """Write what makes a shell complete the commands and options of medgen.

        A new shell knows them; zsh where ~/.zfunc is in its fpath.

        For example:

            medgen completion bash -o ~/.local/share/bash-completion/completions/medgen
            medgen completion zsh -o ~/.zfunc/_medgen
            medgen completion fish -o ~/.config/fish/completions/medgen.fish

        Args:
            shell: whose completion.
            output: the file to write; without it the script is printed.
            overwrite: replace an existing file.
        """
        from medgen.cli.output import write_or_say

        write_or_say(app.generate_completion(prog_name="medgen", shell=shell) + "\n", output, overwrite=overwrite)

    return completion
