/* Echo with an io_uring loop and callbacks: what ringlet's coroutines are compared with. How it
   receives:

     plain      one receive at a time, into 16 KiB of the connection's own, as ringlet does
     pool       one receive at a time, into a buffer that the kernel takes from a pool when bytes come
     multishot  one receive that stays, with the same pool */

#define _GNU_SOURCE
#define PEER_ARGUMENTS "PORT [plain | pool | multishot]"
#include "uring_loop.h"

#include <sys/mman.h>

enum {
    buffer_bytes = 16 * 1024,
    pool_buffers = 1024, /* a power of two */
    /* A connection that holds so many receives no more until all are sent: a client that does not
       read must leave some to the others. The kernel may have taken a few more by then. */
    held_limit = 8,
};

struct connection {
    struct operation receive, send;
    int descriptor;
    unsigned sent, length; /* bytes[sent..length) still has to go out */
    char* bytes;
    /* With a pool only. */
    struct connection *next_waiting, *next_starting;
    int first, last, held; /* buffers to send: a list through `pool`, and how many they are */
    bool receiving;        /* a receive is in the kernel, or waits for a buffer */
    bool cancelling;       /* it was asked back */
    bool over;             /* receive no more; close when nothing is in flight */
};

static void send_rest(struct connection* connection) {
    struct io_uring_sqe* entry = next_entry();
    io_uring_prep_send(entry, connection->descriptor, connection->bytes + connection->sent,
                       connection->length - connection->sent, MSG_NOSIGNAL);
    io_uring_sqe_set_data(entry, &connection->send);
}

static void end(struct connection* connection) {
    close(connection->descriptor);
    free(connection);
}

/* ---- plain: at any time one operation per connection -------------------------------------------- */

static void receive_plain(struct connection* connection) {
    struct io_uring_sqe* entry = next_entry();
    io_uring_prep_recv(entry, connection->descriptor, connection->bytes, buffer_bytes, 0);
    io_uring_sqe_set_data(entry, &connection->receive);
}

static void received_plain(struct connection* connection, int result, unsigned flags) {
    (void)flags;
    if (result == -EINTR || result == -EAGAIN) return receive_plain(connection);
    if (result <= 0) return end(connection);
    connection->sent = 0;
    connection->length = (unsigned)result;
    send_rest(connection);
}

static void sent_plain(struct connection* connection, int result, unsigned flags) {
    (void)flags;
    if (result < 0 && !passes(result)) return end(connection);
    if (result > 0) connection->sent += (unsigned)result;
    if (connection->sent < connection->length) return send_rest(connection);
    receive_plain(connection);
}

/* ---- pool, multishot: buffers that the kernel takes when bytes come ----------------------------- */

static struct pool {
    struct io_uring_buf_ring* ring;
    char* bytes;
    unsigned length[pool_buffers]; /* what was received */
    int next[pool_buffers];        /* the connection's next buffer, or -1 */
    int held;                      /* by all connections */
    bool given_back;               /* one came back in this turn */
    struct connection* waiting;    /* for a buffer, in any order: all are let in at once */
    struct connection* starting;   /* to send at the end of this turn, the newest first */
} pool;

static bool multishot;

static void give_back(int buffer) {
    io_uring_buf_ring_add(pool.ring, pool.bytes + (size_t)buffer * buffer_bytes, buffer_bytes,
                          (unsigned short)buffer, io_uring_buf_ring_mask(pool_buffers), 0);
    io_uring_buf_ring_advance(pool.ring, 1);
    pool.given_back = true;
}

static void receive_into_pool(struct connection* connection, unsigned short options) {
    struct io_uring_sqe* entry = next_entry();
    io_uring_prep_recv(entry, connection->descriptor, NULL, 0, 0);
    entry->flags |= IOSQE_BUFFER_SELECT;
    entry->buf_group = 0;
    entry->ioprio |= options | (multishot ? IORING_RECV_MULTISHOT : 0);
    io_uring_sqe_set_data(entry, &connection->receive);
    connection->receiving = true;
    connection->cancelling = false;
}

static void send_first(struct connection* connection) {
    connection->sent = 0;
    connection->length = pool.length[connection->first];
    connection->bytes = pool.bytes + (size_t)connection->first * buffer_bytes;
    send_rest(connection);
}

static void drop_first(struct connection* connection) {
    int buffer = connection->first;
    connection->first = pool.next[buffer];
    connection->held--;
    pool.held--;
    give_back(buffer);
}

/* Receives again when all is sent; stops what receives too much; ends what is over. */
static void look_after(struct connection* connection) {
    if (connection->receiving) {
        bool too_much = connection->held >= held_limit;
        if (!multishot || !too_much || connection->cancelling || connection->over) return;
        struct io_uring_sqe* entry = next_entry();
        io_uring_prep_cancel(entry, &connection->receive, 0);
        io_uring_sqe_set_data(entry, NULL);
        connection->cancelling = true;
    } else if (connection->held == 0) {
        if (connection->over) return end(connection);
        receive_into_pool(connection, 0);
    }
}

/* An empty pool ends a receive. It waits until a buffer comes back, and then, with everybody who
   waits, for bytes before it asks for a buffer: one that has none must not keep the others out. */
static void wait_for_a_buffer(struct connection* connection) {
    connection->next_waiting = pool.waiting;
    pool.waiting = connection;
    if (pool.held == 0) pool.given_back = true; /* all came back before we heard of it */
}

static void let_in_who_waits(void) {
    if (!pool.given_back) return;
    pool.given_back = false;
    struct connection* connection = pool.waiting;
    pool.waiting = NULL;
    for (struct connection* next; connection != NULL; connection = next) {
        next = connection->next_waiting;
        if (!connection->over) {
            receive_into_pool(connection, IORING_RECVSEND_POLL_FIRST);
        } else {
            connection->receiving = false;
            look_after(connection);
        }
    }
}

static void start_sending(void) {
    for (; pool.starting != NULL; pool.starting = pool.starting->next_starting)
        send_first(pool.starting);
}

static void received_into_pool(struct connection* connection, int result, unsigned flags) {
    if (result > 0) {
        int buffer = (int)(flags >> IORING_CQE_BUFFER_SHIFT);
        pool.length[buffer] = (unsigned)result;
        pool.next[buffer] = -1;
        pool.held++;
        if (connection->held++ == 0) {
            connection->first = connection->last = buffer;
            connection->next_starting = pool.starting;
            pool.starting = connection;
        } else {
            pool.next[connection->last] = buffer;
            connection->last = buffer;
        }
    } else if (flags & IORING_CQE_F_BUFFER) {
        give_back((int)(flags >> IORING_CQE_BUFFER_SHIFT));
    }
    if (flags & IORING_CQE_F_MORE) return look_after(connection);
    if (result == -ENOBUFS) return wait_for_a_buffer(connection);
    connection->receiving = false;
    if (result == 0 || (result < 0 && !passes(result) && result != -ECANCELED))
        connection->over = true;
    look_after(connection);
}

static void sent_from_pool(struct connection* connection, int result, unsigned flags) {
    (void)flags;
    if (result < 0 && !passes(result)) {
        while (connection->held > 0) drop_first(connection);
        connection->over = true;
        if (connection->receiving) shutdown(connection->descriptor, SHUT_RDWR);
        return look_after(connection);
    }
    if (result > 0) connection->sent += (unsigned)result;
    if (connection->sent < connection->length) return send_rest(connection);
    drop_first(connection);
    if (connection->held > 0) return send_first(connection);
    look_after(connection);
}

static void make_pool(void) {
    size_t ring_bytes = pool_buffers * sizeof(struct io_uring_buf);
    void* memory = mmap(NULL, ring_bytes + (size_t)pool_buffers * buffer_bytes,
                        PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) fail("mmap", errno);
    pool.ring = memory;
    pool.bytes = (char*)memory + ring_bytes;
    struct io_uring_buf_reg registration = {.ring_addr = (unsigned long)memory,
                                            .ring_entries = pool_buffers};
    int answer = io_uring_register_buf_ring(&ring, &registration, 0);
    if (answer < 0) fail("io_uring_register_buf_ring", -answer);
    io_uring_buf_ring_init(pool.ring);
    for (int buffer = 0; buffer < pool_buffers; buffer++) give_back(buffer);
}

static bool pooled;

static void connected(int descriptor) {
    size_t own_bytes = pooled ? 0 : buffer_bytes;
    struct connection* connection = malloc(sizeof *connection + own_bytes);
    if (connection == NULL) fail("malloc", errno);
    *connection = (struct connection){
        .receive = {pooled ? received_into_pool : received_plain, connection},
        .send = {pooled ? sent_from_pool : sent_plain, connection},
        .descriptor = descriptor,
        .bytes = (char*)(connection + 1),
    };
    if (pooled) {
        receive_into_pool(connection, 0);
    } else {
        receive_plain(connection);
    }
}

int main(int argc, char** argv) {
    const char* way = argc == 3 ? argv[2] : "plain";
    multishot = strcmp(way, "multishot") == 0;
    pooled = multishot || strcmp(way, "pool") == 0;
    if (!pooled && strcmp(way, "plain") != 0) peer_usage();

    start_loop(peer_listen(argc == 3 ? 2 : argc, argv));
    if (pooled) make_pool();
    for (;;) {
        turn(
            pooled); /* what a multishot received must stay in order: then the sends are turned round */
        if (!pooled) continue;
        start_sending();
        let_in_who_waits();
    }
}
