/** Three choices of theme, remembered on this device. */
export class ThemeToggle extends HTMLElement {
  connectedCallback() {
    this.show(document.documentElement.dataset.theme ?? "auto");
    this.addEventListener("click", (event) => {
      const button = event.target.closest("[role=radio]");
      if (button) this.choose(button.value);
    });
    this.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      const buttons = [...this.querySelectorAll("[role=radio]")];
      const next = buttons[(buttons.indexOf(document.activeElement) + step + buttons.length) % buttons.length];
      next.focus();
      this.choose(next.value);
    });
  }

  /** @param {string} theme "auto" | "light" | "dark" */
  choose(theme) {
    document.documentElement.dataset.theme = theme;
    try {
      localStorage.setItem("kizu.theme", theme);
    } catch {
      // Without storage the choice holds for this page only.
    }
    for (const toggle of document.querySelectorAll("theme-toggle")) toggle.show(theme);
  }

  /** @param {string} theme */
  show(theme) {
    for (const button of this.querySelectorAll("[role=radio]")) {
      const on = button.value === theme;
      button.setAttribute("aria-checked", String(on));
      button.tabIndex = on ? 0 : -1;
    }
  }
}
customElements.define("theme-toggle", ThemeToggle);
