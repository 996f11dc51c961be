"""The contract of blob storage, on every implementation; the S3 one speaks to a real S3 server in this process."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.paths import inside
from app.storage.base import BlobStorage
from app.storage.errors import BlobMissing
from app.storage.local import LocalStorage
from app.storage.s3 import S3Storage


@pytest.fixture(scope="module")
def s3_endpoint() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStorage:
    if request.param == "local":
        return LocalStorage(tmp_path / "blobs")
    made = S3Storage(
        f"s3://bucket-{tmp_path.name.replace('_', '-').lower()[:40]}/some/prefix",
        cache_dir=tmp_path / "cache",
        endpoint_url=request.getfixturevalue("s3_endpoint"),
        access_key="access",
        secret_key="secret",
    )
    made._client.create_bucket(Bucket=made._bucket)
    return made


def test_bytes_files_and_paths_come_back_as_they_went(store: BlobStorage, tmp_path: Path) -> None:
    source = tmp_path / "source.bin"
    source.write_bytes(b"from a path")
    store.put("a/bytes", b"from bytes")
    store.put("a/file", io.BytesIO(b"from a file"))
    store.put("a/path", source)
    assert store.read("a/bytes") == b"from bytes"
    with store.open("a/file") as file:
        assert file.read() == b"from a file"
    assert store.local_path("a/path").read_bytes() == b"from a path"
    assert source.exists()


def test_what_is_not_there_is_said_to_be_missing(store: BlobStorage) -> None:
    assert not store.exists("nothing/here")
    for ask in (store.open, store.read, store.local_path):
        with pytest.raises(BlobMissing):
            ask("nothing/here")
    store.delete("nothing/here")


def test_deleting_takes_exactly_what_was_named(store: BlobStorage) -> None:
    for key in ("p/1/a", "p/1/b/c", "p/10/a"):
        store.put(key, b"x")
    store.delete("p/1/a")
    assert not store.exists("p/1/a")
    assert store.exists("p/1/b/c")
    store.delete_prefix("p/1")
    assert not store.exists("p/1/b/c")
    assert store.exists("p/10/a"), "a prefix is a whole folder, not the beginning of a name"


def test_a_broken_upload_leaves_nothing_behind(store: BlobStorage) -> None:
    class Broken(io.BytesIO):
        def read(self, *_args: object) -> bytes:
            raise OSError("the line is cut")

    with pytest.raises(OSError, match="the line is cut"):
        store.put("a/broken", Broken(b"x"))
    assert not store.exists("a/broken")


@pytest.mark.parametrize("key", ["../outside", "/etc/passwd", "a/../../outside", "a\0b"])
def test_no_key_leads_out_of_the_folder(tmp_path: Path, key: str) -> None:
    local = LocalStorage(tmp_path / "blobs")
    for act in (lambda: local.put(key, b"x"), lambda: local.exists(key), lambda: local.delete(key)):
        with pytest.raises(ValueError, match=r"path|NUL"):
            act()
    assert list(tmp_path.iterdir()) in ([], [tmp_path / "blobs"])


def test_a_link_inside_the_folder_does_not_lead_out(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "secret").write_text("s")
    (tmp_path / "blobs" / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(ValueError, match="leaves its folder"):
        LocalStorage(tmp_path / "blobs").read("link")


@given(st.text(max_size=60))
def test_a_path_made_from_any_text_stays_inside_or_is_refused(text: str) -> None:
    root = Path("/var/empty/kizu")
    try:
        path = inside(root, text)
    except ValueError:
        return
    assert path == root or root in path.parents
