// jose: tokens, keys and proofs, without a protocol around them.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import {
  SignJWT, calculateJwkThumbprint, createRemoteJWKSet, exportJWK, generateKeyPair, jwtVerify,
} from 'jose';
import { claimsOf, laptop, prove, secretOf, signingKey } from './proofs.mjs';

const ASSERTION_TYPE = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';
const keys = createRemoteJWKSet(new URL(`${laptop.issuer}/oauth2/jwks`));
const issuer = laptop.issuer;

const post = (path, parameters, headers = {}) =>
  fetch(`${issuer}${path}`, { method: 'POST', headers, body: new URLSearchParams(parameters) });

const ask = async (parameters, headers) => {
  const response = await post(
    '/oauth2/token', { grant_type: 'client_credentials', ...parameters }, headers);
  return { status: response.status, headers: response.headers, ...(await response.json()) };
};

const secret = (clientId) => ({ client_id: clientId, client_secret: secretOf(clientId) });

const proof = (pair, jwk, nonce) =>
  new SignJWT({ htm: 'POST', htu: `${issuer}/oauth2/token`, jti: randomUUID(), nonce })
    .setProtectedHeader({ typ: 'dpop+jwt', alg: 'ES256', jwk })
    .setIssuedAt()
    .sign(pair.privateKey);

await prove({
  'a key id is the key\'s thumbprint': async () => {
    const { keys: published } = await (await fetch(`${issuer}/oauth2/jwks`)).json();
    assert.ok(published.length);
    for (const jwk of published) assert.equal(await calculateJwkThumbprint(jwk), jwk.kid);
  },
  'a token of the plain profile': async () => {
    const clientId = 'service-client-jwt';
    const { access_token: token } = await ask({ ...secret(clientId), scope: 'country.read' });
    const options = { issuer, audience: clientId, subject: clientId, algorithms: ['RS256'] };
    const { payload } = await jwtVerify(token, keys, options);
    assert.deepEqual(payload.scope, ['country.read']);
  },
  'a token of the at+jwt profile': async () => {
    const { access_token: token } = await ask(secret('service-client-api'));
    const { payload } = await jwtVerify(token, keys, {
      issuer, audience: 'https://country.example', typ: 'at+jwt', algorithms: ['RS256'],
      requiredClaims: ['iss', 'exp', 'aud', 'sub', 'client_id', 'iat', 'jti'],
    });
    assert.equal(payload.scope, 'country.read');
  },
  'a changed token is refused': async () => {
    const { access_token: token } = await ask(secret('service-client-api'));
    const [header, , signature] = token.split('.');
    const claims = { ...claimsOf(token), scope: 'customer.write' };
    const changed = Buffer.from(JSON.stringify(claims)).toString('base64url');
    await assert.rejects(jwtVerify([header, changed, signature].join('.'), keys));
  },
  'an assertion authenticates, once': async () => {
    const { key, kid } = await signingKey();
    const assertion = await new SignJWT({ jti: randomUUID() })
      .setProtectedHeader({ alg: 'ES256', kid, typ: 'client-authentication+jwt' })
      .setIssuer('service-client-key').setSubject('service-client-key').setAudience(issuer)
      .setIssuedAt().setExpirationTime('1m')
      .sign(key);
    const parameters = { client_assertion_type: ASSERTION_TYPE, client_assertion: assertion };
    assert.equal((await ask(parameters)).status, 200);
    assert.equal((await ask(parameters)).error, 'invalid_client');
  },
  'a DPoP proof binds a token to its key': async () => {
    const pair = await generateKeyPair('ES256', { extractable: true });
    const jwk = await exportJWK(pair.publicKey);
    const client = secret('service-client-dpop');
    const refused = await ask(client, { DPoP: await proof(pair, jwk) });
    const nonce = refused.headers.get('DPoP-Nonce');
    const { access_token: token } = await ask(client, { DPoP: await proof(pair, jwk, nonce) });
    assert.equal(claimsOf(token).cnf.jkt, await calculateJwkThumbprint(jwk));
  },
  'a signed introspection answer': async () => {
    const client = secret('service-client-api');
    const { access_token: token } = await ask(client);
    const response = await post(
      '/oauth2/introspect', { ...client, token },
      { Accept: 'application/token-introspection+jwt' });
    const { payload } = await jwtVerify(await response.text(), keys, {
      issuer, audience: 'service-client-api', typ: 'token-introspection+jwt',
    });
    assert.equal(payload.token_introspection.active, true);
  },
});
