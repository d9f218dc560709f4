import { byId } from "./dom.js";

const diagram = byId("diagram");

/**
 * Highlight a step's message and its components.
 *
 * @param {{from: string, to: string, tone: string}} step
 */
export function show(step) {
  diagram.setAttribute("class", step.tone);
  const way = `${step.from} ${step.to}`;
  for (const message of diagram.querySelectorAll(".message")) {
    message.classList.toggle("on", message.dataset.way === way);
  }
  for (const actor of diagram.querySelectorAll(".actor")) {
    actor.classList.toggle("on", way.split(" ").includes(actor.dataset.actor));
  }
}

/** Remove every highlight. */
export function reset() {
  diagram.removeAttribute("class");
  for (const each of diagram.querySelectorAll(".message, .actor")) each.classList.remove("on");
}
