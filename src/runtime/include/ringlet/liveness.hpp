#pragma once

#include <ringlet/detail/config.hpp>

#include <chrono>

namespace RINGLET_EXPORT ringlet {

/// How TCP finds out that a peer has vanished without a word: a power cut, a cable, a firewall that forgot. Such a
/// connection ends with `timed_out`. Unix sockets need neither: the kernel knows both ends.
struct Liveness {
    /// How long nothing may come before the peer is asked whether it lives (SO_KEEPALIVE, tcp(7)). Without an answer it is
    /// asked six times, each a sixth of this time after the last, a second at least; so a peer is given up after twice
    /// this time. 0: never.
    std::chrono::seconds keep_alive{0};
    /// How long bytes that were sent may stay without an acknowledgement (TCP_USER_TIMEOUT, tcp(7)). 0: as the kernel has it,
    /// about a quarter of an hour (net.ipv4.tcp_retries2). If it is set, it limits `keep_alive` as well.
    std::chrono::milliseconds user_timeout{0};
};

} // namespace ringlet
