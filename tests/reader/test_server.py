"""The server as a browser and as an attacker meets it, over real connections."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from http.cookies import SimpleCookie

import pytest
from served import Client, serving
from small_studies import small_study

from medgen.reader.answers import Journal


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return small_study(tmp_path_factory.mktemp("single"))


@pytest.fixture
def served(folder):
    for path in (folder / "answers").iterdir():
        path.unlink()
    with serving(folder) as each:
        yield each


def give(client, choice=0, **changes):
    state = client.state()
    body = {"reader": state["reader"], "position": state["position"], "answer": state["choices"][choice], "seconds": 1}
    return client.post("/answer", {**body, **changes})


class TestEntrance:
    def test_a_link_lets_one_browser_in_and_the_next_link_is_announced(self, served):
        (link,) = served.links
        first, second = Client(served.port), Client(served.port)
        assert first.enter(link) == 200
        assert second.enter(link) == 403
        assert len(served.links) == 2
        assert second.enter(served.links[1]) == 200
        assert len({first.cookie, second.cookie, link, served.links[1]}) == 4

    def test_the_cookie_is_for_this_page_alone(self, served):
        _, headers, content = Client(served.port).ask("GET", served.links[0].partition(str(served.port))[2])
        (cookie,) = SimpleCookie(headers["set-cookie"]).values()
        assert (cookie["samesite"], cookie["httponly"], cookie["path"]) == ("strict", True, "/")
        assert len(cookie.value) >= 43
        assert served.links[0].partition("token=")[2] not in content.decode()

    def test_a_browser_that_has_come_in_may_use_its_link_again(self, served):
        client = served.browser()
        assert client.enter(served.links[0]) == 200
        assert len(served.links) == 2  # and spends no other

    @pytest.mark.parametrize("path", ["/", "/?token=", "/?token=guess", "/state", "/picture/a/0/0"])
    def test_without_a_link_there_is_nothing(self, served, path):
        status, _, content = Client(served.port).ask("GET", path)
        assert status == (404 if "picture" in path else 403)
        assert b"choices" not in content
        assert Client(served.port).post("/reader", {"reader": "r1"})[0] == 403

    def test_a_made_up_cookie_opens_nothing(self, served):
        client = Client(served.port)
        client.cookie = "medgen-reader=guess"
        assert client.ask("GET", "/state")[0] == 403


class TestForeignRequests:
    @pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", None])
    def test_another_host_is_refused(self, served, host):
        """A name that an attacker makes lead to 127.0.0.1 is no name of the study."""
        client = served.reader()
        status, _, content = client.ask("GET", "/state", Host=host and host.format(port=served.port))
        assert status in (400, 403)
        assert b"choices" not in content

    def test_localhost_is_this_machine_too(self, served):
        assert served.browser().ask("GET", "/state", Host=f"localhost:{served.port}")[0] == 200

    @pytest.mark.parametrize(
        "headers",
        [
            {"Origin": None},
            {"Origin": "null"},
            {"Origin": "http://evil.example"},
            {"Origin": "http://127.0.0.1:1"},
            {"Sec_Fetch_Site": "cross-site"},
            {"Sec_Fetch_Site": "same-site"},
            {"Content_Type": "text/plain"},
            {"Content_Type": "application/x-www-form-urlencoded"},
        ],
    )
    def test_answers_come_from_this_page_alone(self, served, headers):
        client = served.reader()
        assert give(client)[0] == 200
        body = {"reader": "r1", "position": 1, "answer": "real", "seconds": 1}
        assert client.ask("POST", "/answer", body, **headers)[0] == 403
        assert client.state()["done"] == 1

    def test_every_response_has_the_headers_that_keep_other_sites_out(self, served):
        client = served.reader()
        picture = f"/picture/{client.state()['pictures'][0]}/0/0"
        for path in ("/", "/state", "/study.js", "/study.css", picture, "/nowhere"):
            _, headers, _ = client.ask("GET", path)
            policy = dict(each.strip().split(" ", 1) for each in headers["content-security-policy"].split(";"))
            assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
            assert {policy[name] for name in ("img-src", "script-src", "style-src", "connect-src")} == {"'self'"}
            assert (headers["cache-control"], headers["x-content-type-options"]) == ("no-store", "nosniff")
            assert headers["cross-origin-resource-policy"] == "same-origin"
            assert headers["referrer-policy"] == "no-referrer"
            assert not any(name.lower().startswith("access-control") or name.lower() == "server" for name in headers)
        assert client.ask("OPTIONS", "/answer", Origin="http://evil.example")[0] == 403

    @pytest.mark.parametrize(
        "path",
        [
            "/study.json",
            "/../study.json",
            "/%2e%2e/study.json",
            "/picture/../../study.json/0/0",
            "/picture/..%2f..%2fstudy/0/0",
            "/picture/{image}/0/0",
            "/images/{image}.npy",
            "/answers/r1.jsonl",
            "/page/study.html",
            "//etc/passwd",
        ],
    )
    def test_no_file_can_be_asked_for(self, served, path):
        client = served.reader()
        image = client.state()["pictures"] and served.study.order("r1")[0].images[0]
        status, _, content = client.ask("GET", path.format(image=image))
        assert status == 404
        assert image.encode() not in content

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"[]",
            b"null",
            b"{",
            b'{"reader": 5e999}',
            b'"r1"',
            b"\xff",
            b" " * 5000,
            b"[" * 4000,
            b'{"reader": "../x"}',
        ],
    )
    def test_a_body_that_is_no_answer(self, served, body):
        client = served.browser()
        for path in ("/reader", "/answer"):
            assert client.ask("POST", path, body)[0] == 400
        assert list((served.study.folder / "answers").iterdir()) == []


class TestStudy:
    def test_a_whole_study(self, served):
        client = served.reader("R1 ")
        order = served.study.order("r1")
        for done in range(len(order)):
            state = client.state()
            assert (state["reader"], state["done"], state["position"], state["total"]) == ("r1", done, done, 10)
            status, state = give(client, done % 2)
            assert status == 200
            assert state["kept"]
        assert "pictures" not in state
        assert state["result"]["cases"] == 8
        answers = Journal(served.study, "r1").answers
        assert [answer.answer for answer in answers] == ["real", "synthetic"] * 5
        right = sum(each.answer == served.study.correct(each.images) for each in answers if not each.repeat)
        assert state["result"]["correct"] == right

    def test_nothing_tells_the_truth_before_the_end(self, served):
        """Neither words, nor names, nor lengths: real and synthetic differ in the pixels alone."""
        client, order = served.reader(), served.study.order("r1")
        seen = {True: set(), False: set()}
        names = []
        for shown in order:
            state = client.state()
            assert set(state) == {"task", "choices", "planes", "reader", "done", "total", "position", "pictures"}
            text = json.dumps(state)
            assert not any(image in text or served.study.origin[image] in text for image in served.study.real)
            (name,) = state["pictures"]
            assert re.fullmatch("[0-9a-f]{24}", name)
            names.append(name)
            status, headers, content = client.ask("GET", f"/picture/{name}/0/2")
            seen[served.study.real[shown.images[0]]].add((status, str(headers), len(content), content[:33]))
            assert not {"kept", "correct", "result"} & set(give(client)[1]) - {"kept"} or shown is order[-1]
        assert seen[True] == seen[False]
        assert len(seen[True]) == 1
        assert len(set(names)) == len(names)  # a repeat has a new name

    def test_pictures_of_other_cases_cannot_be_seen(self, served):
        client, order = served.reader(), served.study.order("r1")
        later = next(iter(served.study.pictures("r1", 1, order[1])))
        now = client.state()["pictures"][0]
        assert client.ask("GET", f"/picture/{later}/0/0")[0] == 404
        assert served.reader("r2").ask("GET", f"/picture/{now}/0/0")[0] == 404
        for plane, number in ((0, 5), (1, 8), (2, 6), (3, 0)):
            assert client.ask("GET", f"/picture/{now}/{plane}/{number}")[0] == 404
            assert client.ask("GET", f"/picture/{now}/{plane}/{number - 1}")[0] == (200 if plane < 3 else 404)

    def test_a_closed_browser_and_a_killed_server_lose_nothing(self, served, folder):
        client = served.reader()
        give(client, 0)
        give(client, 1)
        expected = client.state()
        assert served.reader() is not client
        assert served.reader().state() == expected  # another browser, the same code
        with serving(folder) as restarted:  # another server, while the first one has not even ended
            assert restarted.reader().state() == expected

    def test_two_tabs_do_not_count_twice(self, served):
        one, two = served.reader(), served.reader()
        old = two.state()
        give(one, 0)
        body = {"reader": "r1", "position": old["position"], "answer": "synthetic", "seconds": 1}
        status, state = two.post("/answer", body)
        assert (status, state["kept"], state["done"]) == (200, False, 1)
        assert [each.answer for each in Journal(served.study, "r1").answers] == ["real"]

    def test_many_requests_at_once_count_once(self, served):
        clients = [served.reader() for _ in range(6)]
        body = {"reader": "r1", "position": 0, "answer": "real", "seconds": 1}
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(lambda client: client.post("/answer", body), clients))
        assert [status for status, _ in answers] == [200] * 6
        assert sum(state["kept"] for _, state in answers) == 1
        assert len(Journal(served.study, "r1").answers) == 1

    def test_a_tab_of_the_last_reader_does_not_answer_for_the_next(self, served):
        client = served.reader("r1")
        assert client.post("/reader", {"reader": None})[1]["reader"] is None
        assert client.post("/reader", {"reader": "r2"})[0] == 200
        status, state = client.post("/answer", {"reader": "r1", "position": 0, "answer": "real", "seconds": 1})
        assert (status, "another reader" in state["error"]) == (400, True)
        assert Journal(served.study, "r1").answers == ()

    @pytest.mark.parametrize(
        "changes",
        [{"position": 1}, {"position": "0"}, {"position": True}, {"answer": "left"}, {"answer": None}]
        + [{"seconds": value} for value in (-1, None, "1", True, 1e9, 10**400)],
    )
    def test_an_answer_that_makes_no_sense(self, served, changes):
        client = served.reader()
        status, state = give(client, **changes)
        assert status == 400
        assert state["error"]
        assert client.state()["done"] == 0

    def test_a_full_disk_is_told_and_the_answer_can_be_given_again(self, served, monkeypatch):
        client = served.reader()
        with monkeypatch.context() as patch:
            patch.setattr("os.fsync", lambda handle: (_ for _ in ()).throw(OSError(28, "No space left on device")))
            status, state = give(client)
        assert status == 507
        assert "no space left" in state["error"]
        assert str(served.study.folder) not in json.dumps(state)
        assert give(client)[1]["kept"]

    def test_a_file_of_answers_that_has_gone_is_not_begun_again(self, served):
        client = served.reader()
        give(client)
        path = served.study.folder / "answers" / "r1.jsonl"
        kept = path.read_bytes()
        path.unlink()
        status, state = give(client)
        assert (status, "has gone, or was cut" in state["error"]) == (507, True)
        assert not path.exists()
        path.write_bytes(kept)
        assert give(client)[1]["kept"]

    def test_a_picture_that_has_gone_is_told(self, served):
        client = served.reader()
        picture = client.state()["pictures"][0]
        images = served.study.folder / "images"
        images.rename(images.with_name("away"))
        try:
            status, _, content = client.ask("GET", f"/picture/{picture}/0/0")
        finally:
            images.with_name("away").rename(images)
        assert (status, "missing or damaged" in json.loads(content)["error"]) == (507, True)
        assert client.ask("GET", f"/picture/{picture}/0/{'9' * 5000}")[0] == 404

    def test_damaged_answers_are_told(self, served):
        (served.study.folder / "answers" / "r9.jsonl").write_text("{}\n")
        status, state = served.browser().post("/reader", {"reader": "r9"})
        assert status == 507
        assert "line 1 is damaged" in state["error"]


def test_pairs(tmp_path):
    with serving(small_study(tmp_path, task="pick-real")) as served:
        client = served.reader()
        state = client.state()
        assert (state["choices"], len(state["pictures"])) == (["left", "right"], 2)
        contents = [client.ask("GET", f"/picture/{name}/1/3")[2] for name in state["pictures"]]
        assert contents[0] != contents[1]
        shown = served.study.order("r1")[0]
        assert give(client, 0 if served.study.real[shown.images[0]] else 1)[1]["kept"]
        (answer,) = Journal(served.study, "r1").answers
        assert answer.answer == served.study.correct(answer.images)
