#include <ringlet/detail/task_locals.hpp>

#include "support.hpp"

using namespace ringlet;

namespace {

int at(const TaskLocals& locals, const int* key) {
    const auto* value = locals.find(key);
    return value != nullptr ? *static_cast<const int*>(value->get()) : -1;
}

} // namespace

TEST_CASE("TaskLocals finds the last value set for each key") {
    const int a = 0;
    const int b = 0;
    TaskLocals locals;
    CHECK(at(locals, &a) == -1);
    locals.set(&a, std::make_shared<int>(1));
    locals.set(&b, std::make_shared<int>(2));
    locals.set(&a, std::make_shared<int>(3));
    CHECK(at(locals, &a) == 3);
    CHECK(at(locals, &b) == 2);
}

TEST_CASE("TaskLocals keeps its values when its copy is changed") {
    const int a = 0;
    TaskLocals locals;
    locals.set(&a, std::make_shared<int>(1));
    TaskLocals copy = locals;
    copy.set(&a, std::make_shared<int>(2));
    CHECK(at(locals, &a) == 1);
    CHECK(at(copy, &a) == 2);
    locals = TaskLocals();
    CHECK(at(copy, &a) == 2);
}

TEST_CASE("TaskLocals keeps one value for a key that is set repeatedly") {
    const int a = 0;
    const int b = 0;
    auto old = std::make_shared<int>(0);
    const std::weak_ptr<int> seen = old;
    TaskLocals locals;
    locals.set(&a, std::move(old));
    locals.set(&b, std::make_shared<int>(9));
    for (int i = 1; i < 100; ++i) locals.set(&a, std::make_shared<int>(i));
    CHECK(seen.expired());
    CHECK(at(locals, &a) == 99);
    CHECK(at(locals, &b) == 9);
}
