/* SPDX-License-Identifier: PostgreSQL */
// The page asks this agent some times a second and draws what it says. All text goes in as text: what a
// peer wrote can never become markup. What is unknown says so.
"use strict";

const POLL_MS = 400, PATIENCE_MS = 2000, HOUR_MS = 3600000, SPANS_MIN = [5, 15, 30, 60], QUIET_S = 0.8, RATE_MS = 3000;
const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";

// ---- words ----

const known = (x) => typeof x === "number";

function duration(s) {
  if (!known(s)) return "unknown";
  if (s < 10) return s.toFixed(1) + " s";
  const whole = Math.floor(s);
  if (s < 60) return whole + " s";
  if (s < 3600) return Math.floor(whole / 60) + " min " + (whole % 60) + " s";
  if (s < 86400) return Math.floor(whole / 3600) + " h " + Math.floor((whole % 3600) / 60) + " min";
  return Math.floor(whole / 86400) + " d " + Math.floor((whole % 86400) / 3600) + " h";
}

function bytes(n) {
  if (!known(n)) return "unknown";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let i = 0;
  for (; n >= 1024 && i < units.length - 1; i++) n /= 1024;
  return (i === 0 || n >= 100 ? Math.round(n) : n.toFixed(1)) + " " + units[i];
}

const milliseconds = (s) => (known(s) ? (s * 1000).toFixed(1) + " ms" : "unknown");
const or = (x, word) => (x === null || x === undefined || x === "" ? word : String(x));

// ---- elements ----

function set(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function make(tag, className, ...inside) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...inside);
  return node;
}

function draw(tag, attributes, text) {
  const node = document.createElementNS(SVG, tag);
  for (const key in attributes) node.setAttribute(key, attributes[key]);
  if (text !== undefined) node.textContent = text;
  return node;
}

// Only what changed is touched: a selection, a focus and a running animation stay.
function refresh(parent, nodes) {
  nodes.forEach((node, i) => {
    const old = parent.children[i];
    if (!old) parent.append(node);
    else if (old.tagName !== node.tagName) old.replaceWith(node);
    else if (old.outerHTML !== node.outerHTML) {
      if (old.className !== node.className) old.className = node.className;
      if (node.children.length === 0) set(old, node.textContent);
      else if ([...old.childNodes, ...node.childNodes].every((n) => n.nodeType === 1)) refresh(old, [...node.children]);
      else old.replaceChildren(...node.childNodes);
      for (const a of node.attributes) old.setAttribute(a.name, a.value);
    }
  });
  while (parent.children.length > nodes.length) parent.lastChild.remove();
}

// ---- the pool ----

// The primary ships nothing to a member that another one feeds: that is no link.
function ships(s, l) {
  return s.role !== "primary" || l.feeds !== false || l.state !== "stopped";
}

// The links as both sides know them: from, to and what is told of each.
function linksOf(s) {
  const links = (s.links || []).filter((l) => ships(s, l)).map((l) => ({ ...l, from: s.member }));
  if (s.receiving && s.receiving.from) links.push({ ...s.receiving, to: s.member });
  return links;
}

function moodOf(l) {
  if (l.state !== "up") return "down";
  return known(l.heard_seconds_ago) && l.heard_seconds_ago > QUIET_S ? "quiet" : "up";
}

const rates = new Map(); // link: counts of the last seconds

function rateOf(l) {
  const name = l.from + ">" + l.to, now = performance.now(), list = rates.get(name) || [];
  if (list.length && l.wal_bytes < list[list.length - 1].wal) list.length = 0;
  list.push({ at: now, wal: l.wal_bytes, wire: l.wire_bytes });
  while (list.length > 2 && now - list[0].at > RATE_MS) list.shift();
  rates.set(name, list);
  const first = list[0], seconds = (now - first.at) / 1000;
  if (seconds < 0.2) return null;
  return { wal: (l.wal_bytes - first.wal) / seconds, wire: (l.wire_bytes - first.wire) / seconds };
}

// What a stranger should read first.
function verdictOf(s, links) {
  const limits = s.limits || {}, e = s.exposure_seconds;
  const warning = limits.exposure_warning_seconds ?? 10, critical = limits.exposure_critical_seconds ?? 60;
  const bad = links.find((l) => moodOf(l) === "down"), quiet = links.find((l) => moodOf(l) === "quiet");
  const loss = s.loss || {}, last = "A failover now would lose: " + (loss.text || "unknown") + ".";
  if (s.alarm) return ["bad", "In alarm", last];
  if (s.spool && s.spool.error) return ["bad", "The spool is stuck", s.spool.error];
  if (s.role === "promoting") return ["warn", "Failover under way", "Step " + s.failover_step + " on " + s.member + "."];
  if (links.length === 0) return ["none", "Unknown", "No link has been seen by " + s.member + " yet."];
  if (bad) return [known(e) && e < warning ? "warn" : "bad", "Not shipping", last];
  if (!known(e)) return ["none", "Unknown", last];
  if (loss.kind === "none") return ["warn", "The primary is down", last];
  if (quiet) return [e >= critical ? "bad" : "warn", "Silence on the line", last];
  if (e >= critical) return ["bad", "Exposed", last];
  if (e >= warning) return ["warn", "Late", last];
  return ["good", "Safe", "A disaster now would cost at most the last " + duration(e) + " of commits."];
}

function showMap(s, links) {
  const sites = [...new Set(s.members.map((m) => m.site))];
  const primary = s.members.find((m) => m.role === "primary");
  const cards = sites.map((name) => {
    const active = primary && primary.site === name;
    const members = s.members.filter((m) => m.site === name).map((m) =>
      make("li", "", make("b", "", m.name), make("span", "role " + m.role.replace(/[^a-z]/g, ""), m.role)));
    return make("div", active ? "site active" : "site",
      make("h2", "", make("span", "", name), make("small", "", active ? "active" : "stands by")), make("ul", "", ...members));
  });
  const siteOf = (member) => sites.indexOf((s.members.find((m) => m.name === member) || {}).site);
  const straits = links.map((l) => {
    const mood = moodOf(l), rate = rateOf(l), back = siteOf(l.from) > siteOf(l.to);
    const word = mood === "up" ? "link up" : mood === "quiet" ? "no word for " + duration(l.heard_seconds_ago) : "link " + l.state;
    const flow = make("div", "flow");
    flow.setAttribute("aria-hidden", "true");
    const box = make("div", "link " + mood + (back ? " back" : ""),
      make("p", "name", make("strong", "", word), make("span", "", mood === "up" ? ", " + milliseconds(l.round_trip_seconds) : " for " + duration(l.since_seconds))),
      flow,
      make("p", "rate", mood !== "up" ? "nothing is shipped" : rate && rate.wal >= 1 ? bytes(rate.wal) + "/s of WAL in " + bytes(rate.wire) + "/s" : "idle, nothing to ship"));
    if (mood === "quiet") box.firstChild.lastChild.textContent = "";
    for (const why of [l.reason, l.source_reason])
      if (why) box.append(make("p", "why", why));
    return box;
  });
  const strait = make("div", "strait", ...straits);
  $("map").className = sites.length === 2 ? "" : "many";
  refresh($("map"), sites.length === 2 ? [cards[0], strait, cards[1]] : [...cards, strait]);
}

function showPositions(links) {
  const rows = [];
  for (const l of links)
    for (const stage of ["received", "flushed", "applied"]) {
      const p = l[stage] || {};
      rows.push(make("tr", "", make("td", "", stage === "received" ? l.from + " \u2192 " + l.to : ""), make("td", "", stage),
        make("td", "", or(p.lsn, "unknown")), make("td", "number", bytes(p.behind_bytes)),
        make("td", "number", duration(p.lag_seconds)), make("td", "", or(p.as_of, "unknown"))));
    }
  refresh($("positions"), rows);
}

function showMembers(s) {
  refresh($("members"), s.members.map((m) => make("tr", "", make("td", "", m.name), make("td", "", m.site),
    make("td", "", m.says && m.says !== "unknown" && !m.silent ? m.says : m.role),
    make("td", "number", m.silent ? "unknown" : duration(m.flushed_lag_seconds)), make("td", "number", m.silent ? "unknown" : duration(m.applied_lag_seconds)),
    make("td", "", or(m.state, "unknown")), make("td", "number", m.name === s.member ? "here" : known(m.heard_seconds_ago) ? duration(m.heard_seconds_ago) + " ago" : "never"))));
}

function showFacts(s) {
  const p = s.postgres || {}, spool = s.spool || {}, epoch = s.epoch || {};
  const facts = [
    ["role", s.role], ["epoch", or(epoch.number, "unknown") + (epoch.member ? ", " + epoch.member + " is the primary" : "")],
    ["timeline", or(s.timeline, "unknown")], ["PostgreSQL", or(p.major, "?") + ", " + p.state + (p.reason ? ": " + p.reason : "")],
    p.in_recovery ? ["replayed", or(p.replay, "unknown") + (p.replay_paused ? ", paused" : "")] : ["insert position", or(p.insert, "unknown")],
    p.in_recovery ? ["primary last heard", s.receiving ? duration(s.receiving.heard_seconds_ago) + " ago" : "unknown"]
      : ["commits wait for", or(p.synchronous_standby_names, "this site only")],
    ["spool holds", spool.start ? spool.start + " to " + spool.flushed : "nothing"], ["room in the spool", bytes(spool.free_bytes)],
    ...(s.routes && s.members.length > 2 ? s.routes.members.map((r) => ["route of " + r.member, r.text]) : []),
    ...(s.relay && s.relay.guest_count ? [["guests of the relay", s.relay.guests.map((g) => g.application || "?").join(", ")]] : []),
    ["system identifier", or(s.system_identifier, "unknown")], ["walferry", or(s.version, "unknown")],
  ];
  refresh($("facts"), facts.map(([name, value]) => make("div", "", make("dt", "", name), make("dd", "", String(value)))));
}

function showEvents(s) {
  const raised = s.events.map((e) => ({ ...e, time: e.since, state: "raised" }));
  const past = s.recent_events.filter((e) => e.state === "cleared").reverse();
  const events = raised.concat(past).slice(0, 20);
  $("events-box").hidden = events.length === 0;
  refresh($("events"), events.map((e) => make("li", e.state === "raised" ? "raised" : "", make("span", "id", e.id),
    make("span", "", e.name + ": " + e.text + (e.state === "raised" ? "" : " (over, lasted " + duration(e.seconds) + ")")),
    make("time", "", e.time))));
}

function show(s) {
  const links = linksOf(s), [mood, verdict, explain] = verdictOf(s, links);
  document.body.dataset.mood = mood;
  document.title = verdict + ", " + s.pool;
  set($("pool"), s.pool);
  set($("member"), s.member);
  set($("verdict"), verdict);
  set($("explain"), explain);
  set($("exposure"), duration(s.exposure_seconds));
  $("alarm").hidden = !s.alarm && !s.missing;
  set($("alarm"), s.alarm || s.missing || "");
  showMap(s, links);
  showPositions(links);
  showMembers(s);
  showFacts(s);
  showEvents(s);
  const lags = links.map((l) => l.applied && l.applied.lag_seconds).filter(known);
  remember(s.exposure_seconds, lags.length ? Math.min(...lags) : null);
  limits = s.limits || {};
}

// ---- the chart ----

let samples = []; // {at, exposure, applied}: at by performance.now(), ascending
let limits = {}, pointer = null;
const TICKS = [[0.1, "0.1 s"], [1, "1 s"], [10, "10 s"], [60, "1 min"], [600, "10 min"], [3600, "1 h"], [86400, "1 d"]];

function remember(exposure, applied) {
  const now = performance.now(), last = samples[samples.length - 1];
  if (last && now - last.at < 900) Object.assign(last, { exposure, applied });
  else samples.push({ at: now, exposure, applied });
  while (samples.length && now - samples[0].at > HOUR_MS) samples.shift();
}

// One point for two pixels, the worst of its samples; null where nothing is known.
function points(key, width, now, span) {
  const count = Math.max(1, Math.floor(width / 2)), worst = new Array(count);
  for (const s of samples) {
    const i = Math.min(count - 1, Math.floor((1 - (now - s.at) / span) * count));
    if (i < 0) continue;
    if (!known(s[key])) worst[i] ??= null;
    else if (!known(worst[i]) || s[key] > worst[i]) worst[i] = s[key];
  }
  return worst;
}

function path(worst, width, y, base, gap) {
  let line = "", area = "", begun = null, x = 0, missing = 0;
  const end = () => { if (begun !== null) area += `L${x} ${base}L${begun} ${base}Z`; begun = null; };
  worst.forEach((value, i) => {
    if (value === undefined && ++missing < gap) return;
    missing = 0;
    if (!known(value)) return end();
    x = ((i + 1) / worst.length) * width;
    const at = `${x.toFixed(1)} ${y(value).toFixed(1)}`;
    line += (begun === null ? "M" : "L") + at + (begun === null ? "h.01" : "");
    area += begun === null ? `M${x} ${base}L${at}` : "L" + at;
    if (begun === null) begun = x;
  });
  end();
  return [line, area];
}

function showChart() {
  const box = $("chart"), left = 52, bottom = 22, width = box.clientWidth - left, height = box.clientHeight - bottom;
  const now = performance.now(), all = samples.flatMap((s) => [s.exposure, s.applied]).filter(known);
  const most = Math.max(10, ...all.slice(-20000)), top = TICKS.find(([v]) => v >= most) || TICKS[TICKS.length - 1];
  const age = samples.length ? (now - samples[0].at) / 60000 : 0, minutes = SPANS_MIN.find((m) => m >= age) || 60, span = minutes * 60000;
  const y = (s) => height * (1 - Math.log10(Math.max(s, 0.1) / 0.1) / Math.log10(top[0] / 0.1));
  if (width < 50) return;
  const svg = draw("svg", { "aria-hidden": "true" }), plot = draw("g", { transform: `translate(${left},0)` });
  for (const [value, word] of TICKS.filter(([v]) => v <= top[0])) {
    plot.append(draw("line", { class: "grid", x1: 0, x2: width, y1: y(value), y2: y(value) }),
      draw("text", { x: -10, y: y(value) + 4, "text-anchor": "end" }, word));
  }
  for (const part of [0, 1, 2, 3, 4, 5].filter((k) => width > 400 || k % 5 === 0))
    plot.append(draw("text", { x: (width * part) / 5, y: height + 17, "text-anchor": part === 0 ? "start" : part === 5 ? "end" : "middle" },
      part === 5 ? "now" : minutes - (minutes * part) / 5 + " min"));
  for (const [value, name] of [[limits.exposure_warning_seconds, "limit"], [limits.exposure_critical_seconds, "limit critical"]])
    if (known(value) && value > 0.1 && value <= top[0]) plot.append(draw("line", { class: name, x1: 0, x2: width, y1: y(value), y2: y(value) }));
  const gap = Math.ceil((3000 / span) * (width / 2)) + 1; // a sample each second: three missing are a gap
  const [line, area] = path(points("exposure", width, now, span), width, y, height, gap), [applied] = path(points("applied", width, now, span), width, y, height, gap);
  plot.append(draw("path", { class: "area", d: area }), draw("path", { class: "line applied", d: applied }), draw("path", { class: "line", d: line }));
  const last = samples[samples.length - 1];
  let word = last ? "now: durable " + duration(last.exposure) + ", applied " + duration(last.applied) : "nothing measured yet";
  if (pointer !== null) {
    const x = Math.max(0, Math.min(width, pointer - left)), at = now - (1 - x / width) * span;
    const near = samples.reduce((a, b) => (a === null || Math.abs(b.at - at) < Math.abs(a.at - at) ? b : a), null);
    plot.append(draw("line", { class: "cross", x1: x, x2: x, y1: 0, y2: height }));
    word = near && Math.abs(near.at - at) < span / 200 ? duration((now - near.at) / 1000) + " ago: durable " + duration(near.exposure) + ", applied " + duration(near.applied)
      : duration((now - at) / 1000) + " ago: nothing measured";
  }
  svg.append(plot);
  box.replaceChildren(svg);
  set($("chart-word"), word);
}

function describeChart() {
  const seen = samples.map((s) => s.exposure).filter(known);
  $("chart").setAttribute("aria-label", seen.length === 0 ? "Lag of the last hour: nothing measured yet."
    : "Lag of the last hour, durable on the other site: now " + duration(seen[seen.length - 1]) + ", worst " + duration(seen.reduce((a, b) => Math.max(a, b), 0)) + ".");
}

// ---- life ----

let answered = performance.now();

async function ask(path) {
  const response = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
  if (!response.ok) throw new Error(path + " answers " + response.status);
  return response.json();
}

async function poll() {
  try {
    show(await ask("status.json"));
    answered = performance.now();
    document.body.classList.remove("lost");
    set($("live"), "live");
  } catch (error) {
    const silent = (performance.now() - answered) / 1000;
    document.body.classList.add("lost");
    document.body.dataset.mood = "none";
    set($("verdict"), "This agent does not answer");
    set($("explain"), "The figures below are " + duration(silent) + " old. Is it running? Ask the agent of the other site.");
    set($("live"), "no answer for " + duration(silent));
    remember(null, null);
  }
  showChart();
  setTimeout(poll, POLL_MS);
}

async function recall() {
  try {
    const h = await ask("history.json"), now = performance.now();
    samples = h.age_ms.map((age, i) => ({ at: now - age, exposure: h.exposure_seconds[i], applied: h.applied_seconds[i] }));
    describeChart();
  } catch (error) { /* the next one will */ }
  setTimeout(recall, 30000);
}

$("chart").addEventListener("pointermove", (e) => { pointer = e.clientX - $("chart").getBoundingClientRect().left; showChart(); });
$("chart").addEventListener("pointerleave", () => { pointer = null; showChart(); });
addEventListener("resize", showChart);
recall().then(poll);
