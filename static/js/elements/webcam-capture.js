/** A still from the webcam into the file input whose id is in `for`. The camera is on only while its picture is shown. */
const PROBLEMS = {
  NotAllowedError: "The browser has no permission to use the camera. Allow it beside the address, then try again.",
  NotFoundError: "No camera was found on this machine.",
  NotReadableError: "The camera is in use by another program.",
};

export class WebcamCapture extends HTMLElement {
  connectedCallback() {
    this.piece = (name) => this.querySelector(`[data-part=${name}]`);
    this.piece("start").addEventListener("click", () => this.start());
    this.piece("stop").addEventListener("click", () => this.stop());
    this.piece("snap").addEventListener("click", () => this.snap());
  }

  disconnectedCallback() {
    this.stop();
  }

  async start() {
    const problem = this.piece("problem");
    problem.hidden = true;
    try {
      if (!navigator.mediaDevices) throw new DOMException("", "InsecureContextError");
      this.stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1920 } }, audio: false });
    } catch (error) {
      problem.textContent = PROBLEMS[error.name] ?? "The browser gives the camera only to pages over https or on localhost.";
      problem.hidden = false;
      return;
    }
    const video = this.piece("video");
    video.srcObject = this.stream;
    await video.play();
    this.piece("box").hidden = false;
    this.piece("start").hidden = true;
  }

  stop() {
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    this.stream = null;
    this.piece("box").hidden = true;
    this.piece("start").hidden = false;
  }

  snap() {
    const video = this.piece("video");
    const canvas = document.createElement("canvas");
    canvas.width = video.videoWidth;
    canvas.height = video.videoHeight;
    canvas.getContext("2d").drawImage(video, 0, 0);
    canvas.toBlob((blob) => {
      const transfer = new DataTransfer();
      transfer.items.add(new File([blob], `webcam-${Date.now()}.png`, { type: "image/png" }));
      const input = document.getElementById(this.getAttribute("for"));
      input.files = transfer.files;
      input.dispatchEvent(new Event("change", { bubbles: true }));
    }, "image/png");
  }
}
customElements.define("webcam-capture", WebcamCapture);
