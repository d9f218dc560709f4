import { byId } from "./dom.js";
import { chosen, offer, scopesThatOpenNothing } from "./choices.js";
import { clear, show, announce, skip } from "./steps.js";
import { ask } from "./tasks.js";

/** The token of the last run: the same one can be used again. @type {{token: string, scheme: string} | null} */
let current = null;

/** The function of each button. A scene begins without steps. */
const SCENES = {
  run: () => tokenThenCall(),
  again: () => call(current),
  expire: () => tokenThenCall({ mishap: "expire" }),
  tamper: () => tokenThenCall({ mishap: "tamper" }),
  narrow: () => tokenThenCall({ scopes: scopesThatOpenNothing() }),
  rotate: () => changeThenCall("rotate"),
  bring_back: () => changeThenCall("bring_back"),
  "down:fresh": () => changeThenCall("take_down", { with: "fresh" }),
  "down:stale": () => changeThenCall("take_down", { with: "stale" }),
  "down:nothing": () => changeThenCall("take_down", { with: "nothing" }),
};

async function changeThenCall(task, wanted) {
  const change = await ask(task, wanted);
  if ("down" in change) showOutage(change.down);
  await show(change.steps);
  await tokenThenCall();
}

async function tokenThenCall({ mishap, scopes } = {}) {
  current = null; // after a failure, the token of an earlier run must not be used
  const choice = chosen();
  const got = await ask("token", { client: choice.client, scopes: scopes ?? choice.scopes });
  await show(got.steps);
  if (got.token === null) return;
  current = { token: got.token, scheme: got.scheme };
  if (mishap) {
    const changed = await ask(mishap, { token: got.token });
    await show(changed.steps);
    current.token = changed.token;
  }
  await call(current);
}

async function call({ token, scheme }) {
  const answer = await ask("call", { path: chosen().path, token, scheme });
  await show(answer.steps);
}

async function perform(scene) {
  if (isBusy() || (scene === "again" && current === null)) return;
  busy(true);
  clear();
  byId("stage").scrollIntoView({ block: "nearest" });
  try {
    await SCENES[scene]();
  } catch (error) {
    clear();
    announce({ chip: "", title: "The task failed", sentence: error.message, tone: "bad" });
  } finally {
    busy(false);
  }
}

/** One scene runs at a time. `disabled` buttons would lose the focus, so `aria-disabled` is set. */
function busy(isOn) {
  document.body.dataset.busy = String(isOn);
  for (const button of document.querySelectorAll(".controls button")) {
    button.setAttribute("aria-disabled", String(isOn));
  }
  byId("again").setAttribute("aria-disabled", String(isOn || current === null));
  byId("skip").setAttribute("aria-disabled", String(!isOn));
}

function isBusy() {
  return document.body.dataset.busy === "true";
}

/** Show whether the endpoint is down. If the alarm had the focus, its heading gets it. */
function showOutage(isDown) {
  const alarm = byId("down");
  if (!isDown && alarm.contains(document.activeElement)) byId("break-title").focus();
  alarm.hidden = !isDown;
}

function listen() {
  byId("choices").addEventListener("submit", (event) => {
    event.preventDefault();
    perform("run");
  });
  byId("again").addEventListener("click", () => perform("again"));
  byId("skip").addEventListener("click", skip);
  document.addEventListener("keydown", ({ key }) => {
    if (key === "Escape") skip();
  });
  for (const button of document.querySelectorAll("[data-scene]")) {
    button.addEventListener("click", () => perform(button.dataset.scene));
  }
}

try {
  const setting = await ask("setting");
  offer(setting);
  showOutage(setting.down);
  listen();
  busy(false);
} catch (error) {
  announce({ chip: "", title: "The task failed", sentence: error.message, tone: "bad" });
}
