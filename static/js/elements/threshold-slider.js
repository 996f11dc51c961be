/**
 * A threshold that one drags. Attributes: `name` (also the URL's parameter), `chart` (id of a score_histogram to move along).
 *
 * Events (bubble): `threshold:input` {value} at each move; `threshold:change` {value} after 300 ms of rest, for htmx to reload what depends on it.
 */
const REST_MS = 300;

export class ThresholdSlider extends HTMLElement {
  connectedCallback() {
    this.input = this.querySelector("input[type=range]");
    this.output = this.querySelector("output");
    this.input.addEventListener("input", () => this.move());
    this.input.addEventListener("change", () => this.settle());
  }

  move() {
    const value = Number(this.input.value);
    if (this.output) this.output.textContent = value.toFixed(2);
    this.drawOn(document.getElementById(this.getAttribute("chart")), value);
    this.dispatchEvent(new CustomEvent("threshold:input", { bubbles: true, detail: { value } }));
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.settle(), REST_MS);
  }

  settle() {
    clearTimeout(this.timer);
    if (this.last === this.input.value) return;
    this.last = this.input.value;
    const url = new URL(location.href);
    url.searchParams.set(this.getAttribute("name") ?? "threshold", this.input.value);
    history.replaceState(history.state, "", url);
    this.dispatchEvent(new CustomEvent("threshold:change", { bubbles: true, detail: { value: Number(this.input.value) } }));
  }

  /** Move the chart's line and tell right bars from wrong ones. @param {HTMLElement | null} chart @param {number} value */
  drawOn(chart, value) {
    if (!chart) return;
    const x = Number(chart.dataset.plotLeft) + value * Number(chart.dataset.plotWidth);
    const line = chart.querySelector("[data-part=threshold]");
    line.setAttribute("transform", `translate(${x.toFixed(2)} 0)`);
    const text = line.querySelector("[data-part=threshold-text]");
    text.textContent = value.toFixed(2);
    text.setAttribute("x", value > 0.9 ? "-5" : "5");
    text.setAttribute("text-anchor", value > 0.9 ? "end" : "start");
    for (const bar of chart.querySelectorAll("[data-at]")) {
      const isNg = Number(bar.dataset.at) >= value;
      bar.classList.toggle("chart__wrong", bar.dataset.side === "good" ? isNg : !isNg);
    }
  }
}
customElements.define("threshold-slider", ThresholdSlider);
