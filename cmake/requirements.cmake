# Where ringlet cannot work: one line that says what to do, before anything is compiled. The headers say the same
# (ringlet/detail/config.hpp).
if(NOT CMAKE_SYSTEM_NAME STREQUAL "Linux")
    message(FATAL_ERROR "ringlet needs Linux: it is made of io_uring and epoll")
endif()
if(CMAKE_SIZEOF_VOID_P AND CMAKE_SIZEOF_VOID_P LESS 8)
    message(FATAL_ERROR "ringlet needs a 64-bit system: sizes and addresses of 32 bits are not tested")
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 12)
    message(FATAL_ERROR "ringlet needs g++ 12 or newer; this is ${CMAKE_CXX_COMPILER_VERSION}. Choose another "
        "compiler with -DCMAKE_CXX_COMPILER=")
endif()
if(CMAKE_CXX_COMPILER_ID MATCHES "Clang" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 16)
    message(FATAL_ERROR "ringlet needs clang 16 or newer; this is ${CMAKE_CXX_COMPILER_VERSION}. Choose another "
        "compiler with -DCMAKE_CXX_COMPILER=")
endif()
