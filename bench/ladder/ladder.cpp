// ladder: the same echo, again and again, with one thing changed at each step.

#include "ladder.hpp"

#include "backend_option.hpp"
#include "command_line.hpp"

#include <fmt/format.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <system_error>

#include <sysexits.h>
#include <unistd.h>

using ringlet::Backend;

namespace {

#ifdef RINGLET_HAS_FIBERS
constexpr auto fibers = serve_fibers;
#else
int explain_missing_fibers(const Settings&) {
    fmt::print(stderr, "ladder: built without Boost.Context (Debian: libboost-context-dev)\n");
    return EX_UNAVAILABLE;
}
constexpr auto fibers = explain_missing_fibers;
#endif

struct Step {
    const char* name;
    const char* what;
    int (*serve)(const Settings& settings);
    bool has_io_uring, has_epoll;
};

// The step's number is its place.
constexpr std::array steps{
    Step{"callbacks", "functions in C, no coroutine", serve_callbacks, true, true},
    Step{"coroutine", "a coroutine per connection", serve_coroutines, true, true},
    Step{"child", "as coroutine, and a child task per message", serve_coroutines, true, true},
    Step{"malloc", "as coroutine, frames from malloc instead of the pool", serve_coroutines, true,
         true},
    Step{"timeout", "as child, and the child under with_timeout", serve_coroutines, true, true},
    Step{"writer", "a task group per connection: a reader, a Channel, a writer", serve_coroutines,
         true, true},
    Step{"fiber", "a stackful fiber per connection, on the loop of callbacks", fibers, true, false},
    Step{"thread", "a thread per connection, blocking calls", serve_threads, false, false},
};

const Step* find_step(const std::string& text) {
    for (std::size_t number = 0; number < steps.size(); ++number) {
        if (text == steps[number].name || text == std::to_string(number)) return &steps[number];
    }
    return nullptr;
}

std::string list_of_steps() {
    std::string list = "steps:\n";
    for (std::size_t number = 0; number < steps.size(); ++number) {
        list += fmt::format("  {} {:10} {}\n", number, steps[number].name, steps[number].what);
    }
    return list;
}

void add_options(CLI::App& app, Settings& settings) {
    app.add_option("--step", settings.step, "Number or name of the step")->capture_default_str();
    app.add_option("--port", settings.port, "Port to listen on")
        ->check(CLI::Range(1, 65535))
        ->capture_default_str();
    add_backend(app, settings.backend);
    app.add_flag("--malloc", settings.malloc_frames,
                 "Frames come from malloc, with any step that has coroutines");
    app.footer(list_of_steps() +
               "\nThe first line on stdout names the step and what it runs on. "
               "SIGTERM ends it.\n./benchmark.sh compare 'ladder --step 1' 'ladder "
               "--step 2' compares two steps.");
}

const char* runs_on(const Step& step, Backend backend) {
    if (!step.has_io_uring) return "blocking calls";
    return backend == Backend::epoll ? "epoll" : "io_uring";
}

} // namespace

// The peers are in the folder above ours.
int serve_callbacks(const Settings& settings) {
    std::error_code failure;
    const auto self = std::filesystem::read_symlink("/proc/self/exe", failure);
    const auto peer = self.parent_path().parent_path() /
                      (settings.backend == Backend::epoll ? "epoll_echo" : "uring_echo");
    const auto port = std::to_string(settings.port);
    ::execl(peer.c_str(), peer.filename().c_str(), port.c_str(), nullptr);
    fmt::print(stderr, "ladder: {}: {}\n", peer.string(), std::strerror(errno));
    return EX_UNAVAILABLE;
}

int main(int argc, char** argv) {
    Settings settings;
    CLI::App app("The same echo on 127.0.0.1, with one thing changed at each step.", "ladder");
    const auto ended =
        parse_command_line(app, argc, argv, [&](CLI::App& to) { add_options(to, settings); });
    if (ended) return *ended;
    const Step* step = find_step(settings.step);
    if (step == nullptr) {
        fmt::print(stderr, "ladder: there is no step '{}' (see --help)\n", settings.step);
        return EX_USAGE;
    }
    if (settings.backend == Backend::automatic) settings.backend = Backend::io_uring;
    if (step->has_io_uring && settings.backend == Backend::epoll && !step->has_epoll) {
        fmt::print(stderr, "ladder: step {} runs on io_uring only\n", step->name);
        return EX_USAGE;
    }
    settings.step = step->name;
    settings.malloc_frames |= settings.step == "malloc";
    fmt::print("ladder step {}, {}: {}; {}{}; 127.0.0.1:{}\n", step - steps.data(), step->name,
               step->what, runs_on(*step, settings.backend),
               settings.malloc_frames ? ", frames from malloc" : "", settings.port);
    std::fflush(stdout);
    return step->serve(settings);
}
