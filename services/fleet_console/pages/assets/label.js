// Keys and the scrubber of the label page. Choosing an instant never leaves the browser; answers go to the server,
// each with the id of the task that was on the screen when the key was pressed.
(() => {
  const box = () => document.querySelector("[data-task]");

  function choose(wanted) {
    const pictures = box();
    if (!pictures) return;
    const columns = [...pictures.querySelectorAll(".strip button")];
    if (!columns.length) return;
    const index = Math.max(0, Math.min(columns.length - 1, wanted));
    pictures.querySelectorAll("[data-index]").forEach((each) => {
      each.classList.toggle("chosen", Number(each.dataset.index) === index);
    });
    columns.forEach((each, at) => each.setAttribute("aria-pressed", String(at === index)));
    const strip = columns[index].parentElement;
    strip.scrollLeft += columns[index].getBoundingClientRect().left - strip.getBoundingClientRect().left
      - (strip.clientWidth - columns[index].clientWidth) / 2;
    const range = pictures.querySelector("input[type=range]");
    range.value = index;
    const caption = columns[index].getAttribute("aria-label");
    range.setAttribute("aria-valuetext", caption);
    pictures.querySelector("output").textContent = caption;
  }

  const columns = () => [...document.querySelectorAll(".strip button")];
  const chosen = () => columns().findIndex((each) => each.getAttribute("aria-pressed") === "true");
  const moment = () => columns().findIndex((each) => each.classList.contains("moment"));
  const brighten = () => document.body.classList.toggle("brighter");

  document.addEventListener("input", (event) => {
    if (event.target.matches(".pictures input[type=range]")) choose(Number(event.target.value));
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.(".strip button");
    if (button) choose(columns().indexOf(button));
    if (event.target.closest?.(".brighten")) brighten();
    if (event.detail) event.target.closest?.("button")?.blur(); // a click must not leave the space bar on a button
  });

  const typing = (element) => element?.matches?.("input:not([type=range]), textarea, select, [contenteditable]");
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat && !event.key.startsWith("Arrow")) return;
    if (typing(event.target)) return;
    const onButton = event.target.closest?.("button, a") && (event.key === " " || event.key === "Enter");
    if (onButton) return;
    if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
      choose(chosen() + (event.key === "ArrowLeft" ? -1 : 1));
    } else if (event.key === "m") {
      choose(moment());
    } else if (event.key === "b") {
      brighten();
    } else if (/^[0-9]$/.test(event.key) || event.key === " " || event.key === "Enter" || event.key === "u" || event.key === "Backspace") {
      emitEvent("console_key", { key: event.key, task: box()?.dataset.task ?? "" });
    } else {
      return;
    }
    event.preventDefault();
  });
})();
