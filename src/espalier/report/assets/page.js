"use strict";
// One problem at a time.
const pick = document.getElementById("pick");
const trees = [...document.querySelectorAll(".tree")];
function show(id) {
  for (const tree of trees) tree.hidden = tree.id !== id;
  if (pick) pick.value = id;
  // The chosen answer is what people look for first.
  const scroll = document.querySelector(`#${id} .scroll`), ring = scroll.querySelector(".ring");
  if (ring) {
    const box = scroll.getBoundingClientRect(), at = ring.getBoundingClientRect();
    scroll.scrollTop += at.top - box.top - box.height / 2;
  }
}
if (trees.length) show(trees[0].id);
if (pick) pick.addEventListener("change", () => show(pick.value));

// A link to a step opens what it lies in.
function reveal() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const tree = target && target.closest(".tree");
  if (!tree) return;
  show(tree.id);
  for (let box = target.closest("details"); box; box = box.parentElement.closest("details")) box.open = true;
  target.scrollIntoView({ block: "center" });
  target.focus({ preventScroll: true });
}
addEventListener("hashchange", reveal);
reveal();
for (const link of document.querySelectorAll(".overview a"))
  link.addEventListener("click", () => { if (link.getAttribute("href") === location.hash) reveal(); });
for (const button of document.querySelectorAll("[data-open]"))
  button.addEventListener("click", () => {
    for (const box of button.closest(".tree").querySelectorAll("details")) box.open = Boolean(button.dataset.open);
  });

// Values under the pointer.
const tip = document.getElementById("tip");
function say(text, x, y) {
  tip.textContent = text;
  tip.hidden = false;
  const { offsetWidth: w, offsetHeight: h } = tip;
  tip.style.left = Math.max(4, Math.min(x + 14, innerWidth - w - 8)) + "px";
  tip.style.top = (y + h + 22 > innerHeight ? y - h - 12 : y + 16) + "px";
}
const hush = () => { tip.hidden = true; };
const tipped = event => event.target instanceof Element && event.target.closest("[data-tip]");
addEventListener("pointerover", event => { const dot = tipped(event); if (dot) say(dot.dataset.tip, event.clientX, event.clientY); });
addEventListener("pointerout", event => { if (tipped(event)) hush(); });
addEventListener("focusin", event => { const dot = tipped(event); if (dot) { const box = dot.getBoundingClientRect(); say(dot.dataset.tip, box.right, box.bottom); } });
addEventListener("focusout", hush);

// Token by token, in the colours of the number that was asked for.
for (const menu of document.querySelectorAll("[data-strips]")) {
  const paint = () => {
    const tree = menu.closest(".tree");
    for (const strip of tree.querySelectorAll(".strip")) strip.hidden = strip.dataset.strip !== menu.value;
    for (const text of tree.querySelectorAll(".said > .text")) text.hidden = Boolean(text.parentElement.querySelector(".strip:not([hidden])"));
  };
  menu.addEventListener("change", paint);
  paint();
}

// A search again, round by round.
for (const bar of document.querySelectorAll(".replay")) {
  const [play, slider, told] = bar.children, last = Number(slider.max);
  const counts = bar.dataset.counts.split(",").map(pair => pair.split(" ").map(Number));
  const grown = [...bar.closest(".tree").querySelectorAll(".overview [data-round]")];
  let timer = 0;
  const stop = () => { clearInterval(timer); timer = 0; play.textContent = "▶"; };
  const draw = () => {
    const now = Number(slider.value), [nodes, tokens] = counts[now];
    for (const part of grown) {
      part.classList.toggle("later", Number(part.dataset.round) > now);
      part.classList.toggle("fresh", now < last && Number(part.dataset.round) === now);
    }
    told.textContent = `round ${now} of ${last} · ${(nodes - 1).toLocaleString("en")} steps · ${tokens.toLocaleString("en")} tokens`;
  };
  slider.addEventListener("input", () => { stop(); draw(); });
  play.addEventListener("click", () => {
    if (timer) return stop();
    if (Number(slider.value) === last) slider.value = 0;
    play.textContent = "⏸";
    draw();
    timer = setInterval(() => { slider.value = Number(slider.value) + 1; draw(); if (Number(slider.value) === last) stop(); }, Math.max(80, Math.min(900, 12000 / last)));
  });
  draw();
}

// A chart's data-x and data-y: low, high, their pixels, scale, how values are written.
function axis(text) {
  const [low, high, from, to, scale, unit] = text.split(" ").map((part, i) => i < 4 ? Number(part) : part);
  const value = pixel => {
    const share = (pixel - from) / (to - from);
    return scale === "log" ? low * (high / low) ** share : low + share * (high - low);
  };
  return pixel => unit === "percent" ? (100 * value(pixel)).toFixed(1) + " %" : Number(value(pixel).toPrecision(3)).toLocaleString("en");
}
for (const chart of document.querySelectorAll("svg.chart")) {
  const x = axis(chart.dataset.x), y = axis(chart.dataset.y);
  const points = [...chart.querySelectorAll("polyline")].flatMap(line =>
    [...line.points].map(point => ({ name: line.dataset.name, x: point.x, y: point.y })));
  const cross = document.createElementNS("http://www.w3.org/2000/svg", "line");
  cross.setAttribute("class", "cross");
  chart.append(cross);
  chart.addEventListener("pointermove", event => {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(chart.getScreenCTM().inverse());
    const near = points.reduce((best, point) => Math.abs(point.x - at.x) < Math.abs(best.x - at.x) ? point : best);
    const [from, to] = chart.dataset.y.split(" ").slice(2, 4);
    for (const [name, value] of Object.entries({ x1: near.x, x2: near.x, y1: from, y2: to })) cross.setAttribute(name, value);
    cross.style.display = "";
    const lines = points.filter(point => Math.abs(point.x - near.x) < 1).map(point => `${point.name}  ${y(point.y)}`);
    say([x(near.x), ...lines].join("\n"), event.clientX, event.clientY);
  });
  chart.addEventListener("pointerleave", () => { hush(); cross.style.display = "none"; });
}
