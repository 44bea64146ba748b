"""Stand-ins of the places that data come from, on this machine: PhysioNet's server, and Kaggle's package."""
import hashlib
import http.server
import os
import shutil
import threading
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace


class Handler(http.server.BaseHTTPRequestHandler):
    """Files below ``server.folder``, by ranges of bytes, as wfdb asks for them; a page that tells a version."""
    protocol_version = "HTTP/1.1"

    def answer(self):
        name = self.path.strip("/")
        if name.startswith("content/"):
            body = b"<title>\nVersion: 1.0.0</title>\n"
        elif (path := self.server.folder / name.removeprefix("files/")).is_file() and name not in self.server.refused:
            body = self.server.damage(name, path.read_bytes())
        else:
            self.send_error(404)
            return
        if self.command == "GET":
            self.server.asked.append(name)
        start, end = 0, len(body)
        if wanted := self.headers.get("Range"):
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, end = int(first), min(int(last or len(body) - 1) + 1, len(body))
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(body)}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(end - start))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[start:end])

    do_HEAD = do_GET = answer

    def log_message(self, *arguments):
        pass


@contextmanager
def physionet(monkeypatch, folder: Path):
    """A server of ``folder``, which wfdb takes for PhysioNet. It has a list of what it was asked for."""
    from wfdb.io import download
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.folder, server.asked, server.refused, server.damage = folder, [], set(), lambda name, body: body
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(download, "PN_CONTENT_URL", f"http://127.0.0.1:{server.server_port}/content/")
    monkeypatch.setattr(download.config, "db_index_url", f"http://127.0.0.1:{server.server_port}/files/")
    yield server
    server.shutdown()
    server.server_close()


def publish(folder: Path) -> None:
    """Write the list of checksums of all files of a database."""
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.relative_to(folder).as_posix()}"
            for path in sorted(folder.rglob("*")) if path.is_file()]
    (folder / "SHA256SUMS.txt").write_text("\n".join(sums) + "\n")


def kagglehub(source: Path, broken_off: int = 0, mounted: bool = False):
    """A module that brings the files of ``source`` into its cache, as kagglehub does, or says where they are mounted.

    The first ``broken_off`` calls end in the middle; the archive that is there already is gone on with.
    """
    calls = []

    def dataset_download(handle):
        calls.append(handle)
        if mounted:
            return str(source)
        cache = Path(os.environ["KAGGLEHUB_CACHE"]) / "datasets" / handle
        cache.mkdir(parents=True, exist_ok=True)
        with open(cache / "1.archive", "ab") as file:
            file.write(b"part")
        if len(calls) <= broken_off:
            raise ConnectionError("the line went dead")
        assert (cache / "1.archive").read_bytes() == b"part" * len(calls)  # nobody threw away what was there
        shutil.copytree(source, cache / "versions" / "1", dirs_exist_ok=True)
        return str(cache / "versions" / "1")
    return SimpleNamespace(dataset_download=dataset_download, calls=calls)
