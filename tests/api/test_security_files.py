"""Files that lie: what comes in is looked at, not believed, and what goes out cannot run in a browser."""

import io
import struct
import zipfile
import zlib
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image as Picture
from PIL import PngImagePlugin

from app.db.tables import Project
from app.images.files import file_response
from tests.api.test_images_bad_input import huge_png
from tests.api.test_images_upload import send, stored
from tests.factories import picture_bytes

HTML = b"<!doctype html><script>kizuxss()</script>"


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_with(kind: bytes, content: bytes) -> bytes:
    """Return a picture with one more chunk behind its header."""
    plain = picture_bytes(3)
    end_of_header = 8 + 12 + 13
    return plain[:end_of_header] + _chunk(kind, content) + plain[end_of_header:]


def tiff_of(width: int, height: int) -> bytes:
    """Return a TIFF of a hundred bytes that announces this size."""
    entries = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1)]
    entries += [(278, 4, height), (279, 4, 64)]
    body = struct.pack("<H", len(entries))
    for tag, kind, value in entries:
        body += struct.pack("<HHI", tag, kind, 1) + (
            struct.pack("<HH", value, 0) if kind == 3 else struct.pack("<I", value)
        )
    return b"II*\0" + struct.pack("<I", 8) + body + bytes(4 + 64)


# --- what comes in ---------------------------------------------------------------------------------------------------

POLYGLOTS = {
    "JPEG with HTML in its comment": (picture_bytes(1, file_format="JPEG", comment=HTML), "image/jpeg"),
    "JPEG with HTML behind its end": (picture_bytes(2, file_format="JPEG") + HTML, "image/jpeg"),
    "PNG with a script in a text chunk": (png_with(b"tEXt", b"Comment\0" + HTML), "image/png"),
    "PNG with a zip behind its end": (picture_bytes(4) + b"PK\x03\x04" + bytes(60), "image/png"),
    "BMP": (picture_bytes(5, file_format="BMP") + HTML, "image/bmp"),
}


@pytest.mark.parametrize("label", POLYGLOTS)
@pytest.mark.parametrize("name", ["page.html", "drawing.svg", "picture.png", "x.php", "x"])
def test_a_picture_that_is_also_a_page_is_served_as_a_picture(
    program: TestClient, browser: TestClient, project: Project, label: str, name: str
) -> None:
    """CVE-2023-47115: neither the name nor the declared type decides what a browser is told."""
    content, media_type = POLYGLOTS[label]
    url = f"/v1/projects/{project.id}/images"
    answer = program.post(url, files={"file": (name, content, "text/html")})
    assert answer.status_code == 201, answer.text
    image_id = answer.json()["data"]["id"]
    original = program.get(f"{url}/{image_id}/file")
    assert original.content == content
    assert original.headers["content-type"] == media_type
    assert original.headers["content-disposition"].startswith("attachment;")
    assert "html" not in original.headers["content-disposition"].split("filename=")[1].split(";")[0].rsplit(".", 1)[1]
    for served in (original, program.get(f"{url}/{image_id}/thumbnail")):
        assert served.headers["x-content-type-options"] == "nosniff"
        assert served.headers["content-security-policy"] == "default-src 'none'; sandbox; frame-ancestors 'none'"
        assert served.headers["cross-origin-resource-policy"] == "same-origin"
        assert served.headers["content-type"].startswith("image/")
    thumbnail = program.get(f"{url}/{image_id}/thumbnail").content
    assert b"kizuxss" not in thumbnail  # made anew from pixels


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"\x89PNG\r\n\x1a\n" + HTML, 415),
        (b"\xff\xd8\xff\xe0" + HTML, 415),
        (b"BM" + HTML, 415),
        (b"II*\0" + HTML, 415),
        (b"RIFF\x00\x00\x00\x00WEBP" + HTML, 415),
        (b"\xef\xbb\xbf<svg xmlns='http://www.w3.org/2000/svg' onload='kizuxss()'/>", 415),
        (b"<?xml version='1.0'?><!DOCTYPE svg [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><svg>&x;</svg>", 415),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n(%pipe%id) (r) file", 415),
        (b"\x00\x00\x01\x00", 415),
        (b"\x1f\x8b\x08\x00", 415),
    ],
    ids=["PNG", "JPEG", "BMP", "TIFF", "WebP", "SVG", "XML", "PostScript", "ICO", "gzip"],
)
def test_the_first_bytes_of_a_picture_do_not_make_one(
    program: TestClient, project: Project, content: bytes, status: int
) -> None:
    answer = program.post(f"/v1/projects/{project.id}/images", files={"file": ("x.png", content, "image/png")})
    assert answer.status_code == status, answer.text
    assert not stored(project)


@pytest.mark.parametrize(
    "content",
    [
        huge_png(60_000, 60_000),
        tiff_of(60_000, 60_000),
        tiff_of(2**31, 2**31 - 1),
        tiff_of(4_000_000_000, 1),
        png_with(b"iCCP", b"p\0\0" + zlib.compress(bytes(300_000_000), 9)),
        png_with(b"zTXt", b"k\0\0" + zlib.compress(bytes(300_000_000), 9)),
        png_with(b"iTXt", b"k\0\1\0\0\0" + zlib.compress(bytes(300_000_000), 9)),
    ],
    ids=["PNG", "TIFF", "TIFF of 2^31", "TIFF of one row", "colour profile", "text", "international text"],
)
def test_what_unpacks_to_a_bomb_costs_little_and_harms_nothing(
    browser: TestClient, project: Project, content: bytes
) -> None:
    """Refused, or taken without unpacking what is no pixel; either way the next file comes in."""
    import resource

    assert len(content) < 1_000_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    results = send(browser, project, [("bomb.png", content), ("fine.png", picture_bytes(50))])
    assert results[1]["status"] == "created"
    if results[0]["status"] == "refused":
        assert results[0]["detail"]
    grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1000
    assert grown_mb < 150, grown_mb


def test_a_text_chunk_written_by_pillow_is_no_harm(program: TestClient, project: Project) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "x" * 100_000, zip=True)
    out = io.BytesIO()
    Picture.new("L", (20, 20)).save(out, "PNG", pnginfo=info)
    answer = program.post(f"/v1/projects/{project.id}/images", files={"file": ("t.png", out.getvalue())})
    assert answer.status_code in {201, 415}, answer.text


# --- zips ------------------------------------------------------------------------------------------------------------


def overlapping_zip(times: int) -> bytes:
    """Return a zip whose entries all share the bytes of one file (D. Fifield, "A better zip bomb", 2019)."""
    one = io.BytesIO()
    with zipfile.ZipFile(one, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("0.bmp", b"BM" + bytes(900_000))
    content = one.getvalue()
    start = content.index(b"PK\x01\x02")
    end = content.index(b"PK\x05\x06")
    entry = content[start:end]
    directory = b"".join(entry.replace(b"0.bmp", b"%05d" % n) for n in range(times))
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, min(times, 65535), min(times, 65535), len(directory), start, 0)
    return content[:start] + directory + tail


def test_entries_that_share_their_bytes_are_no_bomb(browser: TestClient, project: Project) -> None:
    results = send(browser, project, [("overlap.zip", overlapping_zip(5000)), ("fine.png", picture_bytes(51))])
    assert results[-1]["status"] == "created"
    assert {one["status"] for one in results[:-1]} == {"refused"}
    assert len(stored(project)) == 1


def test_a_zip_in_a_zip_is_not_opened(browser: TestClient, project: Project) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("inner.png", picture_bytes(60))
    outer = io.BytesIO()
    with zipfile.ZipFile(outer, "w") as archive:
        archive.writestr("inner.zip", inner.getvalue())
        archive.writestr("named.png", inner.getvalue())
        archive.writestr("fine.png", picture_bytes(61))
    results = send(browser, project, [("outer.zip", outer.getvalue())])
    assert [(one["name"], one["status"]) for one in results] == [("named.png", "refused"), ("fine.png", "created")]


@pytest.mark.parametrize("mode", [0o020666, 0o060666, 0o010666, 0o140777, 0o120777, 0o040755], ids=oct)
def test_devices_pipes_sockets_and_links_in_a_zip_are_refused(browser: TestClient, project: Project, mode: int) -> None:
    entry = zipfile.ZipInfo("device.png")
    entry.external_attr = mode << 16
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(entry, picture_bytes(62))
    (result,) = send(browser, project, [("evil.zip", out.getvalue())])
    assert result["status"] == "refused"


# --- what goes out ---------------------------------------------------------------------------------------------------

NAMES = [
    'a"b.png',
    "a\r\nSet-Cookie: x=1.png",
    "a;filename=b.html",
    "Ümläut 傷.png",
    "a\\b.png",
    "%0d%0a.png",
    "a'b''.png",
    ".",
]


@pytest.mark.parametrize("name", NAMES)
def test_no_name_breaks_out_of_its_header(name: str) -> None:
    answer = file_response(io.BytesIO(b"x"), media_type="image/png", name=name, etag="e")
    header = answer.headers["content-disposition"]
    assert not any(ord(character) < 32 or ord(character) > 126 for character in header)
    kind, plain, extended = header.split("; ", 2)
    assert kind == "inline"
    assert plain.startswith('filename="')
    assert plain.count('"') == 2
    assert "\\" not in plain
    assert extended.startswith("filename*=UTF-8''")
    assert not set(extended.removeprefix("filename*=UTF-8''")) & set("'\"; \\")


@pytest.mark.parametrize("name", NAMES)
def test_a_weird_name_comes_in_and_goes_out(program: TestClient, project: Project, name: str) -> None:
    url = f"/v1/projects/{project.id}/images"
    answer = program.post(url, files={"file": ("x.png", picture_bytes(7))}, data={"name": name})
    assert answer.status_code == 201, answer.text
    shown = answer.json()["data"]["name"]
    assert not any(ord(character) < 32 for character in shown)
    assert "/" not in shown
    served = program.get(f"{url}/{answer.json()['data']['id']}/file")
    assert served.status_code == 200
    assert "set-cookie" not in served.headers


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app/settings.py",
        "/static/%2e%2e/app/settings.py",
        "/static/..%2fapp%2fsettings.py",
        "/static/..%5capp%5csettings.py",
        "/static//etc/passwd",
        "/static/%2fetc%2fpasswd",
        "/static/css/../../pyproject.toml",
        "/static../pyproject.toml",
        "/static/%00",
        "/static/",
        "/staticx",
    ],
)
def test_nothing_outside_of_static_is_served(browser: TestClient, path: str) -> None:
    """GHSA-cpmr-mw4j-99r7: neither by dots nor by a missing slash."""
    answer = browser.get(path)
    assert answer.status_code in {404, 405}, answer.text[:100]


def test_pictures_need_the_right_to_see_their_project(
    anonymous: TestClient, program: TestClient, project: Project
) -> None:
    url = f"/v1/projects/{project.id}/images"
    image_id = program.post(url, files={"file": ("x.png", picture_bytes(8))}).json()["data"]["id"]
    for part in ("file", "thumbnail"):
        assert anonymous.get(f"{url}/{image_id}/{part}").status_code == 401
        assert anonymous.get(f"/projects/{project.id}/images/{image_id}/{part}").status_code in {303, 404}


# --- too much --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_",
    [
        {"data": {f"f{n}": "x" for n in range(1500)}},
        {"data": {"name": "x" * 2_000_000}},
    ],
    ids=["fields", "one field"],
)
def test_a_form_of_too_many_parts_is_refused(browser: TestClient, project: Project, request_: dict[str, Any]) -> None:
    for path in (f"/projects/{project.id}/settings", f"/projects/{project.id}/images"):
        assert 400 <= browser.post(path, **request_).status_code < 500


def test_a_body_that_does_not_say_its_length_is_still_bounded(browser: TestClient) -> None:
    """Chunked, so that no header announces it."""
    from app.main import create_app
    from app.web.security import SecurityMiddleware

    app = SecurityMiddleware(create_app(), max_body_bytes=1000)
    with TestClient(app, follow_redirects=False, raise_server_exceptions=False, cookies=browser.cookies) as client:
        answer = client.post(
            "/projects",
            content=(b"x" * 500 for _ in range(10)),
            headers={"Content-Type": "application/x-www-form-urlencoded"},
        )
    assert answer.status_code >= 400
