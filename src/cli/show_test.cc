#include "cli/show.h"

#include <gtest/gtest.h>

#include "cli/answer.h"

namespace drover::cli {
namespace {

TEST(Timings, AsOllamaPrintsThem) {
  const Json last = {{"total_duration", 1234567891},     {"load_duration", 5200300}, {"prompt_eval_count", 12},
                     {"prompt_eval_duration", 25000000}, {"eval_count", 40},         {"eval_duration", 800000000}};
  EXPECT_EQ(format_timings(last),
            "total duration:       1.234567891s\n"
            "load duration:        5.2003ms\n"
            "prompt eval count:    12 token(s)\n"
            "prompt eval duration: 25ms\n"
            "prompt eval rate:     480.00 tokens/s\n"
            "eval count:           40 token(s)\n"
            "eval duration:        800ms\n"
            "eval rate:            50.00 tokens/s\n");
  EXPECT_EQ(format_timings(Json::object()), "");
  EXPECT_EQ(format_timings({{"eval_count", "many"}, {"eval_duration", -1}}), "");
}

TEST(Show, Sections) {
  const Json shown = Json::parse(R"({
    "details": {"family": "llama", "parameter_size": "3.1M", "quantization_level": "F16"},
    "model_info": {"general.architecture": "llama", "llama.context_length": 8192, "llama.embedding_length": 256.0},
    "capabilities": ["completion", "tools"],
    "parameters": "stop                           \"<|end of it|>\"\n",
    "license": "MIT\n\n  Copyright  \nand more"})");
  EXPECT_EQ(format_show(shown, Detail::kNormal),
            "  Model\n"
            "    architecture        llama\n"
            "    parameters          3.1M\n"
            "    context length      8192\n"
            "    embedding length    256\n"
            "    quantization        F16\n"
            "\n"
            "  Capabilities\n"
            "    completion\n"
            "    tools\n"
            "\n"
            "  Parameters\n"
            "    stop    \"<|end of it|>\"\n"
            "\n"
            "  License\n"
            "    MIT\n"
            "    Copyright\n"
            "    ...\n"
            "\n");
}

TEST(Show, VerboseListsMetadataAndTensors) {
  const Json shown = Json::parse(R"({
    "details": {"family": "llama"},
    "model_info": {"b": [1, 22, 333, 4444, 5], "a": true, "c": null},
    "tensors": [{"name": "blk.0.attn_q", "type": "F16", "shape": [4, 256]}]})");
  EXPECT_EQ(format_show(shown, Detail::kVerbose),
            "  Model\n"
            "    architecture    llama\n"
            "\n"
            "  Metadata\n"
            "    a    true\n"
            "    b    [1 22 333 ...+2 more]\n"
            "    c    -\n"
            "\n"
            "  Tensors\n"
            "    blk.0.attn_q    F16    [4 256]\n"
            "\n");
}

TEST(Show, SurvivesAnything) {
  for (const char* text :
       {"null", "[]", "3", R"({"details": 1, "model_info": [], "capabilities": [1], "tensors": {}})"}) {
    EXPECT_EQ(format_show(Json::parse(text), Detail::kVerbose), "  Model\n\n") << text;
  }
}

}  // namespace
}  // namespace drover::cli
