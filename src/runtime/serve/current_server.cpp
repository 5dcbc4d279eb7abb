#include <ringlet/draining.hpp>

#include "serve/current_server.hpp"

namespace ringlet {

TaskLocal<CurrentServer*>& current_server() noexcept {
    static TaskLocal<CurrentServer*> current(nullptr);
    return current;
}

TaskLocal<std::shared_ptr<const HandedOver>>& handed_over() noexcept {
    static TaskLocal<std::shared_ptr<const HandedOver>> current;
    return current;
}

bool is_draining() noexcept {
    const CurrentServer* server = current_server().get();
    return server != nullptr && server->draining.is_set();
}

Event::Awaiter draining() noexcept {
    thread_local Event never("draining of no server");
    CurrentServer* server = current_server().get();
    return server != nullptr ? server->draining.wait() : never.wait();
}

std::optional<std::string_view> handed_over_state() noexcept {
    const auto& along = handed_over().get();
    if (along == nullptr) return std::nullopt;
    return std::string_view(along->state);
}

} // namespace ringlet
