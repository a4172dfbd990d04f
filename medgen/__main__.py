"""``python -m medgen`` is the ``medgen`` command."""

from medgen.cli import main

if __name__ == "__main__":
    main()
