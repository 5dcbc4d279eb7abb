/* The io_uring loop of those that call functions when something has finished: in C, and in C++ too.
   It asks the kernel for the same as ringlet's ring: the same set-up, one system call per turn, the
   completions of a turn handled newest first, because the last socket is still in the cache.
   A source defines `connected`, which gets every accepted socket. */

#pragma once

#include "peer.h"

#include <fcntl.h>
#include <liburing.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/signalfd.h>
#include <unistd.h>

enum {
    submission_entries = 1024,
    completion_entries = 8192,
    completions_per_turn = 256,
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

static void connected(int descriptor);

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

/* ---- accepting ---------------------------------------------------------------------------------- */

static int listener;
static bool accept_poll_first, backlog_is_empty, stopped;

static void accepted(struct connection* none, int result, unsigned flags);

static void accept_next(void) {
    static struct operation accepting = {accepted, NULL};
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
    if (result >= 0) connected(result);
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
    static struct operation stopping = {stop, NULL};
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

/* Makes the ring, and listens with a socket of peer_listen. */
static void start_loop(int listening) {
    struct io_uring_params parameters;
    memset(&parameters, 0, sizeof parameters);
    parameters.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                       IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE;
    parameters.cq_entries = completion_entries;
    int answer = io_uring_queue_init_params(submission_entries, &ring, &parameters);
    if (answer < 0) fail("io_uring_setup (Linux 6.1 or later is needed)", -answer);
    io_uring_register_ring_fd(&ring);
    accept_poll_first = (parameters.features & FEAT_RECVSEND_BUNDLE) != 0;

    listener = listening;
    fcntl(listener, F_SETFL, 0); /* the ring waits; of a socket that must not it hears EAGAIN */
    stop_on_signals();
    accept_next();
}

/* Handles what has finished, newest first; or in order, which a multishot needs. */
static void turn(bool in_order) {
    int answer = io_uring_submit_and_wait(&ring, 1);
    if (answer < 0 && !passes(answer)) fail("io_uring_enter", -answer);
    struct io_uring_cqe* finished[completions_per_turn];
    unsigned count = io_uring_peek_batch_cqe(&ring, finished, completions_per_turn);
    for (unsigned index = 0; index < count; index++) {
        const struct io_uring_cqe* entry = finished[in_order ? index : count - 1 - index];
        struct operation* operation = (struct operation*)io_uring_cqe_get_data(entry);
        if (operation == NULL) continue; /* what a cancellation answers */
        operation->finished(operation->connection, entry->res, entry->flags);
    }
    io_uring_cq_advance(&ring, count);
}
