"""A study that is really being served, and a client over real connections."""

import http.client
import json
import socket
import threading
import time
from contextlib import contextmanager

import pytest

from medgen.reader.study import read_study

pytest.importorskip("uvicorn", reason="the extra 'reader' is not installed")
from medgen.reader.application import Desk
from medgen.reader.serving import server_of


class Client:
    """What a browser does, one request at a time."""

    def __init__(self, port):
        self.port, self.cookie = port, ""

    def ask(self, method, path, body=None, **headers):
        """Status, headers and content; a header that is None is left out."""
        sent = {"Host": f"127.0.0.1:{self.port}", "Cookie": self.cookie}
        if method == "POST":
            sent |= {"Origin": f"http://127.0.0.1:{self.port}", "Content-Type": "application/json"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            content = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
            if content is not None:
                sent["Content-Length"] = str(len(content))
            for name, value in sent.items():
                if value:
                    connection.putheader(name, value)
            connection.endheaders(content)
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def enter(self, link):
        status, headers, _ = self.ask("GET", link.partition(str(self.port))[2])
        if status == 200 and "set-cookie" in headers:
            self.cookie = headers["set-cookie"].partition(";")[0]
        return status

    def state(self):
        return json.loads(self.ask("GET", "/state")[2])

    def post(self, path, body, **headers):
        status, _, content = self.ask("POST", path, body, **headers)
        return status, json.loads(content)


class Served:
    """A study that is being served."""

    def __init__(self, folder):
        self.links = []
        self.study = read_study(folder)
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        self.desk = Desk(self.study, self.links.append, f"http://127.0.0.1:{self.port}")
        self.desk.new_link()
        self._server = server_of(self.desk, self.port)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [listener]}, daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.005)

    def browser(self):
        client = Client(self.port)
        assert client.enter(self.links[-1]) == 200
        return client

    def reader(self, name="r1"):
        client = self.browser()
        status, _ = client.post("/reader", {"reader": name})
        assert status == 200
        return client

    def close(self):
        self._server.should_exit = True
        self._thread.join(10)


@contextmanager
def serving(folder):
    served = Served(folder)
    try:
        yield served
    finally:
        served.close()
