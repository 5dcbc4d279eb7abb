// What a loop has counted.

#include <ringlet/detail/loop_core.hpp>

#include <array>
#include <cstddef>

namespace ringlet {

namespace {

constexpr std::array receives{Opcode::recv_buffer, Opcode::recv, Opcode::recv_message};
constexpr std::array sends{Opcode::send, Opcode::send_message, Opcode::send_zero_copy};
constexpr std::array reads{Opcode::read, Opcode::read_some, Opcode::read_buffer, Opcode::read_at};
constexpr std::array writes{Opcode::write, Opcode::write_at};

template <class Number, std::size_t count>
Number sum_of(const std::array<Number, opcode_count>& numbers,
              const std::array<Opcode, count>& opcodes) noexcept {
    Number sum = 0;
    for (const Opcode opcode : opcodes) sum += numbers[static_cast<std::size_t>(opcode)];
    return sum;
}

OperationsInFlight operations_by_kind(const std::array<std::size_t, opcode_count>& counts,
                                      std::size_t all) noexcept {
    OperationsInFlight kinds{.accept = sum_of(counts, std::array{Opcode::accept}),
                             .connect = sum_of(counts, std::array{Opcode::connect}),
                             .recv = sum_of(counts, receives),
                             .send = sum_of(counts, sends),
                             .read = sum_of(counts, reads),
                             .write = sum_of(counts, writes),
                             .poll = sum_of(counts, std::array{Opcode::poll})};
    kinds.blocking_job = all;
    for (const std::size_t count : counts) kinds.blocking_job -= count;
    return kinds;
}

} // namespace

LoopStats LoopCore::stats() const noexcept {
    return {.turns = turns_,
            .resumptions = resumptions_,
            .live_tasks = live_tasks_,
            .operations_in_flight = in_flight_count_,
            .in_flight = operations_by_kind(in_flight_of_, in_flight_count_),
            .received_bytes = sum_of(moved_bytes_, receives),
            .sent_bytes = sum_of(moved_bytes_, sends),
            .armed_timers = timers_.size(),
            .busy_polls = busy_polls_,
            .idle_timeouts = idle_timeouts_,
            .expired_deadlines = expired_deadlines_,
            .turn_times = turn_times_ ? turn_times_->turns : DurationHistogram(),
            .ready_waits = turn_times_ ? turn_times_->ready_waits : DurationHistogram(),
            .backend = backend_.backend,
            .ring = ring_->stats()};
}

} // namespace ringlet
