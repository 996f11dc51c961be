// Runs before the first paint, so that a chosen theme or grid size never flashes: the one script that is not a module.
(() => {
  try {
    const theme = localStorage.getItem("kizu.theme");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
    const rowHeight = Number(localStorage.getItem("kizu.grid-row-px"));
    if (rowHeight >= 64 && rowHeight <= 400) document.documentElement.style.setProperty("--row-h", `${rowHeight}px`);
  } catch {
    // Storage may be forbidden; the system's theme then holds.
  }
})();
