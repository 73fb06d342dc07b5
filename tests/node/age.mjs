// npm's age-encryption as a program: `node age.mjs seal RECIPIENT [armour]`, `unseal IDENTITY`,
// `recipient IDENTITY`; octets from standard input to standard output.
import { Decrypter, Encrypter, armor, identityToRecipient } from "age-encryption";

const [what, key, armoured] = process.argv.slice(2);
const read = async () => {
  const pieces = [];
  for await (const piece of process.stdin) pieces.push(piece);
  return new Uint8Array(Buffer.concat(pieces));
};

if (what === "recipient") {
  process.stdout.write(await identityToRecipient(key));
} else if (what === "seal") {
  const encrypter = new Encrypter();
  encrypter.addRecipient(key);
  const sealed = await encrypter.encrypt(await read());
  process.stdout.write(armoured ? armor.encode(sealed) : sealed);
} else {
  const decrypter = new Decrypter();
  decrypter.addIdentity(key);
  let octets = await read();
  const text = Buffer.from(octets).toString("latin1");
  if (text.startsWith("-----BEGIN")) octets = armor.decode(text);
  process.stdout.write(await decrypter.decrypt(octets));
}
