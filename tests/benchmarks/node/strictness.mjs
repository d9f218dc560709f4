// Shows tokens to every verifier. Reads {now, worlds, tokens: [[world's index, token], …]} from
// standard input; writes {versions, verdicts: {verifier: ["accepted" | "refused" | null, …]}}.
import { readFileSync } from 'node:fs';
import { verifiers, versions } from './verifiers.mjs';

const { now, worlds, tokens } = JSON.parse(readFileSync(0, 'utf8'));

// Every verifier's clock stands where the tokens' issuer's stood.
const RealDate = Date;
globalThis.Date = class extends RealDate {
  constructor(...given) {
    super(...(given.length ? given : [now * 1000]));
  }

  static now() {
    return now * 1000;
  }
};

const attempt = async (action) => {
  try {
    return { value: await action() };
  } catch {
    return null;
  }
};

const verdicts = {};
for (const [name, make] of Object.entries(verifiers)) {
  const made = await Promise.all(worlds.map((world) => attempt(() => make(world))));
  verdicts[name] = [];
  for (const [at, token] of tokens) {
    if (made[at]?.value === null) verdicts[name].push(null);
    else if (!made[at]) verdicts[name].push('refused');
    else verdicts[name].push(await attempt(() => made[at].value(token)) ? 'accepted' : 'refused');
  }
}
process.stdout.write(JSON.stringify({ versions: versions(), verdicts }));
