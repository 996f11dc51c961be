"""Every page for somebody who is signed in."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.browser.line import Line

# name: address, from what there is
PAGES: dict[str, Callable[[Line], str]] = {
    "projects": lambda it: "/projects",
    "new project": lambda it: "/projects/new",
    "project settings": lambda it: f"/projects/{it.project_id}/settings",
    "data": lambda it: f"/projects/{it.project_id}/data",
    "data, filtered": lambda it: f"/projects/{it.project_id}/data?split=test&labelled=yes&sort=name",
    "data, nothing fits": lambda it: f"/projects/{it.project_id}/data?q=no+such+image",
    "data, an image beside": lambda it: f"/projects/{it.project_id}/data?image={it.image_ids[3]}",
    "data, empty": lambda it: f"/projects/{it.empty_id}/data",
    "label": lambda it: f"/projects/{it.project_id}/label?image={it.image_ids[3]}",
    "label, unlabelled": lambda it: f"/projects/{it.project_id}/label?labelled=no&image={it.unlabelled_ids[3]}",
    "label, empty": lambda it: f"/projects/{it.empty_id}/label",
    "train": lambda it: f"/projects/{it.project_id}/train",
    "train, nothing labelled": lambda it: f"/projects/{it.empty_id}/train",
    "train, done": lambda it: f"/projects/{it.project_id}/train/{it.training_id}",
    "train, failed": lambda it: f"/projects/{it.failed_id}/train/{it.failed_training_id}",
    "models": lambda it: f"/projects/{it.project_id}/models",
    "models, empty": lambda it: f"/projects/{it.empty_id}/models",
    "model": lambda it: f"/projects/{it.project_id}/models/{it.model_ids[0]}",
    "model, train split": lambda it: f"/projects/{it.project_id}/models/{it.model_ids[0]}?split=train&threshold=0.2",
    "model, images": lambda it: f"/projects/{it.project_id}/models/{it.model_ids[0]}/images?split=unlabelled",
    "model, one image": lambda it: f"/projects/{it.project_id}/models/{it.model_ids[0]}/images/{it.image_ids[3]}",
    "model, renamed": lambda it: f"/projects/{it.project_id}/models/{it.model_ids[0]}/rename",
    "model, anomalies": lambda it: f"/projects/{it.anomaly_id}/models/{it.anomaly_model_id}",
    "model, anomalous images": lambda it: f"/projects/{it.anomaly_id}/models/{it.anomaly_model_id}/images?split=test",
    "model, one anomaly": lambda it: (
        f"/projects/{it.anomaly_id}/models/{it.anomaly_model_id}/images/{it.anomaly_image_ids[-1]}"
    ),
    "label, anomalies": lambda it: f"/projects/{it.anomaly_id}/label?image={it.anomaly_image_ids[-1]}",
    "train, anomalies": lambda it: f"/projects/{it.anomaly_id}/train",
    "compare": lambda it: f"/projects/{it.project_id}/models/compare?a={it.model_ids[0]}&b={it.model_ids[1]}",
    "compare, which": lambda it: f"/projects/{it.project_id}/models/compare",
    "deploy": lambda it: f"/projects/{it.project_id}/deploy",
    "deploy, empty": lambda it: f"/projects/{it.empty_id}/deploy",
    "deploy, new": lambda it: f"/projects/{it.project_id}/deploy/new?model={it.model_ids[0]}",
    "endpoint": lambda it: f"/projects/{it.project_id}/deploy/{it.deployment_id}",
    "monitor": lambda it: f"/projects/{it.project_id}/monitor",
    "monitor, empty": lambda it: f"/projects/{it.empty_id}/monitor",
    "people": lambda it: "/settings/people",
    "keys": lambda it: "/settings/keys",
    "account": lambda it: "/settings/account",
    "problem types": lambda it: "/problems/not_found",
}


@dataclass(frozen=True)
class Shaped:
    """A project with shapes, its models and an endpoint; the first model found something on the image."""

    project_id: int
    model_ids: tuple[str, ...]
    deployment_id: str
    image_id: int


# Of projects with shapes, what is not as in classification. Type and name: address under the project
SHAPE_PAGES: dict[tuple[str, str], Callable[[Shaped], str]] = {
    ("boxes", "data"): lambda it: f"data?image={it.image_id}",
    ("boxes", "label"): lambda it: f"label?image={it.image_id}",
    ("masks", "label"): lambda it: f"label?image={it.image_id}",
    ("boxes", "train"): lambda it: "train",
    ("boxes", "model"): lambda it: f"models/{it.model_ids[0]}",
    ("masks", "model"): lambda it: f"models/{it.model_ids[0]}",
    ("masks", "model, images"): lambda it: f"models/{it.model_ids[0]}/images?split=test",
    ("boxes", "model, one image"): lambda it: f"models/{it.model_ids[0]}/images/{it.image_id}",
    ("masks", "model, one image"): lambda it: f"models/{it.model_ids[0]}/images/{it.image_id}",
    ("boxes", "compare"): lambda it: f"models/compare?a={it.model_ids[0]}&b={it.model_ids[1]}",
    ("masks", "endpoint"): lambda it: f"deploy/{it.deployment_id}",
    ("boxes", "references"): lambda it: "references",
    ("masks", "monitor"): lambda it: "monitor",
}
