// A verifier of JWTs in njs: its WebCrypto checks the signature, nginx fetches and caches the keys.
const RSA = { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' };
const RSA_ENCRYPTION = [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];

const der = (tag, content) => {
    const size = content.length;
    const length = size < 128 ? [size] : size < 256 ? [0x81, size] : [0x82, size >> 8, size & 255];
    return [tag].concat(length, content);
};

const integer = (text) => {
    const content = [0];
    Buffer.from(text, 'base64url').forEach((byte) => content.push(byte));
    return der(0x02, content);
};

// njs 0.7.9 imports SubjectPublicKeyInfo, and no JWK.
const importKey = (jwk) => {
    const rsa = der(0x30, integer(jwk.n).concat(integer(jwk.e)));
    const spki = new Uint8Array(der(0x30, RSA_ENCRYPTION.concat(der(0x03, [0].concat(rsa)))));
    return crypto.subtle.importKey('spki', spki.buffer, RSA, false, ['verify']);
};

async function findKey(r, kid) {
    // An unknown key id bypasses the cache.
    const find = async (args) => {
        const reply = await r.subrequest('/keys', { args: args });
        return JSON.parse(reply.responseText).keys.find((key) => key.kid === kid && key.alg === 'RS256');
    };
    let jwk = await find('');
    if (!jwk) jwk = await find('fresh=1');
    if (!jwk) throw new Error('unknown kid');
    return jwk;
}

const decode = (part) => JSON.parse(Buffer.from(part, 'base64url').toString());

async function verify(r) {
    const parts = r.headersIn.Authorization.slice('Bearer '.length).split('.');
    const header = decode(parts[0]);
    if (header.alg !== 'RS256') throw new Error('algorithm');
    const jwk = await findKey(r, header.kid);
    const key = await importKey(jwk);
    const signed = Buffer.from(`${parts[0]}.${parts[1]}`);
    const valid = await crypto.subtle.verify(RSA, key, Buffer.from(parts[2], 'base64url'), signed);
    if (!valid) throw new Error('signature');
    const claims = decode(parts[1]);
    const audiences = [].concat(claims.aud);
    if (claims.iss !== process.env.ISSUER || !audiences.includes(r.variables.audience)) throw new Error('claims');
    if (!(claims.exp > Date.now() / 1000)) throw new Error('expired');
}

async function check(r) {
    try {
        await verify(r);
        r.return(200);
    } catch (error) {
        r.return(401, error.message);
    }
}

export default { check };
