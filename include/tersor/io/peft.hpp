// tersor - PEFT adapters: folders with adapter_config.json and adapter_model.safetensors
// SPDX-License-Identifier: MIT
#pragma once

// Format (huggingface/peft, save_and_load.py): keys are "base_model.model." + path of the module + "." + name
// of the tensor, without the name of the adapter; tensors of all modules together are "base_model." + name.
// Trained biases of the base and whole modules (`modules_to_save`) are there under their own path.
//
//   auto adapter = tersor::io::read_peft("my-lora", modules);          // modules of the base model
//   auto merged = adapter.merged("model.layers.0.mlp.up_proj", {W, b});
//   tersor::io::write_peft(adapter, "copy");

#if defined(TERSOR_PRECOMPILED)
#include <tersor/io/peft_adapter.hpp>
#else
#include <tersor/io/peft_folder.hpp>
#endif

namespace tersor::io {

/// Reads an adapter. @param folder holds adapter_config.json and adapter_model.safetensors; of an adapter
/// with a name of its own it is the sub-folder of that name. @param base the modules of the base model.
/// Errors name the key and what is nearest to it: a peft_type that is not known, targets that match nothing,
/// a key that is missing, too many or without its prefix, a shape that another base or rank would have, an
/// initialization that changes the base (PiSSA without PEFT's conversion), NaN. Any rank is read whose
/// tensors the file has, above the extents of the matrix as well.
#if defined(TERSOR_PRECOMPILED)
peft_adapter read_peft(const std::filesystem::path& folder, std::span<const peft_module> base);
#else
inline peft_adapter read_peft(const std::filesystem::path& folder, std::span<const peft_module> base) {
  return read_peft_folder(folder, base);
}
#endif

/// Writes an adapter as PEFT does. Reading and writing again gives the same bytes. @param force replaces a
/// folder that exists.
#if defined(TERSOR_PRECOMPILED)
void write_peft(const peft_adapter& adapter, const std::filesystem::path& folder, bool force = false);
#else
inline void write_peft(const peft_adapter& adapter, const std::filesystem::path& folder, bool force = false) {
  write_peft_folder(adapter, folder, force);
}
#endif

}  // namespace tersor::io
