// tersor - recipes: chains of stages for the layers of a model, composed in code or read from text
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/pipeline/standard_catalog.hpp>

namespace tersor::pipeline {

/// One link of a chain: a stage, or compressors whose operators add up, each fitted to what the ones before
/// it left.
struct link {
  std::vector<any_stage> terms;

  bool is_transformation() const { return terms.front().kind() == solve::stage_kind::transformation; }
  std::string text() const {
    std::string s;
    for (const auto& t : terms) s += concat(s.empty() ? "" : "+", t.text());
    return s;
  }
  solve::outcome compress(const solve::layer& l, const context& ctx) const {
    solve::outcome result = terms.front().compress(l, ctx);
    for (std::size_t k = 1; k < terms.size(); ++k) {
      struct {
        const any_stage& stage;
        solve::outcome compress(const solve::layer& rest, const context& c) const {
          return stage.compress(rest, c);
        }
      } next{terms[k]};
      result = solve::add_residual(l, std::move(result), next, ctx);
    }
    return result;
  }
};

/// What happens to one layer: transformations, then compressors. Empty: the layer stays as it is.
struct stage_chain {
  std::vector<link> links;

  bool empty() const { return links.empty(); }
  std::string text() const {
    std::string s;
    for (const auto& l : links) s += concat(s.empty() ? "" : "|", l.text());
    return s.empty() ? "dense" : s;
  }
  solve::calibration_need needs() const {
    auto need = solve::calibration_need::none;
    for (const auto& l : links)
      for (const auto& t : l.terms) need = std::max(need, t.needs());
    return need;
  }
  std::vector<any_stage> transformations() const {
    std::vector<any_stage> found;
    for (const auto& l : links)
      if (l.is_transformation()) found.push_back(l.terms.front());
    return found;
  }
  /// The grid of the first compressor that has one.
  std::optional<solve::grid_target> grid() const {
    for (const auto& l : links)
      for (const auto& t : l.terms)
        if (const auto g = t.grid()) return g;
    return std::nullopt;
  }
  /// Runs the compressors.
  solve::outcome compress(const solve::layer& l, const context& ctx) const {
    solve::layer current = l;
    solve::outcome result;
    for (const auto& step : links) {
      if (step.is_transformation()) continue;
      if (result.op) {
        current.weight = result.op.to_dense();
        current.sparsity = result.sparsity;
      }
      auto notes = std::move(result.notes);
      result = step.compress(current, ctx);
      result.notes.insert(result.notes.begin(), notes.begin(), notes.end());
    }
    return result;
  }
  /// Transformations first, at least one compressor, '+' between compressors only.
  void check() const {
    bool compressed = false;
    for (const auto& l : links) {
      for (const auto& t : l.terms) {
        t.validate();
        const bool of_caches =
            t.kind() == solve::stage_kind::eviction || t.kind() == solve::stage_kind::codec;
        require(!of_caches, "spec", t.id(), "a method for weights; this one is for KV caches");
        require(t.kind() != solve::stage_kind::adapter, "spec", t.id(),
                "a method for weights; this one is an adapter, for fine-tuning");
        const bool transformation = t.kind() == solve::stage_kind::transformation;
        require(!transformation || l.terms.size() == 1, "spec: '+'", t.id(), "compressors on both sides");
        require(!transformation || !compressed, "spec: '|'", t.id(),
                "transformations before the first compressor");
        compressed = compressed || !transformation;
      }
    }
    require(links.empty() || compressed, "spec", text(), "a compressor at the end of the chain");
  }
};

/// `*` matches any run of characters, `?` one.
inline bool matches_glob(std::string_view pattern, std::string_view text) {
  std::size_t p = 0, t = 0, star = std::string_view::npos, resume = 0;
  while (t < text.size()) {
    if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t]) && pattern[p] != '*') {
      ++p;
      ++t;
    } else if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

/// Chains for layers by name; the last rule whose glob matches decides.
///
/// As text: `name(key=value,...)`, `|` chains stages on the same weights, `+` adds an operator fitted to what
/// is left, `GLOB: chain` overrides for the layers that match, `dense` leaves them alone; rules are separated
/// by `;`, `,` or line ends: "awq|gptq(bits=3)+svd(rank=16); *.down_proj: gptq(bits=8)".
class recipe {
 public:
  struct rule {
    std::string glob;
    stage_chain chain;
  };
  recipe() = default;
  /// From stages composed in code: `quant::awq{} | (quant::gptq{.bits = 3} + lowrank::svd{.rank = 16})`.
  template <solve::stage S>
  recipe(const S& stages) {
    stage_chain chain;
    append(chain, stages);
    chain.check();
    rules_.push_back({"*", std::move(chain)});
  }
  /// The same with other stages for the layers that match.
  template <solve::stage S>
  recipe& with(std::string glob, const S& stages) {
    stage_chain chain;
    append(chain, stages);
    chain.check();
    rules_.push_back({std::move(glob), std::move(chain)});
    return *this;
  }
  static recipe parse(std::string_view text, const catalog& techniques = standard_catalog());

  const std::vector<rule>& rules() const { return rules_; }
  std::string text() const {
    std::string s;
    for (const auto& r : rules_)
      s +=
          concat(s.empty() ? "" : "; ", r.glob == "*" ? std::string() : concat(r.glob, ": "), r.chain.text());
    return s;
  }
  /// The chain of a layer; empty if no rule matches.
  stage_chain chain_of(std::string_view layer) const {
    for (auto r = rules_.rbegin(); r != rules_.rend(); ++r)
      if (matches_glob(r->glob, layer)) return r->chain;
    return {};
  }
  /// Error for a rule that matches none of the layers, with the nearest name.
  void check_layers(std::span<const std::string> layers) const {
    for (const auto& r : rules_) {
      const bool any = std::ranges::any_of(layers, [&](const auto& l) { return matches_glob(r.glob, l); });
      if (any) continue;
      // "*.dwn_proj" is close to what ends a name, not to a name
      std::vector<std::string> names(layers.begin(), layers.end());
      for (const auto& l : layers) names.push_back(concat("*", l.substr(std::min(l.rfind('.'), l.size()))));
      fail("spec: glob", r.glob, "a pattern that matches a layer" + suggestion(r.glob, names));
    }
  }

 private:
  template <solve::technique T>
  static void append(stage_chain& chain, const T& t) {
    chain.links.push_back({{any_stage(t)}});
  }
  template <class A, class B>
  static void append(stage_chain& chain, const solve::chain<A, B>& c) {
    append(chain, c.first);
    append(chain, c.second);
  }
  template <class A, class B>
  static void append(stage_chain& chain, const solve::residual<A, B>& r) {
    stage_chain terms;
    append(terms, r.first);
    require(terms.links.size() == 1, "recipe: left side of '+'", terms.text(),
            "one compressor or a sum of them");
    append_term(terms, r.second);
    chain.links.push_back(std::move(terms.links.front()));
  }
  template <class T>
  static void append_term(stage_chain& terms, const T& t) {
    stage_chain more;
    append(more, t);
    require(more.links.size() == 1, "recipe: right side of '+'", more.text(),
            "one compressor or a sum of them");
    for (auto& term : more.links.front().terms) terms.links.front().terms.push_back(std::move(term));
  }
  std::vector<rule> rules_;
};

namespace detail {

/// Recursive descent over a spec. Errors say where: the text from the place of the mistake on.
class spec_parser {
 public:
  spec_parser(std::string_view text, const catalog& techniques) : text_(text), techniques_(techniques) {}

  std::vector<recipe::rule> rules() {
    std::vector<recipe::rule> result;
    for (;;) {
      while (accept(';') || accept(',') || accept('\n')) {
      }
      if (at_ == text_.size()) break;
      std::string glob = "*";
      if (const auto colon = glob_end(); colon != std::string_view::npos) {
        glob = std::string(trimmed(text_.substr(at_, colon - at_)));
        require(!glob.empty(), "spec: glob before ':'", "", "a pattern such as *.down_proj");
        at_ = colon + 1;
      }
      for (const auto& rule : result)
        require(
            rule.glob != glob, "spec: glob", glob,
            "one rule for it: a second one would replace the first ('|' chains stages, '+' adds operators)");
      auto c = chain();
      c.check();
      result.push_back({std::move(glob), std::move(c)});
      skip_blanks();
      if (at_ < text_.size() && text_[at_] != ';' && text_[at_] != ',' && text_[at_] != '\n')
        mistake("'|', '+', ';' or the end");
    }
    require(!result.empty(), "spec", text_, "a method, such as gptq(bits=4)");
    return result;
  }
  /// The stages of one chain without '+', up to the end of the text: the spec of a KV cache, where "dense" is
  /// a method like others.
  std::vector<any_stage> stages() {
    dense_is_a_method_ = true;
    std::vector<any_stage> result;
    do result.push_back(*stage());
    while (accept('|'));
    skip_blanks();
    if (at_ < text_.size()) mistake("'|' or the end");
    return result;
  }

 private:
  stage_chain chain() {
    stage_chain c;
    do {
      link l;
      do {
        if (auto s = stage()) l.terms.push_back(std::move(*s));
      } while (accept('+'));
      if (!l.terms.empty()) c.links.push_back(std::move(l));
    } while (accept('|'));
    require(!saw_dense_ || c.links.empty(), "spec", "dense", "to stand alone: it leaves a layer as it is");
    saw_dense_ = false;
    return c;
  }
  std::optional<any_stage> stage() {
    const auto id = word("a method");
    if (id == "dense" && !dense_is_a_method_) {
      saw_dense_ = true;
      return std::nullopt;
    }
    const auto& entry = techniques_.find(id);
    std::vector<option_value> values;
    if (accept('(') && !accept(')')) {
      do {
        option_value v;
        v.name = word("an option");
        if (!accept('=')) mistake("'=' after " + v.name);
        v.value = word("a value", true);
        for (const auto& other : values)
          require(other.name != v.name, concat("spec: ", id, ": option"), v.name, "each option once");
        values.push_back(std::move(v));
      } while (accept(','));
      if (!accept(')')) mistake("')'");
    }
    return entry.make(values);
  }
  std::string word(const char* what, bool value = false) {
    skip_blanks();
    const std::size_t first = at_;
    auto part = [&](char c) {
      return std::isalnum(static_cast<unsigned char>(c)) || c == '_' ||
             (value && (c == '.' || c == '-' || c == '+' || c == ':'));
    };
    while (at_ < text_.size() && part(text_[at_])) ++at_;
    if (at_ == first) mistake(what);
    return std::string(text_.substr(first, at_ - first));
  }
  /// A ':' before any '(' or separator ends a glob.
  std::size_t glob_end() const {
    const auto end = text_.find_first_of(":(;,\n", at_);
    return end != std::string_view::npos && text_[end] == ':' ? end : std::string_view::npos;
  }
  static std::string_view trimmed(std::string_view s) {
    while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
    while (!s.empty() && (s.back() == ' ' || s.back() == '\t')) s.remove_suffix(1);
    return s;
  }
  void skip_blanks() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\r')) ++at_;
  }
  bool accept(char c) {
    skip_blanks();
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  [[noreturn]] void mistake(std::string_view expected) const {
    fail(concat("spec, character ", at_ + 1),
         at_ < text_.size() ? concat("\"", text_.substr(at_, 24), "\"") : "the end", std::string(expected));
  }
  std::string_view text_;
  const catalog& techniques_;
  std::size_t at_ = 0;
  bool saw_dense_ = false, dense_is_a_method_ = false;
};

}  // namespace detail

inline recipe recipe::parse(std::string_view text, const catalog& techniques) {
  recipe r;
  r.rules_ = detail::spec_parser(text, techniques).rules();
  return r;
}

}  // namespace tersor::pipeline
