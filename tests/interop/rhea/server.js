// A peer on rhea that listens, and does what the first part of an address says. It prints what happens as JSON
// lines; the first one has its port. tests/interop/proton/server.py is the same on proton.
'use strict';

const rhea = require('rhea');

const container = rhea.create_container();
const stored = new Map();
const repliers = new Map();
const LARGE = 5 * 1000 * 1000;

function say(event) {
    // What JSON leaves out, Python calls None.
    const text = JSON.stringify(event, (_, value) => (value === undefined ? null : value));
    process.stdout.write(text + '\n');
}

function behaviour(address) {
    return (address || '').split('/');
}

function send(sender, message) {
    sender.send(message);
}

// -- clients that receive ---------------------------------------------------------------------------------------------

container.on('sender_open', (context) => {
    const sender = context.sender;
    const source = sender.source;
    sender.address = source.address;
    if (source.dynamic) {
        sender.address = 'dynamic-' + rhea.generate_uuid();
        repliers.set(sender.address, sender);
    }
    const [kind, count] = behaviour(sender.address);
    if (kind === 'refuse') {
        sender.close({ condition: 'amqp:unauthorized-access', description: 'not for you' });
        return;
    }
    sender.set_source({ address: sender.address, dynamic: source.dynamic });
    sender.set_target({ address: sender.target && sender.target.address });
    if (kind === 'give') {
        sender.pending = Array.from({ length: Number(count) }, (_, n) => ({ body: n }));
    } else if (kind === 'large') {
        sender.pending = [{ body: rhea.message.data_section(Buffer.alloc(LARGE, 7)) }];
    } else if (kind === 'close') {
        sender.pending = [{ body: 'last' }];
        sender.closing = true;
    } else {
        sender.pending = stored.get(sender.address) || [];
        stored.set(sender.address, sender.pending);
    }
});

function serve(sender) {
    while (sender.pending && sender.pending.length && sender.sendable()) {
        send(sender, sender.pending.shift());
        if (sender.closing) {
            sender.close({ condition: 'amqp:resource-deleted', description: 'gone' });
            return;
        }
    }
    sender.set_drained(!sender.pending || !sender.pending.length);
}

container.on('sendable', (context) => serve(context.sender));
container.on('sender_draining', (context) => serve(context.sender));

for (const state of ['accepted', 'rejected', 'released', 'modified']) {
    container.on(state, (context) => {
        const remote = context.delivery.remote_state || {};
        if (state === 'released' && remote.delivery_failed !== undefined) {
            // rhea tells of modified twice.
            return;
        }
        say({
            address: context.sender.address,
            outcome: state,
            settled: context.delivery.remote_settled,
            condition: remote.error && remote.error.condition,
            description: remote.error && remote.error.description,
            delivery_failed: remote.delivery_failed,
            undeliverable_here: remote.undeliverable_here,
            annotations: remote.message_annotations,
        });
        if (!context.delivery.remote_settled) {
            // The receiver waits for us (receiver settle mode second).
            context.delivery.update(true);
        }
    });
}

// -- clients that send ------------------------------------------------------------------------------------------------

container.on('receiver_open', (context) => {
    const receiver = context.receiver;
    const target = receiver.target;
    receiver.address = target.address;
    const [kind] = behaviour(receiver.address);
    receiver.set_source({ address: receiver.source && receiver.source.address });
    if (kind === 'refuse') {
        receiver.close({ condition: 'amqp:unauthorized-access', description: 'not for you' });
        return;
    }
    receiver.set_target({ address: receiver.address });
    receiver.flow(100);
});

function store(address, message) {
    const messages = stored.get(address) || [];
    messages.push(message);
    stored.set(address, messages);
}

const ANSWERS = {
    reject: (c) => c.delivery.reject({ condition: 'com.example:bad', description: 'so bad' }),
    release: (c) => c.delivery.release(),
    modify: (c) => c.delivery.modified({
        delivery_failed: true,
        undeliverable_here: true,
        message_annotations: { 'x-opt-note': 'hm' },
    }),
    silent: () => {},
    close: (c) => c.receiver.close({ condition: 'amqp:resource-deleted', description: 'gone' }),
    'end-session': (c) => c.session.close({ condition: 'amqp:internal-error', description: 'no more' }),
    'close-connection': (c) => c.connection.close({ condition: 'amqp:connection:forced', description: 'over' }),
    cut: (c) => c.connection.socket.destroy(),
};

container.on('message', (context) => {
    const { message, receiver, delivery } = context;
    const [kind] = behaviour(receiver.address);
    say({
        address: receiver.address,
        settled: delivery.remote_settled,
        subject: message.subject,
        size: JSON.stringify(message.body).length,
    });
    if (kind in ANSWERS) {
        ANSWERS[kind](context);
        return;
    }
    delivery.accept();
    if (kind === 'service') {
        const sender = repliers.get(message.reply_to);
        send(sender, { body: message.body, correlation_id: message.message_id });
    } else if (kind === 'store') {
        store(receiver.address, message);
    }
    receiver.flow(1);
});

for (const quiet of ['connection_error', 'session_error', 'sender_error', 'receiver_error', 'disconnected', 'error']) {
    container.on(quiet, () => {});
}

const server = container.listen({
    host: '127.0.0.1',
    port: 0,
    receiver_options: { credit_window: 0, autoaccept: false },
});
server.on('listening', () => say({ port: server.address().port }));
process.stdin.on('end', () => process.exit(0)).resume();
