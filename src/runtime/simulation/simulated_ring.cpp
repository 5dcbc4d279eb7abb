#include "simulation/simulated_ring.hpp"

#include <ringlet/detail/assert.hpp>
#include <ringlet/detail/task_record.hpp>

#include "ring/buffer_queue.hpp"
#include "ring/loan.hpp"
#include "simulation/real_descriptors.hpp"
#include "simulation/simulated_kernel.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace ringlet::testing {

namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

// More waits than any test needs: beyond this, something is looping.
constexpr std::uint64_t waits_limit = 5'000'000;

// When nothing can happen in the simulation, something may still come from outside: another
// thread's letter, a signal. This is how long to wait for it, in real time.
constexpr int real_wait_ms = 100;
constexpr int real_wait_alone_ms = 10'000;

// How often tasks may continue when nothing can happen any more: they should end.
constexpr std::uint64_t deadlocks_limit = 10'000;

class SimulatedRing final : public Ring {
public:
    SimulatedRing(SimulatedKernel& kernel, const RingOptions& options)
        : kernel_(kernel), plan_(kernel.plan()), network_(kernel.network()),
          queue_limit_(std::max(options.entries, 1U)), buffers_(options.buffer_limit) {
        if (plan_.can_strike(Fault::full_queue)) queue_limit_ = 1 + plan_.below(8);
    }

    ~SimulatedRing() override {
        if (!flights_.empty()) {
            kernel_.fail(std::to_string(flights_.size()) + " operations were not waited for");
        }
        kernel_.ring_is_gone();
    }

    void start(Operation& operation) override {
        ++stats_.submissions;
        if (operation.opcode == Opcode::send_zero_copy) operation.opcode = Opcode::send;
        if (!flights_.emplace(&operation, Flight{.digest = digest(operation)}).second) {
            kernel_.fail("an operation was started that is in flight: " + operation.describe());
        }
        queue_.push_back({.operation = &operation, .cancels = false});
        flush_if_full();
    }

    void cancel(Operation& operation) override {
        if (!flights_.contains(&operation)) return;
        queue_.push_back({.operation = &operation, .cancels = true});
        flush_if_full();
    }

    std::span<const Completion> wait(std::optional<Clock::time_point> deadline) override {
        RINGLET_ASSERT(++waits_ < waits_limit, "a simulation goes round in circles");
        ++stats_.system_calls;
        // time_point::max() means never (moment_after); the clock could not advance to it.
        if (deadline == Clock::time_point::max()) deadline.reset();
        submit();
        // Every time: a ring that is always busy, and so never sleeps, has to notice letters too.
        try_real(0);
        // Every turn takes some time: otherwise a task that yields until a moment has come would yield forever.
        pass(kernel_.now() + microseconds(1 + plan_.below(3)));
        while (!something_is_visible() && !(deadline && *deadline <= kernel_.now())) {
            sleep(deadline);
        }
        return hand_over();
    }

    void close(Descriptor descriptor) noexcept override { UniqueFd(descriptor.fd()).reset(); }

    RingStats stats() const noexcept override {
        RingStats stats = stats_;
        stats.buffer_shortages = buffers_.shortages();
        return stats;
    }

private:
    struct Submission {
        Operation* operation;
        bool cancels;
    };
    struct Flight {
        std::uint64_t digest = 0; // of what was lent, when it was lent
        bool is_answered = false;
    };
    struct Answer {
        Operation* operation;
        std::int32_t result;
        Clock::time_point visible_at;
    };
    struct SlowCancel {
        Operation* operation;
        Clock::time_point moment;
    };

    // ---- submitting

    void flush_if_full() {
        if (queue_.size() < queue_limit_) return;
        ++stats_.full_queue_flushes;
        ++stats_.system_calls;
        if (plan_.can_strike(Fault::full_queue)) plan_.note(Fault::full_queue);
        submit();
    }

    void submit() {
        for (const Submission& submission : std::exchange(queue_, {})) {
            if (submission.cancels) {
                take_back(*submission.operation);
            } else if (!is_simulated(submission.operation->fd())) {
                begin_real(*submission.operation);
            } else if (submission.operation->takes_buffer() && !buffers_.empty()) {
                static_cast<void>(
                    buffers_.enqueue(*submission.operation)); // behind those that wait already
            } else {
                attempt(*submission.operation);
            }
        }
        try_changed();
    }

    void attempt(Operation& operation) {
        if (operation.takes_buffer()) {
            const bool runs_out = plan_.strikes(Fault::no_buffer);
            if (runs_out) no_buffer_until_ = kernel_.now() + microseconds(1 + plan_.below(2000));
            if (runs_out || !buffers_.lend(operation)) {
                network_.withdraw(operation);
                return static_cast<void>(buffers_.enqueue(operation));
            }
        }
        check_lent(operation);
        const auto result = network_.attempt(operation);
        if (operation.takes_buffer() && result.value_or(0) <= 0) {
            BufferQueue::take_back(operation);
        }
        if (!result) return;
        if (*result == -EBADF) kernel_.fail("an operation on a descriptor that is not open");
        answer(operation, *result);
    }

    void try_changed() {
        for (;;) {
            const auto operations = network_.take_changed();
            if (operations.empty()) return;
            for (Operation* operation : operations) attempt(*operation);
        }
    }

    void release_queued() {
        if (no_buffer_until_ && *no_buffer_until_ > kernel_.now()) return;
        no_buffer_until_.reset();
        buffers_.release_in_turn([this](Operation& first) { attempt(first); });
    }

    void answer(Operation& operation, std::int32_t result) {
        auto visible_at = kernel_.now();
        if (plan_.strikes(Fault::delayed_completion)) {
            visible_at += microseconds(1 + plan_.below(plan_.below(10) == 0 ? 50'000 : 200));
        }
        flights_[&operation].is_answered = true;
        answers_.push_back({.operation = &operation, .result = result, .visible_at = visible_at});
    }

    // A cancellation finds the operation waiting, or answered already (ENOENT, on io_uring), or is
    // slow and finds out later (EALREADY). Its own answer is not needed.
    void take_back(Operation& operation) {
        const auto flight = flights_.find(&operation);
        if (flight == flights_.end() || flight->second.is_answered) return;
        if (plan_.strikes(Fault::lost_cancel)) {
            const auto moment = kernel_.now() + microseconds(1 + plan_.below(2000));
            slow_cancels_.push_back({.operation = &operation, .moment = moment});
            return;
        }
        end_cancelled(operation);
    }

    void end_cancelled(Operation& operation) {
        check_lent(operation);
        network_.withdraw(operation);
        real_.withdraw(operation);
        buffers_.withdraw(operation);
        answer(operation, -ECANCELED);
    }

    // ---- time

    void pass(Clock::time_point moment) {
        kernel_.advance(moment);
        const auto due = [&](const SlowCancel& cancel) { return cancel.moment <= moment; };
        // Whatever became possible at the same moment is faster than the cancellation.
        release_queued();
        try_changed();
        for (const SlowCancel& cancel : slow_cancels_) {
            const auto flight = flights_.find(cancel.operation);
            if (due(cancel) && flight != flights_.end() && !flight->second.is_answered) {
                end_cancelled(*cancel.operation);
            }
        }
        std::erase_if(slow_cancels_, due);
    }

    [[nodiscard]] bool something_is_visible() const {
        return std::ranges::any_of(answers_,
                                   [this](const Answer& answer) { return is_visible(answer); });
    }

    [[nodiscard]] bool is_visible(const Answer& answer) const {
        return answer.visible_at <= kernel_.now();
    }

    // Jumps to the next moment at which anything happens.
    void sleep(std::optional<Clock::time_point> deadline) {
        auto next = deadline;
        const auto consider = [&next](Clock::time_point moment) {
            if (!next || moment < *next) next = moment;
        };
        if (const auto event = network_.next_event()) consider(*event);
        for (const Answer& answer : answers_) consider(answer.visible_at);
        for (const SlowCancel& cancel : slow_cancels_) consider(cancel.moment);
        if (no_buffer_until_ && !buffers_.empty()) consider(*no_buffer_until_);
        if (!next) return nothing_can_happen();
        if (next == deadline && plan_.strikes(Fault::late_wake)) {
            *next += microseconds(plan_.below(3000));
        }
        pass(std::max(*next, kernel_.now()));
    }

    // Tasks that continue regardless are cancelled; in the end the program aborts: it would loop forever.
    void nothing_can_happen() {
        auto waiting = network_.waiting();
        waiting.insert(waiting.end(), buffers_.queued().begin(), buffers_.queued().end());
        const int patience_ms = waiting.empty() ? real_wait_alone_ms : real_wait_ms;
        if (try_real(deadlocks_ == 0 ? patience_ms : 0)) return;
        RINGLET_ASSERT(!waiting.empty(),
                       "a simulated loop waits for another thread, for a signal or for ever, and "
                       "nothing came: other threads are not simulated");
        std::string message = "nothing can happen any more, and these wait:";
        for (const Operation* operation : waiting) {
            const TaskRecord* task = operation->scope->task;
            message += "\n  " + task->to_string() + ": " + operation->describe();
        }
        RINGLET_ASSERT(deadlocks_ < deadlocks_limit, message.c_str());
        if (deadlocks_ == 0) kernel_.fail(std::move(message));
        for (Operation* operation : waiting) {
            network_.withdraw(*operation);
            buffers_.withdraw(*operation);
            answer(*operation, deadlocks_ == 0 ? -EDEADLK : -ECANCELED);
        }
        ++deadlocks_;
    }

    // ---- descriptors of the real kernel

    void begin_real(Operation& operation) {
        if (RealDescriptors::takes(operation)) return real_.add(operation);
        kernel_.fail(
            "a real descriptor in a simulation: use Simulation::pair, or TcpStream::connect");
        answer(operation, -EOPNOTSUPP);
    }

    bool try_real(int timeout_ms) {
        const auto give = [this](Operation& operation, std::int32_t result) {
            answer(operation, result);
        };
        return real_.try_all(timeout_ms, buffers_, stats_, give);
    }

    // ---- handing over

    std::span<const Completion> hand_over() {
        batch_.clear();
        const bool reordered = plan_.can_strike(Fault::reordered_completions);
        if (reordered) shuffle();
        std::erase_if(answers_, [&](const Answer& answer) {
            if (!is_visible(answer) || batch_.size() == completions_per_wait_limit) return false;
            // At least one completion is returned: a wait that returns none would be repeated at once.
            if (!batch_.empty() && plan_.strikes(Fault::reordered_completions)) return false;
            batch_.push_back({.operation = answer.operation, .result = answer.result});
            return true;
        });
        for (const Completion& completion : batch_) {
            check_loan(*completion.operation);
            flights_.erase(completion.operation);
            // The next operation may live at the same address.
            std::erase_if(slow_cancels_, [&](const SlowCancel& cancel) {
                return cancel.operation == completion.operation;
            });
            kernel_.note_completion(*completion.operation, completion.result);
        }
        stats_.completions += batch_.size();
        return batch_;
    }

    void shuffle() {
        for (std::size_t left = answers_.size(); left > 1; --left) {
            std::swap(answers_[left - 1], answers_[plan_.below(left)]);
        }
    }

    // ---- promises

    // Covers only the first bytes: enough to notice that other code has used them.
    static std::uint64_t digest(const Operation& operation) {
        constexpr std::size_t digested_bytes = 128;
        if (!operation.lends_bytes() || operation.takes_buffer()) return 0;
        std::uint64_t sum = operation.rest_bytes();
        const std::size_t size = std::min(digested_bytes, operation.rest_bytes());
        for (std::size_t i = 0; i < size; ++i) {
            sum = sum * 31 + static_cast<std::uint64_t>(operation.rest()[i]);
        }
        return sum;
    }

    void check_lent(const Operation& operation) {
        check_loan(operation);
        const auto flight = flights_.find(&operation);
        if (flight == flights_.end() || flight->second.digest == digest(operation)) return;
        kernel_.fail("memory was written to while it was lent: " + operation.describe());
    }

    SimulatedKernel& kernel_;
    FaultPlan& plan_;
    SimulatedNetwork& network_;
    std::size_t queue_limit_;
    std::vector<Submission> queue_;
    std::unordered_map<const Operation*, Flight> flights_; // from start until handed over
    std::vector<Answer> answers_;
    std::vector<SlowCancel> slow_cancels_;
    RealDescriptors real_;
    BufferQueue buffers_;
    std::optional<Clock::time_point> no_buffer_until_;
    std::vector<Completion> batch_;
    std::uint64_t waits_ = 0;
    std::uint64_t deadlocks_ = 0;
    RingStats stats_;
};

} // namespace

std::unique_ptr<Ring> make_simulated_ring(SimulatedKernel& kernel, const RingOptions& options) {
    return std::make_unique<SimulatedRing>(kernel, options);
}

} // namespace ringlet::testing
