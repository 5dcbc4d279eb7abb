#include <ringlet/detail/task_locals.hpp>

#include <ringlet/detail/frame_pool.hpp>

#include <utility>

namespace ringlet {

struct TaskLocals::Node : Pooled {
    const void* key = nullptr;
    std::shared_ptr<void> value;
    TaskLocals rest;
    std::size_t owners = 1;
};

void TaskLocals::share() const noexcept { ++first_->owners; }

void TaskLocals::release() noexcept {
    if (--first_->owners == 0) delete first_;
}

const std::shared_ptr<void>* TaskLocals::find(const void* key) const noexcept {
    for (const Node* node = first_; node != nullptr; node = node->rest.first_) {
        if (node->key == key) return &node->value;
    }
    return nullptr;
}

// Copies the nodes before the old value and shares those behind it, so that setting a value again
// and again does not make the list longer.
void TaskLocals::set(const void* key, std::shared_ptr<void> value) {
    const Node* old = first_;
    while (old != nullptr && old->key != key) old = old->rest.first_;

    TaskLocals changed;
    auto* added = new Node;
    added->key = key;
    added->value = std::move(value);
    changed.first_ = added;
    TaskLocals* end = &added->rest;
    if (old != nullptr) {
        for (const Node* node = first_; node != old; node = node->rest.first_) {
            auto* copy = new Node;
            copy->key = node->key;
            copy->value = node->value;
            end->first_ = copy;
            end = &copy->rest;
        }
        *end = old->rest;
    } else {
        *end = *this;
    }
    *this = std::move(changed);
}

} // namespace ringlet
