# tersor - finds or installs Debian packages; sourced by examples/run.sh, tests/run.sh and .ci/run
# SPDX-License-Identifier: MIT

# have_header FILE...: one of the files is in a directory where compilers look.
have_header() {
  for header in "$@"; do
    for dir in /usr/include "/usr/include/$(uname -m)-linux-gnu" /usr/local/include /opt/homebrew/include; do
      [ -e "$dir/$header" ] && return 0
    done
  done
  return 1
}

# have_package PACKAGE: it is installed, or what we need of it is there from elsewhere.
have_package() {
  case "$1" in
    g++) command -v "${CXX:-c++}" || command -v g++ || command -v clang++ ;;
    cmake | ccache | clang-format | clang-tidy | mkdocs | python3) command -v "$1" ;;
    clang) command -v clang++ ;;
    gnuplot-nox) command -v gnuplot ;;
    ninja-build) command -v ninja || command -v make ;;
    libeigen3-dev) have_header eigen3/Eigen/Core Eigen/Core ;;
    nlohmann-json3-dev) have_header nlohmann/json.hpp ;;
    libfmt-dev) have_header fmt/format.h ;;
    libcli11-dev) have_header CLI/CLI.hpp ;;
    libopenblas-dev) have_header cblas.h openblas/cblas.h ;;
    catch2) have_header catch2/catch.hpp catch2/catch_all.hpp ;;
    libxtensor-dev) have_header xtensor/xtensor.hpp xtensor/containers/xtensor.hpp ;;
    libbenchmark-dev) have_header benchmark/benchmark.h ;;
    *) dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q '^install ok installed' ;;
  esac >/dev/null
}

# need_packages PACKAGE...: installs what is missing where that is allowed, else says how and exits.
need_packages() {
  missing=
  for package in "$@"; do
    have_package "$package" || missing="$missing $package"
  done
  [ -z "$missing" ] && return 0
  root=
  if [ "$(id -u)" -ne 0 ]; then
    if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
      root="sudo -n"
    else
      root=no
    fi
  fi
  if [ "$root" = no ] || ! command -v apt-get >/dev/null; then
    echo "Missing packages. Please run:" >&2
    echo "  sudo apt-get install -y --no-install-recommends$missing" >&2
    exit 1
  fi
  echo "Installing:$missing"
  # shellcheck disable=SC2086  # a list of words
  { $root env DEBIAN_FRONTEND=noninteractive apt-get update -qq &&
    $root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null; } || {
    echo "apt-get failed. Please run:" >&2
    echo "  sudo apt-get install -y --no-install-recommends$missing" >&2
    exit 1
  }
}

# cmake_generator: the name of the build tool's generator.
cmake_generator() {
  if command -v ninja >/dev/null; then echo Ninja; else echo "Unix Makefiles"; fi
}

# openblas_environment: one thread, because the library does its own threading. And OpenBLAS looks kernels up by
# processor model, so a release that is older than the processor takes the oldest: where nobody has chosen, choose by
# what the processor can do.
openblas_environment() {
  export OPENBLAS_NUM_THREADS=1
  [ -z "${OPENBLAS_CORETYPE:-}" ] && [ -r /proc/cpuinfo ] || return 0
  if grep -q '^flags.* avx512bw.* avx512vl' /proc/cpuinfo; then
    export OPENBLAS_CORETYPE=SkylakeX
  elif grep -q '^flags.* fma .* avx2' /proc/cpuinfo; then
    export OPENBLAS_CORETYPE=Haswell
  fi
}
