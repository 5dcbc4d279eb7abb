#pragma once

#include <ringlet/detail/config.hpp>

namespace RINGLET_EXPORT ringlet {

/// The target of an operation: a descriptor of the process, or a slot in the table of one ring
/// ("direct descriptor"), which only that ring knows. Owns nothing.
class Descriptor {
public:
    /// None.
    constexpr Descriptor() noexcept = default;
    /// A descriptor of the process, known to every system call.
    constexpr Descriptor(int fd) noexcept : code_(fd) {}
    /// Slot `slot` in a ring's table, counted from 0.
    [[nodiscard]] static constexpr Descriptor direct(int slot) noexcept {
        return Descriptor(first_direct - slot);
    }

    [[nodiscard]] constexpr bool is_direct() const noexcept { return code_ <= first_direct; }
    /// The descriptor of the process; -1 if this is a slot or nothing.
    [[nodiscard]] constexpr int fd() const noexcept { return is_direct() ? -1 : code_; }
    /// Its number, either as a descriptor of the process or in the table.
    [[nodiscard]] constexpr int number() const noexcept {
        return is_direct() ? first_direct - code_ : code_;
    }

    friend constexpr bool operator==(Descriptor, Descriptor) noexcept = default;

private:
    static constexpr int first_direct = -2;
    int code_ = -1; // below -1: a slot in a table, counted downwards
};

} // namespace ringlet
