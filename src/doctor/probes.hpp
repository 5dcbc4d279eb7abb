#pragma once

// Asks the kernel instead of guessing. Each probe runs in a child process of its own: a seccomp
// filter that kills the asking process then kills only the child.

#include <ringlet/error.hpp>

#include <string>
#include <system_error>

struct Answer {
    std::error_code error; ///< zero: it works
    int killed_by = 0;     ///< the signal that ended the child before it had an answer

    [[nodiscard]] bool works() const { return !error && killed_by == 0; }
};

/// The name of what went wrong: `EPERM`, `SIGSYS`.
[[nodiscard]] std::string name_of(const Answer& answer);

/// io_uring_setup(2) without any flag.
[[nodiscard]] Answer try_setup();

/// A no-op through a ring and back.
[[nodiscard]] Answer try_noop();

/// Whether completions that find the queue full are kept (IORING_FEAT_NODROP, Linux 5.5).
[[nodiscard]] Answer try_nodrop();

/// A wait with a time limit (IORING_ENTER_EXT_ARG, Linux 5.11).
[[nodiscard]] Answer try_wait_with_timeout();

/// A no-op through a ring whose descriptor is registered (IORING_REGISTER_RING_FDS, Linux 5.18).
[[nodiscard]] Answer try_registered_ring();

/// Two loopback connections through one accept (IORING_ACCEPT_MULTISHOT, Linux 5.19).
[[nodiscard]] Answer try_multishot_accept();

/// A loopback connection through an accept that waits for it first (IORING_ACCEPT_POLL_FIRST, Linux
/// 6.10).
[[nodiscard]] Answer try_accept_poll_first();

/// A ring of buffers is registered (IORING_REGISTER_PBUF_RING, Linux 5.19).
[[nodiscard]] Answer try_provided_buffers();

/// A byte through a receive that stays (IORING_RECV_MULTISHOT, Linux 6.0).
[[nodiscard]] Answer try_multishot_receive();

/// A byte sent without a copy over loopback, and whether it was copied anyway (IORING_OP_SEND_ZC, Linux 6.2).
[[nodiscard]] Answer try_zero_copy_send();

/// A descriptor for a file in the table of a ring (IORING_OP_FIXED_FD_INSTALL, Linux 6.8).
[[nodiscard]] Answer try_direct_descriptors();

/// Waits that are not counted as waits for a disk (IORING_FEAT_NO_IOWAIT, Linux 6.15).
[[nodiscard]] Answer try_no_iowait();

/// A no-op through a ring of SINGLE_ISSUER and DEFER_TASKRUN (Linux 6.1).
[[nodiscard]] Answer try_defer_taskrun();

/// What ringlet itself tests before it uses io_uring: `ringlet::probe_io_uring`.
[[nodiscard]] Answer try_ringlet();

/// A child that is waited for by a descriptor (pidfd_open(2), Linux 5.3; P_PIDFD of waitid(2), Linux 5.4).
[[nodiscard]] Answer try_child_processes();

/// Many datagrams by one system call, and joined again (UDP_SEGMENT, Linux 4.18; UDP_GRO, Linux 5.0).
[[nodiscard]] Answer try_datagram_segments();

/// Encryption by the kernel (kTLS).
[[nodiscard]] Answer try_kernel_tls();

/// A connection over the loopback interface, without io_uring: several of the probes above need one.
[[nodiscard]] Answer try_loopback();

/// An event through epoll.
[[nodiscard]] Answer try_epoll();

/// A wait of epoll in nanoseconds (epoll_pwait2, Linux 5.11).
[[nodiscard]] Answer try_epoll_pwait2();

/// What io_uring needs to be usable at all.
struct RingAnswers {
    Answer setup = try_setup();
    Answer noop = try_noop();
    Answer own = try_ringlet(); ///< ringlet's

    [[nodiscard]] bool works() const { return setup.works() && noop.works() && own.works(); }

    /// Why there is no ring. ringlet's own error says most: it names the sysctl.
    [[nodiscard]] const Answer& refusal() const {
        if (!own.works()) return own;
        return setup.works() ? noop : setup;
    }
    [[nodiscard]] bool refusal_is(ringlet::Errc code) const { return refusal().error == code; }
};

/// What a seccomp profile must allow.
inline constexpr auto io_uring_calls = "io_uring_setup, io_uring_enter and io_uring_register";
