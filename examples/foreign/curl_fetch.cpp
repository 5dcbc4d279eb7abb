// libcurl's multi interface in a task: curl_fetch URL [URL ...]. Fetches all at once, and says how long each is.
//
// libcurl names the descriptors that it waits for, and a time at which it wants to be called in any case.
//
// Try it:  ./foreign_curl_fetch http://127.0.0.1:8080/hello

#include <ringlet/ringlet.hpp>

#include <curl/curl.h>

#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <poll.h>
#include <sysexits.h>

using namespace ringlet;

namespace {

using Easy = std::unique_ptr<CURL, decltype(&curl_easy_cleanup)>;

class Multi {
public:
    Multi() : multi_(curl_multi_init()) {
        curl_multi_setopt(multi_, CURLMOPT_SOCKETFUNCTION, note_descriptor);
        curl_multi_setopt(multi_, CURLMOPT_SOCKETDATA, this);
    }
    Multi(const Multi&) = delete;
    Multi& operator=(const Multi&) = delete;
    ~Multi() { curl_multi_cleanup(multi_); }

    void add(CURL* easy) { curl_multi_add_handle(multi_, easy); }
    void remove(CURL* easy) { curl_multi_remove_handle(multi_, easy); }

    // Until all transfers have ended.
    Task<Result<void>> finish() {
        int running = 0;
        curl_multi_socket_action(multi_, CURL_SOCKET_TIMEOUT, 0, &running);
        while (running > 0) {
            long limit_ms = -1;
            curl_multi_timeout(multi_, &limit_ms);
            const std::chrono::milliseconds limit(limit_ms < 0 ? 1000 : limit_ms);
            auto waited = co_await with_timeout(limit, wait_for_any());
            if (!waited && waited.error() != std::errc::timed_out) co_return waited;
            if (!waited) curl_multi_socket_action(multi_, CURL_SOCKET_TIMEOUT, 0, &running);
            for (const auto& [fd, events] : std::exchange(came_, {})) {
                const int reads = (events & ~POLLOUT) != 0 ? CURL_CSELECT_IN : 0;
                const int writes = (events & POLLOUT) != 0 ? CURL_CSELECT_OUT : 0;
                curl_multi_socket_action(multi_, fd, reads | writes, &running);
            }
        }
        co_return Result<void>();
    }

private:
    static int note_descriptor(CURL*, curl_socket_t fd, int what, void* self, void*) {
        auto& wanted = static_cast<Multi*>(self)->wanted_;
        if (what == CURL_POLL_REMOVE) {
            wanted.erase(fd);
        } else {
            const int reads = (what & CURL_POLL_IN) != 0 ? POLLIN : 0;
            const int writes = (what & CURL_POLL_OUT) != 0 ? POLLOUT : 0;
            wanted[fd] = static_cast<short>(reads | writes);
        }
        return 0;
    }

    Task<Result<void>> watch(curl_socket_t fd, short events, TaskGroup* group) {
        auto came = co_await poll_events(fd, events);
        if (!came) co_return came.error();
        came_[fd] = *came;
        group->cancel();
        co_return Result<void>();
    }

    Task<Result<void>> wait_for_any() {
        auto body = [&](TaskGroup& group) -> Task<Result<void>> {
            for (const auto& [fd, events] : wanted_) {
                group.spawn("watch", [this, at = fd, wanted = events, &group] {
                    return watch(at, wanted, &group);
                });
            }
            if (!wanted_.empty()) co_return Result<void>();
            auto slept = co_await sleep_until(Clock::time_point::max()); // until the timeout
            co_return slept;
        };
        auto done = co_await with_task_group(body);
        co_return done;
    }

    CURLM* multi_;
    std::map<curl_socket_t, short> wanted_;
    std::map<curl_socket_t, short> came_;
};

std::size_t count_bytes(char*, std::size_t size, std::size_t count, void* sum) {
    *static_cast<std::size_t*>(sum) += size * count;
    return size * count;
}

Task<Result<void>> fetch(std::vector<std::string> urls) {
    Multi multi;
    std::vector<Easy> transfers;
    std::vector<std::size_t> sizes(urls.size());
    for (std::size_t i = 0; i < urls.size(); ++i) {
        CURL* easy = transfers.emplace_back(curl_easy_init(), &curl_easy_cleanup).get();
        curl_easy_setopt(easy, CURLOPT_URL, urls[i].c_str());
        curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, count_bytes);
        curl_easy_setopt(easy, CURLOPT_WRITEDATA, &sizes[i]);
        multi.add(easy);
    }
    auto finished = co_await multi.finish();
    for (std::size_t i = 0; i < urls.size(); ++i) {
        long status = 0;
        curl_easy_getinfo(transfers[i].get(), CURLINFO_RESPONSE_CODE, &status);
        std::printf("%s: status %ld, %zu bytes\n", urls[i].c_str(), status, sizes[i]);
        multi.remove(transfers[i].get());
    }
    co_return finished;
}

} // namespace

int main(int argc, char** argv) {
    if (argc < 2) {
        std::fprintf(stderr, "usage: curl_fetch URL [URL ...]\n");
        return EX_USAGE;
    }
    curl_global_init(CURL_GLOBAL_DEFAULT);
    auto loop = EventLoop::create();
    if (!loop) return exit_status(loop.error());
    auto done = loop->run(fetch, std::vector<std::string>(argv + 1, argv + argc));
    curl_global_cleanup();
    return exit_status(done);
}
