"""The inputs of a prediction: one image, an image for each role, a row or a whole case table."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from medgen.cases import Case, columns_of
from medgen.errors import InputError, UsageError
from medgen.inference.channels import advice, required
from medgen.volume import Volume

Image = str | Path | Volume
Source = Image | Case | Mapping[str, Image]
Inputs = str | Path | Sequence[str | Path] | Mapping[str, str | Path]


def by_role(
    source: Source, roles: Sequence[str], *, dropped: Mapping[str, float] | None = None, may_lack: bool = False
) -> dict[str, Image]:
    """One image for each input of a model.

    Args:
        source: one image, which is enough for a model with one input; images by role; or a row of a case table, of
            which the other roles are left out.
        roles: the inputs; ``ge|swi`` takes whichever of the two is given.
        dropped: the inputs that the model was trained to do without.
        may_lack: whether those may be missing.

    Raises:
        UsageError: images are missing, or carry roles that the model does not read; the message lists its roles.
        InputError: the row of the table lacks an image.
    """
    dropped = dropped or {}
    expected = f"the model reads: {', '.join(roles)}"
    needed = required(roles, dropped if may_lack else ())
    if isinstance(source, Case):
        found = {role: source.path(role) for role in roles}
        missing = [role for role in needed if found[role] is None]
        if missing:
            fix = f"{expected}; {advice(missing, dropped, allowed=may_lack)}"
            raise InputError(f"case '{source.name}' has no image for {', '.join(missing)}", fix=fix)
        return {role: path for role, path in found.items() if path is not None}
    if not isinstance(source, Mapping):
        if len(roles) > 1:
            fix = "name each, e.g. -i t1=t1.nii.gz -i t2=t2.nii.gz"
            raise UsageError(f"one image was given; {expected}", fix=fix)
        return {roles[0]: source}
    return _named(source, roles, needed, dropped, may_lack=may_lack)


def _named(
    source: Mapping[str, Image],
    roles: Sequence[str],
    needed: Collection[str],
    dropped: Mapping[str, float],
    *,
    may_lack: bool,
) -> dict[str, Image]:
    role_of = {name: role for role in roles for name in (role, *columns_of(role))}
    given = {role_of[name]: image for name, image in source.items() if name in role_of}
    unknown = any(name not in role_of for name in source)
    missing = [role for role in needed if role not in given]
    if unknown or len(given) < len(source) or missing:
        listed = ", ".join(source) or "nothing"
        lacking = f"; there is none for {', '.join(missing)}" if missing else ""
        give = " ".join(f"-i {columns_of(role)[0]}=FILE" for role in missing)
        fix = advice(missing, dropped, allowed=may_lack, give=give) if missing else "name each once"
        raise UsageError(f"images were given for: {listed}{lacking}; the model reads: {', '.join(roles)}", fix=fix)
    return {role: given[role] for role in roles if role in given}


def files_in(source: Source) -> tuple[Path, ...]:
    """Every file and folder of the images of one patient; of a row of a case table also those that no model reads.

    >>> files_in({"t1": "t1.nii.gz"})[0].name
    't1.nii.gz'
    """
    images = source.images if isinstance(source, Case) else source if isinstance(source, Mapping) else {"": source}
    return tuple(Path(image) for image in images.values() if isinstance(image, str | Path))


def parse_inputs(inputs: Inputs) -> Path | dict[str, str | Path]:
    """The value of ``--input``: one image, or an image for each role.

    Args:
        inputs: a file, or the folder of a DICOM series; or ``role=file`` once for each role, or ``{role: file}``.

    Raises:
        UsageError: some inputs have a role and some not, or a role is given twice.
    """
    if isinstance(inputs, Mapping):
        return {role: Path(file) for role, file in inputs.items()}
    items = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    pairs = [_role_and_file(item) for item in items]
    if len(pairs) == 1 and not pairs[0][0]:
        return pairs[0][1]
    if not pairs or not all(role for role, _ in pairs):
        raise UsageError(
            f"{len(items)} inputs were given, not all with a role", fix="name each: -i t1=t1.nii.gz -i t2=t2.nii.gz"
        )
    roles = [role for role, _ in pairs]
    if len(set(roles)) < len(roles):
        raise UsageError(f"a role is given twice: {', '.join(roles)}", fix="give one volume for each role")
    return dict(pairs)


def _role_and_file(item: str | Path) -> tuple[str, Path]:
    role, separator, file = str(item).partition("=")
    if isinstance(item, Path) or not separator or "/" in role or Path(item).exists():
        return "", Path(item)
    return role, Path(file)
