#pragma once

#include <ringlet/detail/config.hpp>
#include <ringlet/server.hpp>
#include <ringlet/workers.hpp>

#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace RINGLET_EXPORT ringlet {

/// Makes a server and runs it: all that a program needs to serve until SIGTERM. With
/// `ServeOptions::workers` there are several threads, each with a copy of the handler: see
/// `Workers`.
///
///     return exit_status(serve({.listen = "127.0.0.1:3200"}, echo));
///
/// Errors    As `Workers::create` and `Workers::run`. A line that says what to do has been given to
///           `LoopOptions::report`.
template <class Handler>
Result<ServeReport> serve(ServeOptions options, Handler handler);

/// One line for an operator: what failed, why, and what to do.
[[nodiscard]] std::string advice(std::string_view listen, std::error_code error);

/// The exit status of a program that ends with this error, as in sysexits(3): 64 for a malformed
/// address, 68 for an unknown host, 69 where a service is unavailable (port in use, no io_uring),
/// 71 for the operating system, 77 for a missing permission. A zero code is 0.
[[nodiscard]] int exit_status(std::error_code error) noexcept;

template <class T>
[[nodiscard]] int exit_status(const Result<T>& result) noexcept {
    return exit_status(result.error());
}

/// Passes a line for an operator to the report hook of `options`, or to stderr.
void report_to(const LoopOptions& options, std::string_view line);
/// Lets the report hook of these options write to their log, if they have a log and no hook. All that serves calls it.
void report_to_log(ServeOptions& options);
/// Whether the reason, with its address, has already been reported to the hook: `metrics_unavailable` and
/// `hand_over_unavailable`.
[[nodiscard]] bool is_reported(std::error_code error) noexcept;
/// Reports the line of `advice` in the same way, unless a reason was reported already.
void report_advice(const LoopOptions& options, std::string_view listen, std::error_code error);

template <class Handler>
Result<ServeReport> serve(ServeOptions options, Handler handler) {
    report_to_log(options);
    const LoopOptions reporting = options.loop;
    const std::string listen = options.listen;
    auto workers = Workers::create(std::move(options));
    if (!workers) {
        report_advice(reporting, listen, workers.error());
        return workers.error();
    }
    auto report = workers->run(std::move(handler));
    if (!report) report_advice(reporting, listen, report.error());
    return report;
}

} // namespace ringlet
