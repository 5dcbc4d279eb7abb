#include <ringlet/log.hpp>

#include "held_clock.hpp"
#include "support.hpp"

#include <cstdint>
#include <limits>
#include <regex>
#include <string>
#include <thread>
#include <vector>

using namespace ringlet;
using namespace ringlet::testing;

namespace {

// A log that keeps its lines, with the times replaced.
struct KeptLog {
    std::vector<std::string> lines;
    Log log;

    explicit KeptLog(LogOptions options) : log(keeping(std::move(options))) {}

    LogOptions keeping(LogOptions options) {
        options.write = [this](std::string_view line) {
            static const std::regex time(R"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z)");
            lines.push_back(std::regex_replace(std::string(line), time, "NOW"));
        };
        return options;
    }
};

} // namespace

TEST_CASE("Log writes a line with time, level, message and fields in each format") {
    const auto line_in = [](LogFormat format) {
        KeptLog kept({.format = format});
        kept.log.write(LogLevel::warning, "the queue is full",
                       {{"queue", "in and out"}, {"length", 12}, {"left", -3}});
        REQUIRE(kept.lines.size() == 1);
        return kept.lines.front();
    };
    CHECK(line_in(LogFormat::text) ==
          "NOW warning: the queue is full queue=\"in and out\" length=12 left=-3\n");
    CHECK(line_in(LogFormat::logfmt) == "time=NOW level=warning message=\"the queue is full\" "
                                        "queue=\"in and out\" length=12 left=-3\n");
    CHECK(line_in(LogFormat::json) ==
          R"({"time":"NOW","level":"warning","message":"the queue is full",)"
          R"("queue":"in and out","length":12,"left":-3})"
          "\n");
}

TEST_CASE("Log escapes what would break a line, or a terminal") {
    const std::string_view nasty = "a\n\"b\"\\\x1b[31m\xc2\x9b"
                                   "c\xff\xe2\x82\xac";
    const auto line_in = [&](LogFormat format) {
        KeptLog kept({.format = format});
        kept.log.write(LogLevel::error, nasty, {{"odd name=", nasty}, {"empty", ""}});
        REQUIRE(kept.lines.size() == 1);
        return kept.lines.front();
    };
    const std::string quoted = R"("a\n\"b\"\\\u001b[31m\u009bc)"
                               "\xef\xbf\xbd\xe2\x82\xac\"";
    CHECK(line_in(LogFormat::json) == R"({"time":"NOW","level":"error","message":)" + quoted +
                                          R"(,"odd name=":)" + quoted + ",\"empty\":\"\"}\n");
    CHECK(line_in(LogFormat::logfmt) ==
          "time=NOW level=error message=" + quoted + " odd_name_=" + quoted + " empty=\"\"\n");
    CHECK(line_in(LogFormat::text) == R"(NOW error: a\n"b"\\u001b[31m\u009bc)"
                                      "\xef\xbf\xbd\xe2\x82\xac odd_name_=" +
                                          quoted + " empty=\"\"\n");
}

TEST_CASE("Log writes a field without quotes only if it is read back as one word") {
    KeptLog kept({.format = LogFormat::logfmt});
    for (const char* value : {"word", "1.5", "a=b", "a b", "\xc3\xa4", "/path:1,2"})
        kept.log.write(LogLevel::error, value, {{"it", value}});
    std::vector<std::string> ends;
    for (const std::string& line : kept.lines)
        ends.push_back(line.substr(line.find(" it=") + 4, line.size() - line.find(" it=") - 5));
    CHECK(ends == std::vector<std::string>{"word", "1.5", "\"a=b\"", "\"a b\"", "\"\xc3\xa4\"",
                                           "/path:1,2"});
}

TEST_CASE("Log replaces invalid UTF-8, and nothing else") {
    const auto message_of = [](std::string_view text) {
        KeptLog kept({.text_with_time = false});
        kept.log.write(LogLevel::error, text);
        return kept.lines.front();
    };
    const std::string no_letter = "\xef\xbf\xbd";
    CHECK(message_of("\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80") ==
          "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\n");
    CHECK(message_of("\xc0\xaf") == no_letter + no_letter + "\n");                 // overlong
    CHECK(message_of("\xed\xa0\x80") == no_letter + no_letter + no_letter + "\n"); // half a pair
    CHECK(message_of("\xf4\x90\x80\x80").size() == 4 * no_letter.size() + 1);      // too large
    CHECK(message_of("x\xe2\x82") == "x" + no_letter + no_letter + "\n");          // cut off
    CHECK(message_of("\xe0\x80\x80").size() == 3 * no_letter.size() + 1);          // overlong
}

TEST_CASE("Log writes numbers of every size") {
    KeptLog kept({.format = LogFormat::json});
    kept.log.write(LogLevel::error, "limits",
                   {{"least", std::numeric_limits<std::int64_t>::min()},
                    {"most", std::numeric_limits<std::uint64_t>::max()},
                    {"small", std::int8_t{-7}}});
    CHECK(kept.lines.front().find(
              "\"least\":-9223372036854775808,\"most\":18446744073709551615,\"small\":-7") !=
          std::string::npos);
}

TEST_CASE("Log writes only what its level allows, and the level can change") {
    KeptLog kept({.level = LogLevel::notice, .text_with_time = false});
    kept.log.write(LogLevel::info, "too little");
    kept.log.write(LogLevel::notice, "enough");
    CHECK(!kept.log.takes(LogLevel::info));
    kept.log.set_level(LogLevel::debug);
    kept.log.write(LogLevel::debug, "also this");
    CHECK(kept.lines == std::vector<std::string>{"enough\n", "also this\n"});
}

TEST_CASE("Log parses the names of levels and formats, and nothing else") {
    for (auto level :
         {LogLevel::error, LogLevel::warning, LogLevel::notice, LogLevel::info, LogLevel::debug}) {
        CHECK(parse_log_level(to_string(level)) == level);
    }
    for (auto format : {LogFormat::text, LogFormat::logfmt, LogFormat::json})
        CHECK(parse_log_format(to_string(format)) == format);
    CHECK(!parse_log_level("loud"));
    CHECK(!parse_log_level(""));
    CHECK(!parse_log_format("xml"));
}

TEST_CASE("Log drops a message that repeats too often, and reports the number dropped") {
    HeldClock clock;
    KeptLog kept({.prefix = "server: ",
                  .text_with_time = false,
                  .repeat_limit = 2,
                  .repeat_time = std::chrono::seconds(10)});
    for (int number = 0; number < 7; ++number)
        kept.log.write(LogLevel::error, "descriptor " + std::to_string(number) + " is bad");
    kept.log.write(LogLevel::error, "something else");
    CHECK(kept.lines == std::vector<std::string>{"server: descriptor 0 is bad\n",
                                                 "server: descriptor 1 is bad\n",
                                                 "server: something else\n"});
    kept.lines.clear();

    clock.advance(std::chrono::seconds(10));
    SUBCASE("before the next line, whichever that is") {
        kept.log.write(LogLevel::error, "a third thing");
        CHECK(kept.lines ==
              std::vector<std::string>{"server: lines were dropped that came too often dropped=5 "
                                       "line=\"descriptor 0 is bad\"\n",
                                       "server: a third thing\n"});
        kept.lines.clear();
        kept.log.write(LogLevel::error, "descriptor 8 is bad");
        CHECK(kept.lines == std::vector<std::string>{"server: descriptor 8 is bad\n"});
    }
    SUBCASE("and not twice") {
        kept.log.write(LogLevel::error, "descriptor 7 is bad");
        REQUIRE(kept.lines.size() == 2);
        CHECK(kept.lines[1] == "server: descriptor 7 is bad\n");
    }
}

TEST_CASE("Log reports what it dropped when it is destroyed") {
    std::vector<std::string> lines;
    {
        Log log({.text_with_time = false, .repeat_limit = 1, .write = [&](std::string_view line) {
                     lines.emplace_back(line);
                 }});
        for (int number = 0; number < 3; ++number) log.write(LogLevel::error, "again");
    }
    CHECK(lines == std::vector<std::string>{
                       "again\n", "lines were dropped that came too often dropped=2 line=again\n"});
}

TEST_CASE("Log does not limit debug messages") {
    KeptLog kept({.level = LogLevel::debug, .repeat_limit = 1});
    for (int number = 0; number < 10; ++number) kept.log.write(LogLevel::debug, "a connection");
    CHECK(kept.lines.size() == 10);
}

TEST_CASE("Log counts repeats of a bounded number of messages") {
    KeptLog kept({.text_with_time = false, .repeat_limit = 1});
    const auto letters = [](std::size_t number) {
        std::string text = "message ";
        for (; number > 0; number /= 10) text += static_cast<char>('a' + number % 10);
        return text;
    };
    kept.log.write(LogLevel::error, letters(1));
    kept.log.write(LogLevel::error, letters(1)); // dropped
    for (std::size_t number = 2; number <= Log::counted_messages_limit + 1; ++number)
        kept.log.write(LogLevel::error, letters(number));
    CHECK(kept.lines.size() == Log::counted_messages_limit + 2); // one reports the drop
    kept.log.write(LogLevel::error, letters(1));
    CHECK(kept.lines.back() == letters(1) + "\n"); // it had been forgotten
}

TEST_CASE("Log takes lines from several threads, each in one piece") {
    KeptLog kept({.level = LogLevel::debug, .text_with_time = false});
    std::vector<std::thread> threads;
    for (int thread = 0; thread < 4; ++thread) {
        threads.emplace_back([&] {
            for (int number = 0; number < 200; ++number)
                kept.log.write(LogLevel::debug, "from a thread", {{"number", number}});
        });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(kept.lines.size() == 800);
}
