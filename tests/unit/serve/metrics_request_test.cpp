#include "support.hpp"

#include "serve/metrics_request.hpp"

#include <string>
#include <string_view>

using namespace ringlet;

TEST_CASE("requests for metrics: requests of curl and Prometheus are parsed") {
    const auto request = parse_metrics_request("GET /metrics?x=1 HTTP/1.1\r\nHost: a:1\r\n"
                                               "aCCept: application/openmetrics-text\r\n");
    REQUIRE(request);
    CHECK(request->method == "GET");
    CHECK(request->path == "/metrics");
    CHECK(request->format == MetricsFormat::openmetrics);
    const auto old = parse_metrics_request("HEAD / HTTP/1.0\r\n");
    REQUIRE(old);
    CHECK(old->method == "HEAD");
    CHECK(old->path == "/");
    CHECK(old->format == MetricsFormat::prometheus);
}

TEST_CASE("requests for metrics: anything but HTTP is refused") {
    const std::string_view wrong[] = {
        "",
        "\r\n",
        "GET\r\n",
        "GET /metrics\r\n",
        "GET  /metrics HTTP/1.1\r\n",
        "GET /metrics HTTP/1.1 \r\n",
        "GET /metrics HTTP/2\r\n",
        "GET /metrics http/1.1\r\n",
        "GET metrics HTTP/1.1\r\n",
        "G(T /metrics HTTP/1.1\r\n",
        " GET /metrics HTTP/1.1\r\n",
        "GET /met\x01rics HTTP/1.1\r\n",
        "GET /metrics HTTP/1.1\r\nno colon\r\n",
        "GET /metrics HTTP/1.1\r\nHost : a\r\n",
        "GET /metrics HTTP/1.1\r\nHost: a\r\n folded: b\r\n",
        "GET /metrics HTTP/1.1\r\n: a\r\n",
        "\x16\x03\x01\x02",
    };
    for (const std::string_view head : wrong) {
        CAPTURE(head);
        CHECK_FALSE(parse_metrics_request(head));
    }
}

TEST_CASE("requests for metrics: OpenMetrics only if it is named and preferred") {
    const std::string_view open[] = {
        "application/openmetrics-text",
        "Application/OpenMetrics-Text; version=1.0.0",
        "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
        "text/plain;q=0.3 , application/openmetrics-text;q=0.75",
        "*/*, application/openmetrics-text;q=0.001",
    };
    for (const std::string_view accept : open) {
        CAPTURE(accept);
        CHECK(format_asked_for(accept) == MetricsFormat::openmetrics);
    }
    const std::string_view text[] = {
        "",
        "*/*",
        "text/plain",
        "text/html, application/xhtml+xml",
        "application/openmetrics-text;q=0",
        "application/openmetrics-text;q=0.4,text/plain;q=0.5",
        "application/openmetrics-text;q=much",
        "application/openmetrics-texts",
        ";;;,,,=;q=,",
    };
    for (const std::string_view accept : text) {
        CAPTURE(accept);
        CHECK(format_asked_for(accept) == MetricsFormat::prometheus);
    }
}
