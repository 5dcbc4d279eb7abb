#pragma once

#include <ringlet/detail/config.hpp>

/// The version of the headers; CMake reads it from here.
#define RINGLET_VERSION "0.1.0"
