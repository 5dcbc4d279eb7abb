#pragma once

// The terminal as a page that is drawn again and again. Keeps the promise that it is restored afterwards, and that a
// stopped terminal (Ctrl-S) delays nothing.

#include <ringlet/unique_fd.hpp>

#include <cstddef>
#include <optional>
#include <string_view>

#include <termios.h>

class Terminal {
public:
    /// Of stdout, and of stdin for keys, as far as they are terminals.
    Terminal();
    Terminal(const Terminal&) = delete;
    Terminal& operator=(const Terminal&) = delete;
    ~Terminal() { leave(); }

    /// Takes the page over, without an echo of keys.
    void enter();
    /// Gives it back.
    void leave() noexcept;

    /// Draws over the old page. Output that does not fit now is dropped: the next page is complete again.
    void draw(std::string_view page);

    [[nodiscard]] bool has_keys() const noexcept { return keys_before_.has_value(); }
    /// What was pressed; 0: nothing, -1: the terminal has gone.
    [[nodiscard]] int key() noexcept;

    struct Size {
        std::size_t lines = 24;
        std::size_t columns = 80;
    };
    [[nodiscard]] Size size() const noexcept;

private:
    void write(std::string_view text) noexcept;

    ringlet::UniqueFd page_; // our own open file description, which does not wait
    std::optional<termios> keys_before_;
    bool is_taken_ = false;
};
