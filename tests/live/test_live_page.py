"""The page of a run in training."""

import http.client
import json
import os
import re
import shutil
import signal
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import tiny

from medgen.cli import main
from medgen.errors import InputError, Preempted, UsageError
from medgen.live import watch_run
from medgen.live.page import PAGE, LivePage
from medgen.live.state import Watched, last_record
from medgen.run.experiment import train

CHANGES = {"schedule": {"validate_every": 3}, "config": {"context": "none"}}


def train_until(cases, run, step):
    def progress(done, total, what):
        if "stage0" in what and done == step:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Preempted):
        train(tiny.recipe(**CHANGES), cases, run, device="cpu", progress=progress)


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    return tiny.write_cases(tmp_path_factory.mktemp("cases"))


@pytest.fixture(scope="module")
def run(cases, tmp_path_factory):
    """Stopped at step 9 of 20."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    train_until(cases, folder, 9)
    return folder


def get(address, path="/", host=None, **headers):
    place = urlsplit(address)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=10)
    connection.request("GET", path, headers={"Host": host, **headers} if host else headers)
    answer = connection.getresponse()
    return answer.status, dict(answer.getheaders()), answer.read().decode()


def watched(run, ask, **options):
    """What ``ask(address)`` returns while the run is watched."""
    addresses, answers = [], []

    def until():
        answers.append(ask(addresses[0]))
        return True

    watch_run(run, announce=addresses.append, until=until, **options)
    return answers[0]


def test_the_page_says_how_far_it_is_and_asks_for_a_newer_one(run):
    code, headers, page = watched(run, get, every=7)
    assert code == 200
    assert "In training: stage0, step" in page
    assert "of 20" in page
    assert 'data-every="7"' in page
    assert '<noscript><meta http-equiv="refresh" content="7"></noscript>' in page
    assert "connect-src" in page
    assert "refresh" not in headers  # with a script, nothing is loaded again that has not changed
    assert headers["cache-control"] == "no-store"


def test_an_unchanged_page_is_not_sent_again(run):
    def ask(address):
        tag = get(address)[1]["etag"]
        (code, headers, page), other = get(address, **{"If-None-Match": tag}), get(address, **{"If-None-Match": '"1"'})
        return code, headers["etag"] == tag, page, other[0]

    assert watched(run, ask) == (304, True, "", 200)


def test_a_case_is_shown_by_the_newest_weights(run, cases, tmp_path):
    page = LivePage(run, tmp_path, cases=cases)
    assert page.case.split == "val"
    assert page.renew()
    report = json.loads((tmp_path / "predictions" / "prediction.json").read_text())
    assert report["model"]["unfinished"]["networks"] == {"stage0": 9}
    assert f'alt="{page.case.name}' in (tmp_path / PAGE).read_text()
    assert not page.renew()  # nothing new


def test_only_this_machine_under_its_own_names_gets_the_page(run):
    def ask(address):
        port = urlsplit(address).port
        return [get(address, host=host)[0] for host in ("evil.example", f"evil.example:{port}", f"localhost:{port}")]

    assert watched(run, ask) == [403, 403, 200]
    assert watched(run, lambda address: get(address, "/../../etc/hostname")[0]) == 404
    assert watched(run, lambda address: urlsplit(address).hostname) == "127.0.0.1"


def test_the_run_folder_is_only_read(run):
    def content():
        return {path: path.stat().st_mtime_ns for path in run.rglob("*")}

    before = content()
    watched(run, get)
    assert content() == before


def test_the_time_left_follows_from_the_steps_that_were_seen(run, tmp_path):
    (tmp_path / "recipe.yaml").write_text((run / "recipe.yaml").read_text())
    log = tmp_path / "metrics.jsonl"
    now = [1000.0]
    state = Watched(tmp_path, clock=lambda: now[0])
    assert "begins" in state.sentence()
    for step, when in ((2, 1000.0), (6, 1008.0)):
        log.write_text(json.dumps({"part": "stage0", "step": step}) + '\n{"part": "sta')  # a torn line
        os.utime(log, (when, when))
        now[0], told = when, state.sentence()
    assert "step 6 of 20, 2 s a step, 28 s left" in told
    now[0] = 5000.0
    assert re.search("Nothing was written for 1 h 6 min", state.sentence())


def test_a_checkpoint_that_vanishes_between_two_looks_is_left_out(run, tmp_path, monkeypatch):
    shutil.copyfile(run / "recipe.yaml", tmp_path / "recipe.yaml")
    folder = tmp_path / "checkpoints/stage0"
    folder.mkdir(parents=True)
    for step in (3, 6, 9):
        (folder / f"step-{step}.pt").write_bytes(b"x")
        os.utime(folder / f"step-{step}.pt", (step, step))
    state, listed = Watched(tmp_path), Path.glob

    def glob(place, pattern):
        found = list(listed(place, pattern))
        (folder / "step-3.pt").unlink(missing_ok=True)  # as a training does when it has written a newer one
        return iter(found)

    monkeypatch.setattr(Path, "glob", glob)
    assert [path.name for path in state.checkpoints()] == ["step-6.pt", "step-9.pt"]
    (folder / "step-3.pt").write_bytes(b"x")
    assert state.version() == (6 * 10**9, 9 * 10**9)


@pytest.mark.parametrize("fault", [FileNotFoundError("gone"), InputError("it is being written")])
def test_a_look_that_fails_ends_nothing_and_the_next_one_makes_the_page(run, monkeypatch, fault):
    renew, asked, made = LivePage.renew, [], []

    def failing(page):
        if len(asked) == 1:
            raise fault
        made.append(renew(page))
        return made[-1]

    def until():
        asked.append(None)
        return len(asked) == 3

    monkeypatch.setattr(LivePage, "renew", failing)
    watch_run(run, announce=print, until=until, every=1)
    assert len(asked) == 3
    assert made == [True, False]


@pytest.mark.parametrize("fault", [FileNotFoundError("gone"), InputError("it is being written")])
def test_a_page_that_could_not_be_made_is_made_at_the_next_look(run, tmp_path, monkeypatch, fault):
    page = LivePage(run, tmp_path)
    page.renew()
    os.utime(run / "metrics.jsonl")

    def write_report(*_, **__):
        raise fault

    with monkeypatch.context() as patch:
        patch.setattr("medgen.live.page.write_report", write_report)
        with pytest.raises(type(fault)):
            page.renew()
    assert page.renew()
    assert not page.renew()


def test_an_ended_run_is_not_asked_for_again(cases, tmp_path):
    train(tiny.recipe(**CHANGES | {"schedule": {"steps": 2}}), cases, tmp_path / "run", device="cpu")
    code, headers, page = watched(tmp_path / "run", get)
    assert code == 200
    assert "The training has ended." in page
    assert "refresh" not in headers
    assert "data-every" not in page
    assert 'http-equiv="refresh"' not in page
    assert "connect-src" not in page


def test_a_model_that_samples_shows_samples_by_its_newest_weights(cases, tmp_path):
    recipe = tiny.recipe(
        method="vae",
        patches={"size": [16, 16], "sampling": "centred"},
        data={"target": None},
        schedule={"steps": 2, "validate_every": 2, "averaging": None},
    ) | {"config": {"latent": 4, "width": 0.125, "levels": 2}}
    train(recipe, cases, tmp_path / "run", device="cpu")
    (tmp_path / "page").mkdir()
    page = LivePage(tmp_path / "run", tmp_path / "page")
    page.renew()
    assert json.loads((tmp_path / "page" / "samples" / "samples.json").read_text())["count"] == 9
    assert "No new picture" not in (tmp_path / "page" / PAGE).read_text()


def test_what_translates_shows_a_case(cases, tmp_path):
    recipe = tiny.recipe(
        method="cyclegan", patches={"size": [16, 16]}, schedule={"steps": 1, "validate_every": 1, "averaging": None}
    ) | {"config": {"width": 0.0625, "blocks": 1, "history": 4}}
    train(recipe, cases, tmp_path / "run", device="cpu")
    (tmp_path / "page").mkdir()
    page = LivePage(tmp_path / "run", tmp_path / "page", cases=cases)
    page.renew()
    assert list((tmp_path / "page" / "predictions").glob("*/*.nii.gz"))
    assert "No new picture" not in (tmp_path / "page" / PAGE).read_text()


def test_it_looks_once_a_second_at_most(run):
    with pytest.raises(UsageError, match="every 0 s"):
        watch_run(run, announce=print, every=0)


@pytest.mark.parametrize("every", [86401, 1e10, float("inf"), float("nan")])
def test_and_once_a_day_at_least(run, every):
    with pytest.raises(UsageError, match="a look every"):
        watch_run(run, announce=print, every=every)


def test_a_device_that_is_not_there_is_no_page_without_pictures(run):
    with pytest.raises(UsageError, match="there is no device 'cuda:97' here"):
        watch_run(run, announce=print, device="cuda:97", until=lambda: True)


def test_what_goes_wrong_with_a_picture_is_told_and_does_not_end_the_page(run, cases, tmp_path):
    page = LivePage(run, tmp_path, cases=cases)
    table = (tmp_path / "cases.csv").read_text()
    (tmp_path / "cases.csv").write_text(table.replace("_t1.nii.gz", "_gone.nii.gz"))
    page.renew()
    assert "No new picture" in (tmp_path / PAGE).read_text()


def test_a_file_that_goes_while_a_picture_is_made_is_told_without_its_folder(run, cases, tmp_path, monkeypatch):
    def predict(*_, **__):
        raise FileNotFoundError(2, "No such file or directory", str(run / "checkpoints/stage0/step-3.pt"))

    monkeypatch.setattr("medgen.live.page.predict", predict)
    LivePage(run, tmp_path, cases=cases).renew()
    told = (tmp_path / PAGE).read_text()
    assert "No new picture: No such file or directory." in told
    assert str(run.parent) not in told


def test_what_is_no_run_and_no_case_is_refused(run, cases, tmp_path):
    with pytest.raises(InputError, match="no run"):
        LivePage(tmp_path, tmp_path)
    with pytest.raises(UsageError, match="no case 'x'"):
        LivePage(run, tmp_path, cases=cases, case="x")
    assert last_record(Path(tmp_path / "nothing")) is None


def test_on_the_command_line_a_wrong_port_is_an_error(run, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["watch", str(run), "--port", "99999"])
    assert exit_.value.code == 2
    assert "--port" in capsys.readouterr().err
