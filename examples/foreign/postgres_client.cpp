// libpq in a task: postgres_client CONNINFO. Several queries at once, each on a connection of its own, and one that takes
// too long is cancelled in the server.
//
// Try it:  ./foreign_postgres_client 'host=/run/postgresql dbname=postgres'

#include <ringlet/ringlet.hpp>

#include <libpq-fe.h>

#include <cstdio>
#include <memory>
#include <string>

#include <sysexits.h>

using namespace ringlet;
using namespace std::chrono_literals;

namespace {

using Rows = std::unique_ptr<PGresult, decltype(&PQclear)>;

class Postgres {
public:
    static Task<Result<Postgres>> connect(std::string conninfo) {
        Postgres postgres(PQconnectStart(conninfo.c_str()));
        PGconn* connection = postgres.connection_.get();
        auto wanted = PGRES_POLLING_WRITING; // the initial value, says the manual
        while (wanted != PGRES_POLLING_OK) {
            if (wanted == PGRES_POLLING_FAILED || PQstatus(connection) == CONNECTION_BAD) {
                std::fprintf(stderr, "%s", PQerrorMessage(connection));
                co_return std::errc::connection_refused;
            }
            // The descriptor may differ each time: several addresses are tried.
            auto ready = wanted == PGRES_POLLING_READING ? readable(PQsocket(connection))
                                                         : writable(PQsocket(connection));
            auto told = co_await ready;
            if (!told) co_return told.error();
            wanted = PQconnectPoll(connection);
        }
        PQsetnonblocking(connection, 1);
        co_return postgres;
    }

    /// The rows of the last statement. When the task is cancelled, the server is told to stop, too.
    Task<Result<Rows>> query(std::string text) {
        PGconn* connection = connection_.get();
        if (PQsendQuery(connection, text.c_str()) != 1) co_return std::errc::io_error;
        auto rows = co_await receive_rows();
        if (rows.error() == std::errc::operation_canceled) {
            auto tidied = co_await shield(stop_query());
            static_cast<void>(tidied);
        }
        co_return rows;
    }

private:
    explicit Postgres(PGconn* connection) : connection_(connection, &PQfinish) {}

    Task<Result<Rows>> receive_rows() {
        PGconn* connection = connection_.get();
        while (PQflush(connection) == 1) {
            auto ready = co_await writable(PQsocket(connection));
            if (!ready) co_return ready.error();
        }
        Rows last(nullptr, &PQclear);
        for (;;) {
            while (PQisBusy(connection) == 1) {
                auto ready = co_await readable(PQsocket(connection));
                if (!ready) co_return ready.error();
                if (PQconsumeInput(connection) != 1) co_return std::errc::connection_reset;
            }
            Rows next(PQgetResult(connection), &PQclear);
            if (!next) co_return last;
            last = std::move(next);
        }
    }

    // PQcancel connects to the server and blocks, so it runs on another thread, and we wait for it.
    Task<> stop_query() {
        auto stop = [this] {
            const std::unique_ptr<PGcancel, decltype(&PQfreeCancel)> order(
                PQgetCancel(connection_.get()), &PQfreeCancel);
            char why[256];
            return PQcancel(order.get(), why, sizeof why);
        };
        auto told = co_await run_blocking_to_end(stop);
        if (!told) co_return;
        auto rest = co_await receive_rows(); // the connection can be used again
        static_cast<void>(rest);
    }

    std::unique_ptr<PGconn, decltype(&PQfinish)> connection_;
};

Task<Result<void>> ask(std::string conninfo, int number) {
    auto postgres = co_await Postgres::connect(std::move(conninfo));
    if (!postgres) co_return postgres.error();
    auto rows = co_await postgres->query("SELECT sum(i) FROM generate_series(1, " +
                                         std::to_string(number) + ") AS i");
    if (!rows) co_return rows.error();
    std::printf("the sum up to %d is %s\n", number, PQgetvalue(rows->get(), 0, 0));
    co_return Result<void>();
}

Task<Result<void>> run(std::string conninfo) {
    auto body = [&](TaskGroup& group) -> Task<> {
        for (const int number : {10, 100, 1000}) group.spawn("query", ask, conninfo, number);
        co_return;
    };
    auto done = co_await with_task_group(body);
    if (!done) co_return done;

    auto postgres = co_await Postgres::connect(conninfo);
    if (!postgres) co_return postgres.error();
    auto slow = co_await with_timeout(200ms, postgres->query("SELECT pg_sleep(3600)"));
    std::printf("the slow query: %s\n", slow.error().message().c_str());
    auto after = co_await postgres->query("SELECT 'still connected'");
    if (!after) co_return after.error();
    std::printf("%s\n", PQgetvalue(after->get(), 0, 0));
    co_return Result<void>();
}

} // namespace

int main(int argc, char** argv) {
    if (argc != 2) {
        std::fprintf(stderr, "usage: postgres_client CONNINFO\n");
        return EX_USAGE;
    }
    auto loop = EventLoop::create();
    if (!loop) return exit_status(loop.error());
    return exit_status(loop->run(run, std::string(argv[1])));
}
