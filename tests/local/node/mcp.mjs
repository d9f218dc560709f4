// The MCP SDK as a client without a user. Started as `node mcp.mjs URL`: the interface of the conformance suite of MCP,
// which describes credentials in MCP_CONFORMANCE_CONTEXT. Prints the first result of each tool, as JSON.
import {
  Client, ClientCredentialsProvider, CrossAppAccessProvider, PrivateKeyJwtProvider, StaticPrivateKeyJwtProvider,
  StreamableHTTPClientTransport, requestJwtAuthorizationGrant,
} from '@modelcontextprotocol/client';

const { MCP_CONFORMANCE_CONTEXT, MCP_EXPECTED_ISSUER: expectedIssuer, MCP_TOOLS } = process.env;
const context = JSON.parse(MCP_CONFORMANCE_CONTEXT);
const { client_id: clientId, client_secret: clientSecret } = context;

const idJag = async ({ authorizationServerUrl, resourceUrl, scope }) => context.assertion ?? (
  await requestJwtAuthorizationGrant({
    tokenEndpoint: context.idp_token_endpoint,
    idToken: context.idp_id_token,
    clientId: context.idp_client_id,
    audience: String(authorizationServerUrl),
    resource: String(resourceUrl),
    scope,
  })).jwtAuthGrant;

const provider = () => {
  if (context.private_key_pem) {
    const { private_key_pem: privateKey, signing_algorithm: algorithm } = context;
    return new PrivateKeyJwtProvider({ clientId, privateKey, algorithm, expectedIssuer });
  }
  if (context.client_assertion) {
    return new StaticPrivateKeyJwtProvider({ clientId, jwtBearerAssertion: context.client_assertion, expectedIssuer });
  }
  if (context.idp_id_token || context.assertion) {
    return new CrossAppAccessProvider({ clientId, clientSecret, assertion: idJag, expectedIssuer });
  }
  return new ClientCredentialsProvider({ clientId, clientSecret, expectedIssuer });
};

const client = new Client({ name: 'agent', version: '1' });
await client.connect(new StreamableHTTPClientTransport(new URL(process.argv[2]), { authProvider: provider() }));
const results = { tools: (await client.listTools()).tools.map(({ name }) => name) };
for (const [name, parameters] of Object.entries(JSON.parse(MCP_TOOLS ?? '{}'))) {
  const { content } = await client.callTool({ name, arguments: parameters });
  results[name] = content[0].text;
}
console.log(JSON.stringify(results));
await client.close();
