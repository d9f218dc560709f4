// What every script here shares: the running services' addresses, and a list of things to prove.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { request } from 'node:https';
import { importPKCS8 } from 'jose';

export const laptop = JSON.parse(process.argv[2]);
export const secretOf = (clientId) => `${clientId}-secret`;
export const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token';
export const TOKEN_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';

export const signingKey = async () => ({
  kid: 'laptop',
  key: await importPKCS8(readFileSync(laptop.signingKey, 'utf8'), 'ES256'),
});

// Like fetch, with a client certificate: Node's own fetch takes none.
export const fetchWithCertificate = (certificate) => (url, { method, headers, body }) => {
  const options = {
    method,
    headers: Object.fromEntries(new Headers(headers)),
    ca: readFileSync(laptop.authority),
    cert: readFileSync(certificate),
    key: readFileSync(certificate),
  };
  return new Promise((resolve, reject) => {
    const sent = request(url, options, async (answer) => {
      const chunks = [];
      for await (const chunk of answer) chunks.push(chunk);
      const { statusCode: status, headers: received } = answer;
      resolve(new Response(Buffer.concat(chunks), { status, headers: received }));
    });
    sent.on('error', reject);
    sent.end(body?.toString());
  });
};

// Run every proof, one after the other; print which held, and what was wrong with the others.
export const prove = async (proofs) => {
  const outcomes = {};
  for (const [name, proof] of Object.entries(proofs)) {
    try {
      await proof();
      outcomes[name] = 'proved';
    } catch (error) {
      outcomes[name] = `${error.stack}\n${JSON.stringify(error.cause ?? null)}`;
    }
  }
  console.log(JSON.stringify(outcomes));
};

export const claimsOf = (token) =>
  JSON.parse(Buffer.from(token.split('.')[1], 'base64url').toString());

export const isCountry = async (response) => {
  assert.equal(response.status, 200);
  assert.deepEqual(await response.json(), { code: 'AUS', name: 'AUSTRALIA' });
};

const post = async (path, clientId, parameters) => {
  const body = new URLSearchParams({
    client_id: clientId, client_secret: secretOf(clientId), ...parameters,
  });
  return (await fetch(`${laptop.issuer}/oauth2/${path}`, { method: 'POST', body })).json();
};

export const tokenOf = async (clientId, parameters = {}) =>
  (await post('token', clientId, { grant_type: 'client_credentials', ...parameters })).access_token;

export const introspect = (clientId, token) => post('introspect', clientId, { token });

export const callApi = async (token) =>
  isCountry(await fetch(`${laptop.guardedApi}/country/code/AUS`, {
    headers: { Authorization: `Bearer ${token}` },
  }));
