#pragma once

// All of ringlet::tls.

#include <ringlet/connect_tls.hpp>
#include <ringlet/tls_context.hpp>
#include <ringlet/tls_error.hpp>
#include <ringlet/tls_stream.hpp>
#include <ringlet/with_tls.hpp>
