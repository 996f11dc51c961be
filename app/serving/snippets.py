"""The lines that call an endpoint, ready to be pasted."""

from dataclasses import dataclass
from uuid import UUID

from app.serving.service import prediction_url

KEY_PLACEHOLDER = "YOUR_API_KEY"
PICTURE_NAME = "image.png"
REFERENCE_NAME = "reference.png"


@dataclass(frozen=True, slots=True)
class Snippet:
    """One way to call an endpoint. `needs` says what must be there first, in a sentence of its own."""

    id: str
    title: str
    needs: str
    code: str


def snippets(base_url: str, deployment_id: UUID, key: str | None, *, with_reference: bool = False) -> list[Snippet]:
    """Return the snippets of an endpoint.

    Everything that goes into them is made here (address, UUID, key of URL-safe characters), so nothing needs quoting.

    Args:
        base_url: Where programs reach this installation.
        key: The key to show; None shows a placeholder.
        with_reference: Each call brings what its picture is compared with. The client `landingai` cannot.
    """
    url = prediction_url(base_url, deployment_id)
    key = key or KEY_PLACEHOLDER
    picture = f"Needs {PICTURE_NAME} in the current folder."
    if with_reference:
        picture = f"Needs {PICTURE_NAME}, and {REFERENCE_NAME} to compare it with, in the current folder."
    words = {
        "url": url,
        "key": key,
        "picture": PICTURE_NAME,
        **{name: text if with_reference else "" for name, text in _REFERENCE.items()},
    }
    found = [
        Snippet("curl", "cURL", picture, _CURL.format(**words)),
        Snippet("python", "Python", f"pip install requests. {picture}", _PYTHON.format(**words)),
        Snippet(
            "landingai",
            "landingai",
            f"pip install landingai. {picture}",
            _LANDINGAI.format(url=url.partition("?")[0], endpoint=deployment_id, key=key, picture=PICTURE_NAME),
        ),
        Snippet(
            "javascript",
            "JavaScript",
            f"Node.js 20 or newer, saved as predict.mjs. {picture}",
            _JAVASCRIPT.format(**words),
        ),
    ]
    return [one for one in found if not (with_reference and one.id == "landingai")]


# What each language adds where a picture comes with its reference.
_REFERENCE = {
    "curl_reference": f" \\\n  --form 'reference=@{REFERENCE_NAME}'",
    "python_reference": f', "reference": open("{REFERENCE_NAME}", "rb")',
    "javascript_reference": (
        f'form.append("reference", new Blob([await readFile("{REFERENCE_NAME}")]), "{REFERENCE_NAME}");\n'
    ),
}

_CURL = """\
curl --fail-with-body '{url}' \\
  --header 'apikey: {key}' \\
  --form 'file=@{picture}'{curl_reference}
"""

_PYTHON = """\
import requests

with open("{picture}", "rb") as file:
    response = requests.post(
        "{url}",
        headers={{"apikey": "{key}"}},
        files={{"file": file{python_reference}}},
        timeout=30,
    )
response.raise_for_status()
answer = response.json()["predictions"]
print(answer["labelName"], answer["score"])
"""

_LANDINGAI = """\
from landingai.predict import Predictor
from PIL import Image

Predictor._url = "{url}"
predictor = Predictor("{endpoint}", api_key="{key}")
for prediction in predictor.predict(Image.open("{picture}")):
    print(prediction.label_name, prediction.score)
"""

_JAVASCRIPT = """\
import {{ readFile }} from "node:fs/promises";

const form = new FormData();
form.append("file", new Blob([await readFile("{picture}")]), "{picture}");
{javascript_reference}const response = await fetch("{url}", {{
  method: "POST",
  headers: {{ apikey: "{key}" }},
  body: form,
}});
if (!response.ok) throw new Error(await response.text());
const {{ predictions }} = await response.json();
console.log(predictions.labelName, predictions.score);
"""
