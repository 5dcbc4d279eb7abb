// Random trees of tasks (tree.hpp) on the real kernel. After each seed nothing may be left: no task, no
// operation, no timer, no descriptor.

#include "tree.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <string>
#include <string_view>
#include <system_error>

#include <sys/socket.h>
#include <unistd.h>

using namespace ringlet;

// A sanitizer's finding also raises SIGABRT, whose handler names the seed.
extern "C" const char* __asan_default_options();
extern "C" const char* __asan_default_options() { return "abort_on_error=1"; }
extern "C" const char* __ubsan_default_options();
extern "C" const char* __ubsan_default_options() { return "halt_on_error=1:abort_on_error=1"; }

namespace {

constexpr std::uint64_t seeds_per_loop = 100;
constexpr unsigned seconds_per_seed = 20;

Result<stress::World::Pair> socket_pair() {
    std::array<int, 2> fds{-1, -1};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds.data()) != 0) {
        return std::error_code(errno, std::system_category());
    }
    UniqueFd second(fds[1]);
    TcpStream first{UniqueFd(fds[0])};
    return stress::World::Pair(std::move(first), TcpStream(std::move(second)));
}

char repeat_line[128]; // read by the signal handlers

void tell_seed(int number) {
    const char* line = repeat_line;
    auto written = ::write(STDERR_FILENO, line, std::string_view(line).size());
    static_cast<void>(written);
    std::signal(SIGABRT, SIG_DFL);
    if (number == SIGALRM) std::abort();
}

std::size_t open_descriptors() {
    const std::filesystem::directory_iterator open("/proc/self/fd");
    return static_cast<std::size_t>(std::distance(begin(open), end(open)));
}

std::string left_over(const LoopStats& stats, std::size_t descriptors_more) {
    if (stats.live_tasks != 0) return std::to_string(stats.live_tasks) + " live tasks";
    if (stats.operations_in_flight != 0) return "operations in flight";
    if (stats.armed_timers != 0) return "armed timers";
    if (descriptors_more != 0) return "descriptors";
    return "";
}

int run_seeds(std::uint64_t first, std::uint64_t count) {
    std::uint64_t tasks = 0;
    std::uint64_t cancellations = 0;
    for (std::uint64_t begun = 0; begun < count; begun += seeds_per_loop) {
        LoopOptions options;
        options.ring_entries = 128;
        options.report = [](std::string_view) {}; // second failures of groups
        auto loop = EventLoop::create(std::move(options));
        if (!loop) {
            std::fprintf(stderr, "stress: %s\n", loop.error().message().c_str());
            return 1;
        }
        const std::size_t open_before = open_descriptors();
        for (std::uint64_t at = begun; at < std::min(count, begun + seeds_per_loop); ++at) {
            const auto seed = static_cast<unsigned long long>(first + at);
            std::snprintf(repeat_line, sizeof repeat_line, "repeat with: stress --seed %llu\n",
                          seed);
            ::alarm(seconds_per_seed);
            stress::World world(seed, socket_pair);
            auto ran = loop->run(stress::tree, &world);
            std::string left = left_over(loop->stats(), open_descriptors() - open_before);
            if (!ran) left = "run: " + ran.error().message();
            if (!left.empty()) {
                std::fprintf(stderr, "seed %llu leaves: %s\n%s", seed, left.c_str(), repeat_line);
                return 1;
            }
            tasks += static_cast<std::uint64_t>(world.tasks);
            cancellations += world.cancellations;
        }
    }
    ::alarm(0);
    std::printf("%llu seeds, %llu tasks, %llu cancellations, 0 failures\n",
                static_cast<unsigned long long>(count), static_cast<unsigned long long>(tasks),
                static_cast<unsigned long long>(cancellations));
    return 0;
}

} // namespace

int main(int argc, char** argv) {
    std::uint64_t first = 1;
    std::uint64_t count = 1000;
    for (int at = 1; at < argc; at += 2) {
        const std::string_view option = argv[at];
        const char* value = at + 1 < argc ? argv[at + 1] : nullptr;
        const bool known = option == "--seeds" || option == "--first-seed" || option == "--seed";
        if (!known || value == nullptr) {
            std::puts("usage: stress [--seeds N] [--first-seed S] [--seed S]");
            return option == "--help" ? 0 : 64;
        }
        (option == "--seeds" ? count : first) = std::strtoull(value, nullptr, 10);
        if (option == "--seed") count = 1;
    }
    std::signal(SIGALRM, tell_seed);
    std::signal(SIGABRT, tell_seed);
    return run_seeds(first, count);
}
