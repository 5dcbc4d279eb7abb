#include <ringlet/file.hpp>

#include "net.hpp"

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;

namespace {

struct Folder {
    std::string path;
    Folder() {
        char name[] = "/tmp/ringlet-XXXXXX";
        REQUIRE(::mkdtemp(name) != nullptr);
        path = name;
    }
    ~Folder() { std::filesystem::remove_all(path); }
    [[nodiscard]] std::string at(const char* name) const { return path + "/" + name; }
};

} // namespace

TEST_CASE("a deadlock is reported although the kernel has threads for files") {
    const WithoutSignalHandlers nobody_may_interrupt;
    if (thread_sanitizer_runs) RINGLET_SKIP("TSan has a thread of its own");
    const Folder folder;
    const auto bytes = pattern(100);
    const OpenOptions fresh{.write = true, .create = true};
    ReportingLoop loop;
    waiting_for("a deadlock to be noticed");
    auto result = loop->run([&]() -> Task<> {
        auto file = co_await File::open(folder.at("f"), fresh);
        REQUIRE(file);
        auto written = co_await file->write_at(bytes, 0);
        CHECK(written);
        auto synced = co_await file->sync(); // runs on a kernel thread
        CHECK(synced);
        Event never("never");
        auto told = co_await never.wait();
        CHECK(told.error() == std::errc::operation_canceled);
    });
    CHECK(result.error() == Errc::would_block_forever);
}

TEST_CASE("a file is written and read at offsets, and knows its size") {
    const Folder folder;
    const auto bytes = pattern(3'000'001);
    ReportingLoop loop;
    auto talk = [&]() -> Task<> {
        const OpenOptions fresh{.write = true, .create = true, .exclusive = true, .mode = 0600};
        auto file = co_await File::open(folder.at("f"), fresh);
        REQUIRE(file);
        auto written = co_await file->write_at(bytes, 7);
        CHECK(written);
        written = co_await file->write_at({}, 0);
        CHECK(written);
        auto synced = co_await file->sync();
        CHECK(synced);
        auto known = co_await file->status();
        REQUIRE(known);
        CHECK(known->st_size == static_cast<off_t>(bytes.size() + 7));
        CHECK((known->st_mode & 0777) == 0600);
        std::vector<std::byte> back(bytes.size() + 100);
        std::size_t got = 0;
        for (;;) {
            auto count = co_await file->read_at(std::span(back).subspan(got), 7 + got);
            REQUIRE(count);
            if (*count == 0) break;
            got += *count;
        }
        back.resize(got);
        CHECK(back == bytes);
        auto again = co_await File::open(folder.at("f"), fresh);
        CHECK(again.error() == std::errc::file_exists);
    };
    CHECK(loop->run(talk));
    check_nothing_left(*loop);
}

TEST_CASE("errors of files are returned unchanged") {
    const Folder folder;
    auto talk = [&]() -> Task<> {
        auto none = co_await File::open(folder.at("none"));
        CHECK(none.error() == std::errc::no_such_file_or_directory);
        auto made = co_await write_file(folder.at("read only"), "x");
        CHECK(made);
        auto read_only = co_await File::open(folder.at("read only"));
        REQUIRE(read_only);
        auto written = co_await read_only->write_at(bytes_of("x"), 0);
        CHECK(written.error() == std::errc::bad_file_descriptor);
        auto folder_itself = co_await File::open(folder.path);
        REQUIRE(folder_itself);
        std::vector<std::byte> memory(10);
        auto read = co_await folder_itself->read_at(memory, 0);
        CHECK(read.error() == std::errc::is_a_directory);
        auto whole = co_await read_file(folder.at("none"));
        CHECK(whole.error() == std::errc::no_such_file_or_directory);
        auto replaced = co_await write_file(folder.at("no/folder"), "x");
        CHECK(replaced.error() == std::errc::no_such_file_or_directory);
        const std::filesystem::directory_iterator left(folder.path);
        CHECK(std::distance(begin(left), end(left)) == 1);
    };
    CHECK(run_on_loop(talk));
}

TEST_CASE("whole files: read up to a limit, and replaced atomically") {
    const Folder folder;
    auto talk = [&]() -> Task<> {
        auto written = co_await write_file(folder.at("f"), std::string(100'000, 'x'), 0640);
        CHECK(written);
        auto text = co_await read_file(folder.at("f"));
        CHECK((text && *text == std::string(100'000, 'x')));
        auto too_long = co_await read_file(folder.at("f"), 99'999);
        CHECK(too_long.error() == std::errc::file_too_large);
        auto exactly = co_await read_file(folder.at("f"), 100'000);
        CHECK(exactly);
        written = co_await write_file(folder.at("f"), "new");
        CHECK(written);
        text = co_await read_file(folder.at("f"));
        CHECK((text && *text == "new"));
        // A file of size 0 may still have bytes.
        auto status = co_await read_file("/proc/self/status");
        CHECK((status && status->starts_with("Name:")));
        const std::filesystem::directory_iterator all(folder.path);
        CHECK(std::distance(begin(all), end(all)) == 1);
    };
    CHECK(run_on_loop(talk));
}

TEST_CASE("a cancelled read of a file waits until its memory is no longer lent") {
    auto talk = []() -> Task<> {
        auto file = co_await File::open("/proc/self/maps");
        REQUIRE(file);
        for (int round = 0; round < 50; ++round) {
            auto read = [&]() -> Task<Result<std::size_t>> {
                std::vector<std::byte> memory(10'000); // freed with the task
                auto count = co_await file->read_at(memory, 0);
                co_return count;
            };
            auto ended = co_await when_any(read(), yield());
            static_cast<void>(ended);
        }
    };
    CHECK(run_on_loop(talk));
}

TEST_CASE("a file that is dropped during a read closes after it") {
    const std::size_t before = descriptor_count();
    auto talk = []() -> Task<> {
        auto file = co_await File::open("/proc/self/maps");
        REQUIRE(file);
        std::vector<std::byte> memory(10'000);
        auto read = [&]() -> Task<> {
            auto count = co_await file->read_at(memory, 0);
            CHECK(count);
        };
        auto drop = [&]() -> Task<> {
            *file = File();
            co_return;
        };
        auto both = [&](TaskGroup& group) -> Task<> {
            group.spawn(read);
            group.spawn(drop);
            co_return;
        };
        auto done = co_await with_task_group(both);
        CHECK(done);
    };
    CHECK(run_on_loop(talk));
    CHECK(descriptor_count() == before);
}
