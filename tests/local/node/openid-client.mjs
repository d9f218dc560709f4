// openid-client: the same protocol, as its users write it.
import assert from 'node:assert/strict';
import * as client from 'openid-client';
import {
  ACCESS_TOKEN, TOKEN_EXCHANGE, claimsOf, fetchWithCertificate, isCountry, laptop, prove, secretOf,
  signingKey,
} from './proofs.mjs';

const discover = (clientId, authentication, algorithm = 'oauth2') =>
  client.discovery(new URL(laptop.issuer), clientId, undefined, authentication, {
    algorithm, execute: [client.allowInsecureRequests],
  });

const withSecret = (clientId) => discover(clientId, client.ClientSecretBasic(secretOf(clientId)));
const ask = async (config, parameters = {}, options = {}) =>
  client.clientCredentialsGrant(await config, parameters, options);

const behindMutualTls = async (clientId, certificate) => {
  const found = (await withSecret('service-client-jwt')).serverMetadata();
  const aliases = { use_mtls_endpoint_aliases: true };
  const config = new client.Configuration(found, clientId, aliases, client.TlsClientAuth());
  config[client.customFetch] = fetchWithCertificate(certificate);
  return config;
};
const withCertificate = (...given) => ask(behindMutualTls(...given));

await prove({
  'discovery at the host\'s root': async () =>
    assert.equal((await withSecret('service-client-jwt')).serverMetadata().issuer, laptop.issuer),
  'discovery below the issuer': async () => {
    const config = await discover('service-client-jwt', client.None(), 'oidc');
    assert.equal(config.serverMetadata().issuer, laptop.issuer);
  },
  'client_secret_basic': async () =>
    assert.ok((await ask(withSecret('service-client-jwt'))).access_token),
  'client_secret_post': async () => {
    const post = client.ClientSecretPost(secretOf('service-client-jwt'));
    assert.ok((await ask(discover('service-client-jwt', post))).access_token);
  },
  'private_key_jwt': async () => {
    const authentication = client.PrivateKeyJwt(await signingKey());
    assert.ok((await ask(discover('service-client-key', authentication))).access_token);
  },
  'tls_client_auth': async () =>
    assert.ok((await withCertificate('service-client-mtls', laptop.certificate)).access_token),
  'self_signed_tls_client_auth': async () => {
    const certificate = laptop.selfSignedCertificate;
    assert.ok((await withCertificate('service-client-self-signed', certificate)).access_token);
  },
  'DPoP with a nonce': async () => {
    const config = await withSecret('service-client-dpop');
    const DPoP = client.getDPoPHandle(config, await client.randomDPoPKeyPair());
    const answer = await ask(config, {}, { DPoP });
    assert.equal(answer.token_type, 'dpop');
    assert.equal(claimsOf(answer.access_token).cnf.jkt, await DPoP.calculateThumbprint());
  },
  'DPoP behind mutual TLS': async () => {
    const config = await behindMutualTls('service-client-mtls', laptop.certificate);
    const DPoP = client.getDPoPHandle(config, await client.randomDPoPKeyPair());
    assert.equal((await ask(config, {}, { DPoP })).token_type, 'dpop');
  },
  'the bound API with DPoP': async () => {
    const config = await withSecret('service-client-api');
    const DPoP = client.getDPoPHandle(config, await client.randomDPoPKeyPair('PS256'));
    const { access_token: token } = await ask(config, {}, { DPoP });
    const url = new URL(`${laptop.boundApi}/country/code/AUS`);
    for (let times = 0; times < 2; times += 1) {
      await isCountry(await client.fetchProtectedResource(
        config, token, url, 'GET', undefined, undefined, { DPoP }));
    }
    const stolen = client.fetchProtectedResource(config, token, url, 'GET');
    await assert.rejects(stolen, { name: 'WWWAuthenticateChallengeError', status: 401 });
  },
  'the bound API with a certificate': async () => {
    const config = await behindMutualTls('service-client-bound', laptop.certificate);
    const { access_token: token } = await ask(config, { scope: 'country.read' });
    assert.ok(claimsOf(token).cnf['x5t#S256']);
    const url = new URL(`${laptop.mtlsBoundApi}/country/code/AUS`);
    await isCountry(await client.fetchProtectedResource(config, token, url, 'GET'));
    config[client.customFetch] = fetchWithCertificate(laptop.selfSignedCertificate);
    const stolen = client.fetchProtectedResource(config, token, url, 'GET');
    await assert.rejects(stolen, { name: 'WWWAuthenticateChallengeError', status: 401 });
  },
  'introspection': async () => {
    const config = await withSecret('service-client-opaque');
    const { access_token: token } = await ask(config, { scope: 'country.read' });
    const answer = await client.tokenIntrospection(config, token);
    assert.deepEqual([answer.active, answer.scope], [true, 'country.read']);
  },
  'revocation': async () => {
    const config = await withSecret('service-client-opaque');
    const { access_token: token } = await ask(config);
    await client.tokenRevocation(config, token);
    assert.deepEqual(await client.tokenIntrospection(config, token), { active: false });
  },
  'revoking and asking again': async () => {
    const config = await withSecret('service-client-jwt');
    for (let times = 0; times < 3; times += 1) {
      const { access_token: token } = await ask(config, { scope: 'country.read' });
      assert.equal((await client.tokenIntrospection(config, token)).active, true);
      await isCountry(await client.fetchProtectedResource(
        config, token, new URL(`${laptop.guardedApi}/country/code/AUS`), 'GET'));
      await client.tokenRevocation(config, token);
      assert.deepEqual(await client.tokenIntrospection(config, token), { active: false });
    }
  },
  'token exchange': async () => {
    const { access_token: received } = await ask(
      withSecret('service-client-api'), { resource: 'https://customer.example' });
    const answer = await client.genericGrantRequest(
      await withSecret('customer-service'), TOKEN_EXCHANGE,
      { subject_token: received, subject_token_type: ACCESS_TOKEN });
    assert.equal(claimsOf(answer.access_token).sub, 'service-client-api');
  },
  'the guarded API with a token': async () => {
    const config = await withSecret('service-client-jwt');
    const { access_token: token } = await ask(config, { scope: 'country.read' });
    await isCountry(await client.fetchProtectedResource(
      config, token, new URL(`${laptop.guardedApi}/country/code/AUS`), 'GET'));
  },
});
