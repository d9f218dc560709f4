// A Lambda authorizer as AWS's samples write it with aws-jwt-verify: verifies the token, opens the
// routes of its scopes, passes its claims on, and logs one line.
import { openSync, writeSync } from 'node:fs';
import { JwtVerifier } from 'aws-jwt-verify';

// The runtime's `console.log` writes each line at once, too.
const log = openSync('/dev/null', 'w');

export const authorizer = ({ world, scopes }) => {
  const { issuer, audience } = world;
  const verifier = JwtVerifier.create({ issuer, audience, jwksUri: 'https://unused.example' });
  verifier.cacheJwks(world.keySet);
  return (event) => {
    const [, token] = event.headers.Authorization.match(/^Bearer (.+)$/i);
    const claims = verifier.verifySync(token);
    const [apiArn, stage] = event.methodArn.split('/');
    const resources = claims.scope.split(' ')
      .flatMap((scope) => scopes[scope] ?? [])
      .map((route) => {
        const [method, path] = route.split(' ');
        return `${apiArn}/${stage}/${method}${path.replace(/\{[^}]+\}/g, '*')}`;
      });
    const effect = resources.length ? 'Allow' : 'Deny';
    const { iss, sub, client_id, scope, exp, jti } = claims;
    writeSync(log, `${JSON.stringify({
      level: 'INFO',
      decision: effect,
      iss,
      client_id,
      scope,
      requestId: event.requestContext.requestId,
    })}\n`);
    return {
      principalId: sub,
      policyDocument: {
        Version: '2012-10-17',
        Statement: [{
          Action: 'execute-api:Invoke',
          Effect: effect,
          Resource: resources.length ? resources : `${apiArn}/${stage}/*`,
        }],
      },
      context: { iss, sub, client_id, scope, exp: String(exp), jti },
    };
  };
};
