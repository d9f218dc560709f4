import { byId } from "./dom.js";
import { chosen, offer, scopesThatOpenNothing } from "./choices.js";
import { clear, play, say, skip } from "./steps.js";
import { ask } from "./tasks.js";

/** The token of the last run: the same one can be used again. @type {{token: string, scheme: string} | null} */
let held = null;

/** What each button does. A scene begins on an empty stage. */
const SCENES = {
  run: () => tokenThenCall(),
  again: () => call(held),
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
  if ("down" in change) tell(change.down);
  await play(change.steps);
  await tokenThenCall();
}

async function tokenThenCall({ mishap, scopes } = {}) {
  held = null; // a failure must not leave the token of an earlier run
  const choice = chosen();
  const got = await ask("token", { client: choice.client, scopes: scopes ?? choice.scopes });
  await play(got.steps);
  if (got.token === null) return;
  held = { token: got.token, scheme: got.scheme };
  if (mishap) {
    const changed = await ask(mishap, { token: got.token });
    await play(changed.steps);
    held.token = changed.token;
  }
  await call(held);
}

async function call({ token, scheme }) {
  const answer = await ask("call", { path: chosen().path, token, scheme });
  await play(answer.steps);
}

async function perform(scene) {
  if (isBusy() || (scene === "again" && held === null)) return;
  busy(true);
  clear();
  byId("stage").scrollIntoView({ block: "nearest" });
  try {
    await SCENES[scene]();
  } catch (error) {
    clear();
    say({ chip: "", title: "That did not work", sentence: error.message, tone: "bad" });
  } finally {
    busy(false);
  }
}

/** While a scene is on, no other may begin. Buttons keep the focus, so they are not `disabled`. */
function busy(isOn) {
  document.body.dataset.busy = String(isOn);
  for (const button of document.querySelectorAll(".controls button")) {
    button.setAttribute("aria-disabled", String(isOn));
  }
  byId("again").setAttribute("aria-disabled", String(isOn || held === null));
  byId("skip").setAttribute("aria-disabled", String(!isOn));
}

function isBusy() {
  return document.body.dataset.busy === "true";
}

/** Say that the endpoint is down, or no more; who has just brought it back goes on from there. */
function tell(isDown) {
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
  tell(setting.down);
  listen();
  busy(false);
} catch (error) {
  say({ chip: "", title: "That did not work", sentence: error.message, tone: "bad" });
}
