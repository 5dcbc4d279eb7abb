// Echo with Node's net: streams and their callbacks.
"use strict";

const net = require("net");

const host = "127.0.0.1";
const backlog = 4096;
const usage = 64, unavailable = 69; // exit statuses, as in sysexits.h

function fail(status, line) {
    process.stderr.write(line + "\n");
    process.exit(status);
}

const words = process.argv.slice(2);
const port = words.length === 1 && /^[0-9]+$/.test(words[0]) ? Number(words[0]) : 0;
if (port < 1 || port > 65535)
    fail(usage, `usage: node_echo PORT    (echoes on ${host}:PORT; PORT is 1 to 65535)`);

// A pipe stops reading while the socket takes no more, and ends it when the client has finished.
const server = net.createServer((connection) => {
    connection.setNoDelay(true);
    connection.on("error", () => connection.destroy()); // the client has gone
    connection.pipe(connection);
});

server.on("error", (error) => {
    const taken = error.code === "EADDRINUSE";
    const what = taken ? "address already in use (another server runs there)" : error.message;
    fail(unavailable, `node_echo: ${host}:${port}: ${what}`);
});
server.listen({host, port, backlog});
