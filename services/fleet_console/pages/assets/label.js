// Keys and the scrubber of the label page. Choosing an instant never leaves the browser; answers go to the server,
// each with the id of the task that was on the screen when the key was pressed.
(() => {
  const box = () => document.querySelector("[data-task]");

  function choose(index) {
    const pictures = box();
    if (!pictures) return;
    const instants = [...pictures.querySelectorAll(".instant")];
    if (!instants.length) return;
    const place = Math.max(0, Math.min(instants.length - 1, index));
    instants.forEach((each, at) => each.classList.toggle("chosen", at === place));
    pictures.querySelectorAll(".strip button").forEach((each, at) => {
      each.setAttribute("aria-pressed", String(at === place));
      if (at === place) each.scrollIntoView({ block: "nearest", inline: "nearest" });
    });
    const range = pictures.querySelector("input[type=range]");
    range.value = place;
    range.setAttribute("aria-valuetext", instants[place].dataset.caption);
    pictures.querySelector("output").textContent = instants[place].dataset.caption;
  }

  const chosen = () => [...document.querySelectorAll(".instant")].findIndex((each) => each.classList.contains("chosen"));
  const moment = () => [...document.querySelectorAll(".instant")].findIndex((each) => "moment" in each.dataset);

  document.addEventListener("input", (event) => {
    if (event.target.matches(".pictures input[type=range]")) choose(Number(event.target.value));
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.(".strip button");
    if (button) choose([...button.parentElement.children].indexOf(button));
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
    } else if (/^[0-9]$/.test(event.key) || event.key === " " || event.key === "u" || event.key === "Backspace") {
      emitEvent("console_key", { key: event.key, task: box()?.dataset.task ?? "" });
    } else {
      return;
    }
    event.preventDefault();
  });
})();
