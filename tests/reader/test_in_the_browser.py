"""Readers at a real page in headless Chromium: by keyboard, by touch, in two tabs, and after the browser was closed.

Needs Chromium and its driver (Debian: ``apt install chromium chromium-driver``).
"""

import os
from pathlib import Path

import pytest
from served import serving
from small_studies import small_study
from webdriver import CHROMIUM, DRIVER, Browser, Driver

from medgen.reader.answers import Journal

pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="Chromium and chromedriver are not installed")

WELCOME = "document.readyState === 'complete' && !document.getElementById('welcome').hidden"
SHOWN = "seen !== null && seen.position === {} && !document.querySelector('.answer').disabled"
ENDED = "!document.getElementById('end').hidden"


@pytest.fixture(scope="module")
def driver():
    driver = Driver()
    yield driver
    driver.close()


@pytest.fixture
def keep(request):
    """Keep a picture of the page, where MEDGEN_SCREENSHOTS names a folder to look at them."""
    folder = os.environ.get("MEDGEN_SCREENSHOTS")

    def picture(browser, name):
        if folder:
            browser.picture(Path(folder) / f"{name}.png")

    return picture


def text(browser, name):
    return browser.run(f"document.getElementById('{name}').innerText")


def sound(browser, served):
    """Nothing came from elsewhere, and the browser had nothing to complain about."""
    assert [line for line in browser.complaints() if "favicon" not in line] == []
    assert all(address.startswith(f"http://127.0.0.1:{served.port}/") for address in browser.requested())


def test_a_whole_study_by_keyboard_with_the_browser_closed_midway(driver, tmp_path, keep):
    with serving(small_study(tmp_path, count=4, repeats=0.5)) as served:
        (link,) = served.links
        browser = Browser(driver, tmp_path / "profile")
        browser.open(link)
        browser.wait(WELCOME)
        assert browser.run("location.href") == f"http://127.0.0.1:{served.port}/"  # the token has gone
        keep(browser, "welcome")
        browser.press("r", "1", "Enter")
        browser.wait(SHOWN.format(0))
        assert (text(browser, "number"), text(browser, "progress")) == ("3 / 5", "1 of 6")
        browser.press("ArrowUp")
        assert text(browser, "number") == "4 / 5"
        browser.press("ArrowDown", "ArrowDown", "ArrowDown", "ArrowDown")
        assert text(browser, "number") == "1 / 5"
        browser.press("p")
        assert text(browser, "number") == "5 / 8"
        browser.wait("document.querySelector('canvas').width === 6 && document.querySelector('canvas').height === 5")
        keep(browser, "case")
        pressed = "r2s"
        for done, key in enumerate(pressed):
            browser.wait(SHOWN.format(done))
            held = "new KeyboardEvent('keydown', { key: 's', repeat: true })"
            browser.run(f"document.dispatchEvent({held})")  # of the case before; it answers nothing
            browser.press(key, key)  # twice is once, and the second is not even sent
            browser.wait(SHOWN.format(done + 1))
            assert browser.run("document.getElementById('message').hidden")
        browser.wait(SHOWN.format(3))
        sound(browser, served)
        browser.close()

        browser = Browser(driver, tmp_path / "profile")  # the cookie is still there: no new link is needed
        browser.open(f"http://127.0.0.1:{served.port}/")
        for done in range(3, 6):
            browser.wait(SHOWN.format(done))
            assert text(browser, "progress") == f"{done + 1} of 6"
            browser.press("ss1"[done - 3])
        browser.wait(ENDED)
        keep(browser, "end")
        answers = Journal(served.study, "r1").answers
        right = sum(each.answer == served.study.correct(each.images) for each in answers if not each.repeat)
        assert f"You were right in {right} of 4 cases" in text(browser, "result")
        sound(browser, served)
        browser.close()
        words = {"r": "real", "1": "real", "s": "synthetic", "2": "synthetic"}
        assert [each.answer for each in answers] == [words[key] for key in pressed + "ss1"]
        assert all(0 < each.seconds < 30 for each in answers)


def test_pairs_by_touch_on_a_phone_with_two_tabs(driver, tmp_path, keep):
    with serving(small_study(tmp_path, task="pick-real")) as served:
        browser = Browser(driver, tmp_path / "profile", 390, 844, touch=True)
        browser.open(served.links[0])
        browser.wait(WELCOME)
        browser.press("r", "2")
        browser.tap("#begin button")
        browser.wait(SHOWN.format(0))
        assert browser.run("document.documentElement.scrollWidth") == 390
        assert browser.run("[...document.querySelectorAll('.answer')].every((each) => each.offsetHeight >= 48)")
        keep(browser, "pairs_on_a_phone")
        before = browser.run("seen.slices[0]")
        browser.drag(195, 400, -120)
        assert browser.run("seen.slices[0]") > before
        first, second = browser.tab(), browser.new_tab()
        browser.open(f"http://127.0.0.1:{served.port}/")
        browser.wait(SHOWN.format(0))
        browser.tap(".answer:nth-of-type(2)")
        browser.wait(SHOWN.format(1))
        browser.switch(first)
        browser.tap(".answer:nth-of-type(1)")  # the case that the second tab has answered
        browser.wait(SHOWN.format(1))
        assert "that one counts" in text(browser, "message")
        browser.switch(second)
        browser.press("ArrowLeft")
        browser.wait(SHOWN.format(2))
        answers = [each.answer for each in Journal(served.study, "r2").answers]
        assert answers == ["right", "left"]
        sound(browser, served)
        served.close()
        browser.press("1")  # nobody is there to keep this answer
        browser.wait("!document.getElementById('message').hidden")
        assert "nothing was saved now" in text(browser, "message")
        browser.wait(SHOWN.format(2))
        browser.close()
        assert len(Journal(served.study, "r2").answers) == 2
