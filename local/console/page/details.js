import { element } from "./dom.js";

const LONGEST = 120; // characters of a line; a token is shown in full elsewhere
const TIMES = new Set(["exp", "iat", "nbf", "auth_time"]);

/** The function that draws each kind of detail (local/console/steps.py). */
const DRAWN = { http, token, keys, policy, facts, text };

/**
 * Draw one detail of a step.
 *
 * @param {{kind: string}} detail
 * @param {(text: string) => Promise<void>} copy
 * @returns {HTMLElement[]}
 */
export function drawn(detail, copy) {
  return DRAWN[detail.kind](detail, copy);
}

function http({ request, answer }, copy) {
  const sent = [`${request.method} ${request.url}`, ...fields(request.headers).map(shortened)];
  const form = fields(request.form, "=").map(shortened);
  if (form.length) sent.push("", ...form);
  const panes = [pane("Request", sent.join("\n"))];
  if (answer) {
    const head = `${answer.status} ${answer.reason}   (${answer.milliseconds.toFixed(1)} ms)`;
    const body = pretty(answer.body).split("\n").map(shortened);
    panes.push(pane("Response", [head, ...fields(answer.headers), "", ...body].join("\n")));
  }
  const exchange = element("details", { open: Boolean(answer) },
    element("summary", {}, answer ? "Request and response" : "Request"),
    element("div", { class: "panes" }, ...panes));
  return [exchange, curl(request.curl, copy)];
}

function curl(line, copy) {
  const button = element("button", { type: "button" }, "Copy as curl");
  button.addEventListener("click", () => copy(line));
  return element("div", { class: "curl" },
    element("details", {},
      element("summary", {}, "As a curl command, for bash in the repository's folder"),
      element("pre", {}, line)),
    button);
}

function token({ text: raw, header, claims }) {
  const parts = raw.split(".");
  const names = ["header", "claims", "signature"];
  const coloured = parts.flatMap((part, at) =>
    [at ? "." : "", element("span", { class: names[at] }, part)]);
  return [element("div", { class: "detail" },
    element("div", { class: "panes" },
      pane("Header", json(header)), pane("Claims", json(claims, moments(claims)))),
    element("details", {},
      element("summary", {}, "The encoded token"),
      element("div", { class: "raw" }, ...coloured)))];
}

function keys({ title, keys: set }) {
  const rows = set.map((key) => row(key.matched, [
    ["mono", key.kid], ["tight", key.alg],
    ["", mark(key.matched, key.note ?? "the token names it") || (key.note ?? "")]]));
  return [table(title, ["Key id", "Algorithm", ""], rows)];
}

function policy({ scopes, resources, document: whole }) {
  const opened = scopes.map(({ scope, routes }) =>
    row(false, [["mono", scope], ["mono", routes.join("\n") || "none of this API"]]));
  const named = resources.map(({ effect, resource, matched }) =>
    row(matched, [["", effect], ["mono", resource], ["", mark(matched, "this request")]]));
  return [
    table("Routes of the token's scopes", ["Scope", "Routes"], opened),
    table("The policy", ["Effect", "Resource", ""], named),
    ...text({ title: "The authorizer's response", text: whole })];
}

function facts({ facts: pairs }) {
  const listed = pairs.flatMap(([name, value]) =>
    [element("dt", {}, name), element("dd", {}, value)]);
  return [element("dl", { class: "detail" }, ...listed)];
}

function text({ title, text: whole }) {
  return [element("details", {}, element("summary", {}, title), element("pre", {}, whole))];
}

function pane(title, whole) {
  return element("div", {}, element("h4", {}, title), element("pre", {}, whole));
}

function table(title, columns, rows) {
  const heads = columns.map((name) => (name ? element("th", { scope: "col" }, name)
    : element("td", {})));
  return element("div", { class: "detail" },
    element("h4", {}, title),
    element("table", {},
      element("thead", {}, element("tr", {}, ...heads)), element("tbody", {}, ...rows)));
}

function row(matched, cells) {
  const drawnCells = cells.map(([kind, ...content]) => element("td", { class: kind }, ...content));
  return element("tr", { class: matched ? "matched" : "" }, ...drawnCells);
}

function mark(matched, words) {
  return matched ? element("span", { class: "mark" }, `← ${words}`) : "";
}

function fields(members, between = ": ") {
  return Object.entries(members).map(([name, value]) => `${name}${between}${value}`);
}

/** Shorten long lines, such as tokens. */
function shortened(line) {
  if (line.length <= LONGEST) return line;
  return `${line.slice(0, 60)}… (${line.length} characters) …${line.slice(-12)}`;
}

function pretty(body) {
  try {
    return JSON.stringify(JSON.parse(body), null, 2);
  } catch {
    return body;
  }
}

/** Write JSON with one member a line, and remarks behind members. */
function json(members, remarks = {}) {
  const lines = Object.entries(members).map(([name, value], at, all) => {
    const comma = at < all.length - 1 ? "," : "";
    const remark = remarks[name] ? `   ${remarks[name]}` : "";
    return `  "${name}": ${JSON.stringify(value)}${comma}${remark}`;
  });
  return ["{", ...lines, "}"].join("\n");
}

/** Return the distance of the claims' times from now. */
function moments(claims) {
  const now = Date.now() / 1000;
  const times = Object.entries(claims).filter(([name]) => TIMES.has(name));
  return Object.fromEntries(times.map(([name, time]) => [name, distance(time - now)]));
}

function distance(seconds) {
  const size = Math.abs(seconds);
  const [count, unit] = size < 90 ? [size, "s"] : size < 5400 ? [size / 60, "min"] : [size / 3600, "h"];
  const amount = `${Math.round(count)} ${unit}`;
  return seconds < 0 ? `${amount} ago` : `in ${amount}`;
}
