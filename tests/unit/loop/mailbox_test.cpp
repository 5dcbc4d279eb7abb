#include "death.hpp"

#include <ringlet/detail/mailbox.hpp>

#include <atomic>
#include <memory>
#include <semaphore>
#include <stdexcept>
#include <thread>
#include <vector>

using namespace ringlet;

namespace {

template <class Fn>
bool put(Mailbox& box, Fn fn) {
    return box.put(std::make_unique<FunctionLetter<Fn>>(std::move(fn)));
}

} // namespace

TEST_CASE("Mailbox delivers letters in the order of arrival") {
    Mailbox box;
    std::vector<int> delivered;
    for (int i = 0; i < 10; ++i) {
        static_cast<void>(put(box, [&delivered, i] { delivered.push_back(i); }));
    }
    CHECK(delivered.empty());
    box.deliver_all();
    CHECK(delivered == std::vector{0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
    box.deliver_all();
    CHECK(delivered.size() == 10);
}

TEST_CASE("Mailbox asks for a wake only when it was empty") {
    Mailbox box;
    for (int round = 0; round < 3; ++round) {
        CHECK(put(box, [] {}));
        CHECK_FALSE(put(box, [] {}));
        CHECK_FALSE(put(box, [] {}));
        box.deliver_all();
    }
}

TEST_CASE("Mailbox keeps letters that are put during a delivery for the next one") {
    Mailbox box;
    std::vector<int> delivered;
    bool wake = false;
    static_cast<void>(put(box, [&] {
        delivered.push_back(1);
        wake = put(box, [&] { delivered.push_back(3); });
    }));
    static_cast<void>(put(box, [&] { delivered.push_back(2); }));
    box.deliver_all();
    CHECK(delivered == std::vector{1, 2});
    CHECK(wake);
    box.deliver_all();
    CHECK(delivered == std::vector{1, 2, 3});
}

TEST_CASE("Mailbox destroys each letter once whether delivered or not") {
    int living = 0;
    int called = 0;
    struct Counted {
        int* living;
        int* called;
        Counted(int* living_count, int* called_count) : living(living_count), called(called_count) {
            ++*living;
        }
        Counted(Counted&& other) noexcept : living(other.living), called(other.called) {
            ++*living;
        }
        Counted(const Counted&) = delete;
        Counted& operator=(const Counted&) = delete;
        ~Counted() { --*living; }
        void operator()() const { ++*called; }
    };
    {
        Mailbox box;
        static_cast<void>(put(box, Counted(&living, &called)));
        static_cast<void>(put(box, Counted(&living, &called)));
        CHECK(living == 2);
        box.deliver_all();
        CHECK(living == 0);
        CHECK(called == 2);
        for (int i = 0; i < 3; ++i) static_cast<void>(put(box, Counted(&living, &called)));
        CHECK(living == 3);
    }
    CHECK(living == 0);
    CHECK(called == 2);
}

TEST_CASE("Mailbox carries letters that can only be moved") {
    Mailbox box;
    int delivered = 0;
    auto value = std::make_unique<int>(7);
    static_cast<void>(put(box, [&delivered, value = std::move(value)] { delivered = *value; }));
    box.deliver_all();
    CHECK(delivered == 7);
}

TEST_CASE("Mailbox ends the program when a letter throws") {
    const auto outcome = testing::run_in_child([] {
        Mailbox box;
        static_cast<void>(put(box, [] { throw std::runtime_error("nobody catches this"); }));
        box.deliver_all();
    });
    CHECK_MESSAGE(outcome.signal == SIGABRT, outcome.to_string());
}

TEST_CASE("Mailbox loses nothing between threads when only a wake makes it deliver") {
    constexpr int sender_count = 4;
    constexpr int letters_each = 20'000;
    Mailbox box;
    std::counting_semaphore<> wakes(0);
    // Not atomic: the mailbox itself makes them visible to the thread that delivers.
    std::vector<int> next(sender_count, 0);
    std::vector<std::vector<int>> written(sender_count, std::vector<int>(letters_each, -1));
    bool in_order = true;
    bool visible = true;
    int delivered = 0;

    std::vector<std::thread> senders;
    for (int sender = 0; sender < sender_count; ++sender) {
        senders.emplace_back([&, sender] {
            const auto place = static_cast<std::size_t>(sender);
            for (int i = 0; i < letters_each; ++i) {
                int& payload = written[place][static_cast<std::size_t>(i)];
                payload = i;
                const bool was_empty = put(box, [&, place, i, content = &payload] {
                    in_order = in_order && next[place] == i;
                    visible = visible && *content == i;
                    next[place] = i + 1;
                    ++delivered;
                });
                if (was_empty) wakes.release();
            }
        });
    }
    int wake_count = 0;
    testing::waiting_for("a wake for letters that are in the box");
    while (delivered < sender_count * letters_each) {
        wakes.acquire();
        ++wake_count;
        box.deliver_all();
    }
    for (auto& sender : senders) sender.join();
    CHECK(in_order);
    CHECK(visible);
    CHECK(delivered == sender_count * letters_each);
    CHECK(wake_count <= delivered);
    CHECK_FALSE(wakes.try_acquire());
}
