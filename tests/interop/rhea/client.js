// Scenarios of a client on rhea against the embedded broker: node client.js SCENARIO URL [ARGUMENT]…
// Each prints what it saw as JSON lines and ends.
'use strict';

const fs = require('fs');
const rhea = require('rhea');

const { types } = rhea;
const [scenario, url, ...rest] = process.argv.slice(2);
const container = rhea.create_container();

function plain(_, value) {
    if (value === undefined) return null;
    if (value && value.type === 'Buffer') return { hex: Buffer.from(value.data).toString('hex') };
    return value;
}

function say(event) {
    process.stdout.write(JSON.stringify(event, plain) + '\n');
}

function connect(options = {}) {
    const { hostname: host, port, protocol } = new URL(url);
    if (protocol === 'ws:') {
        // Node's own, in version 20 behind --experimental-websocket.
        const details = rhea.websocket_connect(WebSocket)(url, rest[1], {});
        return container.connect({ connection_details: details, reconnect: false, ...options });
    }
    const transport = protocol === 'amqps:' ? 'tls' : 'tcp';
    return container.connect({ host, port, transport, reconnect: false, ...options });
}

function unique() {
    return 'rhea-' + rhea.generate_uuid();
}

function outcome(delivery) {
    const state = delivery.remote_state;
    const error = state && state.error;
    return { settled: delivery.remote_settled, condition: error && error.condition };
}

const scenarios = {
    // Sends so many messages and receives them.
    send_and_receive() {
        const connection = connect();
        const address = unique();
        const count = Number(rest[0]);
        const bodies = [];
        let sent = 0;
        let accepted = 0;
        const done = () => {
            if (bodies.length === count && accepted === count) {
                say({ bodies, accepted });
                connection.close();
            }
        };
        const receiver = connection.open_receiver({ source: address, credit_window: 50 });
        const sender = connection.open_sender(address);
        sender.on('sendable', () => {
            while (sent < count && sender.sendable()) sender.send({ body: sent++ });
        });
        sender.on('accepted', () => { accepted++; done(); });
        receiver.on('message', (context) => { bodies.push(context.message.body); done(); });
    },

    // Gives back the same message in all ways until it accepts it.
    outcomes() {
        const connection = connect();
        const address = unique();
        connection.open_sender(address).once('sendable', (context) => {
            context.sender.send({ body: 'x', message_annotations: { a: 1 } });
        });
        const answers = [
            (delivery) => delivery.release(),
            (delivery) => delivery.modified({ delivery_failed: true, message_annotations: { 'x-opt-note': 'hm' } }),
            (delivery) => delivery.release({ delivery_failed: true }),
            (delivery) => delivery.accept(),
        ];
        const receiver = connection.open_receiver({ source: address, autoaccept: false });
        receiver.on('message', ({ message, delivery }) => {
            say({
                delivery_count: message.delivery_count,
                first_acquirer: message.first_acquirer,
                annotations: message.message_annotations,
            });
            answers.shift()(delivery);
            if (!answers.length) connection.close();
        });
    },

    // Undeliverable here: the message goes to the other receiver.
    undeliverable_here() {
        const connection = connect();
        const address = unique();
        const first = connection.open_receiver({ source: address, autoaccept: false, credit_window: 0 });
        first.on('receiver_open', () => {
            first.add_credit(10);
            connection.open_sender(address).once('sendable', (c) => c.sender.send({ body: 'x' }));
        });
        first.on('message', ({ delivery }) => {
            say({ receiver: 'first' });
            delivery.modified({ undeliverable_here: true });
            connection.open_receiver({ source: address }).on('message', ({ message }) => {
                say({ receiver: 'second', body: message.body });
                connection.close();
            });
        });
    },

    // Rejects all it gets; the last one is another message, to know when to end.
    rejected_by_the_receiver() {
        const connection = connect();
        const address = unique();
        connection.open_sender(address).once('sendable', ({ sender }) => {
            sender.send({ body: 'bad' });
            sender.send({ body: 'last' });
        });
        connection.open_receiver({ source: address, autoaccept: false }).on('message', ({ message, delivery }) => {
            say({ body: message.body });
            delivery.reject({ condition: 'com.example:bad', description: 'so bad' });
            if (message.body === 'last') connection.close();
        });
    },

    // The anonymous relay: a known and an unknown address.
    anonymous_relay() {
        const connection = connect();
        const sender = connection.open_sender({ target: {} });
        sender.once('sendable', () => {
            sender.send({ to: 'declared', body: 'x' });
            sender.send({ to: 'nowhere', body: 'y' });
        });
        sender.on('accepted', ({ delivery }) => say({ outcome: 'accepted', ...outcome(delivery) }));
        sender.on('rejected', ({ delivery }) => {
            say({ outcome: 'rejected', ...outcome(delivery) });
            connection.close();
        });
    },

    // Sends settled, unsettled, and to a receiver that wants it settled.
    settle_modes() {
        const connection = connect();
        const modes = [[1, 0], [0, 0], [2, 0], [0, 1], [1, 1]];
        const next = () => {
            if (!modes.length) {
                connection.close();
                return;
            }
            const [mode, second] = modes.shift();
            const address = unique();
            const sender = connection.open_sender({ target: address, snd_settle_mode: mode });
            sender.once('sendable', () => sender.send({ body: mode }));
            const receiver = connection.open_receiver({
                source: address, snd_settle_mode: mode, rcv_settle_mode: second, autoaccept: false, autosettle: false,
            });
            receiver.on('message', ({ message, delivery }) => {
                say({ mode, second, body: message.body, settled: delivery.remote_settled });
                if (second && !delivery.remote_settled) {
                    delivery.update(false, rhea.message.accepted().described());
                } else {
                    delivery.accept();
                    next();
                }
            });
            receiver.on('settled', ({ delivery }) => {
                say({ mode, second, confirmed: delivery.remote_settled });
                delivery.update(true);
                next();
            });
        };
        connection.once('connection_open', next);
    },

    // Drains a link: first with three messages there, then with none.
    drain() {
        const connection = connect();
        const address = unique();
        const sender = connection.open_sender(address);
        sender.once('sendable', () => {
            for (let n = 0; n < 3; n++) sender.send({ body: n });
        });
        let accepted = 0;
        const bodies = [];
        sender.on('accepted', () => {
            if (++accepted < 3) return;
            const receiver = connection.open_receiver({ source: address, credit_window: 0 });
            let round = 0;
            receiver.on('receiver_open', () => {
                receiver.add_credit(10);
                receiver.drain_credit();
            });
            receiver.on('message', ({ message }) => bodies.push(message.body));
            receiver.on('receiver_drained', () => {
                say({ round, bodies: [...bodies], credit: receiver.credit });
                receiver.drain = false;
                if (++round === 2) {
                    connection.close();
                    return;
                }
                receiver.add_credit(5);
                receiver.drain_credit();
            });
        });
    },

    // One large message there and back.
    large() {
        const connection = connect();
        const address = unique();
        const body = Buffer.alloc(Number(rest[0]), 'rhea');
        connection.open_sender(address).once('sendable', (context) => {
            context.sender.send({ body: rhea.message.data_section(body) });
        });
        connection.open_receiver(address).on('message', ({ message }) => {
            say({ size: message.body.content.length, same: message.body.content.equals(body) });
            connection.close();
        });
    },

    // Asks the management node, with a dynamic node for the response.
    request_and_response() {
        const connection = connect();
        const name = unique();
        const sender = connection.open_sender('$management');
        const receiver = connection.open_receiver({ source: { dynamic: true } });
        receiver.on('receiver_open', () => {
            sender.send({
                message_id: 1,
                reply_to: receiver.source.address,
                application_properties: { operation: 'CREATE', type: 'queue', name },
                body: '',
            });
        });
        receiver.on('message', ({ message }) => {
            say({
                dynamic: receiver.source.dynamic,
                status: message.application_properties.statusCode,
                correlation_id: message.correlation_id,
                type: message.body.type,
            });
            connection.close();
        });
    },

    // A link that is refused, and a connection that lives on.
    refused() {
        const connection = connect();
        connection.open_receiver('$nothing').on('receiver_error', ({ receiver }) => {
            say({ condition: receiver.error.condition, connected: connection.is_open() });
            connection.close();
        });
    },

    // Comes in over TLS with user and password, or does not.
    secure() {
        const [ca, username, password] = rest;
        const connection = connect({ ca: [fs.readFileSync(ca)], username, password });
        connection.on('connection_open', () => {
            say({ open: true });
            connection.close();
        });
        connection.on('connection_error', ({ error }) => say({ open: false, condition: error.condition }));
        connection.on('disconnected', () => {});
    },

    // Sends one value of each type in body and application properties, and tells what came.
    types_out() {
        const connection = connect();
        const uuid = Buffer.from('00112233445566778899aabbccddeeff', 'hex');
        const values = {
            null: null,
            true: types.wrap_boolean(true),
            false: types.wrap_boolean(false),
            ubyte: types.wrap_ubyte(255),
            ushort: types.wrap_ushort(65535),
            uint: types.wrap_uint(4294967295),
            uint0: types.wrap_uint(0),
            ulong: types.wrap_ulong(Buffer.from('ffffffffffffffff', 'hex')),
            byte: types.wrap_byte(-128),
            short: types.wrap_short(-32768),
            int: types.wrap_int(-2147483648),
            long: types.wrap_long(Buffer.from('8000000000000000', 'hex')),
            float: types.wrap_float(1.5),
            double: types.wrap_double(1.1),
            char: types.wrap_char(0x1f407),
            timestamp: types.wrap_timestamp(1700000000123),
            uuid: types.wrap_uuid(uuid),
            binary: types.wrap_binary(Buffer.from([0, 255])),
            string: types.wrap_string('grüße 🐇'),
            symbol: types.wrap_symbol('com.example:sym'),
        };
        const sender = connection.open_sender(rest[0]);
        sender.once('sendable', () => {
            sender.send({
                body: [
                    ...Object.values(values),
                    types.wrap_list([1, 'two']),
                    types.wrap_map({ a: 1 }),
                    types.wrap_array([1, 2], 0x70),
                    types.wrap_described([1, 2], 'com.example:point'),
                ],
                application_properties: values,
            });
        });
        sender.on('accepted', () => connection.close());
    },

    types_in() {
        const connection = connect();
        connection.open_receiver(rest[0]).on('message', ({ message }) => {
            say({ body: message.body, properties: message.application_properties });
            connection.close();
        });
    },
};

setTimeout(() => {
    console.error('nothing happened for too long');
    process.exit(1);
}, 20000).unref();

scenarios[scenario]();
