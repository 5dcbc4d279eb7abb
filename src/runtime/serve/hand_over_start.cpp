// How a server with ServeOptions::hand_over starts, and what it reports if that fails.

#include "serve/hand_over.hpp"

#include <ringlet/error.hpp>
#include <ringlet/serve.hpp>

#include <string>
#include <utility>

namespace ringlet {

std::error_code hand_over_failed(const ServeOptions& options, std::error_code why) {
    if (why == Errc::hand_over_busy) return why;
    std::string line = advice(options.hand_over, why);
    if (why == std::errc::timed_out || why == std::errc::protocol_error) {
        line = "the program at " + options.hand_over +
               " does not answer as a server that hands over: stop it, or choose another path";
    }
    report_to(options.loop, "hand-over: " + line);
    return Errc::hand_over_unavailable;
}

Result<HandOverStart> start_hand_over(const ServeOptions& options) {
    HandOverStart start;
    if (options.hand_over.empty()) return start;
    auto at = Endpoint::parse(options.hand_over);
    if (!at || !at->is_unix()) return hand_over_failed(options, Errc::invalid_endpoint);
    auto taken = TakeOver::ask(*at);
    if (!taken) return hand_over_failed(options, taken.error());
    start.taken = std::move(*taken);
    auto successors = ServiceListener::take_or_bind(*at, hand_over_service, {.mode = 0600},
                                                    start.taken ? &*start.taken : nullptr);
    if (!successors) return hand_over_failed(options, successors.error());
    start.successors = std::move(*successors);
    return start;
}

} // namespace ringlet
