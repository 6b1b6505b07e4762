// What the pages can do beyond links and forms: live updates, copying, relative times. Without this file
// everything still works, except that nothing updates by itself.
"use strict";

(() => {
  const page = document.documentElement;
  page.classList.add("js");
  const find = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  // The path below which a proxy serves this site, without a slash at its end.
  const base = (document.body.dataset.base || "/").slice(0, -1);

  // ---- Relative times -------------------------------------------------------------------------------------------

  const STEPS = [[60, 1, "s"], [3600, 60, "min"], [86400, 3600, "h"], [Infinity, 86400, "d"]];

  // The same words as the server's, so that a page does not change when this runs first.
  function relative(milliseconds) {
    const seconds = Math.round(Math.abs(milliseconds) / 1000);
    if (seconds < 2) return "now";
    const [, unit, name] = STEPS.find(([below]) => seconds < below);
    const text = `${Math.floor(seconds / unit)} ${name}`;
    return milliseconds < 0 ? `in ${text}` : `${text} ago`;
  }

  // The server's clock counts, not the browser's: both stood at `data-now` when the page was made.
  const skew = Date.now() - Date.parse(document.body.dataset.now);
  function tellTimes() {
    const now = Date.now() - (Number.isNaN(skew) ? 0 : skew);
    for (const time of all("time[data-relative]")) {
      const text = relative(now - Date.parse(time.dateTime));
      if (time.textContent !== text) time.textContent = text;
    }
  }
  setInterval(tellTimes, 5000);

  // ---- Copying --------------------------------------------------------------------------------------------------

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button[data-copy]");
    if (!button) return;
    const label = button.textContent;
    // Beside a link to a session, what is copied is the id that the link has at hand.
    const text = button.dataset.copy || button.previousElementSibling.title;
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "copied";
    } catch {
      button.textContent = "cannot copy";
    }
    announce(`${button.textContent} ${text}`);
    setTimeout(() => { button.textContent = label; }, 1500);
  });

  function announce(text) {
    const region = find("#announcements");
    if (region) region.textContent = text;
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-print]");
    if (button) window.print();
  });
  window.addEventListener("beforeprint", () => {
    for (const printed of all("[data-printed-at]")) printed.textContent = new Date(Date.now() - (skew || 0)).toISOString();
  });

  // A file that is chosen is put into the text beside it, which is what is sent.
  document.addEventListener("change", async (event) => {
    const { into, most } = event.target.dataset;
    const [file] = (into && event.target.files) || [];
    if (!file) return;
    const wrong = document.getElementById(`${event.target.id}-wrong`);
    const fits = file.size <= Number(most);
    wrong.textContent = fits ? "" : `${file.name} has ${file.size} bytes; expected at most ${most}`;
    if (fits) document.getElementById(into).value = await file.text();
  });

  // One press, one request. The server takes a repeated one for the same, too.
  document.addEventListener("submit", (event) => {
    if (event.target.method !== "post" || event.defaultPrevented) return;
    const button = event.submitter;
    if (button) setTimeout(() => { button.disabled = true; }, 0);
  });
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) window.location.reload();
  });

  // What a slider stands at, while it is moved.
  document.addEventListener("input", (event) => {
    const shown = event.target.dataset && event.target.dataset.shownIn;
    const output = shown && document.getElementById(shown);
    if (!output) return;
    const value = Number(event.target.value) * Number(event.target.dataset.shownTimes || 1);
    output.textContent = event.target.dataset.shownAs.replace("#", String(Math.round(value * 10) / 10));
  });

  // ---- Live updates ---------------------------------------------------------------------------------------------
  // The stream tells that something happened; the page is then asked for again, at that position, and what changed is
  // put into place. Rows are never put in or taken out under the reader's eyes: lists say "n new" and wait.

  const SETTLE = 300;            // Events come in groups: one refresh for a group.
  const AT_MOST_EVERY = 1000;    // However much happens.
  const LONGEST_WAIT = 30000;    // Between two tries of a connection that is gone.
  const HIDDEN_FOR = 20000;      // A tab that nobody sees gives its connection back.

  const live = {
    stream: document.body.dataset.live,
    types: (document.body.dataset.liveTypes || "").split(" ").filter(Boolean),
    last: document.body.dataset.position,
    control: find("#live-toggle"),
    state: find("#live-state"),
    source: null,
    paused: sessionStorage.getItem("lablet-paused") === "yes",
    missed: 0,
    timer: 0,
    refreshed: 0,
    busy: false,
    again: false,
    wait: 1000,
    hold: true,

    show(state, words) {
      if (!this.state || (this.state.dataset.state === state && this.state.textContent === words)) return;
      this.state.dataset.state = state;
      this.state.textContent = words;
    },

    connect() {
      this.disconnect();
      if (this.out) return;
      // What happens during a pause is counted, so the stream is open then, too.
      if (this.paused) this.showPaused();
      const url = new URL(this.stream, window.location.href);
      if (this.last) url.searchParams.set("after", this.last);
      const source = new EventSource(url);
      this.source = source;
      source.onopen = () => {
        this.wait = 1000;
        if (this.paused) this.showPaused(); else this.show("live", "Live");
        // What happened while the connection was gone comes now, after the last event that was seen.
        if (this.lost) { this.lost = false; announce("Connected again"); }
      };
      source.onerror = () => {
        this.lost = true;
        this.show("lost", "Connection lost, trying again");
        if (source.readyState === EventSource.CLOSED) this.connectLater();
      };
      for (const type of this.types) source.addEventListener(type, (event) => this.happened(event));
    },

    connectLater() {
      this.disconnect();
      clearTimeout(this.later);
      this.later = setTimeout(async () => {
        // The answer to the page itself tells whether nobody is signed in any more.
        if (await this.refresh()) this.connect(); else this.connectLater();
      }, this.wait);
      this.wait = Math.min(this.wait * 2, LONGEST_WAIT);
    },

    disconnect() {
      if (this.source) this.source.close();
      this.source = null;
    },

    happened(event) {
      this.last = event.lastEventId;
      if (this.paused) {
        this.missed += 1;
        this.showPaused();
        return;
      }
      this.refreshSoon();
    },

    refreshSoon() {
      if (this.timer) return;
      const since = Date.now() - this.refreshed;
      this.timer = setTimeout(() => {
        this.timer = 0;
        this.refresh();
      }, Math.max(SETTLE, AT_MOST_EVERY - since));
    },

    showPaused() {
      this.show("paused", this.missed ? `Paused, ${this.missed} new` : "Paused");
      if (this.control) this.control.firstChild.data = "Resume";
    },

    toggle() {
      this.paused = !this.paused;
      sessionStorage.setItem("lablet-paused", this.paused ? "yes" : "no");
      if (this.paused) {
        this.missed = 0;
        this.showPaused();
      } else {
        this.control.firstChild.data = "Pause";
        this.missed = 0;
        this.show("live", "Live");
        this.refresh();
      }
      announce(this.paused ? "Live updates paused" : "Live updates resumed");
    },

    // Asks for the page again. False: it could not be had.
    async refresh() {
      if (this.busy) { this.again = true; return true; }
      this.busy = true;
      this.refreshed = Date.now();
      try {
        const headers = { "Lablet-Refresh": "1" };
        if (this.last) headers["Lablet-Position"] = this.last;
        const response = await fetch(window.location.href, { headers, signal: AbortSignal.timeout(15000) });
        if (response.redirected && new URL(response.url).pathname === `${base}/sign-in`) {
          this.signedOut(response.url);
          return true;
        }
        if (!response.ok) {
          this.show("lost", response.status === 503 ? "The page is behind, trying again" : "The page cannot be had, trying again");
          setTimeout(() => this.refreshSoon(), 3000);
          return false;
        }
        const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
        put(fresh, this.hold);
        if (!this.paused && this.source && this.source.readyState === EventSource.OPEN) this.show("live", "Live");
        return true;
      } catch {
        this.show("lost", "Connection lost, trying again");
        return false;
      } finally {
        this.busy = false;
        if (this.again) { this.again = false; this.refreshSoon(); }
      }
    },

    signedOut(address) {
      this.out = true;
      this.disconnect();
      clearTimeout(this.later);
      this.show("lost", "Signed out");
      const notice = find("#signed-out");
      if (!notice) return;
      const link = find("a", notice);
      const url = new URL(address);
      url.searchParams.set("return_to", window.location.pathname.slice(base.length) + window.location.search);
      link.href = url.pathname + url.search;
      notice.hidden = false;
    },
  };

  // Puts a fresh copy of the page in the place of the old one, keeping what the reader is at.
  function put(fresh, hold) {
    const next = find("main", fresh);
    const current = find("main");
    if (!next || !current) return;
    for (const rows of all("[data-live-rows]", next)) {
      const shown = document.getElementById(rows.id);
      if (shown) keepRows(shown, rows, hold);
    }
    Idiomorph.morph(current, next, {
      morphStyle: "outerHTML",
      ignoreActiveValue: true,
      callbacks: {
        beforeNodeMorphed: (from) => !(from instanceof Element && from.hasAttribute("data-keep")),
        beforeNodeRemoved: (node) => !(node instanceof Element && node.hasAttribute("data-keep")),
        // What the reader has opened stays open.
        beforeAttributeUpdated: (name, element) => !(name === "open" && element.tagName === "DETAILS"),
      },
    });
    const late = find("#late");
    const nowLate = find("#late", fresh);
    if (late && nowLate) Idiomorph.morph(late, nowLate, { morphStyle: "outerHTML" });
    const badge = find("#attention-badge");
    const nowBadge = find("#attention-badge", fresh);
    if (badge && nowBadge) Idiomorph.morph(badge, nowBadge, { morphStyle: "outerHTML" });
    document.title = fresh.title;
    if (window.htmx) window.htmx.process(find("main"));
    tellTimes();
    document.dispatchEvent(new CustomEvent("lablet:refreshed"));
  }

  // Makes the fresh rows those that are shown already, in their places, and says how many more there are.
  function keepRows(shown, rows, hold) {
    const calm = rows.dataset.liveRows === "calm" && !shown.matches(":hover") && !shown.contains(document.activeElement);
    const button = find(`[data-new-for="${rows.id}"]`);
    const nextButton = find(`[data-new-for="${rows.id}"]`, rows.ownerDocument);
    const old = all(":scope > tr", shown).filter((row) => row.id);
    if (!hold || calm || old.length === 0) {
      if (nextButton) nextButton.hidden = true;
      for (const row of all(":scope > tr", rows)) {
        if (row.id && !document.getElementById(row.id)) row.classList.add("fresh");
      }
      return;
    }
    const byId = new Map(all(":scope > tr", rows).map((row) => [row.id, row]));
    const known = new Set(old.map((row) => row.id));
    const added = [...byId.keys()].filter((id) => id && !known.has(id)).length;
    // What new rows push off the end of the page is merely on the next one; what is gone from the middle left the list.
    let pushed = added;
    const gone = new Set();
    for (const row of [...old].reverse()) {
      if (byId.has(row.id)) { pushed = 0; continue; }
      if (pushed > 0) { pushed -= 1; continue; }
      gone.add(row.id);
    }
    rows.replaceChildren(...old.map((row) => {
      const next = byId.get(row.id) || rows.ownerDocument.importNode(row, true);
      if (gone.has(row.id)) next.dataset.gone = "yes";
      return next;
    }));
    if (nextButton) {
      nextButton.hidden = added === 0;
      nextButton.textContent = `${added} new`;
    }
    if (button && added > 0 && button.hidden) announce(`${added} new`);
  }

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-new-for]");
    if (!button) return;
    live.hold = false;
    await live.refresh();
    live.hold = true;
  });

  if (live.stream && live.control) {
    live.control.addEventListener("click", () => live.toggle());
    document.addEventListener("lablet:pause", () => live.toggle());
    document.addEventListener("visibilitychange", () => {
      clearTimeout(live.hiding);
      if (document.hidden) {
        // A browser has few connections to one server, and a hidden tab needs none.
        live.hiding = setTimeout(() => live.disconnect(), HIDDEN_FOR);
      } else if (!live.source) {
        live.connect();
      }
    });
    // What no event tells: how controllers, the bus and the database stand.
    const every = Number(document.body.dataset.refresh) * 1000;
    if (every) setInterval(() => { if (live.source && !live.paused) live.refreshSoon(); }, every);
    window.addEventListener("pagehide", () => live.disconnect());
    window.addEventListener("online", () => live.connect());
    live.connect();
  }
  tellTimes();
})();
