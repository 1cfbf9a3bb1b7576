// tersor - the library's version, written once; CMake reads it from here
// SPDX-License-Identifier: MIT
#pragma once

#define TERSOR_VERSION_MAJOR 0
#define TERSOR_VERSION_MINOR 1
#define TERSOR_VERSION_PATCH 0
