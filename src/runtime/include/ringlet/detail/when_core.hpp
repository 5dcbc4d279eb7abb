#pragma once

#include <ringlet/detail/config.hpp>
#include <ringlet/detail/suspension.hpp>
#include <ringlet/detail/task_record.hpp>

#include <coroutine>
#include <cstddef>
#include <exception>
#include <span>
#include <string>
#include <utility>

namespace RINGLET_EXPORT ringlet {

/// One of the tasks that `when_all` and `when_any` run. Shares its record, which may live longer.
class WhenArm {
public:
    /// `has_name`: the coroutine has one of its own. Otherwise messages show the task that awaits it.
    WhenArm(TaskRecord* record, bool has_name) noexcept : record_(record), has_name_(has_name) {}
    WhenArm(WhenArm&& other) noexcept
        : record_(std::exchange(other.record_, nullptr)), has_name_(other.has_name_) {}
    WhenArm& operator=(WhenArm&&) = delete;
    ~WhenArm() {
        if (record_ != nullptr) record_->release_reference();
    }

    [[nodiscard]] TaskRecord& record() const noexcept { return *record_; }
    [[nodiscard]] bool has_name() const noexcept { return has_name_; }

private:
    TaskRecord* record_;
    bool has_name_;
};

/// What `when_all` and `when_any` do, whatever the types of their tasks.
class WhenCore : public Suspension, public TaskOwner {
public:
    void task_ended(TaskRecord& record) noexcept override;
    [[nodiscard]] const char* name() const noexcept override { return "when"; }

    void cancel() noexcept override {} // the arms are inside, and were cancelled with it
    void abandon() noexcept override {}
    [[nodiscard]] std::string describe() const override;

protected:
    /// `any`: the first that ends cancels the others; otherwise the first that fails.
    explicit WhenCore(bool any) noexcept : any_(any) {}
    /// Copy it only before it is awaited.
    WhenCore(const WhenCore& other) noexcept : Suspension(other), any_(other.any_) {}
    WhenCore& operator=(const WhenCore&) = delete;
    ~WhenCore() = default;

    /// Does the work of `await_suspend`.
    [[nodiscard]] bool begin(CancelScope& outer, std::coroutine_handle<> waiting,
                             std::span<WhenArm> arms);
    /// All have ended. Rethrows the first exception.
    void end();
    /// The arm that ended first.
    [[nodiscard]] std::size_t first() const noexcept { return first_; }

private:
    bool any_;
    bool somebody_ended_ = false;
    std::size_t running_ = 0;
    std::size_t first_ = 0;
    std::span<WhenArm> arms_;
    CancelScope inside_;
    std::exception_ptr thrown_; // the first
};

} // namespace ringlet
