// One contender in a process of its own, as tests/benchmarks/contenders.py describes it.
import { createInterface } from 'node:readline';
import { createVerifier } from 'fast-jwt';
import { authorizer } from './authorizer.mjs';
import { fastJwtOptions, pem, verifiers } from './verifiers.mjs';

const fastJwt = (world, cache) => createVerifier({
  key: pem(world.keySet.keys[0]), cache, ...fastJwtOptions(world),
});

const contenders = {
  authorizer: (setup) => [authorizer(setup), setup.events],
  'aws-jwt-verify': ({ world, tokens }) => [verifiers['aws-jwt-verify'](world), tokens],
  jose: ({ world, tokens }) => [verifiers.jose(world), tokens, true],
  'fast-jwt': ({ world, tokens }) => [fastJwt(world, false), tokens],
  'fast-jwt, cached': ({ world, tokens }) => [fastJwt(world, true), tokens.slice(0, 1)],
};

// User and system time of all threads, in nanoseconds.
const processorTime = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) * 1000;
};

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const setup = JSON.parse((await lines.next()).value);
const [run, inputs, isAsync] = contenders[process.argv[2]](setup);
let at = 0;
const measure = async (count) => {
  const started = processorTime();
  if (isAsync) {
    for (let n = 0; n < count; n += 1) { await run(inputs[at]); at = (at + 1) % inputs.length; }
  } else {
    for (let n = 0; n < count; n += 1) { run(inputs[at]); at = (at + 1) % inputs.length; }
  }
  return processorTime() - started;
};

await measure(setup.warm_up ?? 20_000);
process.stdout.write('ready\n');
for await (const line of lines) process.stdout.write(`${await measure(Number(line))}\n`);
