// tersor - how our benches measure: medians over copies that no cache holds, beside the rate of plain reading
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <string>
#include <vector>

#include <tersor/core/level_table.hpp>
#include <tersor/core/parallel.hpp>
#include <tersor/core/random.hpp>
#include <tersor/kernel/aligned_bytes.hpp>
#include <tersor/kernel/target.hpp>
#include <tersor/linalg/gemm.hpp>
#include <tersor/op/dense.hpp>
#include <tersor/op/prepared.hpp>

namespace bench {

using tersor::index_t;

inline double seconds_of(const auto& f) {
  const auto begin = std::chrono::steady_clock::now();
  f();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

struct timing {
  double median = 0, best = 0;
  index_t runs = 0;
};
/// f(i) for i = 0, 1, ...: at least 5 times and for at least `seconds`, after one time that does not count.
inline timing time(const auto& f, double seconds = 0.5) {
  f(index_t{0});
  std::vector<double> all;
  double sum = 0;
  while (all.size() < 5 || (sum < seconds && all.size() < 10000)) {
    all.push_back(seconds_of([&] { f(static_cast<index_t>(all.size()) + 1); }));
    sum += all.back();
  }
  std::ranges::sort(all);
  return {all[all.size() / 2], all.front(), static_cast<index_t>(all.size())};
}

namespace detail {
struct reading {
  TERSOR_ALWAYS_INLINE static std::uint64_t run(const std::uint64_t* p, index_t n) {
    std::uint64_t lanes[64] = {};
    for (index_t i = 0; i + 64 <= n; i += 64)
      for (index_t l = 0; l < 64; ++l) lanes[l] += p[i + l];
    std::uint64_t sum = 0;
    for (const auto l : lanes) sum += l;
    return sum;
  }
};
}  // namespace detail

/// Reads memory that is in no cache with `ctx.threads` threads, each a region of its own from end to end.
class memory_reader {
 public:
  explicit memory_reader(const tersor::context& ctx)
      : ctx_(ctx),
        part_(static_cast<index_t>(memory().size()) / passes / ctx.thread_count() / 4096 * 4096),
        sums_(static_cast<std::size_t>(ctx.thread_count())) {}
  /// Bytes a second of one pass over the next 128 MiB.
  double pass() {
    const index_t threads = ctx_.thread_count();
    const auto* first = memory().data() + pass_++ % passes * static_cast<index_t>(memory().size()) / passes;
    const double seconds = seconds_of([&] {
      tersor::parallel_for(threads, ctx_, [&](index_t t) {
        sums_[static_cast<std::size_t>(t)] = tersor::kernel::run<detail::reading>(
            tersor::kernel::best_target(), reinterpret_cast<const std::uint64_t*>(first + t * part_),
            part_ / 8);
      });
    });
    sum_ = sum_ + sums_[0];
    return static_cast<double>(part_ * threads) / seconds;
  }

 private:
  static constexpr index_t passes = 4;
  static const tersor::kernel::aligned_bytes& memory() {
    static const tersor::kernel::aligned_bytes m(std::size_t{512} << 20);
    return m;
  }
  tersor::context ctx_;
  index_t part_, pass_ = 0;
  std::vector<std::uint64_t> sums_;
  volatile std::uint64_t sum_ = 0;  // so that the reading is not left out
};

/// The formats that `make_weight` knows.
inline constexpr std::array formats{"int8",     "int6",      "int5",     "int4",  "int3",        "int2",
                                    "nf4",      "fp4",       "mxfp4",    "nvfp4", "fp8",         "f16",
                                    "bf16",     "bcq1",      "bcq2",     "bcq3",  "bcq4",        "ternary",
                                    "ternary2", "sp24_int4", "sp24_f16", "csr",   "int4+lr32+sp"};

/// One weight to be measured: what is asked for, made with random codes.
struct weight_request {
  std::string format = "int4";  ///< int1 ... int8, nf4, fp4, mxfp4, nvfp4, bcq1 ... bcq8, ternary, ternary2,
                                ///< fp8, f16, bf16, f32
  index_t rows = 4096, cols = 14336, group_size = 128;  ///< -1: a row
  bool zero_points = false;
  double density = 0.005;  ///< of csr, bitmap and the sparse part of sums
  tersor::op::prepare_options prepare{};
};

namespace detail {

/// E2M1.
inline const std::vector<float> fp4_levels{0,     0.5F,  1,  1.5F,  2,  3,  4,  6,
                                           -0.0F, -0.5F, -1, -1.5F, -2, -3, -4, -6};

/// sp24_int2 .. sp24_int8, sp24_f16, sp24_f32; csr, bitmap and lr (rank 32) with f16 values; int4+lr32+sp:
/// 4-bit codes, rank 32 and compressed rows.
inline tersor::op::any_operator make_sparse(const weight_request& r, tersor::random_generator& random) {
  namespace op = tersor::op;
  using tersor::dtype;
  const auto reals = [&](index_t rows, index_t cols) {
    tersor::matrix<float> m(rows, cols);
    for (float& v : m.values()) v = static_cast<float>(random.uniform()) - 0.5F;
    return m;
  };
  const index_t group = r.group_size < 1 ? r.cols : r.group_size, groups = (r.cols + group - 1) / group;
  const auto grid = [&](int bits) {
    const tersor::matrix<float> scale(r.rows, groups, 0.01F),
        zero(r.rows, groups, static_cast<float>(1 << (bits - 1)));
    return op::affine_grid(bits, r.rows, r.cols, group, scale.view(), zero.view(), dtype::f16);
  };
  const auto codes = [&](int bits, index_t n) {
    std::vector<std::uint8_t> all(static_cast<std::size_t>(n));
    for (auto& c : all) c = static_cast<std::uint8_t>(random.uniform_index(std::uint64_t{1} << bits));
    return all;
  };
  tersor::matrix<std::uint8_t> kept(r.rows, r.cols);
  if (r.format.starts_with("sp24_")) {
    for (index_t i = 0; i < r.rows; ++i)
      for (index_t j = 0; j + 4 <= r.cols; j += 4) {
        const auto first = static_cast<index_t>(random.uniform_index(4));
        kept(i, j + first) = 1;
        kept(i, j + (first + 1 + static_cast<index_t>(random.uniform_index(3))) % 4) = 1;
      }
    const index_t stored = r.rows * r.cols / 2;
    const std::string type = r.format.substr(5);
    if (type.starts_with("int")) {
      const int bits = type[3] - '0';
      return op::sparse_nm(2, 4, kept, op::element_store(codes(bits, stored), grid(bits)));
    }
    tersor::real_array values(type == "f32" ? dtype::f32 : dtype::f16, stored);
    for (index_t i = 0; i < stored; ++i) values.set(i, static_cast<float>(random.uniform()) - 0.5F);
    return op::sparse_nm(2, 4, kept, op::element_store(std::move(values)));
  }
  const auto low_rank = [&] {
    return op::low_rank(reals(r.rows, 32).view(), reals(32, r.cols).view(), dtype::f16);
  };
  if (r.format == "lr") return low_rank();
  for (auto& k : kept.values()) k = random.uniform() < r.density;
  const auto w = reals(r.rows, r.cols);
  if (r.format == "bitmap")
    return op::sparse_bitmap(
        kept, op::element_store(
                  op::gather_kept(w.view(), dtype::f16, [&](index_t i, index_t j) { return kept(i, j); })));
  op::sparse_csr rows(w.view(), kept, dtype::f16);
  if (r.format == "csr") return rows;
  tersor::matrix<std::uint8_t> dense(r.rows, r.cols);
  std::ranges::copy(codes(4, r.rows * r.cols), dense.values().begin());
  return op::sum<>(op::operator_parts<>({op::quantized(dense, grid(4)), low_rank(), rows}));
}

}  // namespace detail

inline tersor::op::any_operator make_weight(const weight_request& r, std::uint64_t seed) {
  tersor::random_generator random(seed);
  const index_t group = r.group_size < 1 ? r.cols : r.group_size;
  const auto codes_of = [&](int bits) {
    tersor::matrix<std::uint8_t> codes(r.rows, r.cols);
    for (auto& c : codes.values())
      c = static_cast<std::uint8_t>(random.uniform_index(std::uint64_t{1} << bits));
    return codes;
  };
  if (r.format == "f32") {
    tersor::matrix<float> w(r.rows, r.cols);
    for (float& v : w.values()) v = static_cast<float>(random.uniform()) - 0.5F;
    return tersor::op::dense(w.view());
  }
  if (r.format == "fp8" || r.format == "f16" || r.format == "bf16") {
    using tersor::dtype;
    const dtype type = r.format == "fp8" ? dtype::f8_e4m3 : r.format == "f16" ? dtype::f16 : dtype::bf16;
    tersor::real_array values(type, r.rows * r.cols);
    for (auto& b : values.bytes())
      b = static_cast<std::byte>(random.uniform_index(63));  // finite in all types
    return tersor::op::prepare(tersor::op::dense(r.rows, r.cols, std::move(values)), r.prepare);
  }
  if (r.format == "mxfp4" || r.format == "nvfp4") {  // blocks of 32 and 16, whatever the group size
    const bool mx = r.format == "mxfp4";
    const index_t block = mx ? 32 : 16;
    const std::vector<float> scales(static_cast<std::size_t>(r.rows * r.cols / block),
                                    mx ? 0.0078125F : 0.01F);
    return tersor::op::prepare(
        tersor::op::codebook(
            codes_of(4), detail::fp4_levels, block,
            {scales,
             {.coding = mx ? tersor::op::scale_coding::plain : tersor::op::scale_coding::factored,
              .type = mx ? tersor::dtype::f8_e8m0 : tersor::dtype::f8_e4m3}}),
        r.prepare);
  }
  if (r.format.starts_with("sp24_") || r.format == "csr" || r.format == "bitmap" || r.format == "lr" ||
      r.format == "int4+lr32+sp")
    return tersor::op::prepare(detail::make_sparse(r, random), r.prepare);
  if (r.format == "nf4" || r.format == "fp4") {
    auto levels = detail::fp4_levels;
    if (r.format == "nf4")
      for (std::size_t i = 0; i < levels.size(); ++i)
        levels[i] = std::sin(static_cast<float>(i) * 0.2F - 1.6F);
    const std::vector<float> scales(static_cast<std::size_t>(r.rows * r.cols / group), 0.01F);
    return tersor::op::prepare(
        tersor::op::codebook(codes_of(4), levels, group, {scales, {.type = tersor::dtype::f16}}), r.prepare);
  }
  if (r.format.size() == 4 && r.format.starts_with("bcq") && r.format[3] >= '1' && r.format[3] <= '8') {
    const int planes = r.format[3] - '0';
    const std::vector<float> scales(
        static_cast<std::size_t>(r.rows * ((r.cols + group - 1) / group) * planes), 0.01F);
    return tersor::op::prepare(
        tersor::op::binary_coded(codes_of(planes), planes, group,
                                 tersor::store_as(tersor::dtype::f16, std::span(scales))),
        r.prepare);
  }
  if (r.format == "ternary") {
    auto digits = codes_of(2);
    for (auto& d : digits.values()) d = static_cast<std::uint8_t>(d % 3);
    const tersor::matrix<float> scales(r.rows, (r.cols + group - 1) / group, 0.01F);
    return tersor::op::prepare(tersor::op::ternary(digits, group, scales.view(), tersor::dtype::f16),
                               r.prepare);
  }
  if (r.format == "ternary2") {  // the same weights with two bits each
    auto digits = codes_of(2);
    for (auto& d : digits.values()) d = static_cast<std::uint8_t>(d % 3);
    const tersor::matrix<float> scales(r.rows, (r.cols + group - 1) / group, 0.01F),
        ones(r.rows, (r.cols + group - 1) / group, 1.0F);
    return tersor::op::prepare(
        tersor::op::quantized(digits, tersor::op::affine_grid(2, r.rows, r.cols, group, scales.view(),
                                                              ones.view(), tersor::dtype::f16)),
        r.prepare);
  }
  const bool known =
      r.format.size() == 4 && r.format.starts_with("int") && r.format[3] >= '1' && r.format[3] <= '8';
  tersor::require(
      known, "bench: format", r.format,
      "int1 .. int8, nf4, fp4, mxfp4, nvfp4, bcq1 .. bcq8, ternary, ternary2, fp8, f16, bf16 or f32");
  const int bits = r.format[3] - '0';
  const index_t groups = (r.cols + group - 1) / group;
  const tersor::matrix<float> scale(r.rows, groups, 0.01F);
  tersor::matrix<float> zero(r.rows, groups, static_cast<float>(1 << (bits - 1)));
  if (r.zero_points) zero(0, 0) = 0;
  return tersor::op::prepare(
      tersor::op::quantized(codes_of(bits), tersor::op::affine_grid(bits, r.rows, r.cols, group, scale.view(),
                                                                    zero.view(), tersor::dtype::f16)),
      r.prepare);
}

/// What a product with a weight reads of it, and what it does with activations.
struct weight_facts {
  index_t bytes = 0;
  tersor::op::activation_type activations = tersor::op::activation_type::f32;
};
inline weight_facts facts_of(const tersor::op::any_operator& w) {
  if (const auto* q = w.as<tersor::op::prepared_quantized>())
    return {q->stream_bytes(), q->options().activations};
  if (const auto* c = w.as<tersor::op::prepared_codebook>())
    return {c->stream_bytes(), c->options().activations};
  if (const auto* d = w.as<tersor::op::prepared_dense>())
    return {d->stream_bytes(), d->options().activations};
  if (const auto* b = w.as<tersor::op::prepared_binary>())
    return {b->stream_bytes(), b->options().activations};
  if (const auto* t = w.as<tersor::op::prepared_ternary>())
    return {t->stream_bytes(), t->options().activations};
  if (const auto* n = w.as<tersor::op::prepared_sparse24>())
    return {n->stream_bytes(), n->options().activations};
  if (const auto* s = w.as<tersor::op::prepared_sum>()) {
    auto facts = facts_of(s->parts().front().op());
    facts.bytes = s->stream_bytes();
    return facts;
  }
  return {static_cast<index_t>(w.storage().bytes())};
}

/// y = x Wᵀ over copies of a weight that together are larger than any cache, in turns with plain reading: on
/// a machine that is shared the rate of memory changes from second to second.
struct product_result {
  timing time;
  weight_facts weight;
  double flops = 0;
  double stream = 0;  ///< bytes a second of reading, the median of the turns
  double ratio = 0;   ///< to reading: the median of the turns
};
inline product_result time_product(const weight_request& r, index_t tokens, const tersor::context& ctx,
                                   double seconds = 0.5) {
  constexpr index_t memory = index_t{384} << 20;
  std::vector<tersor::op::any_operator> copies{make_weight(r, 1)};
  product_result result;
  result.weight = facts_of(copies.front());
  const index_t wanted = std::clamp<index_t>(memory / std::max<index_t>(result.weight.bytes, 1), 1, 64);
  for (index_t i = 1; i < wanted; ++i) copies.push_back(make_weight(r, static_cast<std::uint64_t>(i) + 1));
  tersor::random_generator random(3);
  tersor::matrix<float> x(tokens, r.cols), y(tokens, r.rows);
  for (float& v : x.values()) v = static_cast<float>(random.normal());

  constexpr index_t turns = 11;
  memory_reader reader(ctx);
  index_t next = 0;
  std::vector<timing> products;
  std::vector<double> streams, ratios;
  for (index_t turn = 0; turn <= turns; ++turn) {
    const double before = reader.pass();
    const auto t = time(
        [&](index_t) { copies[static_cast<std::size_t>(next++ % wanted)].apply(x.view(), y.view(), ctx); },
        seconds / turns);
    const double after = reader.pass();
    if (turn == 0) continue;  // memory is mapped, threads are started
    products.push_back(t);
    streams.push_back((before + after) / 2);
    ratios.push_back(static_cast<double>(result.weight.bytes) / t.median / streams.back());
    result.time.runs += t.runs;
  }
  const auto median = [](auto values) {
    std::ranges::sort(values);
    return values[values.size() / 2];
  };
  std::vector<double> medians;
  for (const auto& t : products) medians.push_back(t.median);
  result.time.median = median(medians);
  result.time.best = std::ranges::min(products, {}, &timing::best).best;
  result.stream = median(streams);
  result.ratio = median(ratios);
  result.flops =
      2.0 * static_cast<double>(r.rows) * static_cast<double>(r.cols) * static_cast<double>(tokens);
  return result;
}

}  // namespace bench
