#include <ringlet/detail/when_core.hpp>

namespace ringlet {

bool WhenCore::begin(CancelScope& outer, std::coroutine_handle<> waiting, std::span<WhenArm> arms) {
    arms_ = arms;
    const auto start_all = [this, &outer] {
        inside_.open(outer, outer.task);
        const TaskRecord& task = *outer.task;
        for (const WhenArm& arm : arms_) {
            TaskRecord& record = arm.record();
            record.spawned_at = task.spawned_at;
            if (!arm.has_name()) record.name = task.name;
            record.add_reference();
            if (inside_.loop->adopt(record, inside_, *this)) {
                ++running_;
            } else {
                record.release_reference();
            }
        }
        return running_ == 0;
    };
    return suspend(outer, waiting, start_all, [] {});
}

void WhenCore::end() {
    inside_.close();
    if (thrown_) std::rethrow_exception(std::move(thrown_));
}

void WhenCore::task_ended(TaskRecord& record) noexcept {
    if (!somebody_ended_) {
        while (&arms_[first_].record() != &record) ++first_;
    }
    somebody_ended_ = true;
    if (!thrown_) thrown_ = record.exception();
    if (any_) {
        inside_.cancel(CancelReason::requested);
    } else if (record.has_failed()) {
        inside_.cancel(CancelReason::sibling_failed);
    }
    if (--running_ == 0) wake();
}

std::string WhenCore::describe() const { return std::to_string(running_) + " awaited together"; }

} // namespace ringlet
