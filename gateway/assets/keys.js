// The pages by keyboard: places, rows, actions, and a palette of all of them. Without this file everything is still to be
// had by Tab and Enter.
"use strict";

(() => {
  const find = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const base = (document.body.dataset.base || "/").slice(0, -1);
  const PLACES = { o: "/", s: "/sessions", d: "/definitions", a: "/advice", w: "/workers", p: "/operations" };
  const isShown = (element) => element.checkVisibility ? element.checkVisibility() : element.offsetParent !== null;

  // ---- Rows -----------------------------------------------------------------------------------------------------

  // Where a row leads: the link that names it.
  const linkOf = (row) => find("th a, a", row);

  function moveBy(step) {
    const rows = all("main tbody tr").filter((row) => linkOf(row) && isShown(row));
    if (rows.length === 0) return;
    const current = document.activeElement.closest("tr");
    const at = rows.indexOf(current);
    const next = at < 0 ? (step > 0 ? 0 : rows.length - 1) : at + step;
    const row = rows[next];
    if (!row) return;
    linkOf(row).focus();
    row.scrollIntoView({ block: "nearest" });
  }

  // ---- Actions --------------------------------------------------------------------------------------------------

  const nameOf = (element) => (element.getAttribute("aria-label") || element.textContent).trim().replace(/\s+/g, " ");

  // What can be done on this page: each button and link that stands among actions.
  const actions = () => all("main .actions button, main .actions a, main [data-key]")
    .filter((element, index, list) => list.indexOf(element) === index)
    .filter((element) => isShown(element) && !element.disabled);

  function act(key) {
    const element = find(`main [data-key="${CSS.escape(key)}"]`);
    if (!element || !isShown(element)) return false;
    if (element.disabled) {
      // Why not is said beside it.
      const why = document.getElementById(element.getAttribute("aria-describedby"));
      announce(why ? why.textContent.trim() : `${nameOf(element)} is switched off`);
    } else {
      element.click();
    }
    return true;
  }

  function announce(text) {
    const region = find("#announcements");
    if (region) region.textContent = text;
  }

  // ---- Palette --------------------------------------------------------------------------------------------------

  function element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
    made.append(...children);
    return made;
  }

  const palette = {
    // Everything that it offers: what can be done here, then where one can go, then the rows of this page.
    offers(onlyActions) {
      const done = actions().map((action) => ({
        words: nameOf(action), key: action.dataset.key || "", run: () => action.click(),
      }));
      if (onlyActions) return done;
      const places = all("header nav a").map((link) => {
        const path = link.getAttribute("href").slice(base.length);
        const letter = Object.keys(PLACES).find((key) => PLACES[key] === path);
        return { words: `Go to ${nameOf(link)}`, key: letter ? `g ${letter}` : "", run: () => link.click() };
      });
      const rows = all("main tbody tr").filter((row) => linkOf(row) && isShown(row)).slice(0, 100).map((row) => ({
        words: `Open ${nameOf(linkOf(row))}`, key: "", run: () => linkOf(row).click(),
      }));
      return [...done, ...places, ...rows];
    },

    open(onlyActions) {
      const offers = this.offers(onlyActions);
      if (onlyActions && offers.length === 0) { announce("Nothing can be done on this page"); return; }
      const input = element("input", {
        type: "text", role: "combobox", "aria-expanded": "true", "aria-controls": "palette-list",
        "aria-label": onlyActions ? "What to do" : "What to do, or where to go", autocomplete: "off",
        placeholder: onlyActions ? "Actions of this page" : "An action, a page, a row, or a text to search for",
      });
      const list = element("ul", { id: "palette-list", role: "listbox", "aria-label": "Choices" });
      const dialog = element("dialog", { id: "palette", "aria-label": onlyActions ? "Actions" : "Commands" }, input, list);
      let shown = [];
      let chosen = 0;
      const choose = (index) => {
        chosen = Math.max(0, Math.min(index, shown.length - 1));
        [...list.children].forEach((item, at) => item.setAttribute("aria-selected", String(at === chosen)));
        const item = list.children[chosen];
        if (item) { input.setAttribute("aria-activedescendant", item.id); item.scrollIntoView({ block: "nearest" }); }
        else input.removeAttribute("aria-activedescendant");
      };
      const run = (offer) => { dialog.close(); if (offer) offer.run(); };
      const fill = () => {
        const words = input.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
        shown = offers.filter((offer) => words.every((word) => offer.words.toLowerCase().includes(word)));
        if (!onlyActions && words.length > 0) {
          const text = input.value.trim();
          const search = () => window.location.assign(`${base}/search?text=${encodeURIComponent(text)}`);
          shown.push({ words: `Search for “${text}”`, key: "", run: search });
        }
        list.replaceChildren(...shown.map((offer, index) => {
          const item = element("li", { role: "option", id: `palette-${index}` }, offer.words);
          if (offer.key) item.append(" ", element("kbd", {}, offer.key));
          item.addEventListener("click", () => run(offer));
          return item;
        }));
        choose(0);
      };
      input.addEventListener("input", fill);
      dialog.addEventListener("keydown", (event) => {
        if (event.key === "ArrowDown") choose(chosen + 1);
        else if (event.key === "ArrowUp") choose(chosen - 1);
        else if (event.key === "Enter") run(shown[chosen]);
        else return;
        event.preventDefault();
      });
      dialog.addEventListener("close", () => dialog.remove());
      dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
      document.body.append(dialog);
      fill();
      dialog.showModal();
      input.focus();
    },
  };

  // ---- Keys -----------------------------------------------------------------------------------------------------

  function showKeys() {
    const dialog = find("#keys");
    if (dialog && !dialog.open) dialog.showModal();
  }
  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-show-keys]")) showKeys();
  });

  const ALONE = {
    "j": () => moveBy(1),
    "k": () => moveBy(-1),
    "/": () => { const search = find("#search"); if (search) { search.focus(); search.select(); } },
    "?": showKeys,
    ".": () => palette.open(true),
    "p": () => document.dispatchEvent(new CustomEvent("lablet:pause")),
  };

  let going = 0;
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.isComposing) return;
    const typing = event.target.closest("input, textarea, select, dialog");
    if ((event.ctrlKey || event.metaKey) && !event.altKey) {
      if (event.key === "k" && !event.target.closest("dialog")) {
        event.preventDefault();
        palette.open(false);
      } else if (event.key === "Enter" && event.target.form && typing) {
        event.preventDefault();
        event.target.form.requestSubmit();
      }
      return;
    }
    if (typing || event.altKey) return;
    const goes = Date.now() - going < 1500;
    going = 0;
    if (goes && PLACES[event.key]) {
      event.preventDefault();
      window.location.assign(base + PLACES[event.key]);
    } else if (event.key === "g") {
      going = Date.now();
    } else if (ALONE[event.key]) {
      event.preventDefault();
      ALONE[event.key]();
    } else if (event.key.length === 1 && act(event.key)) {
      event.preventDefault();
    }
  });
})();
