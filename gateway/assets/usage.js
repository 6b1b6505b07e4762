// Draws what a running session uses, as it is sampled. Points are kept by this page alone, and bounded: when there are too
// many, two become one that has the greater amounts, so that a peak stays a peak.
"use strict";

(() => {
  const LEFT = 38, RIGHT = 416, TOP = 14, BASE = 120;
  const MOST_POINTS = 1200, MOST_NODE_POINTS = 120, MOST_NODES = 24, MOST_ROWS = 200;
  const HIDDEN_FOR = 20000;
  const TRY_AGAIN = 10000;
  const SHORTEST_GAP = 10000;
  const GIGABYTE = 1024;
  const QUANTITIES = {
    cpu_cores: { unit: "cores", name: "CPU", shown: (value) => value },
    memory_mb: { unit: "GB", name: "Memory", shown: (value) => value / GIGABYTE },
    storage_mb: { unit: "GB", name: "Storage", shown: (value) => value / GIGABYTE },
  };
  const REASONS = {
    controller_away: "no controller sampled the session", worker_away: "the worker could not be reached",
    worker_slow: "the worker did not answer in time", access_refused: "the worker did not let the controller in",
    unreadable: "the worker's answer could not be read", repeated: "the worker repeated what it had said before",
    socket_silent: "the open socket brought nothing", lab_stopped: "no node of the lab ran",
    not_connected: "this page was not connected",
  };
  const section = document.getElementById("live-use");
  if (!section) return;
  const find = (selector) => section.querySelector(selector);
  const all = (selector) => [...section.querySelectorAll(selector)];

  const points = [];
  const gaps = [];
  const nodes = new Map();
  // Ids of all nodes as they were sorted last, and how many of them stand before those that are drawn.
  let sorted = [];
  let passed = 0;
  let missed = null;
  let source = null;
  let later = 0;
  let hiding = 0;

  function number(value) {
    return value === null ? "unknown" : String(Math.round(value * 100) / 100);
  }
  function clock(at) {
    return new Date(at).toISOString().slice(11, 19);
  }
  function greater(one, other) {
    return one === null ? other : other === null ? one : Math.max(one, other);
  }
  function roundTop(value) {
    if (!(value > 0)) return 1;
    const scale = 10 ** Math.floor(Math.log10(value));
    return scale * ([1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8].find((step) => step * scale >= value) || 10);
  }
  function say(words) {
    const state = find("[data-state-words]");
    if (state.textContent !== words) state.textContent = words;
  }

  // ---- What is heard --------------------------------------------------------------------------------------------

  function thin(list, most) {
    if (list.length <= most) return;
    const merged = [];
    for (let at = 0; at < list.length; at += 2) {
      const [one, two] = [list[at], list[at + 1]];
      if (!two) { merged.push(one); continue; }
      const both = { at: two.at, begins: one.begins, seconds: one.seconds + two.seconds };
      both.phase = one.phase === "boot" ? "boot" : two.phase;
      for (const quantity of Object.keys(QUANTITIES)) both[quantity] = greater(one[quantity], two[quantity]);
      merged.push(both);
    }
    list.splice(0, list.length, ...merged);
  }

  function amounts(of) {
    const known = (value) => (Number.isFinite(value) ? value : null);
    return { cpu_cores: known(of.cpu_cores), memory_mb: known(of.memory_mb), storage_mb: known(of.storage_mb) };
  }

  function sampled(sample) {
    const at = Date.parse(sample.at);
    const last = points[points.length - 1];
    if (Number.isNaN(at) || (last && at <= last.at)) return;
    // More than one and a half times as long as planned, and longer than a message may be late.
    const planned = 1000 * Math.max(sample.seconds, last ? last.planned || 0 : 0);
    if (last && at - last.at > Math.max(planned * 1.5, SHORTEST_GAP)) {
      gaps.push({ from: last.at, to: at, reason: missed || "controller_away" });
      if (gaps.length > 64) gaps.shift();
    }
    missed = null;
    const point = { at, begins: at, seconds: sample.seconds, planned: sample.seconds, phase: sample.phase, ...amounts(sample) };
    points.push(point);
    thin(points, MOST_POINTS);
    for (const [id, used] of Object.entries(sample.nodes)) {
      const known = nodes.get(id) || { id, points: [] };
      nodes.set(id, known);
      known.points.push({ at, begins: at, seconds: sample.seconds, phase: sample.phase, ...amounts(used) });
      thin(known.points, MOST_NODE_POINTS);
    }
    draw();
    addRow(point);
    drawNodes(false);
    say(`sampled at ${clock(at)} UTC`);
  }

  function profiled(observed) {
    const { boot, steady, from, to } = observed.profile;
    const words = [["boot", boot], ["steady", steady]].filter(([, phase]) => phase && phase.cpu_cores && phase.cpu_cores.peak !== undefined)
      .map(([name, phase]) => `${name} CPU peak ${number(phase.cpu_cores.peak)} cores`);
    if (!words.length) return;
    const between = from && to ? ` between ${clock(Date.parse(from))} and ${clock(Date.parse(to))} UTC` : "";
    find("[data-before]").textContent = ` The newest observation says${between}: ${words.join(", ")}.`;
  }

  // ---- The charts -----------------------------------------------------------------------------------------------

  function element(name, attributes, words) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (words !== undefined) made.textContent = words;
    return made;
  }
  function titled(name, attributes, words) {
    const made = element(name, attributes);
    made.append(element("title", {}, words));
    return made;
  }

  // The amount below which the session was for 95 % of the sampled time.
  function percentile(quantity) {
    const known = points.filter((point) => point[quantity] !== null).sort((one, other) => one[quantity] - other[quantity]);
    const total = known.reduce((sum, point) => sum + point.seconds, 0);
    let passed = 0;
    for (const point of known) {
      passed += point.seconds;
      if (passed >= total * 0.95) return point[quantity];
    }
    return null;
  }

  function line(list, quantity, x, y) {
    let path = "";
    let drawing = false;
    list.forEach((point, index) => {
      const before = list[index - 1];
      const gap = before && gaps.some((gap) => gap.from >= before.begins && gap.to <= point.at && gap.to > before.at);
      if (point[quantity] === null) { drawing = false; return; }
      if (gap) drawing = false;
      // One point alone would not be seen: a line of no length with round ends is a dot.
      path += `${drawing ? "L" : "M"}${x(point.at).toFixed(1)} ${y(point[quantity]).toFixed(1)}${drawing ? "" : "h0"}`;
      drawing = true;
    });
    return path;
  }

  function draw() {
    for (const figure of all("figure[data-quantity]")) drawChart(figure, figure.dataset.quantity);
  }

  function drawChart(figure, quantity) {
    const { unit, name, shown } = QUANTITIES[quantity];
    const values = points.map((point) => point[quantity]).filter((value) => value !== null);
    const first = points[0].begins;
    const until = Math.max(points[points.length - 1].at, first + 60000);
    const peak = values.length ? Math.max(...values) : null;
    const p95 = percentile(quantity);
    const top = roundTop(peak === null ? 1 : shown(peak) * 1.05);
    const x = (at) => LEFT + ((RIGHT - LEFT) * (at - first)) / (until - first);
    const y = (value) => BASE - (BASE - TOP) * Math.min(shown(value) / top, 1);
    const parts = [];
    let begin = null;
    points.forEach((point, index) => {
      const booting = point.phase === "boot";
      if (booting && begin === null) begin = point.begins;
      if (begin !== null && (!booting || index === points.length - 1)) {
        const wide = Math.max(x(point.at) - x(begin), 1);
        parts.push(titled("rect", { class: "boot", x: x(begin).toFixed(1), y: TOP, width: wide.toFixed(1), height: BASE - TOP }, "boot"));
        begin = null;
      }
    });
    for (const gap of gaps) {
      const words = `no samples from ${clock(gap.from)} to ${clock(gap.to)} UTC: ${REASONS[gap.reason] || gap.reason}`;
      const left = Math.max(x(gap.from), LEFT);
      if (x(gap.to) > LEFT) parts.push(titled("rect", { class: "unknown", x: left.toFixed(1), y: TOP, width: (x(gap.to) - left).toFixed(1), height: BASE - TOP }, words));
    }
    parts.push(element("path", { class: "axis", d: `M${LEFT} ${TOP}H${RIGHT}M${LEFT} ${BASE}H${RIGHT}` }));
    parts.push(element("text", { x: LEFT - 5, y: TOP + 4, "text-anchor": "end" }, number(top)));
    parts.push(element("text", { x: LEFT - 5, y: BASE + 1, "text-anchor": "end" }, "0"));
    parts.push(element("text", { x: LEFT, y: 137 }, clock(first)), element("text", { x: RIGHT, y: 137, "text-anchor": "end" }, `${clock(until)} UTC`));
    if (peak !== null) {
      parts.push(element("path", { class: "line", d: line(points, quantity, x, y) }));
      parts.push(element("path", { class: "p95", d: `M${LEFT} ${y(p95).toFixed(1)}H${RIGHT}` }));
      parts.push(element("path", { class: "peak", d: `M${LEFT} ${y(peak).toFixed(1)}H${RIGHT}` }));
      const low = y(p95) < TOP + 10 || y(p95) - y(peak) < 12;
      parts.push(element("text", { class: "on-line", x: LEFT + 3, y: (low ? y(p95) + 11 : y(p95) - 3).toFixed(1) }, `p95 ${number(shown(p95))}`));
      parts.push(element("text", { class: "on-line", x: RIGHT - 2, y: (y(peak) - 3).toFixed(1), "text-anchor": "end" }, `peak ${number(shown(peak))}`));
    } else {
      parts.push(element("text", { x: (LEFT + RIGHT) / 2, y: (TOP + BASE) / 2, "text-anchor": "middle" }, "unknown: the worker does not tell"));
    }
    const now = points[points.length - 1][quantity];
    const words = (value) => (value === null ? "unknown" : `${number(shown(value))} ${unit}`);
    figure.querySelector("[data-now]").textContent = words(now);
    figure.dataset.points = points.length;
    if (peak !== null) figure.dataset.peak = peak;
    const chart = figure.querySelector("svg");
    const desc = `${name} from ${clock(first)} to ${clock(points[points.length - 1].at)} UTC: now ${words(now)}, peak ${words(peak)}, 95th percentile ${words(p95)}; ${gaps.length} gaps.`;
    chart.querySelector("desc").textContent = desc;
    chart.replaceChildren(chart.querySelector("title"), chart.querySelector("desc"), ...parts);
  }

  // ---- Nodes: one small chart each, in an order that changes only when it is asked for ----------------------------

  const chosen = () => find("[data-sort]").value;
  const label = (id) => {
    const head = document.querySelector(`#n-${CSS.escape(id)} th`);
    return head ? head.textContent.trim() : id;
  };
  function peakOf(node, quantity) {
    return node.points.reduce((peak, point) => greater(peak, point[quantity]), null);
  }

  function drawNodes(sort) {
    const list = find("[data-nodes]");
    if (!list.closest("details").open || !nodes.size) return;
    const quantity = chosen();
    const { unit, shown } = QUANTITIES[quantity];
    const peaks = new Map([...nodes.values()].map((node) => [node.id, peakOf(node, quantity)]));
    if (sort || !sorted.length) {
      sorted = [...peaks.keys()].sort((one, other) => (peaks.get(other) ?? -1) - (peaks.get(one) ?? -1));
      passed = 0;
      list.replaceChildren();
    }
    // Nodes that came since they were sorted stand last.
    if (sorted.length < nodes.size) sorted.push(...[...nodes.keys()].filter((id) => !sorted.includes(id)));
    const shownIds = sorted.slice(passed, passed + MOST_NODES);
    if (list.children.length !== shownIds.length || list.firstChild?.dataset.node !== shownIds[0]) {
      list.replaceChildren(...shownIds.map((id) => {
        const item = document.createElement("li");
        item.dataset.node = id;
        const words = document.createElement("span");
        const chart = element("svg", { class: "chart small", viewBox: "0 0 120 34", "aria-hidden": "true" });
        item.append(words, chart);
        return item;
      }));
    }
    const greatest = Math.max(...[...peaks.values()].map((peak) => peak ?? 0)) || 1;
    const first = points[0].begins;
    const until = Math.max(points[points.length - 1].at, first + 60000);
    for (const item of list.children) {
      const node = nodes.get(item.dataset.node);
      const peak = peaks.get(node.id);
      const x = (at) => 1 + (118 * (at - first)) / (until - first);
      const y = (value) => 32 - 30 * (value / greatest);
      item.firstChild.textContent = `${label(node.id)}: peak ${peak === null ? "unknown" : `${number(shown(peak))} ${unit}`}`;
      item.lastChild.replaceChildren(element("path", { class: "axis", d: "M1 33H119" }), element("path", { class: "line", d: line(node.points, quantity, x, y) }));
    }
    const most = nodes.size > MOST_NODES ? `${passed + 1} to ${passed + list.children.length} of ${nodes.size} nodes. ` : "";
    find("[data-drawn-nodes]").textContent = `${most}One scale: 0 to ${number(shown(greatest))} ${unit}.`;
    find("[data-nodes-before]").hidden = passed === 0;
    find("[data-nodes-after]").hidden = passed + MOST_NODES >= nodes.size;
  }

  // ---- The same as a table and as CSV -----------------------------------------------------------------------------

  function row(point) {
    const made = document.createElement("tr");
    const cells = [clock(point.at), point.phase, ...Object.entries(QUANTITIES).map(([quantity, { shown }]) => (point[quantity] === null ? "unknown" : number(shown(point[quantity]))))];
    cells.forEach((words, index) => {
      const cell = document.createElement(index ? "td" : "th");
      if (index > 1) cell.className = "number";
      if (!index) cell.scope = "row";
      cell.textContent = words;
      made.append(cell);
    });
    return made;
  }
  function addRow(point) {
    const body = find("[data-rows]");
    if (!body.closest("details").open) return;
    body.append(row(point));
    if (body.rows.length > MOST_ROWS) body.rows[0].remove();
  }
  find("[data-rows]").closest("details").addEventListener("toggle", (event) => {
    if (event.target.open) find("[data-rows]").replaceChildren(...points.slice(-MOST_ROWS).map(row));
  });
  find("[data-nodes]").closest("details").addEventListener("toggle", () => drawNodes(true));
  find("[data-sort]").addEventListener("change", () => drawNodes(true));
  find("[data-sort-again]").addEventListener("click", () => drawNodes(true));
  for (const [selector, step] of [["[data-nodes-before]", -MOST_NODES], ["[data-nodes-after]", MOST_NODES]]) {
    find(selector).addEventListener("click", () => {
      passed = Math.max(passed + step, 0);
      drawNodes(false);
    });
  }
  const FIELDS = ["seconds", "phase", ...Object.keys(QUANTITIES)];
  const written = {
    csv: () => ["text/csv", [["at", ...FIELDS], ...points.map((point) => [new Date(point.at).toISOString(), ...FIELDS.map((field) => point[field] ?? "")])].map((cells) => cells.join(",") + "\r\n").join("")],
    json: () => ["application/json", JSON.stringify({ gaps, samples: points.map((point) => ({ at: new Date(point.at).toISOString(), ...Object.fromEntries(FIELDS.map((field) => [field, point[field]])) })) })],
  };
  for (const button of all("[data-save]")) {
    button.addEventListener("click", () => {
      const [type, text] = written[button.dataset.save]();
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([text], { type }));
      link.download = `${section.dataset.file}.${button.dataset.save}`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    });
  }

  // ---- The connection ---------------------------------------------------------------------------------------------

  // What stands beside the section is put in anew when the session moves on, and says whether it is still sampled.
  const goesOn = () => document.getElementById("sampling")?.dataset.goesOn === "yes";

  function connect() {
    clearTimeout(later);
    if (source || !goesOn()) return;
    source = new EventSource(new URL(section.dataset.samples, window.location.href));
    source.onopen = () => { if (!points.length) say("waiting for the first sample"); };
    source.onerror = () => {
      missed = "not_connected";
      say("connection lost, trying again");
      if (source && source.readyState === EventSource.CLOSED) {
        disconnect();
        later = setTimeout(connect, TRY_AGAIN);
      }
    };
    source.addEventListener("sample", (event) => sampled(JSON.parse(event.data)));
    source.addEventListener("profile", (event) => profiled(JSON.parse(event.data)));
    source.addEventListener("missed", (event) => {
      missed = JSON.parse(event.data).reason;
      say(`no sample: ${REASONS[missed] || missed}`);
    });
  }
  function disconnect() {
    clearTimeout(later);
    if (source) source.close();
    source = null;
    missed = "not_connected";
  }
  document.addEventListener("visibilitychange", () => {
    clearTimeout(hiding);
    // A browser has few connections to one server, and a hidden tab needs none.
    if (document.hidden) hiding = setTimeout(disconnect, HIDDEN_FOR);
    else connect();
  });
  document.addEventListener("lablet:refreshed", () => {
    if (goesOn()) { connect(); return; }
    disconnect();
    say("no longer sampled");
  });
  window.addEventListener("pagehide", disconnect);
  connect();
})();
