"""``medgen models``."""

from __future__ import annotations


def models(*, available: bool = False) -> None:
    """List the methods for the key 'method' of a recipe, or the trained models that come with medgen.

    With --json, also what each can do, and its default settings; of a trained
    model its folder and the hash of its weights.

    For example:

        medgen models
        medgen models --json
        medgen models --available
        medgen predict head-ct -i t1.nii.gz -o ct.nii.gz

    Args:
        available: the trained models. Their names take the place of a run folder; they learnt from phantoms alone.
    """
    from medgen.cli.output import answer, show_table

    if available:
        from medgen.shipped import available as shipped

        found = shipped()
        answer([each.as_dict() for each in found])
        rows = [(each.name, " ".join(each.reads), " ".join(each.makes), each.summary) for each in found]
        show_table(("name", "reads", "makes", "summary"), rows)
        return
    from medgen.methods.catalogue import list_methods

    methods = list_methods()
    answer(methods)
    show_table(("name", "learns from", "summary"), [(m["name"], m["batch"], m["summary"]) for m in methods])
