#pragma once

#include <ringlet/cancel_scope.hpp>
#include <ringlet/detail/aligned_optional.hpp>
#include <ringlet/detail/assert.hpp>
#include <ringlet/detail/config.hpp>
#include <ringlet/detail/frame_pool.hpp>
#include <ringlet/detail/task_record.hpp>
#include <ringlet/result.hpp>

#include <coroutine>
#include <exception>
#include <memory>
#include <source_location>
#include <type_traits>
#include <utility>

namespace RINGLET_EXPORT ringlet {

template <class T = void>
class Task;

/// True for a `Task<T>`, false for any other type.
template <class T>
inline constexpr bool is_task_v = false;
template <class T>
inline constexpr bool is_task_v<Task<T>> = true;

/// Stands in for something that cannot be awaited, so that the compiler reports no follow-up errors.
template <class A>
struct NotAwaitable {
    bool await_ready() noexcept { return true; }
    void await_suspend(std::coroutine_handle<>) noexcept {}
    A await_resume() noexcept { std::terminate(); }
};

// Explain two common mistakes. (An await_transform would catch them all, but g++ 12 copies what goes through it.)
template <class T>
NotAwaitable<Result<T>> operator co_await(const Result<T>&) noexcept {
    static_assert(!std::is_same_v<T, T>, "a Result is there already: take the co_await away");
    return {};
}
template <class Fn>
    requires std::is_class_v<std::remove_cvref_t<Fn>> && is_task_v<std::invoke_result_t<Fn&>> &&
             (!requires(Fn& awaiter) { awaiter.await_resume(); })
NotAwaitable<bool> operator co_await(Fn&&) noexcept {
    static_assert(!std::is_same_v<Fn, Fn>, "a function that returns a Task has to be called");
    return {};
}

/// Aborts the program, naming the coroutine.
[[noreturn]] void ran_off_its_end(const std::source_location& coroutine) noexcept;

/// What the promises of all tasks share: the awaiting coroutine and the inherited scope.
class PromiseBase : public Pooled {
public:
    [[nodiscard]] CancelScope* scope() const noexcept { return scope_; }

    /// The coroutine starts, awaited by another one, in that one's scope or in a scope opened for it.
    void begin(CancelScope* scope) noexcept {
        scope_ = scope;
        parent_ = nullptr;
    }
    /// It starts without an awaiting coroutine.
    void begin_as_root(CancelScope* scope) noexcept {
        begin(scope);
        is_root_ = true;
    }
    void continue_with(std::coroutine_handle<> parent) noexcept { parent_ = parent; }

    /// The name of the coroutine function, as the compiler writes it. Only before it starts.
    [[nodiscard]] const char* function_name() const noexcept { return where_.function_name(); }
    /// Where that function is. Only before it starts.
    [[nodiscard]] std::source_location where() const noexcept { return where_; }

    std::suspend_always initial_suspend() noexcept { return {}; }

    struct FinalAwaiter {
        bool await_ready() noexcept { return false; }
        template <class P>
        std::coroutine_handle<> await_suspend(std::coroutine_handle<P> finished) noexcept {
            PromiseBase& promise = finished.promise();
            if (promise.parent_) return promise.parent_;
            // Either the task ends here, or the parent is still inside its await_suspend, will look
            // at done(), and continues by itself.
            if (promise.is_root_) promise.scope_->task->root_finished();
            return std::noop_coroutine();
        }
        void await_resume() noexcept {}
    };
    FinalAwaiter final_suspend() noexcept { return {}; }

protected:
    explicit PromiseBase(std::source_location where) noexcept : where_(where) {}

private:
    CancelScope* scope_ = nullptr; // null until it starts
    union {
        std::coroutine_handle<> parent_;
        std::source_location where_; // until it starts
    };
    bool is_root_ = false;
};

/// The promise of a `Task<T>`: keeps what the coroutine returned or threw until it is taken.
template <class T>
class Promise : public PromiseBase {
    static_assert(
        std::is_object_v<T> && !std::is_const_v<T>,
        "a Task returns a value: for a reference return a pointer, or std::reference_wrapper");

public:
    Task<T> get_return_object() noexcept;

    template <class U>
        requires std::is_convertible_v<U&&, T>
    void return_value(U&& value) {
        std::construct_at(value_.get(), std::forward<U>(value));
        outcome_ = Outcome::value;
    }
    template <class U>
        requires(!std::is_convertible_v<U &&, T> && is_result_v<std::remove_cvref_t<U>> &&
                 is_result_v<T>)
    void return_value(U&&) {
        static_assert(std::is_void_v<U>,
                      "this Result holds another type than the one that the Task returns: "
                      "co_return its .error(), or a value");
    }
    // The default argument is evaluated in the coroutine, so it knows the coroutine's name.
    FinalAwaiter
    final_suspend(std::source_location where = std::source_location::current()) noexcept {
        if (outcome_ == Outcome::none) [[unlikely]]
            ran_off_its_end(where);
        return {};
    }

    // For co_return {...}.
    void return_value(T&& value) {
        std::construct_at(value_.get(), std::move(value));
        outcome_ = Outcome::value;
    }
    void unhandled_exception() noexcept {
        // A destructor may throw after co_return: the exception takes the place of the value.
        if (outcome_ == Outcome::value) std::destroy_at(value_.get());
        std::construct_at(&exception_, std::current_exception());
        outcome_ = Outcome::exception;
    }
    T take() {
        if (outcome_ != Outcome::value) [[unlikely]]
            std::rethrow_exception(std::move(exception_));
        return std::move(*value_.get());
    }

    /// What it returned or threw, without taking it; null if it did not do that.
    [[nodiscard]] const T* value() const noexcept {
        return outcome_ == Outcome::value ? value_.get() : nullptr;
    }
    [[nodiscard]] const std::exception_ptr* exception() const noexcept {
        return outcome_ == Outcome::exception ? &exception_ : nullptr;
    }

    explicit Promise(std::source_location where = std::source_location::current()) noexcept
        : PromiseBase(where) {}
    ~Promise() {
        if (outcome_ == Outcome::value) std::destroy_at(value_.get());
        if (outcome_ == Outcome::exception) std::destroy_at(&exception_);
    }

private:
    enum class Outcome : unsigned char { none, value, exception };
    union {
        AlignedPlace<T> value_;
        std::exception_ptr exception_;
    };
    Outcome outcome_ = Outcome::none;
};

/// The promise of a `Task<>`.
template <>
class Promise<void> : public PromiseBase {
public:
    Task<void> get_return_object() noexcept;
    void return_void() noexcept {}
    void unhandled_exception() noexcept { exception_ = std::current_exception(); }
    void take() {
        if (exception_) std::rethrow_exception(std::move(exception_));
    }
    [[nodiscard]] const std::exception_ptr* exception() const noexcept {
        return exception_ ? &exception_ : nullptr;
    }

    explicit Promise(std::source_location where = std::source_location::current()) noexcept
        : PromiseBase(where) {}

private:
    std::exception_ptr exception_;
};

/// A coroutine that starts when it is awaited, once, and owns its frame.
///
/// Lifetime  Move-only. A task that has not started may be dropped at any time. Once started, it is
///           owned by the coroutine that awaits it, which stays suspended until the task has finished.
/// Thread    Frames come from the pool of the thread that calls the coroutine function.
/// Suspends  Only if the child suspends. A child that never suspends costs no trip through the loop,
///           and ten million such awaits in a row do not grow the stack.
/// Errors    The `co_await` rethrows what the coroutine throws.
/// Cost      One frame from the pool.
template <class T>
class [[nodiscard]] Task {
public:
    using promise_type = Promise<T>;
    using value_type = T;

    Task() noexcept = default;
    Task(Task&& other) noexcept : frame_(std::exchange(other.frame_, nullptr)) {}
    Task& operator=(Task&& other) noexcept {
        if (this != &other) {
            destroy();
            frame_ = std::exchange(other.frame_, nullptr);
        }
        return *this;
    }
    ~Task() { destroy(); }

    /// True unless it was moved from, or made empty.
    [[nodiscard]] explicit operator bool() const noexcept { return frame_ != nullptr; }

    class Awaiter {
    public:
        explicit Awaiter(std::coroutine_handle<Promise<T>> child,
                         CancelScope* scope = nullptr) noexcept
            : child_(child), scope_(scope) {}

        bool await_ready() const noexcept { return false; }

        // Starts the child here and returns false when it has already finished. Symmetric transfer
        // would need tail calls, which g++ does not make at -O0 nor under a sanitizer.
        template <class P>
        bool await_suspend(std::coroutine_handle<P> parent) {
            child_.promise().begin(scope_ != nullptr ? scope_ : &scope_of(parent));
            child_.resume();
            if (child_.done()) return false;
            child_.promise().continue_with(parent);
            return true;
        }
        T await_resume() { return child_.promise().take(); }

    private:
        std::coroutine_handle<Promise<T>> child_;
        CancelScope* scope_;
    };

    /// Awaits the task. The frame is destroyed with the `Task`, usually at the end of the statement.
    Awaiter operator co_await() && noexcept { return in(nullptr); }
    Awaiter operator co_await() & = delete; // co_await std::move(task)

    /// Awaits the task in a scope other than that of the awaiting coroutine; null: in the same one.
    [[nodiscard]] Awaiter in(CancelScope* scope) noexcept {
        RINGLET_ASSERT(frame_, "a Task was awaited that was moved from");
        RINGLET_ASSERT(frame_.promise().scope() == nullptr, "a Task was awaited twice");
        return Awaiter(frame_, scope);
    }

    /// For the loop, which starts and finishes tasks that no coroutine awaits.
    [[nodiscard]] std::coroutine_handle<Promise<T>> frame() const noexcept { return frame_; }

private:
    friend Promise<T>;
    explicit Task(std::coroutine_handle<Promise<T>> frame) noexcept : frame_(frame) {}
    void destroy() noexcept {
        if (frame_) frame_.destroy();
    }

    std::coroutine_handle<Promise<T>> frame_;
};

template <class T>
Task<T> Promise<T>::get_return_object() noexcept {
    return Task<T>(std::coroutine_handle<Promise<T>>::from_promise(*this));
}
inline Task<void> Promise<void>::get_return_object() noexcept {
    return Task<void>(std::coroutine_handle<Promise<void>>::from_promise(*this));
}

} // namespace ringlet
