#pragma once

// The option that lets a loop poll before it sleeps, the same for all programs.

#include <CLI/CLI.hpp>

#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include <sched.h>

/// What `auto` means if there is a core for it: a little longer than a round trip on one machine.
inline constexpr std::chrono::microseconds busy_poll_by_itself{50};

/// Whether this process may run on more than one CPU: polling on the only one keeps the others from theirs.
inline bool has_two_cpus() {
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    if (::sched_getaffinity(0, sizeof allowed, &allowed) != 0) return errno == EINVAL; // > 1,024
    return CPU_COUNT(&allowed) > 1;
}

/// Adds `--busy-poll auto|0|50us`, up to 10,000us.
inline void add_busy_poll(CLI::App& app, std::chrono::microseconds& value) {
    const auto read = [&value](const std::string& text) {
        if (text == "auto") {
            value = has_two_cpus() ? busy_poll_by_itself : std::chrono::microseconds(0);
            return;
        }
        constexpr std::int64_t most_us = 10'000;
        std::int64_t count = -1;
        const char* end = text.data() + text.size();
        const auto [rest, failure] = std::from_chars(text.data(), end, count);
        const std::string_view unit(rest, static_cast<std::size_t>(end - rest));
        const bool has_unit = unit == "us" || (unit.empty() && count == 0);
        if (failure != std::errc{} || !has_unit || count < 0 || count > most_us) {
            throw CLI::ValidationError("--busy-poll", "'" + text +
                                                          "' is no time: write auto, 0, or one up "
                                                          "to 10000us, as 50us");
        }
        value = std::chrono::microseconds(count);
    };
    app.add_option_function<std::string>(
           "--busy-poll", read,
           "Poll for this long before sleeping, while that pays off: lower latency for a few busy\n"
           "connections, for more CPU time. auto: 50us if more than one CPU may be used; default 0")
        ->type_name("auto|0|TIME");
}
