#pragma once

#include <ringlet/detail/config.hpp>

#include <chrono>

namespace RINGLET_EXPORT ringlet {

/// How TCP notices that a peer has vanished without a word: a power cut, a pulled cable, a firewall that lost its
/// state. Such a connection ends with `timed_out`. Unix sockets need neither option: the kernel knows both ends.
struct Liveness {
    /// How long the peer may be silent before it is probed (SO_KEEPALIVE, tcp(7)). Without an answer there are six
    /// probes, each a sixth of this time after the last and at least a second, so a peer is given up after twice this
    /// time. 0: never.
    std::chrono::seconds keep_alive{0};
    /// How long sent bytes may stay unacknowledged (TCP_USER_TIMEOUT, tcp(7)). 0: the kernel's default, about a quarter
    /// of an hour (net.ipv4.tcp_retries2). If it is set, it limits `keep_alive` as well.
    std::chrono::milliseconds user_timeout{0};
};

} // namespace ringlet
