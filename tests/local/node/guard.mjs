// One library as the guard of an API, for tests/interop: node guard.mjs LIBRARY.
// GET /plain and /at-jwt verify, /opaque introspects, /client returns a token from the library's client.
import { createServer } from 'node:http';

const { ISSUER: issuer, PORT: port } = process.env;
const jwksUri = `${issuer}/oauth2/jwks`;
const audiences = { '/plain': 'service-client-jwt', '/at-jwt': 'https://country.example' };
const forEachApi = (create) =>
  Object.fromEntries(Object.entries(audiences).map(([path, audience]) => [path, create(audience, path)]));

const libraries = {
  jose: async () => {
    const { createRemoteJWKSet, jwtVerify } = await import('jose');
    const keys = createRemoteJWKSet(new URL(jwksUri));
    return forEachApi((audience, path) => (token) => jwtVerify(token, keys, {
      issuer, audience, algorithms: ['RS256'], typ: path === '/at-jwt' ? 'at+jwt' : undefined,
    }));
  },
  'aws-jwt-verify': async () => {
    const { JwtVerifier } = await import('aws-jwt-verify');
    const { SimpleJwksCache } = await import('aws-jwt-verify/jwk');
    // Its own fetcher supports https only.
    const fetcher = { fetch: async (uri) => (await fetch(uri)).arrayBuffer() };
    const options = { jwksCache: new SimpleJwksCache({ fetcher }) };
    return forEachApi((audience) => {
      const verifier = JwtVerifier.create({ issuer, jwksUri, audience, scope: null }, options);
      return (token) => verifier.verify(token);
    });
  },
  'openid-client': async () => {
    const client = await import('openid-client');
    const discover = (id) => client.discovery(
      new URL(issuer), id, undefined, client.ClientSecretBasic(`${id}-secret`),
      { execute: [client.allowInsecureRequests] });
    const introspecting = await discover('service-client-opaque');
    const requesting = await discover('service-client-api');
    return {
      '/opaque': async (token) => {
        const { active } = await client.tokenIntrospection(introspecting, token);
        if (!active) throw new Error('inactive');
      },
      '/client': async () => {
        const answer = await client.clientCredentialsGrant(requesting, { scope: 'country.read' });
        return answer.access_token;
      },
    };
  },
};

const routes = await libraries[process.argv[2]]();
createServer(async (request, response) => {
  const route = routes[request.url];
  const [scheme, token] = (request.headers.authorization ?? '').split(' ');
  if (!route) return response.writeHead(404).end();
  if (request.url !== '/client' && scheme !== 'Bearer') return response.writeHead(401).end();
  try {
    const result = await route(token);
    return response.end(typeof result === 'string' ? result : '');
  } catch (error) {
    return response.writeHead(401).end(error.message);
  }
}).listen(port, '127.0.0.1');
