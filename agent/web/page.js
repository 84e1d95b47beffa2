/* SPDX-License-Identifier: PostgreSQL */
// The page asks this agent some times a second and draws what it says. All text goes in as text: what a
// peer wrote can never become markup. What is unknown says so.
"use strict";

const POLL_MS = 400, PATIENCE_MS = 2000, HOUR_MS = 3600000, SPANS_MIN = [5, 15, 30, 60], LATE_ID = "WF001", QUIET_S = 0.8, OLD_S = 5, NAME_PX = 24, RATE_MS = 3000, NEWS_RATE_MS = 10000;
const HEAD = ["head", "pinned", "silent", "stalled", "reaches"], DOWN = ["down", "starting", "stopping", "silent"];
const ASKS = "M-2.5-2a2.5 2.5 0 1 1 2.5 2.5v1.5m0 2.6v.2", MARKS = { down: "M-4-4L4 4M4-4L-4 4", quiet: ASKS, unknown: ASKS };
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
const position = (lsn) => (lsn ? lsn.split("/").reduce((sum, part) => sum * 4294967296 + parseInt(part, 16), 0) : null);
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
      if (node.children.length === 0) set(old, node.textContent);
      else if ([...old.childNodes, ...node.childNodes].every((n) => n.nodeType === 1)) refresh(old, [...node.children]);
      else old.replaceChildren(...node.childNodes);
      for (const a of [...old.attributes]) if (!node.hasAttribute(a.name)) old.removeAttribute(a.name);
      for (const a of node.attributes) if (old.getAttribute(a.name) !== a.value) old.setAttribute(a.name, a.value);
    }
  });
  while (parent.children.length > nodes.length) parent.lastChild.remove();
}

// ---- the pool ----

// The primary ships nothing to a member that another one feeds: that is no link.
function ships(s, l) {
  return s.role === "primary" ? l.feeds !== false || l.state !== "stopped" : l.state === "up";
}

// The links of this member, as it sees them itself.
function linksOf(s) {
  const links = (s.links || []).filter((l) => ships(s, l)).map((l) => ({ ...l, from: s.member }));
  if (s.receiving && s.receiving.from) links.push({ ...s.receiving, to: s.member });
  return links;
}

function moodOf(s, l) {
  if (l.state !== "up") return "down";
  if (!known(l.heard_seconds_ago)) return "unknown";
  return l.heard_seconds_ago > QUIET_S ? "quiet" : pace(s, l.flushed.lag_seconds);
}

const pace = (s, lag) => (lag >= limitsOf(s).ship ? "behind" : "up"); // of an unknown one its words say so

const isHeard = (m) => !m.silent && known(m.heard_seconds_ago);

// Of a link between others there are only their news.
function newsMood(s, told, m) {
  if (told.cut) return "down";
  if (!isHeard(m) || m.heard_seconds_ago > OLD_S || !known(m.flushed_lag_seconds)) return "unknown";
  return pace(s, m.flushed_lag_seconds);
}

function limitsOf(s) {
  const l = s.limits || {};
  return { ship: l.ship_warning_seconds ?? 10, warning: l.exposure_warning_seconds ?? 10, critical: l.exposure_critical_seconds ?? 60 };
}

// Who feeds whom: a link of this member as it is, between others as the table of routes has it.
function routesOf(s, links) {
  const table = (s.routes && s.routes.members) || [], siteOf = (name) => (s.members.find((m) => m.name === name) || {}).site;
  return s.members.flatMap((m) => {
    const told = table.find((r) => r.member === m.name) || {}, own = links.find((l) => l.to === m.name);
    const from = own && (own.state === "up" || !told.from) ? own.from : told.from;
    if (!from || from === m.name || !siteOf(from)) return [];
    const link = own && (own.from === from || m.name === s.member) ? own : null;
    return [{ from, to: m.name, link, member: m, far: siteOf(from) !== m.site, mood: link ? moodOf(s, link) : newsMood(s, told, m), head: HEAD.includes(told.why) }];
  });
}

const rates = new Map(); // route: counts of the last seconds

// Bytes a second of WAL, and of what went over the wire where this member saw that.
function rateOf(r) {
  const name = r.from + ">" + r.to, list = rates.get(name) || [], link = r.link;
  const at = performance.now() - (link ? 0 : 1000 * (r.member.heard_seconds_ago || 0));
  const wal = link ? link.wal_bytes : position(r.member.received), last = list[list.length - 1];
  if (!known(wal)) return rates.delete(name), null;
  if (last && (wal < last.wal || link === null !== last.news)) list.length = 0;
  if (!last || link || at - last.at > 300) list.push({ at, wal, wire: link ? link.wire_bytes : null, news: !link });
  while (list.length > 2 && at - list[0].at > (link ? RATE_MS : NEWS_RATE_MS)) list.shift();
  rates.set(name, list);
  const first = list[0], end = list[list.length - 1], seconds = (end.at - first.at) / 1000;
  if (!(seconds >= 0.2)) return null;
  return { wal: (end.wal - first.wal) / seconds, wire: link ? (end.wire - first.wire) / seconds : null };
}

const ago = (m) => (known(m.heard_seconds_ago) ? m.name + " heard " + duration(m.heard_seconds_ago) + " ago" : m.name + " not heard yet");

// Its strong word, then the figures, then why.
function wordsOf(r) {
  const l = r.link, rate = rateOf(r), [lag] = lagsOf(r.member, r), behind = known(lag) ? duration(lag) + " behind" : "lag unknown";
  const flow = rate === null ? "rate unknown" : rate.wal < 1 ? "idle" : bytes(rate.wal) + "/s of WAL";
  r.flows = ["up", "behind"].includes(r.mood) && rate !== null && rate.wal >= 1;
  switch (r.mood) {
  case "down":
    return ["broken", [!l ? "gets no WAL now" : known(l.heard_seconds_ago) ? "no word for " + duration(l.heard_seconds_ago) : "not heard yet"], l ? [l.reason, l.source_reason].filter(Boolean) : []];
  case "quiet":
    return ["silent for " + duration(l.heard_seconds_ago), [behind], []];
  case "unknown":
    return ["unknown", r.far ? [ago(r.member)] : [], []]; // else its card says so
  case "behind":
    return [behind, [flow], []];
  }
  return [flow, [...(r.far ? [behind] : []), ...(r.flows && known(rate.wire) ? [bytes(rate.wire) + "/s on the wire"] : []), ...(l && known(l.round_trip_seconds) ? ["round trip " + milliseconds(l.round_trip_seconds)] : [])], []];
}

// On disk and applied: by the link's own measure where there is one.
function lagsOf(m, r) {
  return r && r.link ? [r.link.flushed, r.link.applied].map((p) => (p || {}).lag_seconds) : [m.flushed_lag_seconds, m.applied_lag_seconds];
}

// What a stranger should read first.
function verdictOf(s, routes) {
  const { warning, critical } = limitsOf(s), e = s.exposure_seconds, loss = s.loss || {}, primary = primaryOf(s);
  const find = (mood) => routes.find((r) => r.far && r.mood === mood) || routes.find((r) => r.mood === mood);
  const broken = find("down"), quiet = find("quiet"), late = find("behind"), unheard = find("unknown"), served = routes.some((r) => r.far && r.mood === "up");
  const last = s.mirror ? "What other sites have is not measured by " + s.member + ", a mirror." : "A failover now would lose: " + (loss.text || "unknown") + ".";
  const tell = (r, what) => r.from + " \u2192 " + r.to + " " + what + ". " + last, calm = s.mirror ? served : known(e) && e < warning;
  const event = s.events.find((e) => e.severity === "critical" && e.id !== LATE_ID);
  if (s.alarm) return ["bad", "In alarm", last];
  if (s.missing) return ["bad", "Commits are missing", last];
  if (s.spool && s.spool.error) return ["bad", "The spool is stuck", s.spool.error];
  if (event) return ["bad", event.name[0].toUpperCase() + event.name.slice(1), event.text];
  if (s.role === "promoting") return ["warn", "Failover under way", "Step " + s.failover_step + " on " + s.member + "."];
  if (routes.length === 0) return ["none", "Unknown", "No link has been seen by " + s.member + " yet."];
  if (broken && calm && served) return ["warn", "Safe, but " + broken.to + " is cut off", tell(broken, "is broken")];
  if (broken) return [calm ? "warn" : "bad", known(e) && e >= warning ? "Exposed, link broken" : "Link broken", tell(broken, "is broken")];
  if (loss.kind === "none" && !s.mirror) return ["warn", "The primary is down", last];
  if (!s.mirror && !known(e)) return ["none", "Unknown", last];
  if (quiet) return [e >= critical ? "bad" : "warn", "Silence on the line", tell(quiet, "is silent")];
  if (e >= critical) return ["bad", "Exposed", last];
  if (e >= warning) return ["warn", "Late", last];
  if (primary && DOWN.includes(primary.postgres)) return ["warn", "The primary is down", primary.name + " says: PostgreSQL " + primary.postgres + ". " + last];
  if (unheard) return [calm ? "warn" : "none", (calm ? "Safe, but " : "") + unheard.to + " is not heard", last];
  if (late) return ["warn", (s.mirror ? "" : "Safe, but ") + late.to + " is behind", tell(late, "is " + duration(lagsOf(late.member, late)[0]) + " behind")];
  if (s.mirror) return ["good", "All follow", last];
  return ["good", "Safe", "A disaster now would cost at most the last " + duration(e) + " of commits."];
}

const primaryOf = (s) => s.members.find((m) => m.role === "primary");

// What a member says it is; before it was heard, what it is by what is known here. Who is the primary is known here
// alone: a former one may have said so a moment before its epoch was over.
function roleOf(s, m, primary) {
  const role = m.name === s.member || m.silent || !m.says || ["unknown", "primary"].includes(m.says) ? m.role : m.says;
  return role === "standby" && primary && primary.site === m.site ? "mirror" : role;
}

function routeBox(r, ends) {
  const [word, figures, why] = wordsOf(r);
  const box = make("div", "route " + r.mood, make("p", "above", make("span", "ends", ends), make("strong", "", word)), make("span", "line"),
    make("p", "figures", figures.join(", ")), ...why.map((text) => make("p", "why", text)));
  box.dataset.to = r.to;
  return box;
}

function memberCard(s, m, primary, route, depth) {
  const here = m.name === s.member, role = roleOf(s, m, primary), heard = here || isHeard(m);
  const down = heard && DOWN.includes(m.postgres), mood = !heard ? "none" : down || m.severity > 1 ? "bad" : m.severity > 0 ? "warn" : "good";
  const alone = s.members.filter((other) => other.site === m.site).length === 1;
  const card = make("li", "member " + role.replace(/[^a-z]/g, "") + " " + mood + (depth ? " fed" : ""), make("p", "name", make("b", "", m.name), make("span", "role", role),
    ...(route && route.far && route.head && !alone ? [make("span", "tag", "head of " + m.site)] : []), ...(here ? [make("span", "tag", "seen from here")] : [])));
  card.dataset.member = m.name;
  if (route && !route.far) card.append(routeBox(route, "from " + route.from));
  if (!heard) return card.append(make("p", "old", or(m.state, "not heard of yet"))), card;
  if (role !== "primary") card.append(make("p", "lags", ...["lag on disk ", "applied "].map((word, i) => make("span", "", word, make("b", "", duration(lagsOf(m, route)[i]))))));
  if (role === "primary" || m.postgres !== "up") card.append(make("p", down ? "server not" : "server", "PostgreSQL " + or(m.postgres, "unknown")));
  if (m.reason) card.append(make("p", "why", m.reason));
  if (!here && m.heard_seconds_ago > OLD_S) card.append(make("p", "old", "heard " + duration(m.heard_seconds_ago) + " ago" + (m.by ? ", by " + m.by : "")));
  return card;
}

// Whom another member of the site feeds stands below that one.
function siteBox(s, name, primary, routes) {
  const members = s.members.filter((m) => m.site === name), list = make("ul"), placed = new Set();
  const fed = (m) => routes.find((r) => r.to === m.name), inside = (m) => fed(m) && !fed(m).far;
  const place = (m, depth) => {
    if (placed.has(m)) return;
    placed.add(m);
    list.append(memberCard(s, m, primary, fed(m), depth));
    for (const other of members) if (inside(other) && fed(other).from === m.name) place(other, depth + 1);
  };
  for (const m of members) if (!inside(m)) place(m, 0);
  for (const m of members) place(m, 1);
  const active = primary && primary.site === name;
  return make("section", active ? "site active" : "site", make("h2", "", make("span", "", name), make("small", "", active ? "the primary\u2019s site" : primary ? "stands by" : "")), list);
}

// The primary's site, then each other one behind what leads to it.
function showMap(s, routes) {
  const primary = primaryOf(s), names = [...new Set(s.members.map((m) => m.site))];
  const first = (primary || s.members.find((m) => m.name === (s.epoch || {}).member) || s.members[0]).site, others = names.filter((name) => name !== first);
  const strait = (name) => {
    const ways = routes.filter((r) => r.far && r.member.site === name).map((r) => routeBox(r, r.from + " \u2192 " + r.to));
    return make("div", "strait", ...(ways.length ? ways : [make("p", "ends", "no route is known")]));
  };
  const rows = others.map((name) => make("div", "row", strait(name), siteBox(s, name, primary, routes)));
  refresh($("sites"), [siteBox(s, first, primary, routes), make("div", "others", ...rows)]);
  wired = routes;
  showWires();
}

// ---- its wires ----

let wired = [];

// A line through these points, with round corners.
function bend(points) {
  const towards = (a, b, by) => { const far = Math.hypot(b[0] - a[0], b[1] - a[1]) || 1; return [a[0] + ((b[0] - a[0]) / far) * by, a[1] + ((b[1] - a[1]) / far) * by]; };
  const length = (a, b) => Math.hypot(b[0] - a[0], b[1] - a[1]), at = (p) => p.map((x) => x.toFixed(1)).join(" ");
  let d = "M" + at(points[0]);
  for (let i = 1; i < points.length - 1; i++) {
    const [a, b, c] = points.slice(i - 1, i + 2), by = Math.min(10, length(a, b) / 2, length(b, c) / 2);
    d += "L" + at(towards(b, a, by)) + "Q" + at(b) + " " + at(towards(b, c, by));
  }
  return d + "L" + at(points[points.length - 1]);
}

function showWires() {
  const map = $("map"), origin = map.getBoundingClientRect(), wide = matchMedia("(min-width: 56rem)").matches;
  const box = (name) => {
    const r = [...map.querySelectorAll(".member")].find((card) => card.dataset.member === name).getBoundingClientRect();
    return { left: r.left - origin.left, right: r.right - origin.left, bottom: r.bottom - origin.top, y: r.top + NAME_PX - origin.top };
  };
  const far = wired.filter((r) => r.far), step = Math.min(5, 18 / far.length);
  const labels = [...map.querySelectorAll(".strait .route")], middle = (label) => { const r = label.querySelector(".line").getBoundingClientRect(); return (r.top + r.bottom) / 2 - origin.top; };
  for (const label of labels) label.style.marginTop = "0";
  if (wide) for (const label of labels) label.style.marginTop = Math.max(0, box(label.dataset.to).y - middle(label)) + "px"; // at the height of the member it leads to
  const wires = wired.flatMap((r) => {
    const a = box(r.from), b = box(r.to), lane = far.indexOf(r) * step, start = a.y + lane;
    const label = labels.find((n) => n.dataset.to === r.to);
    let points, mark;
    if (r.far && !label) return []; // into the first site: without a strait
    if (!r.far) {
      mark = [a.left + 14, b.y];
      points = [[mark[0], a.bottom], mark, [b.left, b.y]];
    } else {
      const words = label.getBoundingClientRect(), y = middle(label);
      const left = words.left - origin.left - 8 - lane, right = words.right - origin.left + 6, bus = a.left - 9 - lane;
      mark = wide ? [(left + right) / 2, y] : [bus, y];
      points = wide ? [[a.right, start], [left, start], [left, y], [right, y], [right, b.y], [b.left, b.y]] : [[a.left, start], [bus, start], [bus, b.y], [b.left, b.y]];
    }
    const g = draw("g", { class: "wire " + r.mood + (r.flows ? " flows" : "") });
    g.append(draw("path", { class: "track", d: bend(points) }), draw("path", { class: "flow", d: bend(points) }), draw("path", { class: "tip", d: `M${b.left - 7} ${b.y - 5}l7 5-7 5` }));
    if (MARKS[r.mood]) g.append(draw("circle", { cx: mark[0], cy: mark[1], r: 10 }), draw("path", { class: "mark", d: MARKS[r.mood], transform: `translate(${mark.join(" ")})` }));
    return g;
  });
  refresh($("wires"), wires.reverse()); // the mark of an upper one lies on the lines to those below
}

function showPositions(links) {
  const cell = (className, text) => { const td = make("td", className, text); td.setAttribute("role", "cell"); return td; };
  const rows = [];
  for (const l of links)
    for (const stage of ["received", "flushed", "applied"]) {
      const p = l[stage] || {};
      rows.push(make("tr", stage, cell("", stage === "received" ? l.from + " \u2192 " + l.to : ""), cell("", stage), cell("", or(p.lsn, "unknown")),
        cell("number", bytes(p.behind_bytes)), cell("number", duration(p.lag_seconds)), cell("", or(p.as_of, "unknown"))));
      rows[rows.length - 1].setAttribute("role", "row");
    }
  refresh($("positions"), rows);
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
  const links = linksOf(s), routes = routesOf(s, links), [mood, verdict, explain] = verdictOf(s, routes);
  document.body.dataset.mood = mood;
  document.title = verdict + ", " + s.pool;
  set($("pool"), s.pool);
  set($("member"), s.member);
  set($("verdict"), verdict);
  set($("explain"), explain);
  set($("exposure"), duration(s.exposure_seconds));
  $("exposure").className = known(s.exposure_seconds) ? "" : "unknown";
  $("alarm").hidden = !s.alarm && !s.missing;
  set($("alarm"), s.alarm || s.missing || "");
  showMap(s, routes);
  showPositions(links);
  showFacts(s);
  showEvents(s);
  const lags = links.filter((l) => !l.mirror).map((l) => l.applied && l.applied.lag_seconds).filter(known);
  remember(s.exposure_seconds, lags.length && !s.mirror ? Math.min(...lags) : null);
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
  describeChart();
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
  const seen = samples.map((s) => s.exposure), worst = seen.filter(known).reduce((a, b) => (a > b ? a : b), null);
  $("chart").setAttribute("aria-label", seen.length === 0 ? "Lag of the last hour: nothing measured yet."
    : "Lag of the last hour, durable on another site: now " + duration(seen[seen.length - 1]) + ", worst " + duration(worst) + ".");
}

// ---- life ----

let answered = performance.now();

async function ask(path) {
  const response = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
  if (!response.ok) throw new Error(path + " answers " + response.status);
  return response.json();
}

// What is below is not of now.
function lose(verdict, explain, live) {
  document.body.classList.add("lost");
  document.body.dataset.mood = "none";
  set($("verdict"), verdict);
  set($("explain"), explain);
  set($("live"), live);
  remember(null, null);
}

function drawAnswer(s) {
  answered = performance.now();
  try {
    show(s);
    document.body.classList.remove("lost");
    set($("live"), "live");
  } catch (error) {
    console.error(error);
    lose("This page cannot draw the answer", "The agent answers, the fault is the page\u2019s (" + error.message + "). On its host: walferry status.", "not drawn");
  }
}

async function poll() {
  const silent = () => duration((performance.now() - answered) / 1000);
  await ask("status.json").then(drawAnswer, () =>
    lose("This agent does not answer", "The figures below are " + silent() + " old. Is it running? Ask the agent of another site.", "no answer for " + silent()));
  showChart();
  setTimeout(poll, POLL_MS);
}

async function recall() {
  try {
    const h = await ask("history.json"), now = performance.now();
    samples = h.age_ms.map((age, i) => ({ at: now - age, exposure: h.exposure_seconds[i], applied: h.applied_seconds[i] }));
  } catch (error) { /* the next one will */ }
  setTimeout(recall, 30000);
}

$("chart").addEventListener("pointermove", (e) => { pointer = e.clientX - $("chart").getBoundingClientRect().left; showChart(); });
$("chart").addEventListener("pointerleave", () => { pointer = null; showChart(); });
addEventListener("resize", () => { showChart(); showWires(); });
recall().then(poll);
