"""A relay in front of the tests' S3 store that answers with planted faults."""

import contextlib
import http.client
import http.server
import threading
from collections.abc import Callable, Iterator

ANSWERS = {"SlowDown": 503, "InternalError": 500, "RequestTimeout": 400, "ThrottlingException": 400}


class Relay(http.server.BaseHTTPRequestHandler):
    """Passes requests on; `fault(method, path)` names what happens instead: a code of ANSWERS,
    "drop" (no answer), "cut" (half an answer), or None."""

    protocol_version = "HTTP/1.1"
    target = ""
    fault: Callable[[str, str], str | None]
    planted: list[str]

    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        kind = type(self).fault(self.command, self.path)
        if kind:
            self.planted.append(kind)
        if kind in ANSWERS:
            text = f"<Error><Code>{kind}</Code><Message>planted</Message></Error>".encode()
            self._answer(ANSWERS[kind], {"Content-Length": str(len(text))}, text)
        elif kind != "drop":
            self._pass_on(body, cut=kind == "cut")
        self.close_connection = self.close_connection or kind is not None

    do_PUT = do_POST = do_DELETE = do_HEAD = do_GET

    def _pass_on(self, body: bytes, cut: bool):
        far = http.client.HTTPConnection(self.target)
        with contextlib.closing(far):
            far.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() != "expect":
                    far.putheader(name, value)
            far.endheaders(body or None)
            answer = far.getresponse()
            data = answer.read()
        headers = {n: v for n, v in answer.getheaders() if n.lower() != "transfer-encoding"}
        headers.setdefault("Content-Length", str(len(data)))
        self._answer(answer.status, headers, data[: len(data) // 2] if cut else data)

    def _answer(self, status: int, headers: dict, data: bytes):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def faulty(endpoint: str, fault: Callable[[str, str], str | None]) -> Iterator[type[Relay]]:
    """The relay, at `.address`, in front of the store at `endpoint`; stopped at the end."""
    target = endpoint.removeprefix("http://")
    made = {"target": target, "fault": staticmethod(fault), "planted": []}
    handler = type("Planted", (Relay,), made)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    handler.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield handler
    finally:
        server.shutdown()
        server.server_close()
