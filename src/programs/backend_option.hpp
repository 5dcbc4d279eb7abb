#pragma once

// The option that chooses the backend, the same for all programs.

#include <ringlet/backend.hpp>

#include <CLI/CLI.hpp>

#include <string>

/// Adds `--backend auto|io_uring|epoll`.
inline void add_backend(CLI::App& app, ringlet::Backend& value) {
    const auto read = [&value](const std::string& text) {
        const auto backend = ringlet::parse_backend(text);
        if (!backend) {
            throw CLI::ValidationError(
                "--backend", "'" + text + "' is no backend: write auto, io_uring or epoll");
        }
        value = *backend;
    };
    app.add_option_function<std::string>(
           "--backend", read,
           "io_uring: fail if it is refused; epoll: needs no permission; auto, the default:\n"
           "io_uring where it is allowed, otherwise epoll")
        ->type_name("auto|io_uring|epoll");
}
