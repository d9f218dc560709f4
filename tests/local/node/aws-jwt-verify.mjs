// aws-jwt-verify: what AWS gives its users to verify tokens with.
import assert from 'node:assert/strict';
import { JwtVerifier } from 'aws-jwt-verify';
import { SimpleJwksCache } from 'aws-jwt-verify/jwk';
import { laptop, prove, tokenOf } from './proofs.mjs';

const issuer = laptop.issuer;

// Its own fetcher speaks https only.
const fetcher = { fetch: async (uri) => (await fetch(uri)).arrayBuffer() };

const verifier = (options) =>
  JwtVerifier.create(
    { issuer, jwksUri: `${issuer}/oauth2/jwks`, ...options },
    { jwksCache: new SimpleJwksCache({ fetcher }) });

await prove({
  'a token of the at+jwt profile, with its scope': async () => {
    const verify = verifier({ audience: 'https://country.example', scope: 'country.read' });
    const claims = await verify.verify(await tokenOf('service-client-api'));
    assert.equal(claims.client_id, 'service-client-api');
  },
  'a token of the at+jwt profile without the scope is refused': async () => {
    const verify = verifier({ audience: 'https://country.example', scope: 'customer.write' });
    await assert.rejects(verify.verify(await tokenOf('service-client-api')), /[Ss]cope/);
  },
  'a token of the plain profile, if it has no scope': async () => {
    const verify = verifier({ audience: 'service-client-jwt' });
    const claims = await verify.verify(await tokenOf('service-client-jwt'));
    assert.equal(claims.sub, 'service-client-jwt');
    // It takes no scope that is a list: one reason more for at+jwt.
    const listed = await tokenOf('service-client-jwt', { scope: 'country.read' });
    await assert.rejects(verify.verify(listed), /scope claim is not a string/);
  },
  'a token for another API is refused': async () => {
    const verify = verifier({ audience: 'https://customer.example' });
    await assert.rejects(verify.verify(await tokenOf('service-client-api')), /[Aa]udience/);
  },
});
