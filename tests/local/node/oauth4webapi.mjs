// oauth4webapi: every step of the protocol by hand.
import assert from 'node:assert/strict';
import * as oauth from 'oauth4webapi';
import {
  ACCESS_TOKEN, TOKEN_EXCHANGE, claimsOf, fetchWithCertificate, isCountry, laptop, prove, secretOf,
  signingKey,
} from './proofs.mjs';

const insecure = { [oauth.allowInsecureRequests]: true };
const issuer = new URL(laptop.issuer);

const discover = async (algorithm) =>
  oauth.processDiscoveryResponse(
    issuer, await oauth.discoveryRequest(issuer, { ...insecure, algorithm }));

const server = await discover('oauth2');

const ask = async (clientId, authentication, parameters = {}, options = {}) => {
  const client = { client_id: clientId, use_mtls_endpoint_aliases: options.behindMutualTls };
  const response = await oauth.clientCredentialsGrantRequest(
    server, client, authentication, new URLSearchParams(parameters), { ...insecure, ...options });
  return oauth.processClientCredentialsResponse(server, client, response);
};

const withSecret = (clientId, parameters, options) =>
  ask(clientId, oauth.ClientSecretBasic(secretOf(clientId)), parameters, options);

const introspect = async (clientId, token, options = {}) => {
  const client = { client_id: clientId };
  const response = await oauth.introspectionRequest(
    server, client, oauth.ClientSecretBasic(secretOf(clientId)), token, { ...insecure, ...options });
  return oauth.processIntrospectionResponse(server, client, response, insecure);
};

const revoke = async (clientId, token) =>
  oauth.processRevocationResponse(
    await oauth.revocationRequest(
      server, { client_id: clientId }, oauth.ClientSecretBasic(secretOf(clientId)), token, insecure));

const withCertificate = (clientId, certificate) =>
  ask(clientId, oauth.TlsClientAuth(), {}, {
    behindMutualTls: true,
    [oauth.customFetch]: fetchWithCertificate(certificate),
  });

// Ask once without a nonce, as a client that knows none, and again with the one offered.
const bound = async (clientId, algorithm) => {
  const keys = await oauth.generateKeyPair(algorithm);
  const DPoP = oauth.DPoP({ client_id: clientId }, keys);
  const attempt = () => withSecret(clientId, {}, { DPoP });
  let refusal;
  const token = await attempt().catch((error) => {
    if (!oauth.isDPoPNonceError(error)) throw error;
    refusal = error;
    return attempt();
  });
  return { token, refusal, thumbprint: await DPoP.calculateThumbprint(), DPoP };
};

await prove({
  'discovery at the host\'s root': async () => assert.equal(server.issuer, laptop.issuer),
  'discovery below the issuer': async () => assert.deepEqual(await discover('oidc'), server),
  'client_secret_basic': async () => {
    const answer = await withSecret('service-client-jwt', { scope: 'country.read' });
    assert.equal(answer.token_type, 'bearer');
    assert.equal(answer.scope, 'country.read');
  },
  'client_secret_post': async () => {
    const post = oauth.ClientSecretPost(secretOf('service-client-jwt'));
    assert.ok((await ask('service-client-jwt', post)).access_token);
  },
  'private_key_jwt': async () => {
    const authentication = oauth.PrivateKeyJwt(await signingKey());
    assert.ok((await ask('service-client-key', authentication)).access_token);
  },
  'tls_client_auth': async () =>
    assert.ok((await withCertificate('service-client-mtls', laptop.certificate)).access_token),
  'self_signed_tls_client_auth': async () => {
    const certificate = laptop.selfSignedCertificate;
    assert.ok((await withCertificate('service-client-self-signed', certificate)).access_token);
  },
  'a wrong secret is a challenge': async () => {
    const wrong = ask('service-client-jwt', oauth.ClientSecretBasic('wrong'));
    const error = await wrong.then(() => assert.fail('accepted'), (reason) => reason);
    assert.equal(error.code, oauth.WWW_AUTHENTICATE_CHALLENGE);
    assert.equal(error.cause[0].scheme, 'basic');
  },
  'a resource is the audience': async () => {
    const { access_token: token } = await withSecret(
      'service-client-api', { resource: 'https://customer.example' });
    assert.equal(claimsOf(token).aud, 'https://customer.example');
  },
  'an error has its code': async () => {
    const wrong = withSecret('service-client-api', { resource: 'https://elsewhere.example' });
    const error = await wrong.then(() => assert.fail('accepted'), (reason) => reason);
    assert.equal(error.error, 'invalid_target');
  },
  'DPoP with a nonce': async () => {
    const { token, refusal, thumbprint } = await bound('service-client-dpop', 'ES256');
    assert.equal(refusal.error, 'use_dpop_nonce');
    assert.equal(token.token_type, 'dpop');
    assert.equal(claimsOf(token.access_token).cnf.jkt, thumbprint);
  },
  'DPoP with RSA keys': async () => {
    for (const algorithm of ['RS256', 'PS256']) {
      assert.equal((await bound('service-client-dpop', algorithm)).token.token_type, 'dpop');
    }
  },
  'introspection': async () => {
    const { access_token: token } = await withSecret('service-client-opaque', { scope: 'country.read' });
    const answer = await introspect('service-client-opaque', token);
    assert.equal(answer.active, true);
    assert.equal(answer.client_id, 'service-client-opaque');
    assert.deepEqual(await introspect('service-client-jwt', token), { active: false });
  },
  'signed introspection': async () => {
    const { access_token: token } = await withSecret('service-client-api');
    const client = {
      client_id: 'service-client-api', introspection_signed_response_alg: 'RS256',
    };
    const response = await oauth.introspectionRequest(
      server, client, oauth.ClientSecretBasic(secretOf('service-client-api')), token,
      { ...insecure, requestJwtResponse: true });
    const answer = await oauth.processIntrospectionResponse(server, client, response);
    assert.equal(answer.active, true);
    await oauth.validateApplicationLevelSignature(server, response, insecure);
  },
  'revocation': async () => {
    for (const clientId of ['service-client-opaque', 'service-client-api']) {
      const { access_token: token } = await withSecret(clientId);
      await revoke(clientId, token);
      assert.deepEqual(await introspect(clientId, token), { active: false });
      await revoke(clientId, token);
    }
  },
  'token exchange': async () => {
    const { access_token: received } = await withSecret(
      'service-client-api', { resource: 'https://customer.example', scope: 'country.read' });
    const client = { client_id: 'customer-service' };
    const response = await oauth.genericTokenEndpointRequest(
      server, client, oauth.ClientSecretBasic(secretOf('customer-service')), TOKEN_EXCHANGE,
      new URLSearchParams({ subject_token: received, subject_token_type: ACCESS_TOKEN }), insecure);
    const answer = await oauth.processGenericTokenEndpointResponse(server, client, response);
    assert.equal(answer.issued_token_type, ACCESS_TOKEN);
    assert.deepEqual(claimsOf(answer.access_token).act, { sub: 'customer-service' });
  },
  'an at+jwt is an access token of RFC 9068': async () => {
    const { access_token: token } = await withSecret('service-client-api');
    const request = new Request(`${laptop.guardedApi}/country/code/AUS`, {
      headers: { Authorization: `Bearer ${token}` },
    });
    const claims = await oauth.validateJwtAccessToken(
      server, request, 'https://country.example', insecure);
    assert.equal(claims.client_id, 'service-client-api');
  },
  'a bound at+jwt and its proof': async () => {
    const { token, DPoP } = await bound('service-client-dpop', 'ES256');
    let sent;
    await oauth.protectedResourceRequest(
      token.access_token, 'GET', new URL('https://country.example/country'), undefined, undefined, {
        DPoP,
        [oauth.customFetch]: async (url, init) => {
          sent = new Request(url, { method: init.method, headers: init.headers });
          return new Response();
        },
      });
    const claims = await oauth.validateJwtAccessToken(
      server, sent, 'https://country.example', { ...insecure, requireDPoP: true });
    assert.equal(claims.client_id, 'service-client-dpop');
  },
  'an API that takes proofs, and takes each once': async () => {
    const { token, DPoP } = await bound('service-client-api', 'ES256');
    const url = new URL(`${laptop.boundApi}/country/code/AUS`);
    let sent;
    const remember = (to, init) => fetch(to, sent = init);
    await isCountry(await oauth.protectedResourceRequest(
      token.access_token, 'GET', url, undefined, undefined,
      { ...insecure, DPoP, [oauth.customFetch]: remember }));
    assert.equal((await fetch(url, sent)).status, 401);
  },
  'the guarded API with a token': async () => {
    const { access_token: token } = await withSecret('service-client-jwt', { scope: 'country.read' });
    await isCountry(await oauth.protectedResourceRequest(
      token, 'GET', new URL(`${laptop.guardedApi}/country/code/AUS`), undefined, undefined, insecure));
  },
  'the guarded API without a scope is a challenge': async () => {
    const { access_token: token } = await withSecret('service-client-jwt', { scope: 'customer.read' });
    const refused = oauth.protectedResourceRequest(
      token, 'GET', new URL(`${laptop.guardedApi}/country/code/AUS`), undefined, undefined, insecure);
    const error = await refused.then(() => assert.fail('accepted'), (reason) => reason);
    assert.equal(error.cause[0].parameters.error, 'insufficient_scope');
  },
  'the guarded API\'s own metadata': async () => {
    const resource = new URL(laptop.guardedApi);
    const metadata = await oauth.processResourceDiscoveryResponse(
      resource, await oauth.resourceDiscoveryRequest(resource, insecure));
    assert.deepEqual(metadata.authorization_servers, [laptop.issuer]);
  },
  'a token for the resource that the guarded API says it is': async () => {
    const url = new URL(laptop.guardedApi);
    const { resource, scopes_supported: scopes } = await oauth.processResourceDiscoveryResponse(
      url, await oauth.resourceDiscoveryRequest(url, insecure));
    const { access_token: token } = await withSecret(
      'service-client-api', { resource, scope: scopes.join(' ') });
    assert.equal(claimsOf(token).aud, laptop.guardedApi);
    await isCountry(await oauth.protectedResourceRequest(
      token, 'GET', new URL(`${laptop.guardedApi}/country/code/AUS`), undefined, undefined, insecure));
  },
});
