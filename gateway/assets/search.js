// The search box: suggestions while typing, and the searches that this browser made lately. Without this file the form
// searches all the same.
"use strict";

(() => {
  const input = document.getElementById("search");
  if (!input) return;
  const base = (document.body.dataset.base || "/").slice(0, -1);
  const RECENT = "lablet-recent-searches";
  const MOST_RECENT = 8;
  const SETTLE = 150;            // Keys come in groups: one question for a group.
  const WORDS = { dead_letter: "dead letter" };

  const list = document.createElement("ul");
  list.id = "search-suggestions";
  list.className = "suggestions";
  list.hidden = true;
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-label", "Suggestions");
  input.after(list);
  for (const [name, value] of Object.entries({
    role: "combobox", autocomplete: "off", "aria-autocomplete": "list", "aria-expanded": "false", "aria-controls": list.id,
  })) input.setAttribute(name, value);

  let active = -1;
  let timer = 0;
  let asking = null;

  // ---- Searches of this browser -----------------------------------------------------------------------------------

  function recent() {
    try {
      const kept = JSON.parse(localStorage.getItem(RECENT) || "[]");
      return Array.isArray(kept) ? kept.filter((text) => typeof text === "string").slice(0, MOST_RECENT) : [];
    } catch {
      return [];
    }
  }
  function keep(texts) {
    // A browser that keeps nothing has no recent searches.
    try { localStorage.setItem(RECENT, JSON.stringify(texts)); } catch { /* full or forbidden */ }
  }
  document.addEventListener("submit", (event) => {
    if (event.target.getAttribute("role") !== "search") return;
    const text = new FormData(event.target).get("text");
    if (typeof text !== "string" || !text.trim()) return;
    keep([text.trim(), ...recent().filter((known) => known !== text.trim())].slice(0, MOST_RECENT));
  });
  function showRecent() {
    const section = document.getElementById("recent-searches");
    if (!section) return;
    const texts = recent();
    section.hidden = texts.length === 0;
    document.getElementById("recent-list").replaceChildren(...texts.map((text) => {
      const item = document.createElement("li");
      const link = document.createElement("a");
      link.href = `${base}/search?text=${encodeURIComponent(text)}`;
      link.textContent = text;
      item.append(link);
      return item;
    }));
  }
  document.addEventListener("click", (event) => {
    if (!event.target.closest("#forget-searches")) return;
    keep([]);
    showRecent();
  });
  showRecent();

  // ---- Suggestions ------------------------------------------------------------------------------------------------

  function close() {
    clearTimeout(timer);
    if (asking) asking.abort();
    asking = null;
    list.hidden = true;
    active = -1;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  }

  function option({ kind, label, detail, page }, index) {
    const item = document.createElement("li");
    item.id = `suggestion-${index}`;
    item.setAttribute("role", "option");
    item.setAttribute("aria-selected", "false");
    item.dataset.page = page;
    const part = (text, name) => {
      const span = document.createElement("span");
      span.textContent = text;
      span.className = name;
      return span;
    };
    item.append(part(label, "label"), " ", part([WORDS[kind] || kind, detail].filter(Boolean).join(", "), "quiet"));
    return item;
  }

  function show(items) {
    if (items.length === 0 || document.activeElement !== input) { close(); return; }
    list.replaceChildren(...items.map(option));
    list.hidden = false;
    active = -1;
    input.setAttribute("aria-expanded", "true");
    input.removeAttribute("aria-activedescendant");
  }

  async function ask() {
    const text = input.value.trim();
    if (asking) asking.abort();
    if (!text) {
      show(recent().map((known) => ({
        kind: "recent", label: known, detail: "", page: `/search?text=${encodeURIComponent(known)}`,
      })));
      return;
    }
    asking = new AbortController();
    try {
      const url = `${base}/api/search/suggestions?text=${encodeURIComponent(text)}`;
      const response = await fetch(url, { signal: asking.signal });
      if (!response.ok) { close(); return; }
      const { items } = await response.json();
      if (input.value.trim() === text) show(items);
    } catch (error) {
      if (error.name !== "AbortError") close();
    }
  }

  function choose(index) {
    const options = [...list.children];
    active = (index + options.length) % options.length;
    options.forEach((item, place) => item.setAttribute("aria-selected", String(place === active)));
    input.setAttribute("aria-activedescendant", options[active].id);
    options[active].scrollIntoView({ block: "nearest" });
  }

  function go(item) { window.location.assign(base + item.dataset.page); }

  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(ask, SETTLE);
  });
  input.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (list.hidden) { ask(); return; }
      choose(active + (event.key === "ArrowDown" ? 1 : -1) + (active < 0 && event.key === "ArrowUp" ? 1 : 0));
    } else if (event.key === "Escape" && !list.hidden) {
      event.preventDefault();
      close();
    } else if (event.key === "Enter" && active >= 0) {
      event.preventDefault();
      go(list.children[active]);
    }
  });
  list.addEventListener("mousedown", (event) => event.preventDefault());
  list.addEventListener("click", (event) => {
    const item = event.target.closest("li");
    if (item) go(item);
  });
  input.addEventListener("blur", close);
})();
