/** Dialogs, menus at their buttons, and one way to ask "are you sure" for htmx and for plain forms. */

/** Ask by the page's own dialog. @param {string} text @param {DOMStringMap} words dataset of the asking element @returns {Promise<boolean>} */
function ask(text, words) {
  const dialog = /** @type {HTMLDialogElement} */ (document.getElementById("confirm"));
  const go = dialog.querySelector("[data-part=go]");
  const detail = dialog.querySelector("[data-part=detail]");
  dialog.querySelector("[data-part=text]").textContent = text;
  detail.textContent = words.confirmDetail ?? "";
  detail.hidden = !words.confirmDetail;
  go.textContent = words.confirmAction ?? "Go on";
  go.classList.toggle("button--danger", words.confirmKind === "danger");
  go.classList.toggle("button--primary", words.confirmKind !== "danger");
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "go"), { once: true }));
}

/** Put a popover under the button that opens it, inside the window. @param {HTMLElement} menu @param {HTMLElement} button */
function anchor(menu, button) {
  const at = button.getBoundingClientRect();
  menu.style.inset = "auto";
  const left = Math.min(at.left, innerWidth - menu.offsetWidth - 8);
  const below = at.bottom + 4;
  menu.style.left = `${Math.max(left, 8)}px`;
  menu.style.top = `${below + menu.offsetHeight > innerHeight - 8 ? Math.max(at.top - menu.offsetHeight - 4, 8) : below}px`;
}

export function wireDialogs() {
  document.addEventListener("click", (event) => {
    const target = /** @type {Element} */ (event.target);
    const opener = target.closest("[data-opens]");
    if (opener) {
      const dialog = document.getElementById(opener.dataset.opens);
      if (typeof dialog?.open === "function") dialog.open();
      else if (dialog) {
        if (dialog.open) dialog.close(); // it stands in the page; now it comes to the front
        dialog.showModal();
      }
    }
    if (target.closest("[data-closes]")) target.closest("dialog")?.close();
    // A menu whose entry was chosen has done its work; htmx and the form read the entry first.
    const menu = target.closest(".menu [type=submit]")?.closest("[popover]");
    if (menu) setTimeout(() => menu.matches(":popover-open") && menu.hidePopover());
    // A press on the backdrop is a press on the dialog itself, outside its box.
    if (target instanceof HTMLDialogElement && target.open) {
      const box = target.getBoundingClientRect();
      const inside = event.clientX >= box.left && event.clientX <= box.right && event.clientY >= box.top && event.clientY <= box.bottom;
      if (!inside) target.close();
    }
  });

  document.addEventListener("toggle", (event) => {
    const menu = /** @type {HTMLElement} */ (event.target);
    if (event.newState !== "open" || !menu.id) return;
    const button = document.querySelector(`[data-anchors="${CSS.escape(menu.id)}"]`);
    if (button) anchor(menu, button);
  }, true);

  // A form in a dialog that has done its work closes it; one that was refused stays, with what is wrong.
  document.addEventListener("htmx:finally:request", (event) => {
    const { ctx } = event.detail ?? {};
    const form = ctx?.sourceElement;
    if (form?.dataset?.closesOnSuccess !== undefined && ctx.response?.status < 400) form.closest("dialog")?.close();
  });

  document.addEventListener("htmx:confirm", (event) => {
    const { ctx, issueRequest, dropRequest } = event.detail;
    const text = ctx.confirm;
    if (!text) return;
    event.preventDefault();
    ask(text, ctx.sourceElement.dataset).then((yes) => (yes ? issueRequest() : dropRequest()));
  });

  document.addEventListener("submit", (event) => {
    const form = /** @type {HTMLFormElement} */ (event.target);
    const words = event.submitter?.dataset.confirm ? event.submitter.dataset : form.dataset;
    if (!words.confirm || form.dataset.confirmed) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    ask(words.confirm, words).then((yes) => {
      if (!yes) return;
      form.dataset.confirmed = "true";
      form.requestSubmit(event.submitter);
      delete form.dataset.confirmed;
    });
  }, true);
}
