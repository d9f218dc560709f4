import { byId, element } from "./dom.js";
import { drawn } from "./details.js";
import * as diagram from "./diagram.js";

const NAMES = {
  client: "client", auth: "auth server", api: "guarded API", authorizer: "authorizer",
};
const PACE = 650; // milliseconds between animated steps

const list = byId("steps");
const calm = matchMedia("(prefers-reduced-motion: reduce)");

/** True if the remaining steps appear at once, and the function that ends the current pause. */
let isSkipped = false;
let endPause = () => {};

/** Remove all steps, and animate again. */
export function clear() {
  isSkipped = false;
  list.replaceChildren();
  byId("no-steps").hidden = false;
  diagram.reset();
}

/** Show the remaining steps of this scene without pauses. */
export function skip() {
  isSkipped = true;
  endPause();
}

/**
 * Show steps one after the other.
 *
 * @param {any[]} steps
 */
export async function show(steps) {
  for (const step of steps) {
    add(step);
    if (!calm.matches && !isSkipped) await pause();
  }
}

/**
 * Show a text in the status box, which screen readers announce.
 *
 * @param {{chip: string, title: string, sentence: string, tone: string}} words
 */
export function announce({ chip, title, sentence, tone }) {
  byId("now").className = `now ${tone}`;
  byId("now-chip").textContent = chip;
  byId("now-title").textContent = title;
  byId("now-sentence").textContent = sentence;
}

function pause() {
  return new Promise((done) => {
    endPause = done;
    setTimeout(done, PACE);
  });
}

function add(step) {
  byId("no-steps").hidden = true;
  const way = step.from === step.to ? NAMES[step.from] : `${NAMES[step.from]} → ${NAMES[step.to]}`;
  const chip = step.chip ? [element("span", { class: `chip ${step.tone}` }, step.chip)] : [];
  const item = element("li", { class: `card ${step.tone}` },
    element("div", {},
      element("div", { class: "step-head" },
        element("h3", {}, step.title), element("span", { class: "way" }, way), ...chip),
      element("p", {}, step.sentence),
      ...step.details.flatMap((detail) => drawn(detail, copy))));
  for (const kind of ["pointerenter", "focusin"]) {
    item.addEventListener(kind, () => diagram.show(step));
  }
  list.append(item);
  diagram.show(step);
  announce({ chip: way, title: step.title, sentence: step.sentence, tone: step.tone });
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    announce({ chip: "", title: "Copied", sentence: "The curl command is in the clipboard.", tone: "plain" });
  } catch {
    announce({ chip: "", title: "Not copied", sentence: "The browser does not allow it: select the command and copy it.", tone: "bad" });
  }
}
