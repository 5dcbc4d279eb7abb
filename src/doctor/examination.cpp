#include "examination.hpp"

#include "machine.hpp"
#include "probes.hpp"

#include <ringlet/backend.hpp>
#include <ringlet/error.hpp>
#include <ringlet/tls_context.hpp>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <string_view>
#include <utility>

#include <fmt/format.h>

using ringlet::Errc;

namespace {

std::string describe_failure(const Answer& answer) {
    if (answer.killed_by == SIGSYS) return "a seccomp filter kills any process that asks (SIGSYS)";
    if (answer.error.category() == ringlet::error_category()) return "refused";
    const std::string name = name_of(answer);
    return answer.error ? fmt::format("{} ({})", name, answer.error.message()) : name;
}

constexpr auto more_descriptors = "raise the descriptor limit: ulimit -n 10000";

std::string how_to_get_a_ring(const Answer& refusal) {
    if (refusal.killed_by == SIGSYS) {
        return fmt::format("allow {} in the seccomp profile of the container or unit (Docker: "
                           "--security-opt seccomp=PROFILE.json). Until then start servers with "
                           "RINGLET_BACKEND=epoll, because this filter would kill them",
                           io_uring_calls);
    }
    if (refusal.killed_by != 0) {
        return "the kernel gave no answer: see dmesg, and update the kernel";
    }
    if (refusal.error == std::errc::too_many_files_open) return more_descriptors;
    return refusal.error.message();
}

// ---- io_uring and epoll ---------------------------------------------------------------------------

struct Feature {
    const char* name;
    Answer (*probe)();
    const char* gain;  // its benefit
    const char* since; // the kernel that has it
    const char* call;  // that a filter may forbid
    bool needs_loopback = false;
};

constexpr Feature features[] = {
    {"nodrop", try_nodrop, "completions that find the queue full are kept", "5.5",
     "io_uring_setup"},
    {"wait_with_timeout", try_wait_with_timeout, "a deadline travels with the wait", "5.11",
     "io_uring_enter"},
    {"registered_ring", try_registered_ring, "the ring's descriptor is looked up once", "5.18",
     "io_uring_register"},
    {"multishot_accept", try_multishot_accept,
     "one operation accepts many connections (used if a server asks for it)", "5.19",
     "io_uring_enter", true},
    {"provided_buffers", try_provided_buffers,
     "the kernel chooses a receive's buffer when data has come", "5.19", "io_uring_register"},
    {"multishot_receive", try_multishot_receive,
     "one operation receives all that comes on a connection (used if asked for)", "6.0",
     "io_uring_enter", true},
    {"defer_taskrun", try_defer_taskrun, "completions are worked out when the loop asks", "6.1",
     "io_uring_setup"},
    {"zero_copy_send", try_zero_copy_send,
     "send_all_zero_copy sends from memory that is not copied", "6.2", "io_uring_enter", true},
    {"direct_descriptors", try_direct_descriptors,
     "more connections than descriptors: each worker has a table of its own", "6.8",
     "io_uring_register"},
    {"accept_poll_first", try_accept_poll_first, "accept makes a socket when somebody has come",
     "6.10", "io_uring_enter", true},
    {"no_iowait", try_no_iowait, "a server that waits is not shown as one that waits for a disk",
     "6.15", "io_uring_setup"},
};

constexpr auto needs_a_ring = "not tried: it needs a ring that works";
constexpr auto needs_loopback = "not tried: it needs a connection over the loopback interface";

// Whether it is an answer that seccomp filters and sandboxes give.
bool is_a_prohibition(const Answer& answer) {
    return answer.killed_by == SIGSYS || answer.error == std::errc::operation_not_permitted ||
           answer.error == std::errc::function_not_supported ||
           answer.error == std::errc::operation_not_supported;
}

Finding feature(const Feature& feature, bool ring_works, bool loopback_works) {
    Finding finding{.group = "io_uring", .name = feature.name};
    finding.value = feature.gain;
    if (!ring_works) {
        finding.verdict = Verdict::no;
        finding.value = needs_a_ring;
        return finding;
    }
    if (feature.needs_loopback && !loopback_works) {
        finding.verdict = Verdict::no;
        finding.value = needs_loopback;
        return finding;
    }
    const Answer answer = feature.probe();
    if (answer.works()) return finding;
    finding.verdict = Verdict::no;
    finding.value = describe_failure(answer);
    if (answer.error == std::errc::invalid_argument) {
        finding.advice = fmt::format("Linux {} or newer has it: {}", feature.since, feature.gain);
    } else if (is_a_prohibition(answer)) {
        finding.advice = fmt::format("allow {} in the seccomp profile, if there is one: {}",
                                     feature.call, feature.gain);
    } else if (answer.error == std::errc::too_many_files_open) {
        finding.advice = more_descriptors;
    } else {
        finding.advice = "what stands in the way is not io_uring: remove it, and ask again";
    }
    return finding;
}

// One of the three on which everything else rests. The first that fails carries the advice.
Finding needed(const char* name, const Answer& answer, const char* value, std::string advice) {
    Finding finding{.group = "io_uring", .name = name};
    finding.value = value;
    if (answer.works()) return finding;
    finding.verdict = Verdict::no;
    finding.advice = std::move(advice);
    finding.value = describe_failure(answer);
    return finding;
}

std::vector<Finding> needed_findings(const RingAnswers& ring) {
    std::string advice = ring.works() ? "" : how_to_get_a_ring(ring.refusal());
    std::vector<Finding> findings;
    findings.push_back(needed("setup", ring.setup, "a ring can be set up",
                              ring.setup.works() ? "" : std::exchange(advice, "")));
    findings.push_back(needed("noop", ring.noop, "an operation goes in, its completion comes out",
                              ring.noop.works() ? "" : std::exchange(advice, "")));
    if (!ring.setup.works()) findings.back().value = needs_a_ring;
    findings.push_back(needed("ringlet_ring", ring.own, "ringlet can set up its own ring", advice));
    return findings;
}

Finding epoll(const Answer& answer) {
    Finding finding{.group = "epoll", .name = "epoll"};
    finding.value = "an event goes in, and comes out";
    if (answer.works()) return finding;
    finding.verdict = Verdict::no;
    finding.value = describe_failure(answer);
    finding.advice = is_a_prohibition(answer)
                         ? "allow epoll_create1, epoll_ctl, epoll_pwait and epoll_pwait2 in the "
                           "seccomp profile: without them there is nothing to fall back to"
                         : more_descriptors;
    return finding;
}

Finding epoll_pwait2(bool has_epoll) {
    Finding finding{.group = "epoll", .name = "epoll_pwait2"};
    finding.value = "waits end to the nanosecond";
    const Answer answer = has_epoll ? try_epoll_pwait2() : Answer();
    if (has_epoll && answer.works()) return finding;
    finding.verdict = Verdict::no;
    finding.value = has_epoll ? describe_failure(answer) : "not tried: it needs epoll";
    if (has_epoll) {
        finding.advice = "Linux 5.11 or newer has it, and a seccomp profile must allow it; without "
                         "it timers on epoll are up to a millisecond late";
    }
    return finding;
}

// ---- what else a program may use ----------------------------------------------------------------

// Files, datagrams and streams need no more of io_uring than a receive does: the rest of the kernel differs.
Finding of_the_rest(const char* name, const Answer& answer, const char* value, const char* advice) {
    Finding finding{.group = "other", .name = name, .value = value};
    if (answer.works()) return finding;
    finding.verdict = Verdict::no;
    finding.value = describe_failure(answer);
    finding.advice = advice;
    return finding;
}

// Not used: kernel TLS could not be tried where ringlet is developed.
Finding kernel_tls_finding() {
    const Answer answer = try_kernel_tls();
    Finding finding{.group = "other", .name = "kernel_tls"};
    finding.value = answer.works() ? "the kernel could encrypt (kTLS); ringlet::tls does it itself"
                    : answer.error == std::errc::no_such_file_or_directory
                        ? "not here (the kernel has no module tls): ringlet::tls encrypts itself"
                        : describe_failure(answer) + ": ringlet::tls encrypts itself";
    return finding;
}

Finding loopback_finding(const Answer& answer) {
    Finding finding{.group = "other", .name = "loopback"};
    finding.value = "a connection to 127.0.0.1 works";
    if (answer.works()) return finding;
    finding.verdict = Verdict::no;
    finding.value = describe_failure(answer);
    finding.advice =
        is_a_prohibition(answer)
            ? "allow socket, bind, listen, connect and accept4 in the seccomp profile"
        : answer.error == std::errc::too_many_files_open
            ? more_descriptors
            : "is the interface lo down? ip link set lo up. Otherwise look for a packet filter "
              "that drops what goes to 127.0.0.1";
    return finding;
}

std::vector<Finding> rest_findings(const Answer& loopback) {
    return {
        loopback_finding(loopback),
        of_the_rest("child_processes", try_child_processes(),
                    "a child is waited for by a descriptor: Process works",
                    "Linux 5.4 or newer has it, and a seccomp profile must allow pidfd_open and "
                    "waitid: without it Process::start fails"),
        of_the_rest("datagram_segments", try_datagram_segments(),
                    "many datagrams leave and come with one system call",
                    "Linux 5.0 or newer has it: without it send_segments_to and join_segments "
                    "fail; send them one by one"),
        Finding{.group = "other", .name = "tls", .value = ringlet::tls_description()},
        kernel_tls_finding()};
}

// ---- what a server would choose ---------------------------------------------------------------------

// As ringlet decides: RINGLET_BACKEND first, then io_uring, then epoll.
Finding automatic(const RingAnswers& ring, const Answer& epoll) {
    using ringlet::Backend;
    Finding finding{.group = "servers", .name = "automatic"};
    const char* set = std::getenv("RINGLET_BACKEND");
    const std::string_view decided = set == nullptr ? "" : set; // empty is unset
    const auto wanted =
        ringlet::parse_backend(decided.empty() ? to_string(Backend::automatic) : decided);
    const bool killed = ring.refusal().killed_by != 0;
    const auto answers = [&](Verdict verdict, const char* backend, const std::string& why,
                             std::string advice) {
        finding.verdict = verdict;
        finding.value = why.empty() ? backend : fmt::format("{}: {}", backend, why);
        finding.advice = std::move(advice);
        finding.data = {{"backend", backend}};
        return finding;
    };
    if (!wanted) {
        const std::error_code error = Errc::unknown_backend;
        return answers(Verdict::no, "none", fmt::format("RINGLET_BACKEND={}", decided),
                       error.message());
    }
    if (wanted == Backend::epoll && epoll.works()) {
        return answers(Verdict::low, "epoll", "RINGLET_BACKEND=epoll decides",
                       ring.works() ? "io_uring works here: unset RINGLET_BACKEND to use it"
                                    : "for io_uring follow the advice above, then unset "
                                      "RINGLET_BACKEND");
    }
    if (wanted != Backend::epoll && ring.works()) return answers(Verdict::ok, "io_uring", "", "");
    if (wanted != Backend::automatic) {
        return answers(Verdict::no, "none",
                       fmt::format("RINGLET_BACKEND={}, which does not work here", decided),
                       "follow the advice above, or unset RINGLET_BACKEND");
    }
    if (!epoll.works()) {
        return answers(Verdict::no, "none", "neither io_uring nor epoll works",
                       "follow the advice above, for one of them at least");
    }
    if (killed) {
        return answers(Verdict::no, "none", "a server would be killed when it asks for io_uring",
                       "follow the advice above, or start servers with RINGLET_BACKEND=epoll");
    }
    return answers(Verdict::low, "epoll", "io_uring is refused",
                   "for io_uring follow the advice above, then run ringlet_doctor again");
}

} // namespace

Examination examine() {
    const RingAnswers ring;
    const Answer epoll_answer = try_epoll();
    const Answer loopback = try_loopback();

    std::vector<Finding> of_io_uring = needed_findings(ring);
    for (const Feature& each : features) {
        of_io_uring.push_back(feature(each, ring.noop.works(), loopback.works()));
    }
    const bool best_ring = std::ranges::any_of(of_io_uring, [](const Finding& finding) {
        return finding.name == "defer_taskrun" && finding.verdict == Verdict::ok;
    });

    std::vector<Finding> findings = machine_findings(ring, best_ring);
    const auto add = [&](const std::vector<Finding>& more) {
        findings.insert(findings.end(), more.begin(), more.end());
    };
    add(of_io_uring);
    add({epoll(epoll_answer), epoll_pwait2(epoll_answer.works())});
    add(rest_findings(loopback));
    add(limit_findings(ring));
    add({automatic(ring, epoll_answer)});
    return {.findings = std::move(findings),
            .io_uring_works = ring.works(),
            .epoll_works = epoll_answer.works()};
}
