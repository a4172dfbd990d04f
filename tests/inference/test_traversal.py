"""Traversals of a linear decoder change what they should; the ends of an interpolation are the reconstructions."""

import csv
import itertools
import json
import re
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from mean_model import save
from PIL import Image
from toy_samplers import LINEAR, MEANS, NOISE, save_toy

from medgen.errors import InputError, ModelError, PathError, UsageError
from medgen.inference.code_map import flattened, spread, write_code_map
from medgen.inference.code_table import read_codes
from medgen.inference.codes import slerp
from medgen.inference.encoding import encode, encoded
from medgen.inference.factor_table import read_table
from medgen.inference.generation import decoded
from medgen.inference.opened import open_model
from medgen.inference.traversal import interpolate, traverse

WINDOW = {"t1": {"window": [-1, 1]}}
HERE = {"device": "cpu", "allow_modules": [LINEAR, MEANS, NOISE]}


def flat(folder: Path, **options) -> Path:
    return save_toy(folder, LINEAR, size=(16, 12), spacing=[1, 2, 3], intensity=WINDOW, **options)


def write_codes(path: Path, codes: np.ndarray, weights: str | None = None) -> Path:
    """A table of codes of cases a, b, c, ... as 'medgen latent encode' writes it; without weights, alone."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["case", "patch", "x_mm", "y_mm", "z_mm", *(f"code_{n}" for n in range(codes.shape[1]))])
        writer.writerows([f"case{n:02d}", 0, 0, 0, 0, *code] for n, code in enumerate(codes.tolist()))
    return path


@pytest.fixture(scope="module")
def codes() -> np.ndarray:
    """40 codes: number 2 varies most, then 0; number 1 never, number 3 little."""
    generator = np.random.default_rng(0)
    return generator.normal(size=(40, 4)) * [1.0, 0.0, 3.0, 0.1] + [0.5, 0.25, 0.0, 0.0]


@pytest.fixture
def no_pictures(monkeypatch) -> None:
    """For tests of values: pictures take half a second each."""
    for name in ("interpolation.write_contact_sheet", "interpolation._write_film", "traversal.write_contact_sheet"):
        monkeypatch.setattr(f"medgen.inference.{name}", lambda *args, **rest: None)


@pytest.mark.usefixtures("no_pictures")
class TestNumbers:
    def test_a_number_changes_its_part_alone_and_by_its_standard_deviation(self, codes, tmp_path: Path) -> None:
        table = write_codes(tmp_path / "codes.csv", codes)
        traverse(flat(tmp_path / "run"), tmp_path / "out", codes=table, steps=5, reach=2.0, **HERE)
        told = json.loads((tmp_path / "out" / "traversal.json").read_text())
        assert [each["name"] for each in told["directions"]] == ["number2", "number0", "number3"], "1 never varies"
        first = told["directions"][0]
        assert first["labels"] == ["-2.0 SD", "-1.0 SD", "0", "+1.0 SD", "+2.0 SD"]
        images = np.load(tmp_path / "out" / first["raw_values"])["t1"]
        middle = (codes.mean(axis=0) * [1, 2, 3, 4]).repeat(4)
        np.testing.assert_allclose(images[2], np.tile(middle[:, None], (1, 12)), atol=1e-5)
        change = images - images[2]
        assert np.abs(change[:, :8]).max() == np.abs(change[:, 12:]).max() == 0
        expected = 3 * codes[:, 2].std() * np.arange(-2, 3)
        np.testing.assert_allclose(change[:, 8:12], np.tile(expected[:, None, None], (1, 4, 12)), atol=1e-4)

    def test_without_codes_by_the_response_of_the_decoder(self, tmp_path: Path) -> None:
        """Number n has gain n + 1 over a quarter of the image: an RMS of (n + 1) / 2."""
        traverse(flat(tmp_path / "run"), tmp_path / "out", count=2, steps=3, **HERE)
        told = json.loads((tmp_path / "out" / "traversal.json").read_text())
        assert [each["name"] for each in told["directions"]] == ["number3", "number2"]
        assert ": 2)" in told["directions"][0]["what"]
        assert told["around"] == "around zero"

    def test_around_a_case(self, codes, tmp_path: Path) -> None:
        run, table = flat(tmp_path / "run"), write_codes(tmp_path / "codes.csv", codes)
        traverse(run, tmp_path / "out", codes=table, case="case07", count=1, steps=3, **HERE)
        images = np.load(tmp_path / "out" / "traversal_number2.npz")["t1"]
        np.testing.assert_allclose(images[1, ::4, 0], codes[7] * [1, 2, 3, 4], rtol=1e-5)


@pytest.mark.usefixtures("no_pictures")
class TestOtherDirections:
    def test_principal_components_have_their_share(self, codes, tmp_path: Path) -> None:
        turned = codes.copy()
        turned[:, 1] = codes[:, 2]  # numbers 1 and 2 now change together
        run, table = flat(tmp_path / "run"), write_codes(tmp_path / "codes.csv", turned)
        traverse(run, tmp_path / "out", codes=table, along="components", count=1, steps=3, reach=1, **HERE)
        told = json.loads((tmp_path / "out" / "traversal.json").read_text())["directions"][0]
        variances = turned.var(axis=0)
        assert f"({(variances[1] + variances[2]) / variances.sum():.0%} of their variance)" in told["what"]
        low, _, high = np.load(tmp_path / "out" / told["raw_values"])["t1"][:, ::4, 0]
        sd = codes[:, 2].std()
        np.testing.assert_allclose(np.abs(high - low), [0, 4 * sd, 6 * sd, 0], atol=0.5)

    def test_a_factor_is_labelled_in_its_unit(self, codes, tmp_path: Path) -> None:
        """A factor of 10 + 4 times number 0: a step of one unit is 1/4 of it, and nothing else."""
        run, table = flat(tmp_path / "run"), write_codes(tmp_path / "codes.csv", codes)
        rows = [(f"case{n:02d}", 10 + 4 * code[0]) for n, code in enumerate(codes)]
        (tmp_path / "f.csv").write_text("case,ml\n" + "".join(f"{name},{value}\n" for name, value in rows))
        factor = {"factor": "ml", "table": tmp_path / "f.csv"}
        traverse(run, tmp_path / "out", codes=table, steps=3, reach=1.5, **factor, **HERE)
        told = json.loads((tmp_path / "out" / "traversal.json").read_text())["directions"][0]
        assert "R2 1.00" in told["what"]
        low, middle, high = (float(label) for label in told["labels"])
        assert middle == pytest.approx(10 + 4 * codes[:, 0].mean(), abs=0.1)
        assert high - low == pytest.approx(3 * 4 * codes[:, 0].std(), rel=0.02)
        first, _, last = np.load(tmp_path / "out" / "traversal_ml.npz")["t1"][:, ::4, 0]
        assert last[0] - first[0] == pytest.approx((high - low) / 4, rel=0.02)

    def test_a_factor_that_codes_do_not_know_is_said(self, codes, tmp_path: Path, caplog) -> None:
        run, table = flat(tmp_path / "run"), write_codes(tmp_path / "codes.csv", codes)
        noise = np.random.default_rng(5).normal(size=40)
        (tmp_path / "f.csv").write_text("case,ml\n" + "".join(f"case{n:02d},{v}\n" for n, v in enumerate(noise)))
        traverse(run, tmp_path / "out", codes=table, factor="ml", table=tmp_path / "f.csv", steps=3, **HERE)
        assert "the codes say nothing of it for sure" in caplog.text


class TestPictures:
    @pytest.mark.filterwarnings("error::FutureWarning")  # of a writer of films that goes away
    def test_slices(self, codes, tmp_path: Path) -> None:
        run, table = flat(tmp_path / "run"), write_codes(tmp_path / "codes.csv", codes)
        traverse(run, tmp_path / "out", codes=table, count=2, steps=5, **HERE)
        assert Image.open(tmp_path / "out" / "traversal.png").size[0] > 500
        with Image.open(tmp_path / "out" / "traversal_number0.gif") as film:
            assert film.n_frames == 8
            assert film.info["loop"] == 0
            assert film.info["duration"] >= 100
            high = film.size[1] - 24
            film.seek(0)
            first = np.asarray(film.convert("L"))
            film.seek(4)
            last = np.asarray(film.convert("L"))
        assert high == 24 * round(256 / 16)
        assert last[high:].max() > 150, "the value is written below the image"
        assert not np.array_equal(first[high:], last[high:])

    def test_volumes_show_three_views_and_are_written(self, codes, tmp_path: Path, monkeypatch) -> None:
        seen = []
        monkeypatch.setattr(
            "medgen.inference.interpolation.write_contact_sheet",
            lambda path, main, below, **rest: seen.append([main.name, *(view.name for view in below)]),
        )
        run = save_toy(tmp_path / "run", LINEAR, size=(8, 4, 6), spacing=[1, 2, 3], intensity=WINDOW)
        traverse(run, tmp_path / "out", count=1, steps=3, **HERE)
        assert seen == [["axial", "coronal", "sagittal"]]
        volume = nibabel.load(tmp_path / "out" / "traversal_number3_0002_t1.nii.gz")
        assert volume.shape == (8, 4, 6)
        np.testing.assert_allclose(volume.get_fdata()[:, 0, 0], [0, 0, 0, 0, 0, 0, 8, 8])

    @pytest.mark.usefixtures("no_pictures")
    def test_an_earlier_one_is_replaced_and_nothing_else(self, tmp_path: Path) -> None:
        run = flat(tmp_path / "run")
        options = {"count": 1, "steps": 3, **HERE}
        traverse(run, tmp_path / "out", **options)
        with pytest.raises(UsageError, match="not empty"):
            traverse(run, tmp_path / "out", **options)
        traverse(run, tmp_path / "out", overwrite=True, **options)
        (tmp_path / "out" / "thesis.txt").touch()
        with pytest.raises(UsageError, match="'medgen latent traverse' did not write"):
            traverse(run, tmp_path / "out", overwrite=True, **options)
        assert (tmp_path / "out" / "thesis.txt").exists()


def real_cases(folder: Path) -> Path:
    """Two bodies that fill the volume: quarters of the first axis of -0.8 to 0.7, and of one value plus noise."""
    generator = np.random.default_rng(0)
    for name, values in (("a", [-0.8, -0.3, 0.2, 0.7]), ("b", [0.5, 0.4, -0.6, 0.1])):
        image = np.repeat(values, 4)[:, None, None] + generator.normal(0, 0.05, (16, 12, 5))
        save(image.astype(np.float32), folder / f"{name}.nii.gz")
    (folder / "cases.csv").write_text("case,split,t1\na,train,a.nii.gz\nb,test,b.nii.gz\n")
    return folder / "cases.csv"


class TestInterpolation:
    @pytest.mark.usefixtures("no_pictures")
    @pytest.mark.parametrize("size", [(16, 12), (16, 8, 4)])
    def test_the_ends_are_the_reconstructions(self, size, tmp_path: Path) -> None:
        run, cases = save_toy(tmp_path / "run", LINEAR, size=size, intensity=WINDOW), real_cases(tmp_path)
        encode(run, cases, tmp_path / "codes.csv", **HERE)
        read, model = read_codes(tmp_path / "codes.csv"), open_model(run, "cpu", [LINEAR])
        interpolate(run, cases, tmp_path / "out", "a", "b", steps=5, **HERE)
        told = json.loads((tmp_path / "out" / "interpolation.json").read_text())
        ends = [torch.from_numpy(code)[None] for code in read.code]
        assert not torch.equal(*ends)
        for step in range(5):
            expected = decoded(model, slerp(*ends, step / 4), "image")[0]
            if len(size) == 2:
                found = np.load(tmp_path / "out" / told["raw_values"])["t1"][step]
            else:
                found = nibabel.load(tmp_path / "out" / told["files"][step]["t1"]).get_fdata()
            np.testing.assert_allclose(found, expected, atol=1e-5)

    def test_real_images_stand_beside_the_ends(self, tmp_path: Path, monkeypatch) -> None:
        seen = []
        monkeypatch.setattr(
            "medgen.inference.interpolation.write_contact_sheet",
            lambda path, main, below, **rest: seen.append((main, rest)),
        )
        run, cases = flat(tmp_path / "run"), real_cases(tmp_path)
        interpolate(run, cases, tmp_path / "out", "a", "b", steps=3, **HERE)
        main, rest = seen[0]
        assert main.labels == ["a", "0%", "50%", "100%", "b"]
        assert "patients" in rest["footer"]
        assert len(main.pictures) == 5
        assert not np.array_equal(main.pictures[0], main.pictures[1]), "the image and its reconstruction"
        with Image.open(tmp_path / "out" / "interpolation.gif") as film:
            assert film.n_frames == 4, "there and back"

    @pytest.mark.parametrize(
        ("names", "options", "error", "said"),
        [
            (("a", "x"), {}, InputError, "no case 'x'"),
            (("a", "a"), {}, UsageError, "are both 'a'"),
            (("a", "b"), {"steps": 1}, UsageError, "--steps must be 2"),
        ],
    )
    def test_refusals(self, names, options, error, said: str, tmp_path: Path) -> None:
        run, cases = flat(tmp_path / "run"), real_cases(tmp_path)
        with pytest.raises(error, match=re.escape(said)) as caught:
            interpolate(run, cases, tmp_path / "out", *names, **options, **HERE)
        assert caught.value.fix
        assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("no_pictures")
class TestCodesOfAnotherModel:
    def test_by_the_hash_of_the_weights(self, tmp_path: Path) -> None:
        one, cases = flat(tmp_path / "one"), real_cases(tmp_path)
        encode(one, cases, tmp_path / "codes.csv", **HERE)
        path = tmp_path / "codes.json"
        content = json.loads(path.read_text())
        content["model"]["weights_sha256"] = "f" * 64
        path.write_text(json.dumps(content))
        for work in (
            lambda: traverse(one, tmp_path / "out", codes=tmp_path / "codes.csv", **HERE),
            lambda: write_code_map(one, tmp_path / "codes.csv", tmp_path / "map.png", **HERE),
        ):
            with pytest.raises(InputError, match="codes are of another model: of weights ffffffff") as caught:
                work()
            assert caught.value.exit_code == 3
        assert not (tmp_path / "out").exists()
        assert not (tmp_path / "map.png").exists()

    def test_by_their_length_where_nothing_names_the_model(self, codes, tmp_path: Path, caplog) -> None:
        run = flat(tmp_path / "run")
        table = write_codes(tmp_path / "long.csv", np.concatenate([codes, codes], axis=1))
        with pytest.raises(InputError, match=r"they have 8 numbers, and those of this model 4 \(4\)"):
            traverse(run, tmp_path / "out", codes=table, **HERE)
        traverse(run, tmp_path / "out", codes=write_codes(tmp_path / "codes.csv", codes), steps=3, **HERE)
        assert "taken from their length alone" in caplog.text

    def test_npz_and_csv_are_the_same(self, tmp_path: Path) -> None:
        run = save_toy(tmp_path / "run", MEANS, size=(4, 6, 2), intensity=WINDOW)
        cases = real_cases(tmp_path)
        for name in ("codes.csv", "arrays.npz"):
            encode(run, cases, tmp_path / name, patches=3, **HERE)
        one = read_codes(tmp_path / "arrays.npz")
        (tmp_path / "codes.json").unlink()
        other = read_codes(tmp_path / "codes.csv")
        assert (one.code.shape, other.code.shape) == ((6, 1, 2), (6, 2))
        np.testing.assert_array_equal(one.flat, other.flat)
        np.testing.assert_allclose(one.centre_mm, other.centre_mm, atol=1e-3)
        assert one.case.tolist() == other.case.tolist() == list("aaabbb")


class TestDamagedCodes:
    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("", "it is empty"),
            ("case,patch\n", "is not in list"),
            ("case,patch,x_mm,y_mm,z_mm,code_0\n", "holds no code"),
            ("case,patch,x_mm,y_mm,z_mm\na,0,1,2,3\n", "holds no code"),
            ("case,patch,x_mm,y_mm,z_mm,code_0\na,99999999999999999999999,1,2,3,4\n", "damaged"),
            ("case,patch,x_mm,y_mm,z_mm,code_0\na,0,1,2\n", "line 2 has 4 columns"),
            ("case,patch,x_mm,y_mm,z_mm,code_0\na,0,1,2,3,four\n", "could not convert"),
            ("case,patch,x_mm,y_mm,z_mm,code_0\na,0,1,2,3,4\nb,0,1,2,3,nan\n", "row 2 of the codes"),
        ],
    )
    def test_tables(self, text: str, said: str, tmp_path: Path) -> None:
        (tmp_path / "codes.csv").write_text(text)
        with pytest.raises(InputError, match=said) as caught:
            read_codes(tmp_path / "codes.csv")
        assert "medgen latent encode" in caught.value.fix

    def test_arrays_and_what_stands_beside_them(self, tmp_path: Path) -> None:
        path = tmp_path / "codes.npz"
        path.write_bytes(b"PK\x03\x04 no zip")
        with pytest.raises(InputError, match="damaged"):
            read_codes(path)
        np.savez(path, case=np.array(["a", "b"]), patch=[0, 0], centre_mm=np.zeros((2, 3)), code=np.zeros((1, 4)))
        with pytest.raises(InputError, match="different lengths"):
            read_codes(path)
        np.savez(path, case=np.array(["a"]), patch=[0], centre_mm=np.zeros((1, 3)))
        with pytest.raises(InputError, match="code"):
            read_codes(path)
        with pytest.raises(UsageError, match="are read from"):
            read_codes(tmp_path / "codes.txt")

    def test_every_changed_byte_of_the_directory_of_the_arrays(self, tmp_path: Path) -> None:
        """Either the codes are those that were written, or the file is called damaged; no other error, ever."""
        path = tmp_path / "codes.npz"
        arrays = {"case": np.array(["a", "b"]), "patch": [0, 0], "centre_mm": np.zeros((2, 3)), "code": np.eye(2, 8)}
        np.savez_compressed(path, **arrays)
        content, said = path.read_bytes(), set()
        for place in range(content.index(b"PK\x01\x02"), len(content)):
            path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
            try:
                np.testing.assert_array_equal(read_codes(path).code, arrays["code"])
            except InputError as error:
                said.add(error.what)
        assert any("encrypted" in what for what in said)

    def test_a_checksum_of_numbers_that_are_not_read(self, tmp_path: Path) -> None:
        path = tmp_path / "codes.npz"
        np.savez(path, case=np.array(["a"]), patch=[0], centre_mm=np.zeros((1, 3)), code=np.ones((1, 9)))
        path.write_bytes(path.read_bytes().replace(b"(1, 9)", b"(1, 8)"))
        with pytest.raises(InputError, match=r"the checksum of code\.npy is wrong"):
            read_codes(path)

    @pytest.mark.parametrize("text", ['{"code_shape": [Infinity]}', "[" * 100_000])
    def test_a_manifest_that_json_cannot_hold(self, codes, text: str, tmp_path: Path) -> None:
        path = write_codes(tmp_path / "codes.csv", codes)
        (tmp_path / "codes.json").write_text(text)
        with pytest.raises(InputError, match="this file beside the codes is damaged"):
            read_codes(path)

    @pytest.mark.parametrize("read", [read_codes, read_table])
    def test_a_file_that_is_missing(self, read, tmp_path: Path) -> None:
        with pytest.raises(PathError, match="the file does not exist"):
            read(tmp_path / "codes.csv")
        (tmp_path / "folder.csv").mkdir()
        with pytest.raises(PathError, match="a folder, not a file"):
            read(tmp_path / "folder.csv")

    def test_a_manifest_of_another_file(self, tmp_path: Path) -> None:
        run, cases = flat(tmp_path / "run"), real_cases(tmp_path)
        encode(run, cases, tmp_path / "codes.csv", **HERE)
        text = (tmp_path / "codes.csv").read_text()
        (tmp_path / "codes.csv").write_text(text.replace("a,0", "z,0"))
        with pytest.raises(InputError, match="describes another file, or the codes have changed"):
            read_codes(tmp_path / "codes.csv")
        (tmp_path / "codes.json").write_text("{}")
        with pytest.raises(InputError, match="this file beside the codes is damaged: it has no 'code_shape'") as caught:
            read_codes(tmp_path / "codes.csv")
        assert caught.value.where == tmp_path / "codes.json"


class TestMap:
    def test_principal_components_by_hand(self, tmp_path: Path) -> None:
        """Codes on a cross of arms 3 and 1: shares of 90 and 10 %."""
        table = np.array([[3.0, 0], [-3, 0], [0, 1], [0, -1]]) + 5
        places, axes = flattened(read_codes(write_codes(tmp_path / "codes.csv", table)), "pca")
        np.testing.assert_allclose(np.abs(places), [[3, 0], [3, 0], [0, 1], [0, 1]], atol=1e-9)
        assert axes[:2] == ("component 1: 90% of the variance", "component 2: 10% of the variance")

    def test_thumbnails_are_spread(self) -> None:
        places = np.array([[0, 0], [0.1, 0], [0, 0.1], [10, 0], [0, 10], [10, 10], [10, 10]], float)
        assert set(spread(places, 4)) >= {3, 4}
        assert len(spread(places, 99)) == 6, "no two at one place"
        assert spread(places, 0) == []

    @pytest.mark.parametrize("column", [None, [*"abcdefghijklmno"] * 2 + ["x"] * 10, list(range(40)), ["old", ""] * 20])
    def test_colours(self, codes, column, tmp_path: Path) -> None:
        run, table = flat(tmp_path / "run"), write_codes(tmp_path / "codes.csv", codes)
        options = {}
        if column is not None:
            rows = [f"case{n:02d},{value}\n" for n, value in enumerate(column)]
            (tmp_path / "f.csv").write_text("case,what\n" + "".join(rows))
            options = {"colour": "what", "table": tmp_path / "f.csv"}
        write_code_map(run, table, tmp_path / "map.png", thumbnails=3, **options, **HERE)
        pixels = np.asarray(Image.open(tmp_path / "map.png").convert("RGB"), int)
        coloured = np.ptp(pixels, axis=2).max() > 60
        assert coloured

    def test_a_column_without_a_value_for_any_code(self, codes, tmp_path: Path, caplog) -> None:
        (tmp_path / "f.csv").write_text("case,age\nsomebody,1\n")
        table, options = write_codes(tmp_path / "codes.csv", codes), {"colour": "age", "table": tmp_path / "f.csv"}
        write_code_map(flat(tmp_path / "run"), table, tmp_path / "map.png", thumbnails=0, **options, **HERE)
        assert "no code is of a case with a value of age" in caplog.text

    def test_tsne_is_the_same_again(self, codes, tmp_path: Path) -> None:
        read = read_codes(write_codes(tmp_path / "codes.csv", codes[:12]))
        (one, axes), (other, _) = (flattened(read, "tsne", 3) for _ in range(2))
        np.testing.assert_array_equal(one, other)
        assert "distances between groups mean nothing" in axes[2]

    def test_refusals(self, codes, tmp_path: Path) -> None:
        run = flat(tmp_path / "run")
        few = write_codes(tmp_path / "few.csv", codes[:3])
        equal = write_codes(tmp_path / "equal.csv", np.ones((9, 4)))
        many = write_codes(tmp_path / "many.csv", codes)
        (tmp_path / "f.csv").write_text("case,ml\ncase00,1\n")
        for table, name, options, error, said in (
            (few, "map.png", {}, InputError, "3 codes make no map"),
            (equal, "map.png", {}, InputError, "all equal"),
            (many, "map.jpg", {}, UsageError, "written as .png"),
            (many, "map.png", {"thumbnails": -1}, UsageError, "at least 0"),
            (many, "map.png", {"by": "tsne", "seed": -1}, UsageError, "--seed must be between 0 and"),
            (many, "map.png", {"by": "tsne", "seed": 99999999999999}, UsageError, "--seed must be between 0 and"),
            (many, "map.png", {"colour": "ml"}, UsageError, "need each other"),
            (many, "map.png", {"colour": "age", "table": tmp_path / "f.csv"}, UsageError, "no column 'age'"),
        ):
            with pytest.raises(error, match=said) as caught:
                write_code_map(run, table, tmp_path / name, **options, **HERE)
            assert caught.value.fix
            assert not (tmp_path / name).exists()


class TestRefusals:
    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"along": "components"}, "--along components needs the codes"),
            ({"case": "a"}, "--case needs the codes"),
            ({"factor": "ml", "table": "f.csv"}, "--factor needs the codes"),
            ({"codes": "codes.csv", "factor": "ml"}, "--factor needs --table"),
            ({"codes": "codes.csv", "table": "f.csv"}, "--table needs --factor"),
            ({"codes": "codes.csv", "factor": "ml", "table": "f.csv", "along": "numbers"}, "both choose"),
            ({"count": 0}, "--count must be 1 to 64"),
            ({"reach": 0.0}, "--reach must be above 0"),
            ({"reach": float("nan")}, "--reach must be above 0"),
            ({"steps": 4}, "--steps must be odd"),
            ({"steps": 1}, "--steps must be odd"),
        ],
    )
    def test_arguments(self, options, said: str, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=re.escape(said)) as caught:
            traverse(flat(tmp_path / "run"), tmp_path / "out", **options, **HERE)
        assert caught.value.fix
        assert not (tmp_path / "out").exists()

    def test_a_factor_too_large_for_a_number(self, codes, tmp_path: Path) -> None:
        table = write_codes(tmp_path / "codes.csv", codes)
        rows = [f"case{number:02d},{number + 1}e300" for number in range(len(codes))]
        (tmp_path / "f.csv").write_text("\n".join(["case,ml", *rows]) + "\n")
        with pytest.raises(InputError, match="the column 'ml': case 'case00' has 1e300") as caught:
            traverse(
                flat(tmp_path / "run"), tmp_path / "out", codes=table, factor="ml", table=tmp_path / "f.csv", **HERE
            )
        assert caught.value.where == tmp_path / "f.csv"

    def test_codes_that_lead_nowhere(self, codes, tmp_path: Path) -> None:
        run, names = flat(tmp_path / "run"), {"case": "b"}
        one = write_codes(tmp_path / "one.csv", codes[:1])
        (tmp_path / "f.csv").write_text("case,ml\ncase00,1\n")
        for options, said in (
            ({"along": "components"}, "1 codes have no principal"),
            ({}, "all equal"),
            (names, "no code is of a case 'b'"),
            ({"factor": "ml", "table": tmp_path / "f.csv"}, "'ml' gives no direction: the factor is the same"),
        ):
            with pytest.raises(UsageError, match=said):
                traverse(run, tmp_path / "out", codes=one, **options, **HERE)

    def test_an_image_that_is_not_finite(self, tmp_path: Path) -> None:
        run = flat(tmp_path / "run", config={"offset": 1e38})
        with pytest.raises(ModelError, match="48 of 192 voxels of number2 at"):
            traverse(run, tmp_path / "out", codes=write_codes(tmp_path / "c.csv", 1e38 * np.eye(4)), **HERE)
        assert not (tmp_path / "out").exists()

    def test_a_model_that_encodes_nothing(self, tmp_path: Path) -> None:
        run = save_toy(tmp_path / "run", NOISE, size=(8, 8))
        with pytest.raises(UsageError, match="cannot encode images"):
            traverse(run, tmp_path / "out", **HERE)


def test_encoding_is_the_inverse_of_the_toy(tmp_path: Path) -> None:
    """So that the tests above compare with the truth."""
    model = open_model(flat(tmp_path / "run"), "cpu", [LINEAR])
    for code in itertools.product([-0.5, 1.0], repeat=4):
        image = decoded(model, torch.tensor([code]), "image")
        np.testing.assert_allclose(encoded(model, image), code, atol=1e-6)
