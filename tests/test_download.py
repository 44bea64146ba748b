"""download_intracardiac_dataset.sh against a server that cuts connections, serves garbage and lacks parts."""
import http.server
import io
import os
import re
import shutil
import signal
import subprocess
import tarfile
import threading
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "download_intracardiac_dataset.sh"
HTML = b"<html>Please sign in to this network</html>" * 40

pytestmark = pytest.mark.skipif(os.name == "nt" or not shutil.which("bash"), reason="needs bash")
clients = pytest.mark.parametrize("client", [
    pytest.param(name, marks=pytest.mark.skipif(not shutil.which(name), reason=f"{name} is not installed"))
    for name in ("curl", "wget")])


def archive(members, size=20_000):
    """A .tgz of (name, content or TarInfo) pairs; contents do not compress, so that a cut falls into them."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for member in members:
            info = member if isinstance(member, tarfile.TarInfo) else tarfile.TarInfo(member)
            body = os.urandom(size) if info.isreg() else b""
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
    return packed.getvalue()


def pair(folder, number):
    return [f"{folder}/{kind}_x_{number}.npy" for kind in ("pECGData", "VmData")]


class Server(http.server.ThreadingHTTPServer):
    """Serves ``files`` (path -> bytes); ``plan`` (path -> list of moods) tells how each next request is answered."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.plan, self.asked = {"/_1_1.md/download": b"# About\n"}, {}, []

    def add(self, part, body, *moods):
        self.files[f"/_{part}_1.tgz/download"] = body
        self.plan[f"/_{part}_1.tgz/download"] = list(moods)

    def starts(self, part):
        """First byte of each request for this part."""
        return [start for path, start in self.asked if path == f"/_{part}_1.tgz/download"]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        body = self.server.files.get(self.path)
        start = int(re.match(r"bytes=(\d+)-", self.headers.get("Range", "bytes=0-"))[1])
        self.server.asked.append((self.path, start))
        moods = self.server.plan.get(self.path, [])
        mood = moods.pop(0) if moods else "fine"
        if body is None or mood == "busy":
            return self.send_error(404 if body is None else 503)
        if mood == "garbage":
            body, start = HTML, 0
        if "rangeless" in mood:
            start = 0
        elif start >= len(body):
            return self.send_error(416)
        self.reply(body, start, mood)

    def reply(self, body, start, mood):
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        if "cut" in mood or mood == "hang":
            self.wfile.write(body[start:start + (len(body) - start) // 2])
            if mood == "hang":
                time.sleep(5)
            self.close_connection = True
            self.connection.close()
        else:
            self.wfile.write(body[start:])


@pytest.fixture
def server():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def tools(tmp_path_factory):
    """Folders of links to every program but the other client."""
    def folder(without):
        made = tmp_path_factory.mktemp("bin")
        for place in ("/usr/local/bin", "/usr/bin", "/bin"):
            for program in Path(place).iterdir() if Path(place).is_dir() else ():
                if program.name not in without and not (made / program.name).is_symlink():
                    (made / program.name).symlink_to(program)
        return str(made)
    return {"curl": folder({"wget"}), "wget": folder({"curl"}), None: folder({"curl", "wget"})}


@pytest.fixture
def environment(server, tools, tmp_path):
    def make(client="curl", parts="2 3", pairs=3, **more):
        names = {"FOLDER": str(tmp_path / "data"), "URL": f"http://127.0.0.1:{server.server_port}/", "PARTS": parts,
                 "PAIRS": str(pairs), "TRIES": "3", "PAUSE": "0", **more}
        known = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ}
        return known | {"PATH": tools[client]} | {f"CARDIAC_ML_DOWNLOAD_{k}": str(v) for k, v in names.items()}
    return make


@pytest.fixture
def download(environment):
    def run(client="curl", **settings):
        return subprocess.run(["bash", str(SCRIPT)], env=environment(client, **settings), stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=60, stdin=subprocess.DEVNULL)
    return run


def unpacked(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.npy"))


@clients
def test_goes_on_after_cuts_and_joins_folders(server, download, tmp_path, client):
    first = archive(pair("hearts", 1) + pair("hearts/deep", 2))
    second = archive(pair("hearts/deep", 3) + ["license/text"])
    server.add(2, first, *["cut"] * 6)  # more cuts than tries: what counts is progress
    server.add(3, second, "busy")
    done = download(client)
    assert done.returncode == 0, done.stdout
    assert "3 of 3 pairs" in done.stdout
    assert len(unpacked(tmp_path / "data" / "hearts")) == 6
    assert server.starts(2)[1] > 0 and server.starts(2) == sorted(server.starts(2))  # resumed, never begun again
    with tarfile.open(fileobj=io.BytesIO(first)) as tar:
        name = "hearts/VmData_x_1.npy"
        assert (tmp_path / "data" / name).read_bytes() == tar.extractfile(name).read()
    assert (tmp_path / "data" / "README.md").read_bytes() == b"# About\n"
    assert not list((tmp_path / "data" / ".download").glob("*.tgz*"))  # archives are deleted once unpacked


@clients
def test_asks_for_nothing_when_all_is_there(server, download, client):
    server.add(2, archive(pair("a", 1)))
    server.add(3, archive(pair("b", 1)))
    download(client, pairs=2)
    server.asked.clear()
    again = download(client, pairs=2)
    assert (again.returncode, server.asked) == (0, [])
    assert "already" in again.stdout


@clients
def test_server_that_cannot_go_on_in_the_middle(server, download, tmp_path, client):
    server.add(2, archive(pair("a", 1)), "cut", *["rangeless"] * 9)
    done = download(client, parts="2", pairs=1)
    assert done.returncode == 0, done.stdout
    assert len(unpacked(tmp_path / "data")) == 2


def test_server_that_always_cuts_and_never_resumes_is_given_up(server, download):
    server.add(2, archive(pair("a", 1)), *["rangeless cut"] * 50)
    done = download(parts="2", pairs=1)
    assert done.returncode == 1
    assert len(server.starts(2)) < 20


@clients
def test_garbage_is_thrown_away_and_fetched_again(server, download, tmp_path, client):
    server.add(2, archive(pair("a", 1)), "garbage")
    done = download(client, parts="2", pairs=1)
    assert done.returncode == 0 and "not a whole archive" in done.stdout
    assert len(unpacked(tmp_path / "data")) == 2


def test_endless_garbage_names_the_part_and_keeps_the_rest(server, download, tmp_path):
    server.add(2, archive(pair("a", 1)), *["garbage"] * 50)
    server.add(3, archive(pair("b", 1)))
    done = download(pairs=2)
    assert done.returncode == 1
    assert "Missing: part 2." in done.stdout and "1 of 2 pairs" in done.stdout
    assert unpacked(tmp_path / "data") == sorted(pair("b", 1))


def test_gzip_of_something_else_is_refused(server, download, tmp_path):
    import gzip
    server.add(2, gzip.compress(os.urandom(5000)))
    done = download(parts="2", pairs=1)
    assert done.returncode == 1 and "not an archive of files" in done.stdout
    assert unpacked(tmp_path / "data") == []


@clients
def test_a_part_the_server_lacks_is_named_and_fetched_later(server, download, client):
    server.add(3, archive(pair("b", 1)))
    first = download(client, pairs=2)
    assert first.returncode == 1 and "Missing: part 2." in first.stdout
    assert len(server.starts(2)) == 2  # a clear no is not asked for again and again
    server.add(2, archive(pair("a", 1)))
    server.asked.clear()
    second = download(client, pairs=2)
    assert second.returncode == 0, second.stdout
    assert server.starts(3) == []


def test_a_deleted_file_brings_only_its_part_again(server, download, tmp_path):
    server.add(2, archive(pair("a", 1)))
    server.add(3, archive(pair("b", 1)))
    download(pairs=2)
    (tmp_path / "data" / pair("b", 1)[0]).unlink()
    server.asked.clear()
    assert download(pairs=2).returncode == 0
    assert (server.starts(2), server.starts(3)) == ([], [0])


def test_counts_files_without_a_partner(server, download):
    server.add(2, archive(pair("a", 1) + ["a/VmData_x_8.npy", "a/VmData_x_9.npy", "a/pECGData_x_7.npy"]))
    done = download(parts="2", pairs=4)
    assert done.returncode == 1
    for words in ("1 of 4 pairs", "1 pECGData files have no VmData", "2 VmData files have no pECGData"):
        assert words in done.stdout


def link(name, target, kind):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize("members", [
    ["/tmp/cardiac_ml_escaped.npy"], ["a/../../escaped.npy"], ["../escaped.npy"],
    [link("a", "..", tarfile.SYMTYPE), "a/escaped.npy"], [link("a.npy", "../escaped.npy", tarfile.LNKTYPE)],
    [link("pipe.npy", "", tarfile.FIFOTYPE)],
], ids=["absolute", "climbs", "parent", "symlink", "hard link", "pipe"])
def test_hostile_archives_are_refused_whole(server, download, tmp_path, members):
    server.add(2, archive([*pair("good", 1), *members]))
    done = download(parts="2", pairs=1)
    assert done.returncode == 1 and "refused" in done.stdout, done.stdout
    assert unpacked(tmp_path / "data") == [] and not list(tmp_path.rglob("*escaped*"))
    assert not Path("/tmp/cardiac_ml_escaped.npy").exists()


@clients
def test_killed_in_the_middle_goes_on(server, environment, download, tmp_path, client):
    server.add(2, archive(pair("a", 1), size=300_000), "hang")
    process = subprocess.Popen(["bash", str(SCRIPT)], env=environment(client, parts="2", pairs=1),
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    part = tmp_path / "data" / ".download" / "part_2.tgz.part"
    end = time.monotonic() + 20
    while not (part.exists() and part.stat().st_size > 100_000) and time.monotonic() < end:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = download(client, parts="2", pairs=1)
    assert done.returncode == 0, done.stdout
    assert server.starts(2)[1] > 0


def test_two_at_once_do_not_mix(download, tmp_path):
    lock = tmp_path / "data" / ".download" / "lock"
    lock.mkdir(parents=True)
    (lock / "pid").write_text(str(os.getpid()))
    done = download()
    assert done.returncode == 1 and f"process {os.getpid()}" in done.stdout


def test_too_little_space_is_said_before_fetching(server, download):
    done = download(MB=10**9)
    assert done.returncode == 1 and "Too little space" in done.stdout and server.asked == []


def test_a_server_that_is_down_stops_it_at_once(server, download):
    started = time.monotonic()
    done = download(parts="2 3 4 5 6", URL="http://127.0.0.1:9")
    assert done.returncode == 1 and "is there a network?" in done.stdout
    assert "all from part 2 on" in done.stdout and time.monotonic() - started < 15


def test_without_curl_and_wget_it_says_so(download):
    done = download(client=None)
    assert done.returncode == 1 and "Neither curl nor wget" in done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_sourced_it_leaves_the_shell_as_it_was(server, environment, tmp_path, shell):
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    server.add(2, archive(pair("a", 1)))
    passing = (r"^(_|RANDOM|SECONDS|LINENO|BASH_|PIPESTATUS|EPOCH|SRANDOM|status|\?|TTYIDLE|before|after|pipestatus|"
               r"ZSH_EVAL|!|#)")
    state = f"pwd; set -o; typeset -f; trap; alias; set | grep -vE '{passing}'"
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "copy").mkdir()
    shutil.copy(SCRIPT, tmp_path / "copy")
    program = (f'cd "{tmp_path}/elsewhere"; before=$({state}); . ../copy/{SCRIPT.name}; echo "first $?"; '
               f'CARDIAC_ML_DOWNLOAD_PAIRS=99; export CARDIAC_ML_DOWNLOAD_PAIRS; . ../copy/{SCRIPT.name}; '
               f'echo "second $?"; CARDIAC_ML_DOWNLOAD_PAIRS=1; after=$({state}); '
               '[ "$before" = "$after" ] && echo "as it was" || { echo "$before" >b; echo "$after" >a; diff b a; }')
    variables = environment(parts="2", pairs=1)
    variables.pop("CARDIAC_ML_DOWNLOAD_FOLDER")  # then the dataset goes beside the script
    done = subprocess.run([shell, "-c", program], env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=60)
    assert "first 0" in done.stdout and "second 1" in done.stdout and "as it was" in done.stdout, done.stdout
    assert len(unpacked(tmp_path / "copy" / "intracardiac_dataset")) == 2


@pytest.mark.parametrize("shell", ["sh", "dash", "zsh"])
def test_run_by_another_shell_it_does_the_same(server, environment, shell):
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    server.add(2, archive(pair("a", 1)))
    done = subprocess.run([shell, str(SCRIPT)], env=environment(parts="2", pairs=1), stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=60)
    assert done.returncode == 0 and "1 of 1 pairs" in done.stdout, done.stdout
