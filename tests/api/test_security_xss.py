"""What people and programs write is text on every page: a corpus in every text field, all pages parsed as browsers do.

A page passes when its tree holds no element and no attribute that came out of the text, and the text itself is there.
"""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image as Picture
from selectolax.lexbor import LexborHTMLParser

from app.accounts.permissions import Role
from app.db.session import transaction
from app.db.tables import (
    ApiKey,
    Category,
    Deployment,
    Image,
    ImageMetadata,
    ImageTag,
    InferenceRecord,
    Job,
    JobEvent,
    MetadataField,
    ModelVersion,
    Project,
    Tag,
    User,
)
from app.main import PUBLIC_ROUTES, all_routes
from tests import factories, serving_support

AS_HTMX = {"HX-Request": "true", "HX-Request-Type": "partial"}
# `@` becomes the name of the field, so that what is seen on a page tells where it came from.
CORPUS = {
    "markup": """x@"></script></title></textarea><kizuxss><script>kizuxss()</script>--><svg/onload=kizuxss()>""",
    "single quote": """x@' onfocus='kizuxss()' autofocus kizuxss='""",
    "address": """javascript:kizuxss('x@')//""",
    "template": """x@{{7*7}}{%raw%}${kizuxss()}&lt;kizuxss&gt;&#60;kizuxss&#62;\\"><kizuxss a=\\u003cimg\\x3e""",
}
RUNNING_ATTRIBUTES = ("on", "kizuxss", "autofocus", "style", "srcdoc", "hx-on")
RUNNING_ADDRESSES = (
    "href",
    "src",
    "action",
    "formaction",
    "data",
    "hx-get",
    "hx-post",
    "hx-put",
    "hx-delete",
    "hx-vals",
)
FOREIGN_ELEMENTS = {"kizuxss", "iframe", "object", "embed", "base", "foreignobject"}
# Where a page holds these itself, they are ours.
OUR_AUTOFOCUS = {"input", "button", "textarea", "select", "dialog", "a", "image-annotator"}


def faults_of(html: str) -> list[str]:
    """Return what in a page could only have come out of a text."""
    faults = []
    for node in LexborHTMLParser(html).css("*"):
        tag, attributes = (node.tag or "").lower(), node.attributes
        if tag in FOREIGN_ELEMENTS:
            faults.append(f"<{tag}>")
        if tag == "script" and (
            not (attributes.get("src") or "").startswith("/static/") or (node.text() or "").strip()
        ):
            is_data = attributes.get("type") in {"application/json", "importmap", "speculationrules"}
            if not is_data:
                faults.append("<script>")
            else:
                json.loads(node.text())  # whole, so nothing in it ended the element
        for name, value in attributes.items():
            if name.startswith(RUNNING_ATTRIBUTES) and not (name == "autofocus" and tag in OUR_AUTOFOCUS):
                faults.append(f"<{tag} {name}={value!r}>")
            if name in RUNNING_ADDRESSES and (value or "").strip().lower().startswith(
                ("javascript:", "js:", "data:text")
            ):
                faults.append(f"<{tag} {name}={value!r}>")
            if name == "src" and value == "x":
                faults.append(f"<{tag} src=x>")
    return faults


def test_the_look_out_itself_sees_what_it_is_for() -> None:
    for payload in CORPUS.values():
        for place in ("<p>{}</p>", '<p title="{}">', "<p title='{}'>", '<a href="{}">', "<title>{}</title>"):
            faults_of(place.format(payload))  # does not fail itself
    assert faults_of(f"<p>{CORPUS['markup']}</p>")
    assert faults_of(f"<p title='{CORPUS['single quote']}'>")
    assert faults_of(f'<a href="{CORPUS["address"]}">')


def _fill(served: serving_support.Served, payload: str) -> dict[str, Any]:
    """Write the payload into every text that a person or a program may choose; return the ids for addresses."""

    def text(field: str) -> str:
        return payload.replace("@", field)[:200]

    with transaction() as session:
        project_id = served.project.id
        session.get(Project, project_id).name = text("project")
        categories = session.query(Category).filter_by(project_id=project_id).order_by(Category.index).all()
        for number, category in enumerate(categories):
            category.name, category.description = text(f"class{number}"), text("description")
        images = session.query(Image).filter_by(project_id=project_id).order_by(Image.id).all()
        for image in images:
            image.name = text("file")[:180] + f"{image.id}.png"
        model = session.get(ModelVersion, served.model.id)
        manifest = json.loads(json.dumps(model.manifest))
        for number, category in enumerate(manifest["categories"]):
            category["name"] = text(f"class{number}")
        manifest["name"] = model.name = text("model")
        manifest["decision"]["reason"] = text("reason")
        manifest["lineage"] |= {
            "backbone": text("backbone"),
            "created_by": text("author"),
            "libraries": {"a": text("l")},
        }
        model.manifest = manifest
        deployment = session.get(Deployment, served.deployment.id)
        deployment.name = text("endpoint")
        session.get(User, served.actor.user_id).name = text("person")
        session.query(ApiKey).filter_by(user_id=served.actor.user_id).update({"name": text("key")})
        job = session.get(Job, model.job_id)
        job.spec = {**job.spec, "name": text("training")[:80]}
        job.message = text("message")
        session.add(JobEvent(job_id=job.id, kind="log", payload={"kind": "log", "level": "info", "text": text("log")}))
        tag = Tag(project_id=project_id, name=text("tag"), color="#000000")
        field = MetadataField(
            project_id=project_id, name=text("meta"), type="text", predefined_choices=[text("choice"), "b"]
        )
        call = InferenceRecord(
            deployment_id=deployment.id, model_id=model.id, sha256="0" * 64, width_px=1, height_px=1,
            category_name=text("class0"), score=0.5, scores=[0.5, 0.5], threshold=0.5, latency_ms=1.0,
            call_metadata={"inspection_station_id": text("station"), text("name"): text("value")},
        )  # fmt: skip
        session.add_all([tag, field, call])
        session.flush()
        session.add_all(
            [
                ImageTag(image_id=images[0].id, tag_id=tag.id),
                ImageMetadata(image_id=images[0].id, field_id=field.id, value={"v": text("fact")}),
            ]
        )
        return {
            "project_id": project_id, "image_id": images[0].id, "model_id": model.id, "job_id": job.id,
            "deployment_id": deployment.id, "call_id": call.id, "category_id": categories[0].id, "tag_id": tag.id,
            "field_id": field.id, "class_id": categories[0].id, "user_id": served.actor.user_id, "code": "invalid",
        }  # fmt: skip


# Fields that a page must be seen to show, so that this test cannot pass by looking at nothing.
SHOWN = {"project", "class0", "class1", "description", "file", "model", "endpoint", "person", "key", "tag", "meta"}
SHOWN |= {"fact", "station"}


def test_no_text_becomes_markup_on_any_page(app: FastAPI, browser: TestClient, owner: Any, tmp_path: Path) -> None:
    served = serving_support.serve(owner, tmp_path)
    wrong: list[str] = []
    for label, payload in CORPUS.items():
        ids = _fill(served, payload)
        seen: set[str] = set()
        n_pages = 0
        for route in all_routes(app):
            if "GET" not in route.methods or route.path.startswith(("/v1", "/inference")) or route.name == "health":
                continue
            path = route.path
            for name in route.param_convertors:
                path = path.replace("{" + name + "}", str(ids.get(name, 1)))
            extra = {"open": str(ids["image_id"]), "image": str(ids["image_id"]), "model": str(ids["model_id"])}
            extra |= {
                "q": payload.replace("@", "search")[:150],
                "next": payload,
                "name": payload,
                "first": extra["model"],
            }
            for params, headers in (({}, {}), ({}, AS_HTMX), (extra, AS_HTMX)):
                answer = browser.get(path, params=params, headers=headers)
                if not answer.headers.get("content-type", "").startswith("text/html"):
                    continue
                n_pages += 1
                wrong += [f"{label} {path} {list(params)}: {fault}" for fault in faults_of(answer.text)]
                texts = _texts(answer.text)
                seen |= {name for name in SHOWN if payload.replace("@", name)[:20] in texts}
        assert n_pages > 60
        assert seen >= SHOWN, f"{label}: nowhere shown: {SHOWN - seen}"
    assert not wrong, f"{len(wrong)}\n" + "\n".join(sorted(set(wrong))[:40])


def _texts(html: str) -> str:
    """Return all text and attribute values of a page, unescaped by the parser."""
    tree = LexborHTMLParser(html)
    values = [value for node in tree.css("*") for value in node.attributes.values() if value]
    return "\n".join([tree.root.text(deep=True) if tree.root else "", *values])


@pytest.mark.parametrize("label", CORPUS)
def test_a_text_that_is_sent_back_at_once_is_text(browser: TestClient, owner: Any, label: str) -> None:
    """Forms that are shown again with what was entered, and messages that repeat it."""
    payload = CORPUS[label].replace("@", "form")
    project = factories.make_project(owner)
    base = f"/projects/{project.id}"
    answers = [
        browser.post("/signin", data={"email": payload, "password": "x", "next": payload}),
        browser.get("/signin", params={"next": payload}),
        browser.post("/settings/people", data={"email": payload, "name": payload, "role": "viewer"}),
        browser.post("/settings/people", data={"email": "a@b.c", "name": payload, "role": payload}),
        browser.post("/settings/keys", data={"name": payload, "role": "viewer", "days": payload}),
        browser.post("/settings/keys", data={"name": payload, "role": "viewer", "days": ""}),
        browser.post("/projects", data={"name": payload * 20, "task": "classification"}),
        browser.post(f"{base}/settings", data={"name": payload * 20}),
        browser.post(f"{base}/classes", data={"name": payload, "color": payload}),
        browser.post(f"{base}/deploy", data={"name": payload, "model": payload, "threshold": "0.5"}),
        browser.get(f"{base}/data", params={"class": payload}),
        browser.get(f"{base}/data", params={payload: payload, "meta." + payload: "1"}),
        browser.get(f"{base}/monitor", params={"since": payload, "answer": payload}),
        browser.get(f"/{payload.replace('/', '')}"),
        browser.get("/problems/x", params={"x": payload}),
    ]
    for answer in answers:
        if answer.headers.get("content-type", "").startswith("text/html"):
            assert not faults_of(answer.text), answer.request.url
        for name in ("location", "hx-redirect", "hx-location", "hx-push-url", "hx-replace-url"):
            assert answer.headers.get(name, "/").startswith("/"), answer.headers
            assert not answer.headers.get(name, "/").startswith(("//", "/\\")), answer.headers
    assert sum(answer.headers.get("content-type", "").startswith("text/html") for answer in answers) >= 8


def test_what_a_picture_says_of_itself_is_not_shown_and_names_are_text(
    browser: TestClient, program: TestClient, owner: Any
) -> None:
    """EXIF, comments and the name of an upload."""
    project = factories.make_project(owner)
    payload = CORPUS["markup"]
    exif = Picture.Exif()
    for number in (0x010E, 0x010F, 0x0110, 0x013B, 0x8298):  # description, maker, model, artist, copyright
        exif[number] = payload
    out = io.BytesIO()
    Picture.new("RGB", (40, 30), "red").save(out, "JPEG", exif=exif, comment=payload.encode())
    answer = program.post(
        f"/v1/projects/{project.id}/images",
        files={"file": ("x.jpg", out.getvalue())},
        data={"name": payload.replace("/", ""), "label": payload[:150], "tags": [payload[:150]]},
    )
    assert answer.status_code == 201, answer.text
    image_id = answer.json()["data"]["id"]
    for path in ("data", f"data?image={image_id}", "label", f"label?image={image_id}"):
        page = browser.get(f"/projects/{project.id}/{path}")
        assert not faults_of(page.text), path
    thumbnail = program.get(f"/v1/projects/{project.id}/images/{image_id}/thumbnail")
    assert b"kizuxss" not in thumbnail.content


def test_the_role_of_an_attacker_does_not_matter(people: dict[Role, Any], browser_as: Any) -> None:
    """A labeler's own name is shown to the administrator on Settings."""
    with transaction() as session:
        session.get(User, people[Role.LABELER].user_id).name = CORPUS["markup"]
    for path in ("/settings/people", "/settings/keys"):
        assert not faults_of(browser_as(people[Role.ADMIN]).get(path).text)


def test_every_route_that_answers_without_sign_in_is_a_known_one() -> None:
    assert {"health", "accounts.sign_in_form", "accounts.sign_in", "docs", "openapi", "problem_type"} == PUBLIC_ROUTES
