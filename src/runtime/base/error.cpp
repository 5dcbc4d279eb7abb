#include <ringlet/error.hpp>

#include <string>

namespace ringlet {

namespace {

class Category final : public std::error_category {
public:
    const char* name() const noexcept override { return "ringlet"; }

    std::string message(int code) const override {
        switch (static_cast<Errc>(code)) {
        case Errc::end_of_stream: return "the peer has finished sending";
        case Errc::message_truncated: return "the peer finished in the middle of a message";
        case Errc::invalid_endpoint:
            return "not an address: write HOST:PORT, as 127.0.0.1:3200 or [::1]:3200, or unix:PATH";
        case Errc::unknown_host:
            return "unknown host: check the spelling, or give its address in numbers";
        case Errc::io_uring_disabled:
            return "io_uring is disabled by the sysctl kernel.io_uring_disabled: as root run "
                   "'sysctl -w kernel.io_uring_disabled=0'";
        case Errc::io_uring_forbidden:
            return "io_uring is forbidden here (EPERM), most likely by the seccomp profile of a "
                   "container: allow io_uring_setup, io_uring_enter and io_uring_register in the "
                   "profile (Docker: --security-opt seccomp=PROFILE.json)";
        case Errc::io_uring_missing:
            return "this kernel has no io_uring, or a seccomp filter hides it (ENOSYS): Linux 5.11 "
                   "or "
                   "newer is needed, and a filter must allow io_uring_setup, io_uring_enter and "
                   "io_uring_register";
        case Errc::io_uring_unsupported:
            return "this sandbox does not support io_uring (EOPNOTSUPP): run on a kernel of its "
                   "own, "
                   "or ask the provider to enable io_uring";
        case Errc::io_uring_locked_memory:
            return "not enough lockable memory for io_uring (ENOMEM): raise the limit with "
                   "'ulimit -l unlimited', LimitMEMLOCK= in a systemd unit, or --ulimit memlock=-1 "
                   "in Docker";
        case Errc::io_uring_too_old:
            return "this kernel's io_uring is too old: Linux 5.11 or newer is needed";
        case Errc::would_block_forever:
            return "every task waits for another one and nothing can wake any: see the tasks that "
                   "were reported";
        case Errc::unknown_backend:
            return "the environment variable RINGLET_BACKEND names no backend: set it to auto, "
                   "io_uring or epoll, or unset it";
        case Errc::unknown_feature:
            return "the environment variable RINGLET_WITHOUT or RINGLET_WITH names what is no "
                   "feature: set it to a list of defer_taskrun, registered_ring, "
                   "wait_with_timeout, accept_poll_first and multishot_accept, or unset it";
        case Errc::channel_closed: return "the channel is closed, and empty";
        case Errc::message_too_long:
            return "what was to be read is longer than the limit: raise that, or refuse the peer";
        case Errc::connected_to_itself:
            return "nobody listens there, and the connection met itself (a simultaneous open to "
                   "a port of the ephemeral range): start the server first";
        case Errc::hand_over_busy:
            return "another program is taking over from the server that runs here: wait until it "
                   "serves";
        case Errc::handed_over:
            return "the connection goes on in the next program: nothing is left to do for it here";
        case Errc::invalid_range:
            return "not a range of addresses: write an address, or ADDRESS/BITS with zeros behind "
                   "the bits, as 10.0.0.0/8 or fd00::/8, or unix: for all Unix sockets";
        case Errc::hand_over_unavailable:
            return "nothing can be taken over or offered at the address for that: see the line "
                   "before";
        case Errc::metrics_unavailable:
            return "the address of the metrics cannot be listened on: see the line before";
        case Errc::no_given_socket: return "the service manager gave no such socket";
        case Errc::not_listening:
            return "this descriptor is no stream socket that listens: a systemd socket unit needs "
                   "ListenStream= and Accept=no";
        case Errc::task_not_ready: return "the task ended before it said that it was ready";
        }
        return "unknown ringlet error " + std::to_string(code);
    }

    std::error_condition default_error_condition(int code) const noexcept override {
        switch (static_cast<Errc>(code)) {
        case Errc::invalid_endpoint:
        case Errc::invalid_range:
        case Errc::unknown_backend:
        case Errc::unknown_feature: return std::errc::invalid_argument;
        case Errc::io_uring_disabled:
        case Errc::io_uring_forbidden: return std::errc::operation_not_permitted;
        case Errc::hand_over_busy: return std::errc::device_or_resource_busy;
        case Errc::handed_over: return std::errc::operation_canceled;
        case Errc::io_uring_missing:
        case Errc::io_uring_too_old: return std::errc::function_not_supported;
        case Errc::io_uring_unsupported: return std::errc::operation_not_supported;
        case Errc::io_uring_locked_memory: return std::errc::not_enough_memory;
        case Errc::would_block_forever: return std::errc::resource_deadlock_would_occur;
        case Errc::message_too_long: return std::errc::message_size;
        default: return {code, *this};
        }
    }
};

} // namespace

const std::error_category& error_category() noexcept {
    static const Category category;
    return category;
}

} // namespace ringlet
