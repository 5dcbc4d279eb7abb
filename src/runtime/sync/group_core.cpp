#include <ringlet/detail/group_core.hpp>

#include <new>
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

void GroupCore::task_ended(TaskRecord& record) noexcept {
    --size_;
    if (record.has_failed()) {
        TaskFailure failure{.task = {},
                            .spawned_at = record.spawned_at,
                            .error = record.error(),
                            .exception = record.exception()};
        try {
            failure.task = record.short_name();
        } catch (const std::bad_alloc&) { // it goes without a name
        }
        fail(std::move(failure), options_.on_failure == OnFailure::cancel_siblings);
    }
    offer_room();
    wake_if_ended();
}

void GroupCore::take_back() noexcept {
    --reserved_;
    offer_room();
    wake_if_ended();
}

void GroupCore::offer_room() noexcept {
    while (!slots.empty() && reserve()) {
        static_cast<GroupSlotAwaiter&>(slots.wake_one()).handed_over.give(*this);
    }
}

void GroupCore::body_failed(std::error_code error, std::exception_ptr exception) noexcept {
    // From a cancelled body this is not a failure.
    if (error == std::errc::operation_canceled && scope.is_cancelled()) return;
    TaskFailure failure{.task = {}, .error = error, .exception = std::move(exception)};
    try {
        failure.task = "body of group " + std::string(options_.name);
    } catch (const std::bad_alloc&) { // it goes without a name
    }
    fail(std::move(failure), true);
}

void GroupCore::fail(TaskFailure failure, bool ends_the_group) noexcept {
    try {
        if (options_.observer != nullptr) {
            options_.observer->task_failed(failure);
        } else if (options_.failures != nullptr) {
            options_.failures->push_back(failure);
        } else if (!ends_the_group) {
            scope.loop->report(failure.to_string());
        } else if (first_failure_) {
            scope.loop->report("in group \"" + std::string(options_.name) +
                               "\", after another failure: " + failure.to_string());
        }
    } catch (const std::bad_alloc&) {
        scope.loop->report("the failure of a task cannot be told: there is no memory");
    }
    if (!ends_the_group) return;
    if (!first_failure_) first_failure_ = std::move(failure);
    scope.cancel(CancelReason::sibling_failed);
}

std::error_code GroupCore::finish(bool body_has_value) {
    if (first_failure_) {
        if (first_failure_->exception) std::rethrow_exception(first_failure_->exception);
        return first_failure_->error;
    }
    const bool cut_short = scope.was_answered() && !scope.is_origin();
    if (cut_short && !body_has_value) return std::make_error_code(std::errc::operation_canceled);
    return {};
}

} // namespace ringlet
