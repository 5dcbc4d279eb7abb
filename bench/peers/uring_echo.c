/* Echo with an io_uring loop and callbacks: what ringlet's coroutines are compared with. It asks the
   kernel for the same as ringlet's ring: the same set-up, one system call per turn, the completions
   of a turn handled newest first, because the last socket is still in the cache. How it receives:

     plain      one receive at a time, into 16 KiB of the connection's own, as ringlet does
     pool       one receive at a time, into a buffer that the kernel takes from a pool when bytes come
     multishot  one receive that stays, with the same pool */

#define _GNU_SOURCE
#define PEER_ARGUMENTS "PORT [plain | pool | multishot]"
#include "peer.h"

#include <fcntl.h>
#include <liburing.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <unistd.h>

enum {
    submission_entries = 1024,
    completion_entries = 8192,
    completions_per_turn = 256,
    buffer_bytes = 16 * 1024,
    pool_buffers = 1024, /* a power of two */
    /* A connection that holds so many receives no more until all are sent: a client that does not
       read must leave some to the others. The kernel may have taken a few more by then. */
    held_limit = 8,
};

/* Linux 6.10; not in every liburing. */
#define FEAT_RECVSEND_BUNDLE (1U << 14)
#define ACCEPT_POLL_FIRST (1U << 2)

struct connection;

/* The user data of a submission is the address of one of these. */
struct operation {
    void (*finished)(struct connection* connection, int result, unsigned flags);
    struct connection* connection;
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

static struct io_uring ring;

static void fail(const char* what, int number) {
    fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, strerror(number));
    exit(EX_OSERR);
}

/* The kernel is short of something for a moment, or a signal came. */
static bool passes(int number) { return number == -EINTR || number == -EAGAIN || number == -EBUSY; }

static struct io_uring_sqe* next_entry(void) {
    struct io_uring_sqe* entry;
    while ((entry = io_uring_get_sqe(&ring)) == NULL) {
        int submitted = io_uring_submit(&ring);
        if (submitted < 0 && !passes(submitted)) fail("io_uring_enter", -submitted);
    }
    return entry;
}

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

/* ---- accepting ---------------------------------------------------------------------------------- */

static int listener;
static bool pooled, accept_poll_first, backlog_is_empty, stopped;

static void accepted(struct connection* none, int result, unsigned flags);
static struct operation accepting = {.finished = accepted};

static void accept_next(void) {
    struct io_uring_sqe* entry = next_entry();
    io_uring_prep_accept(entry, listener, NULL, NULL, SOCK_CLOEXEC);
    /* An attempt that finds nobody has made a socket in vain, and waits then. */
    if (accept_poll_first && backlog_is_empty) entry->ioprio |= ACCEPT_POLL_FIRST;
    io_uring_sqe_set_data(entry, &accepting);
}

static void accepted(struct connection* none, int result, unsigned flags) {
    (void)none;
    if (stopped) _exit(EX_OK); /* without a word of leaks: the kernel has what is in flight */
    if (result < 0 && result != -ECONNABORTED && !passes(result)) fail("accept", -result);
    backlog_is_empty = (flags & IORING_CQE_F_SOCK_NONEMPTY) == 0;
    accept_next();
    if (result < 0) return;

    size_t own_bytes = pooled ? 0 : buffer_bytes;
    struct connection* connection = malloc(sizeof *connection + own_bytes);
    if (connection == NULL) fail("malloc", errno);
    *connection = (struct connection){
        .receive = {pooled ? received_into_pool : received_plain, connection},
        .send = {pooled ? sent_from_pool : sent_plain, connection},
        .descriptor = result,
        .bytes = (char*)(connection + 1),
    };
    if (pooled) {
        receive_into_pool(connection, 0);
    } else {
        receive_plain(connection);
    }
}

/* ---- stopping ----------------------------------------------------------------------------------- */

/* A ring that a process leaves behind is taken apart some time later, and an accept in there keeps the
   port until then: SIGTERM and SIGINT end it first. */
static void stop(struct connection* none, int result, unsigned flags) {
    (void)none, (void)result, (void)flags;
    stopped = true;
    shutdown(listener, SHUT_RDWR);
}

static void stop_on_signals(void) {
    static struct signalfd_siginfo arrived;
    static struct operation stopping = {.finished = stop};
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    int descriptor = signalfd(-1, &signals, SFD_CLOEXEC);
    if (descriptor < 0 || sigprocmask(SIG_BLOCK, &signals, NULL) < 0) fail("signalfd", errno);
    struct io_uring_sqe* entry = next_entry();
    io_uring_prep_read(entry, descriptor, &arrived, sizeof arrived, 0);
    io_uring_sqe_set_data(entry, &stopping);
}

/* ---- the loop ----------------------------------------------------------------------------------- */

static void make_ring(void) {
    struct io_uring_params parameters = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL |
                 IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE,
        .cq_entries = completion_entries,
    };
    int answer = io_uring_queue_init_params(submission_entries, &ring, &parameters);
    if (answer < 0) fail("io_uring_setup (Linux 6.1 or later is needed)", -answer);
    io_uring_register_ring_fd(&ring);
    accept_poll_first = (parameters.features & FEAT_RECVSEND_BUNDLE) != 0;
}

static void turn(void) {
    int answer = io_uring_submit_and_wait(&ring, 1);
    if (answer < 0 && !passes(answer)) fail("io_uring_enter", -answer);
    struct io_uring_cqe* finished[completions_per_turn];
    unsigned count = io_uring_peek_batch_cqe(&ring, finished, completions_per_turn);
    for (unsigned index = 0; index < count; index++) {
        /* What a multishot received must stay in order; then it is the sends that are turned round. */
        const struct io_uring_cqe* entry = finished[pooled ? index : count - 1 - index];
        struct operation* operation = io_uring_cqe_get_data(entry);
        if (operation == NULL) continue; /* what a cancellation answers */
        operation->finished(operation->connection, entry->res, entry->flags);
    }
    io_uring_cq_advance(&ring, count);
    if (pooled) {
        start_sending();
        let_in_who_waits();
    }
}

int main(int argc, char** argv) {
    const char* way = argc == 3 ? argv[2] : "plain";
    multishot = strcmp(way, "multishot") == 0;
    pooled = multishot || strcmp(way, "pool") == 0;
    if (!pooled && strcmp(way, "plain") != 0) peer_usage();
    listener = peer_listen(argc == 3 ? 2 : argc, argv);
    fcntl(listener, F_SETFL, 0); /* the ring waits; of a socket that must not it hears EAGAIN */

    make_ring();
    if (pooled) make_pool();
    stop_on_signals();
    accept_next();
    for (;;) turn();
}
