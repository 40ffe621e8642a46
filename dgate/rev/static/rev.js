// The month page of a ReV library: strips that are leafed through, and the panel with the tags of a series.
"use strict";

const DOUBLE_CLICK_MS = 280;
const DRAG_PX = 8;
const panel = document.getElementById("panel");
const ratio = Number(document.body.dataset.ratio);
let before = null;

// A strip is a window onto one image: showing another one moves the picture by whole heights of the window.
function show(strip, frame) {
  const last = Number(strip.dataset.frames) - 1;
  const shown = Math.max(0, Math.min(last, frame));
  strip.dataset.frame = shown;
  strip.querySelector("img").style.marginTop = -shown * strip.clientHeight + "px";
}

function middle(strip) {
  show(strip, Math.floor(Number(strip.dataset.frames) / 2));
}

function follow(strip, event) {
  const box = strip.getBoundingClientRect();
  show(strip, Math.floor(((event.clientX - box.left) / box.width) * Number(strip.dataset.frames)));
}

function prepare(strip) {
  strip.addEventListener("pointermove", (event) => follow(strip, event));
  strip.addEventListener("pointerleave", () => middle(strip));
  strip.addEventListener("dragstart", (event) => event.preventDefault());
  middle(strip);
}

async function showTags(strip) {
  const place = strip.dataset.place;
  const text = panel.querySelector("pre");
  const large = panel.querySelector(".large");
  before = strip;
  panel.hidden = false;
  panel.querySelector("h2").textContent = strip.dataset.name;
  large.dataset.frames = strip.dataset.largeFrames || strip.dataset.frames;
  large.style.height = large.clientWidth * ratio + "px";
  const picture = large.querySelector("img");
  picture.onload = () => {
    // The large strip may hold fewer images than the small one.
    large.dataset.frames = Math.max(1, Math.round(picture.naturalHeight / (picture.naturalWidth * ratio)));
    middle(large);
  };
  picture.src = place + "/raw-preview.jpg";
  panel.querySelectorAll("iframe").forEach((frame) => frame.remove());
  text.textContent = "";
  try {
    const answer = await fetch(place + "/tag-raw.txt");
    if (!answer.ok) throw new Error(answer.status);
    text.textContent = await answer.text();
  } catch {
    // Pages opened from a disk may not be fetched from; they may be shown.
    const frame = document.createElement("iframe");
    frame.src = place + "/tag-raw.txt";
    frame.title = "tags";
    panel.append(frame);
  }
}

function close() {
  panel.hidden = true;
  if (before) before.focus();
}

function leaf(strip, event) {
  const steps = { ArrowUp: -1, ArrowLeft: -1, ArrowDown: 1, ArrowRight: 1, PageUp: -10, PageDown: 10 };
  const frame = Number(strip.dataset.frame);
  if (event.key in steps) show(strip, frame + steps[event.key]);
  else if (event.key === "Home") show(strip, 0);
  else if (event.key === "End") show(strip, Infinity);
  else if (event.key === "t" || event.key === "T") showTags(strip);
  else return;
  event.preventDefault();
}

// A click waits to see whether it becomes a double one; a drag with a finger is no click at all.
function openLater(strip) {
  let waiting = 0;
  let began = 0;
  let moved = false;
  strip.addEventListener("pointerdown", (event) => { began = event.clientX; moved = false; });
  strip.addEventListener("pointermove", (event) => {
    moved = moved || (event.pointerType === "touch" && Math.abs(event.clientX - began) > DRAG_PX);
  });
  strip.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.detail === 0) return;
    event.preventDefault();
    clearTimeout(waiting);
    if (event.detail === 1 && !moved) waiting = setTimeout(() => location.assign(strip.href), DOUBLE_CLICK_MS);
  });
  strip.addEventListener("dblclick", () => { clearTimeout(waiting); showTags(strip); });
}

document.querySelectorAll("main .strip").forEach((strip) => {
  prepare(strip);
  openLater(strip);
  strip.addEventListener("keydown", (event) => leaf(strip, event));
  strip.parentElement.querySelector(".tags").addEventListener("click", () => showTags(strip));
});
prepare(panel.querySelector(".large"));
document.getElementById("close").addEventListener("click", close);
document.addEventListener("keydown", (event) => { if (event.key === "Escape" && !panel.hidden) close(); });

// #XX-ex/SERIES/tags opens the panel of a series at once: a link to share.
const asked = decodeURIComponent(location.hash.slice(1));
if (asked.endsWith("/tags")) {
  for (const strip of document.querySelectorAll("main .strip")) {
    if (decodeURIComponent(strip.dataset.place) + "/tags" === asked) showTags(strip);
  }
}
