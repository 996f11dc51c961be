"""The lines that call an endpoint, ready to be pasted."""

from dataclasses import dataclass
from uuid import UUID

from app.serving.service import prediction_url

KEY_PLACEHOLDER = "YOUR_API_KEY"
PICTURE_NAME = "image.png"


@dataclass(frozen=True, slots=True)
class Snippet:
    """One way to call an endpoint. `needs` says what must be there first, in a sentence of its own."""

    id: str
    title: str
    needs: str
    code: str


def snippets(base_url: str, deployment_id: UUID, key: str | None) -> list[Snippet]:
    """Return the snippets of an endpoint.

    Everything that goes into them is made here (address, UUID, key of URL-safe characters), so nothing needs quoting.

    Args:
        base_url: Where programs reach this installation.
        key: The key to show; None shows a placeholder.
    """
    url = prediction_url(base_url, deployment_id)
    key = key or KEY_PLACEHOLDER
    picture = f"Needs {PICTURE_NAME} in the current folder."
    return [
        Snippet("curl", "cURL", picture, _CURL.format(url=url, key=key, picture=PICTURE_NAME)),
        Snippet(
            "python",
            "Python",
            f"pip install requests. {picture}",
            _PYTHON.format(url=url, key=key, picture=PICTURE_NAME),
        ),
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
            _JAVASCRIPT.format(url=url, key=key, picture=PICTURE_NAME),
        ),
    ]


_CURL = """\
curl --fail-with-body '{url}' \\
  --header 'apikey: {key}' \\
  --form 'file=@{picture}'
"""

_PYTHON = """\
import requests

with open("{picture}", "rb") as file:
    response = requests.post(
        "{url}",
        headers={{"apikey": "{key}"}},
        files={{"file": file}},
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
const response = await fetch("{url}", {{
  method: "POST",
  headers: {{ apikey: "{key}" }},
  body: form,
}});
if (!response.ok) throw new Error(await response.text());
const {{ predictions }} = await response.json();
console.log(predictions.labelName, predictions.score);
"""
