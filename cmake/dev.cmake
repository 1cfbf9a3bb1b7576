# tersor - how our own binaries are built; nothing here reaches a user's target
# SPDX-License-Identifier: MIT
if(PROJECT_IS_TOP_LEVEL)
  if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
    set(CMAKE_BUILD_TYPE Release CACHE STRING "Release, Debug or RelWithDebInfo" FORCE)
  endif()
  find_program(TERSOR_CCACHE ccache)
  if(TERSOR_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
    set(CMAKE_CXX_COMPILER_LAUNCHER ${TERSOR_CCACHE})
  endif()
  set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
endif()
set(CMAKE_CXX_EXTENSIONS OFF)

# Warnings and sanitizers.
add_library(tersor_dev INTERFACE)
target_compile_options(tersor_dev INTERFACE -Wall -Wextra -Wconversion $<$<BOOL:${TERSOR_WERROR}>:-Werror>)
if(TERSOR_SANITIZE)
  target_compile_options(tersor_dev INTERFACE
    -fsanitize=${TERSOR_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(tersor_dev INTERFACE -fsanitize=${TERSOR_SANITIZE})
endif()

# What our programs link: the library with everything that was found.
add_library(tersor_program INTERFACE)
target_link_libraries(tersor_program INTERFACE tersor_dev tersor)
if(TARGET tersor_all)
  target_link_libraries(tersor_program INTERFACE tersor_all)
endif()
if(TARGET tersor_precompiled)
  target_link_libraries(tersor_program INTERFACE tersor_precompiled)
  target_link_libraries(tersor_precompiled PRIVATE $<BUILD_INTERFACE:tersor_dev>)
endif()
