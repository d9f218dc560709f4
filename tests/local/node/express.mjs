// Express services with tokens of ours: express-oauth2-jwt-bearer, and express-jwt with jwks-rsa.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import express from 'express';
import { expressjwt } from 'express-jwt';
import { auth, requiredScopes } from 'express-oauth2-jwt-bearer';
import jwksRsa from 'jwks-rsa';
import { laptop, prove, tokenOf } from './proofs.mjs';

const issuer = laptop.issuer;
const COUNTRY_API = 'https://country.example';

const byDiscovery = (audience, options = {}) => auth({ issuerBaseURL: issuer, audience, ...options });

const byKeySet = (audience) => expressjwt({
  secret: jwksRsa.expressJwtSecret({ jwksUri: `${issuer}/oauth2/jwks`, cache: true }),
  algorithms: ['RS256'], issuer, audience,
});

// Ask a service that is guarded so, once.
const ask = async (guards, token) => {
  const application = express();
  application.get('/', ...guards, (request, response) => response.json(request.auth));
  application.use((error, request, response, next) => response.sendStatus(error.status ?? 500));
  const server = application.listen(0, '127.0.0.1');
  await once(server, 'listening');
  try {
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    const response = await fetch(`http://127.0.0.1:${server.address().port}/`, { headers });
    return [response.status, response.ok ? await response.json() : undefined];
  } finally {
    server.closeAllConnections();
    server.close();
  }
};

await prove({
  'express-oauth2-jwt-bearer finds the keys by the issuer alone': async () => {
    const [status, { payload }] = await ask(
      [byDiscovery(COUNTRY_API)], await tokenOf('service-client-api'));
    assert.deepEqual([status, payload.client_id], [200, 'service-client-api']);
  },
  'express-oauth2-jwt-bearer takes an at+jwt as RFC 9068 wants it': async () => {
    const strictly = [byDiscovery(COUNTRY_API, { strict: true })];
    assert.equal((await ask(strictly, await tokenOf('service-client-api')))[0], 200);
    const plain = [byDiscovery('service-client-jwt', { strict: true })];
    assert.equal((await ask(plain, await tokenOf('service-client-jwt')))[0], 401);
  },
  'express-oauth2-jwt-bearer reads scopes of both profiles': async () => {
    const audiences = { 'service-client-api': COUNTRY_API, 'service-client-jwt': 'service-client-jwt' };
    for (const [clientId, audience] of Object.entries(audiences)) {
      const token = await tokenOf(clientId, { scope: 'country.read' });
      const guarded = (scope) => [byDiscovery(audience), requiredScopes(scope)];
      assert.equal((await ask(guarded('country.read'), token))[0], 200);
      assert.equal((await ask(guarded('customer.write'), token))[0], 403);
    }
  },
  'express-oauth2-jwt-bearer refuses a token for another API': async () => {
    const elsewhere = [byDiscovery('https://customer.example')];
    assert.equal((await ask(elsewhere, await tokenOf('service-client-api')))[0], 401);
    assert.equal((await ask(elsewhere))[0], 401);
  },
  'express-jwt with jwks-rsa takes both profiles': async () => {
    const [status, claims] = await ask(
      [byKeySet(COUNTRY_API)], await tokenOf('service-client-api'));
    assert.deepEqual([status, claims.scope], [200, 'country.read']);
    const plain = await tokenOf('service-client-jwt', { scope: 'country.read' });
    const [other, listed] = await ask([byKeySet('service-client-jwt')], plain);
    assert.deepEqual([other, listed.scope], [200, ['country.read']]);
    assert.equal((await ask([byKeySet(COUNTRY_API)], plain))[0], 401);
  },
});
