# The field: what a user would take instead of ringlet. Nothing of it is built by default; the target
# field_peers builds what can be built here, without a network. Peers in Python, JavaScript, Erlang
# and Java run as they are.

add_custom_target(field_peers DEPENDS epoll_echo uring_echo)
if(TARGET libev_echo)
    add_dependencies(field_peers libev_echo)
endif()

function(missing_peer name package)
    message(STATUS "The field goes without ${name}: install the package ${package}")
endfunction()

# field_peer(NAME SOURCE HEADER LIBRARY PACKAGE): a peer that needs a header and, if it is not "", a
# library.
function(field_peer name source header library package)
    string(TOUPPER ${name} variable)
    find_path(${variable}_INCLUDE ${header})
    set(libraries "")
    if(library)
        find_library(${variable}_LIBRARY ${library})
        set(libraries ${${variable}_LIBRARY})
    endif()
    if(NOT ${variable}_INCLUDE OR (library AND NOT libraries))
        missing_peer(${name} ${package})
        return()
    endif()
    add_executable(${name} EXCLUDE_FROM_ALL peers/${source})
    target_include_directories(${name} SYSTEM PRIVATE ${${variable}_INCLUDE})
    target_link_libraries(${name} PRIVATE ${libraries})
    add_dependencies(field_peers ${name})
endfunction()

find_package(Threads REQUIRED)
field_peer(libuv_echo libuv_echo.c uv.h uv libuv1-dev)
field_peer(st_echo st_echo.c st.h st libst-dev)
field_peer(asio_epoll_echo asio_echo.cpp asio.hpp "" libasio-dev)
field_peer(asio_uring_echo asio_echo.cpp asio.hpp "" libasio-dev)
field_peer(fiber_echo fiber_echo.cpp boost/fiber/all.hpp boost_fiber libboost-fiber-dev)
if(TARGET asio_uring_echo)
    # Asio 1.22 does not see that clang has the coroutines of C++20.
    foreach(name asio_epoll_echo asio_uring_echo)
        target_compile_definitions(${name} PRIVATE ASIO_HAS_CO_AWAIT ASIO_HAS_STD_COROUTINE)
    endforeach()
    target_link_libraries(asio_epoll_echo PRIVATE Threads::Threads)
    target_link_libraries(asio_uring_echo PRIVATE Threads::Threads ringlet::liburing)
    target_compile_definitions(asio_uring_echo PRIVATE ASIO_HAS_IO_URING ASIO_DISABLE_EPOLL)
endif()
if(TARGET fiber_echo)
    find_library(BOOST_CONTEXT_LIBRARY boost_context)
    target_link_libraries(fiber_echo PRIVATE ${BOOST_CONTEXT_LIBRARY} Threads::Threads)
endif()

# ---- Go and Rust: their own compilers, each with its files in the build directory ----------------

# built_peer(NAME SOURCE COMMAND...): a program that another compiler makes.
function(built_peer name source)
    add_custom_command(OUTPUT ${name} DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/peers/${source}
        COMMAND ${ARGN} VERBATIM)
    add_custom_target(build_${name} DEPENDS ${name})
    add_dependencies(field_peers build_${name})
endfunction()

find_program(GO_COMPILER go)
if(GO_COMPILER)
    built_peer(go_echo go_echo.go
        ${CMAKE_COMMAND} -E env GO111MODULE=off GOTOOLCHAIN=local CGO_ENABLED=0
        GOCACHE=${CMAKE_CURRENT_BINARY_DIR}/go
        ${GO_COMPILER} build -o go_echo ${CMAKE_CURRENT_SOURCE_DIR}/peers/go_echo.go)
else()
    missing_peer(go_echo golang-go)
endif()

# Debian has the sources of tokio, and of all that it needs, in a registry of its own. It goes with
# Debian's compiler: another one on PATH may be too new for it.
set(DEBIAN_CRATES /usr/share/cargo/registry)
find_program(CARGO cargo PATHS /usr/bin NO_DEFAULT_PATH)
find_program(RUST_COMPILER rustc PATHS /usr/bin NO_DEFAULT_PATH)
file(GLOB TOKIO_SOURCE ${DEBIAN_CRATES}/tokio-1.*)
if(CARGO AND RUST_COMPILER AND TOKIO_SOURCE)
    configure_file(peers/Cargo.toml.in tokio/Cargo.toml @ONLY)
    configure_file(peers/cargo_config.toml.in tokio/.cargo/config.toml @ONLY)
    set(built ${CMAKE_CURRENT_BINARY_DIR}/tokio)
    built_peer(tokio_echo tokio_echo.rs
        ${CMAKE_COMMAND} -E chdir ${built} ${CMAKE_COMMAND} -E env CARGO_HOME=${built}/home
        CARGO_TARGET_DIR=${built}/target RUSTC=${RUST_COMPILER}
        ${CARGO} build --quiet --release --offline
        COMMAND ${CMAKE_COMMAND} -E copy ${built}/target/release/tokio_echo tokio_echo)
else()
    missing_peer(tokio_echo "librust-tokio-dev, cargo or rustc")
endif()
