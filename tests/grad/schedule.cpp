// tersor - tests of grad/schedule.hpp
// SPDX-License-Identifier: MIT
#include <tersor/grad/schedule.hpp>

#include "grad/differences.hpp"

namespace tersor {
namespace schedule_tests {

using namespace tersor_test;
using grad::decay_form;
using grad::schedule;

TEST_CASE("schedule: values by hand") {
  CHECK(schedule{}(1) == 1.0);
  CHECK(schedule{}(1000) == 1.0);
  const schedule warm{.warmup = 4};
  CHECK(warm(1) == 0.25);
  CHECK(warm(4) == 1.0);
  CHECK(warm(5) == 1.0);
  const schedule linear{.form = decay_form::linear, .warmup = 2, .total = 12, .final = 0.1};
  CHECK(linear(1) == 0.5);
  CHECK(linear(2) == 1.0);
  CHECK(std::abs(linear(7) - 0.55) < 1e-15);
  CHECK(linear(12) == 0.1);
  CHECK(linear(13) == 0.1);
  const schedule cosine{.form = decay_form::cosine, .warmup = 0, .total = 8};
  CHECK(std::abs(cosine(4) - 0.5) < 1e-15);
  CHECK(std::abs(cosine(2) - 0.5 * (1 + std::sqrt(0.5))) < 1e-15);
  CHECK(cosine(8) == 0.0);
}

TEST_CASE("schedule: rises in the warm-up and never after it") {
  for (const auto form : {decay_form::constant, decay_form::linear, decay_form::cosine}) {
    const schedule s{.form = form, .warmup = 7, .total = 40, .final = 0.05};
    for (index_t t = 1; t < 50; ++t) {
      if (t < 7)
        CHECK(s(t + 1) > s(t));
      else
        CHECK(s(t + 1) <= s(t));
      CHECK(s(t) > 0.0);
      CHECK(s(t) <= 1.0);
    }
  }
}

TEST_CASE("schedule: errors and options") {
  const schedule none{.form = decay_form::linear};
  CHECK(message_of([&] { none(1); }) == "schedule: total = 0: expected more than warmup, 0");
  CHECK(message_of([] { schedule{}(0); }) == "schedule: update = 0: expected 1 or more");
  const schedule above{.final = 1.5};
  CHECK(message_of([&] { above(1); }).starts_with("schedule: final = 1.5"));
  schedule s;
  set_option(s, "schedule", "form", "cosine");
  CHECK(s.form == decay_form::cosine);
}

}  // namespace schedule_tests
}  // namespace tersor
