#pragma once

// The steps of the ladder, each a server that echoes on 127.0.0.1 until SIGTERM. All listen in the
// same way: TCP_NODELAY, SO_REUSEADDR, a backlog of 4,096; they receive at most 16 KiB at once.

#include <ringlet/backend.hpp>

#include <string>

struct Settings {
    std::string step = "coroutine";
    std::uint16_t port = 3200;
    ringlet::Backend backend = ringlet::Backend::io_uring;
    bool malloc_frames = false;
};

/// Callbacks: becomes the C peer of that backend.
int serve_callbacks(const Settings& settings);

/// A coroutine of ringlet per connection, and what a step adds to it.
int serve_coroutines(const Settings& settings);

/// A stackful fiber per connection, on the io_uring loop of the C peer.
int serve_fibers(const Settings& settings);

/// A thread per connection, with blocking calls.
int serve_threads(const Settings& settings);
