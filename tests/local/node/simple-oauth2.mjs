// simple-oauth2: the client that many Node services have had for years.
import assert from 'node:assert/strict';
import { ClientCredentials } from 'simple-oauth2';
import { callApi, introspect, laptop, prove, secretOf } from './proofs.mjs';

const issuer = new URL(laptop.issuer);

const service = (clientId, options = {}, secret = secretOf(clientId)) =>
  new ClientCredentials({
    client: { id: clientId, secret },
    auth: {
      tokenHost: issuer.origin,
      tokenPath: `${issuer.pathname}/oauth2/token`,
      revokePath: `${issuer.pathname}/oauth2/revoke`,
    },
    options,
  });

const scope = ['country.read', 'customer.read'];

const getsToken = async (options) => {
  const { token } = await service('service-client-jwt', options).getToken({ scope });
  assert.equal(token.scope, 'country.read customer.read');
  await callApi(token.access_token);
};

const refusal = async (asked) => {
  const error = await asked.then(() => assert.fail('accepted'), (reason) => reason);
  return [error.output.statusCode, error.data.payload.error];
};

await prove({
  'Basic with both parts encoded': async () => getsToken({}),
  'Basic as it stands': async () => getsToken({ credentialsEncodingMode: 'loose' }),
  'the secret in the form': async () => getsToken({ authorizationMethod: 'body' }),
  'a token knows when it expires': async () => {
    const token = await service('service-client-api').getToken({ scope: 'country.read' });
    assert.deepEqual([token.expired(), token.expired(540), token.expired(660)], [false, false, true]);
  },
  'revocation': async () => {
    for (const clientId of ['service-client-api', 'service-client-opaque']) {
      const token = await service(clientId).getToken({ scope: 'country.read' });
      await token.revoke('access_token');
      assert.deepEqual(await introspect(clientId, token.token.access_token), { active: false });
    }
  },
  'a wrong secret and an unknown scope have their codes': async () => {
    const wrong = service('service-client-jwt', {}, 'wrong').getToken({});
    assert.deepEqual(await refusal(wrong), [401, 'invalid_client']);
    const unknown = service('service-client-jwt').getToken({ scope: 'nothing' });
    assert.deepEqual(await refusal(unknown), [400, 'invalid_scope']);
  },
});
