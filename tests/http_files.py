"""A real HTTP server on loopback whose files can be slow, cut off, or without Range support."""

import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Served:
    """One file of the server and how it misbehaves."""

    data: bytes
    ranges: bool = True
    drop_after: int | None = None  # bytes of a connection's body, then it is closed
    drops: int = 10**9  # so many connections, then the rest is served whole
    hold: threading.Event | None = None  # a dropped connection stays open and silent until it
    status: int = 200
    headers: dict[str, str | None] = field(default_factory=dict)  # None: not sent


class FileServer(ThreadingHTTPServer):
    """`files` by path; `requests` collects (path, Range header) of every request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, Served] = {}
        self.requests: list[tuple[str, str | None]] = []

    def __enter__(self) -> "FileServer":
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{name}"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.requests.append((self.path[1:], wanted))
        served = self.server.files.get(self.path[1:], Served(b"", status=404))
        if served.status >= 400:
            self.send_error(served.status)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and served.ranges else 0
        if start >= len(served.data) and start:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(served.data)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = served.data[start:]
        headers = {"Content-Length": str(len(body))}
        if wanted and served.ranges:
            headers["Content-Range"] = f"bytes {start}-{len(served.data) - 1}/{len(served.data)}"
        self.send_response(206 if wanted and served.ranges else served.status)
        for name, value in {**headers, **served.headers}.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        if served.drop_after is None or served.drops == 0:
            self.wfile.write(body)
            return
        served.drops -= 1
        self.wfile.write(body[: served.drop_after])
        if served.hold:
            served.hold.wait()

    def log_message(self, *_: object) -> None:
        pass
