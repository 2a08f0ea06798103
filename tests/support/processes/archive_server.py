"""A server on this machine that hands out one archive, well or badly, and archives for it."""

import contextlib
import io
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import NamedTuple

from studies.saying import Said, Say

DATA = Path("data")  # the first data root of an empty folder


class Server(NamedTuple):
    """A server of one file, and what it was asked for.

    Attributes:
        url: the folder it serves.
        content: the file, by any name.
        script: how to answer the next requests, one after the other: "drop", "wrong", "missing", "busy", "endless",
            "slow" or "silent"; then well.
        asked: the paths of all requests.
    """

    url: str
    content: dict[str, bytes]
    script: list[str]
    asked: list[str]


def answer(server: Server, handler: BaseHTTPRequestHandler) -> None:
    """Answer one request as the script says."""
    server.asked.append(handler.path)
    how = server.script.pop(0) if server.script else "well"
    content = server.content["archive"]
    if how == "silent":
        time.sleep(2)  # longer than a test lets a download be slow
    status = {"missing": 404, "busy": 503}.get(how, 200)
    handler.send_response(status)
    length = 10**15 if how == "endless" else len(content)
    handler.send_header("Content-Length", str(length if status == 200 else 0))
    handler.end_headers()
    with contextlib.suppress(ConnectionError):  # the other side has seen enough
        if how == "endless":
            while True:
                handler.wfile.write(bytes(2**16))
        elif how == "slow":
            for byte in content[:20]:
                handler.wfile.write(bytes([byte]))
                time.sleep(0.1)
        elif status == 200:
            handler.wfile.write({"drop": content[: len(content) // 2], "wrong": content[::-1]}.get(how, content))


@contextmanager
def serving() -> Iterator[Server]:
    """Serve on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(served, self)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        served = Server(f"http://127.0.0.1:{http.server_port}", {}, [], [])
        Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        yield served
        http.shutdown()


def pack(folder: Path, *odd: tarfile.TarInfo) -> bytes:
    """A folder as a .tar.gz, and odd members after it."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        tar.add(folder, folder.name)
        for member in odd:
            tar.addfile(member)
    return packed.getvalue()


def odd(name: str, link: str = "") -> tarfile.TarInfo:
    """An empty member, or a symbolic link."""
    member = tarfile.TarInfo(name)
    if link:
        member.type, member.linkname = tarfile.SYMTYPE, link
    return member


def in_data() -> list[str]:
    """What is in the data root, with hidden files."""
    return sorted(path.name for path in DATA.iterdir()) if DATA.exists() else []


def assert_refused(say: Say, *words: str) -> Said:
    """Ask the command line for a run that needs CIFAR-10; it must be refused with all of these words."""
    said = say("run", "cifar10_cpu", "--arms", "erm", "--seeds", "0")
    assert said.code == 3
    assert said.has(*words)
    return said
