#include "store/gguf_types.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <iterator>

namespace drover {
namespace {

constexpr GgufTensorType kTensorTypes[] = {
    {0, "F32", 1, 4},         {1, "F16", 1, 2},         {2, "Q4_0", 32, 18},      {3, "Q4_1", 32, 20},
    {6, "Q5_0", 32, 22},      {7, "Q5_1", 32, 24},      {8, "Q8_0", 32, 34},      {9, "Q8_1", 32, 36},
    {10, "Q2_K", 256, 84},    {11, "Q3_K", 256, 110},   {12, "Q4_K", 256, 144},   {13, "Q5_K", 256, 176},
    {14, "Q6_K", 256, 210},   {15, "Q8_K", 256, 292},   {16, "IQ2_XXS", 256, 66}, {17, "IQ2_XS", 256, 74},
    {18, "IQ3_XXS", 256, 98}, {19, "IQ1_S", 256, 50},   {20, "IQ4_NL", 32, 18},   {21, "IQ3_S", 256, 110},
    {22, "IQ2_S", 256, 82},   {23, "IQ4_XS", 256, 136}, {24, "I8", 1, 1},         {25, "I16", 1, 2},
    {26, "I32", 1, 4},        {27, "I64", 1, 8},        {28, "F64", 1, 8},        {29, "IQ1_M", 256, 56},
    {30, "BF16", 1, 2},       {34, "TQ1_0", 256, 54},   {35, "TQ2_0", 256, 66},   {39, "MXFP4", 32, 17},
    {40, "NVFP4", 64, 36},    {41, "Q1_0", 128, 18},    {42, "Q2_0", 64, 18},
};

// By file type; empty where the number was never used or has gone out of use. Ollama writes 4 for its own MXFP4.
constexpr std::string_view kFileTypes[] = {
    "F32",    "F16",     "Q4_0",   "Q4_1",   "MXFP4",  "",       "",       "Q8_0",  "Q5_0",    "Q5_1",   "Q2_K",
    "Q3_K_S", "Q3_K_M",  "Q3_K_L", "Q4_K_S", "Q4_K_M", "Q5_K_S", "Q5_K_M", "Q6_K",  "IQ2_XXS", "IQ2_XS", "Q2_K_S",
    "IQ3_XS", "IQ3_XXS", "IQ1_S",  "IQ4_NL", "IQ3_S",  "IQ3_M",  "IQ2_S",  "IQ2_M", "IQ4_XS",  "IQ1_M",  "BF16",
    "",       "",        "",       "TQ1_0",  "TQ2_0",  "MXFP4",  "NVFP4",  "Q1_0",  "Q2_0",
};

constexpr std::uint32_t kQuantizations[] = {0,  1,  32, 2,  3,  8,  9,  7,  10, 11, 12, 13,
                                            14, 15, 16, 17, 18, 26, 27, 30, 25, 36, 37, 38};
// Names without a size stand for the middle one.
constexpr std::string_view kMiddleSized[] = {"Q3_K", "Q4_K", "Q5_K"};

}  // namespace

const GgufTensorType* find_gguf_tensor_type(std::uint32_t id) {
  const auto* type = std::find_if(std::begin(kTensorTypes), std::end(kTensorTypes),
                                  [id](const auto& entry) { return entry.id == id; });
  return type == std::end(kTensorTypes) ? nullptr : type;
}

std::string_view gguf_file_type_name(std::uint64_t file_type) {
  if (file_type >= std::size(kFileTypes) || kFileTypes[file_type].empty()) return "unknown";
  return kFileTypes[file_type];
}

std::optional<std::uint32_t> find_quantization(std::string_view name) {
  std::string wanted(name);
  for (char& c : wanted) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  if (std::find(std::begin(kMiddleSized), std::end(kMiddleSized), wanted) != std::end(kMiddleSized)) wanted += "_M";
  for (const std::uint32_t type : kQuantizations) {
    if (kFileTypes[type] == wanted) return type;
  }
  return std::nullopt;
}

std::string quantization_names() {
  std::string names;
  for (const std::uint32_t type : kQuantizations) {
    if (!names.empty()) names += ", ";
    names += kFileTypes[type];
  }
  return names;
}

}  // namespace drover
