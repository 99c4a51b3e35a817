// rhea: the same command line and answer as the programs in ../python; see task.py there.
'use strict';

const fs = require('fs');
const rhea = require('rhea');

const CREDIT = 1000;

function milliseconds(created) {
    return created instanceof Date ? created.getTime() : Number(created);
}

function readRich(message) {
    const { region, quantity, express } = message.application_properties;
    return {
        texts: [message.message_id, message.to, message.subject, message.reply_to, message.correlation_id, message.content_type],
        created: message.creation_time, region, quantity, express, body: message.body.content,
    };
}

function richTally({ texts, created, region, quantity, express, body }) {
    const length = texts.reduce((sum, text) => sum + text.toString().length, 0);
    return length + Math.floor(milliseconds(created) / 1e9) + region.length + quantity + (express ? 1 : 0) + body.length;
}

function send(connection, task, underWay) {
    const body = Buffer.alloc(task.size, 'x');
    let begun, sent = 0, accepted = 0;
    const sender = connection.open_sender(task.address);
    const fill = () => {
        while (sent < task.count && sent - accepted < underWay && sender.sendable()) {
            sender.send({ body: rhea.message.data_section(body) });
            sent++;
        }
    };
    sender.on('sendable', () => {
        begun = begun || process.hrtime.bigint();
        fill();
    });
    sender.on('accepted', () => {
        accepted++;
        if (accepted === task.count) finish(connection, begun, accepted);
        else if (underWay === 1) fill();
    });
}

function receive(connection, task, read, tally) {
    let received = 0;
    const begun = process.hrtime.bigint();
    const receiver = connection.open_receiver({ source: task.address, credit_window: Math.min(CREDIT, task.count) });
    receiver.on('message', (context) => {
        const seen = read(context.message);
        received++;
        if (received === task.count) {
            context.delivery.accept();
            finish(connection, begun, tally(seen));
        }
    });
}

function finish(connection, begun, tally) {
    const seconds = Number(process.hrtime.bigint() - begun) / 1e9;
    console.log(`${seconds.toFixed(6)} ${tally}`);
    connection.close();
}

const OPERATIONS = {
    'send': (connection, task) => send(connection, task, Infinity),
    'send-one': (connection, task) => send(connection, task, 1),
    'receive': (connection, task) => receive(connection, task, (message) => message.body.content, (body) => body.length),
    'receive-rich': (connection, task) => receive(connection, task, readRich, richTally),
};

function main([operation, url, count, size, ca]) {
    if (operation === 'version') {
        console.log(require('rhea/package.json').version);
        return;
    }
    const parts = new URL(url);
    const task = { address: parts.pathname.slice(1), count: Number(count), size: Number(size) };
    const options = { host: parts.hostname, port: Number(parts.port), reconnect: false };
    if (parts.username) Object.assign(options, { username: decodeURIComponent(parts.username), password: decodeURIComponent(parts.password) });
    if (ca) Object.assign(options, { transport: 'tls', ca: [fs.readFileSync(ca)] });
    rhea.on('connection_open', (context) => OPERATIONS[operation](context.connection, task));
    rhea.on('disconnected', () => { process.exitCode = 1; });
    rhea.connect(options);
}

main(process.argv.slice(2));
