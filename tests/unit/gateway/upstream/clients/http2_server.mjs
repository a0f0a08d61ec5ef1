// An HTTP/2 server behind TLS, for test_http2.py: node http2_server.mjs CERTIFICATE KEY STREAMS_AT_A_TIME
// It says on stdout what happens, a JSON object a line; a line on stdin lets an answer go on.
import { readFileSync } from "node:fs";
import http2 from "node:http2";
import { createInterface } from "node:readline";

const [certificate, key, streams] = process.argv.slice(2);
const waiting = [];
let lines = 0; // read before anyone waited for them
const say = (happened) => process.stdout.write(`${JSON.stringify(happened)}\n`);
createInterface({ input: process.stdin }).on("line", () => {
  const go = waiting.shift();
  if (go) go();
  else lines += 1;
});
process.stdin.on("end", () => process.exit());
const told = () =>
  new Promise((resolve) => {
    if (lines > 0) {
      lines -= 1;
      resolve();
    } else waiting.push(resolve);
  });

const server = http2.createSecureServer({
  cert: readFileSync(certificate),
  key: readFileSync(key),
  settings: { maxConcurrentStreams: Number(streams) },
});
server.on("session", (session) => session.on("error", () => {}));
const sockets = new Set();
server.on("secureConnection", (socket) => {
  sockets.add(socket);
  say({ connection: socket.alpnProtocol });
});

const answers = {
  async echo(request, response, body) {
    response.writeHead(200, { "x-many": ["one", "two"], "set-cookie": ["a=1", "b=2"] });
    response.end(JSON.stringify({ method: request.method, path: request.url, headers: request.headers, body }));
  },
  async redirect(request, response) {
    response.writeHead(307, { location: "/echo" });
    response.end("elsewhere");
  },
  async gzip(request, response) {
    response.writeHead(200, { "content-encoding": "gzip" });
    response.end(Buffer.from("1f8b0800000000000003cb48cdc9c9070086a6103605000000", "hex"));
  },
  async fail(request, response) {
    response.writeHead(529, { "retry-after": "1" });
    response.end("{}");
  },
  async silent() {},
  async headers(request, response) {
    response.writeHead(200);
    response.flushHeaders();
  },
  async pieces(request, response) {
    response.writeHead(200);
    for (const piece of ["one", "two", "three"]) {
      response.write(piece);
      await told();
    }
    response.end();
  },
  async reset(request, response, body) {
    response.writeHead(200);
    response.write("one");
    await told();
    response.stream.close(Number(body));
  },
  async vanish() {
    for (const socket of sockets) socket.destroy();
  },
  async goaway(request, response) {
    response.stream.session.goaway(0, response.stream.id);
    setTimeout(() => sockets.forEach((socket) => socket.destroy()), 50);
  },
  async flood(request, response, body) {
    response.writeHead(200);
    const piece = Buffer.alloc(16384);
    let sent = 0;
    while (sent < Number(body)) {
      if (!response.write(piece)) {
        const drained = new Promise((resolve) => response.once("drain", () => resolve(true)));
        const late = new Promise((resolve) => setTimeout(() => resolve(false), 500));
        if (!(await Promise.race([drained, late]))) {
          say({ stuck: sent });
          await drained;
        }
      }
      sent += piece.length;
    }
    say({ sent });
    response.end();
  },
};

server.on("request", (request, response) => {
  const name = request.url.slice(1);
  let body = "";
  request.setEncoding("utf8");
  request.on("data", (part) => (body += part));
  const stream = response.stream;
  stream.on("error", () => {});
  stream.on("close", () => say({ closed: name, code: stream.rstCode }));
  request.on("end", () => {
    say({ request: name });
    answers[name.split("?")[0]](request, response, body);
  });
});
server.listen(0, "127.0.0.1", () => say({ port: server.address().port }));
