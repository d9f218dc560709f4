// One contender in a process of its own, as tests/benchmarks/contenders.py describes it.
import { createInterface } from 'node:readline';
import { createVerifier } from 'fast-jwt';
import { fastJwtOptions, pem, verifiers } from './verifiers.mjs';

const fastJwt = (world, cache) => createVerifier({
  key: pem(world.keySet.keys[0]), cache, ...fastJwtOptions(world),
});

const contenders = {
  'aws-jwt-verify': ({ world, tokens }) => [verifiers['aws-jwt-verify'](world), tokens],
  jose: ({ world, tokens }) => [verifiers.jose(world), tokens, true],
  'fast-jwt': ({ world, tokens }) => [fastJwt(world, false), tokens],
  'fast-jwt, cached': ({ world, tokens }) => [fastJwt(world, true), tokens.slice(0, 1)],
};

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const [run, inputs, isAsync] = contenders[process.argv[2]](JSON.parse((await lines.next()).value));
let at = 0;
const measure = async (count) => {
  const started = process.hrtime.bigint();
  if (isAsync) {
    for (let n = 0; n < count; n += 1) { await run(inputs[at]); at = (at + 1) % inputs.length; }
  } else {
    for (let n = 0; n < count; n += 1) { run(inputs[at]); at = (at + 1) % inputs.length; }
  }
  return process.hrtime.bigint() - started;
};

await measure(Math.max(inputs.length, 20_000));
process.stdout.write('ready\n');
for await (const line of lines) process.stdout.write(`${await measure(Number(line))}\n`);
