// Schemas and patterns: what is checked, and what becomes of them.
#include "api/schema_check.h"
#include "fuzz.h"
#include "schema/pattern.h"
#include "schema/schema_rewrite.h"

namespace {

using namespace drover;

void rewrite(const Json& schema, bool strict) {
  schema::SchemaRewriter rewriter;
  const auto rewritten = rewriter.rewrite(schema, "format", strict);
  if (!rewritten) {
    expect(rewritten.error().message.size() < 4096, "a refusal has a bound");
    return;
  }
  expect(!strict || rewriter.warnings().empty(), "what is strict is kept");
  rewritten->dump();
  api::SchemaBudget budget;
  (void)api::check_schema(*rewritten, budget);
  rewriter.complete("root ::= ref-defs-drover\nref-defs-drover ::= \"\"\n");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = text_of(data, size);
  if (size <= api::kPatternBytesMax) {
    for (const schema::Lengths& lengths : {schema::Lengths{}, schema::Lengths{2, 5}}) {
      const auto rules = schema::pattern_rules(text, lengths, "rule");
      expect((rules.fault == schema::PatternRules::Fault::kNone) == !rules.text.empty(), "a rule or a fault");
    }
  }
  const auto schema = api::parse_json(text);
  if (!schema) return 0;
  api::SchemaBudget budget;
  if (!api::check_schema(*schema, budget)) return 0;
  for (const bool strict : {false, true}) rewrite(*schema, strict);
  const Json function = {{"name", "f"}, {"parameters", *schema}};
  const Json tools = Json::array({{{"type", "function"}, {"function", function}}});
  expect(schema::SchemaRewriter().rewrite_tools(tools).ok(), "a tool's schema is kept or left out");
  return 0;
}
