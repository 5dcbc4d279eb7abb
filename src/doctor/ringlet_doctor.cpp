// ringlet_doctor: says what this machine can do for a ringlet server, and what to change.

#include "examination.hpp"

#include <ringlet/version.hpp>

#include "command_line.hpp"
#include "first_process.hpp"
#include "output.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <string_view>

#include <sysexits.h>

namespace {

constexpr int io_uring_works = 0;
constexpr int only_epoll_works = 1;
constexpr int nothing_works = 2;

const char* to_string(Verdict verdict) {
    switch (verdict) {
    case Verdict::ok: return "ok";
    case Verdict::low: return "low";
    case Verdict::no: return "no";
    }
    return "?";
}

void add_options(CLI::App& app, bool& json) {
    app.set_version_flag("--version", "ringlet_doctor " RINGLET_VERSION);
    app.add_flag("--json", json, "Print one JSON object instead of the table");
    app.footer(R"(Every line of the table begins with a verdict:
  ok    nothing to do
  low   it works, and a server would gain by a change
  no    it does not work, or is missing
If something can be changed, the next line says how, after an arrow.

machine    the kernel, the sysctl that disables io_uring, the seccomp filter of this process
io_uring   setup, noop, ringlet_ring: needed. The others are used where the kernel has them. Each is
           tried for real, in a child process: a filter may kill a process that asks
epoll      what ringlet falls back to
other      what else a program may use: the loopback interface, child processes, datagrams, TLS
limits     descriptors (one for each connection), locked memory (200 KiB for each loop), the accept
           queue, local ports (for load clients)
servers    the backend that a server chooses by default; RINGLET_BACKEND=io_uring or epoll in its
           environment overrides that

The answers are for this process: run it as the same user, in the same container or unit, as the
server. It needs no privilege, changes nothing, and opens a loopback port for an instant.

--json: "schema_version" (1), "program", "exit_status", "io_uring_works", "epoll_works",
"backend" ("io_uring", "epoll" or "none"), and "checks", an object by the names in the table. Each
check has "group", "verdict", "value", "advice" (may be empty), and "data": numbers for programs,
or null. Later versions may add keys.

Exit status: 0 io_uring works, 1 only epoll works, 2 neither works, 64 bad option, 74 the output
could not be written.

Try it:  ringlet_doctor --json | jq -r .backend)");
}

int exit_status(const Examination& examination) {
    if (examination.io_uring_works) return io_uring_works;
    return examination.epoll_works ? only_epoll_works : nothing_works;
}

std::string to_table(const Examination& examination) {
    std::size_t width = 0;
    for (const Finding& finding : examination.findings) {
        width = std::max(width, finding.name.size());
    }
    std::string text =
        "ringlet_doctor " RINGLET_VERSION ": what this machine can do for a ringlet server\n";
    std::string_view group;
    for (const Finding& finding : examination.findings) {
        if (finding.group != group) text += fmt::format("\n{}\n", finding.group);
        group = finding.group;
        text += fmt::format("  {:<4} {:<{}}  {}\n", to_string(finding.verdict), finding.name, width,
                            finding.value);
        if (!finding.advice.empty()) text += fmt::format("       -> {}\n", finding.advice);
    }
    return text;
}

std::string to_json(const Examination& examination) {
    nlohmann::ordered_json checks = nlohmann::ordered_json::object();
    for (const Finding& finding : examination.findings) {
        checks[finding.name] = {{"group", finding.group},
                                {"verdict", to_string(finding.verdict)},
                                {"value", finding.value},
                                {"advice", finding.advice},
                                {"data", finding.data}};
    }
    const nlohmann::ordered_json json = {{"schema_version", 1},
                                         {"program", "ringlet_doctor " RINGLET_VERSION},
                                         {"exit_status", exit_status(examination)},
                                         {"io_uring_works", examination.io_uring_works},
                                         {"epoll_works", examination.epoll_works},
                                         {"backend", checks["automatic"]["data"]["backend"]},
                                         {"checks", checks}};
    return json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

} // namespace

int main(int argc, char** argv) {
    ignore_broken_pipes();
    hold_standard_streams();
    end_by_signals_as_first_process();
    bool json = false;
    CLI::App app("Says what this machine can do for a ringlet server, and what to change.",
                 "ringlet_doctor");
    const auto ended =
        parse_command_line(app, argc, argv, [&](CLI::App& to) { add_options(to, json); });
    if (ended) return *ended;
    const Examination examination = examine();
    print("{}", json ? to_json(examination) : to_table(examination));
    return end_output("ringlet_doctor", exit_status(examination));
}
