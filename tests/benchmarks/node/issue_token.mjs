// A token endpoint with the AWS SDK for JavaScript v3, for the benchmark of cold starts: it does what Gatehouse's does.
import { createHash, createPrivateKey, randomBytes, sign, timingSafeEqual } from 'node:crypto';
import { DynamoDBClient, GetItemCommand, UpdateItemCommand } from '@aws-sdk/client-dynamodb';
import { GetSecretValueCommand, SecretsManagerClient } from '@aws-sdk/client-secrets-manager';

const { CLIENTS_TABLE, STATE_TABLE, KEY_RING_SECRET, SIGNING_KEYS_SECRET, ISSUER } = process.env;
const dynamodb = new DynamoDBClient({});
const secrets = new SecretsManagerClient({});
const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');

async function readSecret(name) {
  const { SecretString } = await secrets.send(new GetSecretValueCommand({ SecretId: name }));
  return JSON.parse(SecretString);
}

export async function handle(event) {
  const form = new URLSearchParams(Buffer.from(event.body, event.isBase64Encoded ? 'base64' : 'utf8').toString());
  const basic = Buffer.from(event.headers.Authorization.slice(6), 'base64').toString();
  const [id, secret] = basic.split(':').map(decodeURIComponent);
  const { Item } = await dynamodb.send(
    new GetItemCommand({ TableName: CLIENTS_TABLE, Key: { client_id: { S: id } }, ConsistentRead: true }),
  );
  const stored = Item.secrets.L[0].M.digest.S;
  const digest = 'sha256$' + createHash('sha256').update(secret).digest('hex');
  if (digest.length !== stored.length || !timingSafeEqual(Buffer.from(digest), Buffer.from(stored))) {
    return { statusCode: 401 };
  }
  const day = Math.floor(Date.now() / 86_400_000) * 86_400;
  await dynamodb.send(
    new UpdateItemCommand({
      TableName: STATE_TABLE,
      Key: { entry: { S: `secret-use#${id}` } },
      UpdateExpression: 'SET last_used = :day',
      ExpressionAttributeValues: { ':day': { N: String(day) } },
    }),
  );
  const scopes = form.get('scope').split(' ').filter((scope) => Item.scopes.L.some((each) => each.S === scope));
  const ring = await readSecret(KEY_RING_SECRET);
  const { kid } = ring.keys[0];
  const pems = await readSecret(SIGNING_KEYS_SECRET);
  const key = createPrivateKey(pems.private_keys[kid]);
  const now = Math.floor(Date.now() / 1000);
  const claims = { sub: id, aud: id, nbf: now, scope: scopes, iss: ISSUER, exp: now + 14400, iat: now };
  const jti = randomBytes(16).toString('base64url');
  const input = `${encode({ alg: 'RS256', kid })}.${encode({ ...claims, jti })}`;
  const token = `${input}.${sign('sha256', Buffer.from(input), key).toString('base64url')}`;
  console.log(JSON.stringify({ client_id: id, scopes, kid }));
  const body = { access_token: token, scope: scopes.join(' '), token_type: 'Bearer', expires_in: 14399 };
  return { statusCode: 200, headers: { 'Cache-Control': 'no-store' }, body: JSON.stringify(body) };
}
