// tersor - tests of kv/pages.hpp
// SPDX-License-Identifier: MIT
#include <tersor/kv/pages.hpp>

#include "samples.hpp"

namespace pages_tests {

using namespace tersor_test;

TEST_CASE("pages: bounds, by hand") {
  kv::key_pages pages(2, 2);
  CHECK((pages.pages() == 0 && pages.tokens() == 0 && pages.storage().bytes() == 0));
  for (const auto& key : {std::vector<float>{1, -2}, {3, -4}, {5, 6}}) pages.append(key);
  CHECK((pages.pages() == 2 && pages.tokens() == 3));
  matrix<float> q(2, 2), bounds(2, 2);
  q(0, 0) = 1;
  q(0, 1) = 2;
  q(1, 0) = -1;
  q(1, 1) = -1;
  pages.upper_bounds(std::as_const(q).view(), bounds.view());
  CHECK((bounds(0, 0) == 3 - 4 && bounds(0, 1) == 5 + 12));
  CHECK((bounds(1, 0) == -1 + 4 && bounds(1, 1) == -11));
  CHECK(pages.storage().bytes() == 2 * 2 * 2 + 2 * 2 * 4);  // a full page in f16, one that is filling in f32
}

TEST_CASE("pages: no query's product with a key exceeds the bound of its page") {
  for (const index_t page : {1, 3, 16})
    for (const index_t dim : {1, 7, 16, 33})
      for (const float size : {1e-6F, 1.0F, 1e3F}) {  // f16 has few bits of the first
        kv::key_pages pages(page, dim);
        auto keys = random_matrix<float>(50, dim, 3);
        for (float& k : keys.values()) k *= size;
        for (index_t t = 0; t < 50; ++t) pages.append(keys.row(t));
        const auto q = random_matrix<float>(3, dim, 4);
        matrix<float> bounds(3, pages.pages());
        pages.upper_bounds(q.view(), bounds.view());
        for (index_t j = 0; j < 3; ++j)
          for (index_t t = 0; t < 50; ++t) {
            double product = 0, terms = 0;
            for (index_t c = 0; c < dim; ++c) {
              const double x = static_cast<double>(q(j, c)) * static_cast<double>(keys(t, c));
              product += x;
              terms += std::abs(x);
            }
            // products of the bound are rounded to float, 2^-24 each
            CHECK(static_cast<double>(bounds(j, t / page)) >= product - 1e-6 * terms);
          }
        // a page of one token is bounded by its own products, up to f16
        if (page == 1 && size == 1) {
          double product = 0, terms = 0;
          for (index_t c = 0; c < dim; ++c) {
            product += static_cast<double>(q(0, c)) * static_cast<double>(keys(0, c));
            terms += std::abs(static_cast<double>(q(0, c)) * static_cast<double>(keys(0, c)));
          }
          CHECK(static_cast<double>(bounds(0, 0)) <= product + terms / 512);
        }
      }
}

TEST_CASE("pages: picked tokens of several segments read as one") {
  const auto x = random_heads(2, 40, 5, 1);
  kv::dense_tokens a(2, 5, tersor::dtype::f32), b(2, 5, tersor::dtype::f32), empty(2, 5, tersor::dtype::f32);
  a.append(kv::tokens(x.view(), 0, 13), true);
  b.append(kv::tokens(x.view(), 13, 27), true);
  for (const auto& picked :
       {std::vector<index_t>{0, 1, 2, 11, 12, 13, 14, 20, 39}, {12}, {13}, {5, 7, 9, 30}, {}}) {
    const kv::picked_tokens some({&a, &empty, &b}, picked);
    CHECK(
        (some.tokens() == static_cast<index_t>(picked.size()) && some.heads() == 2 && some.head_dim() == 5));
    CHECK(some.storage().bytes() == 0);
    for (index_t h = 0; h < 2; ++h) {
      const auto dense = some.to_dense(h);
      for (index_t i = 0; i < dense.rows(); ++i)
        for (index_t c = 0; c < 5; ++c) CHECK(dense(i, c) == x(h, picked[static_cast<std::size_t>(i)], c));
    }
    check_segment(some);
  }
}

TEST_CASE("pages: errors") {
  CHECK_THROWS_AS(kv::key_pages(0, 4), tersor::error);
  CHECK_THROWS_AS(kv::key_pages(4, 0), tersor::error);
  kv::key_pages pages(1, 1);
  CHECK(
      holds(error_of([&] { pages.append(std::vector<float>{1e6F}); }), {"key_pages: bound", "1e+06", "F16"}));
  matrix<float> q(1, 2), out(1, 1);
  CHECK_THROWS_AS(pages.upper_bounds(std::as_const(q).view(), out.view()), tersor::error);
}

}  // namespace pages_tests
