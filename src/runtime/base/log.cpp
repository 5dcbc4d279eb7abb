#include <ringlet/log.hpp>

#include <ringlet/error_output.hpp>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <iterator>
#include <utility>

#include <sys/stat.h>
#include <unistd.h>

namespace ringlet {

namespace {

constexpr std::array level_names{"error", "warning", "notice", "info", "debug"};
constexpr std::array format_names{"text", "logfmt", "json"};

template <class Value, std::size_t count>
std::optional<Value> value_of(std::string_view name, const std::array<const char*, count>& names) {
    const auto found = std::ranges::find(names, name);
    if (found == names.end()) return std::nullopt;
    return static_cast<Value>(found - names.begin());
}

// systemd.exec(5): the device and the inode of the stream that the journal reads, in decimal.
bool journal_reads_stderr() noexcept {
    const char* stream = std::getenv("JOURNAL_STREAM");
    struct stat status{};
    if (stream == nullptr || ::fstat(STDERR_FILENO, &status) != 0) return false;
    unsigned long long device = 0;
    unsigned long long inode = 0;
    char rest = 0;
    if (std::sscanf(stream, "%llu:%llu%c", &device, &inode, &rest) != 2) return false;
    return device == status.st_dev && inode == status.st_ino;
}

// RFC 3339, in UTC.
std::string time_of(std::chrono::system_clock::time_point moment) {
    using namespace std::chrono;
    const auto day = floor<days>(moment);
    const year_month_day date(day);
    const hh_mm_ss time(floor<milliseconds>(moment - day));
    char text[80];
    const int size = std::snprintf(
        text, sizeof text, "%04d-%02u-%02uT%02d:%02d:%02d.%03dZ", static_cast<int>(date.year()),
        static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
        static_cast<int>(time.hours().count()), static_cast<int>(time.minutes().count()),
        static_cast<int>(time.seconds().count()), static_cast<int>(time.subseconds().count()));
    return {text, static_cast<std::size_t>(size)};
}

// ---- making text from outside harmless -----------------------------------------------------------

// How many bytes at the start of `text` form one UTF-8 character (RFC 3629); 0 if they form none.
std::size_t letter_size(std::string_view text) noexcept {
    const auto at = [&](std::size_t index) { return static_cast<unsigned char>(text[index]); };
    const unsigned char first = at(0);
    if (first < 0x80) return 1;
    const std::size_t size = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || text.size() < size) return 0;
    for (std::size_t index = 1; index < size; ++index) {
        if ((at(index) & 0xc0) != 0x80) return 0;
    }
    const unsigned char second = at(1);
    const bool is_wrong = (first == 0xe0 && second < 0xa0) || // overlong
                          (first == 0xed && second > 0x9f) || // a surrogate
                          (first == 0xf0 && second < 0x90) || (first == 0xf4 && second > 0x8f);
    return is_wrong ? 0 : size;
}

// Terminals obey control characters, including those of two bytes (U+0080 to U+009F).
bool is_control(std::string_view letter) noexcept {
    const auto first = static_cast<unsigned char>(letter[0]);
    if (letter.size() == 1) return first < 0x20 || first == 0x7f;
    return first == 0xc2 && static_cast<unsigned char>(letter[1]) < 0xa0;
}

std::string escaped_control(std::string_view letter) {
    if (letter == "\n") return "\\n";
    if (letter == "\t") return "\\t";
    if (letter == "\r") return "\\r";
    char text[8];
    const auto last = static_cast<unsigned char>(letter.back()); // of both bytes: 0xc2 adds nothing
    const int size = std::snprintf(text, sizeof text, "\\u%04x", static_cast<unsigned>(last));
    return {text, static_cast<std::size_t>(size)};
}

// Escapes as in JSON (RFC 8259): bytes that are not UTF-8 become U+FFFD. Without `quotes`, `"` and `\` stay.
std::string escaped(std::string_view text, bool quotes) {
    std::string safe;
    safe.reserve(text.size() + 2);
    while (!text.empty()) {
        const std::size_t size = letter_size(text);
        const std::string_view letter = text.substr(0, std::max<std::size_t>(size, 1));
        text.remove_prefix(letter.size());
        if (size == 0) {
            safe += "\xef\xbf\xbd";
        } else if (is_control(letter)) {
            safe += escaped_control(letter);
        } else {
            if (quotes && (letter == "\"" || letter == "\\")) safe += '\\';
            safe += letter;
        }
    }
    return safe;
}

// Not `quoted`: for a std::string that is std::quoted, where something has included <iomanip>.
std::string in_quotes(std::string_view text) { return '"' + escaped(text, true) + '"'; }

bool needs_quotes(std::string_view text) noexcept {
    return text.empty() || std::ranges::any_of(text, [](char letter) {
               return static_cast<unsigned char>(letter) <= 0x20 || letter == '"' ||
                      letter == '=' || letter == '\\' || letter == 0x7f ||
                      static_cast<unsigned char>(letter) >= 0x80;
           });
}

void append_pair(std::string& line, std::string_view name, std::string_view value) {
    if (!line.empty()) line += ' ';
    for (const char letter : name) {
        const bool is_plain = letter > 0x20 && letter < 0x7f && letter != '"' && letter != '=';
        line += is_plain ? letter : '_';
    }
    line += '=';
    line += needs_quotes(value) ? in_quotes(value) : std::string(value);
}

// Messages that differ only in numbers count as the same.
std::string without_numbers(std::string_view message) {
    std::string text;
    for (const char letter : message) {
        const bool is_digit = letter >= '0' && letter <= '9';
        if (!is_digit) text += letter;
        if (is_digit && !text.ends_with('#')) text += '#';
    }
    return text;
}

// ---- the formats --------------------------------------------------------------------------------

using Fields = std::initializer_list<LogField>;

std::string as_text(std::string_view prefix, std::string_view message, Fields fields) {
    std::string line(prefix);
    line += escaped(message, false);
    for (const LogField& field : fields) append_pair(line, field.name(), field.value());
    return line;
}

std::string as_logfmt(std::string_view time, LogLevel level, std::string_view message,
                      Fields fields) {
    std::string line;
    if (!time.empty()) append_pair(line, "time", time);
    append_pair(line, "level", to_string(level));
    append_pair(line, "message", message);
    for (const LogField& field : fields) append_pair(line, field.name(), field.value());
    return line;
}

std::string as_json(std::string_view time, LogLevel level, std::string_view message,
                    Fields fields) {
    std::string line = "{";
    if (!time.empty()) line.append("\"time\":").append(in_quotes(time)).append(",");
    line.append("\"level\":").append(in_quotes(to_string(level)));
    line.append(",\"message\":").append(in_quotes(message));
    for (const LogField& field : fields) {
        line.append(",").append(in_quotes(field.name())).append(":");
        line += field.is_number() ? field.value() : in_quotes(field.value());
    }
    return line + "}";
}

} // namespace

const char* to_string(LogLevel level) noexcept {
    return level_names[static_cast<std::size_t>(level)];
}
std::optional<LogLevel> parse_log_level(std::string_view name) noexcept {
    return value_of<LogLevel>(name, level_names);
}
const char* to_string(LogFormat format) noexcept {
    return format_names[static_cast<std::size_t>(format)];
}
std::optional<LogFormat> parse_log_format(std::string_view name) noexcept {
    return value_of<LogFormat>(name, format_names);
}

std::string LogField::value() const {
    if (!is_number_) return std::string(text_);
    std::string text(is_negative_ ? "-" : "");
    return text.append(std::to_string(magnitude_));
}

// ---- the log ------------------------------------------------------------------------------------

Log::Log(LogOptions options)
    : options_(std::move(options)), is_for_journal_(!options_.write && journal_reads_stderr()),
      level_(options_.level) {}

Log::~Log() {
    try {
        for (const auto& [key, repeats] : repeats_) tell_dropped(repeats);
    } catch (const std::exception&) { // no memory for a message
    }
}

void Log::write_wanted(LogLevel level, std::string_view message, Fields fields) noexcept {
    try {
        const std::lock_guard lock(mutex_);
        if (level != LogLevel::debug && is_too_often(level, message)) return;
        put(level, message, fields);
    } catch (const std::exception&) {
        write_error(message);
        write_error("\n");
    }
}

bool Log::is_too_often(LogLevel level, std::string_view message) {
    const auto now = Clock::now();
    if (next_look_ && *next_look_ <= now) forget_old_messages(now);
    std::string key = without_numbers(message);
    auto found = repeats_.find(key);
    if (found != repeats_.end() && now - found->second.since >= options_.repeat_time) {
        tell_dropped(found->second);
        repeats_.erase(found);
        found = repeats_.end();
    }
    if (found == repeats_.end()) {
        if (repeats_.size() >= counted_messages_limit) forget_old_messages(now);
        Repeats first{.since = now, .level = level, .message = std::string(message)};
        found = repeats_.emplace(std::move(key), std::move(first)).first;
    }
    if (++found->second.count <= options_.repeat_limit) return false;
    const auto end = later(found->second.since, saturated(options_.repeat_time));
    next_look_ = next_look_ ? std::min(*next_look_, end) : end;
    return true;
}

// If no message is old enough, the oldest is forgotten.
void Log::forget_old_messages(Clock::time_point now) {
    next_look_.reset();
    auto oldest = repeats_.end();
    const std::size_t before = repeats_.size();
    for (auto at = repeats_.begin(); at != repeats_.end();) {
        const Repeats& repeats = at->second;
        if (now - repeats.since >= options_.repeat_time) {
            tell_dropped(repeats);
            at = repeats_.erase(at);
            continue;
        }
        if (repeats.count > options_.repeat_limit) {
            const auto end = later(repeats.since, saturated(options_.repeat_time));
            next_look_ = next_look_ ? std::min(*next_look_, end) : end;
        }
        if (oldest == repeats_.end() || repeats.since < oldest->second.since) oldest = at;
        ++at;
    }
    if (before < counted_messages_limit || repeats_.size() < before) return;
    tell_dropped(oldest->second);
    repeats_.erase(oldest);
}

void Log::tell_dropped(const Repeats& repeats) {
    if (repeats.count <= options_.repeat_limit) return;
    put(repeats.level, "lines were dropped that came too often",
        {{"dropped", repeats.count - options_.repeat_limit}, {"line", repeats.message}});
}

void Log::put(LogLevel level, std::string_view message, Fields fields) {
    const std::string time =
        is_for_journal_ ? std::string() : time_of(std::chrono::system_clock::now());
    std::string line;
    if (is_for_journal_) line = '<' + std::to_string(3 + static_cast<int>(level)) + '>';
    switch (options_.format) {
    case LogFormat::text:
        if (!is_for_journal_ && options_.text_with_time)
            line = time + ' ' + to_string(level) + ": ";
        line += as_text(options_.prefix, message, fields);
        break;
    case LogFormat::logfmt: line += as_logfmt(time, level, message, fields); break;
    case LogFormat::json: line += as_json(time, level, message, fields); break;
    }
    line += '\n';
    if (options_.write) {
        options_.write(line);
    } else {
        write_error(line);
    }
}

} // namespace ringlet
