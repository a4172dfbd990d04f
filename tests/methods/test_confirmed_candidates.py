"""One network proposes by the shared channels, the other one confirms by the shifted channel."""

import pytest
import torch

from medgen.errors import InputError, UsageError
from medgen.methods.base import Shape
from medgen.methods.catalogue import create
from medgen.methods.confirmed_candidates import REACH, Config, averaged
from medgen.recipe.settings import Schedule
from medgen.run.experiment import train
from medgen.run.start import plan
from medgen.sampling.batches import Adaptation
from medgen.training.engine import Engine
from medgen.training.loop import train as train_steps
from medgen.training.transfer import take
from tests.tiny_domains import recipe, write_domains

SIDE, SMALL = 16, {"network": "unet", "width": 0.25, "norm": "batch", "learning_rate": 3e-3}


def method(**changes):
    torch.manual_seed(0)
    return create("confirmed_candidates", {**SMALL, **changes}, Shape(2, 2))


def balls(size, generator):
    places = 3 + torch.rand(size, 3, generator=generator) * 9
    grid = torch.stack(torch.meshgrid(*[torch.arange(SIDE, dtype=torch.float32)] * 3, indexing="ij"))
    return ((grid - places[..., None, None, None]).square().sum(1) < 9)[:, None].float()


def images(size, generator, artefact):
    """Bright in channel 0: the lesion, and what looks like it. Dark in channel 1: the lesion, artefacts elsewhere."""
    lesion, other = balls(size, generator), balls(size, generator)
    other = other * (1 - lesion)
    noise = 0.2 * torch.randn(size, 2, SIDE, SIDE, SIDE, generator=generator)
    dark = artefact * balls(size, generator) * (1 - other)
    return torch.cat([torch.maximum(lesion, other), -2 * torch.maximum(lesion, dark)], 1) + noise, lesion, other


def batch(seed=0, size=4):
    generator = torch.Generator().manual_seed(seed)
    source, lesion, _ = images(size, generator, 0)
    ones = torch.ones(size, 1, SIDE, SIDE, SIDE)
    target = images(size, generator, 1)[0]
    return Adaptation(source, lesion.long(), ones, target, ones)


def fitted(steps=60, **changes):
    found = method(**changes)
    batches = [batch(seed) for seed in range(steps)]
    list(train_steps(found, found.optimizers(), batches, Schedule(steps=steps, batch=4), Engine("cpu"), seed=1))
    return found.eval()


def test_artefacts_are_no_candidates_and_what_only_looks_like_a_lesion_is_not_confirmed():
    found = fitted()
    image, lesion, other = images(8, torch.Generator().manual_seed(999), 1)
    with torch.no_grad():
        predicted = found.predict(image)[:, 1:] > 0.5
    assert 2 * (predicted * lesion).sum() / (predicted.sum() + lesion.sum()) > 0.7
    assert (predicted * other).sum() < 0.3 * other.sum()


class Fixed(torch.nn.Module):
    """A network that gives the same logits whatever it sees."""

    def __init__(self, logits):
        super().__init__()
        self.logits = torch.nn.Parameter(logits)

    def forward(self, _image):
        return self.logits


def test_only_labels_at_candidates_reach_the_network_that_confirms():
    found, given = method(begin=0.0, draws=1), batch()
    there = torch.zeros(4, 1, SIDE, SIDE, SIDE)
    there[:, :, 4:8, 4:8, 4:8] = 1
    proposed = torch.cat([1 - 0.9 * there, 0.9 * there], 1)
    found.second = Fixed(proposed.clamp_min(1e-6).log())
    near = torch.nn.functional.max_pool3d(there, 3, stride=1, padding=1)

    def loss(label):
        return list(found.updates(given._replace(label=label), 0.5))[1].losses["cross_entropy"]

    first = loss(given.label)
    assert loss(torch.where(near > 0, given.label, 1 - given.label)) == first
    assert loss(torch.where(near > 0, 1 - given.label, given.label)) != first


def test_each_network_sees_its_own_channels():
    found, image = method().eval(), batch().target
    answers = {"second": [], "network": []}
    for kind, heard in answers.items():
        getattr(found, kind).register_forward_hook(lambda _module, _given, answer, heard=heard: heard.append(answer))
    for channel, network in enumerate(answers):
        changed = image.clone()
        changed[:, channel] += 1
        with torch.no_grad():
            found.predict(image)
            found.predict(changed)
        differs = [kind for kind, heard in answers.items() if not torch.equal(*heard[-2:])]
        assert differs == [network]


def test_while_the_student_learns_its_teachers_stand_still():
    found = method(begin=0.0, teach=0.5, norm="instance", draws=1)
    assert found.target_begins == 0.5
    with pytest.raises(UsageError, match="have learnt nothing"):
        list(found.updates(batch(), 0.5))
    assert [update.optimizer for update in found.updates(batch(), 0.4)] == ["second", "segmenter"]
    assert [update.optimizer for update in found.updates(batch(), 0.5)] == ["student"]
    with pytest.raises(UsageError, match="'teach' must come after 'begin'"):
        method(begin=0.5, teach=0.5)
    never = method(begin=0.0, teach=1.0, norm="instance")
    assert (never.target_begins, never.draws) == (1.0, 1)
    assert len(list(never.updates(batch(), 0.999))) == 2
    assert "student" not in never.exported()
    assert "student" in found.exported()


def test_a_model_of_the_source_teaches_a_student_on_a_new_scanner():
    origin = fitted(20, teach=1.0)
    found = method(begin=0.0, teach=0.0)
    take(found, origin.state_dict())
    image = batch(3).target
    with torch.no_grad():
        before = found.eval().predict(image)
    steps = train_steps(found, found.optimizers(), [batch(seed, 8) for seed in range(40)], Schedule(steps=40, batch=4),
                  Engine("cpu"), seed=1)  # fmt: skip
    lost = [step.losses["student/cross_entropy"] for step in steps]
    assert sum(lost[-5:]) < 0.5 * sum(lost[:5])
    with torch.no_grad():
        after = found.eval().predict(image)
        student = found.student(image).softmax(1)
    for part in ("network", "second"):
        assert all(torch.equal(each, origin.get_parameter(f"{part}.{name}"))
                   for name, each in found.get_submodule(part).named_parameters())  # fmt: skip
    assert not torch.equal(before, after)
    teachers = fitted_teachers(found, image)
    assert torch.allclose(after, (teachers + student) / 2, atol=1e-5)


def fitted_teachers(found, image):
    """What the method predicts without its student."""
    alone = method(begin=0.0, teach=1.0).eval()
    alone.load_state_dict({name: each for name, each in found.state_dict().items() if not name.startswith("student")})
    with torch.no_grad():
        return alone.predict(image)


def test_the_student_sees_patches_with_candidates_and_no_label():
    found, given = method(begin=0.0, teach=0.0, norm="instance", draws=2), batch(size=4)
    found.learnt += 1
    there = torch.zeros(4, 1, SIDE, SIDE, SIDE)
    there[3, :, 4:8, 4:8, 4:8] = 1
    found.second = Fixed(torch.cat([1 - 0.9 * there, 0.9 * there], 1).log().clamp_min(-9))
    seen = []
    found.student.register_forward_hook(lambda _module, shown, _answer: seen.append(shown[0]))
    list(found.updates(given, 0.5))
    assert torch.equal(seen[0][0], given.target[3])
    assert len(seen[0]) == 2
    unlabelled = given._replace(
        label=torch.full_like(given.label, 9), source=torch.full_like(given.source, float("nan"))
    )
    list(found.updates(unlabelled, 0.5))
    assert torch.equal(seen[0], seen[1])


def test_without_a_student_the_target_need_not_be_there(tmp_path):
    table, known = write_domains(tmp_path / "cases"), []
    alone = table.with_name("source.csv")
    alone.write_text("\n".join(row for row in table.read_text().splitlines() if ",target," not in row) + "\n")
    blocks = recipe(method="confirmed_candidates", schedule={"steps": 2, "validate_every": 2}, config={"begin": 0.0})
    for cases in (table, alone):
        run = train(blocks, cases, tmp_path / cases.stem, device="cpu")
        known.append((run / "model" / "weights.safetensors").read_bytes())
    assert known[0] == known[1]
    other = table.with_name("target.csv")
    rows = [row for row in table.read_text().splitlines() if ",train,source," not in row]
    other.write_text("\n".join(rows) + "\n")
    with pytest.raises(InputError, match="training cases of domain 'source', and there is none"):
        train(blocks, other, tmp_path / "none", device="cpu")
    assert not (tmp_path / "none" / "store").exists(), "refused before anything is prepared"


def test_fewer_voxels_are_candidates_with_a_higher_threshold(monkeypatch):
    asked = []
    monkeypatch.setattr(
        "medgen.methods.confirmed_candidates.balanced", lambda weight, _: asked.append(weight) or weight
    )
    for threshold in (0.01, 0.99):
        list(method(begin=0.0, threshold=threshold, draws=1).updates(batch(), 0.5))
    assert asked[0].sum() > asked[1].sum()


def test_the_mean_over_a_candidate_by_hand():
    found, weight = torch.zeros(1, 1, 16, 16, 16), torch.zeros(1, 1, 16, 16, 16)
    found[0, 0, 8, 8, 8], weight[0, 0, 8, 8, 8:10] = 1, torch.tensor([1.0, 0.5])
    mean = averaged(found, weight)[0, 0]
    assert mean[8, 8, 8].item() == pytest.approx(2 / 3, abs=0.03)
    assert mean[8, 8, 8 + REACH].item() == pytest.approx(2 / 3, abs=0.03)
    assert mean[8, 8, 8 + REACH + 1].item() == pytest.approx(0, abs=1e-3)


def test_a_tile_of_deepmedic_has_the_values_of_the_volume():
    found = method(network="deepmedic", preset="small", width=0.25).eval()
    image = torch.randn(1, 2, 76, 73, 73)
    margin = found.window.margin
    assert margin == found.network.margin + REACH
    with torch.no_grad():
        whole, part = found.predict(image), found.predict(image[:, :, :73])
    assert whole.shape[2:] == tuple(side - 2 * margin for side in (76, 73, 73))
    assert torch.allclose(whole[:, :, : 73 - 2 * margin], part, atol=1e-5)


@pytest.mark.parametrize("preset", ["small", "res2016", "current", "wide"])
def test_deepmedic_takes_the_smallest_patch_and_the_next(preset):
    found = method(network="deepmedic", preset=preset, width=0.1)
    (side, *_), window, network = found.window.smallest(), found.window, found.network
    for output in (side - 2 * window.margin, side - 2 * window.margin + window.align):
        assert (output + 2 * window.margin - 2 * network.margin) % network.align == 0


def test_the_student_learns_what_its_teachers_predict():
    deep = {"network": "deepmedic", "preset": "small", "width": 0.1, "norm": "instance"}
    found = method(**deep, begin=0, teach=0, draws=1, l2=1e-3).eval()
    found.learnt += 1
    sides = found.window.smallest()
    image = torch.randn(1, 2, *sides, generator=torch.Generator().manual_seed(2))
    ones = torch.ones(1, 1, *sides)
    with torch.no_grad():
        seen, label, mask = found._labelled(Adaptation(image, ones.long(), ones, image, ones), 1)
        student, found.student = found.student, None
        expected = found.predict(image)
    found.student = student
    assert torch.equal(seen, image)
    assert label.shape == mask.shape == expected[:, :1].shape
    assert torch.equal(label, expected.argmax(1, keepdim=True))
    (update,) = found.updates(Adaptation(image, ones.long(), ones, image, ones), 0.5)
    assert update.losses["l2"] > 0


@pytest.mark.parametrize(
    ("settings", "steps", "keys"),
    [
        ({}, 10, []),
        ({"begin": 0.9}, 2, ["begin"]),
        ({"teach": 0.99}, 10, ["teach"]),
        ({"begin": 0.5, "teach": 0.9}, 10, []),
        ({"begin": 0.6, "teach": 0.9}, 2, ["begin", "teach"]),
    ],
)
def test_a_network_that_never_learns_is_warned_of(settings, steps, keys):
    said = Config(**settings).warnings(steps)
    assert [each.split()[0] for each in said] == [f"config.{key}" for key in keys]


def test_a_channel_that_is_not_there_is_refused():
    with pytest.raises(UsageError, match="one view lacks the channels 2 of 2"):
        method(hidden=(2,))


def test_teachers_that_learnt_other_channels_are_named(tmp_path, caplog):
    """``hidden`` is no shape: the weights fit, and would see channels that they have never seen."""
    table = write_domains(tmp_path / "cases", train=1, val=1, test=0)
    blocks = {"schedule": {"steps": 2, "validate_every": 2}, "data": {"domains": None}}
    first = recipe(method="confirmed_candidates", config={"hidden": [1]}, **blocks)
    origin = train(first, table, tmp_path / "first", device="cpu")
    second = recipe(method="confirmed_candidates", config={"hidden": [0]}, **blocks)
    plan(second, table, tmp_path / "run", device="cpu", init_from=origin)
    assert "config.hidden is 1 there and 0 here" in caplog.text
