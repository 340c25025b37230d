"""Fetching, against real HTTP servers on this machine: whole and proved, or nothing at all."""

from __future__ import annotations

import functools
import gzip
import http.server
import socket
import threading
import time

import made_data
import pytest

from npmlp.errors import DataError
from npmlp.vision.fetch import fetch
from npmlp.vision.files import is_noted
from npmlp.vision.locate import Place, load_splits

FILES_MADE = made_data.contents()
SPLITS = made_data.splits_of(FILES_MADE)
SPECS = [spec for split in SPLITS for spec in (split.images, split.labels)]
PACKED = {f"/{name}.gz": gzip.compress(content) for name, content in FILES_MADE.items()}
FIRST = f"/{SPECS[0].name}.gz"


class Server:
    """Serves what `answers` maps a path to: bytes, or bytes and the length it claims to have."""

    def __init__(self, answers):
        asked = self.asked = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                asked.append(self.path)
                if self.path not in answers:
                    self.send_error(404)
                    return
                answer = answers[self.path]
                body, length = answer if isinstance(answer, tuple) else (answer, len(answer))
                self.send_response(200)
                self.send_header("Content-Length", str(length))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}/"
        serve = functools.partial(self.server.serve_forever, poll_interval=0.01)
        threading.Thread(target=serve, daemon=True).start()


@pytest.fixture
def serve(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    servers = []

    def start(answers):
        servers.append(Server(answers))
        return servers[-1]

    yield start
    for server in servers:
        server.server.shutdown()
        server.server.server_close()


def get(target, *mirrors, **kwargs):
    said = []
    source = fetch(
        target, SPECS, mirrors=[m if isinstance(m, str) else m.address for m in mirrors],
        **{"apt": False, "timeout": 5, "say": said.append, **kwargs},
    )  # fmt: skip
    return source, said


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_mirror_gives_the_files_decompressed_and_proved(tmp_path, serve):
    server = serve(PACKED)
    source, said = get(tmp_path / "t", server, cache=tmp_path / "cache")
    assert source == server.address
    assert said == [f"Fetching Fashion-MNIST (30 MB) from {server.address}"]
    assert names(tmp_path / "t") == sorted(FILES_MADE)
    for spec in SPECS:
        assert (tmp_path / "t" / spec.name).read_bytes() == FILES_MADE[spec.name]
        assert is_noted(tmp_path / "cache", tmp_path / "t" / spec.name, spec)


WRONG = gzip.compress(made_data.contents(seed=1)[SPECS[0].name])


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({}, "HTTP status 404"),
        ({**PACKED, FIRST: b"<html>Please log in</html>"}, "not gzip"),
        ({**PACKED, FIRST: PACKED[FIRST][:-500]}, "cut short"),
        ({**PACKED, FIRST: (PACKED[FIRST][:-500], len(PACKED[FIRST]))}, "cut short|broke off"),
        ({**PACKED, FIRST: WRONG}, "is not Fashion-MNIST's"),
        ({**PACKED, FIRST: gzip.compress(bytes(10_000_000))}, "more than its 23,536 bytes"),
        ({**PACKED, FIRST: b""}, "SHA-256|cut short"),
    ],
)
def test_what_is_not_the_data_never_gets_its_name(tmp_path, serve, answers, message):
    with pytest.raises(DataError, match=message):
        get(tmp_path / "t", serve(answers))
    assert names(tmp_path / "t") == []


def test_the_next_mirror_is_asked_for_what_the_first_did_not_give(tmp_path, serve):
    third = f"/{SPECS[2].name}.gz"
    first = serve({path: content for path, content in PACKED.items() if path != third})
    second = serve(PACKED)
    source, said = get(tmp_path / "t", first, second)
    assert source == second.address and len(said) == 3 and "404" in said[1]
    assert names(tmp_path / "t") == sorted(FILES_MADE)
    assert second.asked == [third, f"/{SPECS[3].name}.gz"]  # the two whole ones stay


def test_what_is_whole_already_is_not_fetched(tmp_path):
    folder = made_data.write(tmp_path / "t", FILES_MADE)
    assert get(folder, "http://nowhere.invalid/") == (str(folder), [])


def test_a_damaged_file_under_the_right_name_is_fetched_again(tmp_path, serve):
    folder = made_data.write(tmp_path / "t", {**FILES_MADE, SPECS[0].name: b"damaged"})
    server = serve(PACKED)
    get(folder, server)
    assert server.asked == [FIRST]
    assert (folder / SPECS[0].name).read_bytes() == FILES_MADE[SPECS[0].name]


def test_a_file_has_its_name_only_when_it_is_whole(tmp_path):
    packed, rest = PACKED[FIRST], threading.Event()

    class HalfThenRest(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(packed[: len(packed) // 2])
            self.wfile.flush()
            rest.wait(10)
            self.wfile.write(packed[len(packed) // 2 :])

        def log_message(self, *args):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), HalfThenRest) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        fetching = threading.Thread(
            target=fetch,
            args=(tmp_path / "t", SPECS[:1]),
            kwargs={
                "mirrors": [f"http://127.0.0.1:{server.server_port}/"],
                "apt": False,
                "say": lambda line: None,
            },
        )
        fetching.start()
        while fetching.is_alive() and not list(tmp_path.glob("t/.*")):
            time.sleep(0.001)  # until the first half is being written
        halfway = names(tmp_path / "t")
        rest.set()
        fetching.join()
    assert len(halfway) == 1 and halfway[0].endswith(".part")
    assert names(tmp_path / "t") == [SPECS[0].name]


def test_every_place_that_failed_is_in_the_error(tmp_path, serve):
    with socket.socket() as nobody, socket.socket() as silent:
        nobody.bind(("127.0.0.1", 0))  # bound but not listening: refused
        silent.bind(("127.0.0.1", 0))
        silent.listen()  # takes the connection and says nothing
        refusing, mute = (f"http://127.0.0.1:{s.getsockname()[1]}/" for s in (nobody, silent))
        missing = serve({}).address
        with pytest.raises(DataError) as caught:
            get(tmp_path / "t", refusing, mute, missing, timeout=0.2)
    lines = str(caught.value).splitlines()
    assert [line.split(": ")[0] for line in lines] == [f"  {m}" for m in (refusing, mute, missing)]
    assert "refused" in lines[0] and "timed out" in lines[1] and "404" in lines[2]


def test_a_name_that_no_server_has_is_no_connection(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.invalid/: no connection"):
        get(tmp_path / "t", "http://nowhere.invalid/")


def test_without_apt_get_the_debian_package_is_no_way(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataError, match="dataset-fashion-mnist: this machine has no apt-get"):
        get(tmp_path / "t", apt=True)
    assert names(tmp_path / "t") == []


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot fetch into"):
        get(tmp_path / "file" / "t", "http://nowhere.invalid/")


def test_a_load_fetches_what_no_place_has_and_the_next_one_finds_it(tmp_path, serve):
    server = serve(PACKED)
    get_from_server = functools.partial(
        fetch, mirrors=[server.address], apt=False, say=lambda line: None
    )
    cache = tmp_path / "cache"
    places = [Place(cache, "cache")]
    arrays, source = load_splits(SPLITS, places, cache=cache, fetch=get_from_server)
    assert source == str(cache)
    assert made_data.idx_bytes(arrays[0][0]) == FILES_MADE[SPECS[0].name]
    _, source = load_splits(SPLITS, places, cache=cache, fetch=get_from_server)
    assert source == str(cache) and len(server.asked) == 4
