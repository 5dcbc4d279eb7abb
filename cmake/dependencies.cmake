# Finds the packages, or downloads them where RINGLET_FETCH allows it. The library needs liburing
# alone, ringlet::tls OpenSSL beside; the programs fmt, CLI11, nlohmann_json and zlib; the tests doctest.

if(RINGLET_FETCH)
    include(FetchContent)
endif()

# ringlet_package(NAME TARGET REPOSITORY TAG DEBIAN_PACKAGE)
macro(ringlet_package name target repository tag debian_package)
    find_package(${name} QUIET)
    if(NOT TARGET ${target})
        if(RINGLET_FETCH)
            FetchContent_Declare(${name} GIT_REPOSITORY ${repository} GIT_TAG ${tag} GIT_SHALLOW ON)
            FetchContent_MakeAvailable(${name})
        else()
            message(FATAL_ERROR "${name} was not found: install it (Debian: ${debian_package}; "
                "cmake/install_dependencies.sh installs everything), or allow a download with "
                "-DRINGLET_FETCH=ON")
        endif()
    endif()
endmacro()

include(cmake/liburing.cmake)
if(RINGLET_TLS)
    find_package(OpenSSL 3 QUIET)
    if(NOT TARGET OpenSSL::SSL) # part of every system, and updated with it: it is never downloaded
        message(FATAL_ERROR "OpenSSL 3 was not found: install it (Debian: libssl-dev), or build without TLS "
            "(-DRINGLET_TLS=OFF -DRINGLET_PROGRAMS=OFF -DRINGLET_TESTS=OFF)")
    endif()
endif()
if(RINGLET_PROGRAMS OR RINGLET_BENCH)
    ringlet_package(fmt fmt::fmt https://github.com/fmtlib/fmt.git 9.1.0 libfmt-dev)
    ringlet_package(CLI11 CLI11::CLI11 https://github.com/CLIUtils/CLI11.git v2.3.2 libcli11-dev)
    ringlet_package(nlohmann_json nlohmann_json::nlohmann_json
        https://github.com/nlohmann/json.git v3.11.2 nlohmann-json3-dev)
endif()
if(RINGLET_PROGRAMS)
    find_package(ZLIB QUIET)
    if(NOT TARGET ZLIB::ZLIB) # its own CMake files do not make this target: it is never downloaded
        message(FATAL_ERROR "zlib was not found: install it (Debian: zlib1g-dev)")
    endif()
endif()
if(RINGLET_TESTS)
    ringlet_package(doctest doctest::doctest https://github.com/doctest/doctest.git v2.4.9
        doctest-dev)
endif()
