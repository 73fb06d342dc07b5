// What is nicer with a script; everything works without it.
"use strict";

// Times in the reader's own zone, short where they are near.
for (const time of document.querySelectorAll("time[datetime]")) {
  const when = new Date(time.dateTime), now = new Date();
  if (Number.isNaN(when.valueOf())) continue;
  const clock = {hour: "2-digit", minute: "2-digit"}, day = {day: "numeric", month: "short"};
  const today = when.toDateString() === now.toDateString();
  const near = when.getFullYear() === now.getFullYear();
  const form = today ? clock : near ? {...day, ...clock} : {...day, year: "numeric", ...clock};
  time.title = time.textContent;
  time.textContent = new Intl.DateTimeFormat("en-GB", form).format(when);
}

// One box that chooses all.
const boxes = [...document.querySelectorAll(".pick input")];
const actions = document.querySelector(".actions");
if (boxes.length > 1 && actions) {
  const label = document.createElement("label"), all = document.createElement("input");
  label.className = "choice all";
  all.type = "checkbox";
  label.append(all, " All");
  actions.prepend(label);
  all.addEventListener("change", () => boxes.forEach(box => { box.checked = all.checked; }));
  for (const box of boxes) {
    box.addEventListener("change", () => {
      const chosen = boxes.filter(one => one.checked).length;
      all.checked = chosen === boxes.length;
      all.indeterminate = chosen > 0 && chosen < boxes.length;
    });
  }
}

// In a list: j and k go down and up, x chooses, s stars. Only while the list has the focus.
const list = document.querySelector(".lines");
list?.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const line = event.target.closest(".line");
  if (!line) return;
  const next = {j: line.nextElementSibling, k: line.previousElementSibling}[event.key];
  if (next) next.querySelector("a").focus();
  else if (event.key === "x") line.querySelector(".pick input")?.click();
  else if (event.key === "s") line.querySelector(".star")?.click();
  else return;
  event.preventDefault();
});

// What is shown once is chosen whole when it is entered, to be copied.
for (const field of document.querySelectorAll(":is(input, textarea).code[readonly]")) {
  field.addEventListener("focus", () => field.select());
}
