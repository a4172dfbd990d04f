"""The page of a run in training in headless Chromium: it is renewed, and what was chosen in the viewer stays.

Needs Chromium and its driver (Debian: ``apt install chromium chromium-driver``).
"""

import json
import os
import signal
import time

import nibabel
import numpy as np
import pytest
import tiny
from webdriver import CHROMIUM, DRIVER, SOFTWARE_GRAPHICS, Browser, Driver

from medgen.errors import Preempted
from medgen.live import watch_run
from medgen.run.experiment import train

needs_chromium = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="Chromium and chromedriver are not installed")

CANVAS = "document.getElementById('viewer-canvas')"
STATE = """({
  place: document.querySelector('#viewer-values span').textContent,
  image: [...document.querySelectorAll('#viewer-images input')].findIndex((each) => each.checked),
  view: document.getElementById('viewer-view').value,
  window: [...document.querySelectorAll('#viewer-sliders output')].map((each) => each.textContent),
  overlays: [...document.querySelectorAll('#viewer-overlays input')].map((each) => [each.checked, each.value]),
  focus: document.activeElement.id,
  top: Math.round(document.getElementById('viewer-section').getBoundingClientRect().top),
})"""
CHANGE = "((each) => {{ each.value = '{}'; each.dispatchEvent(new Event('{}')); }})(document.querySelector('{}'))"


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    return tiny.write_cases(tmp_path_factory.mktemp("cases"))


@pytest.fixture(scope="module")
def run(cases, tmp_path_factory):
    """Stopped at step 9 of 20."""
    folder = tmp_path_factory.mktemp("stopped") / "run"

    def progress(done, total, what):
        if "stage0" in what and done == 9:
            os.kill(os.getpid(), signal.SIGTERM)

    recipe = tiny.recipe(schedule={"validate_every": 3}, config={"context": "none"})
    with pytest.raises(Preempted):
        train(recipe, cases, folder, device="cpu", progress=progress)
    return folder


class Reader:
    """Who looks at the page; each look of the watch is one step of what they do."""

    def __init__(self, browser, run, cases):
        self.browser, self.run, self.cases = browser, run, cases
        self.addresses, self.steps = [], [self.chooses, self.sees_a_new_step, self.sees_new_volumes]

    def __call__(self):
        step = self.steps.pop(0)
        step()
        return not self.steps

    def chooses(self):
        """Choose everything that can be chosen, and rest: nothing may be loaded again."""
        browser = self.browser
        browser.open(self.addresses[0])
        browser.run("document.getElementById('viewer-section').scrollIntoView()")
        browser.wait(f"{CANVAS}.dataset.shown", 60)
        browser.run("document.querySelectorAll('#viewer-images input')[0].click()")
        browser.run("document.querySelector('#viewer-overlays input[type=checkbox]').click()")
        browser.run(CHANGE.format("0.3", "input", "#viewer-overlays input[type=range]"))
        browser.run(CHANGE.format("coronal", "change", "#viewer-view"))
        browser.run(CHANGE.format("120", "input", "#viewer-sliders input"))
        browser.run(f"{CANVAS}.focus({{ preventScroll: true }})")
        browser.press("PageUp", "PageUp", "ArrowLeft")
        browser.run("[window.mark = 1, scrollBy(0, 37)].length")
        self.state = browser.run(STATE)
        assert self.state["image"] == 0
        assert self.state["view"] == "coronal"
        assert self.state["overlays"][0][0]
        assert self.state["focus"] == "viewer-canvas"
        browser.asked()
        time.sleep(4)
        asked = browser.asked()
        assert len(asked) >= 2
        assert set(asked) == {self.addresses[0]}  # nobody but who serves the page, who had nothing new
        self.is_as_before()
        record = json.loads((self.run / "metrics.jsonl").read_text().splitlines()[-1])
        with (self.run / "metrics.jsonl").open("a") as log:
            log.write(json.dumps({**record, "part": "stage0", "step": 12}) + "\n")

    def sees_a_new_step(self):
        """The status and the curves are changed in place; then there is a new checkpoint, and other volumes."""
        self.browser.wait("document.querySelector('[role=status]').textContent.includes('step 12')", 30)
        self.is_as_before()
        assert self.browser.run("[...document.images].every((each) => each.naturalWidth > 50)")
        for path in self.cases.parent.glob("*_t1.nii.gz"):
            image = nibabel.load(path)
            nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj)[::-1], image.affine, image.header), path)
        for path in self.run.glob("checkpoints/*/step-*.pt"):
            os.utime(path)

    def sees_new_volumes(self):
        """The page is loaded again, but not under a hand that moves, and the viewer shows what it showed."""
        began = moved = time.monotonic()
        while time.monotonic() - began < 6:
            self.browser.point(5 + time.monotonic() % 9, 5)
            if time.monotonic() - moved < 2:  # this machine may be busy
                self.is_as_before()
            moved = time.monotonic()
        self.browser.wait("window.mark === undefined", 60)
        self.browser.wait(f"{CANVAS}.dataset.shown", 60)
        assert self.browser.run(STATE) == self.state
        assert self.browser.run("sessionStorage.length") == 0

    def is_as_before(self):
        assert self.browser.run("window.mark") == 1
        assert self.browser.run(STATE) == self.state


@pytest.fixture
def browser(tmp_path):
    driver = Driver()
    browser = Browser(driver, tmp_path / "profile", 1400, 1000, graphics=SOFTWARE_GRAPHICS)
    yield browser
    browser.close()
    driver.close()


@needs_chromium
def test_the_viewer_can_be_used_while_the_page_is_renewed(browser, run, cases):
    reader = Reader(browser, run, cases)
    watch_run(run, announce=reader.addresses.append, cases=cases, until=reader, every=1)
    assert not reader.steps
    assert browser.complaints() == []
