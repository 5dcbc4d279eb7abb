#pragma once

#include <ringlet/clock.hpp>
#include <ringlet/detail/config.hpp>

#include <atomic>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

namespace RINGLET_EXPORT ringlet {

/// How severe a line is, the gravest first.
enum class LogLevel : std::uint8_t {
    error,   ///< something ends, or did not start
    warning, ///< something to look into
    notice,  ///< what an operator wants to know: the server listens, or stops
    info,    ///< ordinary events, each one
    debug    ///< every connection
};

/// What a line looks like.
enum class LogFormat : std::uint8_t {
    text,   ///< `2026-11-28T09:26:29.123Z warning: the message name=value`
    logfmt, ///< `time=2026-11-28T09:26:29.123Z level=warning message="the message" name=value`
    json ///< `{"time":"2026-11-28T09:26:29.123Z","level":"warning","message":"the message","name":"value"}`
};

/// The name of a level, and the level with a name; nothing if there is none.
[[nodiscard]] const char* to_string(LogLevel level) noexcept;
[[nodiscard]] std::optional<LogLevel> parse_log_level(std::string_view name) noexcept;
/// The same for formats.
[[nodiscard]] const char* to_string(LogFormat format) noexcept;
[[nodiscard]] std::optional<LogFormat> parse_log_format(std::string_view name) noexcept;

/// How a `Log` is made.
struct LogOptions {
    /// Less severe lines are not written.
    LogLevel level = LogLevel::notice;
    LogFormat format = LogFormat::text;

    /// Begins every message in `LogFormat::text`, such as `my_server: `.
    std::string prefix = {};
    /// Whether lines in `LogFormat::text` begin with the time and the level.
    bool text_with_time = true;

    /// How often the same message is written in `repeat_time`. Repeats beyond that are counted, and the count is
    /// written afterwards. Messages that differ only in numbers are the same; fields are ignored. Lines of
    /// `LogLevel::debug` are not limited.
    std::size_t repeat_limit = 5;
    std::chrono::milliseconds repeat_time{10'000};

    /// Receives the lines one at a time, each with its newline, on the thread that writes. It must not wait, throw or
    /// write to the log. If empty, lines go to stderr by `write_error`, which never waits. If systemd reads stderr
    /// (JOURNAL_STREAM names it), each line begins with its priority, as `<4>`, instead of the time (sd-daemon(3)).
    std::function<void(std::string_view line)> write = {};
};

/// A name and a value in a line. It only refers to both: make it where it is passed.
class LogField {
public:
    LogField(std::string_view name, std::string_view text) noexcept : name_(name), text_(text) {}
    template <std::integral Number>
    LogField(std::string_view name, Number number) noexcept
        : name_(name), magnitude_(static_cast<std::uint64_t>(number)), is_number_(true) {
        if constexpr (std::signed_integral<Number>) {
            is_negative_ = number < 0;
            if (is_negative_) magnitude_ = 0 - magnitude_;
        }
    }

    [[nodiscard]] std::string_view name() const noexcept { return name_; }
    [[nodiscard]] bool is_number() const noexcept { return is_number_; }
    [[nodiscard]] std::string value() const;

private:
    std::string_view name_;
    std::string_view text_;
    std::uint64_t magnitude_ = 0;
    bool is_number_ = false;
    bool is_negative_ = false;
};

/// Writes lines for operators, and never waits for a reader.
///
///     Log log({.format = LogFormat::json});
///     log.write(LogLevel::notice, "the cache was emptied", {{"entries", count}});
///
/// Thread    Any.
class Log {
public:
    explicit Log(LogOptions options = {});
    Log(const Log&) = delete;
    Log& operator=(const Log&) = delete;
    /// Writes how many lines were dropped and not yet reported.
    ~Log();

    /// Writes one line if its level is enabled and the same message was not written too often.
    ///
    /// Errors    None reported: if memory runs out, the message is written without its fields.
    /// Cost      Only a load and a branch if the level is not enabled.
    void write(LogLevel level, std::string_view message,
               std::initializer_list<LogField> fields = {}) noexcept {
        if (takes(level)) write_wanted(level, message, fields);
    }

    /// Whether lines of this level are written.
    [[nodiscard]] bool takes(LogLevel level) const noexcept {
        return level <= level_.load(std::memory_order_relaxed);
    }
    void set_level(LogLevel level) noexcept { level_.store(level, std::memory_order_relaxed); }

    /// Messages whose repeats are counted; beyond that the oldest is forgotten.
    static constexpr std::size_t counted_messages_limit = 256;

private:
    struct Repeats {
        Clock::time_point since;
        std::size_t count = 0;
        LogLevel level = LogLevel::error;
        std::string message;
    };

    void write_wanted(LogLevel level, std::string_view message,
                      std::initializer_list<LogField> fields) noexcept;
    bool is_too_often(LogLevel level, std::string_view message);
    void tell_dropped(const Repeats& repeats);
    void forget_old_messages(Clock::time_point now);
    void put(LogLevel level, std::string_view message, std::initializer_list<LogField> fields);

    const LogOptions options_;
    const bool is_for_journal_;
    std::atomic<LogLevel> level_;
    std::mutex mutex_; // for the members below, and `options_.write`
    std::map<std::string, Repeats, std::less<>> repeats_;
    std::optional<Clock::time_point> next_look_; // when to report dropped lines
};

} // namespace ringlet
