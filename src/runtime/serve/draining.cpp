#include <ringlet/draining.hpp>

namespace ringlet {

TaskLocal<Event*>& current_draining() noexcept {
    static TaskLocal<Event*> current(nullptr);
    return current;
}

bool is_draining() noexcept {
    const Event* event = current_draining().get();
    return event != nullptr && event->is_set();
}

Event::Awaiter draining() noexcept {
    thread_local Event never("draining of no server");
    Event* event = current_draining().get();
    return event != nullptr ? event->wait() : never.wait();
}

} // namespace ringlet
