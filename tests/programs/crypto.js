const crypto = require('crypto'), zlib = require('zlib'), http = require('http'), dns = require('dns');
console.log(crypto.createHash('sha256').update('x').digest('hex').slice(0, 16), crypto.randomUUID().length);
const key = crypto.scryptSync('password', 'salt', 32);
const cipher = crypto.createCipheriv('aes-256-gcm', key, Buffer.alloc(12));
console.log(Buffer.concat([cipher.update('secret'), cipher.final()]).toString('hex'));
const { publicKey, privateKey } = crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' });
console.log(crypto.verify('sha256', 'm', publicKey, crypto.sign('sha256', 'm', privateKey)));
console.log(zlib.gunzipSync(zlib.gzipSync('g')).toString(), zlib.brotliDecompressSync(zlib.brotliCompressSync('b')).toString());
const server = http.createServer((_, reply) => reply.end('hello')).listen(0, '127.0.0.1', async () => {
  console.log(await (await fetch(`http://127.0.0.1:${server.address().port}/`)).text());
  server.close();
  dns.lookup('localhost', error => console.log(error));
  fetch('http://192.0.2.1/').catch(error => console.log(error.name));
});
