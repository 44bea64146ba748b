"""download_intracardiac_dataset.sh against a server that cuts connections, serves garbage and lacks parts."""
import contextlib
import gzip
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


def installed(*programs):
    return [pytest.param(name, marks=pytest.mark.skipif(not shutil.which(name), reason=f"{name} is not installed"))
            for name in programs]


clients = pytest.mark.parametrize("client", installed("curl", "wget"))
OUTPUT = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


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


A, B = archive(pair("a", 1)), archive(pair("b", 1))


class Server(http.server.ThreadingHTTPServer):
    """Serves ``files`` (path -> bytes); ``plan`` (path -> list of moods) tells how each next request is answered."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.plan, self.asked, self.pauses = {"/_1_1.md/download": b"# About\n"}, {}, [], {}

    def add(self, part, body, *moods, pause=0):
        path = f"/_{part}_1.tgz/download"
        self.files[path], self.plan[path], self.pauses[path] = body, list(moods), pause

    def holds(self, folder):
        """Whether every file of the archives lies in ``folder`` as it was served."""
        for body in self.files.values():
            if body[:2] == b"\x1f\x8b":
                with tarfile.open(fileobj=io.BytesIO(body)) as tar:
                    if any((folder / name).read_bytes() != tar.extractfile(name).read() for name in tar.getnames()):
                        return False
        return True

    def starts(self, part):
        """First byte of each request for this part."""
        return [start for path, start in self.asked if path == f"/_{part}_1.tgz/download"]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle(self):
        with contextlib.suppress(OSError):  # whoever asked was killed
            super().handle()

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
        self.send_header("Content-Length", str(len(body) - start + 99 * (mood == "boast")))
        self.end_headers()
        if "cut" in mood or mood == "hang":
            self.wfile.write(body[start:start + (len(body) - start) // 2])
            if mood == "hang":
                self.server.hanging.wait(30)
            self.close_connection = True
            self.connection.close()
        else:
            for piece in range(start, len(body), 50_000):
                self.wfile.write(body[piece:min(piece + 50_000, len(body))])
                time.sleep(self.server.pauses.get(self.path, 0) / 10)
            self.close_connection = mood == "boast"


@contextlib.contextmanager
def serving(server):
    server.hanging = threading.Event()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield server
    server.hanging.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def server():
    """With A and B as parts 2 and 3."""
    with serving(Server()) as server:
        server.add(2, A)
        server.add(3, B)
        yield server


def settings(server, folder, path=None, **more):
    """The environment of one download, with none of the user's but what shells need."""
    known = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR", "PATH") if name in os.environ}
    names = {"folder": folder, "url": f"http://127.0.0.1:{server.server_port}/", "tries": 3, "pause": 0, **more}
    return known | {"PATH": path or known["PATH"]} | {
        f"CARDIAC_ML_DOWNLOAD_{name.upper()}": str(value) for name, value in names.items()}


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
    def make(client="curl", folder=tmp_path / "data", **more):
        return settings(server, folder, tools[client], **{"parts": "2 3", "pairs": 2, **more})
    return make


@pytest.fixture
def download(environment):
    def run(client="curl", *arguments, shell="bash", variables=(), **names):
        return subprocess.run([shell, str(SCRIPT), *arguments], env=environment(client, **names) | dict(variables),
                              timeout=60, stdin=subprocess.DEVNULL, **OUTPUT)
    return run


@pytest.fixture
def work(tmp_path):
    """Where the script keeps what is not finished."""
    (tmp_path / "data" / ".download").mkdir(parents=True)
    return tmp_path / "data" / ".download"


def unpacked(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.npy"))


@clients
def test_goes_on_after_cuts_joins_folders_and_fetches_nothing_twice(server, download, tmp_path, client):
    server.add(2, archive(pair("hearts", 1) + pair("hearts/deep", 2)), *["cut"] * 6)  # more than tries: progress counts
    server.add(3, archive(pair("hearts/deep", 3) + ["license/text"]), "busy")
    done = download(client, pairs=3)
    assert done.returncode == 0 and "3 of 3 pairs" in done.stdout, done.stdout
    assert len(unpacked(tmp_path / "data" / "hearts")) == 6 and server.holds(tmp_path / "data")
    assert server.starts(2)[1] > 0 and server.starts(2) == sorted(server.starts(2))  # resumed, never begun again
    assert (tmp_path / "data" / "README.md").read_bytes() == b"# About\n"
    assert not list((tmp_path / "data" / ".download").glob("*.tgz*"))  # archives are deleted once unpacked
    server.asked.clear()
    again = download(client, pairs=3)
    assert (again.returncode, server.asked) == (0, []) and "already" in again.stdout


@clients
@pytest.mark.parametrize("moods, words", [(["cut", *["rangeless"] * 9], ""), (["garbage"], "not a whole archive")],
                         ids=["rangeless", "garbage"])
def test_what_cannot_be_gone_on_with_is_fetched_again(server, download, tmp_path, client, moods, words):
    server.add(2, A, *moods)
    done = download(client)
    assert done.returncode == 0 and words in done.stdout and server.holds(tmp_path / "data"), done.stdout


@pytest.mark.parametrize("mood", ["garbage", "rangeless cut"])
def test_endless_trouble_names_the_part_and_keeps_the_rest(server, download, tmp_path, mood):
    server.add(2, A, *[mood] * 50)
    done = download()
    assert done.returncode == 1 and len(server.starts(2)) < 20
    assert "Missing: part 2." in done.stdout and "1 of 2 pairs" in done.stdout
    assert unpacked(tmp_path / "data") == sorted(pair("b", 1))


@clients
def test_a_part_the_server_lacks_is_named_and_fetched_later(server, download, client):
    server.files.pop("/_2_1.tgz/download")
    first = download(client)
    assert first.returncode == 1 and "Missing: part 2." in first.stdout
    assert len(server.starts(2)) == 2  # a clear no is not asked for again and again
    server.add(2, A)
    server.asked.clear()
    second = download(client)
    assert second.returncode == 0 and server.starts(3) == [], second.stdout


def test_a_deleted_or_emptied_file_brings_only_its_part_again(server, download, tmp_path):
    download()
    for spoil in Path.unlink, lambda path: path.write_bytes(b""):
        spoil(tmp_path / "data" / pair("b", 1)[0])
        server.asked.clear()
        again = download()
        assert again.returncode == 0 and "already" not in again.stdout and server.holds(tmp_path / "data")
        assert (server.starts(2), server.starts(3)) == ([], [0])


def special(name, **fields):
    info = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(info, field, value)
    return info


@pytest.mark.parametrize("members", [
    ["/tmp/cardiac_ml_escaped.npy"], ["a/../../escaped.npy"], ["../escaped.npy"],
    [special("a", type=tarfile.SYMTYPE, linkname=".."), "a/escaped.npy"],
    [special("a.npy", type=tarfile.LNKTYPE, linkname="../escaped.npy")], [special("pipe.npy", type=tarfile.FIFOTYPE)],
    None], ids=["absolute", "climbs", "parent", "symlink", "hard link", "pipe", "no archive"])
def test_hostile_archives_are_refused_whole(server, download, tmp_path, members):
    server.add(2, archive([*pair("good", 1), *members]) if members else gzip.compress(os.urandom(5000)))
    done = download()
    assert done.returncode == 1 and ("refused" if members else "not an archive of files") in done.stdout, done.stdout
    assert unpacked(tmp_path / "data") == sorted(pair("b", 1)) and not list(tmp_path.rglob("*escaped*"))
    assert not Path("/tmp/cardiac_ml_escaped.npy").exists()


@clients
def test_killed_in_the_middle_goes_on(server, environment, download, work, client):
    server.add(2, archive(pair("a", 1), size=300_000), "hang")
    process = subprocess.Popen(["bash", str(SCRIPT)], env=environment(client), start_new_session=True, **OUTPUT)
    part = work / "part_2.tgz.part"
    wait_for(lambda: part.exists() and part.stat().st_size > 100_000)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = download(client)
    assert done.returncode == 0 and server.starts(2)[1] > 0, done.stdout


def test_killed_while_it_unpacked_it_fetches_nothing_again(server, download, tmp_path, work):
    (work / "part_2.tgz").write_bytes(A)
    assert download().returncode == 0
    assert server.starts(2) == [] and server.holds(tmp_path / "data") and not list(work.glob("*.tgz*"))
    (work / "part_2.tgz").write_bytes(A)  # left by a kill just after
    (tmp_path / "data" / "README.md").unlink()
    download(pairs=9)
    assert not (work / "part_2.tgz").exists()


def test_killed_at_random_moments_it_ends_with_what_the_server_has(tmp_path):
    from tools.kill_tests import download as killed_downloads
    assert killed_downloads(tmp_path, kills=4, seed=1) == []


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_obeyed_while_the_server_is_silent(server, environment, work, sign):
    server.add(2, A, "hang")
    process = subprocess.Popen(["bash", str(SCRIPT)], env=environment(), **OUTPUT)
    wait_for((work / "part_2.tgz.part").exists)
    process.send_signal(sign)
    assert process.wait(timeout=20) == 128 + sign
    assert not server.hanging.is_set() and not list(work.glob("works.*"))


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    assert condition()


def test_of_many_at_once_one_works(server, environment, tmp_path):
    server.add(2, archive(pair("a", 1), size=100_000), pause=3)
    started = [subprocess.Popen(["bash", str(SCRIPT)], env=environment(), **OUTPUT) for _ in range(6)]
    told = [process.communicate(timeout=60)[0] for process in started]
    assert sorted(process.returncode for process in started) == [0, 1, 1, 1, 1, 1], told
    assert sum("is at work" in text for text in told) == 5 and server.starts(2) == [0]
    assert server.holds(tmp_path / "data")


def test_a_lock_of_a_process_that_is_gone_is_not_believed(server, download, work):
    """Even where another one has its number now, as number 1 in every container has."""
    for number in 1, os.getpid():
        (work / f"works.{number}").write_text("31415926535\n")
    assert download().returncode == 0 and not list(work.glob("works.*"))


@clients
def test_settings_of_the_user_and_odd_names_change_nothing(server, download, tmp_path, client):
    home, strange = tmp_path / "home", tmp_path / "two\nlines $HOME 'and' \"quotes\""
    home.mkdir()
    (home / ".curlrc").write_text(f"output = {home}/stolen\nuser-agent = x\n")
    (home / ".wgetrc").write_text("reject_log = stolen\nquota = 1\nuse_proxy = on\nhttp_proxy = http://127.0.0.1:9\n")
    done = download(client, folder=strange, variables={"HOME": str(home)})
    assert done.returncode == 0 and server.holds(strange) and "error" not in done.stdout, done.stdout
    assert not (home / "stolen").exists()


@clients
def test_a_server_that_promises_too_much_or_asks_to_log_in(server, download, tmp_path, client):
    server.add(2, A, *["boast"] * 9)
    server.add(3, B, "cut", "garbage", "garbage")
    done = download(client)
    assert done.returncode == 0 and server.holds(tmp_path / "data"), done.stdout
    assert len(server.starts(2)) == 1 and server.starts(3)[-1] > 0  # what was fetched before the page is kept


def test_lone_partners_rights_of_others_and_names_too_long(server, download, tmp_path):
    lone = ["a/VmData_x_8.npy", "a/VmData_x_9.npy", "a/pECGData_x_7.npy"]
    server.add(2, archive([special("a/pECGData_x_1.npy", mode=0o6777), "a/VmData_x_1.npy", *lone]))
    server.add(3, archive(["b" * 300 + ".npy"]))
    done = download()
    for words in ("1 of 2 pairs", "1 pECGData files have no VmData", "2 VmData files have no pECGData"):
        assert words in done.stdout
    assert (tmp_path / "data" / "a" / "pECGData_x_1.npy").stat().st_mode & 0o7000 == 0
    assert done.returncode == 1 and "name too long" in done.stdout and "disk" not in done.stdout.partition("Part 3")[2]


@clients
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_named(server, download, work, client):
    (work / "part_2.tgz.part").symlink_to("/dev/full")
    done = download(client)
    assert done.returncode == 1 and "is the disk full?" in done.stdout and len(server.starts(2)) == 1


@pytest.mark.parametrize("arguments, named, words", [
    (["curl", "--hepl"], {}, ["--hepl means nothing"]), (["curl"], dict(mb=10**9), ["Too little space"]),
    ([None], {}, ["Neither curl nor wget"]),
    (["curl"], dict(parts="2 3 4 5 6", url="http://127.0.0.1:9"), ["is there a network?", "all from part 2 on"]),
], ids=["wrong word", "no space", "no client", "no network"])
def test_what_keeps_it_from_fetching_is_said_at_once(server, download, arguments, named, words):
    done = download(*arguments, **named)
    assert done.returncode == 1 and all(word in done.stdout for word in words) and server.asked == []


@pytest.mark.parametrize("shell", installed("bash", "zsh"))
def test_sourced_it_leaves_the_shell_as_it_was(server, environment, tmp_path, shell):
    passing = (r"^(_|RANDOM|SECONDS|LINENO|BASH_|PIPESTATUS|EPOCH|SRANDOM|status|\?|TTYIDLE|before|after|pipestatus|"
               r"ZSH_EVAL|!|#)")
    state = f"pwd; set -o; typeset -f; trap; alias; set | grep -vE '{passing}'"
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "copy").mkdir()
    shutil.copy(SCRIPT, tmp_path / "copy")
    program = (f'cd "{tmp_path}/elsewhere"; before=$({state}); . ../copy/{SCRIPT.name}; echo "first $?"; '
               f'CARDIAC_ML_DOWNLOAD_PAIRS=99; export CARDIAC_ML_DOWNLOAD_PAIRS; . ../copy/{SCRIPT.name}; '
               f'echo "second $?"; CARDIAC_ML_DOWNLOAD_PAIRS=2; after=$({state}); '
               '[ "$before" = "$after" ] && echo "as it was" || { echo "$before" >b; echo "$after" >a; diff b a; }')
    variables = environment()
    variables.pop("CARDIAC_ML_DOWNLOAD_FOLDER")  # then the dataset goes beside the script
    done = subprocess.run([shell, "-c", program], env=variables, timeout=60, **OUTPUT)
    assert "first 0" in done.stdout and "second 1" in done.stdout and "as it was" in done.stdout, done.stdout
    assert server.holds(tmp_path / "copy" / "intracardiac_dataset")


@pytest.mark.parametrize("shell", installed("sh", "dash", "zsh"))
def test_run_by_another_shell_it_does_the_same(server, download, shell):
    done = download(shell=shell)
    assert done.returncode == 0 and "2 of 2 pairs" in done.stdout, done.stdout


@pytest.mark.skipif(not shutil.which("dash"), reason="dash is not installed")
def test_a_shell_that_cannot_tell_the_name_of_a_sourced_file_runs_nothing(server, environment, tmp_path):
    (tmp_path / "caller").write_text(f"echo once\n. {SCRIPT}\necho status $?\n")
    done = subprocess.run(["dash", "caller"], cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert done.stdout == "once\nstatus 1\n" and "Run this with bash" in done.stderr and server.asked == []
    (tmp_path / "dash").write_text("echo once more")  # in an interactive one, $0 is "dash"
    typed = subprocess.run(["dash", "-i"], input=f". {SCRIPT}\n", cwd=tmp_path, env=environment(), capture_output=True,
                           text=True)
    assert typed.stdout == "" and "Run this with bash" in typed.stderr
