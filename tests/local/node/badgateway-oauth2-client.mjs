// @badgateway/oauth2-client: reads the metadata, and wraps fetch.
import assert from 'node:assert/strict';
import { OAuth2Client, OAuth2Fetch } from '@badgateway/oauth2-client';
import { callApi, claimsOf, isCountry, laptop, prove, secretOf } from './proofs.mjs';

const service = (clientId, settings = {}) =>
  new OAuth2Client({
    server: `${laptop.issuer}/`,
    discoveryEndpoint: `${laptop.issuer}/.well-known/openid-configuration`,
    clientId,
    clientSecret: secretOf(clientId),
    ...settings,
  });

const scope = ['country.read'];

const refusal = async (asked) => {
  const error = await asked.then(() => assert.fail('accepted'), (reason) => reason);
  return [error.httpCode, error.oauth2Code];
};

await prove({
  'the metadata says where and how': async () => {
    const client = service('service-client-jwt');
    assert.equal(await client.getEndpoint('tokenEndpoint'), `${laptop.issuer}/oauth2/token`);
    await callApi((await client.clientCredentials({ scope })).accessToken);
  },
  'each method with a secret': async () => {
    for (const authenticationMethod of
      ['client_secret_basic', 'client_secret_basic_interop', 'client_secret_post']) {
      const client = service('service-client-jwt', { authenticationMethod });
      await callApi((await client.clientCredentials({ scope })).accessToken);
    }
  },
  'a fetch that gets its own tokens': async () => {
    const client = service('service-client-opaque');
    const wrapper = new OAuth2Fetch({
      client, getNewToken: () => client.clientCredentials({ scope }),
    });
    await isCountry(await wrapper.fetch(`${laptop.guardedApi}/country/code/AUS`));
  },
  'a resource is the audience': async () => {
    const { accessToken } = await service('service-client-api').clientCredentials(
      { resource: ['https://customer.example'] });
    assert.equal(claimsOf(accessToken).aud, 'https://customer.example');
  },
  'introspection and revocation': async () => {
    const client = service('service-client-opaque');
    const token = await client.clientCredentials({ scope });
    const { active, client_id: clientId } = await client.introspect(token);
    assert.deepEqual([active, clientId], [true, 'service-client-opaque']);
    await client.revoke(token);
    assert.equal((await client.introspect(token)).active, false);
  },
  'a wrong secret and an unknown scope have their codes': async () => {
    const wrong = service('service-client-jwt', { clientSecret: 'wrong' }).clientCredentials();
    assert.deepEqual(await refusal(wrong), [401, 'invalid_client']);
    const unknown = service('service-client-jwt').clientCredentials({ scope: ['nothing'] });
    assert.deepEqual(await refusal(unknown), [400, 'invalid_scope']);
  },
});
