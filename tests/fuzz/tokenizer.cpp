// tersor - fuzz target: tokenizer.json
// SPDX-License-Identifier: MIT
#include <tersor/io/tokenizer.hpp>

#include "fuzz/targets.hpp"

namespace tersor::fuzz {

void tokenizer(std::string_view bytes) {
  const io::tokenizer t(io::parse_json(bytes, "tokenizer.json"), "tokenizer.json");
  const auto ids = t.encode("The cat's 1234 caf\u00e9s,\n\n  (no) \xff<|endoftext|>\u4e2d\u6587 e\u0301");
  (void)t.decode(ids);
  (void)t.decode(ids, true);
}

}  // namespace tersor::fuzz
