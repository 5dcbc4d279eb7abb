#pragma once

#include <ringlet/detail/assert.hpp>
#include <ringlet/detail/config.hpp>

#include <memory>
#include <system_error>
#include <type_traits>
#include <utility>

namespace RINGLET_EXPORT ringlet {

/// What makes a `Result` an error: `std::error_code`, `std::errc`, `ringlet::Errc` and enums of their kind.
template <class E>
inline constexpr bool is_error_v = std::is_same_v<E, std::error_code> ||
                                   std::is_same_v<E, std::errc> || std::is_error_code_enum_v<E>;

/// A value or an error: `std::expected<T, std::error_code>` for C++20.
///
/// Every suspending operation in ringlet returns one. Branch on it on the next line:
///
///     auto received = co_await stream.recv(buffer);
///     if (!received) co_return;             // received.error() says why
///     use(buffer.first(*received));
///
/// Errors    `value()` throws `std::system_error`; `*` and `->` on an error abort with its message.
template <class T>
class [[nodiscard]] Result {
    static_assert(!std::is_reference_v<T>,
                  "a Result holds a value: for a reference hold a pointer, or "
                  "std::reference_wrapper");
    static_assert(!is_error_v<T>,
                  "a Result<T> is a T or an error: T cannot be an error itself. Take Result<void>");

public:
    using value_type = T;

    template <class U = T>
        requires std::is_convertible_v<U&&, T> &&
                     (!std::is_same_v<std::remove_cvref_t<U>, Result>) &&
                     (!is_error_v<
                         std::remove_cvref_t<U>>) // also where T would take it, as std::any does
    Result(U&& value) : has_value_(true), value_(std::forward<U>(value)) {} // NOLINT: implicit

    /// From an error. The code must be one: a zero code would be a success without a value.
    Result(std::error_code error) : has_value_(false), error_(error) { // NOLINT: implicit
        RINGLET_ASSERT(error, "a Result was made from an error_code that says success");
    }

    template <class E>
        requires std::is_error_code_enum_v<E>
    Result(E error) : Result(make_error_code(error)) {} // NOLINT: implicit

    Result(std::errc error) : Result(std::make_error_code(error)) {} // NOLINT: implicit

    /// Builds the value in place, so that `T` need not be movable.
    template <class... Args>
    explicit Result(std::in_place_t, Args&&... args)
        : has_value_(true), value_(std::forward<Args>(args)...) {}

    Result(Result&& other) noexcept(std::is_nothrow_move_constructible_v<T>)
        requires std::is_move_constructible_v<T>
        : has_value_(other.has_value_) {
        if (has_value_) {
            std::construct_at(&value_, std::move(other.value_));
        } else {
            std::construct_at(&error_, other.error_);
        }
    }

    Result(const Result& other)
        requires std::is_copy_constructible_v<T>
        : has_value_(other.has_value_) {
        if (has_value_) {
            std::construct_at(&value_, other.value_);
        } else {
            std::construct_at(&error_, other.error_);
        }
    }

    Result& operator=(Result other) noexcept
        requires std::is_nothrow_move_constructible_v<T>
    {
        std::destroy_at(this);
        return *std::construct_at(this, std::move(other));
    }

    ~Result() {
        if (has_value_) std::destroy_at(&value_);
    }

    [[nodiscard]] bool has_value() const noexcept { return has_value_; }
    [[nodiscard]] explicit operator bool() const noexcept { return has_value_; }

    /// The error; a zero code when there is a value.
    [[nodiscard]] std::error_code error() const noexcept {
        return has_value_ ? std::error_code{} : error_;
    }

    [[nodiscard]] T& operator*() & noexcept { return checked(); }
    [[nodiscard]] const T& operator*() const& noexcept { return checked(); }
    [[nodiscard]] T&& operator*() && noexcept { return std::move(checked()); }
    [[nodiscard]] T* operator->() noexcept { return &checked(); }
    [[nodiscard]] const T* operator->() const noexcept { return &checked(); }

    [[nodiscard]] T& value() & { return thrown_or_value(); }
    [[nodiscard]] T&& value() && { return std::move(thrown_or_value()); }

    template <class U>
    [[nodiscard]] T value_or(U&& fallback) && {
        return has_value_ ? std::move(value_) : static_cast<T>(std::forward<U>(fallback));
    }

private:
    T& checked() noexcept {
        RINGLET_ASSERT(has_value_, "the value of a Result that holds an error was used");
        return value_;
    }
    const T& checked() const noexcept {
        RINGLET_ASSERT(has_value_, "the value of a Result that holds an error was used");
        return value_;
    }
    T& thrown_or_value() {
        if (!has_value_) throw std::system_error(error_);
        return value_;
    }

    bool has_value_;
    union {
        T value_;
        std::error_code error_;
    };
};

/// Success, or the error.
template <>
class [[nodiscard]] Result<void> {
public:
    using value_type = void;

    Result() noexcept = default;

    Result(std::error_code error) // NOLINT: implicit
        : value_(error.value()), category_(&error.category()) {
        RINGLET_ASSERT(error, "a Result was made from an error_code that says success");
    }

    template <class E>
        requires std::is_error_code_enum_v<E>
    Result(E error) : Result(make_error_code(error)) {} // NOLINT: implicit

    Result(std::errc error) : Result(std::make_error_code(error)) {} // NOLINT: implicit

    [[nodiscard]] bool has_value() const noexcept { return value_ == 0; }
    [[nodiscard]] explicit operator bool() const noexcept { return value_ == 0; }
    /// The error; a zero code when there is none.
    [[nodiscard]] std::error_code error() const noexcept {
        return value_ == 0 ? std::error_code() : std::error_code(value_, *category_);
    }

    void value() const {
        if (value_ != 0) throw std::system_error(error());
    }

private:
    // Not an error_code: making one calls into the standard library, even for success.
    int value_ = 0;
    const std::error_category* category_ = nullptr;
};

/// True for a `Result<T>`, false for any other type.
template <class T>
inline constexpr bool is_result_v = false;
template <class T>
inline constexpr bool is_result_v<Result<T>> = true;

} // namespace ringlet
