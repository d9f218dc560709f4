// oidc-provider with the walkthrough's client, on the port and with the key given as JSON.
import { Provider } from 'oidc-provider';

const { port, jwk, clientId, clientSecret, scope, format } = JSON.parse(process.argv[2]);
const audience = 'https://api.example.com';
const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [{
    client_id: clientId,
    client_secret: clientSecret,
    grant_types: ['client_credentials'],
    redirect_uris: [],
    response_types: [],
    token_endpoint_auth_method: 'client_secret_basic',
    scope,
  }],
  jwks: { keys: [jwk] },
  scopes: scope.split(' '),
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    introspection: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => audience,
      getResourceServerInfo: () => ({
        scope, audience, accessTokenTTL: 14400, accessTokenFormat: format,
        ...(format === 'jwt' && { jwt: { sign: { alg: 'RS256' } } }),
      }),
      useGrantedResource: () => true,
    },
  },
});
provider.listen(port, '127.0.0.1', () => process.stdout.write('ready\n'));
