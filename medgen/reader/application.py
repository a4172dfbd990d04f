"""The pages of a study: who comes in, what they see, what they answer. Nothing here tells a reader the truth."""

from __future__ import annotations

import json
import logging
import math
import secrets
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medgen.errors import MedgenError, UsageError
from medgen.reader.answers import LONGEST, Journal, reader_name
from medgen.reader.guard import Guard
from medgen.reader.png import encoded
from medgen.reader.scoring import score_reader
from medgen.reader.study import Study

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp

log = logging.getLogger(__name__)

COOKIE = "medgen-reader"
_HOURS = 12
_BODY = 4096
"""Bytes of a request at most; an answer has fewer than 100."""
_PAGE = Path(__file__).parent / "page"
_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}


@dataclass
class Session:
    """A browser that came with a link.

    Attributes:
        reader: code; None before it is given.
    """

    reader: str | None = None


@dataclass
class Desk:
    """What the server holds in memory; all that counts is in the study folder.

    Args:
        study: that is served.
        announce: called with each new link; every link lets one browser in.
        address: of the server, ``http://127.0.0.1:8765``.
    """

    study: Study
    announce: Callable[[str], None]
    address: str
    sessions: dict[str, Session] = field(default_factory=dict)
    journals: dict[str, Journal] = field(default_factory=dict)
    _token: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def new_link(self) -> None:
        """Make the link that lets the next browser in."""
        self._token = secrets.token_urlsafe(32)
        self.announce(f"{self.address}/?token={self._token}")

    def admit(self, token: str) -> str | None:
        """The cookie for a browser that shows the token of the link, which is then spent; None for any other."""
        with self._lock:
            if not secrets.compare_digest(token.encode(), self._token.encode()):
                return None
            cookie = secrets.token_urlsafe(32)
            self.sessions[cookie] = Session()
            self.new_link()
            return cookie

    def journal(self, reader: str) -> Journal:
        """The answers of a reader; one object, however many tabs and browsers ask."""
        with self._lock:
            if reader not in self.journals:
                self.journals[reader] = Journal(self.study, reader)
            return self.journals[reader]

    def view(self, session: Session) -> dict[str, Any]:
        """What the page shows now."""
        study = self.study
        planes = [asdict(plane) for plane in study.planes]
        view: dict[str, Any] = {
            "task": study.task,
            "choices": study.choices,
            "planes": planes,
            "reader": session.reader,
        }
        if session.reader is None:
            return view
        journal = self.journal(session.reader)
        done, shown = len(journal.answers), journal.current
        view |= {"done": done, "total": len(journal.order)}
        if shown is None:
            return {**view, "result": self._result(journal)}
        return {**view, "position": done, "pictures": list(study.pictures(session.reader, done, shown))}

    def _result(self, journal: Journal) -> dict[str, Any]:
        score = score_reader(self.study, journal.answers)
        accuracy = score.accuracy
        kept = {"correct": score.correct, "cases": accuracy["n"], "share": accuracy["share"], "ci95": accuracy["ci95"]}
        return {**kept, "repeats": score.repeats, "same": score.same, "seconds": score.seconds}

    def picture(self, session: Session, name: str, plane: int, number: int) -> bytes | None:
        """One slice of what a reader sees now, as PNG; None for all else, also for cases that come later."""
        if session.reader is None:
            return None
        journal = self.journal(session.reader)
        shown = journal.current
        if shown is None or not 0 <= plane < len(self.study.planes):
            return None
        image = self.study.pictures(session.reader, len(journal.answers), shown).get(name)
        if image is None or not 0 <= number < self.study.planes[plane].slices:
            return None
        return encoded(self.study.slice(image, plane, number))


def application(desk: Desk, port: int) -> ASGIApp:
    """The web application of a study.

    Args:
        desk: what it serves.
        port: that the Host header of every request must name.
    """
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route

    def session_of(request: Request) -> Session | None:
        return desk.sessions.get(request.cookies.get(COOKIE, ""))

    def page(name: str, status: int = 200) -> Response:
        path = _PAGE / name
        return Response(path.read_bytes(), status, media_type=_TYPES[path.suffix])

    async def start(request: Request) -> Response:
        token = request.query_params.get("token")
        cookie = desk.admit(token) if token is not None else None
        if cookie is not None:
            # A page that leads on, and no redirect: a strict cookie is not sent after a click in another program.
            response = page("enter.html")
            response.set_cookie(COOKIE, cookie, max_age=_HOURS * 3600, httponly=True, samesite="strict", path="/")
            return response
        known = session_of(request) is not None
        return page("enter.html" if token is not None else "study.html") if known else page("closed.html", 403)

    async def script(request: Request) -> Response:
        return page("study.js")

    async def style(request: Request) -> Response:
        return page("study.css")

    async def state(request: Request) -> Response:
        session = session_of(request)
        return _no_session() if session is None else _answered(lambda: desk.view(session))

    async def picture(request: Request) -> Response:
        session, place = session_of(request), request.path_params
        try:
            content = session and desk.picture(session, place["name"], int(place["plane"]), int(place["number"]))
        except MedgenError as error:
            return _told(error)
        except ValueError:  # no number, or one of thousands of digits
            content = None
        return Response(content, media_type="image/png") if content else Response(status_code=404)

    async def change(request: Request) -> Response:
        session = session_of(request)
        if session is None:
            return _no_session()
        try:
            sent = json.loads(await _body(request))
            act = {"/reader": _choose_reader, "/answer": _answer}[request.url.path]
        except (ValueError, KeyError, RecursionError):
            return JSONResponse({"error": "this is no answer"}, 400)
        return _answered(lambda: act(desk, session, sent))

    routes = [
        Route("/", start),
        Route("/study.js", script),
        Route("/study.css", style),
        Route("/state", state),
        Route("/picture/{name}/{plane}/{number}", picture),
        Route("/reader", change, methods=["POST"]),
        Route("/answer", change, methods=["POST"]),
    ]
    return Guard(Starlette(routes=routes), port)


def _choose_reader(desk: Desk, session: Session, sent: Any) -> dict[str, Any]:
    name = sent.get("reader") if isinstance(sent, dict) else ""
    if name is not None:  # None leaves, for the next reader in the same browser
        name = reader_name(name if isinstance(name, str) else "")
        desk.journal(name)
    session.reader = name
    return desk.view(session)


def _answer(desk: Desk, session: Session, sent: Any) -> dict[str, Any]:
    if not isinstance(sent, dict) or session.reader is None or sent.get("reader") != session.reader:
        raise UsageError("another reader has begun in this browser", fix="load the page again")
    position, answer, seconds = (sent.get(key) for key in ("position", "answer", "seconds"))
    if (
        type(position) is not int
        or not isinstance(answer, str)
        or type(seconds) is bool
        or not isinstance(seconds, int | float)
    ):
        raise UsageError("the answer is not complete", fix="load the page again")
    kept = desk.journal(session.reader).record(position, answer, float(seconds) if seconds <= LONGEST else math.inf)
    return {**desk.view(session), "kept": kept}


def _answered(act: Callable[[], dict[str, Any]]) -> Response:
    """The result of ``act`` as JSON, or its error in a sentence without a path."""
    from starlette.responses import JSONResponse

    try:
        return JSONResponse(act())
    except MedgenError as error:
        return _told(error)


def _told(error: MedgenError) -> Response:
    """An error as the reader sees it; one of the study or the disk also goes to the log of who serves."""
    from starlette.responses import JSONResponse

    if not isinstance(error, UsageError):
        log.error("%s", error)
    return JSONResponse({"error": error.what, "do": error.fix}, 400 if isinstance(error, UsageError) else 507)


def _no_session() -> Response:
    from starlette.responses import JSONResponse

    return JSONResponse({"error": "the link was not used in this browser", "do": "open the newest link"}, 403)


async def _body(request: Request) -> bytes:
    content = b""
    async for part in request.stream():
        content += part
        if len(content) > _BODY:
            raise ValueError("too long")
    return content
