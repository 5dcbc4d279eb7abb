#include <ringlet/statistics.hpp>

namespace ringlet {

// The bindings name every field: a new one does not compile before it has a name here. That each
// name is also added is checked by statistics_test.

RingStats& operator+=(RingStats& sum, const RingStats& other) noexcept {
    const auto& [system_calls, submissions, completions, full_queue_flushes, buffer_shortages,
                 parked_receives, zero_copy_sends, copied_zero_copy_sends, completion_overflows] =
        other;
    sum.system_calls += system_calls;
    sum.submissions += submissions;
    sum.completions += completions;
    sum.full_queue_flushes += full_queue_flushes;
    sum.buffer_shortages += buffer_shortages;
    sum.parked_receives += parked_receives;
    sum.zero_copy_sends += zero_copy_sends;
    sum.copied_zero_copy_sends += copied_zero_copy_sends;
    sum.completion_overflows += completion_overflows;
    return sum;
}

OperationsInFlight& operator+=(OperationsInFlight& sum, const OperationsInFlight& other) noexcept {
    const auto& [accept, connect, recv, send, read, write, poll, blocking_job] = other;
    sum.accept += accept;
    sum.connect += connect;
    sum.recv += recv;
    sum.send += send;
    sum.read += read;
    sum.write += write;
    sum.poll += poll;
    sum.blocking_job += blocking_job;
    return sum;
}

LoopStats& operator+=(LoopStats& sum, const LoopStats& other) noexcept {
    const auto& [turns, resumptions, live_tasks, operations_in_flight, in_flight, received_bytes,
                 sent_bytes, armed_timers, busy_polls, idle_timeouts, expired_deadlines, turn_times,
                 ready_waits, backend, ring] = other;
    sum.turns += turns;
    sum.resumptions += resumptions;
    sum.live_tasks += live_tasks;
    sum.operations_in_flight += operations_in_flight;
    sum.in_flight += in_flight;
    sum.received_bytes += received_bytes;
    sum.sent_bytes += sent_bytes;
    sum.armed_timers += armed_timers;
    sum.busy_polls += busy_polls;
    sum.idle_timeouts += idle_timeouts;
    sum.expired_deadlines += expired_deadlines;
    sum.turn_times += turn_times;
    sum.ready_waits += ready_waits;
    static_cast<void>(backend);
    sum.ring += ring;
    return sum;
}

} // namespace ringlet
