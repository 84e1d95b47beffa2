// SPDX-License-Identifier: PostgreSQL
// The body of a script for the page in a browser: what is wrong with its looks, as a list. Nothing scrolls
// sideways, no text lies on another or leaves the window, contrast is at least 4.5 (lines: 3), what is read
// after another stands behind it, each route and each member says its state.
dispatchEvent(new Event("resize"));
for (const a of document.getAnimations()) if (a instanceof CSSTransition) a.finish(); // of the other scheme
const wrong = [], view = document.documentElement.clientWidth;
const styleOf = (node, pseudo) => getComputedStyle(node, pseudo), short = (text) => JSON.stringify(text.trim().slice(0, 40));

function shown(node) { // not for the eye: clipped to nothing
  for (let n = node; n; n = n.parentElement) if (styleOf(n).clipPath === "inset(50%)") return false;
  return node.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true });
}

// ---- contrast ----

const parse = (colour) => { const [r, g, b, a = 1] = colour.match(/[\d.]+/g).map(Number); return [r, g, b, a]; };
const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
const light = (c) => [0, 1, 2].map((i) => c[i] / 255).map((x) => (x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4)).reduce((sum, x, i) => sum + x * [0.2126, 0.7152, 0.0722][i], 0);
function ground(node, pseudo) {
  const layers = pseudo ? [parse(styleOf(node, pseudo).backgroundColor)] : [];
  for (let n = node; n; n = n.parentElement) layers.push(parse(styleOf(n).backgroundColor));
  return layers.reduceRight((below, top) => over(top, below), [255, 255, 255, 1]);
}
function contrast(what, node, colour, least, pseudo) {
  const below = ground(node, pseudo), [a, b] = [light(over(parse(colour), below)), light(below)].sort((x, y) => y - x), ratio = (a + 0.05) / (b + 0.05);
  for (let n = node; n; n = n.parentElement) if (Number(styleOf(n).opacity) < 1) wrong.push("opacity of " + what);
  if (ratio < least) wrong.push("contrast " + ratio.toFixed(2) + " of " + what);
}

// ---- text ----

const texts = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walk.nextNode()) {
  const node = walk.currentNode, parent = node.parentElement, range = document.createRange();
  if (!node.data.trim() || parent.closest("script, noscript") || !shown(parent)) continue;
  range.selectNodeContents(node);
  for (const r of range.getClientRects()) if (r.width > 1 && r.height > 1) texts.push({ r, node });
  contrast(short(node.data), parent, parent instanceof SVGElement ? styleOf(parent).fill : styleOf(parent).color, 4.5);
}
for (const node of document.body.querySelectorAll("*"))
  for (const pseudo of ["::before", "::after"])
    if (/^"[^"]*[^\s"]/.test(styleOf(node, pseudo).content) && shown(node)) contrast(pseudo + " of " + (node.id || node.className), node, styleOf(node, pseudo).color, 4.5, pseudo);
for (const line of document.querySelectorAll(".wire .track")) contrast("the line " + line.parentNode.getAttribute("class"), document.getElementById("map"), styleOf(line).stroke, 3);
texts.forEach(({ r, node }, i) => {
  if (r.left < 0 || r.right > view + 0.5) wrong.push("outside: " + short(node.data));
  for (const other of texts.slice(i + 1)) {
    const x = Math.min(r.right, other.r.right) - Math.max(r.left, other.r.left), y = Math.min(r.bottom, other.r.bottom) - Math.max(r.top, other.r.top);
    if (node !== other.node && x > 1 && y > 3) wrong.push("overlap: " + short(node.data) + " and " + short(other.node.data)); // boxes of lines reach into each other
  }
});
if (texts.length < 40) wrong.push("only " + texts.length + " texts");

// ---- room ----

for (const node of [document.documentElement, ...document.body.querySelectorAll("*")])
  if (!(node instanceof SVGElement) && shown(node) && node.clientWidth > 0 && node.scrollWidth > node.clientWidth) wrong.push("scrolls sideways: " + (node.id || node.className || node.tagName));

// ---- order ----

const at = (nodes, what) => nodes.reduce((before, node) => {
  const a = before && before.getBoundingClientRect(), b = node.getBoundingClientRect();
  if (a && b.top < a.top - 1 && b.left < a.right - 1) wrong.push(what + " goes back at " + short(node.textContent));
  return node;
}, null);
at([...document.querySelectorAll("h1, .hero h2, .site, .strait .route, .card")].filter(shown), "reading"); // no events: no box
for (const list of document.querySelectorAll(".site ul")) at([...list.children], "reading");
const stops = [...document.querySelectorAll("a[href], button, summary, [tabindex]")].filter(shown);
at(stops, "the keyboard");
if (stops.length < 4 || stops.some((node) => node.tabIndex !== 0)) wrong.push("keyboard: " + stops.map((node) => node.tabIndex));

// ---- states as text ----

const say = { down: /broken/, quiet: /silent/, unknown: /unknown/, behind: /behind/, up: /idle|WAL|rate unknown/ };
const routes = [...document.querySelectorAll(".route")], wires = [...document.querySelectorAll(".wire")];
for (const mood in say) {
  const boxes = routes.filter((node) => node.classList.contains(mood));
  if (boxes.length !== wires.filter((node) => node.classList.contains(mood)).length) wrong.push("wires and words differ: " + mood);
  for (const box of boxes) if (!say[mood].test(box.querySelector("strong").textContent)) wrong.push("no word for " + mood);
}
for (const card of document.querySelectorAll(".member"))
  if (!/^(primary|mirror|standby|former primary|promoting|fenced|unknown)$/.test(card.querySelector(".role").textContent) || !card.querySelector(".lags, .server, .old")) wrong.push("no state: " + short(card.textContent));
return [...new Set(wrong)].slice(0, 12);
