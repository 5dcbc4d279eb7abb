#include <ringlet/detail/group_core.hpp>

#include <algorithm>
#include <iterator>
#include <utility>

namespace ringlet {

GroupCore::GroupCore(CancelScope& outer, const GroupOptions& options, std::size_t limit)
    : idle("the end of group", options.name), slots("room in group", options.name),
      options_(options), life_(new GroupLife), limit_(limit) {
    life_.get()->name = options.name;
    scope.open(outer, outer.task);
}

GroupCore::~GroupCore() { life_.get()->ended = true; }

bool GroupCore::start(TaskRecord& record) {
    if (!scope.loop->adopt(record, scope, *this)) return false;
    ++size_;
    return true;
}

void GroupCore::task_ended(TaskRecord& record) {
    --size_;
    if (auto failure = record.failure()) {
        if (options_.on_failure == OnFailure::report) {
            scope.loop->report(failure->to_string());
        } else {
            fail(std::move(*failure));
        }
    } else if (record.scope.was_answered()) {
        cut_short_ = true;
    }
    if (size_ == 0) idle.wake_all();
    offer_room();
}

void GroupCore::offer_room() noexcept {
    while (!slots.empty() && reserve()) slots.wake_one();
}

void GroupCore::fail(TaskFailure failure) {
    failures.push_back(std::move(failure));
    scope.cancel(CancelReason::sibling_failed);
}

std::error_code GroupCore::finish(bool body_has_value) {
    const bool from_outside = scope.parent()->is_cancelled();
    if (failures.empty()) {
        return from_outside && cut_short_ && !body_has_value
                   ? std::make_error_code(std::errc::operation_canceled)
                   : std::error_code();
    }
    const TaskFailure first = failures.front();
    if (options_.failures != nullptr) {
        std::move(failures.begin(), failures.end(), std::back_inserter(*options_.failures));
    } else {
        for (auto other = failures.begin() + 1; other != failures.end(); ++other) {
            scope.loop->report("in group \"" + std::string(options_.name) +
                               "\", after another failure: " + other->to_string());
        }
    }
    if (first.exception) std::rethrow_exception(first.exception);
    return first.error;
}

} // namespace ringlet
