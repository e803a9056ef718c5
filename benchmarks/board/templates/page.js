"use strict";

// Tabs, sorting, seeds and videos. What is shown is kept in the address: #protocol=NAME&sort=COLUMN&order=ascending

const tabs = [...document.querySelectorAll('[role="tab"]')];

function writeAddress(changes) {
  const shown = new URLSearchParams(location.hash.slice(1));
  for (const [key, value] of Object.entries(changes)) {
    if (value === null) shown.delete(key);
    else shown.set(key, value);
  }
  history.replaceState(null, "", "#" + shown);
}

function showProtocol(name) {
  for (const tab of tabs) {
    const chosen = tab.dataset.protocol === name;
    tab.setAttribute("aria-selected", chosen);
    tab.tabIndex = chosen ? 0 : -1;
    document.getElementById(tab.getAttribute("aria-controls")).hidden = !chosen;
  }
}

function chooseProtocol(name) {
  showProtocol(name);
  writeAddress({ protocol: name, sort: null, order: null });
}

tabs.forEach((tab, place) => {
  tab.addEventListener("click", () => chooseProtocol(tab.dataset.protocol));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = tabs[(place + step + tabs.length) % tabs.length];
    next.focus();
    chooseProtocol(next.dataset.protocol);
  });
});

// Methods without a value, and those that are not ranked, stay at the end in either order.
function compare(left, right, ascending) {
  if (left.last !== right.last) return left.last - right.last;
  const difference =
    typeof left.value === "string" ? left.value.localeCompare(right.value) : left.value - right.value;
  return ascending ? difference : -difference;
}

function sortTable(table, key, order) {
  const headings = [...table.tHead.rows[0].cells];
  const column = headings.findIndex((heading) => heading.dataset.key === key);
  if (column < 0) return;
  const entries = [...table.tBodies].filter((body) => body.classList.contains("entry"));
  const keyed = entries.map((body) => {
    const cell = body.rows[0].cells[column];
    const text = cell.dataset.value;
    const missing = text === "" || [body, cell].some((part) => part.classList.contains("incomplete"));
    return { body, last: Number(missing), value: key === "title" ? text : Number(text) };
  });
  keyed.sort((left, right) => compare(left, right, order === "ascending"));
  table.tHead.after(...keyed.map((entry) => entry.body));
  headings.forEach((heading, place) => heading.setAttribute("aria-sort", place === column ? order : "none"));
}

for (const heading of document.querySelectorAll("th[data-key]")) {
  heading.querySelector("button").addEventListener("click", () => {
    const table = heading.closest("table");
    const first = heading.dataset.better || "ascending";
    const other = first === "ascending" ? "descending" : "ascending";
    const order = heading.getAttribute("aria-sort") === first ? other : first;
    sortTable(table, heading.dataset.key, order);
    writeAddress({ protocol: table.dataset.protocol, sort: heading.dataset.key, order });
  });
}

for (const button of document.querySelectorAll(".seeds")) {
  button.addEventListener("click", () => {
    const open = button.getAttribute("aria-expanded") !== "true";
    button.setAttribute("aria-expanded", open);
    for (const row of button.closest("tbody").querySelectorAll(".seed")) row.hidden = !open;
  });
}

for (const film of document.querySelectorAll(".film")) {
  const videos = [...film.querySelectorAll("video")];
  const play = () => {
    for (const video of videos) {
      video.currentTime = 0;
      video.play().catch(() => {}); // a browser may refuse; the first frame stays
    }
  };
  const pause = () => videos.forEach((video) => video.pause());
  film.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && play());
  film.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && pause());
  film.addEventListener("focus", play);
  film.addEventListener("blur", pause);
}

function followAddress() {
  const shown = new URLSearchParams(location.hash.slice(1));
  const chosen = tabs.find((tab) => tab.dataset.protocol === shown.get("protocol")) || tabs[0];
  if (!chosen) return;
  showProtocol(chosen.dataset.protocol);
  if (shown.has("sort")) {
    const table = document.querySelector(`#${CSS.escape(chosen.dataset.protocol)} table[data-protocol]`);
    sortTable(table, shown.get("sort"), shown.get("order") === "descending" ? "descending" : "ascending");
  }
}

window.addEventListener("hashchange", followAddress);
followAddress();
