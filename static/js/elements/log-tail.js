/** Keeps a growing log at its end, unless the reader has scrolled up. Wraps one .log element. */
export class LogTail extends HTMLElement {
  connectedCallback() {
    const log = () => this.querySelector(".log");
    let atEnd = true;
    this.addEventListener("scroll", () => {
      const box = log();
      if (box) atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 24;
    }, true);
    const follow = () => {
      const box = log();
      if (box && atEnd) box.scrollTop = box.scrollHeight;
    };
    this.observer = new MutationObserver(follow);
    this.observer.observe(this, { childList: true, subtree: true, characterData: true });
    follow();
  }

  disconnectedCallback() {
    this.observer.disconnect();
  }
}
customElements.define("log-tail", LogTail);
