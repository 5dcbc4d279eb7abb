#include "serve/services.hpp"

#include "serve/hand_over.hpp"

namespace ringlet {

std::vector<ServiceListener*> Services::listeners() {
    std::vector<ServiceListener*> all;
    if (successors) all.push_back(&*successors);
    if (metrics) all.push_back(&metrics->listener());
    if (backdoor) all.push_back(&backdoor->listener());
    return all;
}

void Services::wait_for(const TakeOver& predecessor) {
    for (ServiceListener* one : listeners()) one->wait_for(predecessor.leaving());
}

} // namespace ringlet
