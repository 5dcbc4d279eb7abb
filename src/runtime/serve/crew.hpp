#pragma once

#include <ringlet/event.hpp>
#include <ringlet/event_loop.hpp>
#include <ringlet/server.hpp>
#include <ringlet/thread_channel.hpp>
#include <ringlet/workers.hpp>

#include <ringlet/signal_stream.hpp>

#include "serve/hand_over.hpp"
#include "serve/room.hpp"
#include "serve/service_manager.hpp"
#include "serve/services.hpp"
#include "serve/worker_survey.hpp"

#include <cstddef>
#include <exception>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>
#include <vector>

namespace ringlet {

// What one worker and several have in common.
class Workers::Service {
public:
    Service() = default;
    Service(const Service&) = delete;
    Service& operator=(const Service&) = delete;
    virtual ~Service() = default;

    virtual Result<ServeReport> run(const std::vector<void*>& handlers,
                                    const Server::Calls& calls) = 0;
    virtual void stop() = 0;
    [[nodiscard]] virtual std::size_t size() const noexcept = 0;
    [[nodiscard]] virtual const std::vector<Endpoint>& locals() const noexcept = 0;
    [[nodiscard]] virtual std::size_t max_connections() const noexcept = 0;
    [[nodiscard]] virtual bool has_direct_descriptors() const noexcept = 0;
    [[nodiscard]] virtual const BackendChoice& backend() const noexcept = 0;
    [[nodiscard]] virtual std::optional<Endpoint> metrics_address() const = 0;
};

// Several workers. Each makes, runs and destroys its server on its own thread. The thread that made
// the crew waits on a loop without connections, which runs on epoll: that locks no memory.
class Workers::Crew final : public Service {
public:
    Crew(ServeOptions chosen, std::vector<int> cpus);
    ~Crew() override;

    Result<void> start(const std::vector<ListenAddress>& addresses);
    Result<ServeReport> run(const std::vector<void*>& handlers,
                            const Server::Calls& calls) override;
    void stop() override;
    [[nodiscard]] std::size_t size() const noexcept override { return size_; }
    [[nodiscard]] const std::vector<Endpoint>& locals() const noexcept override {
        return addresses_;
    }
    [[nodiscard]] std::size_t max_connections() const noexcept override {
        return options_.max_connections;
    }
    [[nodiscard]] bool has_direct_descriptors() const noexcept override {
        return has_direct_descriptors_;
    }
    [[nodiscard]] const BackendChoice& backend() const noexcept override { return backend_; }
    [[nodiscard]] std::optional<Endpoint> metrics_address() const override;

private:
    struct Job {
        const std::vector<void*>* handlers = nullptr; // null: there is nothing to run
        Server::Calls calls = {};
    };
    struct Worker {
        std::thread thread;
        Server* server = nullptr; // null before it is made and when it ends
        ServeReport report;
    };

    using Listeners = std::vector<StreamListener>;

    void work(std::size_t index, Listeners listeners, std::promise<Result<void>> made);
    Result<Server> make_server(std::size_t index, Listeners listeners);
    bool give(std::size_t index, UniqueFd connection, bool is_unix,
              std::shared_ptr<const HandedOver> along);
    void serve(Worker& worker, Server& server, std::size_t index, const Job& job);
    void fail(std::error_code error, std::exception_ptr thrown);
    void stop_up_to(int times);
    void tell_stops(int times);
    Task<> watch_signals();
    using AskWorker = std::function<Task<Result<void>>(Server::State&)>;
    Task<Result<void>> ask_all(AskWorker ask);
    void tell_all(const std::function<void(Server::State&)>& what);
    Task<> hand_over();
    Task<> wait_for_all();
    Task<> inform(ServiceManager manager);
    bool have_turned();
    void dump();
    Result<void> start_metrics(TakeOver* taken);
    void start_backdoor(TakeOver* taken);
    bool ask(std::size_t index, WorkerSurvey::Answer answer);
    Task<ServerState> describe();
    void end();
    [[nodiscard]] ServeReport sum() const;

    ServeOptions options_;
    std::vector<int> cpus_;
    std::vector<Endpoint> addresses_;
    std::shared_ptr<Room> room_;
    std::size_t size_;
    BackendChoice backend_; // of the first
    bool has_direct_descriptors_ = true;
    Result<EventLoop> loop_;
    std::optional<SignalStream> signals_;
    std::optional<TakeOver> taken_;
    UniqueFd predecessor_leaving_;
    std::optional<ThreadChannel<std::size_t>> ended_; // the index of each worker, at its end
    std::optional<WorkerSurvey> survey_;
    Services services_;
    std::vector<Worker> workers_;
    std::promise<Job> go_;
    std::shared_future<Job> job_{go_.get_future()};
    bool has_gone_ = false;

    // ---- of the loop that waits for all
    Event stopping_{"stopping"};
    bool is_followed_ = false;
    std::weak_ptr<bool> letters_; // on their way to loops that have not turned since

    std::mutex mutex_; // for what follows, and Worker::server
    int stops_ = 0;
    std::error_code first_error_;
    std::exception_ptr first_thrown_;
};

} // namespace ringlet
