// The pages on a phone: tables that are wider than the window become cards, long lists show their first rows, and what
// lies more than four screens down waits behind a button. Without this file all of it is there, only longer.
"use strict";

(() => {
  const phone = window.matchMedia("(max-width: 46rem)");
  const ROWS = 6;             // Of a table among others.
  const ROWS_OF_A_LIST = 18;  // Of the only table of a page.
  const SCREENS = 4.3;        // Before "More".
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  // What the reader opened stays open: tables by the name they go by, and the rest of the page.
  const opened = new Set();
  let whole = false;

  const nameOf = (box) => box.getAttribute("aria-labelledby") || box.getAttribute("aria-label") || "";
  const isWrong = (row) => row.matches("[data-different]") || row.querySelector(".badge.bad, .badge.warn, .sign.bad") !== null;

  // A table that does not fit: each value gets its column's name.
  function stack(box, table) {
    if (table.classList.contains("stack") || box.scrollWidth <= box.clientWidth + 1) return;
    const names = all("thead th", table).map((head) => head.textContent.trim());
    for (const row of all("tbody tr", table)) {
      if (row.cells.length !== names.length) return;
    }
    for (const row of all("tbody tr", table)) {
      [...row.cells].forEach((cell, index) => { if (!cell.dataset.name) cell.dataset.name = names[index]; });
    }
    table.classList.add("stack");
  }

  // Shows what is wrong or changed, and of the others as many as there is room for.
  function fold(box, table, most) {
    const rows = all(":scope > tbody > tr", table);
    const name = nameOf(box);
    const shut = phone.matches && rows.length > most + 2 && !opened.has(name);
    let room = most;
    for (const row of rows) if (shut && isWrong(row) && room > 0) { row.dataset.folded = "kept"; room -= 1; }
    for (const row of rows) {
      if (!shut) { delete row.dataset.folded; continue; }
      if (row.dataset.folded === "kept") { delete row.dataset.folded; continue; }
      if (room > 0) { delete row.dataset.folded; room -= 1; } else { row.dataset.folded = "yes"; }
    }
    more(box, `more-${name}`, shut ? `All ${rows.length} rows` : "", () => opened.add(name));
  }

  // What begins more than some screens down.
  function foldPage(main) {
    const parts = all(":scope > *", main).flatMap((part) => part.matches(".columns") ? [...part.children] : [part])
      .filter((part) => part.id !== "more-of-page");
    for (const part of parts) delete part.dataset.beyond;
    const target = document.querySelector(":target");
    const limit = SCREENS * window.innerHeight;
    let last = null;
    const beyond = [];
    for (const part of phone.matches && !whole ? parts : []) {
      const ends = part.getBoundingClientRect().bottom + window.scrollY;
      const stays = part.contains(document.activeElement) || (target && part.contains(target));
      if (last && ends > limit && !stays) beyond.push(part); else last = part;
    }
    for (const part of beyond) part.dataset.beyond = "yes";
    const titles = beyond.map((part) => part.querySelector("h2")).filter(Boolean).map((title) => title.textContent.trim());
    const words = titles.length > 0 ? `More: ${titles.slice(0, 4).join(", ")}${titles.length > 4 ? " …" : ""}` : "More";
    more(last && (last.closest(".columns") || last), "more-of-page", beyond.length > 0 ? words : "", () => { whole = true; });
  }

  // The button behind which the rest is; one that is not needed goes.
  function more(after, id, words, open) {
    let button = document.getElementById(id);
    if (!words) { if (button) button.remove(); return; }
    if (!button) {
      button = document.createElement("button");
      button.type = "button";
      button.id = id;
      button.className = "more";
      // It is not in the page that the server sends anew.
      button.dataset.keep = "";
      button.addEventListener("click", () => { open(); layOut(); });
    }
    if (button.textContent !== words) button.textContent = words;
    if (after.nextElementSibling !== button) after.after(button);
  }

  function layOut() {
    const main = document.querySelector("main");
    if (!main || (!phone.matches && !document.querySelector("button.more"))) return;
    const boxes = all(".table", main).filter((box) => box.querySelector(":scope > table > tbody"));
    for (const box of boxes) {
      const table = box.querySelector(":scope > table");
      if (phone.matches) stack(box, table);
      fold(box, table, boxes.length === 1 ? ROWS_OF_A_LIST : ROWS);
    }
    foldPage(main);
  }

  phone.addEventListener("change", layOut);
  document.addEventListener("lablet:refreshed", layOut);
  window.addEventListener("hashchange", () => {
    layOut();
    const target = document.querySelector(":target");
    if (target) target.scrollIntoView();
  });
  layOut();
})();
