import { byId, element } from "./dom.js";

const kind = byId("kind");
const client = byId("client");
const scopes = byId("scopes");
const route = byId("route");

/** @type {any} */
let setting;

/**
 * Fill the form.
 *
 * @param {any} given the options
 */
export function offer(given) {
  setting = given;
  const offered = Object.entries(given.kinds).filter(([name]) =>
    given.clients.some((each) => each.kind === name));
  kind.replaceChildren(...offered.map(([name, title]) => option(name, title)));
  route.replaceChildren(...given.routes.map((path) => option(path, `GET ${path}`)));
  kind.addEventListener("change", offerClients);
  client.addEventListener("change", offerScopes);
  offerClients();
}

/** @returns {{client: string, scopes: string[], path: string}} the selection */
export function chosen() {
  const checked = [...scopes.querySelectorAll("input:checked")].map((box) => box.value);
  return { client: client.value, scopes: checked, path: route.value };
}

/** @returns {string[]} selected scopes that open no route, or all such scopes of the client */
export function scopesThatOpenNothing() {
  const closed = (scope) => !setting.opening.includes(scope);
  const left = chosen().scopes.filter(closed);
  return left.length ? left : selected().scopes.filter(closed);
}

function offerClients() {
  const fitting = setting.clients.filter((each) => each.kind === kind.value);
  client.replaceChildren(...fitting.map(({ id, authentication }) =>
    option(id, `${id} (${authentication})`)));
  offerScopes();
}

function offerScopes() {
  scopes.replaceChildren(...selected().scopes.map((scope) => {
    const box = element("input", { type: "checkbox", value: scope, checked: setting.opening.includes(scope) });
    return element("label", {}, box, scope);
  }));
}

function selected() {
  return setting.clients.find((each) => each.id === client.value);
}

function option(value, title) {
  return element("option", { value }, title);
}
