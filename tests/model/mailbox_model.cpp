// A model of how other threads reach a loop: every interleaving that a scheduler can choose, with what
// the memory model allows a processor to reorder. The list is the library's own (letter_stack.hpp);
// the eventfd is a counter that orders nothing, so that the list alone must carry what was written.
//
//     mailbox_model INTERLEAVINGS [--break-release]
//
// Exits with 0 when the protocols hold; with --break-release, when the model finds that a push
// with a relaxed order does not.

#include <ringlet/detail/letter_stack.hpp>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <relacy/relacy.hpp>

namespace {

rl::memory_order order_of(std::memory_order order, bool broken) {
    switch (order) {
    case std::memory_order::acquire: return rl::mo_acquire;
    case std::memory_order::release: return broken ? rl::mo_relaxed : rl::mo_release;
    default: return rl::mo_relaxed;
    }
}

// std::atomic<Node*> with the orders that the list gives, checked by the model.
template <class Node, bool broken>
class ModelAtomic {
public:
    ModelAtomic(Node* value) : value_(value) {}
    Node* load(std::memory_order order) const { return value_.load(order_of(order, broken), $); }
    Node* exchange(Node* value, std::memory_order order) {
        return value_.exchange(value, order_of(order, broken), $);
    }
    bool compare_exchange_weak(Node*& expected, Node* value, std::memory_order success,
                               std::memory_order failure) {
        return value_.compare_exchange_weak(expected, value, order_of(success, broken), $,
                                            order_of(failure, broken), $);
    }

private:
    rl::atomic<Node*> value_;
};

// A letter whose fields the model watches for races.
struct Node {
    Node* next() const { return next_($); }
    void set_next(Node* node) { next_($) = node; }

    rl::var<Node*> next_;
    rl::var<int> content;
};

constexpr int sender_count = 2;
constexpr int letters_each = 2;
constexpr int letter_count = sender_count * letters_each;

// EventLoop::post: put, and a write to the eventfd when the box was empty. The loop reads the eventfd,
// then delivers all. A lost wake would leave the receiver waiting for ever; the model finds that too.
template <bool broken>
struct Post : rl::test_suite<Post<broken>, sender_count + 1> {
    ringlet::LetterStack<Node, ModelAtomic<Node, broken>> letters;
    rl::atomic<int> eventfd;
    Node nodes[letter_count];

    void before() { eventfd.store(0, rl::mo_relaxed, $); }
    void thread(unsigned index) {
        if (index < sender_count) {
            for (int i = 0; i < letters_each; ++i) {
                Node& node = nodes[index * letters_each + i];
                node.content($) = 1;
                if (letters.push(node)) eventfd.fetch_add(1, rl::mo_relaxed, $);
            }
            return;
        }
        int received = 0;
        rl::linear_backoff pause;
        while (received < letter_count) {
            if (eventfd.exchange(0, rl::mo_relaxed, $) == 0) {
                pause.yield($);
                continue;
            }
            for (Node* node = letters.take_all(); node != nullptr; node = node->next()) {
                received += node->content($);
            }
        }
    }
    void after() { RL_ASSERT(letters.empty()); }
};

// ThreadChannel: values under a mutex; a letter only if none is on its way. The receiver clears the
// mark first, then takes all values.
struct Channel : rl::test_suite<Channel, sender_count + 1> {
    ringlet::LetterStack<Node, ModelAtomic<Node, false>> letters;
    rl::atomic<int> eventfd;
    rl::mutex mutex;
    rl::var<int> values;
    rl::var<bool> told;
    Node nodes[letter_count];

    void before() {
        eventfd.store(0, rl::mo_relaxed, $);
        values($) = 0;
        told($) = false;
    }
    void thread(unsigned index) {
        if (index < sender_count) {
            for (int i = 0; i < letters_each; ++i) {
                mutex.lock($);
                values($) = values($) + 1;
                if (!told($)) {
                    told($) = true;
                    Node& node = nodes[index * letters_each + i];
                    node.content($) = 1;
                    if (letters.push(node)) eventfd.fetch_add(1, rl::mo_relaxed, $);
                }
                mutex.unlock($);
            }
            return;
        }
        int received = 0;
        rl::linear_backoff pause;
        while (received < letter_count) {
            if (eventfd.exchange(0, rl::mo_relaxed, $) == 0) {
                pause.yield($);
                continue;
            }
            for (Node* node = letters.take_all(); node != nullptr; node = node->next()) {
                mutex.lock($);
                told($) = false;
                mutex.unlock($);
                mutex.lock($);
                received += values($);
                values($) = 0;
                mutex.unlock($);
            }
        }
    }
};

template <class Suite>
bool holds(const char* name, unsigned long long interleavings) {
    rl::test_params parameters;
    parameters.iteration_count = interleavings;
    parameters.search_type = rl::random_scheduler_type;
    const bool passed = rl::simulate<Suite>(parameters);
    std::printf("%s: %s after %llu interleavings\n", name, passed ? "holds" : "is broken",
                static_cast<unsigned long long>(parameters.stop_iteration));
    return passed;
}

} // namespace

int main(int argc, char** argv) {
    const unsigned long long interleavings = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 0;
    const bool breaks = argc == 3 && std::strcmp(argv[2], "--break-release") == 0;
    if (interleavings == 0 || (argc > 2 && !breaks)) {
        std::puts("usage: mailbox_model INTERLEAVINGS [--break-release]");
        return 64;
    }
    if (breaks) return holds<Post<true>>("post with a relaxed push", interleavings) ? 1 : 0;
    const bool post = holds<Post<false>>("post", interleavings);
    const bool channel = holds<Channel>("ThreadChannel", interleavings);
    return post && channel ? 0 : 1;
}
