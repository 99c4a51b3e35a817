/* The neutral counterpart of the benchmark: an AMQP 1.0 peer that is never the limit.

       counterpart [--tls CERTIFICATE KEY]

   Listens on a free loopback port, prints it, and serves until it is killed or its standard input ends. What a client
   sends is taken and accepted, all that came with one read by one disposition; a target named sink-hold never settles.
   What a client wants to receive is named by the source: plain-SIZE or rich-SIZE, alone or as the end of a URL.

   One thread, so that it stays on one core. It trusts its clients in all but memory safety. */

#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    MAX_FRAME_SIZE = 128 * 1024, /* what brokers announce by default */
    READ_SIZE = 256 * 1024,
    WRITE_SIZE = 256 * 1024,
    CREDIT = 100000,
    WINDOW = 0x7FFFFFFF,
    HANDLES = 1024, /* as many links as the client takes by default */
    CHANNELS = 256,
    FIELDS = 14, /* of an attach, which has the most */
    MESSAGE_LIMIT = 1 << 30,
    TRANSFER_SIZE = 38, /* of the frames with our transfers at most, without their payload */
    EVENTS = 64,
    LITTLE = 2048, /* bytes: whoever sends less at a time may wait for the answer */
    PATIENCE = 200, /* microseconds to look for what such a client sends next */
};

enum { AMQP_FRAME, SASL_FRAME };

enum {
    OPEN = 0x10, BEGIN, ATTACH, FLOW, TRANSFER, DISPOSITION, DETACH, END, CLOSE,
    SASL_MECHANISMS = 0x40, SASL_INIT, SASL_CHALLENGE, SASL_RESPONSE, SASL_OUTCOME,
    ERROR = 0x1D,
};

/* ---- Bytes */

typedef struct {
    uint8_t *data;
    size_t size, capacity;
    size_t done; /* how much of it has been written or parsed */
} Bytes;

static void *owned(void *memory)
{
    if (memory)
        return memory;
    fputs("counterpart: out of memory\n", stderr);
    exit(1);
}

static uint8_t *reserve(Bytes *bytes, size_t size)
{
    if (bytes->size + size > bytes->capacity) {
        bytes->capacity = 2 * bytes->capacity > bytes->size + size ? 2 * bytes->capacity : bytes->size + size;
        bytes->data = owned(realloc(bytes->data, bytes->capacity));
    }
    return bytes->data + bytes->size;
}

/* Cut off what is done; only where that is most of it, so that no byte is moved often. */
static void compact(Bytes *bytes)
{
    if (!bytes->done || 2 * bytes->done < bytes->size)
        return;
    memmove(bytes->data, bytes->data + bytes->done, bytes->size - bytes->done);
    bytes->size -= bytes->done;
    bytes->done = 0;
}

static void put(Bytes *bytes, const void *data, size_t size)
{
    memcpy(reserve(bytes, size), data, size);
    bytes->size += size;
}

static void put_byte(Bytes *bytes, uint8_t byte) { put(bytes, &byte, 1); }

static void store_32(uint8_t *at, uint32_t number)
{
    uint32_t wire = htonl(number);
    memcpy(at, &wire, 4);
}

static uint32_t load_32(const uint8_t *at)
{
    uint32_t wire;
    memcpy(&wire, at, 4);
    return ntohl(wire);
}

/* ---- Values of AMQP: written */

static void put_null(Bytes *bytes) { put_byte(bytes, 0x40); }

static void put_boolean(Bytes *bytes, bool value) { put_byte(bytes, value ? 0x41 : 0x42); }

static void put_uint(Bytes *bytes, uint32_t number)
{
    uint8_t wire[5] = {0x70};
    store_32(wire + 1, number);
    if (number == 0)
        put_byte(bytes, 0x43);
    else if (number < 256)
        put(bytes, (uint8_t[]){0x52, number}, 2);
    else
        put(bytes, wire, 5);
}

static void put_wide(Bytes *bytes, uint8_t code, uint32_t size)
{
    uint8_t wire[5] = {code};
    store_32(wire + 1, size);
    put(bytes, wire, 5);
}

static void put_short(Bytes *bytes, uint8_t code, const char *text)
{
    put(bytes, (uint8_t[]){code, strlen(text)}, 2);
    put(bytes, text, strlen(text));
}

static void put_string(Bytes *bytes, const char *text) { put_short(bytes, 0xA1, text); }

static void put_symbol(Bytes *bytes, const char *text) { put_short(bytes, 0xA3, text); }

/* A described list or map of less than 256 bytes: what is put until it is sized belongs to it. */
static size_t put_compound(Bytes *bytes, uint8_t descriptor, uint8_t code, uint8_t count)
{
    put(bytes, (uint8_t[]){0x00, 0x53, descriptor, code, 0, count}, 6);
    return bytes->size - 2;
}

static void size_compound(Bytes *bytes, size_t at) { bytes->data[at] = bytes->size - at - 1; }

/* ---- Values of AMQP: read */

typedef struct {
    const uint8_t *start, *end;
} Slice;

/* The size of a primitive value, or 0 where it is not one, or not whole. */
static size_t primitive_size(Slice rest)
{
    static const uint8_t fixed[16] = {0, 0, 0, 0, 1, 2, 3, 5, 9, 17};
    size_t left = rest.end - rest.start, size = 0;
    if (!left)
        return 0;
    uint8_t width = *rest.start >> 4;
    if (width < 0xA)
        size = fixed[width];
    else if (width % 2 == 0 && left >= 2)
        size = 2 + (size_t)rest.start[1];
    else if (width % 2 == 1 && left >= 5)
        size = 5 + (size_t)load_32(rest.start + 1);
    return size <= left ? size : 0;
}

/* The size of a value whose descriptor and whose value proper are primitive: no other is needed here. */
static size_t value_size(Slice rest)
{
    if (rest.start == rest.end || *rest.start)
        return primitive_size(rest);
    size_t descriptor = primitive_size((Slice){rest.start + 1, rest.end});
    size_t value = descriptor ? primitive_size((Slice){rest.start + 1 + descriptor, rest.end}) : 0;
    return value ? 1 + descriptor + value : 0;
}

static uint32_t number_of(Slice value, uint32_t otherwise)
{
    if (value.start == value.end)
        return otherwise;
    switch (*value.start) {
    case 0x43: case 0x44: return 0;
    case 0x50: case 0x52: case 0x53: return value.start[1];
    case 0x60: return value.start[1] << 8 | value.start[2];
    case 0x70: return load_32(value.start + 1);
    case 0x80: return load_32(value.start + 5);
    default: return otherwise;
    }
}

static bool boolean_of(Slice value)
{
    return value.start != value.end && (*value.start == 0x41 || (*value.start == 0x56 && value.start[1]));
}

/* A described list: its code, and the first of its fields; those that are absent are empty. */
typedef struct {
    uint32_t code;
    Slice field[FIELDS];
} Composite;

static bool read_composite(Slice rest, Composite *composite)
{
    size_t size = value_size(rest);
    if (!size || *rest.start)
        return false;
    const uint8_t *end = rest.start + size;
    Slice descriptor = {rest.start + 1, end};
    composite->code = number_of(descriptor, 0);
    const uint8_t *list = descriptor.start + primitive_size(descriptor);
    Slice fields = {list, end};
    uint32_t count = 0;
    if (*list == 0xC0 && end - list >= 3) {
        count = list[2];
        fields.start = list + 3;
    } else if (*list == 0xD0 && end - list >= 9) {
        count = load_32(list + 5);
        fields.start = list + 9;
    } else if (*list != 0x45) {
        return false;
    }
    memset(composite->field, 0, sizeof composite->field);
    for (uint32_t n = 0; n < count && n < FIELDS; n++) {
        size = value_size(fields);
        if (!size)
            return false;
        composite->field[n] = (Slice){fields.start, fields.start + size};
        fields.start += size;
    }
    return true;
}

/* The last part of the path of a source's or target's address, empty if there is none. */
static Slice name_of(Slice terminus)
{
    Composite composite;
    if (terminus.start == terminus.end || !read_composite(terminus, &composite))
        return (Slice){0};
    Slice address = composite.field[0];
    if (address.start == address.end || (*address.start != 0xA1 && *address.start != 0xB1))
        return (Slice){0};
    address.start += *address.start == 0xA1 ? 2 : 5;
    for (const uint8_t *at = address.start; at < address.end; at++)
        if (*at == '/')
            address.start = at + 1;
    return address;
}

/* ---- What a connection consists of */

/* What is sent to those who asked for it by its name; made when the first does. */
typedef struct Message {
    struct Message *next;
    char name[32];
    Bytes bytes;
} Message;

typedef struct Connection Connection;
typedef struct Session Session;
typedef struct Link Link;

struct Link {
    Session *session;
    Link *next_ready;
    bool ready, drain;
    bool sends; /* we do */
    bool holds; /* a sink that does not settle */
    uint16_t handle;
    uint32_t delivery_id;
    uint32_t delivery_count;
    uint32_t credit;
    const Message *message;
    size_t sent; /* of the present delivery; 0 between deliveries */
    size_t transfer_size;
    uint8_t transfer[TRANSFER_SIZE];
};

struct Session {
    Connection *connection;
    uint16_t channel;
    uint32_t next_incoming_id, incoming_limit;
    uint32_t next_outgoing_id, remote_incoming_window;
    uint32_t next_delivery_id;
    bool unsettled; /* there are deliveries to settle: */
    uint32_t first, last;
    Link *links[HANDLES];
};

struct Connection {
    int socket;
    SSL *tls;
    Connection *next, **link;
    bool header_seen, closing, shut;
    uint32_t watched; /* the events */
    uint32_t max_frame_size;
    uint64_t heartbeat, next_heartbeat; /* milliseconds; 0 if the client needs none */
    Bytes input, output;
    Link *first_ready, *last_ready;
    Session *sessions[CHANNELS];
};

static int poller;
static bool awaits_more; /* whether what came last was little */
static SSL_CTX *tls_context;
static Message *messages;
static Connection *connections;

static uint64_t microseconds(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000ull + time.tv_nsec / 1000;
}

static uint64_t now(void)
{
    return microseconds() / 1000;
}

static void free_session(Session *session)
{
    for (int handle = 0; handle < HANDLES; handle++)
        if (session->links[handle])
            free(session->links[handle]);
    free(session);
}

static void free_connection(Connection *connection)
{
    for (int channel = 0; channel < CHANNELS; channel++)
        if (connection->sessions[channel])
            free_session(connection->sessions[channel]);
    *connection->link = connection->next;
    if (connection->next)
        connection->next->link = connection->link;
    SSL_free(connection->tls);
    close(connection->socket);
    free(connection->input.data);
    free(connection->output.data);
    free(connection);
}

/* ---- Frames written */

/* A frame is begun with room for a list of any size, which is taken back if a short one does. */
enum { FRAME_HEADER = 8, WIDE_LIST = 9, SHORT_LIST = 3 };

static size_t begin_frame(Connection *connection, uint8_t type, uint16_t channel, uint8_t code)
{
    Bytes *output = &connection->output;
    size_t start = output->size;
    put(output, (uint8_t[]){0, 0, 0, 0, 2, type, channel >> 8, channel, 0x00, 0x53, code}, FRAME_HEADER + 3);
    put(output, (uint8_t[WIDE_LIST]){0}, WIDE_LIST);
    return start;
}

/* What was put is the first `given` of `count` fields. The others are sent too, as nulls: there are clients that do not
   understand a frame that leaves them out. */
static void end_frame(Connection *connection, size_t start, uint8_t given, uint8_t count)
{
    Bytes *output = &connection->output;
    for (int field = given; field < count; field++)
        put_null(output);
    uint8_t *frame = output->data + start, *list = frame + FRAME_HEADER + 3, *fields = list + WIDE_LIST;
    size_t size = output->data + output->size - fields;
    if (size < 255) {
        list[0] = 0xC0;
        list[1] = size + 1;
        list[2] = count;
        memmove(list + SHORT_LIST, fields, size);
        output->size -= WIDE_LIST - SHORT_LIST;
    } else {
        list[0] = 0xD0;
        store_32(list + 1, size + 4);
        store_32(list + 5, count);
    }
    store_32(frame, output->size - start);
}

/* The flow of a link, or where there is none of the session alone. */
static void write_flow(Session *session, const Link *link, bool drain)
{
    Connection *connection = session->connection;
    Bytes *output = &connection->output;
    session->incoming_limit = session->next_incoming_id + WINDOW;
    size_t frame = begin_frame(connection, AMQP_FRAME, session->channel, FLOW);
    put_uint(output, session->next_incoming_id);
    put_uint(output, WINDOW);
    put_uint(output, session->next_outgoing_id);
    put_uint(output, WINDOW);
    if (link) {
        put_uint(output, link->handle);
        put_uint(output, link->delivery_count);
        put_uint(output, link->credit);
        put_null(output);
        put_boolean(output, drain);
    }
    end_frame(connection, frame, link ? 9 : 4, 11);
}

static void write_accepted(Session *session)
{
    Connection *connection = session->connection;
    Bytes *output = &connection->output;
    size_t frame = begin_frame(connection, AMQP_FRAME, session->channel, DISPOSITION);
    put_boolean(output, true); /* the role: receiver */
    put_uint(output, session->first);
    put_uint(output, session->last);
    put_boolean(output, true);
    put(output, (uint8_t[]){0x00, 0x53, 0x24, 0x45}, 4);
    end_frame(connection, frame, 5, 6);
    session->unsettled = false;
}

/* ---- Sending */

static void set_ready(Link *link)
{
    Connection *connection = link->session->connection;
    if (link->ready || !link->message || !(link->credit || link->sent))
        return;
    link->ready = true;
    link->next_ready = NULL;
    if (connection->first_ready)
        connection->last_ready->next_ready = link;
    else
        connection->first_ready = link;
    connection->last_ready = link;
}

static Link *take_ready(Connection *connection)
{
    Link *link = connection->first_ready;
    connection->first_ready = link->next_ready;
    link->ready = false;
    return link;
}

static void forget_ready(Link *link)
{
    Connection *connection = link->session->connection;
    Link *first = connection->first_ready;
    connection->first_ready = NULL;
    for (Link *each = first, *next; each; each = next) {
        next = each->next_ready;
        each->ready = false;
        if (each != link)
            set_ready(each);
    }
}

static void drained(Link *link)
{
    if (!link->drain || link->credit || link->sent)
        return;
    link->drain = false;
    write_flow(link->session, link, true);
}

/* All of a transfer but what changes: its size, delivery-id, delivery-tag and whether more follows. */
enum { ID_FROM_END = 18, TAG_FROM_END = 12, MORE_FROM_END = 6 };

static void prepare_transfer(Link *link)
{
    uint16_t channel = link->session->channel, handle = link->handle;
    const uint8_t begin[] = {0, 0, 0, 0, 2, AMQP_FRAME, channel >> 8, channel, 0x00, 0x53, TRANSFER, 0xC0, 0, 11};
    const uint8_t narrow[] = {0x52, handle}, wide[] = {0x70, 0, 0, handle >> 8, handle};
    const uint8_t rest[] = {
        0x70, 0, 0, 0, 0, 0xA0, 4, 0, 0, 0, 0, 0x43, 0x42, 0x42, 0x40, 0x40, 0x40, 0x40, 0x40,
    };
    uint8_t *end = mempcpy(link->transfer, begin, sizeof begin);
    end = handle < 256 ? mempcpy(end, narrow, sizeof narrow) : mempcpy(end, wide, sizeof wide);
    end = mempcpy(end, rest, sizeof rest);
    link->transfer_size = end - link->transfer;
    link->transfer[12] = link->transfer_size - 13; /* what follows the size of the list */
}

static void send_frame(Link *link)
{
    Session *session = link->session;
    Connection *connection = session->connection;
    Bytes *output = &connection->output;
    const Bytes *message = &link->message->bytes;
    if (!session->remote_incoming_window)
        return; /* until its flow makes the link ready again */
    if (!link->sent) {
        link->delivery_id = session->next_delivery_id++;
        link->delivery_count++;
        link->credit--;
        store_32(link->transfer + link->transfer_size - ID_FROM_END, link->delivery_id);
        store_32(link->transfer + link->transfer_size - TAG_FROM_END, link->delivery_id);
    }
    size_t size = message->size - link->sent, room = connection->max_frame_size - link->transfer_size;
    bool more = size > room;
    if (more)
        size = room;
    store_32(link->transfer, link->transfer_size + size);
    link->transfer[link->transfer_size - MORE_FROM_END] = more ? 0x41 : 0x42;
    uint8_t *frame = reserve(output, link->transfer_size + size);
    memcpy(frame, link->transfer, link->transfer_size);
    memcpy(frame + link->transfer_size, message->data + link->sent, size);
    output->size += link->transfer_size + size;
    link->sent = more ? link->sent + size : 0;
    session->next_outgoing_id++;
    session->remote_incoming_window--;
    set_ready(link);
    drained(link);
}

static void pump(Connection *connection)
{
    while (connection->first_ready && connection->output.size - connection->output.done < WRITE_SIZE)
        send_frame(take_ready(connection));
}

static void put_rich_sections(Bytes *message)
{
    size_t at = put_compound(message, 0x70, 0xC0, 1); /* header */
    put_boolean(message, true);
    size_compound(message, at);

    at = put_compound(message, 0x73, 0xC0, 10); /* properties */
    put_string(message, "message-0123456789");
    put_null(message);
    put_string(message, "warehouse/orders");
    put_string(message, "order.created");
    put_string(message, "warehouse/replies");
    put_string(message, "correlation-0123456789");
    put_symbol(message, "application/octet-stream");
    put_null(message);
    put_null(message);
    put(message, (uint8_t[]){0x83, 0x00, 0x00, 0x01, 0x8B, 0xCF, 0xE5, 0x68, 0x00}, 9);
    size_compound(message, at);

    at = put_compound(message, 0x74, 0xC1, 6); /* application properties */
    put_string(message, "region");
    put_string(message, "europe-west");
    put_string(message, "quantity");
    put(message, (uint8_t[]){0x71, 0x00, 0x01, 0xE2, 0x40}, 5);
    put_string(message, "express");
    put_boolean(message, true);
    size_compound(message, at);
}

/* Whether the name is plain-SIZE or rich-SIZE; then the message gets its bytes. */
static bool fill(Message *message)
{
    char kind[6];
    int size, end;
    if (sscanf(message->name, "%5[a-z]-%d%n", kind, &size, &end) != 2 || message->name[end] || size < 0 ||
        size > MESSAGE_LIMIT)
        return false;
    Bytes *bytes = &message->bytes;
    if (!strcmp(kind, "rich"))
        put_rich_sections(bytes);
    else if (strcmp(kind, "plain"))
        return false;
    put(bytes, (uint8_t[]){0x00, 0x53, 0x75}, 3);
    if (size < 256)
        put(bytes, (uint8_t[]){0xA0, size}, 2);
    else
        put_wide(bytes, 0xB0, size);
    memset(reserve(bytes, size), 'x', size);
    bytes->size += size;
    return true;
}

static const Message *message_named(Slice name)
{
    size_t length = name.end - name.start;
    if (!length || length >= sizeof messages->name)
        return NULL;
    for (const Message *message = messages; message; message = message->next)
        if (strlen(message->name) == length && !memcmp(message->name, name.start, length))
            return message;
    Message *message = owned(calloc(1, sizeof *message));
    memcpy(message->name, name.start, length);
    if (!fill(message)) {
        free(message);
        return NULL;
    }
    message->next = messages;
    return messages = message;
}

/* ---- Performatives read */

static bool on_open(Connection *connection, const Composite *open)
{
    uint32_t max_frame_size = number_of(open->field[2], UINT32_MAX);
    uint32_t idle_time_out = number_of(open->field[4], 0);
    connection->max_frame_size = max_frame_size < MAX_FRAME_SIZE ? max_frame_size : MAX_FRAME_SIZE;
    connection->heartbeat = idle_time_out / 2;
    connection->next_heartbeat = now() + connection->heartbeat;
    if (connection->max_frame_size < 512)
        return false;
    Bytes *output = &connection->output;
    size_t frame = begin_frame(connection, AMQP_FRAME, 0, OPEN);
    put_string(output, "counterpart");
    put_null(output);
    put_uint(output, MAX_FRAME_SIZE);
    put(output, (uint8_t[]){0x60, 0, CHANNELS - 1}, 3);
    end_frame(connection, frame, 4, 10);
    return true;
}

static bool on_begin(Connection *connection, uint16_t channel, const Composite *begin)
{
    if (channel >= CHANNELS || connection->sessions[channel])
        return false;
    Session *session = connection->sessions[channel] = owned(calloc(1, sizeof *session));
    session->connection = connection;
    session->channel = channel;
    session->next_incoming_id = number_of(begin->field[1], 0);
    session->incoming_limit = session->next_incoming_id + WINDOW;
    session->remote_incoming_window = number_of(begin->field[2], 0);
    Bytes *output = &connection->output;
    size_t frame = begin_frame(connection, AMQP_FRAME, channel, BEGIN);
    put(output, (uint8_t[]){0x60, channel >> 8, channel}, 3);
    put_uint(output, session->next_outgoing_id);
    put_uint(output, WINDOW);
    put_uint(output, WINDOW);
    put_uint(output, HANDLES - 1);
    end_frame(connection, frame, 5, 8);
    return true;
}

static void put_echo(Bytes *bytes, Slice value)
{
    if (value.start == value.end)
        put_null(bytes);
    else
        put(bytes, value.start, value.end - value.start);
}

static void refuse_link(Session *session, uint32_t handle)
{
    Connection *connection = session->connection;
    Bytes *output = &connection->output;
    size_t frame = begin_frame(connection, AMQP_FRAME, session->channel, DETACH);
    put_uint(output, handle);
    put_boolean(output, true);
    size_t error = put_compound(output, ERROR, 0xC0, 1);
    put_symbol(output, "amqp:not-found");
    size_compound(output, error);
    end_frame(connection, frame, 3, 3);
}

static bool on_attach(Session *session, const Composite *attach)
{
    uint32_t handle = number_of(attach->field[1], UINT32_MAX);
    if (handle >= HANDLES || session->links[handle])
        return false;
    Link *link = session->links[handle] = owned(calloc(1, sizeof *link));
    Connection *connection = session->connection;
    Bytes *output = &connection->output;
    link->session = session;
    link->handle = handle;
    link->sends = boolean_of(attach->field[2]);
    if (link->sends)
        link->message = message_named(name_of(attach->field[5]));
    bool refused = link->sends && !link->message;
    size_t frame = begin_frame(connection, AMQP_FRAME, session->channel, ATTACH);
    put_echo(output, attach->field[0]);
    put_uint(output, handle);
    put_boolean(output, !link->sends);
    put_echo(output, attach->field[3]);
    put_echo(output, attach->field[4]);
    put_echo(output, refused ? (Slice){0} : attach->field[5]);
    put_echo(output, attach->field[6]);
    put_null(output);
    put_null(output);
    if (link->sends)
        put_uint(output, link->delivery_count);
    end_frame(connection, frame, link->sends ? 10 : 9, 14);
    if (refused) {
        refuse_link(session, handle);
    } else if (link->sends) {
        prepare_transfer(link);
    } else {
        Slice name = name_of(attach->field[6]);
        link->holds = name.end - name.start == 9 && !memcmp(name.start, "sink-hold", 9);
        link->delivery_count = number_of(attach->field[9], 0);
        link->credit = CREDIT;
        write_flow(session, link, false);
    }
    return true;
}

static bool on_flow(Session *session, const Composite *flow)
{
    bool exhausted = !session->remote_incoming_window;
    session->remote_incoming_window =
        number_of(flow->field[0], 0) + number_of(flow->field[1], 0) - session->next_outgoing_id;
    uint32_t handle = number_of(flow->field[4], UINT32_MAX);
    bool echo = boolean_of(flow->field[9]);
    if (handle == UINT32_MAX) {
        if (echo)
            write_flow(session, NULL, false);
    } else {
        Link *link = handle < HANDLES ? session->links[handle] : NULL;
        if (!link)
            return false;
        if (link->sends) {
            int32_t credit = number_of(flow->field[5], 0) + number_of(flow->field[6], 0) - link->delivery_count;
            link->credit = credit > 0 ? credit : 0;
            link->drain = boolean_of(flow->field[8]);
            set_ready(link);
        }
        if (echo && !link->drain)
            write_flow(session, link, false);
        drained(link);
    }
    for (int each = 0; exhausted && each < HANDLES; each++)
        if (session->links[each] && session->links[each]->sends)
            set_ready(session->links[each]);
    return true;
}

static bool on_transfer(Session *session, const Composite *transfer)
{
    uint32_t handle = number_of(transfer->field[0], UINT32_MAX);
    Link *link = handle < HANDLES ? session->links[handle] : NULL;
    if (!link || link->sends || !link->credit)
        return false;
    session->next_incoming_id++;
    if (session->incoming_limit - session->next_incoming_id < WINDOW / 2)
        write_flow(session, NULL, false);
    link->delivery_id = number_of(transfer->field[1], link->delivery_id);
    if (boolean_of(transfer->field[5]))
        return true;
    link->delivery_count++;
    if (--link->credit < CREDIT / 2) {
        link->credit = CREDIT;
        write_flow(session, link, false);
    }
    bool settled = boolean_of(transfer->field[4]), aborted = boolean_of(transfer->field[9]);
    if (settled || aborted || link->holds)
        return true;
    if (session->unsettled && link->delivery_id != session->last + 1)
        write_accepted(session);
    if (!session->unsettled)
        session->first = link->delivery_id;
    session->last = link->delivery_id;
    session->unsettled = true;
    return true;
}

static bool on_detach(Session *session, const Composite *detach)
{
    uint32_t handle = number_of(detach->field[0], UINT32_MAX);
    Link *link = handle < HANDLES ? session->links[handle] : NULL;
    if (!link)
        return false;
    Connection *connection = session->connection;
    Bytes *output = &connection->output;
    bool refused = link->sends && !link->message; /* then the client answers ours */
    if (!refused) {
        size_t frame = begin_frame(connection, AMQP_FRAME, session->channel, DETACH);
        put_uint(output, handle);
        put_boolean(output, boolean_of(detach->field[1]));
        end_frame(connection, frame, 2, 3);
    }
    forget_ready(link);
    free(link);
    session->links[handle] = NULL;
    return true;
}

static bool on_end(Connection *connection, Session *session)
{
    for (int handle = 0; handle < HANDLES; handle++)
        if (session->links[handle])
            forget_ready(session->links[handle]);
    end_frame(connection, begin_frame(connection, AMQP_FRAME, session->channel, END), 0, 1);
    connection->sessions[session->channel] = NULL;
    free_session(session);
    return true;
}

static bool on_close(Connection *connection)
{
    connection->first_ready = NULL;
    connection->closing = true;
    end_frame(connection, begin_frame(connection, AMQP_FRAME, 0, CLOSE), 0, 1);
    return true;
}

static bool on_performative(Connection *connection, uint16_t channel, const Composite *performative)
{
    Session *session = channel < CHANNELS ? connection->sessions[channel] : NULL;
    switch (performative->code) {
    case OPEN: return on_open(connection, performative);
    case BEGIN: return on_begin(connection, channel, performative);
    case ATTACH: return session && on_attach(session, performative);
    case FLOW: return session && on_flow(session, performative);
    case TRANSFER: return session && on_transfer(session, performative);
    case DISPOSITION: return session != NULL;
    case DETACH: return session && on_detach(session, performative);
    case END: return session && on_end(connection, session);
    case CLOSE: return on_close(connection);
    default: return false;
    }
}

/* ---- Headers and SASL */

static const uint8_t amqp_header[8] = {'A', 'M', 'Q', 'P', 0, 1, 0, 0};
static const uint8_t sasl_header[8] = {'A', 'M', 'Q', 'P', 3, 1, 0, 0};

static bool on_header(Connection *connection, const uint8_t *header)
{
    Bytes *output = &connection->output;
    if (!memcmp(header, sasl_header, 8)) {
        put(output, sasl_header, 8);
        size_t frame = begin_frame(connection, SASL_FRAME, 0, SASL_MECHANISMS);
        static const uint8_t mechanisms[] = "\xE0\x12\x02\xA3\x09" "ANONYMOUS" "\x05" "PLAIN";
        put(output, mechanisms, sizeof mechanisms - 1);
        end_frame(connection, frame, 1, 1);
    } else {
        put(output, amqp_header, 8);
        if (memcmp(header, amqp_header, 8))
            return false;
    }
    connection->header_seen = true;
    return true;
}

static bool on_sasl(Connection *connection, const Composite *frame_body)
{
    if (frame_body->code != SASL_INIT)
        return false;
    size_t frame = begin_frame(connection, SASL_FRAME, 0, SASL_OUTCOME);
    put(&connection->output, (uint8_t[]){0x50, 0x00}, 2);
    end_frame(connection, frame, 1, 2);
    connection->header_seen = false; /* another header follows */
    return true;
}

/* ---- Bytes read */

/* Whether the client may go on. */
static bool parse(Connection *connection)
{
    Bytes *input = &connection->input;
    while (!connection->closing) {
        const uint8_t *frame = input->data + input->done;
        size_t left = input->size - input->done, size = 8;
        if (left < 8)
            break;
        if (!connection->header_seen) {
            if (!on_header(connection, frame))
                return false;
        } else {
            size = load_32(frame);
            size_t offset = 4 * (size_t)frame[4];
            if (size > MAX_FRAME_SIZE || offset < FRAME_HEADER || offset > size)
                return false;
            if (left < size)
                break;
            Composite body;
            if (offset < size) {
                if (!read_composite((Slice){frame + offset, frame + size}, &body))
                    return false;
                uint16_t channel = frame[6] << 8 | frame[7];
                bool legal = frame[5] == SASL_FRAME ? on_sasl(connection, &body)
                                                    : on_performative(connection, channel, &body);
                if (!legal)
                    return false;
            }
        }
        input->done += size;
    }
    compact(input);
    for (int channel = 0; channel < CHANNELS; channel++)
        if (connection->sessions[channel] && connection->sessions[channel]->unsettled)
            write_accepted(connection->sessions[channel]);
    return true;
}

/* How many bytes were read: none if there are none yet, -1 if there never will be. */
static ssize_t read_some(Connection *connection, uint8_t *to, size_t size)
{
    if (!connection->tls) {
        ssize_t count = recv(connection->socket, to, size, 0);
        return count > 0 ? count : count < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
    }
    ERR_clear_error();
    int count = SSL_read(connection->tls, to, size);
    if (count > 0)
        return count;
    int error = SSL_get_error(connection->tls, count);
    return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

static ssize_t write_some(Connection *connection, const uint8_t *from, size_t size)
{
    if (!connection->tls) {
        ssize_t count = send(connection->socket, from, size, MSG_NOSIGNAL);
        return count >= 0 ? count : errno == EAGAIN || errno == EINTR ? 0 : -1;
    }
    ERR_clear_error();
    int count = SSL_write(connection->tls, from, size);
    if (count > 0)
        return count;
    int error = SSL_get_error(connection->tls, count);
    return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

/* Reads once: what the socket has, or as much as fits. TLS gives it in records, and may keep some that are not announced
   by the socket any more. */
static bool on_readable(Connection *connection)
{
    Bytes *input = &connection->input;
    bool filled;
    do {
        size_t wanted = READ_SIZE;
        ssize_t count = 0;
        reserve(input, wanted);
        do {
            count = read_some(connection, input->data + input->size, wanted);
            if (count < 0)
                return false;
            input->size += count;
            wanted -= count;
        } while (connection->tls && count && wanted);
        filled = !wanted;
        awaits_more = READ_SIZE - wanted < LITTLE;
        if (connection->closing)
            input->size = input->done = 0;
        else if (!parse(connection)) {
            fputs("counterpart: a client broke a rule, its connection ends\n", stderr);
            return false;
        }
    } while (connection->tls && filled);
    return true;
}

static bool flush(Connection *connection)
{
    Bytes *output = &connection->output;
    pump(connection);
    while (output->done < output->size) {
        ssize_t count = write_some(connection, output->data + output->done, output->size - output->done);
        if (count < 0)
            return false;
        if (!count)
            break;
        output->done += count;
    }
    compact(output);
    if (connection->closing && !output->size && !connection->shut) {
        if (connection->tls)
            SSL_shutdown(connection->tls);
        shutdown(connection->socket, SHUT_WR);
        connection->shut = true;
    }
    uint32_t watched = EPOLLIN | (output->size || connection->first_ready ? EPOLLOUT : 0);
    if (watched != connection->watched) {
        struct epoll_event event = {.events = watched, .data.ptr = connection};
        epoll_ctl(poller, EPOLL_CTL_MOD, connection->socket, &event);
        connection->watched = watched;
    }
    return true;
}

static void on_event(Connection *connection, uint32_t events)
{
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR) && !on_readable(connection)) || !flush(connection))
        free_connection(connection);
}

/* ---- Heartbeats */

/* How long epoll may wait, in milliseconds; -1 for ever. */
static int beat(void)
{
    static const uint8_t empty_frame[] = {0, 0, 0, 8, 2, AMQP_FRAME, 0, 0};
    uint64_t nearest = UINT64_MAX, time = 0;
    for (Connection *connection = connections, *next; connection; connection = next) {
        next = connection->next;
        if (!connection->heartbeat || connection->closing)
            continue;
        time = time ? time : now();
        if (connection->next_heartbeat <= time) {
            connection->next_heartbeat = time + connection->heartbeat;
            put(&connection->output, empty_frame, sizeof empty_frame);
            if (!flush(connection)) {
                free_connection(connection);
                continue;
            }
        }
        if (connection->next_heartbeat < nearest)
            nearest = connection->next_heartbeat;
    }
    return nearest == UINT64_MAX ? -1 : nearest - time > 60000 ? 60000 : (int)(nearest - time);
}

/* What happens next. To be woken takes a process longer than it takes a client to send a message and wait for the answer,
   and is no work of the client's: who sent little is looked for, before this sleeps. */
static int next_events(struct epoll_event *events)
{
    int happened = 0, idle = beat();
    if (awaits_more) {
        awaits_more = false;
        uint64_t until = microseconds() + PATIENCE;
        do
            happened = epoll_wait(poller, events, EVENTS, 0);
        while (!happened && microseconds() < until);
    }
    return happened ? happened : epoll_wait(poller, events, EVENTS, idle);
}

/* ---- Start */

static void serve(int client)
{
    Connection *connection = owned(calloc(1, sizeof *connection));
    connection->socket = client;
    connection->max_frame_size = MAX_FRAME_SIZE;
    connection->watched = EPOLLIN;
    connection->next = connections;
    connection->link = &connections;
    if (connections)
        connections->link = &connection->next;
    connections = connection;
    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    if (tls_context) {
        connection->tls = owned(SSL_new(tls_context));
        SSL_set_fd(connection->tls, client);
        SSL_set_accept_state(connection->tls);
    }
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
    epoll_ctl(poller, EPOLL_CTL_ADD, client, &event);
}

static _Noreturn void give_up(const char *what)
{
    perror(what);
    exit(1);
}

static void prepare_tls(const char *certificate, const char *key)
{
    tls_context = owned(SSL_CTX_new(TLS_server_method()));
    SSL_CTX_set_mode(tls_context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(tls_context, 1);
    if (SSL_CTX_use_certificate_chain_file(tls_context, certificate) != 1 ||
        SSL_CTX_use_PrivateKey_file(tls_context, key, SSL_FILETYPE_PEM) != 1) {
        ERR_print_errors_fp(stderr);
        exit(1);
    }
}

static int listening_socket(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, size) || listen(listener, 128) ||
        getsockname(listener, (struct sockaddr *)&address, &size))
        give_up("counterpart: listen");
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return listener;
}

static bool input_ended(void)
{
    char ignored[256];
    ssize_t count = read(STDIN_FILENO, ignored, sizeof ignored);
    return count == 0 || (count < 0 && errno != EINTR && errno != EAGAIN);
}

int main(int count, char **arguments)
{
    if (count == 4 && !strcmp(arguments[1], "--tls")) {
        prepare_tls(arguments[2], arguments[3]);
    } else if (count != 1) {
        fputs("usage: counterpart [--tls CERTIFICATE KEY]\n", stderr);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    poller = epoll_create1(EPOLL_CLOEXEC);
    int listener = listening_socket();
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &listener};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event))
        give_up("counterpart: epoll");
    event.data.ptr = &poller; /* stands for the standard input; a file that cannot be watched never ends */
    epoll_ctl(poller, EPOLL_CTL_ADD, STDIN_FILENO, &event);
    for (;;) {
        struct epoll_event events[EVENTS];
        int happened = next_events(events);
        for (int n = 0; n < happened; n++) {
            if (events[n].data.ptr == &poller) {
                if (input_ended())
                    return 0;
            } else if (events[n].data.ptr == &listener) {
                int client = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
                if (client >= 0)
                    serve(client);
            } else {
                on_event(events[n].data.ptr, events[n].events);
            }
        }
    }
}
