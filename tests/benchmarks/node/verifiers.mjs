// The Node verifiers, each set up as strictly as its documented options allow.
//
// A world is {issuer, audience, algorithms, keySet, clientIds, requireAtJwt}. A maker returns a
// function from a token to its claims, or null where the verifier has no option for the world.
import { createPublicKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { JwtVerifier } from 'aws-jwt-verify';
import { createVerifier } from 'fast-jwt';
import { createLocalJWKSet, jwtVerify } from 'jose';

const REQUIRED = ['exp', 'iss', 'aud', 'sub'];
const REQUIRED_OF_AT_JWT = [...REQUIRED, 'client_id', 'iat', 'jti'];

export const verifiers = {
  'aws-jwt-verify': (world) => {
    if (world.clientIds.length) return null;
    const { issuer, audience } = world;
    const verifier = JwtVerifier.create({ issuer, audience, jwksUri: 'https://unused.example' });
    verifier.cacheJwks(world.keySet);
    return (token) => verifier.verifySync(token);
  },
  jose: (world) => {
    if (world.clientIds.length) return null;
    const keys = createLocalJWKSet(world.keySet);
    const options = {
      issuer: world.issuer,
      audience: world.audience,
      algorithms: world.algorithms,
      requiredClaims: world.requireAtJwt ? REQUIRED_OF_AT_JWT : REQUIRED,
      ...(world.requireAtJwt && { typ: 'at+jwt' }),
    };
    return (token) => jwtVerify(token, keys, options);
  },
  'fast-jwt': (world) => {
    if (world.clientIds.length) return null;
    const keys = new Map(world.keySet.keys.map((jwk) => [jwk.kid, () => pem(jwk)]));
    return createVerifier({
      key: async ({ header }) => keys.get(header.kid)(),
      ...fastJwtOptions(world),
    });
  },
};

export const fastJwtOptions = (world) => ({
  algorithms: world.algorithms,
  allowedIss: world.issuer,
  allowedAud: world.audience,
  requiredClaims: world.requireAtJwt ? REQUIRED_OF_AT_JWT : REQUIRED,
  ...(world.requireAtJwt && { checkTyp: 'at+jwt' }),
});

export const pem = (jwk) =>
  createPublicKey({ key: jwk, format: 'jwk' }).export({ type: 'spki', format: 'pem' });

export const versions = () => {
  const versionOf = (name) => JSON.parse(readFileSync(
    new URL(`node_modules/${name}/package.json`, import.meta.url), 'utf8')).version;
  const names = [...Object.keys(verifiers), 'oidc-provider'];
  return { node: process.version.slice(1), ...Object.fromEntries(names.map((n) => [n, versionOf(n)])) };
};
