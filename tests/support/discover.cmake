# Every doctest case and every Python test method becomes a test of its own for ctest, so that they are
# counted, skipped, timed out and run in parallel one by one.

include(doctest OPTIONAL RESULT_VARIABLE doctest_module)
if(NOT doctest_module)
    include(${doctest_SOURCE_DIR}/scripts/cmake/doctest.cmake)
endif()

# python_tests(FOLDER [VARIATION ENVIRONMENT]): FOLDER/*_test.py. A variation runs them again, as
# VARIATION.*, with something set in the environment. The tests find the programs through
# RINGLET_BUILD_DIR, and say "SKIP: reason", with exit status 77, where something is missing.
function(python_tests folder)
    set(variation ${folder})
    set(environment "")
    if(ARGC GREATER 1)
        set(variation ${ARGV1})
        set(environment ${ARGV2})
    endif()
    file(GLOB files CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${folder}/*_test.py)
    foreach(file ${files})
        set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${file})
        get_filename_component(module ${file} NAME_WE)
        file(STRINGS ${file} lines REGEX "^class [A-Za-z0-9_]+\\(|^    def test_[a-z0-9_]+\\(")
        set(class "")
        foreach(line ${lines})
            if(line MATCHES "^class ([A-Za-z0-9_]+)")
                set(class ${CMAKE_MATCH_1})
            elseif(line MATCHES "def (test_[a-z0-9_]+)")
                set(test ${variation}.${module}.${class}.${CMAKE_MATCH_1})
                add_test(NAME ${test}
                    COMMAND /usr/bin/python3 ${PROJECT_SOURCE_DIR}/tests/support/run_python_test.py
                        ${file} ${class}.${CMAKE_MATCH_1})
                set_tests_properties(${test} PROPERTIES TIMEOUT 150
                    SKIP_RETURN_CODE 77
                    ENVIRONMENT "RINGLET_BUILD_DIR=${PROJECT_BINARY_DIR};RINGLET_SOURCE_DIR=${PROJECT_SOURCE_DIR};RINGLET_SANITIZE=${RINGLET_SANITIZE};RINGLET_CXX=${CMAKE_CXX_COMPILER};${environment}")
            endif()
        endforeach()
    endforeach()
endfunction()
