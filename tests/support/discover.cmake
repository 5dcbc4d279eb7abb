# Every test file becomes one test for ctest. The programs print the name of each case that they run, and summary.py
# counts these: one process per file takes a tenth of the time of one per case.

# For any test: limits are for programs that hang, not for busy machines.
set(RINGLET_TEST_LIMIT_SECONDS 1800)

# unit_file_tests(PROGRAM FILE...): the cases of each FOLDER/NAME_test.cpp, as FOLDER.NAME, with dots for slashes.
function(unit_file_tests program)
    foreach(file ${ARGN})
        file(RELATIVE_PATH name ${CMAKE_CURRENT_SOURCE_DIR} ${file})
        set(filter "*/tests/${name}") # the path given to the compiler differs (CCACHE_BASEDIR)
        string(REGEX REPLACE "_test[.]cpp$" "" name ${name})
        string(REPLACE "/" "." name ${name})
        add_test(NAME ${name} COMMAND ${program} --source-file=${filter})
        set_tests_properties(${name} PROPERTIES TIMEOUT ${RINGLET_TEST_LIMIT_SECONDS}
            SKIP_RETURN_CODE 77)
    endforeach()
endfunction()

# unit_tests_with(VARIATION ENVIRONMENT OPTION...): runs the unit tests of each of unit_folders again, as
# VARIATION.unit.FOLDER, with this environment and options of doctest. Sets the caller's unit_tests_added to their names.
function(unit_tests_with variation environment)
    set(added "")
    foreach(folder ${unit_folders})
        set(test ${variation}.unit.${folder})
        list(APPEND added ${test})
        add_test(NAME ${test} COMMAND unit_tests "--source-file=*/tests/unit/${folder}/*" ${ARGN})
        # Before the tests of single files, because some of these take longest.
        set_tests_properties(${test} PROPERTIES ENVIRONMENT ${environment} COST 100)
    endforeach()
    set(unit_tests_added ${added} PARENT_SCOPE)
endfunction()

# python_tests(FOLDER [VARIATION ENVIRONMENT [NAME...]]): runs FOLDER/*_test.py. A variation runs those with a NAME, or
# all, again as VARIATION.*, with this environment. The tests find the programs through RINGLET_BUILD_DIR. Sets the
# caller's python_tests_added to the names of the tests.
function(python_tests folder)
    set(variation ${folder})
    set(environment "")
    if(ARGC GREATER 1)
        set(variation ${ARGV1})
        set(environment ${ARGV2})
    endif()
    set(added "")
    file(GLOB files CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${folder}/*_test.py)
    foreach(file ${files})
        get_filename_component(module ${file} NAME_WE)
        string(REGEX REPLACE "_test$" "" name ${module})
        if(ARGC GREATER 3 AND NOT name IN_LIST ARGN)
            continue()
        endif()
        file(STRINGS ${file} methods REGEX "^    def test_")
        list(LENGTH methods count)
        set(test ${variation}.${name})
        list(APPEND added ${test})
        add_test(NAME ${test} COMMAND /usr/bin/python3
            ${PROJECT_SOURCE_DIR}/tests/support/run_python_test.py ${file})
        # The longest first, so that none of them is left for the end.
        set_tests_properties(${test} PROPERTIES TIMEOUT ${RINGLET_TEST_LIMIT_SECONDS} COST ${count}
            SKIP_RETURN_CODE 77
            ENVIRONMENT "RINGLET_BUILD_DIR=${PROJECT_BINARY_DIR};RINGLET_SOURCE_DIR=${PROJECT_SOURCE_DIR};RINGLET_SANITIZE=${RINGLET_SANITIZE};RINGLET_CXX=${CMAKE_CXX_COMPILER};${environment}")
    endforeach()
    set(python_tests_added ${added} PARENT_SCOPE)
endfunction()
