"""A browser driven by the W3C WebDriver protocol, which is JSON over HTTP: nothing to install but Chromium."""

import base64
import contextlib
import http.client
import json
import re
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from shutil import which
from typing import Any


def _working(name: str) -> str | None:
    """The path of a program that starts: an installation that was cut off leaves one that does not."""
    path = which(name)
    return (
        path if path and not subprocess.run([path, "--version"], capture_output=True, check=False).returncode else None
    )


CHROMIUM, DRIVER = _working("chromium"), _working("chromedriver")
KEYS = {"Enter": "\ue007", "ArrowLeft": "\ue012", "ArrowUp": "\ue013", "ArrowRight": "\ue014", "ArrowDown": "\ue015"}
KEYS |= {"Tab": "\ue004", "PageUp": "\ue00e", "PageDown": "\ue00f"}
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--no-proxy-server",
)
NO_GRAPHICS = ("--disable-gpu",)
NO_WEBGL = ("--disable-gpu", "--disable-3d-apis")
SOFTWARE_GRAPHICS = ("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
"""WebGL2 without a graphics card."""


class Driver:
    """A running chromedriver."""

    def __init__(self) -> None:
        self._process = subprocess.Popen([DRIVER, "--port=0"], stdout=subprocess.PIPE, text=True)
        for line in self._process.stdout:
            if found := re.search(r"started successfully on port (\d+)", line):
                self.port = int(found[1])
                return
        raise RuntimeError("chromedriver did not start")

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)
        self._process.stdout.close()


class Browser:
    """One browser with one profile; closing it leaves the profile, as closing a window does.

    Args:
        driver: that starts it.
        profile: folder of cookies and all else.
        width: of the page in pixels.
        height: of the page.
        touch: whether it is a phone.
        graphics: flags of Chromium.
    """

    def __init__(
        self,
        driver: Driver,
        profile: Path,
        width: int = 1280,
        height: int = 800,
        touch: bool = False,
        graphics: Sequence[str] = NO_GRAPHICS,
    ) -> None:
        self._driver = driver
        self._shown_again = False
        options = {
            "binary": CHROMIUM,
            "args": [*FLAGS, *graphics, f"--user-data-dir={profile}", f"--window-size={width},{height}"],
        }
        logs = {"browser": "ALL", "performance": "ALL"}
        capabilities = {"alwaysMatch": {"goog:chromeOptions": options, "goog:loggingPrefs": logs}}
        self._session = self._ask("POST", "/session", {"capabilities": capabilities})["sessionId"]
        self.resize(width, height, touch)
        self._cdp("Emulation.setTouchEmulationEnabled", enabled=touch)

    def resize(self, width: int, height: int, touch: bool = False) -> None:
        self._cdp("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=touch)

    def media(self, *, dark: bool = False, paper: bool = False) -> None:
        """Show the page as on a dark screen, or as on paper."""
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self._cdp("Emulation.setEmulatedMedia", media="print" if paper else "screen", features=features)

    def open(self, link: str) -> None:
        self._post("/url", {"url": link})

    def new_tab(self) -> str:
        """Open another tab, go there, and return its handle."""
        handle = self._post("/window/new", {"type": "tab"})["handle"]
        self.switch(handle)
        return handle

    def tab(self) -> str:
        return self._ask("GET", f"/session/{self._session}/window")

    def switch(self, handle: str) -> None:
        self._post("/window", {"handle": handle})
        self._shown_again = True

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression in the page."""
        return self._post("/execute/sync", {"script": f"return ({script})", "args": []})

    def tap(self, selector: str) -> None:
        """Put a finger on the middle of an element and lift it; again where another tab was shown before.

        On a busy machine Chromium now and then makes no click of the first touch in a tab that is shown again.
        """
        touches, self._shown_again = 3 if self._shown_again else 1, False
        heard = "document.addEventListener('click', () => (window.clicked = true), { once: true, capture: true })"
        self.run(f"[window.clicked = false, {heard}].length")
        for _ in range(touches):
            box = self.run(f"document.querySelector({selector!r}).getBoundingClientRect().toJSON()")
            self.drag(round(box["x"] + box["width"] / 2), round(box["y"] + box["height"] / 2), 0)
            with contextlib.suppress(AssertionError):
                self.wait("window.clicked", 5)
                return
        raise AssertionError(f"{touches} touches of {selector} made no click")

    def press(self, *keys: str) -> None:
        """Press keys one after the other."""
        actions = [{"type": kind, "value": KEYS.get(key, key)} for key in keys for kind in ("keyDown", "keyUp")]
        self._post("/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def point(self, x: float, y: float) -> None:
        """Move the mouse to a place of the window."""
        at = [{"type": "pointerMove", "duration": 0, "x": round(x), "y": round(y)}]
        mouse = {"type": "pointer", "id": "mouse", "parameters": {"pointerType": "mouse"}, "actions": at}
        self._post("/actions", {"actions": [mouse]})

    def drag(self, x: int, y: int, down: int) -> None:
        """Put a finger on the page, move it, and lift it."""
        at = [
            {"type": "pointerMove", "duration": 0, "x": x, "y": y},
            {"type": "pointerDown", "button": 0},
            {"type": "pointerMove", "duration": 50, "x": x, "y": y + down},
            {"type": "pointerUp", "button": 0},
        ]
        finger = {"type": "pointer", "id": "finger", "parameters": {"pointerType": "touch"}, "actions": at}
        self._post("/actions", {"actions": [finger]})

    def wait(self, script: str, seconds: float = 15) -> Any:
        """The value of an expression as soon as it is true."""
        end = time.monotonic() + seconds
        while not (value := self.run(script)):
            if time.monotonic() > end:
                raise AssertionError(f"not true in {seconds} s: {script}; page: {self.run('document.body.innerText')}")
            time.sleep(0.03)
        return value

    def picture(self, path: Path) -> None:
        """Write what can be seen as PNG."""
        path.write_bytes(base64.b64decode(self._ask("GET", f"/session/{self._session}/screenshot")))

    def complaints(self) -> list[str]:
        """Errors and warnings in the console, for example of what the page may not load, since the last call."""
        return [entry["message"] for entry in self._post("/se/log", {"type": "browser"})]

    def requested(self) -> list[str]:
        """Addresses that the page has loaded."""
        return self.run("performance.getEntriesByType('resource').map((each) => each.name)")

    def asked(self) -> list[str]:
        """Addresses of every request that the page made or tried to make since the last call."""
        events = [json.loads(entry["message"])["message"] for entry in self._post("/se/log", {"type": "performance"})]
        return [each["params"]["request"]["url"] for each in events if each["method"] == "Network.requestWillBeSent"]

    def close(self) -> None:
        self._ask("DELETE", f"/session/{self._session}")

    def _cdp(self, command: str, **parameters: Any) -> None:
        self._post("/goog/cdp/execute", {"cmd": command, "params": parameters})

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        return self._ask("POST", f"/session/{self._session}{path}", body)

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._driver.port, timeout=60)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            value = json.loads(connection.getresponse().read())["value"]
        finally:
            connection.close()
        if isinstance(value, dict) and "error" in value:
            raise RuntimeError(f"{value['error']}: {value['message'][:300]}")
        return value
