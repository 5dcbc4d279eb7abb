#include "support.hpp"

#include <ringlet/detail/intrusive_list.hpp>

#include <list>
#include <random>
#include <vector>

using namespace ringlet;

namespace {

struct Item : ListHook {
    explicit Item(int value = 0) : number(value) {}
    int number;
};

std::vector<int> numbers(IntrusiveList<Item>& list) {
    std::vector<int> found;
    list.for_each_while([&](Item& item) {
        found.push_back(item.number);
        return true;
    });
    return found;
}

} // namespace

static_assert(!std::is_copy_constructible_v<ListHook>, "a copied hook would point into the list");
static_assert(!std::is_copy_constructible_v<IntrusiveList<Item>>);

TEST_CASE("IntrusiveList keeps objects in order of insertion") {
    IntrusiveList<Item> list;
    CHECK(list.empty());
    Item first(1);
    Item second(2);
    Item third(3);
    CHECK_FALSE(first.is_linked());
    list.push_back(first);
    list.push_back(second);
    list.push_back(third);
    CHECK(first.is_linked());
    CHECK_FALSE(list.empty());
    CHECK(&list.front() == &first);
    CHECK(&list.back() == &third);
    CHECK(numbers(list) == std::vector{1, 2, 3});
}

TEST_CASE("IntrusiveList can remove any object") {
    for (int taken = 0; taken < 3; ++taken) {
        CAPTURE(taken);
        IntrusiveList<Item> list;
        std::vector<Item> items(3);
        std::vector<int> expected;
        for (int i = 0; i < 3; ++i) {
            items[static_cast<std::size_t>(i)].number = i;
            list.push_back(items[static_cast<std::size_t>(i)]);
            if (i != taken) expected.push_back(i);
        }
        Item& gone = items[static_cast<std::size_t>(taken)];
        gone.unlink();
        CHECK_FALSE(gone.is_linked());
        CHECK(numbers(list) == expected);
        CHECK(list.front().number == expected.front());
        CHECK(list.back().number == expected.back());

        list.push_back(gone);
        expected.push_back(taken);
        CHECK(numbers(list) == expected);
    }
}

TEST_CASE("IntrusiveList is empty again when its last object has gone") {
    IntrusiveList<Item> list;
    Item only(1);
    list.push_back(only);
    only.unlink();
    CHECK(list.empty());
    CHECK(numbers(list).empty());
}

TEST_CASE("IntrusiveList stops a walk when the visitor returns false") {
    IntrusiveList<Item> list;
    std::vector<Item> items(5);
    for (int i = 0; i < 5; ++i) {
        items[static_cast<std::size_t>(i)].number = i;
        list.push_back(items[static_cast<std::size_t>(i)]);
    }
    int visits = 0;
    list.for_each_while([&](Item& item) {
        ++visits;
        return item.number < 2;
    });
    CHECK(visits == 3);
}

TEST_CASE("IntrusiveList lets a walk remove the object that it visits") {
    IntrusiveList<Item> list;
    std::vector<Item> items(6);
    for (int i = 0; i < 6; ++i) {
        items[static_cast<std::size_t>(i)].number = i;
        list.push_back(items[static_cast<std::size_t>(i)]);
    }
    list.for_each_while([](Item& item) {
        if (item.number % 2 == 0) item.unlink();
        return true;
    });
    CHECK(numbers(list) == std::vector{1, 3, 5});
    list.for_each_while([](Item& item) {
        item.unlink();
        return true;
    });
    CHECK(list.empty());
}

TEST_CASE("IntrusiveList agrees with std::list after many changes") {
    IntrusiveList<Item> list;
    std::list<int> model;
    std::vector<Item> items(64);
    std::mt19937 random(20'250'101);
    for (int i = 0; i < 64; ++i) items[static_cast<std::size_t>(i)].number = i;
    for (int step = 0; step < 20'000; ++step) {
        Item& item = items[random() % items.size()];
        if (item.is_linked()) {
            item.unlink();
            model.remove(item.number);
        } else {
            list.push_back(item);
            model.push_back(item.number);
        }
        if (step % 100 == 0) REQUIRE(numbers(list) == std::vector(model.begin(), model.end()));
    }
    CHECK(list.empty() == model.empty());
}
