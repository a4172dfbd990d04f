"""What a report says of the health of an adaptation."""

import json
import math
import re

import pytest

from medgen.report import write_report
from medgen.report.drawing import LIGHT
from medgen.report.health import health_chart, health_panel
from medgen.run.monitor import LIMITS, RULE, STOPPING, MonitorRecord

LAYERS = ("down1", "bottom", "up2")


def looks(*, agreement=0.5, discriminator=0.9):
    """A target that is told apart while the volumes come from 6 times the source's to the same."""
    found = []
    for number, volume in enumerate((60.0, 60.0, 30.0, 10.0)):
        signals = {"source_dice": 0.6, "entropy_source": 0.05, "entropy_target": 0.1, "agreement_target": agreement}
        signals |= {"volume_source": 10.0, "volume_target": volume, "lesions_source": 4.0, "lesions_target": 9.0}
        for name, value in (("domain_accuracy", 0.9), ("discriminator_accuracy", discriminator)):
            for end in ("", "_low", "_high"):
                layers = LAYERS if name == "domain_accuracy" else ("",)
                signals |= {f"{name}{end}" + (f"/{layer}" if layer else ""): value for layer in layers}
        found.append(MonitorRecord(100 * number + 99, signals, warming_up=number < 2))
    return found


def titled(figure, title):
    return next(axes for axes in figure.axes if axes.get_title(loc="left") == title)


def test_the_panel_says_the_verdict_with_its_numbers():
    panel = health_panel(looks())
    assert panel.word == "healthy"
    assert panel.step == 400
    assert panel.rule == RULE
    assert "its volume came near the source's (factor 1, before 6)" in panel.reason
    assert panel.good
    assert health_panel([]) is None


def test_the_panel_is_about_the_weights_that_were_kept():
    seen = looks()
    lost = MonitorRecord(499, {**seen[-1].signals, "source_dice": 0.0})
    assert health_panel([*seen, lost]).word == "collapsed"
    assert health_panel([*seen, lost], keep="health").step == 400


def test_source_and_target_keep_their_colours():
    figure = health_chart(looks(), LIGHT)
    for title in ("predicted volume of a case (ml)", "predicted lesions of a case"):
        lines = {line.get_label(): line.get_color() for line in titled(figure, title).get_lines()}
        assert lines == {"source": LIGHT.series[0], "target": LIGHT.series[1]}
    (agreement,) = titled(figure, "agreement under perturbation, target").get_lines()
    assert agreement.get_color() == LIGHT.series[1]


def test_factors_and_layers_are_those_of_the_verdict():
    figure = health_chart(looks(), LIGHT)
    volume, entropy = titled(figure, "ratio of target and source (≥ 1)").get_lines()
    assert volume.get_ydata().tolist() == pytest.approx([6, 6, 3, 1], rel=0.01)
    assert entropy.get_ydata().tolist() == pytest.approx([2, 2, 2, 2], rel=0.01)
    assert volume.get_xdata().tolist() == [100, 200, 300, 400]
    late = [line.get_label() for line in titled(figure, "linear probe, late layers").get_lines()]
    assert late[:2] == ["bottom", "up2"]


def test_what_was_not_measured_is_said():
    figure = health_chart(looks(discriminator=math.nan, agreement=math.nan), LIGHT)
    texts = [text.get_text() for text in titled(figure, "the method's discriminator").texts]
    assert texts == ["not measured"]


def test_the_report_of_a_run_shows_it(tmp_path):
    text = shown(tmp_path, looks())
    assert "Health of the adaptation Healthy at step 400" in text
    assert escaped(RULE) in text
    assert escaped(LIMITS) in text
    assert "The training ended" not in text
    assert (tmp_path / "figures" / "health.png").stat().st_size > 10000


def test_the_report_says_why_a_training_ended(tmp_path):
    seen = looks()
    seen[-1] = MonitorRecord(399, {**seen[-1].signals, "entropy_target": 0.9})
    text = shown(tmp_path, seen, "schedule: {health: {stop: probe}}\n")
    assert "Healthy at step 300" in text
    assert "The training ended at step 400: collapsed: the mean entropy on the target is 0.90" in text
    assert "The weights of step 300 were kept." in text
    assert escaped(STOPPING) in text


def escaped(text):
    return text.replace("'", "&#39;")


def shown(tmp_path, seen, schedule=""):
    """The text of the report of a run with these validations."""
    recipe = "method: domain_adversarial\ndata: {inputs: [t1], labels: label}\n"
    (tmp_path / "recipe.yaml").write_text(recipe + schedule)
    with (tmp_path / "metrics.jsonl").open("w") as log:
        for look in seen:
            verdict = "warming up" if look.warming_up else "healthy"
            line = {"part": "stage0", "step": look.step, "health": dict(look.signals), "verdict": verdict}
            log.write(json.dumps(line) + "\n")
    page = write_report(tmp_path).read_text()
    return " ".join(re.sub(r"<[^>]+>", " ", re.sub(r"<(style|picture|script).*?</\1>", " ", page, flags=re.S)).split())
